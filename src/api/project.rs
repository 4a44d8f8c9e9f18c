//! From the domain to the wire: pure functions of the ledger's fold and the board.
//!
//! Two things on the wire are addresses, and they differ:
//!
//! - `vmAddress` is where to connect: the address that the coordinator itself dials (`cloud.address`) and the
//!   show server's port. A VM that is off, or has no such address, has none: `null`, never a text with a hole
//!   in it.
//! - `publicIp` is a fact about the instance: its public address, or `null`. In a pool that is reached at private
//!   addresses it is still the public one, if there is one, and never a private address under a public name.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;

use serde_json::Value;

use super::options::Options;
use super::types::assignment::VmStatus;
use super::types::pool::Counts;
use super::types::vm::{HealthResult, InstanceRecord, Service, Services, VmRecord};
use super::types::{Iso, Ms};
use crate::actors::board::Observation;
use crate::actors::context::AddressKind;
use crate::actors::coordinator::{Checked, CloudStanding, KeyStanding};
use crate::domain::failover::verdict::{Sign, Trouble};
use crate::domain::health::Reading;
use crate::domain::instance::Instance;
use crate::domain::placement::{self, TAG_CAPABILITY, TAG_REGION};
use crate::domain::pool::Settings;
use crate::domain::state::State;
use crate::domain::time::millis;
use crate::domain::vm::{Health, Occupancy, Power, Status, Vm};

/// How the services of a VM are reached: at which of its addresses, and at which port each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reach {
    pub address: AddressKind,
    pub server: u16,
    pub obs: u16,
    pub no_machine: u16,
}

impl Reach {
    #[must_use]
    pub fn new(address: AddressKind, options: &Options, settings: &Settings) -> Self {
        Self {
            address,
            server: settings.service_port,
            obs: options.obs_port,
            no_machine: options.no_machine_port,
        }
    }
}

/// The instance's public address, whichever one is dialled.
#[must_use]
pub fn public_ip(instance: &Instance) -> Option<String> {
    instance.public_ip.map(|ip| ip.to_string())
}

/// `host:port` of the VM's show server, as the coordinator itself dials it.
#[must_use]
pub fn vm_address(vm: &Vm, reach: Reach) -> Option<String> {
    let ip = match vm.power {
        Power::Booting | Power::Ready => reach.address.of(&vm.instance)?,
        Power::Stopped | Power::Starting { .. } | Power::Stopping { .. } => return None,
    };
    Some(SocketAddr::new(ip, reach.server).to_string())
}

#[must_use]
pub fn health_word(health: Health) -> &'static str {
    match health {
        Health::Unknown => "unknown",
        Health::Healthy => "healthy",
        Health::Degraded => "degraded",
        Health::Unhealthy => "unhealthy",
    }
}

#[must_use]
pub fn cloud_word(standing: &CloudStanding) -> &'static str {
    match standing {
        CloudStanding::Unknown => "unknown",
        CloudStanding::Connected { .. } => "connected",
        CloudStanding::NoCredentials { .. } => "no_credentials",
        CloudStanding::Unreachable { .. } => "unreachable",
        CloudStanding::Error { .. } => "error",
    }
}

/// How the private key for SSH is, in a word.
#[must_use]
pub fn key_word(standing: KeyStanding) -> &'static str {
    match standing {
        KeyStanding::Current => "current",
        KeyStanding::Rotating => "rotating",
        KeyStanding::Kept => "kept",
        KeyStanding::Missing => "missing",
    }
}

/// One VM of the pool.
#[must_use]
pub fn record(vm: &Vm, seen: &Observation, reach: Reach) -> VmRecord {
    let instance = &vm.instance;
    let status = vm.status();
    let (assigned_to, epoch) = vm
        .occupancy
        .tenant()
        .map(|(show, epoch)| (show.to_string(), epoch.0))
        .unzip();
    let (error_reason, previous_status) = trouble(vm, status, seen);
    VmRecord {
        vm_id: vm.id.to_string(),
        instance_id: instance.instance_id.to_string(),
        name: instance
            .name
            .clone()
            .unwrap_or_else(|| instance.instance_id.to_string()),
        instance_type: instance.instance_type.clone(),
        availability_zone: instance.availability_zone.clone(),
        status: status.as_str(),
        ec2_state: instance.state.as_str(),
        public_ip: public_ip(instance),
        private_ip: instance.private_ip.map(|ip| ip.to_string()),
        vm_address: vm_address(vm, reach),
        public_dns: instance.public_dns.clone().filter(|name| !name.is_empty()),
        launch_time: instance.launch_time.map(Iso),
        last_state_change: Iso(vm.last_state_change),
        last_health_check: seen.checked_at.map(Iso),
        last_health_check_ms: seen.checked_at.map(Ms::from),
        assigned_to,
        assigned_at: vm.assigned_at.map(Ms::from),
        assigned_by: vm.assigned_by.clone(),
        epoch,
        created_at: vm.created_at.into(),
        last_started_at: vm.last_started_at.map(Ms::from),
        last_stopped_at: vm.last_stopped_at.map(Ms::from),
        total_assignments: vm.total_assignments,
        health_status: health_word(vm.health),
        services: services_of(vm, seen, reach),
        error_reason,
        previous_status,
        tags: tags(vm),
    }
}

/// Why it is in `error` or `maintenance`, and what it was before.
fn trouble(vm: &Vm, status: Status, seen: &Observation) -> (Option<String>, Option<&'static str>) {
    match (status, &vm.fault, &vm.occupancy) {
        (Status::Error, Some(fault), _) => (Some(fault.reason.clone()), Some(fault.previous.as_str())),
        (Status::Error, None, _) => (seen.error.clone(), None),
        (Status::Maintenance, _, Occupancy::Maintenance { reason }) => (reason.clone(), None),
        (
            Status::Maintenance
            | Status::Stopped
            | Status::Starting
            | Status::Available
            | Status::Assigned
            | Status::InUse
            | Status::Releasing
            | Status::Stopping,
            _,
            _,
        ) => (None, None),
    }
}

/// What is known of a VM's services; nothing while it is off, whatever was seen before.
#[must_use]
pub fn services_of(vm: &Vm, seen: &Observation, reach: Reach) -> Option<Services> {
    match vm.power {
        Power::Stopped | Power::Starting { .. } => None,
        Power::Booting | Power::Ready | Power::Stopping { .. } => {
            seen.checked_at.is_some().then(|| services(seen, reach))
        }
    }
}

/// What one observation says of the services.
#[must_use]
pub fn services(seen: &Observation, reach: Reach) -> Services {
    let last_checked = seen.checked_at.unwrap_or_default().into();
    let reading = seen.reading;
    let service = |running: Option<bool>, port, error: Option<&String>| {
        running.map(|running| Service {
            running,
            port,
            last_checked,
            error: error.cloned(),
        })
    };
    let node_error = seen.error.as_ref().filter(|_| reading.node == Some(false));
    Services {
        node: reading.node,
        obs: reading.obs,
        nomachine: seen.no_machine,
        node_server: service(reading.node, reach.server, node_error),
        obs_websocket: service(reading.obs, reach.obs, None),
        no_machine: service(seen.no_machine, reach.no_machine, None),
        obs_connected: reading.obs,
        uptime: seen.uptime_s,
        version: seen.version.clone(),
        error: seen.error.clone(),
    }
}

/// The instance's tags with keys that the browsers' database accepts, its region, and its capabilities as a
/// list.
fn tags(vm: &Vm) -> BTreeMap<String, Value> {
    let plain = vm
        .instance
        .tags
        .iter()
        .filter(|(key, _)| key.as_str() != TAG_CAPABILITY);
    let mut tags: BTreeMap<String, Value> = plain
        .map(|(key, value)| (database_key(key), Value::from(value.as_str())))
        .collect();
    if !tags.contains_key(TAG_REGION)
        && let Some(zone) = &vm.instance.availability_zone
    {
        let region = zone.trim_end_matches(|c: char| c.is_ascii_lowercase());
        tags.insert(TAG_REGION.to_owned(), region.into());
    }
    let capabilities: Vec<Value> = placement::capabilities(vm).map(Value::from).collect();
    if !capabilities.is_empty() {
        tags.insert(TAG_CAPABILITY.to_owned(), capabilities.into());
    }
    tags
}

/// Percent-encodes what must not be in a database key, and `%` itself so that nothing collides.
fn database_key(key: &str) -> String {
    let mut legal = String::with_capacity(key.len());
    for c in key.chars() {
        if c.is_ascii_control() || ".#$[]/%".contains(c) {
            // Writing to a string cannot fail.
            let _ = write!(legal, "%{:02X}", c as u32);
        } else {
            legal.push(c);
        }
    }
    legal
}

/// VMs by status.
#[must_use]
pub fn counts(state: &State) -> Counts {
    Counts {
        total: state.vm_count(),
        available: state.count(Status::Available),
        assigned: state.count(Status::Assigned),
        in_use: state.count(Status::InUse),
        stopped: state.count(Status::Stopped),
        starting: state.count(Status::Starting),
        stopping: state.count(Status::Stopping),
        error: state.count(Status::Error),
        releasing: state.count(Status::Releasing),
        maintenance: state.count(Status::Maintenance),
    }
}

#[must_use]
pub fn instance(instance: &Instance) -> InstanceRecord {
    InstanceRecord {
        instance_id: instance.instance_id.to_string(),
        name: instance
            .name
            .clone()
            .unwrap_or_else(|| instance.instance_id.to_string()),
        state: instance.state.as_str(),
        state_code: instance.state.code(),
        public_ip: public_ip(instance),
        private_ip: instance.private_ip.map(|ip| ip.to_string()),
        public_dns: instance.public_dns.clone(),
        private_dns: instance.private_dns.clone(),
        instance_type: instance.instance_type.clone(),
        launch_time: instance.launch_time.map(Iso),
        availability_zone: instance.availability_zone.clone(),
        subnet_id: instance.subnet_id.clone(),
        vpc_id: instance.vpc_id.clone(),
        tags: instance.tags.clone(),
    }
}

/// One VM's check on demand; `seen` supplies what the check does not carry.
#[must_use]
pub fn health_result(
    checked: &Checked,
    seen: &Observation,
    instance: Option<&Instance>,
    reach: Reach,
) -> HealthResult {
    let now_seen = Observation {
        checked_at: Some(checked.at),
        reading: checked.reading,
        error: checked.error.clone(),
        ..seen.clone()
    };
    HealthResult {
        vm_id: checked.vm.to_string(),
        instance_id: checked.instance.to_string(),
        public_ip: instance.and_then(public_ip),
        healthy: checked.health == Health::Healthy,
        health_status: health_word(checked.health),
        services: services(&now_seen, reach),
        response_time: checked.response_time.map(millis),
        timestamp: Iso(checked.at),
        error: checked.error.clone(),
    }
}

/// How a competition's VM does, from what our own checks saw.
#[must_use]
pub fn vm_status(vm: Option<&Vm>, seen: &Observation, address: AddressKind) -> VmStatus {
    let Some(vm) = vm.filter(|vm| address.of(&vm.instance).is_some() && vm.power != Power::Stopped) else {
        return VmStatus {
            no_vm: true,
            ..VmStatus::default()
        };
    };
    let Reading { node, obs, .. } = seen.reading;
    if node == Some(true) {
        return VmStatus {
            online: true,
            obs_connected: Some(obs == Some(true)),
            uptime: seen.uptime_s,
            version: seen.version.clone(),
            ..VmStatus::default()
        };
    }
    let error = match (node, seen.signals.probe, &seen.error) {
        (
            Some(_),
            Sign::Bad {
                how: Trouble::Silent, ..
            },
            _,
        ) => "Request timeout".to_owned(),
        (Some(_), _, Some(error)) => error.clone(),
        (Some(_), _, None) => "the show server does not answer".to_owned(),
        (None, _, _) => format!("VM is {}", vm.status()),
    };
    VmStatus {
        error: Some(error),
        ..VmStatus::default()
    }
}

#[cfg(test)]
#[path = "project_tests.rs"]
mod tests;
