//! Seed after seed, on every core, for as long as somebody has patience.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::plan::{Plan, Size};
use super::record::Counts;
use super::report::{Failure, Shrinking, command};
use super::{Run, run};

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

/// A soak as far as it is. Clones share it.
#[derive(Clone, Default)]
pub struct Progress(Arc<Mutex<Pages>>);

#[derive(Default)]
struct Pages {
    tally: Tally,
    under_way: BTreeMap<u64, UnderWay>,
    /// Seeds with violations that nobody has been told of.
    untold: Vec<u64>,
    ended: bool,
}

struct UnderWay {
    began: Instant,
    shrinking: Option<Shrinking>,
}

impl Progress {
    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins no further seed: those under way are played to their end.
    pub fn end(&self) {
        self.pages().ended = true;
    }

    /// What was found since this was last asked, by seed.
    #[must_use]
    pub fn newly_broken(&self) -> Vec<(u64, String)> {
        let mut pages = self.pages();
        let untold = std::mem::take(&mut pages.untold);
        let told = untold.into_iter().filter_map(|seed| {
            let failure = pages.tally.failures.get(&seed)?;
            Some((seed, failure.clone()))
        });
        told.collect()
    }

    /// Plays a seed and writes down what came of it.
    fn play(&self, seed: u64, size: Size) {
        let under_way = UnderWay {
            began: Instant::now(),
            shrinking: None,
        };
        self.pages().under_way.insert(seed, under_way);
        let plan = Plan::of(seed, size);
        let outcome = match run(&plan) {
            Ok(run) => Outcome {
                virtual_ms: run.virtual_ms,
                counts: run.counts.clone(),
                failure: (!run.violations.is_empty()).then(|| self.investigate(&plan, run)),
            },
            Err(error) => Outcome {
                virtual_ms: 0,
                counts: Counts::new(),
                failure: Some(format!("{error:#}\nsee it again: {}", command(&plan))),
            },
        };
        let mut pages = self.pages();
        pages.under_way.remove(&seed);
        if outcome.failure.is_some() {
            pages.untold.push(seed);
        }
        pages.tally.add(seed, outcome);
    }

    fn investigate(&self, plan: &Plan, first: Run) -> String {
        let failure = Failure::investigate(plan, first, run, |shrinking| {
            if let Some(under_way) = self.pages().under_way.get_mut(&plan.seed) {
                under_way.shrinking = Some(shrinking);
            }
        });
        failure.to_string()
    }
}

impl fmt::Display for Progress {
    /// One line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Pages { tally, under_way, .. } = &*self.pages();
        let (seeds, shows, faults) = (tally.seeds, tally.shows(), tally.faults());
        let broken = tally.failures.len();
        write!(
            f,
            "seeds {seeds}, shows {shows}, faults {faults}, seeds with violations {broken}"
        )?;
        for (seed, UnderWay { began, shrinking }) in under_way {
            match shrinking {
                Some(Shrinking { runs, events }) => write!(
                    f,
                    "; seed {seed} breaks a rule: {events} events after {runs} tries to leave some out"
                )?,
                None => write!(f, "; seed {seed} for {} s", began.elapsed().as_secs())?,
            }
        }
        Ok(())
    }
}

/// Runs the seeds from `first` on, on `threads` threads; `progress` says how far it is. Every run is on one thread alone.
pub fn soak(first: u64, size: Size, threads: usize, until: Until, progress: &Progress) -> Tally {
    let began = Instant::now();
    let next = AtomicU64::new(0);
    let work = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= until.seeds || began.elapsed() >= until.span || progress.pages().ended {
                return;
            }
            progress.play(first.wrapping_add(number), size);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(work);
        }
    });
    std::mem::take(&mut progress.pages().tally)
}
