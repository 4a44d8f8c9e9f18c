//! How shows are moved, and when not: stopped, held, or without a spare; by a coordinator that was itself asleep.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::process::{Child, Command};
use understudy::actors::coordinator::Coordinator;
use understudy::config::Config;
use understudy::domain::failover::verdict::{Sign, Trouble};
use understudy::domain::failover::{Cause, Ending, Fence, Record};
use understudy::domain::ids::{InstanceId, ShowId};
use understudy::domain::show::Phase;
use understudy::domain::time::Timestamp;
use understudy::rehearsal::stage::{Setting, Stage, stream_key};
use understudy::sim::model::fault::{CloudFault, Fault, FaultKind};
use understudy::sim::world::WorldConfig;

use crate::support::eventually::eventually;
use crate::support::scene::{SOON, Scene};

/// Silence that the coordinator in a process of its own takes for a loss.
const SILENCE_LIMIT: Duration = Duration::from_secs(6);
/// After so much of it, every question to the studio has gone unanswered for its own two seconds.
const SUSPECTED: Duration = Duration::from_secs(3);

pub fn last_record(coordinator: &Coordinator, show: &ShowId) -> Record {
    let state = coordinator.state();
    state.show(show).unwrap().records.last().unwrap().clone()
}

/// The spare has another show's studio until the capture is restored there, and the move ends before that.
#[tokio::test(flavor = "multi_thread")]
async fn a_show_stopped_in_the_middle_of_its_move_starts_again_with_its_own_studio_and_stream() {
    let scene = Scene::set(2, 0, |_| ()).await;
    let (show, vm) = scene.on_air("gala").await;
    let coordinator = scene.coordinator();
    let spare = scene.other_than(&vm);
    let machine = scene.machine(&spare);
    machine.load_example_studio("key-of-yesterday").unwrap();
    machine.operate(|studio, _| {
        let scenes = studio.collection().scene_names();
        let replay = scenes.iter().find(|scene| scene.name == "Replay").unwrap();
        studio.set_program(replay.uuid).unwrap();
    });
    let program = |state: &understudy::domain::state::State| {
        let studio = state.show(&show)?.studio.clone()?;
        Some(studio.program_scene.clone())
    };
    let own = program(&coordinator.state()).unwrap();
    assert_ne!(own, "Replay");

    // The spare does not get as far as being restored.
    let spare_instance = scene.instance(&spare);
    let world = &scene.stage.world;
    world.fault(&spare_instance, Fault::StudioHang).unwrap();
    scene.crash_studio_of(&vm);
    scene
        .until("the old VM fenced and the spare not restored", |state| {
            let failover = state.show(&show)?.failover()?;
            (failover.fenced.is_some() && failover.restored_at.is_none()).then_some(())
        })
        .await;
    let stopped = coordinator.stop_show(show.clone(), None).await.unwrap();
    assert_eq!((stopped.vm, stopped.on_air), (spare.clone(), false));
    assert_eq!(last_record(&coordinator, &show).ending, Ending::Abandoned);

    world.heal(&spare_instance, FaultKind::StudioHang).unwrap();
    let started = coordinator.start_show(show.clone(), None).await.unwrap();
    assert_eq!((started.vm, started.on_air), (spare, true));
    let (service, on) = machine.operate(|studio, _| {
        let service = studio.service().key().map(str::to_owned);
        (service, studio.program_scene().map(str::to_owned))
    });
    assert_eq!(service, Some(stream_key(&show)));
    assert_eq!(on, Some(own.clone()));
    assert_eq!(program(&coordinator.state()), Some(own));
    assert_eq!(scene.stage.world.ingest().bytes("key-of-yesterday"), 0);
    scene.node.stop().await.unwrap();
}

/// Its producer stops it while its studio hangs, which then is taken for lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_show_whose_studio_fails_is_moved_without_its_stream() {
    let scene = Scene::set(2, 0, |_| ()).await;
    let (show, vm) = scene.on_air("gala").await;
    let (coordinator, ingest) = (scene.coordinator(), scene.stage.world.ingest());
    let instance = scene.instance(&vm);
    scene.stage.world.fault(&instance, Fault::StudioHang).unwrap();
    // It may be answered with the studio's failure or with the move's end: either way it is wanted no more.
    let _ = coordinator.stop_show(show.clone(), None).await;
    let to = scene
        .until("the move ended", |state| {
            let show = state.show(&show)?;
            (show.records.len() == 1).then(|| show.vm.clone())?
        })
        .await;
    assert_ne!(to, vm);
    assert_eq!(last_record(&coordinator, &show).ending, Ending::Moved);
    let state = coordinator.state();
    let after = state.show(&show).unwrap();
    assert_eq!(after.phase, Phase::OffAir);
    assert!(!after.stream_wanted);
    assert!(!scene.machine(&to).is_streaming());
    assert!(ingest.publishers(&stream_key(&show)).is_empty());
    scene.node.stop().await.unwrap();
}

/// A coordinator in a process of its own.
struct Process {
    child: Child,
    url: String,
    http: reqwest::Client,
}

impl Process {
    fn start(stage: &Stage) -> Self {
        // Bound and let go again: free now.
        let address: SocketAddr = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .unwrap()
            .local_addr()
            .unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_understudy"))
            .arg("serve")
            .env_clear()
            .envs(stage.environment(address))
            .env(
                "UNDERSTUDY__FAILOVER__SILENCE_LIMIT",
                format!("{}s", SILENCE_LIMIT.as_secs()),
            )
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self {
            child,
            url: format!("http://{address}"),
            http: reqwest::Client::builder()
                .no_proxy()
                .timeout(SOON)
                .build()
                .unwrap(),
        }
    }

    async fn get(&self, path: &str) -> Option<Value> {
        let answer = self.http.get(format!("{}{path}", self.url)).send().await.ok()?;
        answer.error_for_status().ok()?.json().await.ok()
    }

    async fn post(&self, path: &str) -> Value {
        let asked = self.http.post(format!("{}{path}", self.url)).send().await;
        let answer = asked.unwrap().error_for_status().unwrap();
        answer.json().await.unwrap()
    }

    async fn signal(&self, signal: &str) {
        let id = self.child.id().unwrap().to_string();
        let sent = Command::new("kill").args([signal, &id]).status().await.unwrap();
        assert!(sent.success());
    }
}

/// Its studio hangs for a moment, and the coordinator sleeps before it has heard that this is over. By its clock the
/// studio has been silent for longer than is taken for a loss: because nobody listened.
#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_was_asleep_looks_afresh_before_it_moves_anything() {
    let mut base = Config::default();
    base.pool.warm_count = 0;
    base.cloud.sweep_interval = Duration::from_secs(1);
    let world = WorldConfig::for_test(2, 0);
    let stage = Stage::set(Setting { world, base }).await.unwrap();
    let process = Process::start(&stage);
    eventually("two VMs available", SOON, async || {
        let pool = process.get("/api/admin/vm-pool").await?;
        (pool["counts"]["available"].as_u64()? == 2).then_some(())
    })
    .await;
    let show = ShowId::new("gala").unwrap();
    let assigned = process.post("/api/competitions/gala/vm/assign").await;
    let instance = InstanceId::new(assigned["instanceId"].as_str().unwrap()).unwrap();
    let key = stream_key(&show);
    stage
        .machine(&instance)
        .unwrap()
        .load_example_studio(&key)
        .unwrap();
    process.post("/api/competitions/gala/show/start").await;

    let (ingest, clock) = (stage.world.ingest(), stage.world.clock());
    let since = async |start: Timestamp, span: Duration| {
        let what = format!("{span:?} are over");
        eventually(&what, SOON, async || {
            (clock.now().since(start) > span).then_some(())
        })
        .await;
    };
    stage.world.fault(&instance, Fault::StudioHang).unwrap();
    let hung_at = clock.now();
    since(hung_at, SUSPECTED).await;
    process.signal("-STOP").await;
    stage.world.heal(&instance, FaultKind::StudioHang).unwrap();
    since(hung_at, SILENCE_LIMIT * 2).await;
    process.signal("-CONT").await;
    let awake_at = clock.now();
    since(awake_at, SILENCE_LIMIT + SUSPECTED).await;
    let moves = process.get("/api/competitions/gala/failovers").await.unwrap();
    assert_eq!(moves["failovers"], serde_json::json!([]));
    assert_eq!(moves["current"], Value::Null);
    assert_eq!(ingest.publishers(&key).len(), 1);

    // Without a spare that can be used at once the show would go back to its old VM, and that move has no such figure.
    eventually("the other VM available", SOON, async || {
        let pool = process.get("/api/admin/vm-pool").await?;
        (pool["counts"]["available"] == 1).then_some(())
    })
    .await;
    // It has seen the output rise again: its next move says when it last did.
    stage.world.fault(&instance, Fault::StudioCrash).unwrap();
    let moved = eventually("a move with a reason", SOON, async || {
        let moves = process.get("/api/competitions/gala/failovers").await?;
        moves["failovers"].as_array()?.first().cloned()
    })
    .await;
    assert_eq!(moved["cause"], "studio-lost");
    assert_eq!(moved["ending"], "on-air", "{moved}");
    let off_air = moved["timeline"]["offAirMs"].as_u64().map(Duration::from_millis);
    assert!(off_air.unwrap() < clock.now().since(awake_at), "{moved}");
}

/// Its studio is reached through it, as all are here.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_ssh_server_is_not_a_lost_studio() {
    let scene = Scene::set(2, 0, |config| {
        config.failover.silence_limit = Duration::from_secs(2);
    })
    .await;
    let (show, vm) = scene.on_air("gala").await;
    let (world, instance) = (&scene.stage.world, scene.instance(&vm));
    let (key, clock) = (stream_key(&show), world.clock());
    let obs = || scene.coordinator().board().latest(&vm).signals.obs;
    world.fault(&instance, Fault::SshDown).unwrap();
    let cut_at = eventually("the way to the studio is known to be cut", SOON, async || {
        matches!(
            obs(),
            Sign::Bad {
                how: Trouble::Cut,
                ..
            }
        )
        .then(|| clock.now())
    })
    .await;
    eventually("three silence limits are over", SOON, async || {
        (clock.now().since(cut_at) > Duration::from_secs(6)).then_some(())
    })
    .await;
    let state = scene.coordinator().state();
    let after = state.show(&show).unwrap();
    assert_eq!((&after.phase, after.vm.as_ref()), (&Phase::OnAir, Some(&vm)));
    assert_eq!(after.records.len(), 0);
    assert_eq!(world.ingest().publishers(&key).len(), 1);

    world.heal(&instance, FaultKind::SshDown).unwrap();
    eventually("the studio is heard again", SOON, async || {
        matches!(obs(), Sign::Good { .. }).then_some(())
    })
    .await;
    scene.crash_studio_of(&vm);
    assert_ne!(scene.moved(&show, 1).await, vm);
    assert_eq!(
        last_record(&scene.coordinator(), &show).failover.cause,
        Cause::StudioLost
    );
    scene.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_lost_ssh_server_the_show_server_tells_of_a_lost_studio_and_the_cloud_fences_it() {
    let scene = Scene::set(2, 0, |config| {
        config.failover.silence_limit = Duration::from_secs(2);
    })
    .await;
    let (show, vm) = scene.on_air("gala").await;
    let instance = scene.instance(&vm);
    scene.stage.world.fault(&instance, Fault::SshDown).unwrap();
    scene.crash_studio_of(&vm);
    assert_ne!(scene.moved(&show, 1).await, vm);
    let record = last_record(&scene.coordinator(), &show);
    assert_eq!(record.failover.cause, Cause::StudioLost);
    assert_eq!(
        record.failover.fenced.map(|(how, _)| how),
        Some(Fence::MachineOff)
    );
    assert_eq!(scene.stage.world.ingest().publishers(&stream_key(&show)).len(), 1);
    scene.node.stop().await.unwrap();
}

/// Neither silence nor the next look at the whole cloud would have told in time.
#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_is_switched_off_is_lost_as_soon_as_its_studio_is_out_of_sight() {
    let scene = Scene::set(2, 0, |config| {
        config.failover.silence_limit = Duration::from_secs(300);
        config.cloud.sweep_interval = Duration::from_secs(600);
    })
    .await;
    let (show, vm) = scene.on_air("gala").await;
    scene.stage.world.stop_instance(&scene.instance(&vm)).unwrap();
    assert_ne!(scene.moved(&show, 1).await, vm);
    let record = last_record(&scene.coordinator(), &show);
    assert_eq!(record.failover.cause, Cause::MachineLost);
    scene.node.stop().await.unwrap();
}

/// One word of the cloud, without a list that says the same, is no reason to leave a machine that may be on air.
#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_the_cloud_does_not_find_while_its_studio_is_out_of_sight_keeps_its_show() {
    let scene = Scene::set(2, 0, |config| {
        config.cloud.sweep_interval = Duration::from_secs(600);
    })
    .await;
    let (show, vm) = scene.on_air("gala").await;
    let (world, instance) = (&scene.stage.world, scene.instance(&vm));
    world.cloud_fault(CloudFault::Mislaid);
    world.fault(&instance, Fault::SshDown).unwrap();
    let lost_at = world.clock().now();
    eventually("it was looked for", SOON, async || {
        (world.clock().now().since(lost_at) > Duration::from_secs(4)).then_some(())
    })
    .await;
    let obs = scene.coordinator().board().latest(&vm).signals.obs;
    assert!(
        matches!(
            obs,
            Sign::Bad {
                how: Trouble::Cut,
                ..
            }
        ),
        "{obs:?}"
    );
    let state = scene.coordinator().state();
    let after = state.show(&show).unwrap();
    assert_eq!((&after.phase, after.vm.as_ref()), (&Phase::OnAir, Some(&vm)));
    assert_eq!(after.records.len(), 0);
    scene.node.stop().await.unwrap();
}

/// Right after its start a coordinator has no connection to any machine, which is no reason to cut one's power.
#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_has_just_started_moves_a_show_without_cutting_its_machines_power() {
    let scene = Scene::set(2, 0, |_| ()).await;
    let (show, vm) = scene.on_air("gala").await;
    let scene = scene.restarted().await;
    let coordinator = scene.coordinator();
    coordinator.failover(show.clone(), None, None).await.unwrap();
    assert_ne!(scene.moved(&show, 1).await, vm);
    let fenced = last_record(&coordinator, &show).failover.fenced;
    assert_eq!(fenced.map(|(how, _)| how), Some(Fence::StreamStopped));
    let ingest = scene.stage.world.ingest();
    assert!(ingest.overlaps().is_empty(), "{:?}", ingest.overlaps());
    scene.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_machine_is_lost_also_when_its_ssh_server_was_lost_before() {
    let scene = Scene::set(2, 0, |config| {
        config.failover.silence_limit = Duration::from_secs(2);
    })
    .await;
    let (show, vm) = scene.on_air("gala").await;
    let (world, instance) = (&scene.stage.world, scene.instance(&vm));
    world.fault(&instance, Fault::SshDown).unwrap();
    eventually("the way to the studio is known to be cut", SOON, async || {
        let obs = scene.coordinator().board().latest(&vm).signals.obs;
        matches!(
            obs,
            Sign::Bad {
                how: Trouble::Cut,
                ..
            }
        )
        .then_some(())
    })
    .await;
    world.fault(&instance, Fault::Blackhole).unwrap();
    assert_ne!(scene.moved(&show, 1).await, vm);
    assert_eq!(
        last_record(&scene.coordinator(), &show).failover.cause,
        Cause::MachineLost
    );
    scene.node.stop().await.unwrap();
}
