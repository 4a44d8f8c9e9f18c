//! A VM that a show gives back or leaves, and that is cleaned as it should be.

use std::time::Duration;

use understudy::actors::coordinator::{Assign, Release};
use understudy::config::{Cleanup, Config};
use understudy::domain::cleaning::{Subject, Way};
use understudy::domain::execution::Deed;
use understudy::domain::ids::ShowId;
use understudy::domain::show::Phase;
use understudy::domain::studio::{Recording, Secret};
use understudy::domain::vm::Status;
use understudy::rehearsal::stage::stream_key;
use understudy::sim::model::fault::FaultKind;
use understudy::sim::model::machine::disk::{OBS_CONFIG, OBS_TEMPLATE, RECORDINGS, Who};
use understudy::sim::world::WorldConfig;

use crate::support::eventually::eventually;
use crate::support::scene::{SOON, Scene};
use crate::{holds, is_pristine, litter, release, report_of, until_status};

/// How long OBS takes to start where a test wants to find a cleaning under way.
const SLOW_START: Duration = Duration::from_secs(2);

/// Waits until OBS's configuration is being replaced.
async fn until_being_reset(scene: &Scene) {
    scene
        .until("a reset under way", |state| {
            let mut running = state.executions().running();
            let is_reset =
                |deed: &Deed| matches!(deed, Deed::Operation { id, .. } if id.as_str() == "RESET_OBS_CONFIG");
            running.any(|execution| is_reset(&execution.deed)).then_some(())
        })
        .await;
}

fn slow_to_start(warm: u32) -> WorldConfig {
    let mut world = WorldConfig::for_test(warm, 0);
    world.machine.studio = SLOW_START;
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn a_released_vm_has_nothing_of_its_show_left_and_is_available() {
    let scene = Scene::set(1, 0, |_| ()).await;
    let (show, vm) = scene.on_air("gala").await;
    let machine = scene.machine(&vm);
    litter(&machine);
    assert!(holds(&machine, &stream_key(&show)), "OBS keeps the key in a file");
    let released = release(&scene, &show).await;
    assert_eq!(released.status, Some(Status::Available));
    let report = report_of(&released);
    assert!(report.is_clean(), "{report:#?}");
    assert_eq!((&report.show, report.way), (&show, Way::Template));
    assert_eq!(report.recordings, Some(1), "recordings stay");
    assert!(machine.files(|disk, _| disk.list(RECORDINGS).unwrap().len() == 1));
    for subject in [
        Subject::Reset,
        Subject::Obs,
        Subject::Stream,
        Subject::Recording,
        Subject::Scenes,
        Subject::StreamKey,
        Subject::Files,
        Subject::TemporaryFiles,
    ] {
        let looked = report.findings.iter().any(|finding| finding.subject == subject);
        assert!(looked, "{subject:?} was not looked at: {report:#?}");
    }
    is_pristine(&machine);
    assert!(!holds(&machine, &stream_key(&show)));
    let state = scene.coordinator().state();
    let known = state.vm(&vm).unwrap();
    assert_eq!((known.leftover.as_ref(), known.fault.as_ref()), (None, None));
    // It is as good as before.
    let (_, next) = scene.on_air("finals").await;
    assert_eq!(next, vm);
    scene.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_that_was_only_assigned_is_cleaned_as_well() {
    let scene = Scene::set(1, 0, |_| ()).await;
    let show = ShowId::new("gala").unwrap();
    let assigned = scene.coordinator().assign(show.clone(), Assign::default()).await;
    let vm = assigned.unwrap().vm;
    let machine = scene.machine(&vm);
    machine.load_example_studio("by hand").unwrap();
    let released = release(&scene, &show).await;
    assert_eq!(released.status, Some(Status::Available));
    assert!(report_of(&released).is_clean());
    is_pristine(&machine);
    scene.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_template_or_without_ssh_the_studio_is_emptied_through_obs() {
    for ssh in [true, false] {
        let mut world = WorldConfig::for_test(1, 0);
        world.machine.studio = Duration::from_millis(50);
        let scene = Scene::world(world, 1, |_| ()).await;
        let scene = if ssh {
            scene
        } else {
            let Scene { mut stage, node } = scene;
            node.stop().await.unwrap();
            stage.config.ssh.enabled = false;
            let node = stage.coordinator(|_| None).await.unwrap();
            Scene { stage, node }
        };
        let (show, vm) = scene.on_air("gala").await;
        let machine = scene.machine(&vm);
        machine.operate(|studio, now| studio.start_record(now).unwrap());
        machine.files(|disk, _| disk.remove_all(Who::Root, OBS_TEMPLATE).unwrap());
        let released = release(&scene, &show).await;
        let report = report_of(&released);
        assert!(report.is_clean(), "{report:#?}");
        assert_eq!(report.way, Way::Studio);
        assert_eq!(released.status, Some(Status::Available));
        machine.operate(|studio, _| {
            assert_eq!(studio.collection().scenes.len(), 1);
            assert!(studio.collection().inputs.is_empty());
            assert_eq!(studio.service().key(), Some(""));
            assert_eq!(studio.recording(), Recording::Off);
        });
        assert!(!holds(&machine, &stream_key(&show)));
        scene.node.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_template_nothing_stays_in_copies_that_obs_keeps_or_in_other_collections() {
    let scene = Scene::set(1, 0, |_| ()).await;
    let (show, vm) = scene.on_air("gala").await;
    let machine = scene.machine(&vm);
    scene.coordinator().stop_show(show.clone(), None).await.unwrap();
    let key = Secret::new("key of another kind");
    machine.operate(|studio, now| {
        studio.create_collection("Leftover", now).unwrap();
        studio.create_collection("Present", now).unwrap();
        let settings = serde_json::Map::from_iter([("key".to_owned(), key.expose().into())]);
        studio.set_service("rtmp_common", settings).unwrap();
    });
    let captured = || async { scene.coordinator().streams_under(&show, &key).then_some(()) };
    eventually("the other service is captured", SOON, captured).await;
    machine.files(|disk, _| disk.remove_all(Who::Root, OBS_TEMPLATE).unwrap());
    let released = release(&scene, &show).await;
    let report = report_of(&released);
    assert!(report.is_clean(), "{report:#?}");
    assert_eq!(report.way, Way::Studio);
    machine.operate(|studio, _| assert_eq!(studio.collection_names(), ["Present"]));
    machine.files(|disk, _| {
        let profile = format!("{OBS_CONFIG}/basic/profiles/Untitled");
        let files = disk.list(&profile).unwrap();
        let names: Vec<&str> = files.iter().map(|(name, _)| *name).collect();
        assert!(names.contains(&"service.json.bak"), "OBS keeps one: {names:?}");
        for (name, _) in files {
            let text = disk.held(&format!("{profile}/{name}")).unwrap_or_default();
            let text = String::from_utf8_lossy(text);
            assert!(!text.contains(key.expose()), "{name}: {text}");
        }
    });
    scene.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_that_is_not_proven_clean_goes_to_error_and_comes_back_once_it_is() {
    let scene = Scene::set(1, 0, |_| ()).await;
    let (show, vm) = scene.on_air("gala").await;
    let machine = scene.machine(&vm);
    machine.operate(|studio, _| studio.set_drawing(false));
    let released = release(&scene, &show).await;
    assert_eq!(released.status, Some(Status::Error));
    assert!(!report_of(&released).is_clean());
    let state = scene.coordinator().state();
    let known = state.vm(&vm).unwrap();
    let reason = known.fault.as_ref().unwrap().reason.clone();
    assert_eq!(
        reason,
        "it is not clean after show gala: OBS answers and draws nothing"
    );
    assert_eq!(known.leftover.as_ref().unwrap().show, show);
    // It answers well, and is not taken back for that alone.
    let first = known.cleaning.clone().unwrap();
    scene
        .until("a second try", |state| {
            let report = state.vm(&vm)?.cleaning.clone()?;
            (report.began_at > first.began_at).then_some(())
        })
        .await;
    assert_eq!(
        scene.coordinator().state().vm(&vm).unwrap().status(),
        Status::Error
    );
    machine.operate(|studio, _| studio.set_drawing(true));
    until_status(&scene, &vm, Status::Available).await;
    let state = scene.coordinator().state();
    assert!(state.vm(&vm).unwrap().cleaning.as_ref().unwrap().is_clean());
    is_pristine(&machine);
    scene.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn with_best_effort_it_is_available_all_the_same_and_the_report_says_what_was_found() {
    let best_effort = |config: &mut Config| config.shows.cleanup = Cleanup::BestEffort;
    let scene = Scene::set(1, 0, best_effort).await;
    let (show, vm) = scene.on_air("gala").await;
    let (machine, copy) = (scene.machine(&vm), format!("{OBS_CONFIG}/basic/copy.json"));
    machine.files(|disk, now| {
        // Nothing but the template would remove this.
        disk.remove_all(Who::Root, OBS_TEMPLATE).unwrap();
        disk.create(Who::User, &copy, 0o600, true, now).unwrap();
        disk.write(Who::User, &copy, 0, stream_key(&show).as_bytes(), now)
            .unwrap();
    });
    let released = release(&scene, &show).await;
    assert_eq!(released.status, Some(Status::Available));
    let report = report_of(&released);
    assert_eq!(
        report.faults(),
        format!("a stream key of the show's is in {copy}")
    );
    // It is not forgotten: whoever leaves the VM next, it is looked for.
    let left = |scene: &Scene| scene.coordinator().state().vm(&vm).unwrap().leftover.clone();
    assert!(left(&scene).is_some_and(|left| left.forgiven && left.show == show));
    let (next, _) = scene.on_air("finals").await;
    assert_eq!(report_of(&release(&scene, &next).await).faults(), report.faults());
    machine.files(|disk, _| disk.remove(Who::User, &copy).unwrap());
    let (next, _) = scene.on_air("masters").await;
    assert!(report_of(&release(&scene, &next).await).is_clean());
    assert_eq!(left(&scene), None);
    scene.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_that_is_to_be_stopped_is_cleaned_before() {
    let scene = Scene::set(1, 0, |_| ()).await;
    let (show, vm) = scene.on_air("gala").await;
    litter(&scene.machine(&vm));
    let ask = Release {
        stop_vm: true,
        ..Release::default()
    };
    let released = scene.coordinator().release(show.clone(), ask).await.unwrap();
    assert!(report_of(&released).is_clean());
    until_status(&scene, &vm, Status::Stopped).await;
    assert!(scene.coordinator().state().vm(&vm).unwrap().leftover.is_none());
    assert!(!holds(&scene.machine(&vm), &stream_key(&show)));
    scene.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cleaning_goes_on_when_the_actor_or_the_coordinator_that_began_it_is_gone() {
    for coordinator_too in [false, true] {
        let scene = Scene::world(slow_to_start(1), 1, |_| ()).await;
        let (show, vm) = scene.on_air("gala").await;
        let machine = scene.machine(&vm);
        litter(&machine);
        let (coordinator, asked) = (scene.coordinator(), show.clone());
        let waiting = tokio::spawn(async move { coordinator.release(asked, Release::default()).await });
        until_being_reset(&scene).await;
        let scene = if coordinator_too {
            let Scene { stage, node } = scene;
            node.stop().await.unwrap();
            let node = stage.coordinator(|_| None).await.unwrap();
            Scene { stage, node }
        } else {
            assert!(scene.coordinator().kill_show_actor(&show));
            scene
        };
        // It is asked again of the actor that takes over; with the coordinator whoever waits is told that it ends.
        assert_eq!(waiting.await.unwrap().is_ok(), !coordinator_too);
        scene
            .until("the VM given back", |state| {
                let idle = state.show(&show)?.phase == Phase::Idle;
                (idle && state.vm(&vm)?.status() == Status::Available).then_some(())
            })
            .await;
        let state = scene.coordinator().state();
        let known = state.vm(&vm).unwrap();
        let report = known.cleaning.as_ref().unwrap();
        assert!(report.is_clean(), "{report:#?}");
        assert!(known.leftover.is_none() && known.fault.is_none());
        is_pristine(&machine);
        scene.node.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_vm_that_a_failover_left_is_cleaned_before_it_is_a_spare_again() {
    let scene = Scene::set(2, 0, |_| ()).await;
    let (show, old) = scene.on_air("gala").await;
    litter(&scene.machine(&old));
    scene.crash_studio_of(&old);
    let new = scene.moved(&show, 1).await;
    assert_ne!(new, old);
    let machine = scene.machine(&old);
    machine.heal(FaultKind::StudioCrash);
    scene
        .stage
        .world
        .change(
            &scene.instance(&old),
            understudy::domain::instance::PowerChange::Reboot,
        )
        .unwrap();
    let left = scene.coordinator().state().vm(&old).unwrap().leftover.clone();
    assert_eq!(left.unwrap().show, show);
    until_status(&scene, &old, Status::Available).await;
    let state = scene.coordinator().state();
    assert!(state.vm(&old).unwrap().cleaning.as_ref().unwrap().is_clean());
    is_pristine(&machine);
    assert!(!holds(&machine, &stream_key(&show)));
    eventually("the show is undisturbed", SOON, async || {
        let state = scene.coordinator().state();
        (state.show(&show)?.phase == Phase::OnAir).then_some(())
    })
    .await;
    assert_eq!(scene.coordinator().state().show(&show).unwrap().records.len(), 1);
    scene.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_death_of_a_vms_actor_does_not_end_its_cleaning() {
    let scene = Scene::world(slow_to_start(1), 1, |_| ()).await;
    let (show, vm) = scene.on_air("gala").await;
    let machine = scene.machine(&vm);
    machine.operate(|studio, _| studio.set_drawing(false));
    assert_eq!(release(&scene, &show).await.status, Some(Status::Error));
    machine.operate(|studio, _| studio.set_drawing(true));
    until_being_reset(&scene).await;
    assert!(scene.coordinator().kill_vm_actor(&vm));
    until_status(&scene, &vm, Status::Available).await;
    is_pristine(&machine);
    scene.node.stop().await.unwrap();
}
