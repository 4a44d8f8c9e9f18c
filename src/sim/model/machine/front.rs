//! What a machine looks like from the network.

use super::process::Service;
use super::{Machine, Power};
use crate::domain::time::Timestamp;

/// What happens to a connection attempt on a service's port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Front {
    /// Nothing comes back, as from an address nobody has.
    Dark,
    /// Refused: the machine is there, the process is not.
    Closed,
    /// The kernel accepts, the process never answers.
    Unanswered,
    Open,
}

/// What happens to an established connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Flowing,
    /// Neither reads nor writes.
    Frozen,
    /// The other end is told that the connection is gone.
    Reset,
}

/// Where a machine's services listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    pub status: u16,
    pub obs: u16,
    pub ssh: u16,
}

impl Default for Ports {
    /// As on the real machines, except that the SSH port needs no privilege.
    fn default() -> Self {
        Self {
            status: 3003,
            obs: 4455,
            ssh: 2222,
        }
    }
}

impl Ports {
    /// The port of a service, if it has one.
    #[must_use]
    pub fn of(self, service: Service) -> Option<u16> {
        match service {
            Service::Studio => Some(self.obs),
            Service::Status => Some(self.status),
            Service::Ssh => Some(self.ssh),
            Service::Display | Service::Nimble => None,
        }
    }
}

impl Machine {
    /// Packets reach the machine and come back.
    #[must_use]
    pub fn is_reachable(&self) -> bool {
        self.power == Power::Up && !self.troubles.blackhole
    }

    /// What a new connection to the service's port meets.
    #[must_use]
    pub fn front(&self, service: Service, now: Timestamp) -> Front {
        if !self.is_reachable() {
            return Front::Dark;
        }
        let process = self.process(service);
        if !process.is_alive() {
            return Front::Closed;
        }
        if service == Service::Status {
            if self.flap(now).is_some_and(|(up, _)| !up) {
                return Front::Closed;
            }
            if self.troubles.status_hang {
                return Front::Unanswered;
            }
        }
        if process.is_hung() {
            Front::Unanswered
        } else {
            Front::Open
        }
    }

    /// What becomes of a connection that the service's process of `generation` accepted.
    #[must_use]
    pub fn fate(&self, service: Service, generation: u32, now: Timestamp) -> Fate {
        match self.front(service, now) {
            Front::Dark => Fate::Frozen,
            Front::Closed => Fate::Reset,
            Front::Unanswered if self.generation(service) == generation => Fate::Frozen,
            Front::Open if self.generation(service) == generation => Fate::Flowing,
            Front::Unanswered | Front::Open => Fate::Reset,
        }
    }
}
