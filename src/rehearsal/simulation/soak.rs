//! Seed after seed, on every core, for as long as somebody has patience.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::plan::{Plan, Size};
use super::record::Counts;
use super::report::{Failure, command};
use super::run;

/// When to stop.
#[derive(Debug, Clone, Copy)]
pub struct Until {
    pub seeds: u64,
    pub span: Duration,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Tally {
    pub seeds: u64,
    pub virtual_ms: u64,
    pub counts: Counts,
    /// By seed.
    pub failures: BTreeMap<u64, String>,
}

impl Tally {
    fn count(&self, beginning: &str) -> u64 {
        let counted = self.counts.iter().filter(|(what, _)| what.starts_with(beginning));
        counted.map(|(_, count)| count).sum()
    }

    /// Shows that were produced.
    #[must_use]
    pub fn shows(&self) -> u64 {
        self.count("shows")
    }

    /// Faults of every kind.
    #[must_use]
    pub fn faults(&self) -> u64 {
        self.count("fault ")
    }

    fn add(&mut self, seed: u64, outcome: Outcome) {
        self.seeds += 1;
        self.virtual_ms += outcome.virtual_ms;
        for (what, count) in outcome.counts {
            *self.counts.entry(what).or_default() += count;
        }
        if let Some(failure) = outcome.failure {
            self.failures.insert(seed, failure);
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hours = Duration::from_millis(self.virtual_ms).as_secs_f64() / 3_600.0;
        writeln!(f, "{:>10}  seeds", self.seeds)?;
        writeln!(f, "{hours:>10.1}  virtual hours")?;
        writeln!(f, "{:>10}  faults", self.faults())?;
        for (what, count) in &self.counts {
            writeln!(f, "{count:>10}  {what}")?;
        }
        writeln!(f, "{:>10}  seeds with violations", self.failures.len())
    }
}

/// What came of one seed.
struct Outcome {
    virtual_ms: u64,
    counts: Counts,
    failure: Option<String>,
}

fn play(seed: u64, size: Size) -> Outcome {
    let plan = Plan::of(seed, size);
    match run(&plan) {
        Ok(run) => Outcome {
            virtual_ms: run.virtual_ms,
            counts: run.counts.clone(),
            failure: (!run.violations.is_empty()).then(|| Failure::investigate(&plan, run).to_string()),
        },
        Err(error) => Outcome {
            virtual_ms: 0,
            counts: Counts::new(),
            failure: Some(format!("{error:#}\nsee it again: {}", command(&plan))),
        },
    }
}

/// Runs the seeds from `first` on, on `threads` threads, and tells after each what there is so far. Every run is on one
/// thread alone.
pub fn soak(first: u64, size: Size, threads: usize, until: Until, tell: impl Fn(&Tally) + Sync) -> Tally {
    let began = Instant::now();
    let next = AtomicU64::new(0);
    let tally = Mutex::new(Tally::default());
    let work = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= until.seeds || began.elapsed() >= until.span {
                return;
            }
            let seed = first.wrapping_add(number);
            let outcome = play(seed, size);
            let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
            tally.add(seed, outcome);
            tell(&tally);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(work);
        }
    });
    tally.into_inner().unwrap_or_else(PoisonError::into_inner)
}
