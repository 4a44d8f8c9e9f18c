//! What the pool asks of EC2, against moto.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use understudy::domain::instance::{InstanceState, Launch, PowerChange};
use understudy::infra::cloud::ec2::{Config, Ec2Cloud};
use understudy::infra::cloud::{Cloud, ErrorKind, MANAGED_BY, StateChange, TAG_MANAGED_BY, TAG_PROJECT};

use crate::support::moto::{Moto, NewInstance};
use crate::{PROJECT, config, instance_id};

const ALL_CHANGES: [PowerChange; 5] = [
    PowerChange::Start,
    PowerChange::Stop,
    PowerChange::ForceStop,
    PowerChange::Reboot,
    PowerChange::Terminate,
];

/// In moto's answers a change is under way; its next description shows the end of it.
fn change(previous: InstanceState, current: InstanceState) -> StateChange {
    StateChange { previous, current }
}

fn settings(moto: &Moto) -> Config {
    Config {
        region: moto.region().to_owned(),
        ..config(moto.endpoint())
    }
}

async fn cloud(moto: &Moto) -> Ec2Cloud {
    Ec2Cloud::new(settings(moto)).await.unwrap()
}

fn launch(name: &str, tags: &[(&str, &str)]) -> Launch {
    Launch {
        token: format!("token-of-{name}"),
        name: name.to_owned(),
        instance_type: None,
        tags: tags
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
    }
}

#[tokio::test]
async fn a_listing_follows_every_page_and_shows_the_pools_instances_only() {
    let moto = Moto::region_of_its_own().await;
    let strangers: [&[(&str, &str)]; 4] = [
        &[],
        &[(TAG_PROJECT, PROJECT)],
        &[(TAG_MANAGED_BY, MANAGED_BY)],
        &[(TAG_PROJECT, "another"), (TAG_MANAGED_BY, MANAGED_BY)],
    ];
    let mut ours = BTreeSet::new();
    for number in 0..120 {
        let name = format!("vm {number}");
        ours.insert(instance_id(
            &moto.run(&NewInstance::of_pool(PROJECT, &name)).await,
        ));
        if number % 4 == 0 {
            let tags = strangers[number / 4 % strangers.len()].to_vec();
            moto.run(&NewInstance {
                tags,
                ..NewInstance::default()
            })
            .await;
        }
    }
    assert_eq!(moto.instance_count().await, 150);

    let cloud = Ec2Cloud::new(Config {
        page_size: 50,
        ..settings(&moto)
    })
    .await
    .unwrap();
    let listed = cloud.list().await.unwrap();
    assert_eq!(listed.len(), 120);
    assert_eq!(
        listed
            .iter()
            .map(|instance| instance.instance_id.clone())
            .collect::<BTreeSet<_>>(),
        ours
    );
    let names: BTreeSet<_> = listed
        .iter()
        .filter_map(|instance| instance.name.clone())
        .collect();
    assert_eq!(names, (0..120).map(|number| format!("vm {number}")).collect());
}

#[tokio::test]
async fn an_empty_account_is_an_empty_list() {
    let moto = Moto::region_of_its_own().await;
    assert_eq!(cloud(&moto).await.list().await, Ok(Vec::new()));
}

#[tokio::test]
async fn a_launched_instance_has_the_configured_place_and_the_pools_tags_over_the_callers() {
    let moto = Moto::region_of_its_own().await;
    let subnet_id = moto.subnet("127.44.0.0/16").await;
    let cloud = Ec2Cloud::new(Config {
        subnet_id: Some(subnet_id.clone()),
        instance_type: "c5.xlarge".to_owned(),
        ..settings(&moto)
    })
    .await
    .unwrap();

    let tags = [
        ("Team", "sport & more"),
        ("Name", "mine"),
        (TAG_PROJECT, "mine"),
        (TAG_MANAGED_BY, "me"),
    ];
    let launched = cloud.launch(&launch("gymnastics 1", &tags)).await.unwrap();
    assert_eq!(launched.state, InstanceState::Pending);
    assert_eq!(launched.name.as_deref(), Some("gymnastics 1"));
    assert_eq!(launched.instance_type.as_deref(), Some("c5.xlarge"));
    assert_eq!(launched.subnet_id, Some(subnet_id));
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let expected = BTreeMap::from([
        pair("Team", "sport & more"),
        pair("Name", "gymnastics 1"),
        pair(TAG_PROJECT, PROJECT),
        pair(TAG_MANAGED_BY, MANAGED_BY),
    ]);
    assert_eq!(launched.tags, expected);

    let [listed] = <[_; 1]>::try_from(cloud.list().await.unwrap()).unwrap();
    assert_eq!(listed.instance_id, launched.instance_id);
    assert_eq!((listed.state, &listed.tags), (InstanceState::Running, &expected));
    assert_eq!(listed.private_ip, Some(IpAddr::V4(Ipv4Addr::new(127, 44, 0, 4))));
    assert!(listed.vpc_id.is_some() && listed.availability_zone.is_some() && listed.launch_time.is_some());

    let small = Launch {
        instance_type: Some("t3.small".to_owned()),
        ..launch("small", &[])
    };
    assert_eq!(
        cloud.launch(&small).await.unwrap().instance_type.as_deref(),
        Some("t3.small")
    );
}

#[tokio::test]
async fn a_launch_that_ec2_finds_wrong_is_invalid_and_says_why() {
    let moto = Moto::region_of_its_own().await;
    let cloud = Ec2Cloud::new(Config {
        subnet_id: Some("subnet-0123456789abcdef0".to_owned()),
        ..settings(&moto)
    })
    .await
    .unwrap();
    let refused = cloud.launch(&launch("nowhere", &[])).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Invalid);
    assert_eq!(refused.code.as_deref(), Some("InvalidSubnetID.NotFound"));
    assert!(
        refused.to_string().contains("subnet-0123456789abcdef0"),
        "{refused}"
    );
    assert_eq!(moto.instance_count().await, 0);
}

#[tokio::test]
async fn every_power_change_reports_the_states_before_and_after_and_takes_place() {
    use InstanceState::{Pending, Running, ShuttingDown, Stopped, Stopping, Terminated};
    let moto = Moto::region_of_its_own().await;
    let id = moto.run(&NewInstance::of_pool(PROJECT, "vm")).await;
    let cloud = cloud(&moto).await;
    let instance = instance_id(&id);
    for (asked, reported, then) in [
        (PowerChange::Stop, change(Running, Stopping), Stopped),
        (PowerChange::Start, change(Stopped, Pending), Running),
        (PowerChange::Reboot, change(Running, Running), Running),
        (PowerChange::ForceStop, change(Running, Stopping), Stopped),
        (PowerChange::Terminate, change(Stopped, ShuttingDown), Terminated),
    ] {
        assert_eq!(cloud.change(&instance, asked).await, Ok(reported), "{asked:?}");
        assert_eq!(moto.state(&id).await, then.as_str(), "{asked:?}");
        assert_eq!(
            cloud.describe(&instance).await.unwrap().unwrap().state,
            then,
            "{asked:?}"
        );
    }
}

#[tokio::test]
async fn a_stopped_instance_is_not_rebooted_and_a_terminated_one_neither_started_nor_stopped() {
    let moto = Moto::region_of_its_own().await;
    let id = moto.run(&NewInstance::of_pool(PROJECT, "vm")).await;
    let cloud = cloud(&moto).await;
    let instance = instance_id(&id);

    moto.stop_instance(&id).await;
    let refused = cloud.change(&instance, PowerChange::Reboot).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::WrongState);
    assert_eq!(moto.state(&id).await, "stopped");

    for asked in [
        PowerChange::Start,
        PowerChange::Stop,
        PowerChange::ForceStop,
        PowerChange::Reboot,
    ] {
        // Again each time: moto, unlike EC2, lets the dead rise.
        moto.terminate_instance(&id).await;
        let refused = cloud.change(&instance, asked).await.unwrap_err();
        assert_eq!(refused.kind, ErrorKind::WrongState, "{asked:?}: {refused}");
    }
}

#[tokio::test]
async fn what_others_do_to_an_instance_shows_in_the_next_look() {
    let moto = Moto::region_of_its_own().await;
    let id = moto.run(&NewInstance::of_pool(PROJECT, "vm")).await;
    let cloud = cloud(&moto).await;
    let state = async || cloud.list().await.unwrap()[0].state;
    assert_eq!(state().await, InstanceState::Running);
    moto.stop_instance(&id).await;
    assert_eq!(state().await, InstanceState::Stopped);
    moto.start_instance(&id).await;
    assert_eq!(state().await, InstanceState::Running);
    moto.terminate_instance(&id).await;
    assert_eq!(state().await, InstanceState::Terminated);
}

#[tokio::test]
async fn tags_are_added_and_replaced_but_never_the_pools_own() {
    let moto = Moto::region_of_its_own().await;
    let id = moto.run(&NewInstance::of_pool(PROJECT, "old name")).await;
    let cloud = cloud(&moto).await;
    let instance = instance_id(&id);
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());

    cloud
        .tag(&instance, &[pair("Name", "new name"), pair("Show", "État 2026")])
        .await
        .unwrap();
    cloud.tag(&instance, &[]).await.unwrap();
    assert_eq!(moto.tag(&id, "Name").await.as_deref(), Some("new name"));
    assert_eq!(moto.tag(&id, "Show").await.as_deref(), Some("État 2026"));
    assert_eq!(
        cloud.describe(&instance).await.unwrap().unwrap().name.as_deref(),
        Some("new name")
    );

    for own in [TAG_PROJECT, TAG_MANAGED_BY] {
        let refused = cloud
            .tag(&instance, &[pair("Show", "x"), pair(own, "x")])
            .await
            .unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Invalid);
    }
    assert_eq!(moto.tag(&id, TAG_PROJECT).await.as_deref(), Some(PROJECT));
    assert_eq!(moto.tag(&id, "Show").await.as_deref(), Some("État 2026"));
}

#[tokio::test]
async fn an_instance_that_does_not_exist_is_not_found() {
    let moto = Moto::region_of_its_own().await;
    let cloud = cloud(&moto).await;
    for id in ["i-0123456789abcdef0", "not an instance id"] {
        let unknown = instance_id(id);
        assert_eq!(cloud.describe(&unknown).await, Ok(None));
        for asked in ALL_CHANGES {
            let refused = cloud.change(&unknown, asked).await.unwrap_err();
            assert_eq!(refused.kind, ErrorKind::NotFound, "{asked:?}");
            assert!(!refused.kind.is_retryable());
        }
        let tags = [("Show".to_owned(), "x".to_owned())];
        assert_eq!(
            cloud.tag(&unknown, &tags).await.unwrap_err().kind,
            ErrorKind::NotFound
        );
    }
}

#[tokio::test]
async fn a_strangers_instance_can_be_seen_but_is_never_touched() {
    let moto = Moto::region_of_its_own().await;
    let cloud = cloud(&moto).await;
    for tags in [
        vec![],
        vec![(TAG_PROJECT, PROJECT)],
        vec![(TAG_MANAGED_BY, MANAGED_BY)],
    ] {
        let id = moto
            .run(&NewInstance {
                tags,
                ..NewInstance::default()
            })
            .await;
        let stranger = instance_id(&id);
        assert!(cloud.describe(&stranger).await.unwrap().is_some());
        for asked in ALL_CHANGES {
            let refused = cloud.change(&stranger, asked).await.unwrap_err();
            assert_eq!(refused.kind, ErrorKind::Denied, "{asked:?}");
            assert!(refused.to_string().contains(&id), "{refused}");
        }
        let tags = [("Show".to_owned(), "x".to_owned())];
        assert_eq!(
            cloud.tag(&stranger, &tags).await.unwrap_err().kind,
            ErrorKind::Denied
        );
        assert_eq!(moto.state(&id).await, "running");
        assert_eq!(moto.tag(&id, "Show").await, None);
    }
}

#[tokio::test]
async fn an_instance_that_was_taken_out_of_the_pool_is_left_alone_from_the_next_listing_on() {
    let moto = Moto::region_of_its_own().await;
    let id = moto.run(&NewInstance::of_pool(PROJECT, "vm")).await;
    let cloud = cloud(&moto).await;
    let instance = instance_id(&id);
    assert_eq!(cloud.list().await.unwrap().len(), 1);
    moto.delete_tag(&id, TAG_MANAGED_BY).await;

    // The one change that cannot be undone is not made on the strength of an old listing.
    let refused = cloud.change(&instance, PowerChange::Terminate).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Denied);

    assert_eq!(cloud.list().await, Ok(Vec::new()));
    let refused = cloud.change(&instance, PowerChange::ForceStop).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Denied);
    assert_eq!(moto.state(&id).await, "running");
}
