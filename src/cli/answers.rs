//! What the server answers, as far as people are shown it. Everything that may be missing may be missing:
//! a client meets servers a little older and a little newer than itself. Programs get the answer itself.

use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::Timestamp;
use serde::Deserialize;

/// `GET /api/admin/vm-pool`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pool {
    pub initialized: bool,
    /// Why it is not.
    pub message: Option<String>,
    pub vms: Vec<Vm>,
    pub config: Option<PoolConfig>,
    pub counts: Counts,
}

/// VMs by status.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Counts {
    pub total: u32,
    pub available: u32,
    pub assigned: u32,
    pub in_use: u32,
    pub stopped: u32,
    pub starting: u32,
    pub stopping: u32,
    pub error: u32,
    pub releasing: u32,
    pub maintenance: u32,
}

/// `PUT /api/competitions/{compId}/show/config`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Configured {
    pub state: String,
    pub vm_id: Option<String>,
    #[serde(default)]
    pub differences: Vec<String>,
    pub comparison: Option<Comparison>,
}

/// The part of the settings that explains the pool.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolConfig {
    pub warm_count: u32,
    pub max_instances: u32,
}

/// One VM.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Vm {
    pub vm_id: String,
    pub instance_id: String,
    pub name: Option<String>,
    pub instance_type: Option<String>,
    pub availability_zone: Option<String>,
    pub status: String,
    pub ec2_state: Option<String>,
    pub public_ip: Option<IpAddr>,
    pub private_ip: Option<IpAddr>,
    /// Where to connect.
    pub vm_address: Option<String>,
    pub launch_time: Option<Timestamp>,
    pub last_state_change: Option<Timestamp>,
    pub last_health_check: Option<Timestamp>,
    pub assigned_to: Option<String>,
    pub assigned_by: Option<String>,
    pub epoch: Option<u64>,
    pub total_assignments: Option<u64>,
    pub health_status: Option<String>,
    pub services: Option<Services>,
    pub error_reason: Option<String>,
    /// The show whose leftover is not removed yet.
    pub not_clean_after: Option<String>,
    pub cleaning: Option<Cleaning>,
    /// Recordings on it that belong into the archive.
    #[serde(default)]
    pub unarchived: Vec<Unarchived>,
}

/// Recordings of one show that are still on a VM.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Unarchived {
    pub competition_id: String,
    pub archive: Archived,
    pub under_way: bool,
    pub archiving: Option<Archiving>,
    /// Milliseconds since the epoch.
    pub next_try_at: Option<i64>,
}

/// `POST /api/admin/vm-pool/{id}/archive`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Archives {
    pub vm_id: String,
    pub unarchived: Vec<Unarchived>,
}

/// What was last seen of a VM's services.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Services {
    pub node: Option<bool>,
    pub obs: Option<bool>,
    pub nomachine: Option<bool>,
    /// Seconds, by its show server.
    pub uptime: Option<f64>,
    pub version: Option<String>,
    pub error: Option<String>,
}

/// `GET /api/competitions/{id}/vm`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Assignment {
    pub competition_id: String,
    pub vm_id: String,
    pub vm_address: Option<String>,
    /// Of the VM.
    pub status: String,
    pub epoch: Option<u64>,
    pub phase: Option<String>,
    pub held: Option<bool>,
    pub stream_wanted: Option<bool>,
    /// Whether there is anything to restore elsewhere.
    pub studio_captured: Option<bool>,
}

/// `POST /api/competitions/{id}/vm/assign`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Assigned {
    pub vm_id: String,
    pub vm_address: Option<String>,
    pub status: String,
    /// Milliseconds since the epoch.
    pub estimated_ready_time: Option<i64>,
    pub position: Option<u32>,
    pub epoch: Option<u64>,
}

/// `POST /api/competitions/{id}/vm/release`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Released {
    pub vm_id: Option<String>,
    pub status: Option<String>,
    pub cleaning: Option<Cleaning>,
    /// Whether all recordings were archived, if that was asked for.
    pub archived: Option<bool>,
    pub archive: Option<Archived>,
    /// Absent once it is over.
    pub phase: Option<String>,
}

/// How a VM was cleaned.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cleaning {
    pub competition_id: String,
    pub clean: bool,
    /// Milliseconds.
    pub took: u64,
    #[serde(default)]
    pub findings: Vec<Finding>,
    pub recordings: Option<u32>,
}

/// What was found of one thing.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Finding {
    pub clean: bool,
    pub found: String,
}

/// What became of recordings.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Archived {
    pub bucket: String,
    pub folder: String,
    pub files: u32,
    pub bytes: u64,
    pub older: Option<u32>,
    pub error: Option<String>,
}

/// Of `GET /api/competitions/{id}/vm`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Releasing {
    pub archiving: Option<Archiving>,
}

/// How far an archive is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Archiving {
    pub file: Option<String>,
    pub bytes: u64,
    pub total_bytes: u64,
    pub files: u32,
    pub total_files: u32,
}

/// `POST /api/competitions/{id}/vm/failover`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Moving {
    pub epoch: u64,
    pub from_vm_id: String,
    pub to_vm_id: Option<String>,
}

/// `POST /api/competitions/{id}/vm/hold`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Held {
    pub held: bool,
}

/// `POST /api/competitions/{id}/show/start` and `…/stop`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stream {
    pub vm_id: String,
    pub on_air: bool,
}

/// `GET /api/competitions/{id}/failovers`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Failovers {
    /// Under way.
    pub current: Option<Failover>,
    /// Finished, newest first.
    pub failovers: Vec<Failover>,
}

/// One move.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failover {
    pub epoch: u64,
    pub cause: String,
    pub from_vm_id: String,
    pub to_vm_id: Option<String>,
    pub summary: Option<String>,
    pub began_at: Timestamp,
    pub fence: Option<String>,
    pub fenced_at: Option<Timestamp>,
    pub restored_at: Option<Timestamp>,
    #[serde(default)]
    pub differences: Vec<String>,
    pub restored_by: Option<String>,
    /// Why it was not made from a file.
    pub not_by_file: Option<String>,
    /// `None` until the new studio was read again.
    pub comparison: Option<Comparison>,
    pub publishing_at: Option<Timestamp>,
    /// `None` while it goes on.
    pub ending: Option<String>,
    pub ended_at: Option<Timestamp>,
    pub timeline: Option<Timeline>,
}

/// A studio that was made, compared with what it was to be.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Comparison {
    pub differences: Vec<String>,
}

/// Milliseconds per step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Timeline {
    pub detect_ms: Option<u64>,
    pub decide_ms: Option<u64>,
    pub fence_ms: Option<u64>,
    pub restore_ms: Option<u64>,
    pub verify_ms: Option<u64>,
    pub off_air_ms: Option<u64>,
}

/// `GET /api/coordinator/status`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Coordinator {
    pub version: String,
    /// Seconds.
    pub uptime: u64,
    pub connected_clients: Option<u64>,
}

/// `GET /readyz`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Readiness {
    pub ready: bool,
    /// `ok`, or what is wrong.
    pub ledger: String,
    pub cloud: String,
    #[serde(default)]
    pub stopping: bool,
    /// Why it is not ready.
    pub message: Option<String>,
}

/// `POST /api/admin/vm-pool/{id}/start` and its like.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Power {
    pub vm_id: String,
    pub message: String,
    pub estimated_ready_time: Option<i64>,
}

/// `POST /api/admin/vm-pool/{id}/maintenance`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Maintenance {
    pub vm_id: String,
    pub status: String,
}

/// `POST /api/admin/vm-pool/health-check`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Checks {
    pub total: u32,
    pub healthy: u32,
    pub results: Vec<Check>,
}

/// One VM's check.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    pub vm_id: String,
    pub healthy: bool,
    pub health_status: Option<String>,
    #[serde(default)]
    pub services: Services,
    /// Milliseconds.
    pub response_time: Option<u64>,
    pub error: Option<String>,
}

/// `GET /api/admin/vm-pool/{id}/ssh/files/list`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Folder {
    pub entries: Vec<FolderEntry>,
}

/// What is in a folder of a VM.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct FolderEntry {
    pub name: String,
    pub kind: String,
    pub bytes: Option<u64>,
    pub modified: Option<Timestamp>,
}

/// `GET /api/admin/vm-pool/{id}/ssh/logs`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Log {
    pub stdout: String,
}

/// `GET /api/admin/vm-pool/{id}/ssh/services`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Standings {
    pub services: Vec<Standing>,
}

/// How a service of a VM is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Standing {
    pub service: String,
    pub active: bool,
    pub status: String,
    pub pid: Option<u32>,
}

/// `GET /api/admin/vm-pool/ssh/operations`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Operations {
    pub operations: Vec<Operation>,
}

/// What can be run on a VM.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Operation {
    pub id: String,
    pub description: Option<String>,
    /// Milliseconds.
    pub timeout: Option<u64>,
    /// Runs as root.
    pub sudo: bool,
    #[serde(default)]
    pub parameters: BTreeMap<String, serde_json::Value>,
}

/// `GET /api/admin/executions`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Executions {
    pub executions: Vec<Execution>,
}

/// What was done on a VM.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Execution {
    pub execution_id: String,
    pub vm_id: String,
    pub by: String,
    pub kind: String,
    pub operation: Option<String>,
    #[serde(default)]
    pub commands: Vec<Vec<String>>,
    pub path: Option<String>,
    pub began_at: String,
    pub state: String,
    /// Exit status.
    pub code: Option<u32>,
}

/// A time on the wire in milliseconds.
#[must_use]
pub fn instant(ms: i64) -> Option<Timestamp> {
    Timestamp::from_millisecond(ms).ok()
}
