//! The venue's ingest, as an independent witness of who publishes what and when.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::domain::time::millis;
use crate::infra::watch;
use crate::sim::clock::Clock;
use crate::sim::model::ingest::Book;
pub use crate::sim::model::ingest::{IDLE, Overlap, Stretch};

/// Where it would listen, for studios' stream settings.
const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(10, 77, 255, 1)), 1_935);

#[derive(Debug, Default)]
struct Witness {
    book: Book,
    /// Connections whose bytes arrive all the time.
    flowing: BTreeSet<u64>,
}

struct Shared {
    clock: Clock,
    bitrate_bps: u64,
    witness: Mutex<Witness>,
    /// Rises when a publisher begins or ends, for those who wait.
    changes: watch::Sender<u64>,
    /// False while the ingest is down.
    up: watch::Sender<bool>,
}

impl Shared {
    /// What was seen up to now.
    fn witness(&self) -> MutexGuard<'_, Witness> {
        let now = self.clock.now();
        let mut witness = self.witness.lock().unwrap_or_else(PoisonError::into_inner);
        let Witness { book, flowing } = &mut *witness;
        for connection in flowing.iter() {
            book.extend(*connection, now, |span| {
                millis(span).saturating_mul(self.bitrate_bps) / 8_000
            });
        }
        witness
    }

    fn tell(&self) {
        self.changes.send_modify(|count| *count += 1);
    }
}

/// The ingest and its witness. Cheap to clone.
#[derive(Clone)]
pub struct Ingest {
    shared: Arc<Shared>,
}

impl Ingest {
    /// `bitrate_bps` is what a stream brings while it flows.
    pub(super) fn new(clock: Clock, bitrate_bps: u64) -> Self {
        let shared = Arc::new(Shared {
            clock,
            bitrate_bps,
            witness: Mutex::default(),
            changes: watch::Sender::new(0),
            up: watch::Sender::new(true),
        });
        Self { shared }
    }

    #[must_use]
    pub fn address(&self) -> SocketAddr {
        ADDRESS
    }

    /// `rtmp://host:port/live`, for a studio's stream settings.
    #[must_use]
    pub fn server_url(&self) -> String {
        format!("rtmp://{ADDRESS}/live")
    }

    /// Refuses new publishers and drops the present ones.
    pub fn take_down(&self) {
        self.shared.up.send_replace(false);
    }

    /// Accepts publishers again.
    pub fn bring_back(&self) {
        self.shared.up.send_replace(true);
    }

    #[must_use]
    pub fn is_up(&self) -> bool {
        *self.shared.up.borrow()
    }

    /// Everything that was published, in the order it began.
    #[must_use]
    pub fn stretches(&self) -> Vec<Stretch> {
        self.shared.witness().book.stretches(self.shared.clock.now())
    }

    /// Who publishes `key` now.
    #[must_use]
    pub fn publishers(&self, key: &str) -> Vec<Ipv4Addr> {
        self.shared
            .witness()
            .book
            .publishers(key, self.shared.clock.now())
    }

    /// Bytes that have arrived for `key`, from whomever.
    #[must_use]
    pub fn bytes(&self, key: &str) -> u64 {
        self.shared.witness().book.bytes(key)
    }

    /// Every time two publishers were on one key at once.
    #[must_use]
    pub fn overlaps(&self) -> Vec<Overlap> {
        self.shared.witness().book.overlaps()
    }

    /// Waits until `holds` is true of the witness, looking again whenever a publisher begins or ends and at
    /// least every 20 ms. False if the deadline came first.
    pub async fn until(&self, deadline: Duration, holds: impl Fn(&Self) -> bool) -> bool {
        let end = Instant::now() + deadline;
        let mut changes = self.shared.changes.subscribe();
        while !holds(self) {
            if Instant::now() >= end {
                return false;
            }
            // Silence is no event: an end by IDLE is seen by looking.
            let _ = timeout(Duration::from_millis(20), changes.changed()).await;
        }
        true
    }

    /// A publisher of `key`; `None` while the ingest is down.
    pub(super) fn connect(&self, key: &str, publisher: Ipv4Addr) -> Option<Connection> {
        self.is_up().then(|| Connection {
            ingest: Arc::clone(&self.shared),
            number: self.shared.witness().book.connected(),
            key: key.to_owned(),
            publisher,
        })
    }
}

/// A publisher's connection, which ends when it is dropped.
pub(super) struct Connection {
    ingest: Arc<Shared>,
    number: u64,
    key: String,
    publisher: Ipv4Addr,
}

impl Connection {
    pub(super) fn up(&self) -> watch::Receiver<bool> {
        self.ingest.up.subscribe()
    }

    /// Bytes arrive from now on, or none do.
    pub(super) fn flow(&self, flows: bool) {
        let now = self.ingest.clock.now();
        let mut witness = self.ingest.witness();
        let changes = if flows {
            witness.flowing.insert(self.number)
        } else {
            witness.flowing.remove(&self.number)
        };
        if changes && flows {
            witness.book.note(self.number, &self.key, self.publisher, 0, now);
        }
        drop(witness);
        if changes {
            self.ingest.tell();
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut witness = self.ingest.witness();
        witness.flowing.remove(&self.number);
        witness.book.end(self.number);
        drop(witness);
        self.ingest.tell();
    }
}
