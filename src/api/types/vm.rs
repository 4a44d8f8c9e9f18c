//! A VM on the wire.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{Iso, Ms};

/// One VM of the pool. A field that is not known is absent.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct VmRecord {
    pub vm_id: String,
    pub instance_id: String,
    /// Its `Name` tag, else the instance id.
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub availability_zone: Option<String>,
    /// `stopped starting available assigned in_use releasing stopping error maintenance`
    #[schema(example = "available")]
    pub status: &'static str,
    /// EC2's own word.
    #[schema(example = "running")]
    pub ec2_state: &'static str,
    /// The public address of its instance, whichever one is connected to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_ip: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub private_ip: Option<String>,
    /// Where to connect: `host:port` of its show server, at the address that the coordinator dials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vm_address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_dns: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub launch_time: Option<Iso>,
    pub last_state_change: Iso,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_health_check: Option<Iso>,
    /// The same instant in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_health_check_ms: Option<Ms>,
    /// The competition that has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assigned_to: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assigned_at: Option<Ms>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assigned_by: Option<String>,
    /// The epoch in which its competition got it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    pub created_at: Ms,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_started_at: Option<Ms>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_stopped_at: Option<Ms>,
    pub total_assignments: u64,
    /// `healthy degraded unhealthy unknown`
    #[schema(example = "healthy")]
    pub health_status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub services: Option<Services>,
    /// Only in `error` and `maintenance`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous_status: Option<&'static str>,
    /// Tags of the instance, keys percent-encoded where the browsers' database forbids them, and `region` and
    /// `capability` (a list).
    #[schema(value_type = Object)]
    pub tags: BTreeMap<String, Value>,
}

/// What was last seen of a VM's services. What is not known is absent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Services {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub obs: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nomachine: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_server: Option<Service>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub obs_websocket: Option<Service>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_machine: Option<Service>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub obs_connected: Option<bool>,
    /// Seconds, as the VM's show server says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uptime: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// One service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Service {
    pub running: bool,
    pub port: u16,
    pub last_checked: Ms,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The cloud's instance behind a VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct InstanceRecord {
    pub instance_id: String,
    pub name: String,
    pub state: &'static str,
    pub state_code: u16,
    pub public_ip: Option<String>,
    pub private_ip: Option<String>,
    pub public_dns: Option<String>,
    pub private_dns: Option<String>,
    pub instance_type: Option<String>,
    pub launch_time: Option<Iso>,
    pub availability_zone: Option<String>,
    pub subnet_id: Option<String>,
    pub vpc_id: Option<String>,
    pub tags: BTreeMap<String, String>,
}

/// One VM's check on demand.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HealthResult {
    pub vm_id: String,
    pub instance_id: String,
    /// The public address of its instance, whichever one was connected to.
    pub public_ip: Option<String>,
    pub healthy: bool,
    pub health_status: &'static str,
    pub services: Services,
    /// Milliseconds; absent if nothing answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_time: Option<u64>,
    pub timestamp: Iso,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
