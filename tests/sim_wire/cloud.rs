//! The cloud's API, through the client that the coordinator uses.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use understudy::domain::ids::InstanceId;
use understudy::domain::instance::{InstanceState, Launch, PowerChange};
use understudy::infra::cloud::rest::{Config, RestCloud};
use understudy::infra::cloud::{Cloud, ErrorKind};
use understudy::sim::model::fault::{CloudFault, Fault};
use understudy::sim::world::{World, WorldConfig};

use super::support::{DEADLINE, eventually, warm, world};

fn client(world: &World) -> RestCloud {
    let config = Config {
        request_timeout: Duration::from_millis(500),
        retry_delay: Duration::from_millis(10),
        ..Config::new(world.cloud_url(), "understudy-sim")
    };
    RestCloud::new(config).unwrap()
}

fn launch(token: &str) -> Launch {
    Launch {
        token: token.to_owned(),
        name: "new".to_owned(),
        instance_type: None,
        tags: BTreeMap::from([("capability".to_owned(), "gpu".to_owned())]),
    }
}

#[tokio::test]
async fn only_instances_with_both_pool_tags_are_listed() {
    let world = world(2, 1).await;
    let stranger = BTreeMap::from([("Name".to_owned(), "stranger".to_owned())]);
    world.place_with(stranger, true).await.unwrap();
    assert_eq!(world.instances().len(), 4);
    let listed = client(&world).list().await.unwrap();
    assert_eq!(listed.len(), 3);
    let running: Vec<_> = listed
        .iter()
        .filter(|i| i.state == InstanceState::Running)
        .collect();
    assert_eq!(running.len(), 2);
    assert!(
        running
            .iter()
            .all(|i| i.public_ip.is_some() && i.private_ip.is_some() && i.name.is_some())
    );
    let zones: BTreeSet<_> = listed.iter().map(|i| i.availability_zone.clone()).collect();
    assert!(zones.len() > 1);
}

#[tokio::test]
async fn a_long_list_comes_in_pages() {
    let config = WorldConfig {
        cold: 240,
        dark_when_off: false,
        ..WorldConfig::for_test(0, 0)
    };
    let world = World::start(config).await.unwrap();
    let base = world.cloud_url();
    let page = async |query: &str| -> serde_json::Value {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        http.get(format!("{base}/v1/instances?{query}"))
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap()
    };
    let mut ids = BTreeSet::new();
    let mut query = "limit=100".to_owned();
    loop {
        let answer = page(&query).await;
        ids.extend(
            answer["instances"]
                .as_array()
                .unwrap()
                .iter()
                .map(|i| i["instance_id"].to_string()),
        );
        match answer["next"].as_str() {
            Some(next) => query = format!("limit=100&after={next}"),
            None => break,
        }
    }
    assert_eq!(ids.len(), 240);
    assert_eq!(client(&world).list().await.unwrap().len(), 240);
}

#[tokio::test]
async fn a_launched_instance_boots_a_machine_with_the_pool_s_tags() {
    let world = world(0, 0).await;
    let cloud = client(&world);
    let launched = cloud.launch(&launch("once")).await.unwrap();
    assert_eq!(launched.state, InstanceState::Pending);
    let again = cloud.launch(&launch("once")).await.unwrap();
    assert_eq!(again.instance_id, launched.instance_id);
    let id = launched.instance_id;
    eventually("the machine is up", async || {
        world
            .machine(&id)
            .is_some_and(|machine| machine.view().studio_answers)
    })
    .await;
    let listed = cloud.list().await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].tags["capability"], "gpu");
    assert_eq!(listed[0].name.as_deref(), Some("new"));
    cloud
        .tag(&id, &[("Name".to_owned(), "renamed".to_owned())])
        .await
        .unwrap();
    assert_eq!(
        cloud.describe(&id).await.unwrap().unwrap().name.as_deref(),
        Some("renamed")
    );
}

#[tokio::test]
async fn power_changes_answer_the_states_before_and_after() {
    let world = world(1, 0).await;
    let cloud = client(&world);
    let id = warm(&world)[0].clone();
    let state = async || cloud.describe(&id).await.unwrap().map(|instance| instance.state);
    let changed = cloud.change(&id, PowerChange::Stop).await.unwrap();
    assert_eq!(
        (changed.previous, changed.current),
        (InstanceState::Running, InstanceState::Stopping)
    );
    let refused = cloud.change(&id, PowerChange::Start).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::WrongState);
    assert_eq!(refused.code.as_deref(), Some("IncorrectInstanceState"));
    eventually("stopped", async || state().await == Some(InstanceState::Stopped)).await;
    let changed = cloud.change(&id, PowerChange::Start).await.unwrap();
    assert_eq!(
        (changed.previous, changed.current),
        (InstanceState::Stopped, InstanceState::Pending)
    );
    eventually("running", async || state().await == Some(InstanceState::Running)).await;
    cloud.change(&id, PowerChange::Reboot).await.unwrap();
    cloud.change(&id, PowerChange::Terminate).await.unwrap();
    eventually("terminated", async || {
        state().await == Some(InstanceState::Terminated)
    })
    .await;
    assert!(world.machine(&id).is_none());
}

#[tokio::test]
async fn an_unknown_instance_is_none_or_not_found() {
    let world = world(0, 0).await;
    let cloud = client(&world);
    let id = InstanceId::new("i-00000000000000000").unwrap();
    assert_eq!(cloud.describe(&id).await.unwrap(), None);
    assert_eq!(
        cloud.change(&id, PowerChange::Start).await.unwrap_err().kind,
        ErrorKind::NotFound
    );
}

#[tokio::test]
async fn the_api_s_faults_are_told_apart() {
    let world = world(0, 1).await;
    let cloud = client(&world);
    let id = world.instances()[0].instance_id.clone();
    let kind = async || cloud.list().await.err().map(|error| error.kind);
    assert_eq!(kind().await, None);
    world.cloud_fault(CloudFault::Down);
    eventually("unreachable", async || {
        kind().await == Some(ErrorKind::Unreachable)
    })
    .await;
    world.heal_cloud();
    eventually("back", async || kind().await.is_none()).await;
    world.cloud_fault(CloudFault::Throttled);
    assert_eq!(kind().await, Some(ErrorKind::Throttled));
    world.heal_cloud();
    world.cloud_fault(CloudFault::NoCapacity);
    assert_eq!(
        cloud.change(&id, PowerChange::Start).await.unwrap_err().kind,
        ErrorKind::NoCapacity
    );
    assert_eq!(
        cloud.launch(&launch("t")).await.unwrap_err().kind,
        ErrorKind::NoCapacity
    );
    assert_eq!(kind().await, None);
    world.heal_cloud();
    world.cloud_fault(CloudFault::Denied);
    assert_eq!(
        cloud.change(&id, PowerChange::Start).await.unwrap_err().kind,
        ErrorKind::Denied
    );
    assert_eq!(kind().await, None);
    world.heal_cloud();
    world.cloud_fault(CloudFault::Slow {
        delay: Duration::from_millis(100),
    });
    let started = Instant::now();
    assert_eq!(kind().await, None);
    assert!(started.elapsed() >= Duration::from_millis(100));
    world.cloud_fault(CloudFault::Slow { delay: DEADLINE });
    assert_eq!(kind().await, Some(ErrorKind::TimedOut));
}

#[tokio::test]
async fn what_is_asked_of_the_cloud_is_done_also_where_its_answer_is_lost() {
    let world = world(0, 1).await;
    let cloud = client(&world);
    let id = world.instances()[0].instance_id.clone();
    world.cloud_fault(CloudFault::AnswersLost);
    assert_eq!(
        cloud.change(&id, PowerChange::Start).await.unwrap_err().kind,
        ErrorKind::Unreachable
    );
    // Looks are answered.
    eventually("started all the same", async || {
        let seen = cloud.describe(&id).await.unwrap().unwrap();
        seen.state == InstanceState::Running
    })
    .await;
}

#[tokio::test]
async fn an_instance_comes_back_at_another_address_when_told_so() {
    let world = world(1, 0).await;
    let id = warm(&world)[0].clone();
    let machine = world.machine(&id).unwrap();
    let before = machine.address();
    world.fault(&id, Fault::AddressChanges).unwrap();
    world.change(&id, PowerChange::ForceStop).unwrap();
    eventually("stopped", async || {
        world.instance(&id).unwrap().state == InstanceState::Stopped
    })
    .await;
    world.change(&id, PowerChange::Start).unwrap();
    machine
        .until(DEADLINE, |view| view.studio_answers)
        .await
        .expect("a studio");
    assert_ne!(machine.address(), before);
    assert_eq!(
        world.instance(&id).unwrap().public_ip,
        Some(machine.address().into())
    );
    super::support::obws(&machine).await;
}

#[tokio::test]
async fn two_worlds_live_beside_each_other() {
    let (a, b) = (world(1, 0).await, world(1, 0).await);
    let address = |world: &World| world.machine(&warm(world)[0]).unwrap().address();
    assert_ne!(address(&a), address(&b));
    assert_eq!(client(&b).list().await.unwrap().len(), 1);
}
