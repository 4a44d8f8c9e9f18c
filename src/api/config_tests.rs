use serde_json::json;

use super::*;

fn settings() -> Settings {
    Settings {
        warm_count: 2,
        cold_count: 3,
        max_instances: 5,
        max_concurrent: 4,
        health_check_interval: Duration::from_secs(30),
        idle_timeout: Some(Duration::from_secs(7_200)),
        warmup_time: Duration::from_secs(180),
        service_port: 3003,
        region: "us-east-1".into(),
        ami_id: None,
        default_instance_type: "t3.large".into(),
    }
}

fn launch() -> LaunchFacts {
    LaunchFacts {
        subnet_id: Some("subnet-1".into()),
        ..LaunchFacts::default()
    }
}

fn put(body: Value) -> Result<Settings, ApiError> {
    change(&settings(), &launch(), body.as_object().unwrap())
}

fn refused_field(body: Value) -> String {
    let error = put(body).unwrap_err();
    assert_eq!(error.status.as_u16(), 400);
    error.body.fields["field"].as_str().unwrap().to_owned()
}

#[test]
fn every_name_and_its_aliases_are_shown() {
    let view = serde_json::to_value(ConfigView::new(&settings(), &launch())).unwrap();
    let expected = json!({
        "warmCount": 2, "minWarmVMs": 2, "minAvailableVMs": 2, "coldCount": 3, "maxInstances": 5,
        "maxTotalVMs": 5, "maxConcurrent": 4, "healthCheckIntervalMs": 30000, "idleTimeoutMinutes": 120,
        "autoStopAfterHours": 2, "warmupTimeSeconds": 180, "servicePort": 3003, "region": "us-east-1",
        "awsRegion": "us-east-1", "defaultInstanceType": "t3.large", "instanceType": "t3.large",
        "subnetId": "subnet-1", "obsPasswordConfigured": false, "sshKeyConfigured": false,
    });
    assert_eq!(view, expected);
}

#[test]
fn what_was_read_can_be_sent_back() {
    let view = serde_json::to_value(ConfigView::new(&settings(), &launch())).unwrap();
    assert_eq!(put(view).unwrap(), settings());
    assert_eq!(put(json!({})).unwrap(), settings());
}

#[test]
fn an_alias_sets_what_its_canonical_name_sets() {
    for (body, check) in [
        (json!({"minWarmVMs": 3}), json!({"warmCount": 3})),
        (json!({"minAvailableVMs": 3}), json!({"warmCount": 3})),
        (json!({"maxTotalVMs": 9}), json!({"maxInstances": 9})),
        (
            json!({"autoStopAfterHours": 1.5}),
            json!({"idleTimeoutMinutes": 90}),
        ),
        (
            json!({"instanceType": "c5.xlarge"}),
            json!({"defaultInstanceType": "c5.xlarge"}),
        ),
    ] {
        assert_eq!(put(body.clone()).unwrap(), put(check).unwrap(), "{body}");
        assert_ne!(put(body.clone()).unwrap(), settings(), "{body}");
    }
}

#[test]
fn a_name_and_its_alias_must_agree() {
    assert!(put(json!({"warmCount": 3, "minWarmVMs": 3, "minAvailableVMs": 3})).is_ok());
    assert!(put(json!({"idleTimeoutMinutes": 90, "autoStopAfterHours": 1.5})).is_ok());
    for body in [
        json!({"warmCount": 3, "minWarmVMs": 2}),
        json!({"maxInstances": 6, "maxTotalVMs": 7}),
        json!({"idleTimeoutMinutes": 90, "autoStopAfterHours": 2}),
        json!({"defaultInstanceType": "a", "instanceType": "b"}),
    ] {
        assert!(put(body.clone()).is_err(), "{body}");
    }
}

#[test]
fn what_is_out_of_range_or_of_the_wrong_type_is_refused_by_name() {
    for (field, bad) in [
        ("warmCount", json!(-1)),
        ("warmCount", json!(6)),
        ("warmCount", json!(1.5)),
        ("warmCount", json!("2")),
        ("warmCount", json!([2])),
        ("coldCount", json!(-1)),
        ("maxInstances", json!(0)),
        ("maxInstances", json!(51)),
        ("maxInstances", json!(1)),
        ("maxConcurrent", json!(0)),
        ("maxConcurrent", json!(6)),
        ("healthCheckIntervalMs", json!(4_999)),
        ("healthCheckIntervalMs", json!(600_001)),
        ("idleTimeoutMinutes", json!(-0.1)),
        ("autoStopAfterHours", json!(1e9)),
        ("warmupTimeSeconds", json!(29)),
        ("warmupTimeSeconds", json!(901)),
        ("servicePort", json!(0)),
        ("servicePort", json!(65_536)),
        ("amiId", json!("")),
        ("amiId", json!("a\nb")),
        ("defaultInstanceType", json!(null)),
        ("region", json!("eu-west-1")),
        ("subnetId", json!("subnet-2")),
        ("keyPairName", json!("mine")),
        ("sshKeyConfigured", json!(true)),
        ("defaultOBSPassword", json!("hush")),
        ("sshKeyPath", json!("/x")),
        ("colour", json!("blue")),
    ] {
        assert_eq!(refused_field(json!({ field: bad })), field, "{bad}");
    }
}

#[test]
fn a_refused_secret_is_not_repeated() {
    let error = put(json!({"defaultOBSPassword": "hush"})).unwrap_err();
    assert!(!serde_json::to_string(&error.body).unwrap().contains("hush"));
}

#[test]
fn zero_is_never_and_whole_floats_are_whole() {
    assert_eq!(put(json!({"idleTimeoutMinutes": 0})).unwrap().idle_timeout, None);
    assert_eq!(put(json!({"warmCount": 2.0})).unwrap().warm_count, 2);
    assert_eq!(put(json!({"amiId": null})).unwrap().ami_id, None);
    let half = put(json!({"idleTimeoutMinutes": 0.5})).unwrap();
    assert_eq!(half.idle_timeout, Some(Duration::from_secs(30)));
}

#[test]
fn the_limit_of_concurrent_shows_follows_the_pools_size_down() {
    let smaller = put(json!({"maxInstances": 3})).unwrap();
    assert_eq!((smaller.max_instances, smaller.max_concurrent), (3, 3));
}
