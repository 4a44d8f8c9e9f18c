//! A show: which VM it has, in which epoch, and the procedure it is in.
//!
//! ```text
//!          assigned          on air                failover began
//! idle ───────────► off air ────────► on air ───────────────────► failing over
//!  ▲                │  ▲  ◄────────     ▲   off air                    │
//!  │ released       │  │                └──────────────────────────────┘ on air again, elsewhere
//!  └── releasing ◄──┘  └ reassigned: a reserved VM failed to start, another took its place
//! ```
//!
//! The *epoch* rises by one whenever the show is given a VM. It is the fencing token: a VM is held by a show
//! in one epoch, and events for another are rejected. Events here change the show and the VMs it touches in
//! one fold, so the two can never disagree ([`super::state`] applies them).

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::archive::{self, Archive};
use super::configuration::{Configuration, Made};
use super::failover::{Cause, Ending, Evidence, Failover, Fence, Record};
use super::ids::{Epoch, RequestKey, ShowId, VmId};
use super::studio::{Comparison, MadeBy, Studio};
use super::time::Timestamp;
use super::vm;

/// Finished failovers kept per show; older ones are in the journal only.
pub const RECORDS_MAX: usize = 50;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It has no VM.
    Idle,
    /// It has a VM, which may still be starting; nothing is published.
    OffAir,
    OnAir,
    FailingOver(Box<Failover>),
    Releasing {
        stop_vm: bool,
    },
}

impl Phase {
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::OffAir => "off_air",
            Self::OnAir => "on_air",
            Self::FailingOver(_) => "failing_over",
            Self::Releasing { .. } => "releasing",
        }
    }
}

/// Everything durable about one show.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Show {
    pub id: ShowId,
    pub epoch: Epoch,
    /// The VM it has. While failing over: the old one.
    pub vm: Option<VmId>,
    pub phase: Phase,
    /// Whether a producer wants it streaming: survives failures and restarts.
    pub stream_wanted: bool,
    /// Its VM may be sending its stream: it was told to, or was seen to, and has not been silenced since.
    /// While failing over: the old VM.
    pub may_publish: bool,
    /// A producer asked for the stream to stop, and it is not known to have stopped. While nobody asked, a stream
    /// that runs without being wanted was started by hand in the studio.
    pub stop_asked: bool,
    /// The studio on its VM is not its own yet: it came there by a move that ended early, or it was configured and
    /// nothing has been made of that. What is to be there is the capture; while there is none, the configuration.
    pub unrestored: bool,
    /// The studio on its VM was made equal to what it is to be, and nobody has looked since whether it is.
    #[serde(default)]
    pub uncompared: bool,
    /// The studio on its VM is not what its last move made: it was made from the configuration since, or that move made
    /// none. What is found in it says nothing of that move.
    #[serde(default)]
    pub remade: bool,
    /// An operator forbade automatic failover.
    pub held: bool,
    /// The studio as last captured.
    pub studio: Option<Arc<Studio>>,
    /// What its studio is made from. It outlives the VM.
    #[serde(default)]
    pub configuration: Option<Arc<Configuration>>,
    /// How making the studio from the configuration went. `None` also if the configuration has changed since, for the
    /// next VM.
    #[serde(default)]
    pub made: Option<Made>,
    /// When it was last seen to have changed; absent in older journals.
    #[serde(default)]
    pub captured_at: Option<Timestamp>,
    pub assigned_at: Option<Timestamp>,
    pub assigned_by: Option<String>,
    /// Finished failovers, oldest first.
    pub records: Vec<Record>,
    /// What becomes of the recordings on the VM that it gives back, or gave back last.
    #[serde(default)]
    pub archive: Option<Arc<Archive>>,
    /// Since when it has no VM.
    pub idle_since: Option<Timestamp>,
}

/// Facts about one show, and about the VMs it takes or leaves by them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// It was given this VM. For a VM that is not ready this is a reservation.
    Assigned {
        vm: VmId,
        epoch: Epoch,
        by: Option<String>,
        key: Option<RequestKey>,
    },
    /// Its VM failed to come up; this one takes its place in a new epoch. A VM that did come up is left by a
    /// failover only, since it may have been told to stream.
    Reassigned {
        from: VmId,
        vm: VmId,
        epoch: Epoch,
    },
    /// A producer wants the stream to run, or to stop. While failing over this decides whether the target
    /// is to publish, unless its stream is about to start already. That it is to run changes nothing while another show
    /// has that stream: of two that are started at once, one is not.
    StreamWanted {
        wanted: bool,
    },
    /// Output bytes were seen to rise on its VM.
    WentOnAir {
        epoch: Epoch,
    },
    /// The stream ended without anybody missing it.
    WentOffAir {
        epoch: Epoch,
    },
    /// Its VM, which may have published and is no longer meant to, is known not to.
    Silenced {
        epoch: Epoch,
        how: Fence,
    },
    Captured {
        studio: Arc<Studio>,
    },
    /// What its studio is to be made from. `make`: on the VM that it has, in place of what is there; else on its next.
    SetUp {
        configuration: Arc<Configuration>,
        make: bool,
    },
    Held {
        held: bool,
    },
    /// The move is decided; the epoch is the new one.
    FailoverBegan {
        epoch: Epoch,
        cause: Cause,
        to: Option<VmId>,
        evidence: Evidence,
    },
    SpareChosen {
        epoch: Epoch,
        vm: VmId,
    },
    /// The target cannot be used; another must be found, in the epoch given. If its stream was about to
    /// start, the lost target is what has to be fenced now.
    SpareLost {
        epoch: Epoch,
        vm: VmId,
        reason: String,
    },
    Fenced {
        epoch: Epoch,
        how: Fence,
    },
    /// The studio of its VM, of the target while failing over, has been made equal to the capture, or made from the
    /// configuration where there is none.
    Restored {
        epoch: Epoch,
        differences: Vec<String>,
        /// How; unknown in older journals, and where there was nothing to make it from.
        #[serde(default)]
        by: Option<MadeBy>,
    },
    /// The studio that was made on its VM was read again and compared with what it was to be: in what it is not the
    /// same, one sentence each ([`super::studio::sentences`]).
    Compared {
        epoch: Epoch,
        differences: Vec<String>,
    },
    /// The stream is about to be started on the target, which is restored, and the old VM is fenced.
    Publishing {
        epoch: Epoch,
    },
    FailoverEnded {
        epoch: Epoch,
        ending: Ending,
    },
    /// From here on the key of the request that asked for it is known: whoever repeats it gets the same answer.
    ReleaseBegan {
        stop_vm: bool,
        /// Older journals have it with [`Event::Released`].
        #[serde(default)]
        key: Option<RequestKey>,
    },
    /// Another request waits for the release that is under way.
    ReleaseJoined {
        key: RequestKey,
    },
    /// Something became of its recordings.
    Archive {
        epoch: Epoch,
        event: archive::Event,
    },
    /// Only once its VM is silent: the next VM of this show must not be a second publisher. And only once its
    /// recordings are archived, or known not to be, if that was asked for: the VM's next show may remove them.
    Released {
        vm: VmId,
        /// In older journals only.
        #[serde(default)]
        key: Option<RequestKey>,
    },
}

/// An event that cannot happen to this show now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    #[error("show {show} already has {vm}")]
    AlreadyAssigned { show: ShowId, vm: VmId },
    #[error("show {show} has no VM")]
    NotAssigned { show: ShowId },
    #[error("show {show} is {phase}")]
    WrongPhase { show: ShowId, phase: &'static str },
    #[error("show {show} is in epoch {current}, not {asked}")]
    StaleEpoch {
        show: ShowId,
        current: Epoch,
        asked: Epoch,
    },
    #[error("{vm} may still be sending the stream of show {show}")]
    NotSilent { show: ShowId, vm: VmId },
    #[error("the recordings of show {show} on {vm} are being archived")]
    Archiving { show: ShowId, vm: VmId },
    #[error(transparent)]
    Archive(#[from] archive::Rejected),
    #[error(transparent)]
    Vm(#[from] vm::Rejected),
    #[error("{0} is not in the pool")]
    UnknownVm(VmId),
}

impl Show {
    #[must_use]
    pub fn new(id: ShowId) -> Self {
        Self {
            id,
            epoch: Epoch(0),
            vm: None,
            phase: Phase::Idle,
            stream_wanted: false,
            may_publish: false,
            stop_asked: false,
            unrestored: false,
            uncompared: false,
            remade: false,
            held: false,
            studio: None,
            configuration: None,
            made: None,
            assigned_at: None,
            assigned_by: None,
            records: Vec::new(),
            captured_at: None,
            archive: None,
            idle_since: None,
        }
    }

    /// The move under way, if there is one.
    #[must_use]
    pub fn failover(&self) -> Option<&Failover> {
        match &self.phase {
            Phase::FailingOver(failover) => Some(failover),
            Phase::Idle | Phase::OffAir | Phase::OnAir | Phase::Releasing { .. } => None,
        }
    }

    /// When VMs were tried to move it to, in finished moves and in the one under way.
    pub fn moves(&self) -> impl Iterator<Item = Timestamp> + '_ {
        self.records
            .iter()
            .map(|record| &record.failover)
            .chain(self.failover())
            .flat_map(Failover::tries)
    }

    /// A producer's wish. It reaches into a failover until the stream is about to start on its target; after
    /// that it is acted on once the failover has ended.
    pub(super) fn want_stream(&mut self, wanted: bool) -> Result<(), Rejected> {
        self.require_vm()?;
        match &mut self.phase {
            Phase::Releasing { .. } if wanted => return Err(self.wrong_phase()),
            Phase::FailingOver(failover) if failover.publishing_at.is_none() => failover.publish = wanted,
            Phase::Idle | Phase::OffAir | Phase::OnAir | Phase::FailingOver(_) | Phase::Releasing { .. } => {}
        }
        self.stream_wanted = wanted;
        self.stop_asked = !wanted && self.may_publish;
        Ok(())
    }

    /// Its VM is known to publish nothing.
    pub(super) fn is_silent_now(&mut self) {
        self.may_publish = false;
        self.stop_asked = false;
    }

    /// It has another VM than before, and nothing was done there yet.
    pub(super) fn comes_to(&mut self, vm: &VmId, epoch: Epoch) {
        self.is_silent_now();
        self.vm = Some(vm.clone());
        self.epoch = epoch;
        self.unrestored = self.has_studio();
        self.uncompared = false;
        self.made = None;
        self.archive = None;
    }

    /// There is something to make a studio from.
    pub(super) fn has_studio(&self) -> bool {
        self.studio.is_some() || self.configuration.is_some()
    }

    /// Its studio has been made equal to what it is to be.
    pub(super) fn note_made(
        &mut self,
        epoch: Epoch,
        differences: &[String],
        by: Option<&MadeBy>,
        at: Timestamp,
    ) {
        if self.studio.is_none() && self.configuration.is_some() {
            self.made = Some(Made {
                at,
                epoch,
                differences: differences.to_vec(),
                by: by.cloned(),
                comparison: None,
            });
        }
    }

    /// The studio that was made in this epoch, by a move or from the configuration, is as this says.
    pub(super) fn compared(
        &mut self,
        epoch: Epoch,
        differences: &[String],
        at: Timestamp,
    ) -> Result<(), Rejected> {
        self.require_epoch(epoch)?;
        self.require_phase(self.uncompared && matches!(self.phase, Phase::OffAir | Phase::OnAir))?;
        self.uncompared = false;
        let comparison = Comparison {
            at,
            differences: differences.to_vec(),
        };
        let moved = self.records.last_mut().filter(|_| !self.remade);
        if let Some(record) = moved.filter(|record| record.failover.epoch == epoch) {
            // Snapshots of before do not say what was remade: what is known of a move stays.
            record.comparison.get_or_insert_with(|| comparison.clone());
        }
        if let Some(made) = self.made.as_mut().filter(|made| made.epoch == epoch) {
            made.comparison = Some(comparison);
        }
        Ok(())
    }

    pub(super) fn set_up(
        &mut self,
        configuration: &Arc<Configuration>,
        make: bool,
        at: Timestamp,
    ) -> Result<(), Rejected> {
        if make {
            self.require_phase(matches!(self.phase, Phase::OffAir | Phase::OnAir))?;
            // What was captured is what is to be replaced.
            self.studio = None;
            self.made = None;
            self.unrestored = true;
            self.uncompared = false;
            self.remade = true;
        } else if self
            .configuration
            .as_ref()
            .is_some_and(|known| !known.says_the_same(configuration))
        {
            // What was made was made from another.
            self.made = None;
        }
        if self.phase == Phase::Idle {
            self.idle_since = self.idle_since.or(Some(at));
        }
        self.configuration = Some(Arc::clone(configuration));
        Ok(())
    }

    /// Something became of the recordings on the VM that it is giving back.
    pub(super) fn archive(
        &mut self,
        epoch: Epoch,
        event: &archive::Event,
        at: Timestamp,
    ) -> Result<(), Rejected> {
        self.require_epoch(epoch)?;
        self.require_phase(matches!(self.phase, Phase::Releasing { .. }))?;
        match (&mut self.archive, event) {
            (
                None,
                archive::Event::Asked {
                    bucket,
                    folder,
                    since,
                },
            ) => self.archive = Some(Arc::new(Archive::new(bucket, folder, *since, at))),
            (None, _) => return Err(archive::Rejected::NotAsked.into()),
            (Some(archive), event) => Arc::make_mut(archive).apply(event)?,
        }
        Ok(())
    }

    /// Its recordings are to be archived, and it is not known yet what becomes of them.
    #[must_use]
    pub fn is_archiving(&self) -> bool {
        self.archive
            .as_ref()
            .is_some_and(|archive| archive.ending().is_none())
    }

    pub(super) fn wrong_phase(&self) -> Rejected {
        Rejected::WrongPhase {
            show: self.id.clone(),
            phase: self.phase.as_str(),
        }
    }

    pub(super) fn require_phase(&self, allowed: bool) -> Result<(), Rejected> {
        if allowed { Ok(()) } else { Err(self.wrong_phase()) }
    }

    pub(super) fn require_epoch(&self, asked: Epoch) -> Result<(), Rejected> {
        if self.epoch == asked {
            Ok(())
        } else {
            Err(Rejected::StaleEpoch {
                show: self.id.clone(),
                current: self.epoch,
                asked,
            })
        }
    }

    pub(super) fn require_next_epoch(&self, asked: Epoch) -> Result<(), Rejected> {
        if self.epoch.next() == asked {
            Ok(())
        } else {
            Err(Rejected::StaleEpoch {
                show: self.id.clone(),
                current: self.epoch,
                asked,
            })
        }
    }

    pub(super) fn require_vm(&self) -> Result<VmId, Rejected> {
        self.vm.clone().ok_or_else(|| Rejected::NotAssigned {
            show: self.id.clone(),
        })
    }

    pub(super) fn failover_mut(&mut self, epoch: Epoch) -> Result<&mut Failover, Rejected> {
        self.require_epoch(epoch)?;
        let refused = self.wrong_phase();
        match &mut self.phase {
            Phase::FailingOver(failover) => Ok(failover),
            Phase::Idle | Phase::OffAir | Phase::OnAir | Phase::Releasing { .. } => Err(refused),
        }
    }

    pub(super) fn file(&mut self, record: Record) {
        if self.records.len() == RECORDS_MAX {
            self.records.remove(0);
        }
        self.records.push(record);
    }
}
