//! What a world is like.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
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
    /// A free block 127.78.N.0/24 of its own, for tests that run beside each other: machines from .1 to .249,
    /// ingest .251, cloud .252, on the same ports. Well-known worlds, whose machines may be anywhere in
    /// 127.77.0.0/16, are elsewhere.
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

impl Plan {
    fn of_block(block: u8) -> Self {
        let at = |host| Ipv4Addr::new(127, 78, block, host);
        Self {
            first: at(1),
            last: at(249),
            ingest: SocketAddr::from((at(251), INGEST_PORT)),
            cloud: SocketAddr::from((at(252), CLOUD_PORT)),
        }
    }
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
                (Plan::of_block(block), Some(claim))
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

/// The first free block, beginning at one that differs from process to process, and after the one that this process
/// took last: sockets of a world that has just ended are closed a moment after its claim.
fn claim_block() -> Result<(u8, TcpListener), WorldError> {
    const BLOCKS: u32 = 254;
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    for _ in 0..BLOCKS {
        let number = std::process::id().wrapping_add(TAKEN.fetch_add(1, Ordering::Relaxed));
        let block = u8::try_from(number % BLOCKS).unwrap_or_default();
        if let Some(claim) = claim(block) {
            return Ok((block, claim));
        }
    }
    Err(WorldError::NoFreeBlock)
}

/// Claims a block, unless a world has it, or had it and has not closed all of its sockets yet. Nobody connects to
/// the claim; holding it is the point.
fn claim(block: u8) -> Option<TcpListener> {
    let claim = TcpListener::bind((Ipv4Addr::new(127, 78, block, 254), CLAIM_PORT)).ok()?;
    let plan = Plan::of_block(block);
    let is_vacant = [plan.ingest, plan.cloud]
        .into_iter()
        .all(|address| TcpListener::bind(address).is_ok());
    is_vacant.then_some(claim)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_free_block_is_within_the_well_known_addresses() {
        let (known, _) = Addresses::WellKnown.plan().unwrap();
        for block in 0..=u8::MAX {
            let own = Plan::of_block(block);
            assert!(own.first > known.last || own.last < known.first, "{block}");
            assert!(own.ingest != known.ingest && own.cloud != known.cloud, "{block}");
        }
    }

    #[test]
    fn a_block_is_one_worlds_until_all_of_its_sockets_are_closed() {
        let (block, first) = claim_block().unwrap();
        assert!(claim(block).is_none());
        let _lingering = TcpListener::bind(Plan::of_block(block).ingest).unwrap();
        drop(first);
        assert!(claim(block).is_none());
    }
}
