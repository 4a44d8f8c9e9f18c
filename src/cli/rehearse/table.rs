//! A report on the terminal.

use std::time::Duration;

use super::paragraph;
use crate::cli::span;
use crate::cli::style::Tone;
use crate::cli::table::{Cell, Column, Table};
use crate::cli::terminal::Terminal;
use crate::rehearsal::report::{FailoverReport, Report, ScenarioReport};

/// What the figures are: two tell of the same time, and need not agree.
const LEGEND: &str = "ON AIR and WORST GAP are as the ingest saw it; OFF AIR P50 and the steps beside it are the coordinator's \
    account, in the middle of all moves. ALERTS and CHECKS are counts.";
/// The same where nobody watched at the ingest.
const LEGEND_LIVE: &str = "All times are the coordinator's account: on the real pool nobody watches at the ingest, and the \
    invariants are not checked. ALERTS is a count.";

/// Prints one row per scenario, and under it what went wrong and how many did not.
///
/// # Errors
/// What the operating system says.
pub fn tell(report: &Report, terminal: &Terminal) -> anyhow::Result<()> {
    let table = table(report);
    terminal.print(&table.render(terminal))?;
    for scenario in &report.scenarios {
        for complaint in scenario.complaints() {
            let name = format!("{}: ", scenario.name);
            let line = paragraph::render((&name, Tone::Bad), (complaint, Tone::Plain), terminal);
            terminal.print(&line)?;
        }
    }
    let legend = match report.pool {
        Some(_) => LEGEND_LIVE,
        None => LEGEND,
    };
    terminal.print(&paragraph::render(
        ("", Tone::Plain),
        (legend, Tone::Dim),
        terminal,
    ))?;
    let left_out = table.left_out(terminal);
    if !left_out.is_empty() {
        let note = format!(
            "No room for {}: a wider terminal has them, and so has --json.",
            left_out.join(", ")
        );
        terminal.print(&paragraph::render(
            ("", Tone::Plain),
            (&note, Tone::Dim),
            terminal,
        ))?;
    }
    let tone = if report.passed() { Tone::Good } else { Tone::Bad };
    terminal.print(&format!("\n{}\n", terminal.paint(tone, &closing(report))))?;
    Ok(())
}

/// `19 of 20 passed in 3 min 4 s`
fn closing(report: &Report) -> String {
    let asked = report.scenarios.len() + report.unplayed.len();
    let took = span::long(Duration::from_millis(report.took_ms));
    let passed = format!("{} of {asked} passed in {took}", report.passed_count());
    match report.unplayed.len() {
        0 => passed,
        unplayed => format!("{passed}; {unplayed} without a verdict"),
    }
}

fn table(report: &Report) -> Table {
    let mut table = Table::new([
        Column::new("SCENARIO"),
        Column::new("VERDICT"),
        Column::new("ON AIR").right().rank(7),
        Column::new("MOVES").right().rank(8),
        Column::new("WORST GAP").right(),
        Column::new("OBJECTIVE").right(),
        Column::new("OFF AIR P50").right().rank(6),
        Column::new("DETECT").right().rank(5),
        Column::new("FENCE").right().rank(3),
        Column::new("RESTORE").right().rank(2),
        Column::new("VERIFY").right().rank(1),
        Column::new("ALERTS").right().rank(4),
        Column::new("CHECKS").right().rank(0),
    ]);
    for scenario in &report.scenarios {
        table.row(row(scenario, report.pool.is_none()));
    }
    table
}

/// `witnessed`: somebody watched at the ingest, and at every state of the coordinator.
fn row(scenario: &ScenarioReport, witnessed: bool) -> Vec<Cell> {
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
        if scenario.was_on_air() {
            ms(Some(scenario.worst_gap_ms))
        } else {
            Cell::new("–")
        },
        Cell::maybe(scenario.objective_ms().map(|ms| format!("≤ {ms} ms"))),
        ms(median(|failover| failover.off_air_ms)),
        ms(median(|failover| Some(failover.detect_ms))),
        ms(median(|failover| failover.fence_ms)),
        ms(median(|failover| failover.restore_ms)),
        ms(median(|failover| failover.verify_ms)),
        Cell::new(scenario.alerts.len().to_string()),
        if witnessed {
            Cell::new(scenario.invariants.checked.to_string())
        } else {
            Cell::new("–")
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::rehearse::sample;

    #[test]
    fn the_objective_stays_where_there_is_little_room() {
        let mut report = sample::report(None);
        report.scenarios[0].name = "coordinator-dead-when-studio-crashes".to_owned();
        let terminal = Terminal {
            width: Some(80),
            ..Terminal::plain()
        };
        let table = table(&report).render(&terminal);
        assert!(
            table.contains("OBJECTIVE") && table.contains("≤ 5000 ms"),
            "{table}"
        );
        assert!(
            table.contains("WORST GAP") && table.contains("VERDICT"),
            "{table}"
        );
        assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
    }

    #[test]
    fn what_there_is_no_room_for_is_named() {
        let table = table(&sample::report(None));
        let at = |width| Terminal {
            width: Some(width),
            ..Terminal::plain()
        };
        assert_eq!(table.left_out(&at(200)), [""; 0]);
        let left_out = table.left_out(&at(80));
        assert!(
            left_out.contains(&"CHECKS") && !left_out.contains(&"OBJECTIVE"),
            "{left_out:?}"
        );
    }

    #[test]
    fn what_nobody_checked_is_a_dash() {
        let checks = |pool| {
            let table = table(&sample::report(pool)).render(&Terminal::plain());
            let row = table.lines().last().unwrap_or_default();
            row.split_whitespace().last().unwrap_or_default().to_owned()
        };
        assert_eq!(checks(None), "22");
        assert_eq!(checks(Some("http://127.0.0.1:3003")), "–");
    }

    #[test]
    fn it_closes_with_how_many_passed_and_how_long_that_took() {
        let mut report = sample::report(None);
        assert_eq!(closing(&report), "1 of 1 passed in 3 min 4 s");
        report.unplayed.push("zone-lost".to_owned());
        assert_eq!(
            closing(&report),
            "1 of 2 passed in 3 min 4 s; 1 without a verdict"
        );
    }
}
