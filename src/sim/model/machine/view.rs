//! A machine as somebody sees it who may look everywhere.

use std::net::Ipv4Addr;

use super::{Machine, Power};
use crate::domain::studio::Secret;
use crate::domain::time::Timestamp;
use crate::sim::model::studio::stream::Phase;

/// A machine at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct MachineView {
    pub at: Timestamp,
    pub address: Ipv4Addr,
    pub power: Power,
    /// The studio's process exists, whether it answers or not.
    pub studio_alive: bool,
    pub studio_answers: bool,
    pub phase: Phase,
    /// `outputBytes`.
    pub stream_bytes: u64,
    pub program_scene: Option<String>,
    pub scene_collection: String,
    pub stream_key: Option<Secret>,
    pub active_show: Option<String>,
    /// Identified obs-websocket clients.
    pub obs_clients: usize,
}

impl MachineView {
    /// The studio says that its stream is active.
    #[must_use]
    pub fn is_streaming(&self) -> bool {
        match self.phase {
            Phase::Active { .. } | Phase::Reconnecting { .. } | Phase::Stopping { .. } => true,
            Phase::Inactive | Phase::Starting { .. } | Phase::Failing { .. } => false,
        }
    }
}

impl Machine {
    /// The machine as it is now, at its address, with so many identified obs-websocket clients.
    #[must_use]
    pub fn view(&self, address: Ipv4Addr, obs_clients: usize, now: Timestamp) -> MachineView {
        let studio = self.studio();
        MachineView {
            at: now,
            address,
            power: self.power(),
            studio_alive: self.studio_connected(),
            studio_answers: self.studio_answers(),
            phase: studio.output().phase(),
            stream_bytes: studio.output().bytes(now),
            program_scene: studio.program_scene().map(str::to_owned),
            scene_collection: studio.collection_name().to_owned(),
            stream_key: studio.service().key().map(Secret::new),
            active_show: self.active_show().map(str::to_owned),
            obs_clients,
        }
    }
}
