//! News: what happened that is worth telling but not worth keeping.
//!
//! A bounded broadcast. Whoever lags misses items and must not depend on them; what may not be missed is in
//! the ledger's feed. The latest alerts are remembered besides, for who asks later; a restart forgets them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
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
/// Alerts remembered; the oldest is forgotten first.
pub const ALERTS_REMEMBERED: usize = 1024;

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

impl Level {
    /// One word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }
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
pub struct News {
    sender: broadcast::Sender<Item>,
    recent: Arc<Mutex<Recent>>,
}

/// The latest alerts, numbered from 1.
#[derive(Debug, Default)]
struct Recent {
    told: u64,
    alerts: VecDeque<(u64, Alert)>,
}

impl Default for News {
    fn default() -> Self {
        Self {
            sender: broadcast::channel(CAPACITY).0,
            recent: Arc::default(),
        }
    }
}

impl News {
    pub fn tell(&self, item: Item) {
        if let Item::Alert(alert) = &item {
            let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
            if recent.alerts.len() == ALERTS_REMEMBERED {
                recent.alerts.pop_front();
            }
            recent.told += 1;
            let number = recent.told;
            recent.alerts.push_back((number, alert.clone()));
        }
        // Nobody listening is fine.
        let _ = self.sender.send(item);
    }

    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Item> {
        self.sender.subscribe()
    }

    /// Remembered alerts with a number above this one, oldest first.
    #[must_use]
    pub fn alerts_after(&self, number: u64) -> Vec<(u64, Alert)> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let newer = recent.alerts.iter().filter(|(known, _)| *known > number);
        newer.cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert(at: u64) -> Item {
        Item::Alert(Alert {
            level: Level::Info,
            source: "a-test".to_owned(),
            title: String::new(),
            message: String::new(),
            show: None,
            vm: None,
            at: Timestamp(at),
        })
    }

    #[test]
    fn the_latest_alerts_are_remembered_by_number_and_the_oldest_forgotten() {
        let news = News::default();
        let most = ALERTS_REMEMBERED as u64;
        for at in 1..=most + 2 {
            news.tell(alert(at));
        }
        let all = news.alerts_after(0);
        assert_eq!(all.len(), ALERTS_REMEMBERED);
        assert_eq!((all[0].0, all[0].1.at), (3, Timestamp(3)));
        let newest: Vec<u64> = news
            .alerts_after(most)
            .iter()
            .map(|(number, _)| *number)
            .collect();
        assert_eq!(newest, [most + 1, most + 2]);
        assert_eq!(news.alerts_after(most + 2), []);
    }
}
