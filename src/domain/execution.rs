//! Executions: what was done on VMs over SSH, by whom, and how it ended. The audit.
//!
//! ```text
//!  began ──► ended: exited · signalled · cancelled · closed · idle · timed out · connection lost · not started
//!     └────► ended: unknown          (whoever watched it died: what became of it is not known)
//! ```
//!
//! Both are facts, written before the command runs and before its caller is told how it ended. The state keeps the
//! latest [`ENDED_MAX`]; the journal keeps them all. What a command printed is not kept.

use std::fmt;
use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use serde::{Deserialize, Serialize};

use super::ids::VmId;
use super::operation::{OperationId, Plan};
use super::time::Timestamp;
use super::unix::AbsolutePath;

/// Ended executions that the state remembers.
pub const ENDED_MAX: usize = 1_000;

/// Names one execution; later ones are greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ExecutionId(pub u64);

/// Not the id of an execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an execution's id is `exec-` and a number")]
pub struct InvalidExecutionId;

impl fmt::Display for ExecutionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exec-{}", self.0)
    }
}

impl std::str::FromStr for ExecutionId {
    type Err = InvalidExecutionId;

    fn from_str(text: &str) -> Result<Self, InvalidExecutionId> {
        let digits = text.strip_prefix("exec-").ok_or(InvalidExecutionId)?;
        let plain = digits.bytes().all(|b| b.is_ascii_digit());
        digits
            .parse()
            .ok()
            .filter(|_| plain)
            .map(Self)
            .ok_or(InvalidExecutionId)
    }
}

/// What is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Deed {
    /// An operation of the catalogue, with every word that was run.
    Operation { id: OperationId, plan: Plan },
    /// A caller's own command line.
    Command { plan: Plan },
    /// An interactive terminal; what was typed is not kept.
    Terminal,
    /// A file put on the VM.
    Upload { path: AbsolutePath },
    /// A file read from it, from this byte on.
    Download {
        path: AbsolutePath,
        #[serde(default, skip_serializing_if = "is_whole")]
        from: u64,
    },
    /// A folder of it looked into.
    List { path: AbsolutePath },
}

fn is_whole(from: &u64) -> bool {
    *from == 0
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    Exited {
        status: u32,
    },
    /// Named without `SIG`.
    Signalled {
        signal: String,
    },
    Cancelled {
        by: String,
        /// It was told to end and did not; on the VM it may go on.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        may_go_on: bool,
    },
    /// A terminal or a transfer, in the ordinary way or by what is said here.
    Closed {
        reason: String,
    },
    TimedOut {
        limit_ms: u64,
    },
    /// The SSH connection went; on the VM it may go on.
    ConnectionLost {
        reason: String,
    },
    /// It could not be started.
    NotStarted {
        reason: String,
    },
    /// The server closed the channel without saying how it ended, or whoever watched it died.
    Unknown,
}

/// One execution.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Execution {
    pub id: ExecutionId,
    pub vm: VmId,
    /// Who asked for it.
    pub by: String,
    pub deed: Deed,
    pub began_at: Timestamp,
    /// `None` while it runs.
    pub end: Option<End>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    pub ending: Ending,
    pub at: Timestamp,
    /// Bytes that it printed, or that were transferred; of a download that began in the middle, from there on.
    pub bytes: u64,
}

/// Facts about one execution.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    Began { vm: VmId, by: String, deed: Deed },
    Ended { ending: Ending, bytes: u64 },
}

/// An event that cannot happen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    #[error("{id} is not the next execution, which is {next}")]
    NotNext { id: ExecutionId, next: ExecutionId },
    #[error("{0} is not running")]
    NotRunning(ExecutionId),
}

/// The executions that are remembered: all that run, and the latest that ended.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Executions {
    by_id: OrdMap<ExecutionId, Arc<Execution>>,
    running: OrdSet<ExecutionId>,
}

impl Executions {
    #[must_use]
    pub fn get(&self, id: ExecutionId) -> Option<&Arc<Execution>> {
        self.by_id.get(&id)
    }

    /// The latest first.
    pub fn latest(&self) -> impl Iterator<Item = &Arc<Execution>> {
        self.by_id.values().rev()
    }

    /// Those before this one, the latest first.
    pub fn before(&self, id: ExecutionId) -> impl Iterator<Item = &Arc<Execution>> {
        self.by_id.range(..id).rev().map(|(_, execution)| execution)
    }

    /// Those that have not ended.
    pub fn running(&self) -> impl Iterator<Item = &Arc<Execution>> {
        self.running.iter().filter_map(|id| self.by_id.get(id))
    }

    /// The id of the one that begins next.
    #[must_use]
    pub fn next_id(&self) -> ExecutionId {
        let last = self.by_id.get_max().map_or(0, |(id, _)| id.0);
        ExecutionId(last.saturating_add(1))
    }

    /// Folds one event.
    ///
    /// # Errors
    /// [`Rejected`]; nothing is changed then.
    pub fn apply(&mut self, id: ExecutionId, event: &Event, at: Timestamp) -> Result<(), Rejected> {
        match event {
            Event::Began { vm, by, deed } => {
                let next = self.next_id();
                if id != next {
                    return Err(Rejected::NotNext { id, next });
                }
                self.running.insert(id);
                self.put(Execution {
                    id,
                    vm: vm.clone(),
                    by: by.clone(),
                    deed: deed.clone(),
                    began_at: at,
                    end: None,
                });
            }
            Event::Ended { ending, bytes } => {
                let known = self.by_id.get(&id).filter(|execution| execution.end.is_none());
                let mut execution = known
                    .map(|known| Execution::clone(known))
                    .ok_or(Rejected::NotRunning(id))?;
                execution.end = Some(End {
                    ending: ending.clone(),
                    at,
                    bytes: *bytes,
                });
                self.running.remove(&id);
                self.put(execution);
            }
        }
        Ok(())
    }

    fn put(&mut self, execution: Execution) {
        self.by_id.insert(execution.id, Arc::new(execution));
        // The last one stays, ended or not: it says which id is next.
        while self.by_id.len() - self.running.len() > ENDED_MAX {
            let oldest = self.by_id.keys().copied().find(|id| !self.running.contains(id));
            let Some(oldest) = oldest else { break };
            self.by_id.remove(&oldest);
        }
    }

    /// For a snapshot, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Execution>> {
        self.by_id.values()
    }
}

impl FromIterator<Arc<Execution>> for Executions {
    fn from_iter<I: IntoIterator<Item = Arc<Execution>>>(executions: I) -> Self {
        let by_id: OrdMap<ExecutionId, Arc<Execution>> = executions
            .into_iter()
            .map(|execution| (execution.id, execution))
            .collect();
        let running = by_id
            .values()
            .filter(|execution| execution.end.is_none())
            .map(|execution| execution.id);
        Self {
            running: running.collect(),
            by_id,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn began() -> Event {
        Event::Began {
            vm: VmId::new("vm-1").unwrap(),
            by: "operator".to_owned(),
            deed: Deed::Terminal,
        }
    }

    fn ended(status: u32) -> Event {
        Event::Ended {
            ending: Ending::Exited { status },
            bytes: 7,
        }
    }

    #[test]
    fn an_execution_begins_once_and_ends_once() {
        let mut executions = Executions::default();
        let (first, at) = (ExecutionId(1), Timestamp(5));
        assert_eq!(
            executions.apply(first, &ended(0), at),
            Err(Rejected::NotRunning(first))
        );
        executions.apply(first, &began(), at).unwrap();
        let next = ExecutionId(2);
        assert_eq!(
            executions.apply(first, &began(), at),
            Err(Rejected::NotNext { id: first, next })
        );
        assert_eq!(executions.running().count(), 1);
        executions.apply(first, &ended(3), Timestamp(9)).unwrap();
        assert_eq!(executions.running().count(), 0);
        let end = executions.get(first).unwrap().end.clone().unwrap();
        assert_eq!((end.at, end.ending), (Timestamp(9), Ending::Exited { status: 3 }));
        assert_eq!(
            executions.apply(first, &ended(0), at),
            Err(Rejected::NotRunning(first))
        );
    }

    #[test]
    fn only_the_latest_that_ended_are_remembered_and_all_that_run() {
        let mut executions = Executions::default();
        let count = ENDED_MAX as u64 + 50;
        for id in (1..=count).map(ExecutionId) {
            executions.apply(id, &began(), Timestamp(0)).unwrap();
            if id.0 % 500 != 1 {
                executions.apply(id, &ended(0), Timestamp(0)).unwrap();
            }
        }
        let running: Vec<u64> = executions.running().map(|execution| execution.id.0).collect();
        assert_eq!(running, [1, 501, 1_001]);
        assert_eq!(executions.latest().count(), ENDED_MAX + 3);
        assert_eq!(executions.latest().next().unwrap().id.0, count);
        assert_eq!(
            executions.before(ExecutionId(count)).next().unwrap().id.0,
            count - 1
        );
        assert!(executions.get(ExecutionId(2)).is_none());
        let again: Executions = executions.iter().cloned().collect();
        assert_eq!(again, executions);
    }

    #[test]
    fn an_id_reads_back_as_it_is_written() {
        assert_eq!(ExecutionId(17).to_string().parse(), Ok(ExecutionId(17)));
        for bad in [
            "",
            "17",
            "exec-",
            "exec-x",
            "exec-+1",
            "exec--1",
            "exec-99999999999999999999999",
        ] {
            assert_eq!(bad.parse::<ExecutionId>(), Err(InvalidExecutionId), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn whatever_happens_each_id_is_used_once(turns in prop::collection::vec((1_u64..8, any::<bool>()), 0..60)) {
            let mut executions = Executions::default();
            let (mut begun, mut over) = (Vec::new(), Vec::new());
            for (id, begins) in turns {
                let id = ExecutionId(id);
                let event = if begins { began() } else { ended(0) };
                if executions.apply(id, &event, Timestamp(0)).is_ok() {
                    let list = if begins { &mut begun } else { &mut over };
                    prop_assert!(!list.contains(&id));
                    list.push(id);
                }
            }
            prop_assert!(over.iter().all(|id| begun.contains(id)));
            prop_assert_eq!(executions.running().count(), begun.len() - over.len());
        }
    }
}
