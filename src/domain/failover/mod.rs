//! Moving a show that is on air to another VM.
//!
//! [`verdict`] decides *whether*, from five independent signals. [`Failover`] is the procedure once it is
//! decided: what has been done, durably, and so what is to be done next. It keeps no cursor that could be
//! lost: [`Failover::next`] derives the work from the facts, which is why a coordinator killed at any instant
//! resumes it.
//!
//! ```text
//! began (epoch + 1, target chosen) ─┬─► fenced ───┬─► published (bytes rise) ─► done
//!      │ no spare: waits            └─► restored ─┘
//!      └─► spare chosen ─► …                        target lost on the way: back to choosing
//! ```
//!
//! Fencing and restoring run side by side; publishing needs both. Never is the stream started on the target
//! before the old VM is known not to publish.

pub mod verdict;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ids::{Epoch, VmId};
use super::studio::{Comparison, MadeBy};
use super::time::{Timestamp, millis};

/// Why a show was moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The machine is off, gone, or answers on no channel.
    MachineLost,
    /// The machine answers, its studio does not.
    StudioLost,
    /// The studio answers, but no output leaves it, and it could leave from elsewhere.
    OutputSilent,
    /// An operator said so.
    Forced,
}

impl Cause {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MachineLost => "machine-lost",
            Self::StudioLost => "studio-lost",
            Self::OutputSilent => "output-silent",
            Self::Forced => "forced",
        }
    }
}

/// How it was made certain that the old VM publishes no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fence {
    /// OBS confirmed that its output is inactive.
    StreamStopped,
    /// The studio's process was killed over SSH.
    StudioKilled,
    /// The cloud says that the machine is off.
    MachineOff,
}

/// What was known when the move was decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// First sign of the failure.
    pub suspected_at: Timestamp,
    /// When the verdict was reached.
    pub decided_at: Timestamp,
    /// Last time output bytes were seen to rise on the old VM.
    pub last_output_at: Option<Timestamp>,
    /// One sentence for people.
    pub summary: String,
}

/// A move that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failover {
    /// The epoch it leads to.
    pub epoch: Epoch,
    pub cause: Cause,
    pub from: VmId,
    pub to: Option<VmId>,
    pub evidence: Evidence,
    pub began_at: Timestamp,
    /// When the target was chosen; later than `began_at` if the show had to wait for one.
    pub chosen_at: Option<Timestamp>,
    /// When targets were lost on the way, oldest first.
    pub lost_at: Vec<Timestamp>,
    pub fenced: Option<(Fence, Timestamp)>,
    pub restored_at: Option<Timestamp>,
    pub differences: Vec<String>,
    /// How the target's studio was made; unknown in older journals, and where there was nothing to make it from.
    #[serde(default)]
    pub restored_by: Option<MadeBy>,
    /// Whether the stream is to run on the target: it ran, or was wanted, on the old VM.
    pub publish: bool,
    /// When the stream was about to be started on the target: from here on the target, too, has to be fenced
    /// before a third VM may publish.
    pub publishing_at: Option<Timestamp>,
}

/// What a failover needs done now. Every action is idempotent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    ChooseSpare,
    AwaitTarget,
    Fence,
    Restore,
    /// Start the stream on the target and see its bytes rise.
    Publish,
    /// Nothing was on air: the move is complete without a stream.
    Finish,
}

impl Failover {
    /// When VMs were tried for it: those that were lost, and the one it has. Where an operator forced the move, that
    /// one is the operator's choice and does not count.
    pub fn tries(&self) -> impl Iterator<Item = Timestamp> + '_ {
        let present = self.chosen_at.filter(|_| self.cause != Cause::Forced);
        self.lost_at.iter().copied().chain(present)
    }

    /// The old VM is fenced and the target's studio restored: the stream may be started there.
    #[must_use]
    pub fn may_publish(&self) -> bool {
        self.to.is_some() && self.fenced.is_some() && self.restored_at.is_some()
    }

    /// The VM that the show has if the move is given up now: the one that nobody fenced, else the target.
    #[must_use]
    pub fn vm_if_abandoned(&self) -> &VmId {
        self.to
            .as_ref()
            .filter(|_| self.fenced.is_some())
            .unwrap_or(&self.from)
    }

    /// The work that the facts ask for, given whether the target's studio can be talked to.
    #[must_use]
    pub fn next(&self, target_ready: bool) -> Vec<Action> {
        if self.to.is_none() {
            return vec![Action::ChooseSpare];
        }
        if !target_ready {
            return vec![Action::AwaitTarget];
        }
        let mut actions = Vec::with_capacity(2);
        if self.fenced.is_none() {
            actions.push(Action::Fence);
        }
        if self.restored_at.is_none() {
            actions.push(Action::Restore);
        }
        if actions.is_empty() {
            actions.push(if self.publish {
                Action::Publish
            } else {
                Action::Finish
            });
        }
        actions
    }
}

/// How a failover ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// Output bytes rise on the target.
    OnAir,
    /// The show has its new VM and is off the air: it was not streaming, or nobody knows where it streams
    /// to and the stream there would not start.
    Moved,
    /// The old VM recovered before anything was moved, or there was no spare for a move that an operator wanted: the
    /// stream there was never stopped.
    Recovered,
    /// There was no spare, and the old VM, which had not kept on publishing, can be used: the show stays with it, and
    /// its stream is started there anew.
    Returned,
    /// The show was released or stopped meanwhile: it keeps the VM that it has come to.
    Abandoned,
}

impl Ending {
    /// As on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OnAir => "on-air",
            Self::Moved => "moved",
            Self::Recovered => "recovered",
            Self::Returned => "returned",
            Self::Abandoned => "abandoned",
        }
    }
}

/// A move that is over, with its timeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub failover: Failover,
    pub ending: Ending,
    pub ended_at: Timestamp,
    /// What was found when the restored studio was compared with what it was to be; absent until then, and in older
    /// journals.
    #[serde(default)]
    pub comparison: Option<Comparison>,
}

/// Milliseconds per step, as shown to people. A step that did not happen has none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeline {
    /// First sign of failure to verdict.
    pub detect_ms: u64,
    /// Verdict to durable decision with a target (waiting for a spare is in here).
    pub decide_ms: Option<u64>,
    /// Target chosen to old VM fenced.
    pub fence_ms: Option<u64>,
    /// Target chosen to studio restored.
    pub restore_ms: Option<u64>,
    /// Both of these to output bytes rising on the target.
    pub verify_ms: Option<u64>,
    /// Last output from the old VM to first from the new one. Unknown where this process has seen none from the old VM:
    /// it failed while no coordinator ran, and nobody knows when.
    pub off_air_ms: Option<u64>,
}

impl Record {
    #[must_use]
    pub fn timeline(&self) -> Timeline {
        let f = &self.failover;
        let between = |from: Timestamp, to: Timestamp| millis(to.since(from));
        let fenced_at = f.fenced.map(|(_, at)| at);
        let on_air = (self.ending == Ending::OnAir).then_some(self.ended_at);
        Timeline {
            detect_ms: between(f.evidence.suspected_at, f.evidence.decided_at),
            decide_ms: f.chosen_at.map(|at| between(f.evidence.decided_at, at)),
            fence_ms: f.chosen_at.zip(fenced_at).map(|(from, to)| between(from, to)),
            restore_ms: f.chosen_at.zip(f.restored_at).map(|(from, to)| between(from, to)),
            verify_ms: fenced_at
                .zip(f.restored_at)
                .zip(on_air)
                .map(|((fenced, restored), to)| between(fenced.max(restored), to)),
            off_air_ms: f
                .evidence
                .last_output_at
                .zip(on_air)
                .map(|(from, to)| between(from, to)),
        }
    }
}

/// At most so many moves of one show in so much time; then it waits for an operator. Whatever keeps felling one VM
/// after the other must not go through the whole pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cap {
    pub moves_max: u32,
    pub window: Duration,
}

impl Cap {
    /// Whether the moves made at `moves` use the cap up at `now`.
    #[must_use]
    pub fn is_reached(&self, moves: impl Iterator<Item = Timestamp>, now: Timestamp) -> bool {
        let recent = moves.filter(|at| now.since(*at) < self.window).count();
        recent >= self.moves_max as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun(to: Option<&str>) -> Failover {
        Failover {
            epoch: Epoch(2),
            cause: Cause::StudioLost,
            from: VmId::new("vm-a").unwrap(),
            to: to.map(|id| VmId::new(id).unwrap()),
            evidence: Evidence {
                suspected_at: Timestamp(1_000),
                decided_at: Timestamp(1_200),
                last_output_at: Some(Timestamp(900)),
                summary: String::new(),
            },
            began_at: Timestamp(1_201),
            chosen_at: to.map(|_| Timestamp(1_201)),
            lost_at: Vec::new(),
            fenced: None,
            restored_at: None,
            differences: Vec::new(),
            restored_by: None,
            publish: true,
            publishing_at: None,
        }
    }

    #[test]
    fn the_next_work_follows_from_the_facts() {
        let fenced = Some((Fence::StreamStopped, Timestamp(1_300)));
        let restored = Some(Timestamp(1_350));
        let table = [
            (None, true, None, None, vec![Action::ChooseSpare]),
            (Some("vm-b"), false, None, None, vec![Action::AwaitTarget]),
            (
                Some("vm-b"),
                true,
                None,
                None,
                vec![Action::Fence, Action::Restore],
            ),
            (Some("vm-b"), true, fenced, None, vec![Action::Restore]),
            (Some("vm-b"), true, None, restored, vec![Action::Fence]),
            (Some("vm-b"), true, fenced, restored, vec![Action::Publish]),
            (Some("vm-b"), false, fenced, restored, vec![Action::AwaitTarget]),
        ];
        for (to, ready, fenced, restored_at, expected) in table {
            let failover = Failover {
                fenced,
                restored_at,
                ..begun(to)
            };
            assert_eq!(
                failover.next(ready),
                expected,
                "{to:?} {ready} {fenced:?} {restored_at:?}"
            );
        }
        let silent = Failover {
            fenced,
            restored_at: restored,
            publish: false,
            ..begun(Some("vm-b"))
        };
        assert_eq!(silent.next(true), vec![Action::Finish]);
    }

    #[test]
    fn nothing_publishes_before_the_old_vm_is_fenced() {
        for ready in [false, true] {
            for restored_at in [None, Some(Timestamp(5))] {
                let failover = Failover {
                    restored_at,
                    ..begun(Some("vm-b"))
                };
                assert!(!failover.next(ready).contains(&Action::Publish));
            }
        }
    }

    #[test]
    fn the_timeline_adds_up() {
        let failover = Failover {
            fenced: Some((Fence::StudioKilled, Timestamp(1_301))),
            restored_at: Some(Timestamp(1_401)),
            ..begun(Some("vm-b"))
        };
        let record = Record {
            failover,
            ending: Ending::OnAir,
            ended_at: Timestamp(1_901),
            comparison: None,
        };
        let expected = Timeline {
            detect_ms: 200,
            decide_ms: Some(1),
            fence_ms: Some(100),
            restore_ms: Some(200),
            verify_ms: Some(500),
            off_air_ms: Some(1_001),
        };
        assert_eq!(record.timeline(), expected);
        let mut unseen = record;
        unseen.failover.evidence.last_output_at = None;
        let off_air_ms = None;
        assert_eq!(
            unseen.timeline(),
            Timeline {
                off_air_ms,
                ..expected
            },
            "nobody knows since when"
        );
    }

    #[test]
    fn the_cap_counts_only_the_window() {
        let cap = Cap {
            moves_max: 2,
            window: Duration::from_secs(60),
        };
        let at = |seconds: &[u64]| seconds.iter().map(|s| Timestamp(s * 1000)).collect::<Vec<_>>();
        assert!(!cap.is_reached(at(&[100]).into_iter(), Timestamp(110_000)));
        assert!(cap.is_reached(at(&[100, 105]).into_iter(), Timestamp(110_000)));
        assert!(!cap.is_reached(at(&[100, 105]).into_iter(), Timestamp(161_000)));
    }
}
