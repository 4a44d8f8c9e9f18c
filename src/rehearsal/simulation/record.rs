//! What happened in a run, line by line in virtual time, and what must not have.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

/// Longest line kept as it is, in bytes. Of a longer one the beginning and a sum of all of it are kept, so that two
/// that differ anywhere still differ here.
const LINE_BYTES_MAX: usize = 240;

/// One thing that must not have happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Milliseconds after the beginning.
    pub at_ms: u64,
    /// Which rule was broken, in a few words that stay the same from run to run.
    pub rule: &'static str,
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "after {} ms: {}: {}", self.at_ms, self.rule, self.what)
    }
}

/// Things counted, by what they are: `fault blackhole`, `killed vm`, `restarted`.
pub type Counts = BTreeMap<String, u64>;

#[derive(Debug, Default)]
struct Pages {
    log: String,
    violations: Vec<Violation>,
    counts: Counts,
}

/// The record of a run. Clones share it.
#[derive(Debug, Clone)]
pub struct Record {
    began: Instant,
    pages: Arc<Mutex<Pages>>,
}

impl Record {
    /// Begins now.
    #[must_use]
    pub fn begin() -> Self {
        Self {
            began: Instant::now(),
            pages: Arc::default(),
        }
    }

    /// Milliseconds since the beginning.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        crate::domain::time::millis(self.began.elapsed())
    }

    pub fn note(&self, line: &str) {
        let at = self.now_ms();
        let mut pages = self.pages();
        let line = shortened(line);
        pages.log.push_str(&format!("{at:>9}  {line}\n"));
    }

    pub fn count(&self, what: String) {
        *self.pages().counts.entry(what).or_default() += 1;
    }

    pub fn violated(&self, rule: &'static str, what: String) {
        self.note(&format!("VIOLATION  {rule}: {what}"));
        let at_ms = self.now_ms();
        let mut pages = self.pages();
        // What is wrong stays wrong: once is enough.
        if !pages
            .violations
            .iter()
            .any(|known| known.rule == rule && known.what == what)
        {
            pages.violations.push(Violation { at_ms, rule, what });
        }
    }

    #[must_use]
    pub fn has_violations(&self) -> bool {
        !self.pages().violations.is_empty()
    }

    #[must_use]
    pub fn violations(&self) -> Vec<Violation> {
        self.pages().violations.clone()
    }

    #[must_use]
    pub fn counts(&self) -> Counts {
        self.pages().counts.clone()
    }

    #[must_use]
    pub fn log(&self) -> String {
        self.pages().log.clone()
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn shortened(line: &str) -> String {
    if line.len() <= LINE_BYTES_MAX {
        return line.to_owned();
    }
    let end = (0..=LINE_BYTES_MAX)
        .rev()
        .find(|end| line.is_char_boundary(*end))
        .unwrap_or(0);
    // FNV-1a.
    let sum = line.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("{}… ({} bytes, sum {sum:016x})", &line[..end], line.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_that_differ_in_their_end_differ_when_shortened() {
        let (one, two) = ("x".repeat(500) + "a", "x".repeat(500) + "b");
        assert_ne!(shortened(&one), shortened(&two));
        assert!(shortened(&one).len() < 300);
        let umlauts = "ä".repeat(300);
        assert!(shortened(&umlauts).starts_with("ä"));
        assert_eq!(shortened("short"), "short");
    }

    #[tokio::test(start_paused = true)]
    async fn a_violation_is_in_the_log_with_its_time_and_counted_once() {
        let record = Record::begin();
        tokio::time::advance(std::time::Duration::from_millis(12)).await;
        record.violated("one publisher", "two of them".to_owned());
        record.violated("one publisher", "two of them".to_owned());
        assert_eq!(record.violations().len(), 1);
        assert_eq!(record.violations()[0].at_ms, 12);
        assert!(
            record
                .log()
                .starts_with("       12  VIOLATION  one publisher: two of them\n")
        );
    }
}
