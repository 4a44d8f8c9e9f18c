//! `understudy rehearse --seed S`: the deterministic simulation, one seed or one after the other.

use std::thread::available_parallelism;
use std::time::Duration;

use anyhow::Context as _;
use clap::value_parser;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::cli::failure::{self as cli, Exit, Outcome};
use crate::cli::signals::Signals;
use crate::cli::span;
use crate::cli::terminal::Terminal;
use crate::rehearsal::simulation::report::{Failure, command};
use crate::rehearsal::simulation::soak::{Progress, Tally, Until, soak};
use crate::rehearsal::simulation::{self, Plan, Run, Size};

/// Between two lines that say how far it is.
const TOLD_EVERY: Duration = Duration::from_secs(10);
/// What a machine can simulate in hours.
const SIZE_MAX: i64 = 1_000;
const TROUBLES_MAX: i64 = 100_000;
/// Lines of the log that are shown of a run in which nothing went wrong.
const LAST_LINES: usize = 20;

/// What is simulated, and how much of it.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Simulation in virtual time, with --seed and without --scenario")]
pub struct SimulateArgs {
    /// VMs that are ready at the start
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(0..=SIZE_MAX), default_value_t = Size::default().warm, requires = "seed", conflicts_with = "scenario")]
    warm: u32,
    /// VMs that are off at the start
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(0..=SIZE_MAX), default_value_t = Size::default().cold, requires = "seed", conflicts_with = "scenario")]
    cold: u32,
    /// Faults, deaths and orders
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(0..=TROUBLES_MAX), default_value_t = Size::default().troubles, requires = "seed", conflicts_with = "scenario")]
    troubles: u32,
    /// Of all that would happen only these, by their numbers
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',', requires = "seed", conflicts_with_all = ["scenario", "soak"])]
    only: Vec<usize>,
    /// Seed after seed for so long, on every core
    #[arg(long, value_name = "TIME", value_parser = span::parse_positive, requires = "seed", conflicts_with = "scenario")]
    soak: Option<Duration>,
    /// Show everything that happened
    #[arg(long, requires = "seed", conflicts_with_all = ["scenario", "soak"])]
    log: bool,
}

/// Simulates a seed and says what was seen; with `--soak`, that one and those after it. Fails if a rule was broken.
///
/// # Errors
/// When a stage cannot be set.
pub async fn run(seed: u64, shows: Option<u32>, args: &SimulateArgs, terminal: &Terminal) -> Outcome {
    let size = Size {
        warm: args.warm,
        cold: args.cold,
        shows: shows.unwrap_or(Size::default().shows),
        troubles: args.troubles,
    };
    if let Some(span) = args.soak {
        return long(seed, size, span, terminal).await;
    }
    let plan = part(Plan::of(seed, size), &args.only)?;
    // It has a runtime of its own, whose time is not this one's.
    let played = tokio::task::spawn_blocking(move || (simulation::run(&plan), plan));
    let (run, plan) = played.await.context("the simulation")?;
    let run = run?;
    tell(&plan, &run, args.log, terminal)?;
    Ok(if run.violations.is_empty() {
        Exit::Done
    } else {
        Exit::Failed
    })
}

/// The events that were asked for; without any, the whole plan.
fn part(whole: Plan, only: &[usize]) -> Result<Plan, cli::Failure> {
    if only.is_empty() {
        return Ok(whole);
    }
    let numbers = whole.numbers();
    if let Some(unknown) = only.iter().find(|number| !numbers.contains(number)) {
        let seed = whole.seed;
        let message = format!("nothing in the plan of seed {seed} has the number {unknown}");
        let most = numbers.iter().max().copied().unwrap_or_default();
        return Err(cli::Failure::new(Exit::Usage, message).advice(format!(
            "with these --shows, --warm, --cold and --troubles they go up to {most}; --log shows them"
        )));
    }
    Ok(whole.only(only))
}

fn tell(plan: &Plan, run: &Run, whole_log: bool, terminal: &Terminal) -> anyhow::Result<()> {
    if terminal.json {
        terminal.print_json(&json!({
            "seed": plan.seed,
            "command": command(plan),
            "virtualMs": run.virtual_ms,
            "counts": run.counts,
            "violations": run.violations.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "log": run.log.lines().collect::<Vec<_>>(),
        }))?;
        return Ok(());
    }
    if whole_log {
        terminal.print(run.log.trim_end())?;
    } else if run.violations.is_empty() {
        let lines: Vec<&str> = run.log.lines().collect();
        terminal.print(&lines[lines.len().saturating_sub(LAST_LINES)..].join("\n"))?;
    } else {
        let failure = Failure {
            plan: plan.clone(),
            run: run.clone(),
        };
        terminal.print(failure.to_string().trim_end())?;
    }
    let counts: Vec<String> = run
        .counts
        .iter()
        .map(|(what, count)| format!("{count} {what}"))
        .collect();
    terminal.print(&format!("\n\n{}\n{}\n", counts.join(", "), verdict(run)))?;
    Ok(())
}

fn verdict(run: &Run) -> String {
    let minutes = Duration::from_millis(run.virtual_ms).as_secs_f64() / 60.0;
    match run.violations.len() {
        0 => format!("{minutes:.1} virtual minutes, and every rule held"),
        count => format!("{minutes:.1} virtual minutes, {count} violations"),
    }
}

async fn long(seed: u64, size: Size, span: Duration, terminal: &Terminal) -> Outcome {
    let until = Until {
        seeds: u64::MAX,
        span,
    };
    let threads = available_parallelism().map_or(1, std::num::NonZero::get);
    let progress = Progress::default();
    let shared = progress.clone();
    let mut soaked = tokio::task::spawn_blocking(move || soak(seed, size, threads, until, &shared));
    let tally = watch(&mut soaked, &progress, terminal).await?;
    if terminal.json {
        let failures: Vec<Value> = tally
            .failures
            .iter()
            .map(|(seed, told)| json!({ "seed": seed, "told": told }))
            .collect();
        terminal.print_json(&json!({
            "seeds": tally.seeds,
            "virtualMs": tally.virtual_ms,
            "counts": tally.counts,
            "failures": failures,
        }))?;
    } else {
        for (seed, told) in &tally.failures {
            terminal.print(&format!("seed {seed}: {}\n", told.trim_end()))?;
        }
        terminal.print(&tally.to_string())?;
    }
    Ok(if tally.failures.is_empty() {
        Exit::Done
    } else {
        Exit::Failed
    })
}

/// Says now and then how far it is, and soon which seeds break what, which must not be lost with the rest. A signal ends it with
/// the seeds under way; the next one does not wait for them.
async fn watch(
    soaked: &mut JoinHandle<Tally>,
    progress: &Progress,
    terminal: &Terminal,
) -> anyhow::Result<Tally> {
    let mut signals = Signals::listen()?;
    terminal.note("Plays one seed after the other; Ctrl-C ends it with what there is by then");
    let mut ticks = tokio::time::interval(TOLD_EVERY);
    ticks.tick().await;
    let mut ends = false;
    loop {
        tokio::select! {
            tally = &mut *soaked => return tally.context("the soak"),
            () = signals.told() => {
                anyhow::ensure!(!ends, "ended before the seeds under way did");
                ends = true;
                progress.end();
                terminal.note("Ends with the seeds under way; once more to end at once");
            }
            _ = ticks.tick() => {
                for (seed, told) in progress.newly_broken() {
                    let what = told.lines().next().unwrap_or_default();
                    terminal.note(&format!("seed {seed}: {what}"));
                }
                terminal.note(&progress.to_string());
            }
        }
    }
}
