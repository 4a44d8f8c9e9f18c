//! A report on the terminal.

use crate::cli::style::Tone;
use crate::cli::table::{Cell, Column, Line, Table};
use crate::cli::terminal::Terminal;
use crate::rehearsal::report::{FailoverReport, Report, ScenarioReport};

/// Prints one row per scenario, and under it what went wrong.
///
/// # Errors
/// What the operating system says.
pub fn tell(report: &Report, terminal: &Terminal) -> anyhow::Result<()> {
    terminal.print(&table(report).render(terminal))?;
    for scenario in &report.scenarios {
        for complaint in scenario.complaints() {
            let line = Line::new()
                .push(Tone::Bad, format!("{}: ", scenario.name))
                .push(Tone::Plain, complaint);
            terminal.print(&line.render(terminal))?;
        }
    }
    Ok(())
}

fn table(report: &Report) -> Table {
    let mut table = Table::new([
        Column::new("SCENARIO"),
        Column::new("VERDICT"),
        Column::new("ON AIR").right(),
        Column::new("MOVES").right(),
        Column::new("WORST GAP").right(),
        Column::new("OBJECTIVE").right().rank(7),
        Column::new("OFF AIR P50").right().rank(6),
        Column::new("DETECT").right().rank(5),
        Column::new("FENCE").right().rank(3),
        Column::new("RESTORE").right().rank(2),
        Column::new("VERIFY").right().rank(1),
        Column::new("ALERTS").right().rank(4),
        Column::new("CHECKS").right().rank(0),
    ]);
    for scenario in &report.scenarios {
        table.row(row(scenario));
    }
    table
}

fn row(scenario: &ScenarioReport) -> Vec<Cell> {
    let median = |pick: fn(&FailoverReport) -> Option<u64>| {
        let mut values: Vec<u64> = scenario.failovers.iter().filter_map(pick).collect();
        values.sort_unstable();
        values.get(values.len() / 2).copied()
    };
    let ms = |value: Option<u64>| Cell::maybe(value.map(|ms| format!("{ms} ms")));
    let verdict = if scenario.passed {
        Cell::new("passed").tone(Tone::Good)
    } else {
        Cell::new("FAILED").tone(Tone::Bad)
    };
    let moves: u32 = scenario.on_stage.iter().map(|show| show.moves).sum();
    vec![
        Cell::new(&scenario.name),
        verdict,
        Cell::new(format!("{}/{}", scenario.shows_on_air, scenario.shows)),
        Cell::new(moves.to_string()),
        ms(Some(scenario.worst_gap_ms)),
        Cell::maybe(scenario.objective_ms().map(|ms| format!("≤ {ms} ms"))),
        ms(median(|failover| failover.off_air_ms)),
        ms(median(|failover| Some(failover.detect_ms))),
        ms(median(|failover| failover.fence_ms)),
        ms(median(|failover| failover.restore_ms)),
        ms(median(|failover| failover.verify_ms)),
        Cell::new(scenario.alerts.len().to_string()),
        Cell::new(scenario.invariants.checked.to_string()),
    ]
}
