//! What `understudy rehearse` can be told.

use std::path::PathBuf;

use super::live::LiveArgs;
use super::simulate::SimulateArgs;

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
    #[arg(long)]
    pub list: bool,
    #[command(flatten)]
    pub live: LiveArgs,
    #[command(flatten)]
    pub simulate: SimulateArgs,
}
