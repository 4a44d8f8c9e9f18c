//! What the tree is asked, what it answers, and why it may not do it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::actors::executions::transfer::FileError;
use crate::domain::archive::Archive;
use crate::domain::cleaning::Report;
use crate::domain::execution::ExecutionId;
use crate::domain::health::Reading;
use crate::domain::ids::{Epoch, InstanceId, RequestKey, ShowId, VmId};
use crate::domain::instance::InstanceState;
use crate::domain::operation;
use crate::domain::pool::Denied;
use crate::domain::studio::Secret;
use crate::domain::time::Timestamp;
use crate::domain::vm::{Health as VmHealth, Status};
pub use crate::infra::ssh::KeyStanding;

/// Asks for a VM for a show.
#[derive(Debug, Clone, Default)]
pub struct Assign {
    pub preferred: Option<VmId>,
    /// Take another if the preferred one is busy.
    pub allow_fallback: bool,
    pub region: Option<String>,
    pub capabilities: Vec<String>,
    /// Who asks; kept with the assignment.
    pub by: Option<String>,
    /// Makes a repetition answer what the first one did.
    pub key: Option<RequestKey>,
}

/// A VM was given to the show; it may still be starting.
#[derive(Debug, Clone, PartialEq)]
pub struct Assigned {
    pub show: ShowId,
    pub vm: VmId,
    pub epoch: Epoch,
    /// Whether it can be used now.
    pub ready: bool,
    /// Shows that wait for a VM to start, this one included; 0 when it is ready.
    pub position: u32,
    pub estimated_ready_at: Timestamp,
    /// This answers a repeated request.
    pub repeated: bool,
}

/// Gives a show's VM back.
#[derive(Debug, Clone, Default)]
pub struct Release {
    pub stop_vm: bool,
    /// Keep its recordings first.
    pub archive: bool,
    /// How long to wait for the end, of which a second is always granted to begin; `None`: as long as it may take by its
    /// own limits.
    pub wait: Option<Duration>,
    pub by: Option<String>,
    pub key: Option<RequestKey>,
}

/// The show has no VM any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Released {
    pub show: ShowId,
    /// The VM it had; `None` if it had none.
    pub vm: Option<VmId>,
    /// Status of that VM now.
    pub status: Option<Status>,
    /// How it was cleaned after this show; `None` if it was not, or is to be later.
    pub report: Option<Arc<Report>>,
    /// What became of its recordings, if they were to be kept.
    pub archive: Option<Arc<Archive>>,
    /// This answers a repeated request.
    pub repeated: bool,
}

/// A move of the show has been decided and is durable; it goes on by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moving {
    pub show: ShowId,
    pub epoch: Epoch,
    pub from: VmId,
    /// `None`: no spare yet, the show waits for one.
    pub to: Option<VmId>,
}

/// The stream of a show runs, or has stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamTurned {
    pub show: ShowId,
    pub vm: VmId,
    pub on_air: bool,
}

/// What a show's studio is to be made from.
pub struct Configure {
    /// Name of the template.
    pub template: String,
    pub variables: serde_json::Map<String, serde_json::Value>,
    /// `rtmp://host:port/app`; `None`: what the template says.
    pub stream_server: Option<String>,
    /// `None`: the one that the show has stays. Empty: none.
    pub stream_key: Option<Secret>,
    pub apply: Apply,
}

/// When a configuration is to be carried out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Apply {
    /// At once, unless the show is on air: then it is refused.
    #[default]
    OffAir,
    /// At once, on air too.
    Now,
    /// On the next VM that the show is given.
    Later,
}

/// A new instance; `instance_type` and `tags` complete the configured defaults.
#[derive(Debug, Clone, Default)]
pub struct LaunchVm {
    pub name: Option<String>,
    pub instance_type: Option<String>,
    pub tags: BTreeMap<String, String>,
}

/// A power command was carried out as far as the cloud accepts it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PowerTurned {
    pub vm: VmId,
    pub instance: InstanceId,
    pub previous: InstanceState,
    pub current: InstanceState,
    /// For a start: when it is expected to be ready.
    pub estimated_ready_at: Option<Timestamp>,
}

/// One VM's check on demand.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    pub vm: VmId,
    pub instance: InstanceId,
    pub health: VmHealth,
    pub reading: Reading,
    pub response_time: Option<Duration>,
    pub at: Timestamp,
    pub error: Option<String>,
}

/// A command that was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    #[error("VM {0} is not in the pool")]
    UnknownVm(VmId),
    #[error("show {show} already has VM {vm}")]
    AlreadyAssigned { show: ShowId, vm: VmId },
    #[error("show {0} has no VM")]
    NotAssigned(ShowId),
    #[error("show {show} is {phase}; {advice}")]
    WrongPhase {
        show: ShowId,
        phase: &'static str,
        advice: &'static str,
    },
    #[error(transparent)]
    Denied(#[from] Denied),
    #[error("VM {vm} is {status}; {advice}")]
    WrongStatus {
        vm: VmId,
        status: Status,
        advice: &'static str,
    },
    #[error("VM {vm} is assigned to show {show}; release it first")]
    Occupied { vm: VmId, show: ShowId },
    #[error("the pool has {total} of at most {max} VMs")]
    PoolFull { total: usize, max: u32 },
    #[error("this Idempotency-Key was used for a different request")]
    KeyReused,
    #[error("{message}")]
    Invalid { field: String, message: String },
    #[error("the coordinator is shutting down")]
    Stopping,
    #[error("the cloud did not carry this out for VM {vm:?}: {message}")]
    Cloud {
        vm: Option<VmId>,
        code: Option<String>,
        message: String,
    },
    #[error("the studio on VM {vm} did not carry this out: {message}")]
    Studio { vm: VmId, message: String },
    #[error(
        "VM {vm} may still be publishing and is not given back before it is known not to: {message}; \
         it is tried again until that works"
    )]
    NotSilent { vm: VmId, message: String },
    #[error("the actor for {subject} is restarting; try again in a moment")]
    Restarting { subject: String },
    #[error("{what} did not finish within {} ms; it may still happen", .limit.as_millis())]
    TimedOut { what: &'static str, limit: Duration },
    #[error("too many commands are waiting; try again in a moment")]
    Busy,
    #[error(
        "the ledger cannot write: {0}; nothing is accepted until that is mended and understudy restarted"
    )]
    Ledger(String),
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Operation(#[from] operation::Refused),
    #[error(transparent)]
    Command(#[from] operation::InvalidCommand),
    #[error(
        "command lines of one's own are not allowed here (ssh.allow_free_commands); use an operation of the catalogue"
    )]
    FreeCommandsForbidden,
    #[error(
        "there is nowhere to archive recordings to: set archive.bucket (ARCHIVE_S3_BUCKET) and restart, or release without \
         archiveRecordings"
    )]
    NoArchive,
    #[error("there are no recordings on VM {0} that were to be archived")]
    NothingToArchive(VmId),
    #[error("SSH to the VMs is not configured: it needs a private key (ssh.key_path)")]
    NoSsh,
    #[error("VM {vm} could not be worked on over SSH: {message}")]
    Ssh { vm: VmId, message: String },
    #[error("it did not end on VM {vm} within {} ms and was told to end", .limit.as_millis())]
    CommandTimedOut { vm: VmId, limit: Duration },
    #[error("there are {max} running {what} already; wait until one has ended")]
    TooManyExecutions { what: String, max: usize },
    #[error("{0} is not running")]
    NotRunning(ExecutionId),
    #[error(transparent)]
    File(#[from] FileError),
}

/// What the tree needs before it can serve the pool, and how it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    /// The first look at the cloud has been folded in.
    pub initialized: bool,
    /// Why it is not.
    pub reason: Option<String>,
    pub ledger: Result<(), String>,
    pub cloud: CloudStanding,
    /// How the private key for SSH is, where it is in a store that may be away.
    pub ssh_key: Option<KeyStanding>,
    pub stopping: bool,
}

/// How the cloud answers, as of the last sweep.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum CloudStanding {
    #[default]
    Unknown,
    Connected {
        at: Timestamp,
    },
    NoCredentials {
        message: String,
    },
    Unreachable {
        message: String,
    },
    Error {
        message: String,
    },
}
