//! A competition's VM on the wire.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Ms;
use super::cleaning::Cleaning;
use super::vm::Services;
use crate::actors::archive::Progress;
use crate::domain::archive::{Archive, Ending};

/// Asks for a VM for a competition.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AssignBody {
    /// This one and no other, unless `allowFallback`.
    #[schema(
        max_length = 128,
        pattern = r"^(?!(config|launch|health-check|ready)$)[^.#$\[\]/\u0000-\u001f\u007f-\u009f]+$"
    )]
    pub preferred_vm_id: Option<String>,
    /// Take another if the preferred one is busy.
    pub allow_fallback: bool,
    /// Region tag, or the beginning of an availability zone.
    #[schema(max_length = 64)]
    pub region: Option<String>,
    /// All of these must be among the VM's capabilities.
    #[schema(max_items = 16)]
    pub capabilities: Vec<String>,
    /// Hold the request until the VM is ready, for at most 300 s.
    pub wait: bool,
}

/// The competition has a VM: ready (200), or still starting (202).
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AssignReply {
    pub success: bool,
    pub vm_id: String,
    pub instance_id: Option<String>,
    /// The public address of its instance; `null` until it is ready, and if it has none.
    pub public_ip: Option<String>,
    /// Where to connect: `host:port` of its show server, at the address that the coordinator dials. `null` until
    /// it is ready.
    pub vm_address: Option<String>,
    pub competition_id: String,
    /// `assigned` or `starting`
    pub status: &'static str,
    pub estimated_ready_time: Ms,
    /// Competitions that wait for a VM to start, this one included. Only while it is starting.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<u32>,
    /// How often the competition has been given a VM.
    pub epoch: u64,
    /// This repeats the answer to an earlier request with the same key.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub repeated: bool,
}

/// Gives a competition's VM back.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ReleaseBody {
    /// Stop the VM afterwards.
    #[serde(rename = "stopVM")]
    pub stop_vm: bool,
    /// Move its recordings to the archive first: verified there, then removed from the VM. The answer waits for that, up to
    /// five minutes. 409 where no archive is configured.
    pub archive_recordings: bool,
}

/// The competition has no VM any more (200), or it is still giving it back (202).
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseReply {
    pub success: bool,
    pub competition_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vm_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<String>,
    /// Of the VM, now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<&'static str>,
    /// Whether all of its recordings are in the archive, if that was asked for. If not, those that are missing there are
    /// on the VM, which is in error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub archived: Option<bool>,
    /// How the VM was cleaned after the competition; absent if it is cleaned later, before it is used again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cleaning: Option<Cleaning>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub archive: Option<ArchiveView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<&'static str>,
    /// This repeats the answer to an earlier request with the same key.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub repeated: bool,
    /// `releasing`: it is not over (202).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<&'static str>,
}

/// What became of a competition's recordings.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ArchiveView {
    pub bucket: String,
    /// Beginning of the key of each.
    pub folder: String,
    /// Recordings that are in the archive and verified.
    pub files: u32,
    /// Of these, together.
    pub bytes: u64,
    /// Recordings left on the VM because they are older than the assignment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub older: Option<u32>,
    /// Why not all are in the archive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl From<&Archive> for ArchiveView {
    fn from(archive: &Archive) -> Self {
        let (older, error) = match archive.ending() {
            Some(Ending::Done { older }) => (Some(*older), None),
            Some(Ending::Failed { reason }) => (None, Some(reason.clone())),
            None => (None, None),
        };
        Self {
            bucket: archive.bucket.clone(),
            folder: archive.folder.clone(),
            files: archive.files,
            bytes: archive.bytes,
            older,
            error,
        }
    }
}

/// How far the archive of a competition's recordings is.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ArchivingView {
    /// The recording that is on its way; `null` between two.
    pub file: Option<String>,
    /// That have arrived, of all together.
    pub bytes: u64,
    pub total_bytes: u64,
    /// Recordings that are verified and removed from the VM.
    pub files: u32,
    pub total_files: u32,
}

impl From<&Progress> for ArchivingView {
    fn from(progress: &Progress) -> Self {
        Self {
            file: progress.file.clone(),
            bytes: progress.bytes,
            total_bytes: progress.total_bytes,
            files: progress.files,
            total_files: progress.total_files,
        }
    }
}

/// The VM that a competition has.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AssignmentView {
    pub competition_id: String,
    pub vm_id: String,
    pub instance_id: String,
    /// The public address of its instance; `null` if it has none.
    pub public_ip: Option<String>,
    /// Where to connect: `host:port` of its show server, at the address that the coordinator dials. `null` while
    /// it is off.
    pub vm_address: Option<String>,
    /// Of the VM.
    pub status: &'static str,
    pub services: Option<Services>,
    pub epoch: u64,
    /// `off_air on_air failing_over releasing`
    pub phase: &'static str,
    /// An operator forbade automatic failover.
    pub held: bool,
    /// A producer wants it streaming.
    pub stream_wanted: bool,
    /// Its studio has been read, so that another VM can be made like it.
    pub studio_captured: bool,
    /// While its recordings are archived.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub archiving: Option<ArchivingView>,
}

/// What a test of a competition's VM found.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TestReply {
    pub success: bool,
    pub competition_id: String,
    pub vm_id: String,
    pub healthy: bool,
    /// `ec2 nodeServer obsWebsocket noMachine nimble ssh`
    pub checks: BTreeMap<&'static str, Check>,
}

/// One check. `ok` is `null` where it cannot be tested.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    pub ok: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// How the VM of a competition does, for its card in the browser.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct VmStatus {
    pub online: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub obs_connected: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uptime: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub no_vm: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
