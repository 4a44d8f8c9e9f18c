//! Executions on a real OpenSSH server: streamed output, exit statuses, cancelling, limits.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::Method;
use serde_json::{Value, json};
use understudy::actors::clock::Clock;
use understudy::actors::context::World;
use understudy::actors::news::Item;
use understudy::actors::root::Node;
use understudy::api::Options;
use understudy::assembly;
use understudy::config;
use understudy::domain::vm::Status;
use understudy::infra::archive::Store;
use understudy::infra::cloud::rest::{self, RestCloud};
use understudy::infra::ledger::{self, Ledger};
use understudy::infra::ssh::{Connector, Endpoint, Error, RusshConnector, Session};
use understudy::infra::template::Templates;
use understudy::infra::vault::Vault;
use understudy::infra::{obs, probe};

use crate::operations::{exec, until_reachable};
use crate::served::{LIMIT, Served, open, stage};
use crate::support::socketio::Script;
use crate::support::sshd::Sshd;

/// Leads to one server, whatever machine is meant.
struct To {
    connector: RusshConnector,
    address: SocketAddr,
}

#[async_trait]
impl Connector for To {
    async fn connect(&self, endpoint: &Endpoint) -> Result<Arc<dyn Session>, Error> {
        let endpoint = Endpoint {
            address: self.address,
            ..endpoint.clone()
        };
        self.connector.connect(&endpoint).await
    }
}

/// One simulated VM whose SSH is a real server, and a caller who may run command lines.
async fn served(sshd: &Sshd) -> (Served, String) {
    served_with(sshd, |_| {}).await
}

/// The same with other settings.
pub async fn served_with(sshd: &Sshd, change: impl FnOnce(&mut config::Config)) -> (Served, String) {
    served_by(sshd, None, |config| {
        change(config);
        config.ssh.allow_free_commands = true;
        config.ssh.output_bytes_max = 64 * 1024;
    })
    .await
}

/// One simulated VM whose SSH is a real server, with an archive or without, configured like this.
pub async fn served_by(
    sshd: &Sshd,
    archive: Option<Arc<dyn Store>>,
    configure: impl FnOnce(&mut config::Config),
) -> (Served, String) {
    let mut stage = stage(1, 0).await;
    configure(&mut stage.config);
    // The studio is the simulated machine's, and no tunnel from the real server ends there.
    stage.config.obs.via = config::ObsVia::Direct;
    let config = &stage.config;
    let cloud = rest::Config::new(stage.world.cloud_url(), config.pool.project.clone());
    let vault = Arc::new(Vault::ephemeral().unwrap());
    let world = World {
        cloud: Arc::new(RestCloud::new(cloud).unwrap()),
        probe: Arc::new(probe::HttpProbe::new().unwrap()),
        obs: Some(Arc::new(obs::ObwsConnector::new(Arc::clone(&vault)))),
        ssh: Some(Arc::new(To {
            connector: sshd.connector(),
            address: sshd.address(),
        })),
        archive,
        templates: Arc::new(Templates::load(None).unwrap()),
        vault,
    };
    let ledger = Ledger::open(ledger::Options::new(config.ledger.path.clone())).unwrap();
    let options = assembly::options(config, config::operations::load(config).unwrap());
    let node = Node::start(Clock::system(), ledger, options, world, |_| None)
        .await
        .unwrap();
    let served = Served::by(node, stage, Options { ..open() }).await;
    served.until_available(1).await;
    let vm = served.a_vm(Status::Available);
    until_reachable(&served, &vm).await;
    (served, vm)
}

/// The lines of a streamed answer, as they come.
struct Lines {
    response: reqwest::Response,
    rest: Vec<u8>,
}

impl Lines {
    async fn of(served: &Served, vm: &str, body: Value) -> Self {
        let path = format!("/api/admin/vm-pool/{vm}/ssh/exec");
        let request = served.request(Method::POST, &path).json(&body);
        let response = request
            .header("Accept", "application/x-ndjson")
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 200);
        let rest = Vec::new();
        Self { response, rest }
    }

    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            let chunk = tokio::time::timeout(LIMIT, self.response.chunk())
                .await
                .expect("a line");
            self.rest.extend_from_slice(&chunk.unwrap()?);
        }
    }

    async fn last(&mut self) -> Value {
        while let Some(line) = self.next().await {
            if line["done"] == true {
                return line;
            }
        }
        panic!("no last line");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_statuses_and_signals_come_back_as_they_were() {
    let sshd = Sshd::start().await;
    let (served, vm) = served(&sshd).await;
    let script = json!({"command": "echo out; echo err >&2; exit 7"});
    let reply = exec(&served, &vm, script).await.is(200);
    assert_eq!(
        (
            &reply["stdout"],
            &reply["stderr"],
            &reply["code"],
            &reply["success"]
        ),
        (&json!("out\n"), &json!("err\n"), &json!(7), &json!(false))
    );
    let killed = exec(&served, &vm, json!({"command": "kill -KILL $$"}))
        .await
        .is(200);
    assert_eq!((&killed["code"], &killed["signal"]), (&json!(-1), &json!("KILL")));
    let where_to = exec(&served, &vm, json!({"command": "pwd", "cwd": "/usr/share"}))
        .await
        .is(200);
    assert_eq!(where_to["stdout"], "/usr/share\n");
    let late = json!({"command": "echo begun; sleep 600", "timeout": 300});
    let refused = exec(&served, &vm, late).await.refuses(504, "COMMAND_TIMED_OUT");
    assert_eq!((&refused["vmId"], &refused["timeout"]), (&json!(vm), &json!(300)));
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn output_comes_line_by_line_before_the_command_ends_and_cancelling_ends_it() {
    let sshd = Sshd::start().await;
    let (served, vm) = served(&sshd).await;
    let mut lines = Lines::of(&served, &vm, json!({"command": "echo one; sleep 600"})).await;
    let first = lines.next().await.unwrap();
    assert_eq!((&first["vmId"], &first["done"]), (&json!(vm), &json!(false)));
    let one = lines.next().await.unwrap();
    assert_eq!(
        (&one["stream"], &one["data"]),
        (&json!("stdout"), &json!("one\n"))
    );

    let id = first["executionId"].as_str().unwrap();
    let running = served.get("/api/admin/executions?limit=1").await.is(200);
    assert_eq!(running["executions"][0]["state"], "running");
    served
        .post(&format!("/api/admin/executions/{id}/cancel"))
        .await
        .is(200);
    let end = lines.last().await;
    assert_eq!(
        (&end["code"], &end["success"], &end["cancelledBy"]),
        (&json!(-1), &json!(false), &json!("api"))
    );
    let audit = served.get("/api/admin/executions?limit=1").await.is(200);
    assert_eq!(audit["executions"][0]["state"], "cancelled");
    assert!(lines.next().await.is_none());
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_client_hears_output_as_it_comes_and_cancels() {
    let sshd = Sshd::start().await;
    let (served, vm) = served(&sshd).await;
    let mut client = Script::connected(&served.url(""), &json!({})).await;
    let payload = json!({"vmId": vm, "command": "echo begun; echo oops >&2; sleep 600"});
    let begun = client.ask("execSSHCommand", &[payload]).await;
    let id = begun["executionId"].clone();
    for (stream, data) in [("stdout", "begun\n"), ("stderr", "oops\n")] {
        let event = client
            .event_with("sshOutput", |event| event["stream"] == stream)
            .await;
        assert_eq!(
            (&event["data"], &event["executionId"], &event["done"]),
            (&json!(data), &id, &json!(false))
        );
    }
    let cancelled = client
        .ask("cancelSSHCommand", &[json!({"executionId": id})])
        .await;
    assert_eq!(cancelled["success"], true);
    let end = client
        .event_with("sshOutput", |event| event["done"] == true)
        .await;
    assert_eq!((&end["code"], &end["executionId"]), (&json!(-1), &id));
    let again = client
        .ask("cancelSSHCommand", &[json!({"executionId": id})])
        .await;
    assert_eq!(
        (&again["success"], &again["code"]),
        (&json!(false), &json!("NOT_RUNNING"))
    );
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_megabytes_are_cut_off_with_a_notice_and_hold_up_nobody() {
    let sshd = Sshd::start().await;
    let (served, vm) = served(&sshd).await;
    let mut client = Script::connected(&served.url(""), &json!({})).await;
    let flood = json!({"vmId": vm, "command": "head -c 100000000 /dev/zero | tr '\\0' x"});
    let begun = client.ask("execSSHCommand", &[flood]).await;
    let mut others = 0;
    while client.payloads("sshOutput").all(|event| event["done"] == false) {
        let reply = exec(&served, &vm, json!({"command": "echo meanwhile"}))
            .await
            .is(200);
        assert_eq!(reply["stdout"], "meanwhile\n");
        client.ask("getVMPoolStatus", &[]).await;
        others += 1;
    }
    let end = client
        .event_with("sshOutput", |event| event["done"] == true)
        .await;
    assert_eq!(
        (&end["code"], &end["executionId"]),
        (&json!(0), &begun["executionId"])
    );
    assert_eq!(end["bytes"], 100_000_000);
    assert!(others > 0);
    let told: usize = client
        .payloads("sshOutput")
        .map(|event| event["data"].as_str().unwrap().len())
        .sum();
    assert_eq!(told, 64 * 1024);
    let notices = client
        .payloads("sshOutput")
        .filter(|event| event["notice"].is_string());
    assert_eq!(notices.count(), 1);

    let reply = exec(
        &served,
        &vm,
        json!({"command": "head -c 200000 /dev/zero | tr '\\0' x"}),
    )
    .await
    .is(200);
    assert_eq!(reply["stdout"].as_str().unwrap().len(), 64 * 1024);
    assert_eq!(reply["truncated"], true);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_connection_is_told_written_down_and_an_alert() {
    let mut sshd = Sshd::start().await;
    let (served, vm) = served(&sshd).await;
    let mut news = served.coordinator.news();
    let mut lines = Lines::of(&served, &vm, json!({"command": "echo begun; sleep 600"})).await;
    while lines.next().await.unwrap()["data"] != "begun\n" {}
    sshd.kill();
    let end = lines.last().await;
    assert!(
        end["error"].as_str().unwrap().contains("connection was lost"),
        "{end}"
    );
    let audit = served.get("/api/admin/executions?limit=1").await.is(200);
    assert_eq!(audit["executions"][0]["state"], "connectionLost");
    let source = format!("ssh-failed-{vm}");
    let alerted = async {
        loop {
            if let Ok(Item::Alert(alert)) = news.recv().await
                && alert.source == source
            {
                return;
            }
        }
    };
    tokio::time::timeout(LIMIT, alerted).await.expect("an alert");
    let refused = async {
        loop {
            let answer = exec(&served, &vm, json!({"command": "true"})).await;
            if answer.status == 502 {
                return answer.refuses(502, "SSH_FAILED");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let body = tokio::time::timeout(LIMIT, refused).await.expect("a refusal");
    assert_eq!(body["vmId"], json!(vm));
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_so_many_run_at_once_on_one_vm() {
    let sshd = Sshd::start().await;
    let (served, vm) = served(&sshd).await;
    let done = sshd.path("done");
    let waiting = format!("until test -e {}; do sleep 0.05; done", done.display());
    let mut running = Vec::new();
    for _ in 0..3 {
        running.push(Lines::of(&served, &vm, json!({"command": waiting})).await);
    }
    exec(&served, &vm, json!({"command": "true"}))
        .await
        .refuses(503, "BUSY");
    std::fs::write(done, "").unwrap();
    for lines in &mut running {
        assert_eq!(lines.last().await["code"], 0);
    }
    exec(&served, &vm, json!({"command": "true"})).await.is(200);
    served.stop().await;
}

/// What a terminal has shown so far, with what comes until it has shown this.
async fn shows(client: &mut Script, shown: &mut String, wanted: &str) {
    while !shown.contains(wanted) {
        let event = client.event("terminalOutput").await;
        assert_eq!(event["done"], false, "{shown}{event}");
        shown.push_str(event["data"].as_str().unwrap());
    }
}

async fn state_of(served: &Served, id: &Value) -> Value {
    let audit = served.get("/api/admin/executions").await.is(200);
    let all = audit["executions"].as_array().unwrap().clone();
    all.into_iter()
        .find(|execution| execution["executionId"] == *id)
        .unwrap()
}

async fn until_closed(served: &Served, id: &Value) -> Value {
    let closed = async {
        loop {
            let execution = state_of(served, id).await;
            if execution["state"] != "running" {
                return execution;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LIMIT, closed).await.expect("it is closed")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_shows_what_is_typed_follows_its_size_and_ends_with_its_shell() {
    let sshd = Sshd::start().await;
    let (served, vm) = served(&sshd).await;
    let mut client = Script::connected(&served.url(""), &json!({})).await;
    let asked = json!({"vmId": vm, "columns": 80, "rows": 24, "term": "xterm"});
    let opened = client.ask("openTerminal", &[asked]).await;
    let id = opened["terminalId"].clone();
    assert_eq!((&opened["success"], &opened["vmId"]), (&json!(true), &json!(vm)));
    let say = |data: &str| json!({"terminalId": id, "data": data});
    let mut shown = String::new();
    client
        .emit("terminalInput", &[say("echo $((40+2)) $TERM; stty size\n")])
        .await;
    shows(&mut client, &mut shown, "42 xterm").await;
    shows(&mut client, &mut shown, "24 80").await;
    let resized = json!({"terminalId": id, "columns": 100, "rows": 40});
    client.emit("resizeTerminal", &[resized]).await;
    // The size travels beside the input: ask until it has come.
    while !shown.contains("40 100") {
        client.emit("terminalInput", &[say("stty size\n")]).await;
        let event = client.event("terminalOutput").await;
        shown.push_str(event["data"].as_str().unwrap());
    }
    // What is typed keeps its order.
    let text: String = ('a'..='z').collect();
    client.emit("terminalInput", &[say("echo ")]).await;
    for letter in text.chars() {
        client.emit("terminalInput", &[say(&letter.to_string())]).await;
    }
    client.emit("terminalInput", &[say(" | tr a-z A-Z\n")]).await;
    shows(&mut client, &mut shown, &text.to_uppercase()).await;
    client.emit("terminalInput", &[say("exit 5\n")]).await;
    let end = client
        .event_with("terminalOutput", |event| event["done"] == true)
        .await;
    assert_eq!((&end["code"], &end["terminalId"]), (&json!(5), &id));
    let audit = until_closed(&served, &id).await;
    assert_eq!(
        (&audit["kind"], &audit["state"], &audit["code"]),
        (&json!("terminal"), &json!("exited"), &json!(5))
    );
    client.emit("terminalInput", &[say("echo nobody\n")]).await;
    assert_eq!(client.event("vmError").await["code"], "NO_SUCH_TERMINAL");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_is_closed_by_its_client_with_its_client_and_by_an_administrator() {
    let sshd = Sshd::start().await;
    let (served, vm) = served(&sshd).await;
    let asked = json!({"vmId": vm, "columns": 80, "rows": 24});
    let mut client = Script::connected(&served.url(""), &json!({})).await;
    let mut stranger = Script::connected(&served.url(""), &json!({})).await;
    let closed = client.ask("openTerminal", std::slice::from_ref(&asked)).await["terminalId"].clone();
    let cancelled = client.ask("openTerminal", std::slice::from_ref(&asked)).await["terminalId"].clone();
    let left = client.ask("openTerminal", &[asked]).await["terminalId"].clone();

    // Nobody types into another's terminal.
    let typed = json!({"terminalId": closed, "data": "touch /tmp/never\n"});
    stranger.emit("terminalInput", &[typed]).await;
    assert_eq!(stranger.event("vmError").await["code"], "NO_SUCH_TERMINAL");

    client
        .emit("closeTerminal", &[json!({"terminalId": closed})])
        .await;
    let audit = until_closed(&served, &closed).await;
    assert_eq!(
        (&audit["state"], &audit["reason"]),
        (&json!("closed"), &json!("its client closed it"))
    );
    let path = format!("/api/admin/executions/{}/cancel", cancelled.as_str().unwrap());
    served.post(&path).await.is(200);
    assert_eq!(until_closed(&served, &cancelled).await["state"], "cancelled");
    client.close().await;
    let audit = until_closed(&served, &left).await;
    assert_eq!(audit["state"], "closed");
    assert!(
        audit["reason"].as_str().unwrap().contains("disconnected"),
        "{audit}"
    );
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_shows_nothing_holds_up_its_terminal_and_nobody_else() {
    let sshd = Sshd::start().await;
    let (served, vm) = served(&sshd).await;
    let mut client = Script::connected(&served.url(""), &json!({})).await;
    let asked = json!({"vmId": vm, "columns": 80, "rows": 24});
    let id = client.ask("openTerminal", &[asked]).await["terminalId"].clone();
    client.hold(true).await;
    // The prompt may have come before.
    let acknowledged = client.payloads("terminalOutput").count();
    let flood = json!({"terminalId": id, "data": "head -c 50000000 /dev/zero | tr '\\0' x\n"});
    client.emit("terminalInput", &[flood]).await;
    for _ in 0..=acknowledged {
        client.event("terminalOutput").await;
    }
    for _ in 0..5 {
        let reply = exec(&served, &vm, json!({"command": "echo meanwhile"}))
            .await
            .is(200);
        assert_eq!(reply["stdout"], "meanwhile\n");
        client.ask("getVMPoolStatus", &[]).await;
    }
    // One piece waits to be acknowledged, and no other has come.
    assert_eq!(client.payloads("terminalOutput").count(), acknowledged + 1);
    client.close().await;
    until_closed(&served, &id).await;
    served.stop().await;
}
