//! What is owed to a show: a wish, once recorded, is carried out, whoever dies or stalls on the way.

use std::time::Duration;

use futures_util::future::poll_immediate;
use tokio::task::JoinHandle;
use understudy::actors::coordinator::{Assign, CommandError, Coordinator, Release, Released, StreamTurned};
use understudy::config::Config;
use understudy::domain::execution::Deed;
use understudy::domain::ids::{RequestKey, ShowId};
use understudy::domain::show::Phase;
use understudy::domain::vm::{Power, Status};
use understudy::rehearsal::stage::stream_key;
use understudy::sim::world::WorldConfig;

use crate::support::eventually::eventually;
use crate::support::scene::{SOON, Scene};

/// Long enough that another command arrives before a stream has stopped, within what a studio is waited for.
const SLOW_STOP: Duration = Duration::from_secs(1);
/// Longer than a test needs between the commands of a cleaning and the look at the studio that they restart.
const SLOW_STUDIO: Duration = Duration::from_secs(2);
/// Short against the ledger's patience with a file that another program has locked, which is two seconds.
const COMMIT_DEADLINE: Duration = Duration::from_millis(400);

/// How long a studio may refuse connections before it counts as lost, by default.
const STUDIO_GRACE: Duration = Duration::from_millis(200);
/// Long for an answer from memory, short against the ledger's patience.
const SHORTLY: Duration = Duration::from_millis(200);

type Turn = JoinHandle<Result<StreamTurned, CommandError>>;

fn start(coordinator: &Coordinator, show: &ShowId) -> Turn {
    let (coordinator, show) = (coordinator.clone(), show.clone());
    tokio::spawn(async move { coordinator.start_show(show, None).await })
}

fn stop(coordinator: &Coordinator, show: &ShowId) -> Turn {
    let (coordinator, show) = (coordinator.clone(), show.clone());
    tokio::spawn(async move { coordinator.stop_show(show, None).await })
}

fn release(
    coordinator: &Coordinator,
    show: &ShowId,
    name: &str,
) -> JoinHandle<Result<Released, CommandError>> {
    let (coordinator, show) = (coordinator.clone(), show.clone());
    let ask = Release {
        key: Some(key(name)),
        ..Release::default()
    };
    tokio::spawn(async move { coordinator.release(show, ask).await })
}

fn key(name: &str) -> RequestKey {
    RequestKey::new(name).unwrap()
}

/// A world in which streams take their time to stop.
fn slow_to_stop(warm: u32) -> WorldConfig {
    let mut world = WorldConfig::for_test(warm, 0);
    world.machine.output.stop = SLOW_STOP;
    world
}

async fn until_wanted(scene: &Scene, show: &ShowId, wanted: bool) {
    let what = format!("the stream wanted: {wanted}");
    scene
        .until(&what, |state| {
            (state.show(show)?.stream_wanted == wanted).then_some(())
        })
        .await;
}

async fn until_releasing(scene: &Scene, show: &ShowId) {
    scene
        .until("the release begun", |state| {
            matches!(state.show(show)?.phase, Phase::Releasing { .. }).then_some(())
        })
        .await;
}

async fn until_idle(scene: &Scene, show: &ShowId) {
    scene
        .until("the show given back its VM", |state| {
            (state.show(show)?.phase == Phase::Idle).then_some(())
        })
        .await;
}

async fn until_off_air(scene: &Scene, show: &ShowId) {
    scene
        .until("the show off air", |state| {
            let show = state.show(show)?;
            (show.phase == Phase::OffAir && !show.may_publish).then_some(())
        })
        .await;
    assert!(
        scene
            .stage
            .world
            .ingest()
            .publishers(&stream_key(show))
            .is_empty()
    );
}

/// On air by the ledger's word, and by the ingest's.
async fn until_on_air(scene: &Scene, show: &ShowId) {
    scene
        .until("the show on air", |state| {
            (state.show(show)?.phase == Phase::OnAir).then_some(())
        })
        .await;
    let key = stream_key(show);
    let ingest = scene.stage.world.ingest();
    assert!(
        ingest
            .until(SOON, |ingest| ingest.publishers(&key).len() == 1)
            .await
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_given_while_a_stop_is_under_way_is_carried_out_after_it() {
    let scene = Scene::world(slow_to_stop(1), 1, |_| ()).await;
    let (show, _) = scene.on_air("gala").await;
    let coordinator = scene.coordinator();
    let stopping = stop(&coordinator, &show);
    until_wanted(&scene, &show, false).await;
    assert_eq!(coordinator.state().show(&show).unwrap().phase, Phase::OnAir);
    let started = start(&coordinator, &show).await.unwrap().unwrap();
    assert!(started.on_air);
    assert!(!stopping.await.unwrap().unwrap().on_air);
    let after = coordinator.state().show(&show).unwrap().clone();
    assert_eq!(after.phase, Phase::OnAir);
    assert!(after.stream_wanted);
    let stretches = scene.stage.world.ingest().stretches().len();
    assert_eq!(stretches, 2, "it was off the air in between");
    scene.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_starts_and_stops_in_quick_succession_the_last_one_holds() {
    let scene = Scene::world(slow_to_stop(1), 1, |_| ()).await;
    let (show, _) = scene.on_air("gala").await;
    let coordinator = scene.coordinator();
    coordinator.stop_show(show.clone(), None).await.unwrap();
    let first = start(&coordinator, &show);
    until_wanted(&scene, &show, true).await;
    let stopping = stop(&coordinator, &show);
    until_wanted(&scene, &show, false).await;
    let last = start(&coordinator, &show);
    assert!(last.await.unwrap().unwrap().on_air);
    let first = first.await.unwrap();
    assert!(matches!(first, Err(CommandError::Refused(_))), "{first:?}");
    assert!(!stopping.await.unwrap().unwrap().on_air);
    assert_eq!(coordinator.state().show(&show).unwrap().phase, Phase::OnAir);
    until_on_air(&scene, &show).await;
    scene.node.stop().await.unwrap();
}

/// Whoever was to carry it out dies as it is recorded.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_outlives_the_actor_that_was_told_of_it() {
    let scene = Scene::set(1, 0, |_| ()).await;
    let (show, vm) = scene.on_air("gala").await;
    let coordinator = scene.coordinator();
    let stall = Stall::of(&scene);
    let mut stopping = Box::pin(coordinator.stop_show(show.clone(), None));
    assert!(poll_immediate(stopping.as_mut()).await.is_none());
    let busy = tokio::time::timeout(SHORTLY, coordinator.hold(show.clone(), false, None)).await;
    assert!(busy.is_err(), "it waits for the ledger");
    assert!(coordinator.kill_show_actor(&show));
    // Nobody asks again.
    drop(stopping);
    stall.end();
    until_off_air(&scene, &show).await;
    assert!(!scene.machine(&vm).is_streaming());
    scene.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_shows_released_with_one_key_the_second_is_refused_and_stays_as_it_was() {
    let scene = Scene::world(slow_to_stop(2), 2, |_| ()).await;
    let (gala, _) = scene.on_air("gala").await;
    let (finals, _) = scene.on_air("finals").await;
    let coordinator = scene.coordinator();
    let releasing = release(&coordinator, &gala, "one");
    until_releasing(&scene, &gala).await;
    let refused = release(&coordinator, &finals, "one").await.unwrap();
    assert_eq!(refused, Err(CommandError::KeyReused));
    assert_eq!(coordinator.state().show(&finals).unwrap().phase, Phase::OnAir);
    releasing.await.unwrap().unwrap();
    until_on_air(&scene, &finals).await;
    scene.node.stop().await.unwrap();
}

/// Its answer is lost with whoever was to give it, and the show has another VM by the time it is asked for again.
#[tokio::test(flavor = "multi_thread")]
async fn a_release_answers_its_repetition_as_before_though_whoever_carried_it_out_died() {
    for coordinator_too in [false, true] {
        let scene = Scene::world(slow_to_stop(2), 2, |_| ()).await;
        let (show, vm) = scene.on_air("gala").await;
        let first = release(&scene.coordinator(), &show, "first");
        until_releasing(&scene, &show).await;
        // Another request for the same release, and the first one again.
        let second = release(&scene.coordinator(), &show, "second");
        scene
            .until("the second key known", |state| {
                state.done(&key("second")).map(drop)
            })
            .await;
        let scene = if coordinator_too {
            let Scene { stage, node } = scene;
            node.stop().await.unwrap();
            let node = stage.coordinator(|_| None).await.unwrap();
            Scene { stage, node }
        } else {
            assert!(scene.coordinator().kill_show_actor(&show));
            scene
        };
        for waiting in [first, second] {
            // Asked again of the actor that takes over; with the coordinator whoever waits is told that it ends.
            assert_eq!(waiting.await.unwrap().is_ok(), !coordinator_too);
        }
        until_idle(&scene, &show).await;
        scene.producer().until_available(1, SOON).await.unwrap();
        let coordinator = scene.coordinator();
        coordinator.assign(show.clone(), Assign::default()).await.unwrap();
        for name in ["first", "second"] {
            let again = release(&coordinator, &show, name).await.unwrap().unwrap();
            assert_eq!((again.vm.as_ref(), again.repeated), (Some(&vm), true), "{name}");
        }
        assert!(
            coordinator.state().vm_of_show(&show).is_some(),
            "it was released again"
        );
        scene.node.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_wants_more_of_a_release_than_it_was_begun_with_is_refused_and_others_join() {
    let ask = |name, archive, stop_vm| Release {
        archive,
        stop_vm,
        key: Some(key(name)),
        ..Release::default()
    };
    for stops_vm in [false, true] {
        let scene = Scene::world(slow_to_stop(1), 1, |_| ()).await;
        let (show, vm) = scene.on_air("gala").await;
        let coordinator = scene.coordinator();
        let asked = |ask| {
            let (coordinator, show) = (coordinator.clone(), show.clone());
            tokio::spawn(async move { coordinator.release(show, ask).await })
        };
        let mut joined = vec![asked(ask("first", false, stops_vm))];
        until_releasing(&scene, &show).await;
        let refused = asked(ask("archive", true, stops_vm)).await.unwrap().unwrap_err();
        assert!(refused.to_string().contains("archiveRecordings"), "{refused}");
        let stop = asked(ask("stop", false, true));
        if stops_vm {
            joined.push(stop);
        } else {
            let refused = stop.await.unwrap().unwrap_err();
            assert!(refused.to_string().contains("stopVM"), "{refused}");
            let state = coordinator.state();
            assert!(state.done(&key("stop")).is_none(), "nothing was done for it");
        }
        joined.push(asked(ask("less", false, false)));
        for waiting in joined {
            assert_eq!(waiting.await.unwrap().unwrap().vm.as_ref(), Some(&vm));
        }
        scene.node.stop().await.unwrap();
    }
}

/// Whoever asks while it is not known whether the end was recorded is told once it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_release_whose_end_the_ledger_was_slow_to_record_is_answered() {
    let mut world = WorldConfig::for_test(1, 0);
    world.machine.studio = SLOW_STUDIO;
    let scene = Scene::world(world, 1, impatient).await;
    let (show, vm) = scene.on_air("gala").await;
    let coordinator = scene.coordinator();
    let first = release(&coordinator, &show, "first");
    // All that is left to be done is to look at the studio once it has come back, and to record the end.
    scene
        .until("all commands of the cleaning run", |state| {
            let mut ended = state.executions().latest();
            let last = |deed: &Deed| matches!(deed, Deed::Operation { id, .. } if id.as_str() == "CLEAR_TEMPORARY_FILES");
            ended.any(|execution| last(&execution.deed) && execution.end.is_some()).then_some(())
        })
        .await;
    let stall = Stall::of(&scene);
    assert_overdue(&first.await.unwrap());
    assert!(matches!(
        coordinator.state().show(&show).unwrap().phase,
        Phase::Releasing { .. }
    ));
    let mut again = release(&coordinator, &show, "first");
    let early = tokio::time::timeout(SHORTLY, &mut again).await;
    assert!(early.is_err(), "{early:?}");
    stall.end();
    assert_eq!(again.await.unwrap().unwrap().vm, Some(vm));
    scene.node.stop().await.unwrap();
}

/// The actor of its VM dies as the assignment is recorded, and nobody is left who would order the start.
#[tokio::test(flavor = "multi_thread")]
async fn a_vm_that_is_off_is_started_for_its_show_though_the_order_was_lost() {
    let scene = Scene::set(0, 1, |_| ()).await;
    let vm = scene
        .until("the VM known", |state| {
            let vm = state.vms().next()?;
            (vm.status() == Status::Stopped).then(|| vm.id.clone())
        })
        .await;
    let coordinator = scene.coordinator();
    scene.producer().until_answered_by(&vm, SOON).await.unwrap();
    let show = ShowId::new("gala").unwrap();
    let stall = Stall::of(&scene);
    let assigning = {
        let (coordinator, show) = (coordinator.clone(), show.clone());
        tokio::spawn(async move { coordinator.assign(show, Assign::default()).await })
    };
    eventually("its actor waits for the ledger", SOON, async || {
        let check = coordinator.check(Some(vm.clone()), false);
        tokio::time::timeout(SHORTLY, check).await.err()
    })
    .await;
    assert!(coordinator.kill_vm_actor(&vm));
    stall.end();
    let answer = assigning.await.unwrap();
    assert!(answer.is_err(), "{answer:?}");
    scene
        .until("the show on a VM that is ready", |state| {
            (state.vm_of_show(&show)?.power == Power::Ready).then_some(())
        })
        .await;
    let state = coordinator.state();
    let after = state.show(&show).unwrap();
    assert_eq!(
        (after.failover(), after.records.len()),
        (None, 0),
        "lost for being off"
    );
    scene.node.stop().await.unwrap();
}

/// It would be told that it has a VM that is another show's by now.
#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_assign_whose_assignment_is_over_is_refused() {
    let scene = Scene::set(1, 0, |_| ()).await;
    let coordinator = scene.coordinator();
    let (gala, finals) = (ShowId::new("gala").unwrap(), ShowId::new("finals").unwrap());
    let ask = Assign {
        key: Some(key("one")),
        ..Assign::default()
    };
    let first = coordinator.assign(gala.clone(), ask.clone()).await.unwrap();
    let again = coordinator.assign(gala.clone(), ask.clone()).await.unwrap();
    assert_eq!(again.vm, first.vm);
    coordinator
        .release(gala.clone(), Release::default())
        .await
        .unwrap();
    coordinator
        .assign(finals.clone(), Assign::default())
        .await
        .unwrap();
    let over = coordinator.assign(gala.clone(), ask).await;
    assert!(matches!(over, Err(CommandError::Refused(_))), "{over:?}");
    assert_eq!(coordinator.state().vm_of_show(&gala), None);
    scene.node.stop().await.unwrap();
}

/// Another program's open transaction: nothing is written until it is dropped.
struct Stall(rusqlite::Connection);

impl Stall {
    fn of(scene: &Scene) -> Self {
        let journal = rusqlite::Connection::open(&scene.stage.config.ledger.path).unwrap();
        journal.execute_batch("BEGIN IMMEDIATE").unwrap();
        Self(journal)
    }

    fn end(self) {
        self.0.execute_batch("ROLLBACK").unwrap();
    }
}

/// A ledger that is soon overdue, and writes little besides what is asked of it.
fn impatient(config: &mut Config) {
    config.ledger.commit_deadline = COMMIT_DEADLINE;
    config.obs.capture_interval = Duration::from_secs(300);
}

fn assert_overdue<T: std::fmt::Debug>(answer: &Result<T, CommandError>) {
    assert!(matches!(answer, Err(CommandError::TimedOut { .. })), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_was_decided_while_the_ledger_stalled_goes_on_after_it() {
    let scene = Scene::set(2, 0, impatient).await;
    let (show, vm) = scene.on_air("gala").await;
    let (coordinator, clock) = (scene.coordinator(), scene.stage.world.clock());
    let stall = Stall::of(&scene);
    scene.crash_studio_of(&vm);
    let crashed_at = clock.now();
    // The move is decided within the studio's grace, and then overdue.
    let overdue = STUDIO_GRACE * 2 + COMMIT_DEADLINE * 2;
    eventually("the decision overdue", SOON, async || {
        (clock.now().since(crashed_at) > overdue).then_some(())
    })
    .await;
    assert!(coordinator.state().show(&show).unwrap().failover().is_none());
    stall.end();
    assert_ne!(scene.moved(&show, 1).await, vm);
    until_on_air(&scene, &show).await;
    scene.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_was_asked_for_while_the_ledger_stalled_is_carried_out_after_it() {
    let scene = Scene::set(1, 0, impatient).await;
    let (show, vm) = scene.on_air("gala").await;
    let stall = Stall::of(&scene);
    let answer = scene
        .coordinator()
        .release(show.clone(), Release::default())
        .await;
    assert_overdue(&answer);
    stall.end();
    until_idle(&scene, &show).await;
    assert!(!scene.machine(&vm).is_streaming());
    scene.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_was_asked_for_while_the_ledger_stalled_is_carried_out_after_it() {
    let scene = Scene::set(1, 0, impatient).await;
    let (show, _) = scene.on_air("gala").await;
    let coordinator = scene.coordinator();
    coordinator.stop_show(show.clone(), None).await.unwrap();
    until_off_air(&scene, &show).await;
    let stall = Stall::of(&scene);
    assert_overdue(&coordinator.start_show(show.clone(), None).await);
    stall.end();
    until_on_air(&scene, &show).await;
    scene.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_that_is_off_and_was_assigned_while_the_ledger_stalled_is_started_after_it() {
    let scene = Scene::set(0, 1, impatient).await;
    scene
        .until("the VM known", |state| {
            (state.count(Status::Stopped) == 1).then_some(())
        })
        .await;
    let show = ShowId::new("gala").unwrap();
    let stall = Stall::of(&scene);
    let answer = scene.coordinator().assign(show.clone(), Assign::default()).await;
    assert_overdue(&answer);
    stall.end();
    scene
        .until("the show on a VM that is ready", |state| {
            (state.vm_of_show(&show)?.power == Power::Ready).then_some(())
        })
        .await;
    scene.node.stop().await.unwrap();
}

/// Right after its start a coordinator has no connection to any studio.
#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_has_just_started_stops_a_show_when_it_is_told_to() {
    let scene = Scene::set(1, 0, |_| ()).await;
    let (show, vm) = scene.on_air("gala").await;
    let scene = scene.restarted().await;
    let stopped = scene.coordinator().stop_show(show, None).await.unwrap();
    assert_eq!((stopped.vm, stopped.on_air), (vm, false));
    scene.node.stop().await.unwrap();
}
