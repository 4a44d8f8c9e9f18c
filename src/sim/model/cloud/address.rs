//! The addresses that instances get.

use std::collections::HashSet;
use std::net::Ipv4Addr;

/// The range of IPv4 addresses that machines get.
#[derive(Debug, Clone)]
pub struct AddressRange {
    first: u32,
    last: u32,
    next: u32,
    taken: HashSet<u32>,
}

impl AddressRange {
    /// Addresses from `first` to `last`, both included.
    #[must_use]
    pub fn new(first: Ipv4Addr, last: Ipv4Addr) -> Self {
        let first = u32::from(first);
        Self {
            first,
            last: u32::from(last).max(first),
            next: first,
            taken: HashSet::new(),
        }
    }

    /// The next free address, going round, so that a freed one is not reused at once. `None` if all are taken.
    pub(super) fn take(&mut self) -> Option<Ipv4Addr> {
        let size = self.last - self.first + 1;
        for _ in 0..size {
            let candidate = self.next;
            self.next = if candidate == self.last {
                self.first
            } else {
                candidate + 1
            };
            if self.taken.insert(candidate) {
                return Some(Ipv4Addr::from(candidate));
            }
        }
        None
    }

    pub(super) fn free(&mut self, address: Ipv4Addr) {
        self.taken.remove(&u32::from(address));
    }
}
