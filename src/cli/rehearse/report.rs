//! What a rehearsal found out, for people and for machines.

use serde::Serialize;

use crate::cli::style::Tone;
use crate::cli::table::{Cell, Column, Table};
use crate::domain::failover::Record;

/// Everything one run of `understudy rehearse` did.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// What every choice was drawn from.
    pub seed: u64,
    pub scenarios: Vec<ScenarioReport>,
}

#[derive(Debug, Clone, Serialize)]
pub struct ScenarioReport {
    pub name: String,
    pub passed: bool,
    pub shows: usize,
    /// On air at the end, as the ingest saw it.
    pub shows_on_air: usize,
    pub failovers: Vec<FailoverReport>,
    pub invariants: Invariants,
    /// What was expected and did not come, one sentence each.
    pub failures: Vec<String>,
}

#[derive(Debug, Clone, Default, Serialize)]
pub struct Invariants {
    /// Checks made: states looked at, and looks at the ingest.
    pub checked: u64,
    pub violations: Vec<String>,
}

/// One move of one show, milliseconds per step; a step that did not happen has none.
#[derive(Debug, Clone, Serialize)]
pub struct FailoverReport {
    pub show: String,
    pub cause: String,
    pub epoch: u64,
    pub from: String,
    pub to: Option<String>,
    pub detect_ms: u64,
    pub decide_ms: Option<u64>,
    pub fence_ms: Option<u64>,
    pub restore_ms: Option<u64>,
    pub verify_ms: Option<u64>,
    /// Between the last output seen from the old VM and the first from the new one.
    pub off_air_ms: Option<u64>,
    /// The same as the ingest saw it: between bytes of the two publishers.
    pub ingest_gap_ms: Option<u64>,
    /// What the new studio lacks.
    pub differences: Vec<String>,
    /// In what it was found not to be the same, when it was read again; absent until then.
    pub found: Option<Vec<String>>,
}

impl FailoverReport {
    #[must_use]
    pub fn of(show: &str, record: &Record, ingest_gap_ms: Option<u64>) -> Self {
        let timeline = record.timeline();
        let failover = &record.failover;
        Self {
            show: show.to_owned(),
            cause: failover.cause.as_str().to_owned(),
            epoch: failover.epoch.0,
            from: failover.from.to_string(),
            to: failover.to.as_ref().map(ToString::to_string),
            detect_ms: timeline.detect_ms,
            decide_ms: timeline.decide_ms,
            fence_ms: timeline.fence_ms,
            restore_ms: timeline.restore_ms,
            verify_ms: timeline.verify_ms,
            off_air_ms: timeline.off_air_ms,
            ingest_gap_ms,
            differences: failover.differences.clone(),
            found: record.comparison.as_ref().map(|found| found.differences.clone()),
        }
    }
}

impl Report {
    #[must_use]
    pub fn passed(&self) -> bool {
        self.scenarios.iter().all(|scenario| scenario.passed)
    }

    /// One row per scenario.
    #[must_use]
    pub fn table(&self) -> Table {
        let mut table = Table::new([
            Column::new("SCENARIO"),
            Column::new("VERDICT"),
            Column::new("ON AIR").right(),
            Column::new("MOVES").right(),
            Column::new("OFF AIR P50").right(),
            Column::new("WORST").right().rank(5),
            Column::new("DETECT").right().rank(4),
            Column::new("FENCE").right().rank(3),
            Column::new("RESTORE").right().rank(2),
            Column::new("VERIFY").right().rank(1),
            Column::new("CHECKS").right().rank(0),
        ]);
        for scenario in &self.scenarios {
            table.row(scenario.row());
        }
        table
    }
}

impl ScenarioReport {
    fn row(&self) -> Vec<Cell> {
        let of = |pick: fn(&FailoverReport) -> Option<u64>| {
            let mut values: Vec<u64> = self.failovers.iter().filter_map(pick).collect();
            values.sort_unstable();
            values
        };
        let median = |values: &[u64]| values.get(values.len() / 2).copied();
        let ms = |value: Option<u64>| Cell::maybe(value.map(|ms| format!("{ms} ms")));
        let off_air = of(|f| f.off_air_ms);
        let verdict = if self.passed {
            Cell::new("passed").tone(Tone::Good)
        } else {
            Cell::new("FAILED").tone(Tone::Bad)
        };
        vec![
            Cell::new(&self.name),
            verdict,
            Cell::new(format!("{}/{}", self.shows_on_air, self.shows)),
            Cell::new(self.failovers.len().to_string()),
            ms(median(&off_air)),
            ms(off_air.last().copied()),
            ms(median(&of(|f| Some(f.detect_ms)))),
            ms(median(&of(|f| f.fence_ms))),
            ms(median(&of(|f| f.restore_ms))),
            ms(median(&of(|f| f.verify_ms))),
            Cell::new(self.invariants.checked.to_string()),
        ]
    }

    /// What went wrong, one line each.
    pub fn complaints(&self) -> impl Iterator<Item = &String> {
        self.failures.iter().chain(&self.invariants.violations)
    }
}
