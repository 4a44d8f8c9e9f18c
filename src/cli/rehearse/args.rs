//! What `understudy rehearse` can be told.

use std::path::PathBuf;

use super::live::LiveArgs;
use super::simulate::SimulateArgs;
use crate::cli::failure::{Exit, Failure};

/// Options of `understudy rehearse`.
#[derive(Debug, Clone, clap::Args)]
pub struct RehearseArgs {
    /// A built-in scenario, a file (with a / in it, or ending in .toml), or all the built-in ones [default: all]
    #[arg(long, value_name = "NAME|FILE")]
    pub scenario: Option<String>,
    /// So many shows on air at the same time, where the scenario does not name them [default: the scenario's own number]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100), conflicts_with = "live")]
    pub shows: Option<u32>,
    /// Drives every choice: the same seed, the same moments [default: 1]. Without --scenario: simulate this seed
    #[arg(long, value_name = "S")]
    pub seed: Option<u64>,
    /// Write what happened to this file, as JSON
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Write it as JUnit XML, for a build server
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// Write it as one HTML page with the timelines drawn
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Tell what happens as lines of JSON on standard error, and end when standard input does: for who starts this from a
    /// program
    #[arg(long)]
    pub progress: bool,
    /// Only list the scenarios
    #[arg(long, conflicts_with_all = ["scenario", "shows", "seed", "report", "junit", "html", "progress", "live"])]
    pub list: bool,
    #[command(flatten)]
    pub live: LiveArgs,
    #[command(flatten)]
    pub simulate: SimulateArgs,
}

impl RehearseArgs {
    /// The seed to simulate, if that is what was asked for.
    pub(super) fn simulated(&self) -> Option<u64> {
        self.seed.filter(|_| self.scenario.is_none())
    }

    /// Refuses what would be ignored, where the parser cannot know that it would.
    ///
    /// # Errors
    /// [`Exit::Usage`].
    pub(super) fn check(&self) -> Result<(), Failure> {
        let of_scenarios = [
            ("--report", self.report.is_some()),
            ("--junit", self.junit.is_some()),
            ("--html", self.html.is_some()),
            ("--progress", self.progress),
        ];
        if let (Some(seed), Some(option)) = (self.simulated(), given(&of_scenarios)) {
            let message = format!("--seed {seed} without --scenario is a simulation, which has no {option}");
            return Err(Failure::new(Exit::Usage, message).advice(format!(
                "add --scenario NAME or --scenario all to rehearse with this seed, or leave {option} out"
            )));
        }
        // The address and the token may stand in the environment, for other commands.
        let of_live = [
            ("--timeout", self.live.connection.timeout.is_some()),
            ("--verbose", self.live.connection.verbose),
        ];
        if let (false, Some(option)) = (self.live.live, given(&of_live)) {
            let message = format!("{option} is for the server that --live rehearses with");
            return Err(Failure::new(Exit::Usage, message).advice(format!(
                "add --live to rehearse on a real pool, or leave {option} out"
            )));
        }
        Ok(())
    }
}

fn given(options: &[(&'static str, bool)]) -> Option<&'static str> {
    options
        .iter()
        .find(|(_, given)| *given)
        .map(|(option, _)| *option)
}
