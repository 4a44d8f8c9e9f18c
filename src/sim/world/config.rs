//! What a world is like.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use super::WorldError;
use crate::domain::studio::Secret;
use crate::sim::model::cloud::CloudTiming;
use crate::sim::model::machine::MachineTiming;
use crate::sim::wire::{Ports, PublicKey};

/// Port whose holder owns a block of addresses.
const CLAIM_PORT: u16 = 7_077;
const INGEST_PORT: u16 = 1_935;
const CLOUD_PORT: u16 = 9_000;

/// Which loopback addresses a world uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Addresses {
    /// Well-known ones, for one world at a time: machines from 127.77.0.1 to 127.77.254.254, ingest
    /// 127.77.255.1:1935, cloud 127.77.255.2:9000.
    WellKnown,
    /// A free block 127.77.N.0/24 of its own, for tests that run beside each other: machines from .1 to .249,
    /// ingest .251, cloud .252, on the same ports.
    FreeBlock,
    /// As the caller says.
    Given {
        first: Ipv4Addr,
        last: Ipv4Addr,
        ingest: SocketAddr,
        cloud: SocketAddr,
    },
}

/// The addresses decided on.
pub(super) struct Plan {
    pub(super) first: Ipv4Addr,
    pub(super) last: Ipv4Addr,
    pub(super) ingest: SocketAddr,
    pub(super) cloud: SocketAddr,
}

impl Addresses {
    pub(super) fn plan(&self) -> Result<(Plan, Option<TcpListener>), WorldError> {
        let (plan, claim) = match self {
            Self::WellKnown => {
                let plan = Plan {
                    first: Ipv4Addr::new(127, 77, 0, 1),
                    last: Ipv4Addr::new(127, 77, 254, 254),
                    ingest: SocketAddr::from(([127, 77, 255, 1], INGEST_PORT)),
                    cloud: SocketAddr::from(([127, 77, 255, 2], CLOUD_PORT)),
                };
                (plan, None)
            }
            Self::FreeBlock => {
                let (block, claim) = claim_block()?;
                let plan = Plan {
                    first: Ipv4Addr::new(127, 77, block, 1),
                    last: Ipv4Addr::new(127, 77, block, 249),
                    ingest: SocketAddr::from(([127, 77, block, 251], INGEST_PORT)),
                    cloud: SocketAddr::from(([127, 77, block, 252], CLOUD_PORT)),
                };
                (plan, Some(claim))
            }
            Self::Given {
                first,
                last,
                ingest,
                cloud,
            } => (
                Plan {
                    first: *first,
                    last: *last,
                    ingest: *ingest,
                    cloud: *cloud,
                },
                None,
            ),
        };
        for address in [plan.first, plan.last] {
            if !address.is_loopback() {
                return Err(WorldError::NotLoopback { address });
            }
        }
        Ok((plan, claim))
    }
}

/// The first block that nobody else claims, beginning at one that differs from process to process. The first one
/// and the last two of 127.77.0.0/16 are left to [`Addresses::WellKnown`].
fn claim_block() -> Result<(u8, TcpListener), WorldError> {
    const BLOCKS: u32 = 253;
    let start = std::process::id();
    for offset in 0..BLOCKS {
        let block = u8::try_from(start.wrapping_add(offset) % BLOCKS + 1).unwrap_or(1);
        // Nobody connects to it; holding it is the point.
        if let Ok(claim) = TcpListener::bind((Ipv4Addr::new(127, 77, block, 254), CLAIM_PORT)) {
            return Ok((block, claim));
        }
    }
    Err(WorldError::NoFreeBlock)
}

/// What a world is like.
#[derive(Debug, Clone)]
pub struct WorldConfig {
    /// Decides instance ids, host keys and studios' identifiers.
    pub seed: u64,
    /// Instances that run at the start.
    pub warm: u32,
    /// Instances that are stopped at the start.
    pub cold: u32,
    /// Value of the tag `Project` on them.
    pub project: String,
    pub addresses: Addresses,
    pub ports: Ports,
    pub cloud: CloudTiming,
    pub machine: MachineTiming,
    /// Availability zones, given to instances in turn.
    pub zones: Vec<String>,
    pub obs_password: Option<Secret>,
    pub ssh_user: String,
    /// Where to write a new private key that may log in, as `id_ed25519`.
    pub ssh_key_dir: Option<PathBuf>,
    /// The key that may log in when none is to be made.
    pub ssh_authorized: Option<PublicKey>,
    /// See [`crate::sim::wire::MachineConfig::dark_when_off`].
    pub dark_when_off: bool,
    /// See [`crate::sim::wire::MachineConfig::chunk_interval`].
    pub chunk_interval: Duration,
    /// For fleets: machines listen through one [`crate::sim::wire::Exchange`] instead of three ports each.
    pub shared_ports: bool,
}

impl Default for WorldConfig {
    /// Two warm and three cold instances at well-known addresses: the demonstration's world.
    fn default() -> Self {
        Self {
            seed: 1,
            warm: 2,
            cold: 3,
            project: "understudy-sim".to_owned(),
            addresses: Addresses::WellKnown,
            ports: Ports::default(),
            cloud: CloudTiming::default(),
            machine: MachineTiming::default(),
            zones: ["sim-1a", "sim-1b", "sim-1c"].map(str::to_owned).to_vec(),
            obs_password: Some(Secret::new("simulated")),
            ssh_user: "ubuntu".to_owned(),
            ssh_key_dir: None,
            ssh_authorized: None,
            dark_when_off: true,
            chunk_interval: Duration::from_millis(100),
            shared_ports: false,
        }
    }
}

impl WorldConfig {
    /// A world of its own for a test, beside any number of others.
    #[must_use]
    pub fn for_test(warm: u32, cold: u32) -> Self {
        Self {
            warm,
            cold,
            addresses: Addresses::FreeBlock,
            ..Self::default()
        }
    }
}
