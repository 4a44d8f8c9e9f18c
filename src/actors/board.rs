//! The board: what was last observed of each VM. Nothing on it survives a restart, nothing durable depends on
//! it, and reading it waits for nobody.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use imbl::OrdMap;

use crate::actors::archive::Progress;
use crate::domain::failover::verdict::Signals;
use crate::domain::health::Reading;
use crate::domain::ids::VmId;
use crate::domain::load::Load;
use crate::domain::studio::Output;
use crate::domain::time::Timestamp;

/// The latest look at one VM. Absent means not known.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observation {
    /// When the last check ended.
    pub checked_at: Option<Timestamp>,
    /// When a check last found everything that answers in order.
    pub proven_at: Option<Timestamp>,
    pub reading: Reading,
    pub response_time: Option<Duration>,
    pub uptime_s: Option<f64>,
    pub version: Option<String>,
    /// The show server's own word about OBS.
    pub server_obs_connected: Option<bool>,
    pub server_obs_streaming: Option<bool>,
    pub server_obs_recording: Option<bool>,
    pub server_obs_scene: Option<String>,
    /// Whether NoMachine's port is open; `None` where it never was.
    pub no_machine: Option<bool>,
    pub output: Option<Output>,
    pub signals: Signals,
    /// How busy the machine is, and when that was read.
    pub load: Option<(Load, Timestamp)>,
    /// The last try to open an SSH session failed here, for want of a usable key or of the pinned host keys, and was no
    /// word on the machine: none comes before that is mended.
    pub ssh_fails_here: bool,
    /// What is wrong, one sentence.
    pub error: Option<String>,
}

/// Handle to the board; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Board {
    slots: Arc<ArcSwap<OrdMap<VmId, Arc<ArcSwap<Observation>>>>>,
    archives: Arc<ArcSwap<OrdMap<VmId, Arc<Progress>>>>,
}

impl Board {
    /// The latest observation; an empty one for a VM never observed.
    #[must_use]
    pub fn latest(&self, vm: &VmId) -> Arc<Observation> {
        self.slots
            .load()
            .get(vm)
            .map(|slot| slot.load_full())
            .unwrap_or_default()
    }

    #[must_use]
    pub fn proven_at(&self, vm: &VmId) -> Option<Timestamp> {
        self.slots.load().get(vm).and_then(|slot| slot.load().proven_at)
    }

    /// Replaces the latest observation. Each VM has one writer, its actor.
    pub fn post(&self, vm: &VmId, observation: Observation) {
        if let Some(slot) = self.slots.load().get(vm) {
            slot.store(Arc::new(observation));
            return;
        }
        let slot = Arc::new(ArcSwap::from_pointee(observation));
        self.slots
            .rcu(|slots| slots.update(vm.clone(), Arc::clone(&slot)));
    }

    /// How far the archive of recordings on a VM is, while there is one under way.
    #[must_use]
    pub fn archive(&self, vm: &VmId) -> Option<Arc<Progress>> {
        self.archives.load().get(vm).cloned()
    }

    /// Replaces that; `None` once it is over.
    pub fn post_archive(&self, vm: &VmId, progress: Option<Progress>) {
        let progress = progress.map(Arc::new);
        self.archives.rcu(|archives| match &progress {
            Some(progress) => archives.update(vm.clone(), Arc::clone(progress)),
            None => archives.without(vm),
        });
    }

    /// Forgets a VM that left the pool.
    pub fn remove(&self, vm: &VmId) {
        self.slots.rcu(|slots| slots.without(vm));
    }
}
