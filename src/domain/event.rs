//! What the ledger keeps: facts, each about one aggregate, in the order in which they became true.

use serde::{Deserialize, Serialize};

use super::execution::{self, ExecutionId};
use super::ids::{Seq, ShowId, VmId};
use super::pool::Settings;
use super::time::Timestamp;
use super::{show, vm};

/// One fact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    Vm {
        vm: VmId,
        event: vm::Event,
    },
    Show {
        show: ShowId,
        event: show::Event,
    },
    /// Something was done on a VM over SSH.
    Execution {
        execution: ExecutionId,
        event: execution::Event,
    },
    /// The pool's settings were changed while running; these win over the configuration file.
    PoolConfigured {
        settings: Settings,
    },
}

impl Event {
    #[must_use]
    pub fn vm(vm: &VmId, event: vm::Event) -> Self {
        Self::Vm {
            vm: vm.clone(),
            event,
        }
    }

    #[must_use]
    pub fn show(show: &ShowId, event: show::Event) -> Self {
        Self::Show {
            show: show.clone(),
            event,
        }
    }

    #[must_use]
    pub fn execution(execution: ExecutionId, event: execution::Event) -> Self {
        Self::Execution { execution, event }
    }
}

/// A fact with its place and time in the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    pub seq: Seq,
    pub at: Timestamp,
    pub event: Event,
}
