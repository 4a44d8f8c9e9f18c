//! A show's studio made from its configuration: on the VM it is given, when the configuration changes, and on a spare.

use std::time::Duration;

use serde_json::{Map, Value, json};
use understudy::actors::coordinator::{Apply, Assign, CommandError, Configure, Release};
use understudy::domain::configuration::Made;
use understudy::domain::ids::{ShowId, VmId};
use understudy::domain::show::Phase;
use understudy::domain::studio::Secret;
use understudy::infra::obs::Means;
use understudy::infra::template::{Stream, Templates};
use understudy::sim::model::fault::{Fault, FaultKind};

use crate::support::scene::{SOON, Scene};
use crate::support::studios::{connect, sealed, world};

const KEY: &str = "key-of-gala";

fn gala() -> ShowId {
    ShowId::new("gala").unwrap()
}

fn variables(title: &str) -> Map<String, Value> {
    let cameras = ["Floor", "Vault", "Bars", "Beam"];
    let cameras: Vec<Value> = cameras
        .iter()
        .enumerate()
        .map(|(index, name)| json!({"name": name, "port": 9001 + index}))
        .collect();
    let variables =
        json!({"title": title, "cameras": cameras, "graphics_url": "http://127.0.0.1:3003/overlay"});
    variables.as_object().unwrap().clone()
}

fn configure(scene: &Scene, title: &str, apply: Apply) -> Configure {
    Configure {
        template: "multi-camera".to_owned(),
        variables: variables(title),
        stream_server: Some(scene.stage.world.ingest().server_url()),
        stream_key: Some(Secret::new(KEY)),
        apply,
    }
}

async fn made(scene: &Scene) -> (VmId, Made) {
    scene
        .until("the studio made", |state| {
            let show = state.show(&gala())?;
            Some((show.vm.clone()?, show.made.clone()?))
        })
        .await
}

/// What a studio's slate for the break says.
fn break_text(scene: &Scene, vm: &VmId) -> Option<String> {
    scene.machine(vm).operate(|studio, _| {
        let mut inputs = studio.collection().inputs.iter();
        let slate = inputs.find(|input| input.name == "Break Text")?;
        slate.settings.get("text")?.as_str().map(str::to_owned)
    })
}

#[tokio::test]
async fn a_studio_that_was_made_from_a_template_is_made_again_without_a_change() {
    let (_world, machines) = world(1).await;
    machines[0].load_example_studio("of-another-show").unwrap();
    let templates = Templates::load(None).unwrap();
    let stream = Stream {
        server: Some("rtmp://127.0.0.1/live".to_owned()),
        key: sealed(KEY),
    };
    let studio = templates
        .get("multi-camera")
        .unwrap()
        .render("gala", &variables("Gala"), stream)
        .unwrap();
    let (session, _notices) = connect(&machines[0]).await;
    let first = session.restore(&studio, &Means::Requests).await.unwrap();
    assert!(first.requests > 50, "{first:?}");
    assert_eq!(first.differences, Vec::<String>::new());
    let second = session.restore(&studio, &Means::Requests).await.unwrap();
    assert_eq!((second.requests, second.differences), (0, Vec::new()));
    let captured = session.capture().await.unwrap();
    assert_eq!(captured.scenes, studio.scenes);
    assert_eq!(
        (captured.stream.unwrap().key, captured.program_scene),
        (sealed(KEY), "Starting Soon".to_owned())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configured_show_has_its_studio_on_the_vm_it_is_given_and_streams_under_its_key() {
    let scene = Scene::set(2, 0, |_| ()).await;
    let coordinator = scene.coordinator();
    coordinator
        .set_up_show(gala(), configure(&scene, "Gala", Apply::OffAir))
        .await
        .unwrap();
    let waiting = coordinator.state().show(&gala()).unwrap().clone();
    assert_eq!((waiting.phase.clone(), waiting.made.clone()), (Phase::Idle, None));
    let assigned = coordinator.assign(gala(), Assign::default()).await.unwrap();
    // Whoever starts it at once waits for the studio.
    let started = coordinator.start_show(gala(), None).await.unwrap();
    assert_eq!((&started.vm, started.on_air), (&assigned.vm, true));
    let (vm, made) = made(&scene).await;
    assert_eq!((&vm, made.differences), (&assigned.vm, Vec::new()));
    let found = scene
        .until("the studio compared", |state| {
            state.show(&gala())?.made.as_ref()?.comparison.clone()
        })
        .await;
    assert_eq!(found.differences, Vec::<String>::new());
    assert_eq!(break_text(&scene, &vm).as_deref(), Some("Gala: back in a moment"));
    assert_eq!(scene.stage.world.ingest().publishers(KEY).len(), 1);

    scene.crash_studio_of(&vm);
    let spare = scene.moved(&gala(), 1).await;
    assert_eq!(
        break_text(&scene, &spare).as_deref(),
        Some("Gala: back in a moment")
    );
    scene.node.stop().await.unwrap();
}

/// The studio dies before it was ever captured.
#[tokio::test(flavor = "multi_thread")]
async fn a_show_without_a_capture_is_restored_from_its_configuration() {
    let scene = Scene::set(2, 0, |config| {
        config.obs.capture_debounce = SOON;
        config.obs.capture_interval = SOON;
    })
    .await;
    let coordinator = scene.coordinator();
    coordinator
        .set_up_show(gala(), configure(&scene, "Gala", Apply::OffAir))
        .await
        .unwrap();
    coordinator.assign(gala(), Assign::default()).await.unwrap();
    let (vm, _) = made(&scene).await;
    assert!(coordinator.state().show(&gala()).unwrap().studio.is_none());
    coordinator.failover(gala(), None, None).await.unwrap();
    let spare = scene
        .until("the show moved", |state| {
            let show = state.show(&gala())?;
            (show.records.len() == 1).then(|| show.vm.clone())?
        })
        .await;
    assert_ne!(spare, vm);
    assert_eq!(
        break_text(&scene, &spare).as_deref(),
        Some("Gala: back in a moment")
    );
    scene.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn on_air_nothing_is_touched_unless_that_is_asked_for() {
    let scene = Scene::set(1, 0, |_| ()).await;
    let coordinator = scene.coordinator();
    coordinator
        .set_up_show(gala(), configure(&scene, "One", Apply::OffAir))
        .await
        .unwrap();
    coordinator.assign(gala(), Assign::default()).await.unwrap();
    let vm = coordinator.start_show(gala(), None).await.unwrap().vm;
    let refused = coordinator
        .set_up_show(gala(), configure(&scene, "Two", Apply::OffAir))
        .await;
    assert!(
        matches!(refused, Err(CommandError::WrongPhase { .. })),
        "{refused:?}"
    );
    coordinator
        .set_up_show(gala(), configure(&scene, "Two", Apply::Later))
        .await
        .unwrap();
    assert_eq!(break_text(&scene, &vm).as_deref(), Some("One: back in a moment"));

    coordinator
        .set_up_show(gala(), configure(&scene, "Three", Apply::Now))
        .await
        .unwrap();
    let (_, made) = made(&scene).await;
    assert_eq!(made.differences, Vec::<String>::new());
    assert_eq!(
        break_text(&scene, &vm).as_deref(),
        Some("Three: back in a moment")
    );
    assert_eq!(coordinator.state().show(&gala()).unwrap().phase, Phase::OnAir);
    assert_eq!(scene.stage.world.ingest().publishers(KEY).len(), 1);

    coordinator.release(gala(), Release::default()).await.unwrap();
    let kept = coordinator.state().show(&gala()).unwrap().configuration.clone();
    assert!(
        kept.unwrap().variables.0.contains("Three"),
        "the configuration outlives the VM"
    );
    scene.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_changes_off_air_is_made_at_once_and_the_key_stays() {
    let scene = Scene::set(1, 0, |_| ()).await;
    let coordinator = scene.coordinator();
    coordinator.assign(gala(), Assign::default()).await.unwrap();
    coordinator
        .set_up_show(gala(), configure(&scene, "One", Apply::OffAir))
        .await
        .unwrap();
    let (vm, first) = made(&scene).await;
    let mut again = configure(&scene, "One", Apply::OffAir);
    again.stream_key = None;
    coordinator.set_up_show(gala(), again).await.unwrap();
    assert_eq!(made(&scene).await.1, first, "said twice, made once");
    let mut other = configure(&scene, "Two", Apply::OffAir);
    other.stream_key = None;
    coordinator.set_up_show(gala(), other).await.unwrap();
    made(&scene).await;
    assert_eq!(break_text(&scene, &vm).as_deref(), Some("Two: back in a moment"));
    assert_eq!(scene.machine(&vm).view().stream_key, Some(Secret::new(KEY)));
    scene.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_refused_before_anything_is_written() {
    let scene = Scene::set(0, 0, |_| ()).await;
    let coordinator = scene.coordinator();
    for expected in ["template", "variables.cameras", "stream.server", "stream.key"] {
        let mut ask = configure(&scene, "Gala", Apply::OffAir);
        match expected {
            "template" => ask.template = "nine-camera".to_owned(),
            "variables.cameras" => drop(ask.variables.remove("cameras")),
            "stream.server" => ask.stream_server = Some("http://x".to_owned()),
            _ => ask.stream_key = Some(Secret::new("a\nb")),
        }
        match coordinator.set_up_show(gala(), ask).await {
            Err(CommandError::Invalid { field, message }) => {
                assert_eq!(field, expected, "{message}");
                assert!(!message.contains(KEY));
            }
            other => panic!("{expected}: {other:?}"),
        }
    }
    assert!(coordinator.state().show(&gala()).is_none());
    scene.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_studio_that_was_being_made_when_the_coordinator_stopped_is_made_by_the_next() {
    let scene = Scene::set(1, 0, |_| ()).await;
    let coordinator = scene.coordinator();
    let vm = coordinator.assign(gala(), Assign::default()).await.unwrap().vm;
    let instance = scene.instance(&vm);
    scene.stage.world.fault(&instance, Fault::StudioHang).unwrap();
    let ask = configure(&scene, "Gala", Apply::OffAir);
    coordinator.set_up_show(gala(), ask).await.unwrap();
    let Scene { stage, node } = scene;
    node.stop().await.unwrap();
    stage.world.heal(&instance, FaultKind::StudioHang).unwrap();
    let node = stage.coordinator(|_| None).await.unwrap();
    let scene = Scene { stage, node };
    assert_eq!(made(&scene).await.1.differences, Vec::<String>::new());
    assert_eq!(break_text(&scene, &vm).as_deref(), Some("Gala: back in a moment"));
    scene.node.stop().await.unwrap();
}

/// Long enough to see that nothing is sent.
const PROMPT: Duration = Duration::from_secs(1);

/// Nobody listens where it streams to.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_fails_says_where_the_stream_was_to_go_and_what_is_not_set() {
    const NOWHERE: &str = "rtmp://127.0.0.1:9/live";
    let scene = Scene::set(1, 0, |config| config.failover.verify_deadline = PROMPT).await;
    let coordinator = scene.coordinator();
    coordinator.assign(gala(), Assign::default()).await.unwrap();
    for (key, said) in [
        (KEY, "it streams to rtmp://127.0.0.1:9/live"),
        (
            "",
            "it streams to rtmp://127.0.0.1:9/live, and no stream key is set",
        ),
    ] {
        let mut ask = configure(&scene, "Gala", Apply::OffAir);
        ask.stream_server = Some(NOWHERE.to_owned());
        ask.stream_key = Some(Secret::new(key));
        coordinator.set_up_show(gala(), ask).await.unwrap();
        made(&scene).await;
        match coordinator.start_show(gala(), None).await {
            Err(CommandError::Studio { message, .. }) => assert!(message.ends_with(said), "{message}"),
            other => panic!("{other:?}"),
        }
    }
    scene.node.stop().await.unwrap();
}
