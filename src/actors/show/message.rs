//! What a show actor is told: by callers, by its VMs, by its own effects and timers.

use ractor::RpcReplyPort;

use super::configuring::SetUp;
use super::effects::Restoring;
use super::release::{Quiet, Unreleased};
use crate::actors::coordinator::{Assign, Assigned, CommandError, Moving, Release, Released, StreamTurned};
use crate::domain::cleaning::Report;
use crate::domain::failover::Fence;
use crate::domain::failover::verdict::Signals;
use crate::domain::ids::{Epoch, VmId};
use crate::domain::studio::Studio;
use crate::domain::time::Timestamp;

pub(super) type Reply<T> = RpcReplyPort<Result<T, CommandError>>;

/// What a show actor is told.
pub enum Message {
    Assign {
        ask: Assign,
        reply: Reply<Assigned>,
    },
    Release {
        ask: Release,
        reply: Reply<Released>,
    },
    Start {
        reply: Reply<StreamTurned>,
    },
    Stop {
        reply: Reply<StreamTurned>,
    },
    Failover(Order),
    Hold {
        held: bool,
        reply: Reply<()>,
    },

    SetUp {
        ask: Box<SetUp>,
        reply: Reply<()>,
    },

    // From its VMs.
    Signals {
        vm: VmId,
        signals: Box<Signals>,
    },
    StudioUp {
        vm: VmId,
    },
    StudioChanged {
        vm: VmId,
    },
    StreamNoticed {
        vm: VmId,
        active: bool,
    },
    VmReady {
        vm: VmId,
    },
    VmFailed {
        vm: VmId,
        reason: String,
    },

    // From its own effects and timers. What was started for another epoch is ignored.
    Judge,
    IngestAnswered {
        reachable: Option<bool>,
    },
    LastLook {
        epoch: Epoch,
        studio: Result<Studio, String>,
        order: Order,
    },
    Drive,
    DriveDue,
    StepEnded {
        epoch: Epoch,
        ended: Ended,
    },
    StreamStarted {
        turn: u64,
        result: Result<Timestamp, String>,
    },
    StreamStopped {
        turn: u64,
        result: Result<(), String>,
    },
    StartAgain {
        turn: u64,
    },
    StopAgain {
        turn: u64,
    },
    StudioMended {
        epoch: Epoch,
        result: Result<Restoring, String>,
    },
    MendAgain {
        epoch: Epoch,
    },
    /// What the ledger did not decide in time is decided now.
    Settled,
    /// Its VM was silenced for its release.
    Silenced {
        release: Box<Unreleased>,
        result: Result<Quiet, String>,
    },
    /// The ledger has what became of its recordings, or why not.
    Archived {
        release: Box<Unreleased>,
        result: Result<(), String>,
    },
    /// Its VM was cleaned for its release.
    Cleaned {
        release: Box<Unreleased>,
        report: Box<Report>,
    },
    ReleaseAgain(Box<Unreleased>),
    CaptureDue {
        round: u64,
    },
    Captured {
        epoch: Epoch,
        result: Result<Studio, String>,
    },
    IdleCheck,
    /// Time to look whether anything was left undone.
    Tick,
}

impl Message {
    /// A command for which nobody waits any more. It is not begun: whoever gave it was told that it may not have been, and
    /// may have given up for how many others wait here.
    pub(super) fn is_abandoned(&self) -> bool {
        match self {
            Self::Assign { reply, .. } => reply.is_closed(),
            Self::Release { reply, .. } => reply.is_closed(),
            Self::Start { reply } | Self::Stop { reply } => reply.is_closed(),
            Self::Failover(order) => order.reply.is_closed(),
            Self::Hold { reply, .. } | Self::SetUp { reply, .. } => reply.is_closed(),
            // The last look at its studio was part of a command that was begun.
            Self::LastLook { .. }
            | Self::Signals { .. }
            | Self::StudioUp { .. }
            | Self::StudioChanged { .. }
            | Self::StreamNoticed { .. }
            | Self::VmReady { .. }
            | Self::VmFailed { .. }
            | Self::Judge
            | Self::IngestAnswered { .. }
            | Self::Drive
            | Self::DriveDue
            | Self::StepEnded { .. }
            | Self::StreamStarted { .. }
            | Self::StreamStopped { .. }
            | Self::StartAgain { .. }
            | Self::StopAgain { .. }
            | Self::StudioMended { .. }
            | Self::MendAgain { .. }
            | Self::Settled
            | Self::Silenced { .. }
            | Self::Archived { .. }
            | Self::Cleaned { .. }
            | Self::ReleaseAgain(_)
            | Self::CaptureDue { .. }
            | Self::Captured { .. }
            | Self::IdleCheck
            | Self::Tick => false,
        }
    }
}

/// An operator's order to move the show.
pub struct Order {
    /// The VM to move to; any spare if `None`.
    pub to: Option<VmId>,
    pub by: Option<String>,
    pub reply: Reply<Moving>,
}

/// How a step of a failover ended.
pub enum Ended {
    Fence(Result<Fence, String>),
    Restore(Result<Restoring, String>),
    Publish(Result<Timestamp, String>),
}
