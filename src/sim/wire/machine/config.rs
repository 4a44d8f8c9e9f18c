//! What a simulated machine is like.

use std::time::Duration;

use russh::keys::PublicKey;

use crate::domain::studio::Secret;
use crate::sim::clock::Clock;
use crate::sim::model::machine::{MachineTiming, Ports};
use crate::sim::wire::exchange::Exchange;

/// Who may log in over SSH.
#[derive(Debug, Clone)]
pub struct SshAccess {
    pub user: String,
    pub authorized: Option<PublicKey>,
}

impl Default for SshAccess {
    fn default() -> Self {
        Self {
            user: "ubuntu".to_owned(),
            authorized: None,
        }
    }
}

/// What a machine is like.
#[derive(Debug, Clone)]
pub struct MachineConfig {
    pub clock: Clock,
    pub ports: Ports,
    pub timing: MachineTiming,
    /// Password of its obs-websocket server; `None` for none.
    pub obs_password: Option<Secret>,
    pub ssh: SshAccess,
    /// `rtmp://host:port/app` for example studios.
    pub ingest_url: String,
    /// Decides its identifiers and host key.
    pub seed: u64,
    /// While it is off, connection attempts to it time out instead of being refused. Costs six descriptors.
    pub dark_when_off: bool,
    /// How often a streaming studio sends a chunk to the ingest.
    pub chunk_interval: Duration,
    /// Listens for this machine and others, instead of ports of its own.
    pub exchange: Option<Exchange>,
}

impl MachineConfig {
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            ports: Ports::default(),
            timing: MachineTiming::default(),
            obs_password: None,
            ssh: SshAccess::default(),
            ingest_url: "rtmp://127.77.255.1:1935/live".to_owned(),
            seed: 0,
            dark_when_off: true,
            chunk_interval: Duration::from_millis(100),
            exchange: None,
        }
    }
}
