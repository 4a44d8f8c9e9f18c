//! A terminal on a machine, over Socket.IO.

use serde_json::{Value, json};

use crate::rig::Rig;
use crate::support::socketio::Script;

/// Waits until the terminal has shown this.
async fn shows(client: &mut Script, shown: &mut String, wanted: &str) {
    while !shown.contains(wanted) {
        let event = client.event("terminalOutput").await;
        assert_eq!(event["done"], false, "{shown}{event}");
        shown.push_str(event["data"].as_str().unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_is_one_to_the_machine_and_follows_its_size() {
    let rig = Rig::start(1).await;
    let vm = rig.vm(&rig.instances[0]).await;
    let mut client = Script::connected(&rig.coordinator.url(), &json!({})).await;
    let asked = json!({"vmId": vm, "columns": 80, "rows": 24, "term": "xterm"});
    let opened = client.ask("openTerminal", &[asked]).await;
    assert_eq!(opened["success"], true, "{opened}");
    let id: Value = opened["terminalId"].clone();
    let say = |data: &str| json!({"terminalId": id, "data": data});
    let mut shown = String::new();
    client
        .emit("terminalInput", &[say("tty; id -un; stty size\n")])
        .await;
    for wanted in ["/dev/pts/", "ubuntu", "24 80"] {
        shows(&mut client, &mut shown, wanted).await;
    }
    let resized = json!({"terminalId": id, "columns": 100, "rows": 40});
    client.emit("resizeTerminal", &[resized]).await;
    // The size travels beside the input: ask until it has come.
    while !shown.contains("40 100") {
        client.emit("terminalInput", &[say("stty size\n")]).await;
        let event = client.event("terminalOutput").await;
        shown.push_str(event["data"].as_str().unwrap());
    }
    // Said by what is to be interrupted: the shell itself would take Ctrl-C while it still starts it, and drop it.
    let sleeper = say("sh -c 'echo asleep$((1+1)); exec sleep 600'\n");
    client.emit("terminalInput", &[sleeper]).await;
    shows(&mut client, &mut shown, "asleep2").await;
    client.emit("terminalInput", &[say("\u{3}")]).await;
    client.emit("terminalInput", &[say("echo after$((1+1))\n")]).await;
    shows(&mut client, &mut shown, "after2").await;
    client.emit("terminalInput", &[say("exit 5\n")]).await;
    let end = client
        .event_with("terminalOutput", |event| event["done"] == true)
        .await;
    assert_eq!(end["code"], 5, "{end}");
    rig.end().await;
}
