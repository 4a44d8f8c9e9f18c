//! The command line: `understudy serve` and its likes run a coordinator, everything else asks one that runs.
//!
//! One file per subcommand. What they share: [`client`] (HTTP, deadlines), [`advice`] (what to do about a
//! refusal), [`failure`] (exit statuses), [`terminal`], [`style`] and [`table`] (how things look), [`screen`]
//! (in place). Answers go to standard output, everything said about them to standard error.
//!
//! It has no state and decides nothing: whatever it does to a pool, the server does.

mod advice;
pub mod answers;
mod archiving;
mod check_config;
pub mod client;
mod completions;
pub mod connection;
pub mod demo;
mod doctor;
pub mod failovers;
pub mod failure;
mod files;
pub mod gateway;
mod input;
mod lines;
pub mod logging;
#[cfg(feature = "otlp")]
mod otlp;
pub mod rehearse;
pub mod screen;
pub mod serve;
mod settings;
mod show;
mod signals;
pub mod span;
pub mod status;
pub mod story;
pub mod style;
pub mod table;
pub mod terminal;
mod vm;
mod work;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};

pub use failure::{Exit, Failure, Outcome};
pub use terminal::Terminal;

use crate::config::{self, Config, Loaded};
use terminal::When;

/// The variable that overrides `server.listen`, and so what `--listen` stands for.
const LISTEN_VARIABLE: &str = "UNDERSTUDY__SERVER__LISTEN";

const EXAMPLES: &str = "\
Examples:
  understudy demo                      see a show survive its machine
  understudy serve --config FILE       run a coordinator
  understudy status --watch            follow the pool
  understudy assign finals --wait      give the show \"finals\" a VM, wait for it

Commands that ask a server find it at UNDERSTUDY_URL, by default on this
machine, and show it the token in UNDERSTUDY_TOKEN.";

const EXIT_STATUSES: &str = "\
Exit status:
  0  done
  1  tried and failed, or what was looked at is not as it should be
  2  the command line, the configuration or the request is not valid
  3  no answer: the server is unreachable, too slow, or no understudy
  4  the server wants a token, or another one
  5  there is no such VM, or the show has none
  6  something is in the way, such as a VM that is taken
  7  the server cannot do it now; later it may

With --json, standard output has the result, or an object with \"error\",
\"exitCode\" and, where there is some, \"advice\", \"code\", \"httpStatus\" and
what else the server said.";

/// Keeps live shows on air: a pool of streaming VMs, one per show, and another in its place within seconds
/// when it fails
#[derive(Debug, Parser)]
#[command(
    name = "understudy",
    version,
    after_help = EXAMPLES,
    after_long_help = format!("{EXAMPLES}\n\n{EXIT_STATUSES}"),
    max_term_width = 110,
    arg_required_else_help = true,
    subcommand_required = true,
    disable_help_subcommand = true
)]
pub struct Cli {
    /// Answer in JSON, errors included; logs are JSON lines, too
    #[arg(long, global = true, display_order = 900)]
    pub json: bool,
    /// When to use colours; auto is on a terminal, unless NO_COLOR is set
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        hide_possible_values = true,
        hide_default_value = true,
        display_order = 901
    )]
    pub color: When,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a coordinator
    Serve(ServeArgs),
    /// See it work: a simulated pool, two shows on air, and the studio of one breaks
    Demo(DemoArgs),
    /// Find out what happens to shows: faults on simulated pools, or on the spare VMs of a real one
    Rehearse(rehearse::RehearseArgs),
    /// The pool and its shows, once or live
    Status(status::StatusArgs),
    /// Give a show a VM
    Assign(show::AssignArgs),
    /// Give a show's VM back; this ends its stream
    Release(show::ReleaseArgs),
    /// Put a show on air or take it off
    #[command(subcommand, arg_required_else_help = true)]
    Show(show::ShowCommand),
    /// Move a show to another VM now
    Failover(show::FailoverArgs),
    /// Every move of a show, with what each step took
    Failovers(show::ShowArgs),
    /// Leave a show where it is, even if its VM fails
    Hold(show::HoldArgs),
    /// Let a held show be moved again
    Resume(show::ShowArgs),
    /// Look at VMs and work on them
    #[command(subcommand, arg_required_else_help = true)]
    Vm(vm::VmCommand),
    /// The pool's settings on a running server
    #[command(subcommand, arg_required_else_help = true)]
    Config(settings::ConfigCommand),
    /// Check a configuration and show every key, its value and where that comes from
    CheckConfig(check_config::CheckConfigArgs),
    /// Look at an installation from the coordinator's machine, and say what to mend; changes nothing
    Doctor(doctor::DoctorArgs),
    /// Print what a shell needs to complete these commands
    Completions(completions::CompletionsArgs),
}

/// Options of `understudy serve`.
#[derive(Debug, Clone, clap::Args)]
pub struct ServeArgs {
    /// The configuration file; without one, the defaults and the environment
    #[arg(long, short, value_name = "FILE", env = "UNDERSTUDY_CONFIG")]
    pub config: Option<PathBuf>,
    /// Listen here, whatever the configuration says
    #[arg(long, value_name = "ADDR:PORT")]
    pub listen: Option<SocketAddr>,
    /// End when standard input does: for who starts this from a program, and must not leave it behind
    #[arg(long)]
    pub attended: bool,
}

/// Options of `understudy demo`.
#[derive(Debug, Clone, clap::Args)]
pub struct DemoArgs {
    /// End after this long; else it stays up until Ctrl-C
    #[arg(long = "for", value_name = "TIME", value_parser = span::parse_positive)]
    pub run_for: Option<Duration>,
    /// Port for the browser and the other commands, on loopback
    #[arg(long, default_value_t = 3003)]
    pub port: u16,
    /// Say less: once no pictures, twice nothing but how the move ended
    #[arg(long, short, action = clap::ArgAction::Count)]
    pub quiet: u8,
}

impl Command {
    /// Whether it runs a coordinator, and so needs every core.
    #[must_use]
    pub fn is_coordinator(&self) -> bool {
        match self {
            Self::Serve(_) | Self::Demo(_) | Self::Rehearse(_) => true,
            Self::Status(_)
            | Self::Assign(_)
            | Self::Release(_)
            | Self::Show(_)
            | Self::Failover(_)
            | Self::Failovers(_)
            | Self::Hold(_)
            | Self::Resume(_)
            | Self::Vm(_)
            | Self::Config(_)
            | Self::CheckConfig(_)
            | Self::Doctor(_)
            | Self::Completions(_) => false,
        }
    }
}

/// Reads the command line. Help, version and mistakes are told here; what is left to do then is to exit.
///
/// # Errors
/// How to exit.
pub fn parse(arguments: Vec<OsString>) -> Result<(Command, Terminal), Exit> {
    let json = arguments
        .iter()
        .take_while(|argument| *argument != "--")
        .any(|argument| argument == "--json");
    match Cli::try_parse_from(arguments) {
        Ok(cli) => Ok((cli.command, Terminal::detect(cli.json, cli.color))),
        Err(error) => Err(tell(&error, json)),
    }
}

/// Tells what clap found, on the stream where it belongs.
fn tell(error: &clap::Error, json: bool) -> Exit {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // A reader that went away has seen enough.
            let _ = error.print();
            Exit::Done
        }
        _ if json => {
            let text = error.render().to_string();
            let text = text.trim().trim_start_matches("error: ");
            Terminal::detect(true, When::Never).report(&Failure::new(Exit::Usage, text));
            Exit::Usage
        }
        _ => {
            let _ = error.print();
            Exit::Usage
        }
    }
}

/// Does what the command line says.
///
/// # Errors
/// Whatever went wrong; [`Failure::from`] makes it fit to be told.
pub async fn run(command: Command, terminal: &Terminal) -> Outcome {
    match command {
        Command::Serve(args) => start(&args, terminal).await,
        Command::Demo(args) => demo::run(args, terminal).await,
        Command::Rehearse(args) => rehearse::run(args, terminal).await,
        Command::Status(args) => status::run(args, terminal).await,
        Command::Assign(args) => show::assign(args, terminal).await,
        Command::Release(args) => show::release(args, terminal).await,
        Command::Show(command) => show::run(command, terminal).await,
        Command::Failover(args) => show::failover(args, terminal).await,
        Command::Failovers(args) => failovers::run(args, terminal).await,
        Command::Hold(args) => show::hold(args, terminal).await,
        Command::Resume(args) => show::resume(args, terminal).await,
        Command::Vm(command) => vm::run(command, terminal).await,
        Command::Config(command) => settings::run(command, terminal).await,
        Command::CheckConfig(args) => check_config::run(&args, terminal),
        Command::Doctor(args) => doctor::run(&args, terminal).await,
        Command::Completions(args) => completions::run(&args, terminal),
    }
}

/// Reads the configuration, installs the log, and serves.
async fn start(args: &ServeArgs, terminal: &Terminal) -> Outcome {
    let loaded = args.load()?;
    let _installed = logging::install_with_traces(&loaded.config.log, &loaded.config.otlp, terminal)?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    serve::run(&loaded.config, args.attended).await?;
    Ok(Exit::Done)
}

impl ServeArgs {
    /// The configuration that is in force: file and environment, and `--listen` over both.
    ///
    /// # Errors
    /// Every mistake in it, as [`Exit::Usage`].
    pub fn load(&self) -> Result<Loaded, Failure> {
        let listen = self
            .listen
            .map(|listen| (LISTEN_VARIABLE.to_owned(), listen.to_string()));
        Config::load(self.config.as_deref(), config::environment().chain(listen)).map_err(|error| {
            let mut failure = Failure::from(error);
            if self.listen.is_some() {
                // Whoever gave the option has not heard of the variable that it stands for.
                let variable = format!("environment {LISTEN_VARIABLE}");
                failure.message = failure.message.replace(&variable, "--listen");
            }
            failure
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn wait_may_stand_alone_or_with_seconds() {
        let wait = |words: &[&str]| {
            let words = ["understudy", "assign", "finals"].iter().chain(words);
            match Cli::try_parse_from(words).unwrap().command {
                Command::Assign(args) => args.wait,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(wait(&[]), None);
        assert_eq!(wait(&["--wait"]), Some(Duration::from_secs(300)));
        assert_eq!(wait(&["--wait", "60"]), Some(Duration::from_secs(60)));
        assert_eq!(wait(&["--wait=2m"]), Some(Duration::from_secs(120)));
    }

    #[test]
    fn ids_that_cannot_be_are_refused_before_anything_is_sent() {
        for words in [
            &["assign", "a/b"][..],
            &["vm", "show", "a.b"],
            &["failover", "finals", "--to", ""],
        ] {
            let words = ["understudy"].iter().chain(words);
            assert!(Cli::try_parse_from(words).is_err());
        }
    }
}
