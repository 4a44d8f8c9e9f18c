//! The studios: streams, what is told without being asked, captures and restores, and how sessions end.

use std::time::Duration;

use tokio::time::Instant;
use understudy::domain::ids::InstanceId;
use understudy::domain::instance::InstanceState;
use understudy::domain::studio::Secret;
use understudy::infra::obs::{Endpoint, Error, Frame, Means, Notice};
use understudy::sim::model::fault::{Fault, FaultKind};
use understudy::sim::model::machine::MachineView;

use crate::ground::Ground;
use crate::on_both_fronts;
use crate::support::eventually::eventually;
use crate::support::studios::{next, scene_named, small};
use crate::support::{BRIEF, PLENTY, contract};

on_both_fronts! {
    what_is_captured_can_be_restored(shape(1, 0));
    a_capture_of_an_example_is_restored_on_another_machine(shape(2, 0));
    a_running_stream_keeps_its_service_and_gets_its_scenes(shape(1, 0));
    a_studio_that_draws_nothing_is_seen(shape(1, 0));
    a_silent_output_is_active_and_sends_nothing(shape(1, 0));
    a_studio_that_is_lost_on_air_publishes_no_more(shape(1, 0));
    an_ingest_that_goes_is_gone_back_to(shape(1, 0));
    a_hung_studio_does_late_what_it_was_asked(shape(1, 0));
    a_stream_starts_sends_and_stops(shape(1, 0));
    a_stream_that_is_still_connecting_is_stopped_too(shape(1, 0));
    a_stream_that_another_session_started_is_not_silent_while_it_connects(shape(1, 0).rising_after_ms(60_000));
    a_stream_that_another_session_started_is_stopped_once_it_has_connected(shape(1, 0).rising_after_ms(1_500));
    an_idle_studio_is_found_silent_at_once_by_a_session_of_a_quarter_of_a_second(shape(1, 0));
    a_refused_stream_is_told_as_stopped(shape(1, 0));
    changes_are_told(shape(1, 0));
    a_flood_of_changes_is_a_few_notices_and_the_last_change_is_among_them(shape(1, 0));
    a_crash_closes_the_session_at_once(shape(1, 0));
    a_hung_studio_times_out_and_answers_again_when_it_goes_on(shape(1, 0));
    a_machine_that_swallows_everything_times_out(shape(1, 0));
    a_wrong_password_and_none_are_told_as_such(shape(1, 0));
    a_session_nobody_holds_any_more_ends_its_connection(shape(1, 0));
}

async fn what_is_captured_can_be_restored(ground: &Ground) {
    let id = ground.first(InstanceState::Running);
    contract::holds(&*ground.obs, &ground.obs_endpoint(&id), None).await;
    // Twice: the second time everything is there already.
    contract::holds(&*ground.obs, &ground.obs_endpoint(&id), None).await;
}

async fn a_capture_of_an_example_is_restored_on_another_machine(ground: &Ground) {
    let ids: Vec<InstanceId> = ground.instances().into_iter().map(|i| i.instance_id).collect();
    ground.load_example_studio(&ids[0], "k");
    let (one, _notices) = ground.connect(&ids[0]).await;
    let captured = one.capture().await.unwrap();
    assert_eq!(captured.program_scene, "Camera 2 - Vault");
    let (other, mut notices) = ground.connect(&ids[1]).await;
    let restored = other.restore(&captured, &Means::Requests).await.unwrap();
    assert!(restored.requests > 0);
    assert_eq!(ground.view(&ids[1]).stream_key, Some(Secret::new("k")));
    let mut told = Vec::new();
    while !(told.contains(&Notice::Changed)
        && told.contains(&Notice::ProgramScene("Camera 2 - Vault".to_owned())))
    {
        told.push(next(&mut notices).await);
    }
    let again = other.restore(&captured, &Means::Requests).await.unwrap();
    assert_eq!(again.requests, 0);
    assert_eq!(again.differences, restored.differences);
}

async fn a_running_stream_keeps_its_service_and_gets_its_scenes(ground: &Ground) {
    let id = set_up(ground);
    let (session, _notices) = ground.connect(&id).await;
    session.start_stream().await.unwrap();
    ground.until_published("k", true).await;
    let restored = session.restore(&small(), &Means::Requests).await.unwrap();
    let left = "stream service: left as it is while a stream runs".to_owned();
    assert!(restored.differences.contains(&left), "{:?}", restored.differences);
    assert_eq!(ground.view(&id).program_scene.as_deref(), Some("B"));
    assert_eq!(ground.view(&id).stream_key, Some(Secret::new("k")));
    assert!(session.output().await.unwrap().active);
}

async fn a_studio_that_draws_nothing_is_seen(ground: &Ground) {
    let id = ground.first(InstanceState::Running);
    let (session, _notices) = ground.connect(&id).await;
    // Its only scene is empty.
    assert_eq!(session.check_frame(false).await, Ok(Frame::Blank));
    assert_eq!(session.check_frame(true).await, Ok(Frame::Drawn));
    ground.operate(&id, |studio| studio.set_drawing(false));
    assert_eq!(session.check_frame(true).await, Ok(Frame::Blank));
}

async fn a_silent_output_is_active_and_sends_nothing(ground: &Ground) {
    let id = set_up(ground);
    let (session, _notices) = ground.connect(&id).await;
    session.start_stream().await.unwrap();
    ground.until_published("k", true).await;
    ground.fault(&id, Fault::OutputSilent).await;
    ground.until_published("k", false).await;
    let silent = session.output().await.unwrap();
    // Nothing is to happen for so long.
    tokio::time::sleep(BRIEF).await;
    let later = session.output().await.unwrap();
    assert!(later.active && later.bytes == silent.bytes);
    ground.heal(&id, FaultKind::OutputSilent).await;
    ground.until_published("k", true).await;
}

async fn a_studio_that_is_lost_on_air_publishes_no_more(ground: &Ground) {
    for (fault, kind) in [
        (Fault::Blackhole, FaultKind::Blackhole),
        (Fault::StudioHang, FaultKind::StudioHang),
    ] {
        let id = ground.first(InstanceState::Running);
        let (session, _notices) = ground.connect(&id).await;
        session.stop_stream().await.unwrap();
        ground.load_example_studio(&id, "k");
        session.start_stream().await.unwrap();
        ground.until_published("k", true).await;
        let bytes = ground.ingest_bytes("k");
        ground.fault(&id, fault).await;
        ground.until_published("k", false).await;
        // It believes that it streams, and goes on when it can.
        assert!(ground.view(&id).is_streaming());
        ground.heal(&id, kind).await;
        ground.until_published("k", true).await;
        assert!(ground.ingest_bytes("k") > bytes);
    }
    let id = ground.first(InstanceState::Running);
    ground.fault(&id, Fault::StudioCrash).await;
    ground.until_published("k", false).await;
    assert!(!ground.view(&id).is_streaming());
}

async fn an_ingest_that_goes_is_gone_back_to(ground: &Ground) {
    let id = set_up(ground);
    let (session, _notices) = ground.connect(&id).await;
    session.start_stream().await.unwrap();
    ground.until_published("k", true).await;
    ground.take_ingest_down().await;
    eventually("reconnecting", PLENTY, async || {
        session.output().await.unwrap().reconnecting.then_some(())
    })
    .await;
    ground.bring_ingest_back().await;
    ground.until_published("k", true).await;
    eventually("no longer reconnecting", PLENTY, async || {
        let output = session.output().await.unwrap();
        (output.active && !output.reconnecting).then_some(())
    })
    .await;
}

/// What makes fencing by request alone unsafe.
async fn a_hung_studio_does_late_what_it_was_asked(ground: &Ground) {
    let id = set_up(ground);
    let (session, _notices) = ground.connect_hasty(&id).await;
    ground.fault(&id, Fault::StudioHang).await;
    let asked = session.start_stream().await;
    assert!(matches!(asked, Err(Error::TimedOut { .. })));
    ground.heal(&id, FaultKind::StudioHang).await;
    ground.until_published("k", true).await;
}

async fn a_stream_starts_sends_and_stops(ground: &Ground) {
    let id = set_up(ground);
    let (session, mut notices) = ground.connect(&id).await;
    // Stopping none, and starting one that runs, are no errors.
    session.stop_stream().await.unwrap();
    assert!(!session.output().await.unwrap().active);
    session.start_stream().await.unwrap();
    assert!(
        ground
            .until_seen(&id, PLENTY, MachineView::is_streaming)
            .await
            .is_some()
    );
    session.start_stream().await.unwrap();
    let first = session.output().await.unwrap();
    assert!(first.active);
    eventually("bytes rise", PLENTY, async || {
        let now = session.output().await.unwrap();
        (now.bytes > first.bytes).then_some(())
    })
    .await;
    ground.until_published("k", true).await;

    session.stop_stream().await.unwrap();
    assert!(!session.output().await.unwrap().active);
    ground.until_published("k", false).await;
    let mut told = Vec::new();
    while told.len() < 2 {
        if let Notice::Stream { active } = next(&mut notices).await {
            told.push(active);
        }
    }
    assert_eq!(told, [true, false]);
}

async fn a_stream_that_is_still_connecting_is_stopped_too(ground: &Ground) {
    let id = set_up(ground);
    let (session, _notices) = ground.connect(&id).await;
    for _ in 0..3 {
        session.start_stream().await.unwrap();
        // OBS now says that no output is running.
        assert!(!session.output().await.unwrap().active);
        session.stop_stream().await.unwrap();
        assert!(!ground.view(&id).is_streaming());
        ground.until_published("k", false).await;
        // It does not come on air after all, which it would do within half a second.
        let late = ground
            .until_seen(&id, Duration::from_millis(700), MachineView::is_streaming)
            .await;
        assert!(late.is_none());
    }
}

/// The only machine, with a studio that is set up.
fn set_up(ground: &Ground) -> InstanceId {
    let id = ground.first(InstanceState::Running);
    ground.load_example_studio(&id, "k");
    id
}

async fn a_stream_that_another_session_started_is_not_silent_while_it_connects(ground: &Ground) {
    let id = set_up(ground);
    let (starter, _) = ground.connect(&id).await;
    starter.start_stream().await.unwrap();
    drop(starter);
    let (session, _notices) = ground.connect_hasty(&id).await;
    for _ in 0..2 {
        assert!(matches!(
            session.stop_stream().await,
            Err(Error::TimedOut {
                call: "StopStream",
                ..
            })
        ));
    }
}

async fn a_stream_that_another_session_started_is_stopped_once_it_has_connected(ground: &Ground) {
    let id = set_up(ground);
    let (starter, _) = ground.connect(&id).await;
    // The second time, there are figures of the stream before.
    for _ in 0..2 {
        starter.start_stream().await.unwrap();
        let (session, _notices) = ground.connect(&id).await;
        session.stop_stream().await.unwrap();
        assert!(!session.output().await.unwrap().active);
        ground.until_published("k", false).await;
        let late = ground
            .until_seen(&id, Duration::from_secs(2), MachineView::is_streaming)
            .await;
        assert!(late.is_none(), "it came on air after it was said to be silent");
    }
}

async fn an_idle_studio_is_found_silent_at_once_by_a_session_of_a_quarter_of_a_second(ground: &Ground) {
    let id = set_up(ground);
    let fresh = || async { ground.connect(&id).await };
    let limit = Duration::from_secs(1);
    let quick = async |what: &str| {
        let (session, _notices) = fresh().await;
        let asked = Instant::now();
        session.stop_stream().await.unwrap();
        assert!(asked.elapsed() < limit, "{what}: {:?}", asked.elapsed());
        // What has been proven is not looked for again.
        let asked = Instant::now();
        session.stop_stream().await.unwrap();
        assert!(
            asked.elapsed() < Duration::from_millis(100),
            "{what} again: {:?}",
            asked.elapsed()
        );
        session
    };
    quick("never streamed").await;
    let (session, _notices) = fresh().await;
    session.start_stream().await.unwrap();
    eventually("bytes rise", PLENTY, async || {
        let output = session.output().await.unwrap();
        (output.active && output.bytes > 0).then_some(())
    })
    .await;
    // A running stream needs no proof.
    let (other, _notices) = fresh().await;
    other.stop_stream().await.unwrap();
    assert!(!other.output().await.unwrap().active);
    quick("streamed before").await;
}

async fn a_refused_stream_is_told_as_stopped(ground: &Ground) {
    let id = set_up(ground);
    ground.take_ingest_down().await;
    let (session, mut notices) = ground.connect(&id).await;
    session.start_stream().await.unwrap();
    while next(&mut notices).await != (Notice::Stream { active: false }) {}
    session.stop_stream().await.unwrap();
    assert!(!session.output().await.unwrap().active);
}

async fn changes_are_told(ground: &Ground) {
    let id = set_up(ground);
    let (_session, mut notices) = ground.connect(&id).await;
    ground.operate(&id, |studio| {
        let replay = studio
            .collection()
            .scenes
            .iter()
            .find(|scene| scene.name == "Replay")
            .unwrap()
            .uuid;
        studio.set_program(replay).unwrap();
    });
    assert_eq!(
        next(&mut notices).await,
        Notice::ProgramScene("Replay".to_owned())
    );
    assert_eq!(next(&mut notices).await, Notice::Changed);

    type Edit = fn(&mut understudy::sim::model::studio::Studio);
    let edits: [(&str, Edit); 6] = [
        ("a volume", |studio| {
            let input = studio
                .collection()
                .inputs
                .iter()
                .find(|i| i.name == "Arena Sound")
                .unwrap()
                .uuid;
            studio.set_volume(input, 0.1).unwrap();
        }),
        ("a mute", |studio| {
            let input = studio
                .collection()
                .inputs
                .iter()
                .find(|i| i.name == "Arena Sound")
                .unwrap()
                .uuid;
            studio.set_muted(input, true).unwrap();
        }),
        ("a transform", |studio| {
            let (scene, item) = (
                studio.collection().scenes[1].uuid,
                studio.collection().scenes[1].items[0].id,
            );
            let change = understudy::sim::model::studio::TransformChange {
                position_x: Some(5.0),
                ..Default::default()
            };
            studio.set_item_transform(scene, item, &change).unwrap();
        }),
        ("a hidden item", |studio| {
            let (scene, item) = (
                studio.collection().scenes[1].uuid,
                studio.collection().scenes[1].items[0].id,
            );
            studio.set_item_enabled(scene, item, false).unwrap();
        }),
        ("a new scene", |studio| {
            studio.create_scene("New").unwrap();
        }),
        ("a transition", |studio| studio.set_transition("Cut").unwrap()),
    ];
    for (what, edit) in edits {
        // Nothing is left over from the change before.
        while let Ok(notice) = notices.try_recv() {
            assert_eq!(notice, Notice::Changed, "{what}");
        }
        ground.operate(&id, edit);
        let told = tokio::time::timeout(PLENTY, notices.recv()).await;
        assert_eq!(told, Ok(Some(Notice::Changed)), "{what}");
    }
}

async fn a_flood_of_changes_is_a_few_notices_and_the_last_change_is_among_them(ground: &Ground) {
    let id = set_up(ground);
    let (session, mut notices) = ground.connect(&id).await;
    for n in 0..2000 {
        if n % 50 == 0 {
            // The simulated studio drops a client that falls far behind.
            session.output().await.unwrap();
        }
        ground.operate(&id, |studio| {
            let (scene, item) = (
                studio.collection().scenes[1].uuid,
                studio.collection().scenes[1].items[0].id,
            );
            let change = understudy::sim::model::studio::TransformChange {
                position_x: Some(n as f32),
                ..Default::default()
            };
            studio.set_item_transform(scene, item, &change).unwrap();
        });
    }
    let mut told = 0;
    loop {
        assert_eq!(next(&mut notices).await, Notice::Changed);
        told += 1;
        // Whoever captures on every notice has seen the last change in the end.
        let mut studio = session.capture().await.unwrap();
        if scene_named(&mut studio, "Camera 1 - Floor").items[0]
            .transform
            .position_x
            == 1999.0
        {
            break;
        }
    }
    assert!(told < 100, "{told} notices");
}

async fn a_crash_closes_the_session_at_once(ground: &Ground) {
    let id = set_up(ground);
    let (session, mut notices) = ground.connect(&id).await;
    ground.fault(&id, Fault::StudioCrash).await;
    let ended = async { while notices.recv().await.is_some() {} };
    tokio::time::timeout(PLENTY, ended)
        .await
        .expect("the notices end");
    let asked = Instant::now();
    assert_eq!(session.output().await, Err(Error::Closed));
    assert_eq!(session.capture().await, Err(Error::Closed));
    assert_eq!(
        session.restore(&small(), &Means::Requests).await,
        Err(Error::Closed)
    );
    assert_eq!(session.start_stream().await, Err(Error::Closed));
    assert_eq!(session.stop_stream().await, Err(Error::Closed));
    assert!(asked.elapsed() < PLENTY / 4, "took {:?}", asked.elapsed());
    assert_eq!(ground.refusal(&ground.obs_endpoint(&id)).await, Error::Refused);
}

async fn a_hung_studio_times_out_and_answers_again_when_it_goes_on(ground: &Ground) {
    let id = set_up(ground);
    let (session, _notices) = ground.connect_hasty(&id).await;
    ground.fault(&id, Fault::StudioHang).await;
    let asked = Instant::now();
    assert!(
        matches!(session.output().await, Err(Error::TimedOut { call: "GetStreamStatus", limit }) if limit == BRIEF)
    );
    assert!(matches!(session.capture().await, Err(Error::TimedOut { .. })));
    assert!(matches!(session.stop_stream().await, Err(Error::TimedOut { .. })));
    assert!(asked.elapsed() < PLENTY / 2, "took {:?}", asked.elapsed());
    let hasty = Endpoint {
        connect_deadline: BRIEF,
        ..ground.obs_endpoint(&id)
    };
    assert!(matches!(ground.refusal(&hasty).await, Error::TimedOut { .. }));
    ground.heal(&id, FaultKind::StudioHang).await;
    eventually("it answers again", PLENTY, async || session.output().await.ok()).await;
}

async fn a_machine_that_swallows_everything_times_out(ground: &Ground) {
    let id = ground.first(InstanceState::Running);
    let (session, _notices) = ground.connect_hasty(&id).await;
    ground.fault(&id, Fault::Blackhole).await;
    assert!(matches!(session.output().await, Err(Error::TimedOut { .. })));
    let hasty = Endpoint {
        connect_deadline: BRIEF,
        ..ground.obs_endpoint(&id)
    };
    assert_eq!(
        ground.refusal(&hasty).await,
        Error::TimedOut {
            call: "connect",
            limit: BRIEF
        }
    );
}

async fn a_wrong_password_and_none_are_told_as_such(ground: &Ground) {
    let id = ground.first(InstanceState::Running);
    for password in [Some(Secret::new("wrong")), Some(Secret::default()), None] {
        let stranger = Endpoint {
            password,
            ..ground.obs_endpoint(&id)
        };
        assert_eq!(ground.refusal(&stranger).await, Error::BadPassword);
    }
}

async fn a_session_nobody_holds_any_more_ends_its_connection(ground: &Ground) {
    let id = ground.first(InstanceState::Running);
    let (session, mut notices) = ground.connect(&id).await;
    assert_eq!(ground.view(&id).obs_clients, 1);
    drop(session);
    assert_eq!(tokio::time::timeout(PLENTY, notices.recv()).await, Ok(None));
    assert!(
        ground
            .until_seen(&id, PLENTY, |view| view.obs_clients == 0)
            .await
            .is_some()
    );
}
