//! The pool on the wire, and what may be asked of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::vm::{HealthResult, InstanceRecord, VmRecord};
use super::{Ms, vm};
use crate::api::config::ConfigView;

/// The whole pool.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PoolStatus {
    pub initialized: bool,
    /// Why it is not initialized.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    #[schema(value_type = Vec<vm::VmRecord>)]
    pub vms: Vec<Arc<VmRecord>>,
    pub config: Option<ConfigView>,
    /// The same as `config`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool_config: Option<ConfigView>,
    pub counts: Counts,
    /// The same as `counts`.
    pub summary: Counts,
    /// Ledger position of this view; every event carries its own.
    pub seq: u64,
}

/// VMs by status.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    pub total: usize,
    pub available: usize,
    pub assigned: usize,
    pub in_use: usize,
    pub stopped: usize,
    pub starting: usize,
    pub stopping: usize,
    pub error: usize,
    pub releasing: usize,
    pub maintenance: usize,
}

/// What changed in the pool since the previous delta.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolDelta {
    /// Position of the delta before this one; a client that has another has missed something.
    pub since: u64,
    pub seq: u64,
    /// `vmId` and the fields that changed, `null` for one that is gone; all fields of a VM that is new.
    /// When a VM was last checked comes with `vmHealthUpdate`, and here only if the check found something new.
    pub changed: Vec<serde_json::Map<String, serde_json::Value>>,
    /// Ids of VMs that left the pool.
    pub removed: Vec<String>,
    pub counts: Counts,
}

/// The configuration was changed.
#[derive(Debug, Serialize, ToSchema)]
pub struct ConfigChanged {
    pub success: bool,
    pub config: ConfigView,
}

/// A power command was carried out as far as the cloud accepts it.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PowerReply {
    pub success: bool,
    pub vm_id: String,
    pub instance_id: String,
    pub message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<&'static str>,
    /// When it is expected to be ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub estimated_ready_time: Option<Ms>,
}

/// Asks for a reboot.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RebootBody {
    /// Even while a show is on air on it.
    pub force: bool,
}

/// Asks for a new instance.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LaunchBody {
    #[schema(min_length = 1, max_length = 255)]
    pub name: Option<String>,
    #[schema(pattern = "^[A-Za-z0-9.-]{1,64}$")]
    pub instance_type: Option<String>,
    /// `Name`, `Project` and `ManagedBy` are the pool's own and cannot be given.
    pub tags: Option<BTreeMap<String, String>>,
}

/// An instance was launched.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LaunchReply {
    pub success: bool,
    pub vm_id: String,
    pub instance_id: String,
    pub instance: InstanceRecord,
    pub message: String,
}

/// An instance is being terminated.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TerminateReply {
    pub success: bool,
    pub vm_id: String,
    pub instance_id: String,
    pub result: Terminating,
    pub message: String,
}

/// EC2's answer.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Terminating {
    pub terminating_instances: Vec<StateChange>,
}

/// An instance's states around a change.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StateChange {
    pub instance_id: String,
    pub previous_state: &'static str,
    pub current_state: &'static str,
}

/// Asks for checks now.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CheckBody {
    /// Only this one.
    #[schema(
        max_length = 128,
        pattern = r"^(?!(config|launch|health-check|ready)$)[^.#$\[\]/\u0000-\u001f\u007f-\u009f]+$"
    )]
    pub vm_id: Option<String>,
    /// Compare the pool with the cloud first.
    pub reconcile: bool,
}

/// What checks found.
#[derive(Debug, Serialize, ToSchema)]
pub struct CheckReply {
    pub success: bool,
    pub total: usize,
    pub healthy: usize,
    pub unhealthy: usize,
    pub results: Vec<HealthResult>,
}

/// Takes a VM out of use, or gives it back.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MaintenanceBody {
    pub enabled: bool,
    #[schema(max_length = 500)]
    pub reason: Option<String>,
}

/// The VM's status after that.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MaintenanceReply {
    pub success: bool,
    pub vm_id: String,
    pub status: &'static str,
}

/// What a booted VM posts: a hint to look sooner, believed in nothing.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReadyBody {
    #[schema(max_length = 128, pattern = r"^[^.#$\[\]/\u0000-\u001f\u007f-\u009f]+$")]
    pub instance_id: String,
    #[schema(format = Ipv4)]
    pub public_ip: Option<String>,
    #[schema(pattern = "^ready$")]
    pub status: String,
}

/// The hint was taken.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReadyReply {
    pub success: bool,
    /// The VM it is about, if it is in the pool.
    pub vm_id: Option<String>,
}
