//! `understudy rehearse`: scenarios played with a real coordinator against a simulated world, or on a real pool's spares.
//!
//! What is played and how it is judged is [`crate::rehearsal`]'s; here are its arguments and how its report looks: the
//! [`table`], the page ([`html`]), the build server's file ([`junit`]). A scenario that kills the coordinator gets one in a
//! [`process`] of its own, which is asked as any client would ([`remote`]), as is the one that a [`live`] rehearsal is for.
//! The [`player`] starts all this from the API. With a seed and no scenario it is the simulation that is run ([`simulate`]).

mod args;
mod files;
mod html;
mod junit;
mod live;
mod paragraph;
pub mod player;
mod process;
mod progress;
mod remote;
#[cfg(test)]
mod sample;
mod simulate;
mod table;

use std::time::Instant;

use anyhow::Context as _;

pub use self::args::RehearseArgs;
use self::files::Files;
use self::progress::{Lines, Progress};
use super::failure::{Exit, Failure, Outcome};
use super::input;
use super::logging;
use super::signals::Signals;
use super::style::Tone;
use super::terminal::Terminal;
use crate::config::Log;
use crate::domain::time::millis;
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
    let files = Files::check(&args)?;
    // What the coordinator has to say about the failures it is given would bury the table.
    let log = Log {
        filter: std::env::var("RUST_LOG").unwrap_or_else(|_| "off".to_owned()),
        ..Log::default()
    };
    logging::install(&log, terminal)?;
    // From here on a signal ends it in order: nothing that was started or given is left behind.
    let signals = Signals::listen()?;
    let began_at = jiff::Timestamp::from_second(jiff::Timestamp::now().as_second())?;
    let report = Report::begun(began_at, cast.seed, args.live.pool()?);
    let run = Run {
        args: &args,
        scenarios: &scenarios,
        cast,
        files: &files,
    };
    let (report, ended) = if args.progress {
        run.rehearse(report, terminal, signals, &Lines).await
    } else {
        let progress = Progress::new(scenarios.len(), terminal);
        let played = run.rehearse(report, terminal, signals, &progress).await;
        progress.end();
        played
    };
    tell(&report, ended, files, terminal).await
}

/// Tells every verdict that there is, and then why there are no more.
async fn tell(report: &Report, ended: anyhow::Result<()>, files: Files, terminal: &Terminal) -> Outcome {
    if report.scenarios.is_empty() {
        ended?;
        return Ok(Exit::Done);
    }
    // Told first: that a report cannot be written must not lose it.
    if terminal.json {
        terminal.print_json(report)?;
    } else {
        table::tell(report, terminal)?;
    }
    files.write(report).await?;
    match ended {
        // Standard output has one object, which says it already.
        Err(error) if terminal.json => Ok(Failure::from(error).exit),
        Err(error) => Err(error),
        Ok(()) if report.passed() => Ok(Exit::Done),
        Ok(()) => Ok(Exit::Failed),
    }
}

/// What is played, and where the report goes.
struct Run<'r> {
    args: &'r RehearseArgs,
    scenarios: &'r [Scenario],
    cast: Cast,
    files: &'r Files,
}

impl Run<'_> {
    /// Plays them one after the other, until somebody ends it. Returns the verdicts that there are, and why there are no more.
    async fn rehearse(
        &self,
        mut report: Report,
        terminal: &Terminal,
        mut signals: Signals,
        audience: &dyn Audience,
    ) -> (Report, anyhow::Result<()>) {
        let began = Instant::now();
        let told_to_end = async {
            tokio::select! {
                biased;
                () = signals.told() => {}
                () = input::ends(), if self.args.progress => {}
            }
        };
        let played = &mut report.scenarios;
        let ended = match self.scenarios.first().filter(|_| self.args.live.live) {
            // It ends by itself when told to: there is something to give back.
            Some(scenario) => {
                let (live, seed) = (&self.args.live, self.cast.seed);
                let begins = || self.files.begin();
                live::play(live, scenario, seed, terminal, audience, begins, told_to_end)
                    .await
                    .map(|verdict| played.push(verdict))
            }
            None => tokio::select! {
                biased;
                ended = self.all(audience, played) => ended,
                () = told_to_end => {
                    Err(Failure::new(Exit::Failed, "the rehearsal was ended before its verdict").into())
                }
            },
        };
        report.took_ms = millis(began.elapsed());
        if let Err(error) = &ended {
            let unplayed = self.scenarios.iter().skip(report.scenarios.len());
            report.unplayed = unplayed.map(|scenario| scenario.name.clone()).collect();
            report.error = Some(format!("{error:#}"));
        }
        (report, ended)
    }

    async fn all(&self, audience: &dyn Audience, played: &mut Vec<ScenarioReport>) -> anyhow::Result<()> {
        self.files.begin()?;
        for scenario in self.scenarios {
            let verdict = play(scenario, self.cast, audience).await;
            let verdict =
                verdict.with_context(|| format!("scenario {} could not be set up", scenario.name))?;
            played.push(verdict);
        }
        Ok(())
    }
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
        let name = format!("{:<width$} ", scenario.name);
        let line = paragraph::render((&name, Tone::Strong), (&scenario.about, Tone::Plain), terminal);
        terminal.print(&line)?;
    }
    Ok(Exit::Done)
}
