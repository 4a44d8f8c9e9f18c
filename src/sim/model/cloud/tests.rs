use super::*;
use crate::domain::instance::PowerChange;

const T0: Timestamp = Timestamp(1_000_000);

fn at(ms: u64) -> Timestamp {
    T0 + Duration::from_millis(ms)
}

fn cloud() -> Cloud {
    let range = AddressRange::new(Ipv4Addr::new(127, 77, 0, 1), Ipv4Addr::new(127, 77, 0, 3));
    Cloud::new(CloudTiming::default(), range, vec!["a".into(), "b".into()], 1)
}

fn state(cloud: &Cloud, id: &InstanceId) -> Option<InstanceState> {
    cloud.describe(id).map(|instance| instance.state)
}

#[test]
fn a_stopped_instance_starts_and_powers_its_machine_when_it_runs() {
    let mut cloud = cloud();
    let id = cloud.place(LaunchRequest::default(), false, T0).unwrap();
    assert_eq!(cloud.describe(&id).unwrap().public_ip, None);
    assert_eq!(
        cloud.change(&id, PowerChange::Start, T0),
        Ok((InstanceState::Stopped, InstanceState::Pending))
    );
    assert_eq!(cloud.advance(at(299)), []);
    let address = cloud.address(&id).unwrap();
    assert_eq!(
        cloud.advance(at(300)),
        [Effect::PowerOn {
            instance: id.clone(),
            address
        }]
    );
    assert_eq!(state(&cloud, &id), Some(InstanceState::Running));
}

#[test]
fn a_forced_stop_cuts_the_power_at_once_even_while_stopping() {
    let mut cloud = cloud();
    let id = cloud.place(LaunchRequest::default(), true, T0).unwrap();
    cloud.change(&id, PowerChange::Stop, T0).unwrap();
    assert_eq!(cloud.advance(T0), [Effect::ShutDown { instance: id.clone() }]);
    cloud.change(&id, PowerChange::ForceStop, at(100)).unwrap();
    assert_eq!(
        cloud.advance(at(100)),
        [Effect::PowerOff { instance: id.clone() }]
    );
    assert_eq!(state(&cloud, &id), Some(InstanceState::Stopping));
    cloud.advance(at(400));
    assert_eq!(state(&cloud, &id), Some(InstanceState::Stopped));
}

#[test]
fn a_repeated_token_returns_the_same_instance() {
    let mut cloud = cloud();
    let request = LaunchRequest {
        token: Some("t".into()),
        ..LaunchRequest::default()
    };
    let first = cloud.launch(request.clone(), T0).unwrap();
    assert_eq!(
        cloud.launch(request, at(1)).unwrap().instance_id,
        first.instance_id
    );
    assert_eq!(cloud.list(&BTreeMap::new(), None, 9).len(), 1);
}

#[test]
fn a_terminated_instance_is_forgotten_and_its_address_is_free_again() {
    let mut cloud = cloud();
    let ids: Vec<_> = (0..3)
        .map(|_| cloud.place(LaunchRequest::default(), true, T0).unwrap())
        .collect();
    assert_eq!(
        cloud.launch(LaunchRequest::default(), T0),
        Err(Refusal::NoAddress)
    );
    cloud.change(&ids[0], PowerChange::Terminate, T0).unwrap();
    cloud.advance(at(1_000));
    assert_eq!(state(&cloud, &ids[0]), Some(InstanceState::Terminated));
    let wrong = cloud.change(&ids[0], PowerChange::Start, at(1_001));
    assert!(matches!(wrong, Err(Refusal::WrongState { .. })));
    cloud.advance(at(21_000));
    assert_eq!(state(&cloud, &ids[0]), None);
    assert!(cloud.launch(LaunchRequest::default(), at(21_000)).is_ok());
}

#[test]
fn without_capacity_nothing_starts() {
    let mut cloud = cloud();
    let id = cloud.place(LaunchRequest::default(), false, T0).unwrap();
    cloud.fault(CloudFault::NoCapacity);
    assert_eq!(
        cloud.change(&id, PowerChange::Start, T0),
        Err(Refusal::NoCapacity)
    );
    cloud.heal();
    assert!(cloud.change(&id, PowerChange::Start, T0).is_ok());
}

#[test]
fn a_forgotten_stop_is_accepted_and_nothing_comes_of_it() {
    let mut cloud = cloud();
    let id = cloud.place(LaunchRequest::default(), true, T0).unwrap();
    cloud.fault(CloudFault::StopsForgotten);
    assert_eq!(
        cloud.change(&id, PowerChange::Stop, T0),
        Ok((InstanceState::Running, InstanceState::Stopping))
    );
    assert_eq!(cloud.advance(at(60_000)), []);
    assert_eq!(state(&cloud, &id), Some(InstanceState::Running));
    cloud.heal();
    cloud.change(&id, PowerChange::Stop, at(60_000)).unwrap();
    assert_eq!(state(&cloud, &id), Some(InstanceState::Stopping));
}

#[test]
fn an_address_changes_on_start_only_when_told_so() {
    let mut cloud = cloud();
    let id = cloud.place(LaunchRequest::default(), false, T0).unwrap();
    let before = cloud.address(&id);
    cloud.set_address_changes(&id, true).unwrap();
    cloud.change(&id, PowerChange::Start, T0).unwrap();
    assert_ne!(cloud.address(&id), before);
    assert_eq!(
        cloud.describe(&id).unwrap().public_ip,
        cloud.address(&id).map(IpAddr::V4)
    );
}
