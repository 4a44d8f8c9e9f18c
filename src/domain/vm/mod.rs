//! A VM: what it is, what it is for, and how well it does, kept apart.
//!
//! ```text
//! power       stopped ─► starting ─► booting ─► ready ─► stopping ─► stopped        gone (removed)
//!                ▲           │          │  ▲       │ │        │
//!                └───────────┴──────────┘  └───────┘ └────────┘ (found stopped · rebooted · stop failed)
//! occupancy   free ─► assigned(show) ─► on_air(show) ─► releasing(show) ─► free     maintenance
//! health      unknown | healthy | degraded | unhealthy       + fault: why it must not be used
//! ```
//!
//! What a show leaves on a VM ([`super::cleaning`]) stays with it until it is removed: a free VM that is ready and not
//! clean is `releasing` to people.
//!
//! A cold VM given to a show is `assigned` while it is still `starting`: that is its reservation. People see
//! one [`Status`], a pure function of the above ([`Vm::status`]).
//!
//! This module holds the facts of one VM and folds its own events. It does not allocate (see
//! [`super::placement`]) and does not know shows beyond their id and epoch (see [`super::show`]).

mod fold;

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::archive;
use super::cleaning::{Leftover, Report};
use super::ids::{Attempt, Epoch, InstanceId, ShowId, VmId};
use super::instance::{Instance, InstanceState};
use super::sealed::Sealed;
use super::time::Timestamp;
use super::unarchived::Unarchived;

/// Where the machine is on its way between off and useful.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Power {
    Stopped,
    /// A start was asked of the cloud.
    Starting {
        attempt: Attempt,
    },
    /// The cloud says running; its services have not all answered yet.
    Booting,
    /// Its services have answered since it booted.
    Ready,
    /// A stop was asked of the cloud.
    Stopping {
        attempt: Attempt,
    },
}

/// What the machine is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Occupancy {
    Free,
    Assigned { show: ShowId, epoch: Epoch },
    OnAir { show: ShowId, epoch: Epoch },
    Releasing { show: ShowId, epoch: Epoch },
    Maintenance { reason: Option<String> },
}

impl Occupancy {
    /// The show that holds this VM and the epoch in which it got it.
    #[must_use]
    pub fn tenant(&self) -> Option<(&ShowId, Epoch)> {
        match self {
            Self::Assigned { show, epoch }
            | Self::OnAir { show, epoch }
            | Self::Releasing { show, epoch } => Some((show, *epoch)),
            Self::Free | Self::Maintenance { .. } => None,
        }
    }
}

/// How well its services do, after hysteresis ([`super::health`]).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    #[default]
    Unknown,
    Healthy,
    Degraded,
    Unhealthy,
}

/// Why the coordinator will not use this VM until it has proven itself or somebody says so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    pub reason: String,
    pub since: Timestamp,
    /// The status it had before.
    pub previous: Status,
}

/// The one word that people and the API see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Stopped,
    Starting,
    Available,
    Assigned,
    InUse,
    Releasing,
    Stopping,
    Error,
    Maintenance,
}

impl Status {
    /// Every status, in the order in which a VM usually meets them.
    pub const ALL: [Status; 9] = [
        Self::Stopped,
        Self::Starting,
        Self::Available,
        Self::Assigned,
        Self::InUse,
        Self::Releasing,
        Self::Stopping,
        Self::Error,
        Self::Maintenance,
    ];

    /// As on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Starting => "starting",
            Self::Available => "available",
            Self::Assigned => "assigned",
            Self::InUse => "in_use",
            Self::Releasing => "releasing",
            Self::Stopping => "stopping",
            Self::Error => "error",
            Self::Maintenance => "maintenance",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Everything durable about one VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vm {
    pub id: VmId,
    /// As the cloud last described it.
    pub instance: Instance,
    pub power: Power,
    pub occupancy: Occupancy,
    pub health: Health,
    pub fault: Option<Fault>,
    pub created_at: Timestamp,
    /// When [`Vm::status`] last changed.
    pub last_state_change: Timestamp,
    pub last_started_at: Option<Timestamp>,
    pub last_stopped_at: Option<Timestamp>,
    pub assigned_at: Option<Timestamp>,
    pub assigned_by: Option<String>,
    pub total_assignments: u64,
    /// Attempts used so far: the next slow effect takes the next one.
    pub attempts: Attempt,
    /// What shows that it had have left on it. It is not ready for another before that is removed or forgiven.
    #[serde(default)]
    pub leftover: Option<Arc<Leftover>>,
    /// How it was cleaned last.
    #[serde(default)]
    pub cleaning: Option<Arc<Report>>,
    /// Recordings of shows before that could not be archived and are still on it, the oldest show first.
    #[serde(default)]
    pub unarchived: Vec<Arc<Unarchived>>,
}

/// Facts about one VM alone. Those that also concern a show are [`super::show::Event`]s.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// Found by its tags or launched by us; part of the pool from here on.
    Adopted {
        instance: Instance,
    },
    /// The cloud describes it differently: addresses, tags, type.
    Described {
        instance: Instance,
    },
    /// A start is being asked of the cloud.
    Starting {
        attempt: Attempt,
    },
    /// The cloud says it runs, or it was rebooted: its services must prove themselves.
    Booting,
    /// Its services have answered. If a show has left it meanwhile, it is to be cleaned still.
    Ready,
    /// A stop is being asked of the cloud.
    Stopping {
        attempt: Attempt,
    },
    /// The stop was not carried out; it still runs.
    StopFailed {
        reason: String,
    },
    /// It is off.
    Stopped,
    /// The cloud no longer has it; it leaves the pool.
    Gone,
    HealthTurned {
        health: Health,
    },
    Faulted {
        reason: String,
    },
    FaultCleared,
    /// As [`Event::Faulted`], of a VM that no show has: one that was given to a show meanwhile stays as it is.
    Withheld {
        reason: String,
    },
    /// It was cleaned of what shows had left on it, or that was tried. `accepted`: it may be used as it was found.
    Cleaned {
        report: Arc<Report>,
        accepted: bool,
    },
    /// The stream keys that shows have left on it are sealed under another key, each in its place.
    Resealed {
        keys: Vec<Sealed>,
    },
    /// Recordings that are still on it and go to this folder of the archive are tried to be archived again. No show has
    /// the VM.
    ArchiveResumed {
        folder: String,
    },
    /// Something became of them.
    Archive {
        folder: String,
        event: archive::Event,
    },
    MaintenanceBegan {
        reason: Option<String>,
    },
    MaintenanceEnded,
}

/// An event that cannot happen to this VM now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    #[error("{vm} is {status}")]
    WrongStatus { vm: VmId, status: Status },
    #[error("{vm} belongs to show {show}")]
    Occupied { vm: VmId, show: ShowId, status: Status },
    #[error("{vm} has no show")]
    NotOccupied { vm: VmId },
    #[error("attempt {asked} of {vm} is not after attempt {used}")]
    StaleAttempt { vm: VmId, used: Attempt, asked: Attempt },
    #[error("{vm} is instance {known}, not {described}")]
    OtherInstance {
        vm: VmId,
        known: InstanceId,
        described: InstanceId,
    },
    #[error("{vm} is held by show {show} in epoch {held}, not {asked}")]
    StaleEpoch {
        vm: VmId,
        show: ShowId,
        held: Epoch,
        asked: Epoch,
    },
    #[error(transparent)]
    Archive(#[from] archive::Rejected),
}

impl Vm {
    /// A VM as it enters the pool. A running instance is `booting`: it must prove itself first.
    #[must_use]
    pub fn adopted(id: VmId, instance: Instance, at: Timestamp) -> Self {
        let power = match instance.state {
            InstanceState::Pending => Power::Starting { attempt: Attempt(0) },
            InstanceState::Running => Power::Booting,
            InstanceState::Stopping => Power::Stopping { attempt: Attempt(0) },
            InstanceState::Stopped | InstanceState::ShuttingDown | InstanceState::Terminated => {
                Power::Stopped
            }
        };
        Self {
            id,
            instance,
            power,
            occupancy: Occupancy::Free,
            health: Health::Unknown,
            fault: None,
            created_at: at,
            last_state_change: at,
            last_started_at: None,
            last_stopped_at: None,
            assigned_at: None,
            assigned_by: None,
            total_assignments: 0,
            attempts: Attempt(0),
            leftover: None,
            cleaning: None,
            unarchived: Vec::new(),
        }
    }

    #[must_use]
    pub fn instance_id(&self) -> &InstanceId {
        &self.instance.instance_id
    }

    /// The projection that people see. Occupancy by maintenance or release wins over health, power that is
    /// on its way down wins over a fault, a fault wins over everything that would make the VM look usable.
    #[must_use]
    pub fn status(&self) -> Status {
        match (&self.occupancy, &self.power) {
            (Occupancy::Maintenance { .. }, _) => Status::Maintenance,
            (_, Power::Stopping { .. }) => Status::Stopping,
            (Occupancy::Releasing { .. }, _) => Status::Releasing,
            (_, _) if self.fault.is_some() => Status::Error,
            (_, Power::Stopped) => Status::Stopped,
            (_, Power::Starting { .. } | Power::Booting) => Status::Starting,
            (_, Power::Ready) if self.health == Health::Unhealthy => Status::Error,
            (Occupancy::Free, Power::Ready) if self.is_to_be_cleaned() => Status::Releasing,
            (Occupancy::Free, Power::Ready) => Status::Available,
            (Occupancy::Assigned { .. }, Power::Ready) => Status::Assigned,
            (Occupancy::OnAir { .. }, Power::Ready) => Status::InUse,
        }
    }

    /// A show leaves it.
    pub(in crate::domain) fn vacate(&mut self, left: Leftover) {
        self.occupancy = Occupancy::Free;
        self.assigned_at = None;
        self.assigned_by = None;
        self.leftover = Some(Arc::new(left.and(self.leftover.as_deref())));
    }

    /// The pool may stop, terminate or take it for maintenance.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.occupancy == Occupancy::Free
    }

    /// It was given to a show while it was off, and its start has not been ordered yet. One that stopped, or
    /// failed, after it was given is another matter: the show has lost it.
    #[must_use]
    pub fn awaits_start(&self) -> bool {
        let reserved = matches!(self.occupancy, Occupancy::Assigned { .. });
        let turned = self.last_started_at.max(self.last_stopped_at);
        let untouched = self
            .assigned_at
            .is_some_and(|at| turned.is_none_or(|turned| turned <= at));
        reserved && untouched && self.power == Power::Stopped && !self.failed_since_given()
    }

    /// It has failed since it was given to its show. What was wrong with it before was known then.
    #[must_use]
    pub fn failed_since_given(&self) -> bool {
        let since_given = |fault: &Fault| self.assigned_at.is_none_or(|given| fault.since >= given);
        self.fault.as_ref().is_some_and(since_given)
    }

    /// Whether it belongs to `show` in `epoch`.
    #[must_use]
    pub fn is_held_by(&self, show: &ShowId, epoch: Epoch) -> bool {
        self.occupancy.tenant() == Some((show, epoch))
    }
}
