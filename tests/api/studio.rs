//! A competition's studio through the API: what was captured, without its secrets, and in what studios differ.

use serde_json::{Value, json};
use understudy::domain::ids::{ShowId, VmId};
use understudy::sim::wire::MachineHandle;

use crate::served::Served;
use crate::shows::set_up;

const STUDIO: &str = "/api/competitions/finals/studio";

fn machine(served: &Served, vm: &str) -> MachineHandle {
    let vm = VmId::new(vm).unwrap();
    let state = served.coordinator.state();
    let instance = state.vm(&vm).unwrap().instance_id();
    served.stage.machine(instance).unwrap()
}

fn sentences(diff: &Value) -> Vec<&str> {
    let differences = diff["differences"].as_array().unwrap();
    differences
        .iter()
        .map(|difference| difference["sentence"].as_str().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_captured_studio_is_told_without_its_secrets() {
    let served = Served::with(1, 0).await;
    served.get(STUDIO).await.refuses(404, "NOT_CAPTURED");
    let vm = set_up(&served).await;
    let reply = served.get(STUDIO).await.is(200);
    assert_eq!(
        (&reply["competitionId"], &reply["vmId"]),
        (&json!("finals"), &json!(vm))
    );
    assert!(reply["capturedAt"].as_str().unwrap().ends_with('Z'), "{reply}");
    let studio = &reply["studio"];
    assert_eq!(studio["programScene"], "Camera 2 - Vault");
    assert_eq!(studio["scenes"].as_array().unwrap().len(), 12);
    let inputs = studio["inputs"].as_array().unwrap();
    let sound = inputs
        .iter()
        .find(|input| input["name"] == "Arena Sound")
        .unwrap();
    assert_eq!(sound["filters"][0]["settings"], json!({"open_threshold": -32.0}));
    assert_eq!(
        (&sound["audio"]["syncOffsetMs"], &sound["audio"]["monitor"]),
        (&json!(120), &json!("and_output"))
    );
    assert_eq!(
        (&studio["stream"]["kind"], &studio["stream"]["keySet"]),
        (&json!("rtmp_custom"), &json!(true))
    );
    let key = understudy::rehearsal::stage::stream_key(&ShowId::new("finals").unwrap());
    assert!(!reply.to_string().contains(&key), "{reply}");
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_that_producers_put_into_settings_are_not_told_either() {
    let served = Served::with(1, 0).await;
    let vm = set_up(&served).await;
    let settings = json!({
        "input": "srt://camera:9001?mode=caller&passphrase=hush-1&streamid=hush-2",
        "ffmpeg_options": "rtsp_transport=tcp password=hush-3",
        "pages": [{"url": "https://user:hush-4@graphics/?token=hush-5&page=2", "api_key": "hush-6"}],
    });
    machine(&served, &vm).operate(|studio, _| {
        let scene = studio.collection().program;
        let settings = settings.as_object().unwrap().clone();
        studio
            .create_input(scene, "Remote", "ffmpeg_source", settings, true)
            .unwrap();
    });
    let told = served
        .until("the new input is captured", |state| {
            let show = state.show(&ShowId::new("finals").unwrap())?;
            let studio = show.studio.as_ref()?;
            let input = studio.inputs.iter().find(|input| input.name == "Remote")?;
            Some((input.settings.0.clone(), format!("{studio:?}")))
        })
        .await;
    assert!(told.0.contains("hush-1"), "a spare needs it");
    assert!(!told.1.contains("hush"), "{}", told.1);
    let reply = served.get(STUDIO).await.is(200);
    let inputs = reply["studio"]["inputs"].as_array().unwrap();
    let remote = inputs.iter().find(|input| input["name"] == "Remote").unwrap();
    assert_eq!(
        remote["settings"]["input"],
        "srt://camera:9001?mode=caller&passphrase=(secret)&streamid=(secret)"
    );
    assert!(!reply.to_string().contains("hush"), "{reply}");

    machine(&served, &vm).load_example_studio("hush-key").unwrap();
    let diff = served.get(&format!("{STUDIO}/diff")).await.is(200);
    assert!(!diff.to_string().contains("hush"), "{diff}");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn studios_that_differ_are_told_apart() {
    let served = Served::with(2, 0).await;
    let path = format!("{STUDIO}/diff");
    served.get(&path).await.refuses(404, "NOT_ASSIGNED");
    let vm = set_up(&served).await;
    let diff = served.get(&path).await.is(200);
    assert_eq!(
        (&diff["left"], &diff["right"], &diff["same"]),
        (&json!("capture"), &json!(vm), &json!(true))
    );

    let state = served.coordinator.state();
    let other = state
        .vms()
        .map(|vm| vm.id.to_string())
        .find(|id| *id != vm)
        .unwrap();
    let diff = served
        .get(&format!("{path}?left={vm}&right={other}"))
        .await
        .is(200);
    assert_eq!(diff["same"], false);
    let found = sentences(&diff);
    assert!(found.contains(&"input \"Arena Sound\" is missing"), "{found:#?}");
    assert!(
        found.contains(&"stream key of the stream service: wanted (secret), found none"),
        "{found:#?}"
    );

    machine(&served, &other)
        .load_example_studio("another-key")
        .unwrap();
    let diff = served
        .get(&format!("{path}?left={vm}&right={other}"))
        .await
        .is(200);
    assert_eq!(
        sentences(&diff),
        ["stream key of the stream service: wanted (secret), found (secret)"]
    );
    assert!(!diff.to_string().contains("another-key"), "{diff}");
    served
        .get(&format!("{path}?right=nobody"))
        .await
        .refuses(404, "VM_NOT_FOUND");
    served.get(&format!("{path}?left=")).await.is(400);
}
