//! Percentiles of a sample of durations.

use std::fmt;
use std::time::Duration;

/// A sample, sorted.
#[derive(Debug, Clone)]
pub struct Spread(Vec<Duration>);

impl Spread {
    pub fn of(sample: impl IntoIterator<Item = Duration>) -> Self {
        let mut sample: Vec<Duration> = sample.into_iter().collect();
        sample.sort_unstable();
        Self(sample)
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The value that so many of a thousand do not exceed; zero for an empty sample.
    pub fn per_mille(&self, share: usize) -> Duration {
        let rank = (self.0.len() * share).div_ceil(1000).max(1);
        self.0.get(rank - 1).copied().unwrap_or_default()
    }

    pub fn p50(&self) -> Duration {
        self.per_mille(500)
    }

    pub fn p99(&self) -> Duration {
        self.per_mille(990)
    }

    pub fn worst(&self) -> Duration {
        self.per_mille(1000)
    }

    pub fn total(&self) -> Duration {
        self.0.iter().sum()
    }

    /// How many are longer than this.
    pub fn above(&self, limit: Duration) -> usize {
        self.0.len() - self.0.partition_point(|value| *value <= limit)
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (p50, p99, worst) = (brief(self.p50()), brief(self.p99()), brief(self.worst()));
        write!(f, "p50 {p50}, p99 {p99}, worst {worst}")
    }
}

/// A duration with three significant digits or so.
pub fn brief(span: Duration) -> String {
    let micros = span.as_micros();
    match micros {
        0..1_000 => format!("{micros} us"),
        1_000..100_000 => format!("{:.1} ms", span.as_secs_f64() * 1e3),
        100_000..1_000_000 => format!("{:.0} ms", span.as_secs_f64() * 1e3),
        _ => format!("{:.2} s", span.as_secs_f64()),
    }
}
