//! The cloud's API, and its faults.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;
use understudy::domain::ids::InstanceId;
use understudy::domain::instance::{InstanceState, Launch, PowerChange};
use understudy::infra::cloud::ErrorKind;
use understudy::sim::model::fault::{CloudFault, Fault};

use crate::ground::Ground;
use crate::on_both_fronts;
use crate::support::PLENTY;
use crate::support::eventually::eventually;

on_both_fronts! {
    only_instances_with_both_pool_tags_are_listed(shape(2, 1));
    a_launched_instance_boots_a_machine_with_the_pools_tags(shape(0, 0));
    power_changes_answer_the_states_before_and_after(shape(1, 0));
    an_unknown_instance_is_none_or_not_found(shape(0, 0));
    the_apis_faults_are_told_apart(shape(0, 1));
    a_mislaid_instance_is_listed_and_not_found(shape(0, 1));
    a_forgotten_stop_is_answered_and_not_carried_out(shape(1, 0));
    what_is_asked_is_done_also_where_the_answer_is_lost(shape(0, 1));
    an_instance_comes_back_at_another_address_when_told_so(shape(1, 0));
}

fn launch(token: &str) -> Launch {
    Launch {
        token: token.to_owned(),
        name: "new".to_owned(),
        instance_type: None,
        tags: BTreeMap::from([("capability".to_owned(), "gpu".to_owned())]),
    }
}

async fn kind_of_list(ground: &Ground) -> Option<ErrorKind> {
    ground.cloud.list().await.err().map(|error| error.kind)
}

async fn kind_of_change(ground: &Ground, id: &InstanceId, change: PowerChange) -> Option<ErrorKind> {
    ground
        .cloud
        .change(id, change)
        .await
        .err()
        .map(|error| error.kind)
}

async fn only_instances_with_both_pool_tags_are_listed(ground: &Ground) {
    ground.stranger().await;
    assert_eq!(ground.instances().len(), 4);
    let listed = ground.cloud.list().await.unwrap();
    assert_eq!(listed.len(), 3);
    let running = listed.iter().filter(|i| i.state == InstanceState::Running);
    assert_eq!(running.clone().count(), 2);
    for instance in running {
        assert!(instance.public_ip.is_some() && instance.private_ip.is_some() && instance.name.is_some());
    }
    let off = listed.iter().find(|i| i.state == InstanceState::Stopped).unwrap();
    assert_eq!(off.public_ip, None);
    assert_ne!(listed[0].availability_zone, listed[1].availability_zone);
}

async fn a_launched_instance_boots_a_machine_with_the_pools_tags(ground: &Ground) {
    let launched = ground.cloud.launch(&launch("once")).await.unwrap();
    assert_eq!(launched.state, InstanceState::Pending);
    let again = ground.cloud.launch(&launch("once")).await.unwrap();
    assert_eq!(again.instance_id, launched.instance_id);
    let id = launched.instance_id;
    eventually("the machine is up", PLENTY, async || {
        (ground.has_machine(&id) && ground.view(&id).studio_answers).then_some(())
    })
    .await;
    let listed = ground.cloud.list().await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].tags["capability"], "gpu");
    assert_eq!(listed[0].name.as_deref(), Some("new"));
    let renamed = [("Name".to_owned(), "renamed".to_owned())];
    ground.cloud.tag(&id, &renamed).await.unwrap();
    let described = ground.cloud.describe(&id).await.unwrap().unwrap();
    assert_eq!(described.name.as_deref(), Some("renamed"));
}

async fn power_changes_answer_the_states_before_and_after(ground: &Ground) {
    let id = ground.first(InstanceState::Running);
    let changed = ground.cloud.change(&id, PowerChange::Stop).await.unwrap();
    let states = (changed.previous, changed.current);
    assert_eq!(states, (InstanceState::Running, InstanceState::Stopping));
    let refused = ground.cloud.change(&id, PowerChange::Start).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::WrongState);
    assert_eq!(refused.code.as_deref(), Some("IncorrectInstanceState"));
    ground.until(&id, InstanceState::Stopped).await;
    let changed = ground.cloud.change(&id, PowerChange::Start).await.unwrap();
    let states = (changed.previous, changed.current);
    assert_eq!(states, (InstanceState::Stopped, InstanceState::Pending));
    ground.until(&id, InstanceState::Running).await;
    ground.cloud.change(&id, PowerChange::Reboot).await.unwrap();
    ground.cloud.change(&id, PowerChange::Terminate).await.unwrap();
    ground.until(&id, InstanceState::Terminated).await;
    assert!(!ground.has_machine(&id));
}

async fn an_unknown_instance_is_none_or_not_found(ground: &Ground) {
    let id = InstanceId::new("i-00000000000000000").unwrap();
    assert_eq!(ground.cloud.describe(&id).await.unwrap(), None);
    let refused = kind_of_change(ground, &id, PowerChange::Start).await;
    assert_eq!(refused, Some(ErrorKind::NotFound));
}

async fn the_apis_faults_are_told_apart(ground: &Ground) {
    let id = ground.first(InstanceState::Stopped);
    let start = async || kind_of_change(ground, &id, PowerChange::Start).await;
    assert_eq!(kind_of_list(ground).await, None);
    ground.cloud_fault(CloudFault::Down);
    eventually("unreachable", PLENTY, async || {
        (kind_of_list(ground).await == Some(ErrorKind::Unreachable)).then_some(())
    })
    .await;
    ground.heal_cloud();
    eventually("back", PLENTY, async || {
        kind_of_list(ground).await.is_none().then_some(())
    })
    .await;
    ground.cloud_fault(CloudFault::Throttled);
    assert_eq!(kind_of_list(ground).await, Some(ErrorKind::Throttled));
    ground.heal_cloud();
    ground.cloud_fault(CloudFault::NoCapacity);
    assert_eq!(start().await, Some(ErrorKind::NoCapacity));
    let refused = ground.cloud.launch(&launch("t")).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::NoCapacity);
    assert_eq!(kind_of_list(ground).await, None);
    ground.heal_cloud();
    ground.cloud_fault(CloudFault::Denied);
    assert_eq!(start().await, Some(ErrorKind::Denied));
    assert_eq!(kind_of_list(ground).await, None);
    ground.heal_cloud();
    let delay = Duration::from_millis(100);
    ground.cloud_fault(CloudFault::Slow { delay });
    let started = Instant::now();
    assert_eq!(kind_of_list(ground).await, None);
    assert!(started.elapsed() >= delay);
    ground.cloud_fault(CloudFault::Slow { delay: PLENTY });
    assert_eq!(kind_of_list(ground).await, Some(ErrorKind::TimedOut));
}

async fn a_mislaid_instance_is_listed_and_not_found(ground: &Ground) {
    let id = ground.first(InstanceState::Stopped);
    ground.cloud_fault(CloudFault::Mislaid);
    assert_eq!(ground.cloud.describe(&id).await.unwrap(), None);
    assert_eq!(ground.cloud.list().await.unwrap().len(), 1);
}

async fn a_forgotten_stop_is_answered_and_not_carried_out(ground: &Ground) {
    let id = ground.first(InstanceState::Running);
    ground.cloud_fault(CloudFault::StopsForgotten);
    let changed = ground.cloud.change(&id, PowerChange::Stop).await.unwrap();
    assert_eq!(changed.current, InstanceState::Stopping);
    let described = ground.cloud.describe(&id).await.unwrap().unwrap();
    assert_eq!(described.state, InstanceState::Running);
}

async fn what_is_asked_is_done_also_where_the_answer_is_lost(ground: &Ground) {
    let id = ground.first(InstanceState::Stopped);
    ground.cloud_fault(CloudFault::AnswersLost);
    let lost = kind_of_change(ground, &id, PowerChange::Start).await;
    assert_eq!(lost, Some(ErrorKind::Unreachable));
    // Looks are answered.
    ground.until(&id, InstanceState::Running).await;
}

async fn an_instance_comes_back_at_another_address_when_told_so(ground: &Ground) {
    let id = ground.first(InstanceState::Running);
    let before = ground.address(&id);
    ground.fault(&id, Fault::AddressChanges).await;
    ground.change(&id, PowerChange::ForceStop);
    ground.until(&id, InstanceState::Stopped).await;
    ground.change(&id, PowerChange::Start);
    eventually("the show server at another address", PLENTY, async || {
        let address = ground.address(&id);
        let deadline = Duration::from_millis(200);
        let answered = ground.probe.status(ground.status_at(&id), deadline, None).await;
        (address != before && answered.is_ok()).then_some(())
    })
    .await;
    let described = ground.cloud.describe(&id).await.unwrap().unwrap();
    assert_eq!(described.public_ip, Some(ground.address(&id).into()));
}
