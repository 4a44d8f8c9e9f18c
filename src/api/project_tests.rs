use std::time::Duration;

use super::*;
use crate::domain::ids::{Attempt, Epoch, InstanceId, ShowId, VmId};
use crate::domain::instance::InstanceState;
use crate::domain::time::Timestamp;
use crate::domain::vm::Fault;

const REACH: Reach = Reach {
    address: AddressKind::Public,
    server: 3003,
    obs: 4455,
    no_machine: 4000,
};

fn machine() -> Instance {
    let tags = [
        ("Name", "cam-1"),
        ("capability", "4k, multi-camera"),
        ("aws:cloudformation/x.y", "z"),
    ];
    Instance {
        instance_id: InstanceId::new("i-0a1b2c3d4e5f60718").unwrap(),
        name: Some("cam-1".into()),
        state: InstanceState::Running,
        public_ip: Some("203.0.113.7".parse().unwrap()),
        private_ip: Some("10.0.0.7".parse().unwrap()),
        public_dns: Some(String::new()),
        private_dns: None,
        instance_type: Some("t3.large".into()),
        launch_time: Some(Timestamp(1_000)),
        availability_zone: Some("us-east-1a".into()),
        subnet_id: None,
        vpc_id: None,
        tags: tags
            .into_iter()
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .collect(),
    }
}

fn ready() -> Vm {
    let mut vm = Vm::adopted(VmId::new("vm-e5f60718").unwrap(), machine(), Timestamp(2_000));
    vm.power = Power::Ready;
    vm.health = Health::Healthy;
    vm
}

fn seen() -> Observation {
    Observation {
        checked_at: Some(Timestamp(5_000)),
        reading: Reading {
            node: Some(true),
            obs: Some(true),
            ssh: None,
        },
        uptime_s: Some(12.5),
        version: Some("1.4.0".into()),
        ..Observation::default()
    }
}

#[test]
fn a_record_has_the_fields_that_clients_read() {
    let mut vm = ready();
    vm.occupancy = Occupancy::OnAir {
        show: ShowId::new("finals").unwrap(),
        epoch: Epoch(3),
    };
    vm.assigned_by = Some("api".into());
    let json = serde_json::to_value(record(&vm, &seen(), REACH)).unwrap();
    let expected = serde_json::json!({
        "vmId": "vm-e5f60718", "instanceId": "i-0a1b2c3d4e5f60718", "name": "cam-1",
        "instanceType": "t3.large", "availabilityZone": "us-east-1a", "status": "in_use", "ec2State": "running",
        "publicIp": "203.0.113.7", "privateIp": "10.0.0.7", "vmAddress": "203.0.113.7:3003", "launchTime": "1970-01-01T00:00:01.000Z",
        "lastStateChange": "1970-01-01T00:00:02.000Z", "lastHealthCheck": "1970-01-01T00:00:05.000Z",
        "lastHealthCheckMs": 5000, "assignedTo": "finals", "assignedBy": "api", "epoch": 3, "createdAt": 2000,
        "totalAssignments": 0, "healthStatus": "healthy",
        "services": {
            "node": true, "obs": true, "obsConnected": true, "uptime": 12.5, "version": "1.4.0",
            "nodeServer": {"running": true, "port": 3003, "lastChecked": 5000},
            "obsWebsocket": {"running": true, "port": 4455, "lastChecked": 5000},
        },
        "tags": {
            "Name": "cam-1", "aws:cloudformation%2Fx%2Ey": "z", "region": "us-east-1",
            "capability": ["4k", "multi-camera"],
        },
    });
    assert_eq!(json, expected);
}

const PRIVATE: Reach = Reach {
    address: AddressKind::Private,
    ..REACH
};

#[test]
fn the_address_to_connect_to_is_the_one_that_the_coordinator_dials_and_never_has_a_hole() {
    let mut vm = ready();
    assert_eq!(vm_address(&vm, REACH).as_deref(), Some("203.0.113.7:3003"));
    assert_eq!(vm_address(&vm, PRIVATE).as_deref(), Some("10.0.0.7:3003"));
    vm.instance.public_ip = None;
    assert_eq!(vm_address(&vm, REACH), None, "nobody here dials the private one");
    assert_eq!(vm_address(&vm, PRIVATE).as_deref(), Some("10.0.0.7:3003"));
    vm.instance.private_ip = None;
    assert_eq!(vm_address(&vm, PRIVATE), None);
    vm.instance.public_ip = Some("2001:db8::1".parse().unwrap());
    assert_eq!(vm_address(&vm, REACH).as_deref(), Some("[2001:db8::1]:3003"));
    assert_eq!(vm_address(&vm, PRIVATE), None, "nobody here dials the public one");
}

#[test]
fn a_vm_that_is_off_has_no_address_to_connect_to_though_it_keeps_its_private_one() {
    let mut vm = ready();
    for power in [
        Power::Stopped,
        Power::Starting { attempt: Attempt(1) },
        Power::Stopping { attempt: Attempt(1) },
    ] {
        vm.power = power;
        assert_eq!(vm_address(&vm, PRIVATE), None, "{:?}", vm.power);
        assert_eq!(
            record(&vm, &seen(), PRIVATE).private_ip.as_deref(),
            Some("10.0.0.7")
        );
    }
    vm.power = Power::Booting;
    assert_eq!(vm_address(&vm, PRIVATE).as_deref(), Some("10.0.0.7:3003"));
}

#[test]
fn a_public_ip_is_public_or_none_at_whatever_address_vms_are_reached() {
    let mut vm = ready();
    let shown = record(&vm, &seen(), PRIVATE);
    assert_eq!(shown.public_ip.as_deref(), Some("203.0.113.7"));
    assert_eq!(shown.vm_address.as_deref(), Some("10.0.0.7:3003"));
    vm.instance.public_ip = None;
    let json = serde_json::to_value(record(&vm, &seen(), PRIVATE)).unwrap();
    assert_eq!(json.get("publicIp"), None);
    assert_eq!(json["vmAddress"], "10.0.0.7:3003");
}

#[test]
fn a_stopped_vm_has_no_services_whatever_was_seen_before() {
    let mut vm = ready();
    for (power, known) in [
        (Power::Stopped, false),
        (Power::Booting, true),
        (Power::Ready, true),
    ] {
        vm.power = power;
        assert_eq!(services_of(&vm, &seen(), REACH).is_some(), known, "{power:?}");
    }
    assert_eq!(services_of(&ready(), &Observation::default(), REACH), None);
}

#[test]
fn what_is_not_known_is_absent_and_never_false() {
    let seen = Observation {
        reading: Reading::default(),
        no_machine: None,
        ..seen()
    };
    let json = serde_json::to_value(services(&seen, REACH)).unwrap();
    for key in [
        "node",
        "obs",
        "nomachine",
        "nodeServer",
        "obsWebsocket",
        "noMachine",
        "obsConnected",
    ] {
        assert_eq!(json.get(key), None, "{key}");
    }
}

#[test]
fn the_reason_is_there_only_in_error_and_maintenance() {
    let mut vm = ready();
    vm.fault = Some(Fault {
        reason: "it burns".into(),
        since: Timestamp(1),
        previous: Status::Available,
    });
    let faulty = record(&vm, &seen(), REACH);
    assert_eq!(faulty.error_reason.as_deref(), Some("it burns"));
    assert_eq!(faulty.previous_status, Some("available"));
    vm.fault = None;
    assert_eq!(record(&vm, &seen(), REACH).error_reason, None);
    vm.occupancy = Occupancy::Maintenance {
        reason: Some("new disk".into()),
    };
    let resting = record(&vm, &seen(), REACH);
    assert_eq!(
        (resting.status, resting.error_reason.as_deref()),
        ("maintenance", Some("new disk"))
    );
}

#[test]
fn tag_keys_cannot_break_or_shadow_each_other() {
    assert_eq!(database_key("a.b"), "a%2Eb");
    assert_eq!(database_key("a%2Eb"), "a%252Eb");
    assert_eq!(database_key("plain-Key_9:x"), "plain-Key_9:x");
}

#[test]
fn the_status_of_a_competitions_vm_comes_from_our_own_checks() {
    let online = vm_status(Some(&ready()), &seen(), AddressKind::Public);
    assert_eq!(
        serde_json::to_value(online).unwrap(),
        serde_json::json!({"online": true, "obsConnected": true, "uptime": 12.5, "version": "1.4.0"})
    );
    let none = serde_json::json!({"online": false, "noVm": true});
    assert_eq!(
        serde_json::to_value(vm_status(None, &seen(), AddressKind::Public)).unwrap(),
        none
    );
    let mut bare = ready();
    bare.instance.public_ip = None;
    let bare = |address| serde_json::to_value(vm_status(Some(&bare), &seen(), address)).unwrap();
    assert_eq!(bare(AddressKind::Public), none);
    assert_eq!(bare(AddressKind::Private)["online"], true);

    let down = |signals, error: Option<&str>| {
        let reading = Reading {
            node: Some(false),
            ..Reading::default()
        };
        let seen = Observation {
            reading,
            signals,
            error: error.map(str::to_owned),
            ..seen()
        };
        vm_status(Some(&ready()), &seen, AddressKind::Public)
    };
    let silent = crate::domain::failover::verdict::Signals {
        probe: Sign::Bad {
            since: Timestamp(1),
            how: Trouble::Silent,
        },
        ..Default::default()
    };
    assert_eq!(
        down(silent, Some("no answer within 5000 ms")).error.as_deref(),
        Some("Request timeout")
    );
    assert_eq!(
        down(Default::default(), Some("HTTP 500")).error.as_deref(),
        Some("HTTP 500")
    );
    assert!(!down(Default::default(), None).online);
    let unchecked = vm_status(Some(&ready()), &Observation::default(), AddressKind::Public);
    assert_eq!(
        (unchecked.online, unchecked.error.as_deref()),
        (false, Some("VM is available"))
    );
}

#[test]
fn a_check_on_demand_shows_what_it_found_itself() {
    let checked = Checked {
        vm: VmId::new("vm-e5f60718").unwrap(),
        instance: machine().instance_id,
        health: Health::Degraded,
        reading: Reading {
            node: Some(true),
            obs: Some(false),
            ssh: None,
        },
        response_time: Some(Duration::from_millis(7)),
        at: Timestamp(9_000),
        error: Some("OBS does not answer".into()),
    };
    let result = health_result(&checked, &seen(), Some(&machine()), REACH);
    assert!(!result.healthy);
    assert_eq!(
        (result.services.obs, result.response_time),
        (Some(false), Some(7))
    );
    assert_eq!(result.public_ip.as_deref(), Some("203.0.113.7"));
    assert_eq!(result.services.node_server.unwrap().last_checked, Ms(9_000));
}
