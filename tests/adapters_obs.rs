//! The OBS adapter against simulated studios: the stream, what is told, and how sessions end.

mod support;

use std::time::{Duration, Instant};

use support::eventually::eventually;
use support::studios::{connect, connect_hasty, endpoint, next, refusal, scene_named, small, world};
use support::{BRIEF, PLENTY};

use understudy::domain::studio::Secret;
use understudy::infra::obs::{Endpoint, Error, Means, Notice};
use understudy::sim::model::fault::{Fault, FaultKind};
use understudy::sim::wire::{MachineHandle, MachineView};
use understudy::sim::world::{World, WorldConfig};

#[tokio::test]
async fn a_stream_starts_sends_and_stops() {
    let (world, machines) = world(1).await;
    machines[0].load_example_studio("k").unwrap();
    let (session, mut notices) = connect(&machines[0]).await;
    // Stopping none, and starting one that runs, are no errors.
    session.stop_stream().await.unwrap();
    assert!(!session.output().await.unwrap().active);
    session.start_stream().await.unwrap();
    assert!(
        machines[0]
            .until(PLENTY, MachineView::is_streaming)
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
    assert!(
        world
            .ingest()
            .until(PLENTY, |ingest| !ingest.publishers("k").is_empty())
            .await
    );

    session.stop_stream().await.unwrap();
    assert!(!session.output().await.unwrap().active);
    assert!(
        world
            .ingest()
            .until(PLENTY, |ingest| ingest.publishers("k").is_empty())
            .await
    );
    let mut told = Vec::new();
    while told.len() < 2 {
        if let Notice::Stream { active } = next(&mut notices).await {
            told.push(active);
        }
    }
    assert_eq!(told, [true, false]);
}

#[tokio::test]
async fn a_stream_that_is_still_connecting_is_stopped_too() {
    let (world, machines) = world(1).await;
    machines[0].load_example_studio("k").unwrap();
    let (session, _notices) = connect(&machines[0]).await;
    for _ in 0..3 {
        session.start_stream().await.unwrap();
        // OBS now says that no output is running.
        assert!(!session.output().await.unwrap().active);
        session.stop_stream().await.unwrap();
        assert!(!machines[0].view().is_streaming());
        assert!(
            world
                .ingest()
                .until(PLENTY, |ingest| ingest.publishers("k").is_empty())
                .await
        );
        // It does not come on air after all, which it would do within half a second.
        let late = machines[0]
            .until(Duration::from_millis(700), MachineView::is_streaming)
            .await;
        assert!(late.is_none());
    }
}

/// A studio whose ingest takes this long to connect.
async fn slow_to_connect(rise: Duration) -> (World, MachineHandle) {
    let mut config = WorldConfig::for_test(1, 0);
    config.machine.output.rise = rise;
    let world = World::start(config).await.unwrap();
    let machine = world.machine(&world.instances()[0].instance_id).unwrap();
    machine.load_example_studio("k").unwrap();
    (world, machine)
}

#[tokio::test]
async fn a_stream_that_another_session_started_is_not_silent_while_it_connects() {
    let (_world, machine) = slow_to_connect(Duration::from_secs(60)).await;
    let (starter, _) = connect(&machine).await;
    starter.start_stream().await.unwrap();
    drop(starter);
    let (session, _notices) = connect_hasty(&machine).await;
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

#[tokio::test]
async fn a_stream_that_another_session_started_is_stopped_once_it_has_connected() {
    let (world, machine) = slow_to_connect(Duration::from_millis(1_500)).await;
    let (starter, _) = connect(&machine).await;
    // The second time, there are figures of the stream before.
    for _ in 0..2 {
        starter.start_stream().await.unwrap();
        let (session, _notices) = connect(&machine).await;
        session.stop_stream().await.unwrap();
        assert!(!session.output().await.unwrap().active);
        let ingest = world.ingest();
        assert!(
            ingest
                .until(PLENTY, |ingest| ingest.publishers("k").is_empty())
                .await
        );
        let late = machine
            .until(Duration::from_secs(2), MachineView::is_streaming)
            .await;
        assert!(late.is_none(), "it came on air after it was said to be silent");
    }
}

#[tokio::test]
async fn an_idle_studio_is_found_silent_at_once_by_a_session_of_a_quarter_of_a_second() {
    let (_world, machines) = world(1).await;
    machines[0].load_example_studio("k").unwrap();
    let fresh = || async { connect(&machines[0]).await };
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

#[tokio::test]
async fn a_refused_stream_is_told_as_stopped() {
    let (world, machines) = world(1).await;
    machines[0].load_example_studio("k").unwrap();
    world.ingest().take_down().await;
    let (session, mut notices) = connect(&machines[0]).await;
    session.start_stream().await.unwrap();
    while next(&mut notices).await != (Notice::Stream { active: false }) {}
    session.stop_stream().await.unwrap();
    assert!(!session.output().await.unwrap().active);
}

#[tokio::test]
async fn changes_are_told() {
    let (_world, machines) = world(1).await;
    machines[0].load_example_studio("k").unwrap();
    let (_session, mut notices) = connect(&machines[0]).await;
    machines[0].operate(|studio, _| {
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
        machines[0].operate(|studio, _| edit(studio));
        let told = tokio::time::timeout(PLENTY, notices.recv()).await;
        assert_eq!(told, Ok(Some(Notice::Changed)), "{what}");
    }
}

#[tokio::test]
async fn a_flood_of_changes_is_a_few_notices_and_the_last_change_is_among_them() {
    let (_world, machines) = world(1).await;
    machines[0].load_example_studio("k").unwrap();
    let (session, mut notices) = connect(&machines[0]).await;
    for n in 0..2000 {
        if n % 50 == 0 {
            // The simulated studio drops a client that falls far behind.
            session.output().await.unwrap();
        }
        machines[0].operate(|studio, _| {
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

#[tokio::test]
async fn a_crash_closes_the_session_at_once() {
    let (_world, machines) = world(1).await;
    machines[0].load_example_studio("k").unwrap();
    let (session, mut notices) = connect(&machines[0]).await;
    machines[0].fault(Fault::StudioCrash);
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
    assert_eq!(refusal(&endpoint(&machines[0])).await, Error::Refused);
}

#[tokio::test]
async fn a_hung_studio_times_out_and_answers_again_when_it_goes_on() {
    let (_world, machines) = world(1).await;
    machines[0].load_example_studio("k").unwrap();
    let (session, _notices) = connect_hasty(&machines[0]).await;
    machines[0].fault(Fault::StudioHang);
    let asked = Instant::now();
    assert!(
        matches!(session.output().await, Err(Error::TimedOut { call: "GetStreamStatus", limit }) if limit == BRIEF)
    );
    assert!(matches!(session.capture().await, Err(Error::TimedOut { .. })));
    assert!(matches!(session.stop_stream().await, Err(Error::TimedOut { .. })));
    assert!(asked.elapsed() < PLENTY / 2, "took {:?}", asked.elapsed());
    let hasty = Endpoint {
        connect_deadline: BRIEF,
        ..endpoint(&machines[0])
    };
    assert!(matches!(refusal(&hasty).await, Error::TimedOut { .. }));
    machines[0].heal(FaultKind::StudioHang);
    eventually("it answers again", PLENTY, async || session.output().await.ok()).await;
}

#[tokio::test]
async fn a_machine_that_swallows_everything_times_out() {
    let (_world, machines) = world(1).await;
    let (session, _notices) = connect_hasty(&machines[0]).await;
    machines[0].fault(Fault::Blackhole);
    machines[0].settled().await;
    assert!(matches!(session.output().await, Err(Error::TimedOut { .. })));
    let hasty = Endpoint {
        connect_deadline: BRIEF,
        ..endpoint(&machines[0])
    };
    assert_eq!(
        refusal(&hasty).await,
        Error::TimedOut {
            call: "connect",
            limit: BRIEF
        }
    );
}

#[tokio::test]
async fn a_wrong_password_and_none_are_told_as_such() {
    let (_world, machines) = world(1).await;
    for password in [Some(Secret::new("wrong")), Some(Secret::default()), None] {
        let stranger = Endpoint {
            password,
            ..endpoint(&machines[0])
        };
        assert_eq!(refusal(&stranger).await, Error::BadPassword);
    }
}

#[tokio::test]
async fn a_session_nobody_holds_any_more_ends_its_connection() {
    let (_world, machines) = world(1).await;
    let (session, mut notices) = connect(&machines[0]).await;
    assert_eq!(machines[0].view().obs_clients, 1);
    drop(session);
    assert_eq!(tokio::time::timeout(PLENTY, notices.recv()).await, Ok(None));
    assert!(
        machines[0]
            .until(PLENTY, |view| view.obs_clients == 0)
            .await
            .is_some()
    );
}
