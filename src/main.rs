//! The binary: reads the command line, runs it, and maps how it ended to an exit status.

use std::process::ExitCode;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use understudy::cli::{self, Command, Failure};
use understudy::rehearsal::scratch;

/// Limit on what is left to do when the command has ended: nothing that matters is.
const WIND_DOWN_LIMIT: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let (command, terminal) = match cli::parse(std::env::args_os().collect()) {
        Ok(parsed) => parsed,
        Err(exit) => return exit.into(),
    };
    let outcome = runtime(&command)
        .map_err(anyhow::Error::from)
        .and_then(|runtime| {
            let outcome = runtime.block_on(cli::run(command, &terminal));
            runtime.shutdown_timeout(WIND_DOWN_LIMIT);
            scratch::sweep();
            outcome
        });
    let exit = outcome.unwrap_or_else(|error| {
        let failure = Failure::from(error);
        terminal.report(&failure);
        failure.exit
    });
    exit.into()
}

/// A coordinator uses every core, a question one thread.
fn runtime(command: &Command) -> std::io::Result<Runtime> {
    let mut builder = if command.is_coordinator() {
        Builder::new_multi_thread()
    } else {
        Builder::new_current_thread()
    };
    builder.enable_all().build()
}
