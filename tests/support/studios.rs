//! Simulated studios, sessions on them, and a studio made by hand.

use std::sync::{Arc, LazyLock};

use tokio::sync::mpsc;

use understudy::domain::instance::InstanceState;
use understudy::domain::sealed::Sealed;
use understudy::domain::studio::{
    Input, Json, Scene, SceneItem, Secret, StreamService, Studio, Transform, Transition, TransitionSource,
};
use understudy::infra::obs::{Connector, Endpoint, Error, Notice, ObwsConnector, Route, Session};
use understudy::infra::vault::Vault;
use understudy::sim::wire::MachineHandle;
use understudy::sim::world::{World, WorldConfig};

use super::{BRIEF, PLENTY};

const OBS_PORT: u16 = 4455;

/// A world with `studios` running machines.
pub async fn world(studios: u32) -> (World, Vec<MachineHandle>) {
    let world = World::start(WorldConfig::for_test(studios, 0)).await.unwrap();
    let running = world
        .instances()
        .into_iter()
        .filter(|i| i.state == InstanceState::Running);
    let machines = running.map(|i| world.machine(&i.instance_id).unwrap()).collect();
    (world, machines)
}

pub fn endpoint(machine: &MachineHandle) -> Endpoint {
    Endpoint {
        address: (machine.address(), OBS_PORT).into(),
        route: Route::Direct,
        password: Some(Secret::new("simulated")),
        connect_deadline: PLENTY,
        call_deadline: PLENTY,
    }
}

/// The key of all studios of a test: what is captured from one is restored on another.
pub static VAULT: LazyLock<Arc<Vault>> = LazyLock::new(|| Arc::new(Vault::ephemeral().unwrap()));

/// A stream key as it is captured.
pub fn sealed(key: &str) -> Option<Sealed> {
    VAULT.seal(&Secret::new(key)).unwrap()
}

pub fn connector() -> ObwsConnector {
    ObwsConnector::new(Arc::clone(&VAULT))
}

pub type Connected = (Arc<dyn Session>, mpsc::Receiver<Notice>);

pub async fn connect(machine: &MachineHandle) -> Connected {
    connector().connect(&endpoint(machine)).await.unwrap()
}

/// A session whose calls give up soon.
pub async fn connect_hasty(machine: &MachineHandle) -> Connected {
    let hasty = Endpoint {
        call_deadline: BRIEF,
        ..endpoint(machine)
    };
    connector().connect(&hasty).await.unwrap()
}

pub async fn refusal(endpoint: &Endpoint) -> Error {
    match connector().connect(endpoint).await {
        Ok(_) => panic!("connected"),
        Err(error) => error,
    }
}

/// The next notice.
pub async fn next(notices: &mut mpsc::Receiver<Notice>) -> Notice {
    let notice = tokio::time::timeout(PLENTY, notices.recv()).await;
    notice.expect("a notice in time").expect("the connection lives")
}

pub fn transform(x: f64) -> Transform {
    Transform {
        position_x: x,
        position_y: 0.1,
        rotation: 12.5,
        scale_x: 0.5,
        scale_y: 0.25,
        alignment: 5,
        bounds_type: "OBS_BOUNDS_NONE".to_owned(),
        bounds_alignment: 0,
        bounds_width: 0.0,
        bounds_height: 0.0,
        crop_left: 1,
        crop_right: 2,
        crop_top: 3,
        crop_bottom: 4,
    }
}

pub fn input(name: &str, kind: &str, settings: &str) -> Input {
    Input {
        name: name.to_owned(),
        kind: kind.to_owned(),
        settings: Json(settings.to_owned()),
        ..Input::default()
    }
}

pub fn item(source: &str, x: f64) -> SceneItem {
    SceneItem {
        source: source.to_owned(),
        enabled: true,
        locked: false,
        transform: transform(x),
    }
}

pub fn scene(name: &str, items: &[SceneItem]) -> Scene {
    Scene {
        name: name.to_owned(),
        items: items.to_vec(),
        ..Scene::default()
    }
}

fn source(name: &str, kind: &str) -> TransitionSource {
    TransitionSource {
        name: name.to_owned(),
        kind: kind.to_owned(),
        settings: None,
    }
}

/// A small studio made by hand. Inputs in the order of their names, as they are captured.
pub fn small() -> Studio {
    Studio {
        scene_collection: "Small".to_owned(),
        inputs: vec![
            input("red", "color_source_v3", r#"{"color":4278190335}"#),
            input("title", "text_ft2_source_v2", r#"{"text":"Hello"}"#),
        ],
        scenes: vec![
            scene("A", &[item("red", 1.0), item("title", 2.0), item("red", 3.0)]),
            scene("B", &[item("title", 4.0), item("A", 5.0)]),
        ],
        transition: Some(Transition {
            name: "Cut".to_owned(),
            duration_ms: None,
        }),
        // What a new scene collection has.
        transitions: vec![source("Cut", "cut_transition"), source("Fade", "fade_transition")],
        stream: Some(StreamService {
            kind: "rtmp_custom".to_owned(),
            server: Some("rtmp://127.0.0.1/live".to_owned()),
            key: sealed("small-key"),
            other: Json(r#"{"bwtest":false,"use_auth":false}"#.to_owned()),
        }),
        program_scene: "B".to_owned(),
        ..Studio::default()
    }
}

/// A scene of a captured studio.
pub fn scene_named<'a>(studio: &'a mut Studio, name: &str) -> &'a mut Scene {
    studio.scenes.iter_mut().find(|scene| scene.name == name).unwrap()
}
