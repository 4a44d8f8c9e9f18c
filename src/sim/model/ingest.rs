//! The book that the venue's ingest keeps of who published what and when: the witness.
//!
//! A publisher *publishes* while its bytes arrive. When none come for [`IDLE`], that stretch ended with the last
//! of them; if they resume, a new stretch begins. Two stretches of one key that overlap are two publishers at
//! once, which is what fencing must prevent.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use crate::domain::time::Timestamp;

/// Silence after which a publisher counts as not publishing.
pub const IDLE: Duration = Duration::from_millis(1_000);
/// Stretches remembered; the oldest are forgotten first.
const STRETCHES_MAX: usize = 100_000;

/// A time during which one machine's bytes for one key kept arriving.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stretch {
    pub key: String,
    pub publisher: Ipv4Addr,
    pub from: Timestamp,
    /// When the last bytes arrived.
    pub to: Timestamp,
    pub bytes: u64,
    /// The connection is still there and its last bytes are not older than [`IDLE`], as of the last look.
    pub is_open: bool,
}

/// Two publishers at once on one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlap {
    pub key: String,
    pub publishers: (Ipv4Addr, Ipv4Addr),
    pub from: Timestamp,
    pub to: Timestamp,
}

/// Who published what and when.
#[derive(Debug, Default)]
pub struct Book {
    stretches: Vec<Stretch>,
    /// Connection number to index in `stretches`.
    open: BTreeMap<u64, usize>,
    connections: u64,
}

impl Book {
    /// The number of a new connection.
    pub fn connected(&mut self) -> u64 {
        self.connections += 1;
        self.connections
    }

    /// Bytes arrived on a connection. True if a stretch began with them.
    pub fn note(
        &mut self,
        connection: u64,
        key: &str,
        publisher: Ipv4Addr,
        bytes: u64,
        now: Timestamp,
    ) -> bool {
        if let Some(index) = self.open.get(&connection)
            && let Some(stretch) = self.stretches.get_mut(*index)
            && now.since(stretch.to) <= IDLE
        {
            stretch.to = now;
            stretch.bytes += bytes;
            return false;
        }
        self.end(connection);
        if self.stretches.len() >= STRETCHES_MAX {
            let closed = self.stretches.iter().position(|stretch| !stretch.is_open);
            if let Some(oldest) = closed {
                self.stretches.remove(oldest);
                for index in self.open.values_mut().filter(|index| **index > oldest) {
                    *index -= 1;
                }
            }
        }
        self.open.insert(connection, self.stretches.len());
        let key = key.to_owned();
        self.stretches.push(Stretch {
            key,
            publisher,
            from: now,
            to: now,
            bytes,
            is_open: true,
        });
        true
    }

    /// Bytes have arrived on a connection all the time since the last ones that were noted, as many as `rate` says of
    /// that time.
    pub fn extend(&mut self, connection: u64, now: Timestamp, rate: impl FnOnce(Duration) -> u64) {
        if let Some(index) = self.open.get(&connection)
            && let Some(stretch) = self.stretches.get_mut(*index)
        {
            stretch.bytes += rate(now.since(stretch.to));
            stretch.to = now;
        }
    }

    /// The connection is gone.
    pub fn end(&mut self, connection: u64) {
        if let Some(index) = self.open.remove(&connection)
            && let Some(stretch) = self.stretches.get_mut(index)
        {
            stretch.is_open = false;
        }
    }

    /// Everything that was published, in the order it began.
    #[must_use]
    pub fn stretches(&self, now: Timestamp) -> Vec<Stretch> {
        let mut stretches = self.stretches.clone();
        for stretch in &mut stretches {
            stretch.is_open &= now.since(stretch.to) <= IDLE;
        }
        stretches
    }

    /// Who publishes `key` now.
    #[must_use]
    pub fn publishers(&self, key: &str, now: Timestamp) -> Vec<Ipv4Addr> {
        let open = self
            .stretches
            .iter()
            .filter(|s| s.key == key && s.is_open && now.since(s.to) <= IDLE);
        open.map(|stretch| stretch.publisher).collect()
    }

    /// Bytes that have arrived for `key`, from whomever.
    #[must_use]
    pub fn bytes(&self, key: &str) -> u64 {
        let of_key = self.stretches.iter().filter(|s| s.key == key);
        of_key.map(|s| s.bytes).sum()
    }

    /// Every time two publishers were on one key at once.
    #[must_use]
    pub fn overlaps(&self) -> Vec<Overlap> {
        let mut by_key: BTreeMap<&str, Vec<&Stretch>> = BTreeMap::new();
        for stretch in &self.stretches {
            by_key.entry(&stretch.key).or_default().push(stretch);
        }
        let mut overlaps = Vec::new();
        for (key, mut stretches) in by_key {
            stretches.sort_by_key(|stretch| stretch.from);
            for (index, first) in stretches.iter().enumerate() {
                for second in stretches[index + 1..].iter().take_while(|s| s.from < first.to) {
                    overlaps.push(Overlap {
                        key: key.to_owned(),
                        publishers: (first.publisher, second.publisher),
                        from: second.from,
                        to: first.to.min(second.to),
                    });
                }
            }
        }
        overlaps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Ipv4Addr = Ipv4Addr::new(127, 77, 0, 1);
    const B: Ipv4Addr = Ipv4Addr::new(127, 77, 0, 2);

    #[test]
    fn a_silence_ends_a_stretch_and_bytes_after_it_begin_another() {
        let mut book = Book::default();
        for at in [0, 400, 800, 2_000] {
            book.note(1, "k", A, 10, Timestamp(at));
        }
        let stretches = book.stretches(Timestamp(2_100));
        assert_eq!(stretches.len(), 2);
        assert_eq!(
            (stretches[0].from, stretches[0].to),
            (Timestamp(0), Timestamp(800))
        );
        assert!(!stretches[0].is_open && stretches[1].is_open);
        assert!(!book.stretches(Timestamp(4_000))[1].is_open);
    }

    #[test]
    fn bytes_that_arrive_all_the_time_are_one_stretch_however_seldom_somebody_looks() {
        let mut book = Book::default();
        assert!(book.note(1, "k", A, 0, Timestamp(0)));
        book.extend(1, Timestamp(60_000), |span| {
            u64::try_from(span.as_millis()).unwrap()
        });
        assert!(!book.note(1, "k", A, 5, Timestamp(60_500)));
        assert_eq!(book.bytes("k"), 60_005);
        assert_eq!(book.publishers("k", Timestamp(61_500)), [A]);
        assert_eq!(book.publishers("k", Timestamp(61_501)), Vec::<Ipv4Addr>::new());
    }

    #[test]
    fn a_takeover_without_a_gap_is_no_overlap_and_a_revenant_is() {
        let mut book = Book::default();
        book.note(1, "k", A, 10, Timestamp(0));
        book.note(1, "k", A, 10, Timestamp(900));
        book.note(2, "k", B, 10, Timestamp(900));
        book.note(2, "k", B, 10, Timestamp(1_800));
        assert_eq!(book.overlaps(), []);
        book.note(2, "k", B, 10, Timestamp(2_700));
        book.note(1, "k", A, 10, Timestamp(2_500));
        book.note(1, "k", A, 10, Timestamp(2_600));
        let overlaps = book.overlaps();
        assert_eq!(overlaps.len(), 1);
        assert_eq!(
            (overlaps[0].from, overlaps[0].to),
            (Timestamp(2_500), Timestamp(2_600))
        );
    }
}
