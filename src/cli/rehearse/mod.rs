//! `understudy rehearse`: scenarios played with a real coordinator against a simulated world, or on a real pool's spares.
//!
//! What is played and how it is judged is [`crate::rehearsal`]'s; here are its arguments and how its report looks: the
//! [`table`], the page ([`html`]), the build server's file ([`junit`]). A scenario that kills the coordinator gets one in a
//! [`process`] of its own, which is asked as any client would ([`remote`]), as is the one that a [`live`] rehearsal is for.
//! The [`player`] starts all this from the API. With a seed and no scenario it is the simulation that is run ([`simulate`]).

mod args;
mod html;
mod junit;
mod live;
pub mod player;
mod process;
mod progress;
mod remote;
mod simulate;
mod table;

use std::path::Path;

use anyhow::Context as _;
use tokio::sync::oneshot;

pub use self::args::RehearseArgs;
use self::progress::{Lines, Progress};
use super::failure::{Exit, Failure, Outcome};
use super::logging;
use super::signals::Signals;
use super::style::Tone;
use super::table::Line;
use super::terminal::Terminal;
use crate::config::Log;
use crate::rehearsal::play::{self, Audience, Cast};
use crate::rehearsal::report::{Report, ScenarioReport};
use crate::rehearsal::scenario::{self, CastError, Scenario, ScenarioError};

/// What stands for every built-in scenario.
const ALL: &str = "all";
/// What drives every choice if nobody says.
const SEED: u64 = 1;

/// Plays the scenarios asked for and says how they went. Fails if one did not go as it must.
///
/// # Errors
/// When a scenario is none, a stage could not be set or a report not be written.
pub async fn run(args: RehearseArgs, terminal: &Terminal) -> Outcome {
    args.check()?;
    if args.list {
        return list(terminal);
    }
    if let Some(seed) = args.simulated() {
        return simulate::run(seed, args.shows, &args.simulate, terminal).await;
    }
    let cast = Cast {
        shows: args.shows,
        seed: args.seed.unwrap_or(SEED),
    };
    let scenarios = chosen(args.scenario.as_deref().unwrap_or(ALL), cast)?;
    for path in [&args.report, &args.junit, &args.html].into_iter().flatten() {
        writable(path).await?;
    }
    // What the coordinator has to say about the failures it is given would bury the table.
    let log = Log {
        filter: std::env::var("RUST_LOG").unwrap_or_else(|_| "off".to_owned()),
        ..Log::default()
    };
    logging::install(&log, terminal)?;
    // From here on a signal ends it in order: nothing that was started or given is left behind.
    let signals = Signals::listen()?;
    let report = if args.progress {
        rehearse(&args, &scenarios, cast, terminal, signals, &Lines).await?
    } else {
        let progress = Progress::new(scenarios.len(), terminal);
        let report = rehearse(&args, &scenarios, cast, terminal, signals, &progress).await;
        progress.end();
        report?
    };
    // Told first: that a report cannot be written must not lose it.
    if terminal.json {
        terminal.print_json(&report)?;
    } else {
        table::tell(&report, terminal)?;
    }
    files(&args, &report).await?;
    Ok(if report.passed() { Exit::Done } else { Exit::Failed })
}

/// Plays them one after the other, until somebody ends it.
async fn rehearse(
    args: &RehearseArgs,
    scenarios: &[Scenario],
    cast: Cast,
    terminal: &Terminal,
    mut signals: Signals,
    audience: &dyn Audience,
) -> anyhow::Result<Report> {
    let mut report = Report {
        seed: cast.seed,
        scenarios: Vec::with_capacity(scenarios.len()),
    };
    let told_to_end = async {
        tokio::select! {
            biased;
            () = signals.told() => {}
            () = input_ends(), if args.progress => {}
        }
    };
    if let (true, Some(scenario)) = (args.live.live, scenarios.first()) {
        // It ends by itself when told to: there is something to give back.
        let played = live::play(&args.live, scenario, cast.seed, terminal, audience, told_to_end).await?;
        report.scenarios.push(played);
        return Ok(report);
    }
    let all = async {
        for scenario in scenarios {
            let played = play(scenario, cast, audience).await;
            let played = played.with_context(|| format!("scenario {} could not be set up", scenario.name))?;
            report.scenarios.push(played);
        }
        anyhow::Ok(())
    };
    tokio::select! {
        biased;
        played = all => played?,
        () = told_to_end => {
            return Err(Failure::new(Exit::Failed, "the rehearsal was ended before its verdict").into());
        }
    }
    Ok(report)
}

/// Returns when whoever started this is gone, or wants it to end.
async fn input_ends() {
    let (ended, end) = oneshot::channel();
    // A thread of its own: a read that never ends must not keep the runtime from ending.
    std::thread::spawn(move || {
        // That it cannot be read is its end, too.
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        let _ = ended.send(());
    });
    let _ = end.await;
}

/// Writes the files that were asked for.
async fn files(args: &RehearseArgs, report: &Report) -> anyhow::Result<()> {
    if let Some(path) = &args.report {
        let text = serde_json::to_string_pretty(report)? + "\n";
        write(path, text).await?;
    }
    if let Some(path) = &args.junit {
        write(path, junit::xml(report)?).await?;
    }
    if let Some(path) = &args.html {
        write(path, html::page(report)).await?;
    }
    Ok(())
}

/// Plays one scenario.
///
/// # Errors
/// When its stage could not be set.
pub async fn play(
    scenario: &Scenario,
    cast: Cast,
    audience: &dyn Audience,
) -> anyhow::Result<ScenarioReport> {
    if scenario.kills_the_coordinator() {
        process::play(scenario, cast, audience).await
    } else {
        play::play_here(scenario, cast, audience).await
    }
}

fn chosen(name: &str, cast: Cast) -> Result<Vec<Scenario>, Failure> {
    if name != ALL {
        let scenario = scenario::load(name)?;
        scenario.parts(cast.shows)?;
        return Ok(vec![scenario]);
    }
    let mut scenarios = scenario::all()?;
    if cast.shows.is_some() {
        // Those that name their shows have as many as they name.
        scenarios.retain(|scenario| !matches!(scenario.shows, scenario::Shows::Named(_)));
    }
    for scenario in &scenarios {
        scenario.parts(cast.shows)?;
    }
    Ok(scenarios)
}

impl From<ScenarioError> for Failure {
    fn from(error: ScenarioError) -> Self {
        let message = match &error {
            ScenarioError::Read { source, .. } => format!("{error}: {source}"),
            ScenarioError::Unknown { .. }
            | ScenarioError::TooLarge { .. }
            | ScenarioError::Syntax { .. }
            | ScenarioError::Invalid { .. } => error.to_string(),
        };
        Self::new(Exit::Usage, message).advice(
            "`understudy rehearse --list` lists the scenarios; docs/rehearsals.md says what a file holds",
        )
    }
}

impl From<CastError> for Failure {
    fn from(error: CastError) -> Self {
        Self::new(Exit::Usage, error.to_string()).advice("choose another number with --shows, or none")
    }
}

fn list(terminal: &Terminal) -> Outcome {
    let scenarios = scenario::all().map_err(Failure::from)?;
    if terminal.json {
        let json: Vec<_> = scenarios
            .iter()
            .map(|scenario| serde_json::json!({ "name": scenario.name, "about": scenario.about }))
            .collect();
        terminal.print_json(&json)?;
        return Ok(Exit::Done);
    }
    let widest = scenarios.iter().map(|scenario| scenario.name.len()).max();
    let width = widest.unwrap_or_default() + 1;
    for scenario in &scenarios {
        let line = Line::new()
            .push(Tone::Strong, format!("{:<width$} ", scenario.name))
            .push(Tone::Plain, &scenario.about);
        terminal.print(&line.render(terminal))?;
    }
    Ok(Exit::Done)
}

/// Says before the first scenario that the report will have no place; one that is there stays as it is.
async fn writable(path: &Path) -> anyhow::Result<()> {
    let mut options = tokio::fs::OpenOptions::new();
    let opened = options.create(true).append(true).open(path).await;
    opened
        .map(drop)
        .with_context(|| format!("the report cannot be written to {}", path.display()))
}

async fn write(path: &Path, text: String) -> anyhow::Result<()> {
    tokio::fs::write(path, text)
        .await
        .with_context(|| format!("writing the report to {}", path.display()))
}
