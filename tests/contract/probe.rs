//! The show servers, and the faults that they show.

use std::time::Duration;

use understudy::domain::ids::{InstanceId, ShowId};
use understudy::domain::instance::{InstanceState, PowerChange};
use understudy::infra::probe::Error;
use understudy::sim::model::fault::{Fault, FaultKind};
use understudy::sim::model::machine::Service;

use crate::ground::Ground;
use crate::on_both_fronts;
use crate::support::eventually::eventually;
use crate::support::{BRIEF, PLENTY};

on_both_fronts! {
    a_show_server_tells_how_it_is_and_which_show_it_serves(shape(1, 0));
    a_show_server_can_be_down_hang_or_flap(shape(1, 0));
    an_unreachable_machine_is_silent_and_answers_when_it_is_back(shape(1, 0));
    a_machine_that_is_off_is_silent(shape(1, 1));
    a_terminated_machine_is_silent(shape(1, 0));
    a_port_where_nothing_listens_refuses(shape(1, 0));
    a_boot_can_be_slow_never_finish_or_lack_a_service(shape(0, 3));
}

async fn ask(ground: &Ground, id: &InstanceId, deadline: Duration) -> Result<(), Error> {
    ground
        .probe
        .status(ground.status_at(id), deadline, None)
        .await
        .map(drop)
}

async fn answers_again(ground: &Ground, id: &InstanceId) {
    eventually("the show server answers", PLENTY, async || {
        ask(ground, id, BRIEF).await.ok()
    })
    .await;
}

const SILENCE: Result<(), Error> = Err(Error::TimedOut(BRIEF));

async fn a_show_server_tells_how_it_is_and_which_show_it_serves(ground: &Ground) {
    let id = ground.first(InstanceState::Running);
    let server = ground.status_at(&id);
    ground.load_example_studio(&id, "k");
    let status = ground.probe.status(server, PLENTY, None).await.unwrap();
    assert_eq!(status.obs_connected, Some(true));
    assert_eq!(status.obs_streaming, Some(false));
    assert_eq!(status.obs_recording, Some(false));
    assert_eq!(status.obs_scene.as_deref(), Some("Camera 2 - Vault"));
    assert!(status.uptime_s.unwrap() >= 3_600.0);
    assert_eq!(status.version.as_deref(), Some("2.4.0"));
    assert!(status.response_time < PLENTY);

    let show = ShowId::new("Final 2026").unwrap();
    ground.probe.activate(server, Some(&show), PLENTY).await.unwrap();
    assert_eq!(ground.view(&id).active_show.as_deref(), Some("Final 2026"));
    ground.probe.activate(server, None, PLENTY).await.unwrap();
    assert_eq!(ground.view(&id).active_show, None);

    ground.fault(&id, Fault::StudioCrash).await;
    let status = ground.probe.status(server, PLENTY, None).await.unwrap();
    assert_eq!((status.obs_connected, status.obs_scene), (Some(false), None));
}

async fn a_show_server_can_be_down_hang_or_flap(ground: &Ground) {
    let id = ground.first(InstanceState::Running);
    ground.fault(&id, Fault::StatusHang).await;
    assert_eq!(ask(ground, &id, BRIEF).await, SILENCE);
    ground.heal(&id, FaultKind::StatusHang).await;
    answers_again(ground, &id).await;
    ground.fault(&id, Fault::StatusDown).await;
    assert_eq!(ask(ground, &id, PLENTY).await, Err(Error::Refused));
    ground.heal(&id, FaultKind::StatusDown).await;
    answers_again(ground, &id).await;
    let (up, down) = (Duration::from_millis(150), Duration::from_millis(150));
    ground.fault(&id, Fault::StatusFlap { up, down }).await;
    for _ in 0..2 {
        eventually("down", PLENTY, async || ask(ground, &id, BRIEF).await.err()).await;
        answers_again(ground, &id).await;
    }
    ground.heal(&id, FaultKind::StatusFlap).await;
    answers_again(ground, &id).await;
}

async fn an_unreachable_machine_is_silent_and_answers_when_it_is_back(ground: &Ground) {
    let id = ground.first(InstanceState::Running);
    ground.fault(&id, Fault::Blackhole).await;
    assert_eq!(ask(ground, &id, BRIEF).await, SILENCE);
    // What waits while it comes back is answered then.
    let (answered, ()) = tokio::join!(ask(ground, &id, PLENTY), async {
        // How long it is away: the question is asked meanwhile, and nobody could tell that it waits.
        tokio::time::sleep(BRIEF).await;
        ground.heal(&id, FaultKind::Blackhole).await;
    });
    answered.unwrap();
}

async fn a_machine_that_is_off_is_silent(ground: &Ground) {
    let (on, off) = (
        ground.first(InstanceState::Running),
        ground.first(InstanceState::Stopped),
    );
    assert_eq!(ask(ground, &off, BRIEF).await, SILENCE);
    ground.change(&on, PowerChange::ForceStop);
    assert_eq!(ask(ground, &on, BRIEF).await, SILENCE);
}

async fn a_terminated_machine_is_silent(ground: &Ground) {
    let id = ground.first(InstanceState::Running);
    let server = ground.status_at(&id);
    ground.change(&id, PowerChange::Terminate);
    ground.until(&id, InstanceState::Terminated).await;
    assert!(!ground.has_machine(&id));
    let asked = ground.probe.status(server, BRIEF, None).await.map(drop);
    assert_eq!(asked, SILENCE);
}

async fn a_port_where_nothing_listens_refuses(ground: &Ground) {
    let id = ground.first(InstanceState::Running);
    let nobody = (ground.address(&id), 3_004).into();
    let asked = ground.probe.status(nobody, PLENTY, None).await.map(drop);
    assert_eq!(asked, Err(Error::Refused));
}

async fn a_boot_can_be_slow_never_finish_or_lack_a_service(ground: &Ground) {
    let ids: Vec<_> = ground.instances().into_iter().map(|i| i.instance_id).collect();
    let [slow, stuck, lacking] = [&ids[0], &ids[1], &ids[2]];
    let extra = Duration::from_millis(700);
    ground.fault(slow, Fault::SlowBoot { extra }).await;
    ground.fault(stuck, Fault::BootNeverFinishes).await;
    ground
        .fault(lacking, Fault::ServiceNeverStarts(Service::Status))
        .await;
    let started = tokio::time::Instant::now();
    for id in &ids {
        ground.change(id, PowerChange::Start);
    }
    answers_again(ground, slow).await;
    assert!(started.elapsed() >= Duration::from_millis(700));
    assert_eq!(ask(ground, lacking, PLENTY).await, Err(Error::Refused));
    ground.until(stuck, InstanceState::Running).await;
    assert_eq!(ask(ground, stuck, BRIEF).await, SILENCE);
    ground.heal(stuck, FaultKind::BootNeverFinishes).await;
    ground
        .heal(lacking, FaultKind::ServiceNeverStarts(Service::Status))
        .await;
    answers_again(ground, stuck).await;
    answers_again(ground, lacking).await;
}
