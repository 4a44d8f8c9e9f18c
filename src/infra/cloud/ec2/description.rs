//! EC2's description of an instance, read into ours.

use std::collections::BTreeMap;
use std::net::IpAddr;

use aws_sdk_ec2::types;

use super::error;
use crate::domain::ids::InstanceId;
use crate::domain::instance::{Instance, InstanceState};
use crate::domain::time::Timestamp;
use crate::infra::cloud::{Error, StateChange};

/// Bits of a state code that mean something; EC2 keeps the others for itself
/// (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_InstanceState.html>).
const STATE_CODE_MASK: i32 = 0xff;

const STATES: [InstanceState; 6] = [
    InstanceState::Pending,
    InstanceState::Running,
    InstanceState::Stopping,
    InstanceState::Stopped,
    InstanceState::ShuttingDown,
    InstanceState::Terminated,
];

/// Reads one instance.
///
/// # Errors
/// The answer lacks an id or a state, or has a state nobody knows. It is refused whole: guessing a state, or
/// leaving the instance out, would tell the pool something that nobody said.
pub(super) fn instance(call: &'static str, found: &types::Instance) -> Result<Instance, Error> {
    let id = found
        .instance_id()
        .ok_or_else(|| error::unreadable(call, "an instance without an id"))?;
    let instance_id =
        InstanceId::new(id).map_err(|why| error::unreadable(call, &format!("an instance id: {why}")))?;
    let state = state(found.state())
        .ok_or_else(|| error::unreadable(call, &format!("{id} in the state {:?}", found.state())))?;
    let tags: BTreeMap<String, String> = found
        .tags()
        .iter()
        .filter_map(|tag| Some((tag.key()?.to_owned(), tag.value().unwrap_or_default().to_owned())))
        .collect();
    Ok(Instance {
        name: tags.get("Name").cloned(),
        state,
        public_ip: address(id, found.public_ip_address()),
        private_ip: address(id, found.private_ip_address()),
        public_dns: text(found.public_dns_name()),
        private_dns: text(found.private_dns_name()),
        instance_type: text(found.instance_type().map(types::InstanceType::as_str)),
        launch_time: found
            .launch_time()
            .and_then(|time| time.to_millis().ok())
            .and_then(|millis| u64::try_from(millis).ok())
            .map(Timestamp),
        availability_zone: text(found.placement().and_then(types::Placement::availability_zone)),
        subnet_id: text(found.subnet_id()),
        vpc_id: text(found.vpc_id()),
        instance_id,
        tags,
    })
}

/// The two states that EC2 reports for `instance` in answer to a power change.
///
/// # Errors
/// The answer does not speak of this instance, or not in states we know.
pub(super) fn state_change(
    call: &'static str,
    instance: &InstanceId,
    changes: &[types::InstanceStateChange],
) -> Result<StateChange, Error> {
    let change = changes
        .iter()
        .find(|change| change.instance_id() == Some(instance.as_str()))
        .ok_or_else(|| error::unreadable(call, &format!("no states of {instance}")))?;
    match (state(change.previous_state()), state(change.current_state())) {
        (Some(previous), Some(current)) => Ok(StateChange { previous, current }),
        (None, _) | (_, None) => Err(error::unreadable(
            call,
            &format!("no usable states of {instance}"),
        )),
    }
}

fn state(reported: Option<&types::InstanceState>) -> Option<InstanceState> {
    let reported = reported?;
    let by_name = reported
        .name()
        .and_then(|name| STATES.into_iter().find(|state| state.as_str() == name.as_str()));
    by_name.or_else(|| {
        let code = u16::try_from(reported.code()? & STATE_CODE_MASK).ok()?;
        STATES.into_iter().find(|state| state.code() == code)
    })
}

/// EC2 writes an empty element where there is nothing: a DNS name without a public address.
fn text(reported: Option<&str>) -> Option<String> {
    reported.filter(|text| !text.is_empty()).map(str::to_owned)
}

fn address(instance: &str, reported: Option<&str>) -> Option<IpAddr> {
    let reported = text(reported)?;
    let address = reported.parse().ok();
    if address.is_none() {
        tracing::warn!(
            instance,
            address = reported,
            "EC2 reports an address that is none"
        );
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infra::cloud::ErrorKind;

    fn reported(code: i32, name: &str) -> types::InstanceState {
        types::InstanceState::builder()
            .code(code)
            .name(name.into())
            .build()
    }

    #[test]
    fn every_state_is_read_by_its_name_and_by_the_low_byte_of_its_code() {
        for expected in STATES {
            assert_eq!(state(Some(&reported(0, expected.as_str()))), Some(expected));
            let code = i32::from(expected.code()) | 0x2_00;
            assert_eq!(state(Some(&reported(code, "a-new-name"))), Some(expected));
        }
        assert_eq!(state(Some(&reported(17, "hovering"))), None);
        assert_eq!(state(None), None);
    }

    #[test]
    fn an_instance_in_an_unknown_state_is_refused_and_not_guessed() {
        let found = types::Instance::builder()
            .instance_id("i-1")
            .state(reported(17, "hovering"))
            .build();
        let refused = instance("DescribeInstances", &found).unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Internal);
        assert!(refused.to_string().contains("i-1"), "{refused}");
    }

    #[test]
    fn an_empty_element_is_nothing() {
        let found = types::Instance::builder()
            .instance_id("i-1")
            .state(reported(80, "stopped"))
            .public_dns_name("")
            .public_ip_address("")
            .build();
        let read = instance("DescribeInstances", &found).unwrap();
        assert_eq!((read.public_dns, read.public_ip, read.name), (None, None, None));
    }

    #[test]
    fn states_of_another_instance_are_not_taken_for_this_ones() {
        let change = types::InstanceStateChange::builder()
            .instance_id("i-2")
            .previous_state(reported(16, "running"))
            .current_state(reported(64, "stopping"))
            .build();
        let asked = InstanceId::new("i-1").unwrap();
        let refused = state_change("StopInstances", &asked, std::slice::from_ref(&change)).unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Internal);
        let other = InstanceId::new("i-2").unwrap();
        assert_eq!(
            state_change("StopInstances", &other, &[change]).unwrap(),
            StateChange {
                previous: InstanceState::Running,
                current: InstanceState::Stopping
            }
        );
    }
}
