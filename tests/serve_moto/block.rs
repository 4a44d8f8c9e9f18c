//! A block of loopback addresses that no other test uses, in this process or another.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

/// Who listens on this port of a block's first address owns the block.
const CLAIM_PORT: u16 = 7_044;
/// Third bytes of the blocks. Other tests use a few of the lower ones.
const BLOCKS: std::ops::RangeInclusive<u8> = 20..=250;

/// 127.44.N.0/24: .1 to .3 are the test's, moto gives its instances the rest.
pub struct Block {
    number: u8,
    _claim: TcpListener,
}

impl Block {
    pub fn claim() -> Self {
        BLOCKS
            .into_iter()
            .find_map(|number| {
                let claim = TcpListener::bind((Ipv4Addr::new(127, 44, number, 1), CLAIM_PORT)).ok()?;
                Some(Self {
                    number,
                    _claim: claim,
                })
            })
            .expect("a block of 127.44.0.0/16 is free")
    }

    pub fn cidr(&self) -> String {
        format!("127.44.{}.0/24", self.number)
    }

    /// Where the coordinator serves.
    pub fn coordinator(&self) -> SocketAddr {
        self.address(1, 3_000)
    }

    /// Where the commands given over SSH are carried out.
    pub fn shell(&self) -> SocketAddr {
        self.address(2, 7_045)
    }

    pub fn ingest(&self) -> SocketAddr {
        self.address(3, 1_935)
    }

    fn address(&self, host: u8, port: u16) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::new(127, 44, self.number, host), port))
    }
}
