//! The log, on standard error: for people, or one JSON object a line. Panics go into it, too.

use std::env;
use std::io::{self, IsTerminal};
use std::panic::{self, PanicHookInfo};
use std::thread;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};

use super::terminal::Terminal;
use crate::config::{Log, LogFormat};

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("log.filter cannot be used")]
    Filter(#[from] ParseError),
    #[error("a log has been installed already")]
    Installed(#[from] TryInitError),
}

/// Installs the log for the whole process. `--json` makes its lines JSON, whatever the configuration says.
///
/// # Errors
/// [`Error`]; a filter that passed the configuration's check is never refused.
pub fn install(log: &Log, terminal: &Terminal) -> Result<(), Error> {
    let filter = EnvFilter::try_new(&log.filter)?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr);
    let json = match log.format {
        LogFormat::Json => true,
        LogFormat::Human => terminal.json,
    };
    if json {
        builder.json().flatten_event(true).finish().try_init()?;
    } else {
        // As for standard output, colours are for terminals.
        let color = terminal.color_on_stderr && io::stderr().is_terminal();
        builder.with_ansi(color).finish().try_init()?;
    }
    panic::set_hook(Box::new(log_panic));
    Ok(())
}

/// A panic as a log line. Supervised actors are caught and restarted, so the process goes on.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let payload = panic.payload();
    let message = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(not a text)");
    let location = panic.location().map(ToString::to_string);
    let backtrace = env::var_os("RUST_BACKTRACE")
        .is_some_and(|wanted| wanted != "0")
        .then(|| std::backtrace::Backtrace::force_capture().to_string());
    tracing::error!(
        panic = message,
        location,
        thread = thread::current().name(),
        backtrace,
        "a panic: this is a defect"
    );
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex, PoisonError};

    use super::*;

    /// Keeps what is written.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_panic_is_one_log_line_with_its_place() {
        let kept = Kept::default();
        let writer = kept.clone();
        let subscriber = tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_writer(move || writer.clone())
            .finish();
        let before = panic::take_hook();
        panic::set_hook(Box::new(log_panic));
        let caught = tracing::subscriber::with_default(subscriber, || {
            panic::catch_unwind(|| panic!("it {}", "burns"))
        });
        panic::set_hook(before);
        assert!(caught.is_err());
        let bytes = kept.0.lock().unwrap().clone();
        let line: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(line["panic"], "it burns");
        assert_eq!(line["level"], "ERROR");
        assert!(
            line["location"].as_str().unwrap().contains("logging.rs"),
            "{line}"
        );
    }
}
