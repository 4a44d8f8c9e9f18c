//! News: what happened that is worth telling but not worth keeping.
//!
//! A bounded broadcast. Whoever lags misses items and must not depend on them; what may not be missed is in
//! the ledger's feed.

use std::time::Duration;

use tokio::sync::broadcast;

use crate::actors::archive::Progress;
use crate::domain::execution::ExecutionId;
use crate::domain::health::Reading;
use crate::domain::ids::{ShowId, VmId};
use crate::domain::time::Timestamp;
use crate::domain::unix::AbsolutePath;
use crate::domain::vm::Health;

/// Items kept for a slow reader.
const CAPACITY: usize = 1024;

#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    /// A check of a VM ended.
    Checked {
        vm: VmId,
        health: Health,
        reading: Reading,
        response_time: Option<Duration>,
        at: Timestamp,
    },
    /// The pool started VMs to reach its warm target.
    Replenished {
        warm_before: usize,
        warm_target: u32,
        results: Vec<(VmId, Result<(), String>)>,
    },
    /// The archive of a show's recordings got on.
    Archiving(Progress),
    /// Something people should know now.
    Alert(Alert),
    /// A file on its way to or from a VM has moved on.
    Transferred(Transferred),
    /// The coordinator is going down.
    ShuttingDown { at: Timestamp, message: String },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    Critical,
    Warning,
    Info,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    pub level: Level,
    /// Same condition, same source: `vm-failover-<show>`.
    pub source: String,
    pub title: String,
    pub message: String,
    pub show: Option<ShowId>,
    pub vm: Option<VmId>,
    pub at: Timestamp,
}

/// How far a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transferred {
    pub id: ExecutionId,
    pub vm: VmId,
    pub path: AbsolutePath,
    /// To the VM, else from it.
    pub is_upload: bool,
    /// How much of the file is there; of a download that began in the middle, what was there before included.
    pub bytes: u64,
    /// `None` if nobody said.
    pub bytes_total: Option<u64>,
    /// It is over, whole or not.
    pub done: bool,
}

/// Handle to the broadcast; clones share it.
#[derive(Debug, Clone)]
pub struct News(broadcast::Sender<Item>);

impl Default for News {
    fn default() -> Self {
        Self(broadcast::channel(CAPACITY).0)
    }
}

impl News {
    pub fn tell(&self, item: Item) {
        // Nobody listening is fine.
        let _ = self.0.send(item);
    }

    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Item> {
        self.0.subscribe()
    }
}
