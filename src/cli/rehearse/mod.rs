//! `understudy rehearse`: scripted faults against a real coordinator and a simulated world.
//!
//! One file per concern: the [`scenario`]s, the [`drill`] that plays one in this process, the one that
//! [`kill`]s the coordinator's process, the [`watch`] over the invariants, the [`report`].

pub mod drill;
pub mod kill;
pub mod report;
pub mod scenario;
mod watch;

use std::path::Path;

use anyhow::Context as _;
use clap::ValueEnum as _;
use indicatif::{ProgressBar, ProgressStyle};

use self::drill::Cast;
use self::report::{Report, ScenarioReport};
use self::scenario::Scenario;
use super::failure::{Exit, Failure, Outcome};
use super::style::Tone;
use super::table::Line;
use super::terminal::Terminal;
use super::{RehearseArgs, logging};
use crate::config::Log;

/// Plays the scenarios asked for and says how they went. Fails if a show ended off air or an invariant broke.
///
/// # Errors
/// When a stage could not be set or the report not be written.
pub async fn run(args: RehearseArgs, terminal: &Terminal) -> Outcome {
    if args.list {
        return list(terminal);
    }
    let scenarios = chosen(&args.scenario)?;
    if let Some(path) = &args.report {
        writable(path).await?;
    }
    // What the coordinator has to say about the failures it is given would bury the table.
    let log = Log {
        filter: std::env::var("RUST_LOG").unwrap_or_else(|_| "off".to_owned()),
        ..Log::default()
    };
    logging::install(&log, terminal)?;
    let cast = Cast {
        shows: args.shows as usize,
        seed: args.seed,
    };
    let mut report = Report {
        seed: args.seed,
        scenarios: Vec::with_capacity(scenarios.len()),
    };
    let progress = progress(scenarios.len(), terminal);
    for scenario in scenarios {
        progress.set_message(scenario.name());
        let played = play(scenario, cast).await;
        let played = played.with_context(|| format!("scenario {} could not be set up", scenario.name()))?;
        report.scenarios.push(played);
        progress.inc(1);
    }
    progress.finish_and_clear();
    // Told first: that the report cannot be written must not lose it.
    tell(&report, terminal)?;
    if let Some(path) = &args.report {
        write(path, &report).await?;
    }
    Ok(if report.passed() { Exit::Done } else { Exit::Failed })
}

/// Plays one scenario.
///
/// # Errors
/// When its stage could not be set.
pub async fn play(scenario: Scenario, cast: Cast) -> anyhow::Result<ScenarioReport> {
    if scenario == Scenario::CoordinatorKill9 {
        kill::play(cast).await
    } else {
        drill::play(scenario, cast).await
    }
}

fn chosen(name: &str) -> Result<Vec<Scenario>, Failure> {
    if name == "all" {
        return Ok(Scenario::value_variants().to_vec());
    }
    let found = Scenario::value_variants()
        .iter()
        .find(|scenario| scenario.name() == name);
    found.map(|scenario| vec![*scenario]).ok_or_else(|| {
        let names: Vec<String> = Scenario::value_variants().iter().map(|s| s.name()).collect();
        Failure::new(Exit::Usage, format!("there is no scenario {name:?}"))
            .advice(format!("choose one of: all, {}", names.join(", ")))
    })
}

fn list(terminal: &Terminal) -> Outcome {
    let described: Vec<(String, String)> = Scenario::value_variants()
        .iter()
        .filter_map(Scenario::to_possible_value)
        .map(|value| {
            let help = value.get_help().map(ToString::to_string).unwrap_or_default();
            (value.get_name().to_owned(), help)
        })
        .collect();
    if terminal.json {
        let json: Vec<_> = described
            .iter()
            .map(|(name, about)| serde_json::json!({ "name": name, "about": about }))
            .collect();
        terminal.print_json(&json)?;
    } else {
        for (name, about) in described {
            let line = Line::new()
                .push(Tone::Strong, format!("{name:<20} "))
                .push(Tone::Plain, about);
            terminal.print(&line.render(terminal))?;
        }
    }
    Ok(Exit::Done)
}

fn progress(scenarios: usize, terminal: &Terminal) -> ProgressBar {
    if terminal.json {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(scenarios as u64);
    if let Ok(style) = ProgressStyle::with_template("{spinner} {pos}/{len} {elapsed} {msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(std::time::Duration::from_millis(120));
    bar
}

/// Says before the first scenario that the report will have no place; one that is there stays as it is.
async fn writable(path: &Path) -> anyhow::Result<()> {
    let mut options = tokio::fs::OpenOptions::new();
    let opened = options.create(true).append(true).open(path).await;
    opened
        .map(drop)
        .with_context(|| format!("the report cannot be written to {}", path.display()))
}

async fn write(path: &Path, report: &Report) -> anyhow::Result<()> {
    let mut text = serde_json::to_vec_pretty(report)?;
    text.push(b'\n');
    tokio::fs::write(path, text)
        .await
        .with_context(|| format!("writing the report to {}", path.display()))
}

fn tell(report: &Report, terminal: &Terminal) -> anyhow::Result<()> {
    if terminal.json {
        terminal.print_json(report)?;
        return Ok(());
    }
    terminal.print(&report.table().render(terminal))?;
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
