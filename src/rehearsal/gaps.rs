//! What viewers saw: who published a show and when nobody did, from the ingest's own book. Pure.

use super::report::{Gap, Published};
use crate::domain::time::{Timestamp, millis};
use crate::sim::wire::ingest::Stretch;

/// Silence up to this at the end is the pause between two packets, as the ingest counts it.
const PAUSE_MS: u64 = 1_000;

/// What was published under one key between two moments, in the order in which it began: also by who was silent from the
/// very beginning, and had sent something just before.
#[must_use]
pub fn published(stretches: &[Stretch], key: &str, begin: Timestamp, end: Timestamp) -> Vec<Published> {
    let just_before = Timestamp(begin.0.saturating_sub(PAUSE_MS));
    let mut found: Vec<Published> = stretches
        .iter()
        .filter(|stretch| stretch.key == key && stretch.to >= just_before && stretch.from <= end)
        .map(|stretch| Published {
            at_ms: millis(stretch.from.since(begin)),
            until_ms: millis(stretch.to.min(end).since(begin)),
            by: stretch.publisher.to_string(),
        })
        .collect();
    found.sort_by_key(|published| published.at_ms);
    found
}

/// How long before the beginning the last byte came, of a stream that had just stopped then.
#[must_use]
pub fn silent_before_ms(stretches: &[Stretch], key: &str, begin: Timestamp) -> u64 {
    let ours = stretches
        .iter()
        .filter(|stretch| stretch.key == key && stretch.from <= begin);
    let last = ours.map(|stretch| stretch.to).max();
    let silent_ms = last.map_or(0, |last| millis(begin.since(last)));
    if silent_ms <= PAUSE_MS { silent_ms } else { 0 }
}

/// When the viewers of a show expect nothing: somebody has taken it off the air.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Curtain {
    pub at_ms: u64,
    /// `None`: to the end.
    pub until_ms: Option<u64>,
}

/// When nobody published though somebody should have, up to `end_ms`. A gap at the beginning is longer by what was silent
/// before.
#[must_use]
pub fn gaps(published: &[Published], curtains: &[Curtain], silent_before_ms: u64, end_ms: u64) -> Vec<Gap> {
    let seen = published
        .iter()
        .map(|published| (published.at_ms, published.until_ms));
    let down = curtains
        .iter()
        .map(|down| (down.at_ms, down.until_ms.unwrap_or(end_ms)));
    let mut content: Vec<(u64, u64)> = seen.chain(down).collect();
    content.sort_unstable();
    let mut covered_ms = 0;
    let mut gaps = Vec::new();
    for (at_ms, until_ms) in content {
        if at_ms > covered_ms {
            let before_ms = if covered_ms == 0 { silent_before_ms } else { 0 };
            gaps.push(Gap {
                at_ms: covered_ms,
                ms: at_ms - covered_ms + before_ms,
            });
        }
        covered_ms = covered_ms.max(until_ms);
    }
    if end_ms.saturating_sub(covered_ms) > PAUSE_MS {
        gaps.push(Gap {
            at_ms: covered_ms,
            ms: end_ms - covered_ms,
        });
    }
    gaps
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn stretch(host: u8, from: u64, to: u64) -> Stretch {
        Stretch {
            key: "k".to_owned(),
            publisher: Ipv4Addr::new(127, 78, 0, host),
            from: Timestamp(from),
            to: Timestamp(to),
            bytes: 1,
            is_open: false,
        }
    }

    fn found(stretches: &[Stretch], end: u64) -> Vec<(u64, u64)> {
        let begin = Timestamp(1_000);
        let published = published(stretches, "k", begin, Timestamp(1_000 + end));
        gaps(&published, &[], silent_before_ms(stretches, "k", begin), end)
            .iter()
            .map(|gap| (gap.at_ms, gap.ms))
            .collect()
    }

    #[test]
    fn a_gap_is_between_the_last_byte_of_one_and_the_first_of_the_next() {
        let stretches = [stretch(1, 0, 3_000), stretch(2, 3_700, 9_000)];
        assert_eq!(found(&stretches, 8_000), [(2_000, 700)]);
    }

    #[test]
    fn what_was_before_the_beginning_and_a_pause_at_the_end_are_none() {
        assert_eq!(found(&[stretch(1, 0, 900), stretch(1, 950, 4_500)], 4_000), []);
    }

    #[test]
    fn a_gap_that_began_with_the_beginning_counts_from_the_last_byte() {
        let stretches = [stretch(1, 0, 900), stretch(2, 3_000, 9_000)];
        assert_eq!(found(&stretches, 8_000), [(0, 2_100)]);
        let first = published(&stretches, "k", Timestamp(1_000), Timestamp(9_000)).remove(0);
        assert_eq!(
            (first.at_ms, first.until_ms, first.by.as_str()),
            (0, 0, "127.78.0.1")
        );
    }

    #[test]
    fn a_show_that_is_off_the_air_at_the_end_has_a_gap_up_to_it() {
        assert_eq!(found(&[stretch(1, 0, 3_000)], 8_000), [(2_000, 6_000)]);
        assert_eq!(found(&[], 8_000), [(0, 8_000)]);
    }

    #[test]
    fn what_nobody_expects_is_no_gap_and_what_comes_after_is_one() {
        let stretches = [
            stretch(1, 0, 3_000),
            stretch(1, 5_000, 7_000),
            stretch(2, 9_000, 12_000),
        ];
        let published = published(&stretches, "k", Timestamp(1_000), Timestamp(20_000));
        let of = |curtains: &[(u64, Option<u64>)]| {
            let curtains = curtains
                .iter()
                .map(|&(at_ms, until_ms)| Curtain { at_ms, until_ms });
            let found = gaps(&published, &curtains.collect::<Vec<_>>(), 0, 19_000);
            found.iter().map(|gap| (gap.at_ms, gap.ms)).collect::<Vec<_>>()
        };
        assert_eq!(of(&[]), [(2_000, 2_000), (6_000, 2_000), (11_000, 8_000)]);
        assert_eq!(of(&[(1_900, Some(4_100))]), [(6_000, 2_000), (11_000, 8_000)]);
        // It was silent for a moment before somebody took it off the air.
        assert_eq!(of(&[(1_900, Some(4_100)), (6_300, None)]), [(6_000, 300)]);
    }

    #[test]
    fn publishers_that_overlap_leave_no_gap_between_them() {
        let stretches = [
            stretch(1, 0, 6_000),
            stretch(2, 2_000, 3_000),
            stretch(2, 5_000, 9_000),
        ];
        assert_eq!(found(&stretches, 7_000), []);
    }
}
