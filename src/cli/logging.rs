//! The log, on standard error: for people, or one JSON object a line. Panics go into it, too.
//!
//! It is not trusted with secrets. Ours print as `(secret)`; but libraries that speak a protocol can be asked to
//! log what they send and receive, and stream keys, tokens and credentials are in there. So what a library may
//! say has a limit ([`most`]) that no filter lifts, whoever sets it.

use std::env;
use std::io::{self, IsTerminal};
use std::panic::{self, PanicHookInfo};
use std::thread;

use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::{EnvFilter, FilterExt as _, ParseError, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use tracing_subscriber::{Layer, Registry, fmt, registry};

use super::terminal::Terminal;
use crate::config::{Log, LogFormat, Otlp};

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("log.filter cannot be used")]
    Filter(#[from] ParseError),
    #[error("a log has been installed already")]
    Installed(#[from] TryInitError),
    #[error("{}", crate::assembly::inspect::WITHOUT_OTLP)]
    #[cfg(not(feature = "otlp"))]
    WithoutOtlp,
    #[cfg(feature = "otlp")]
    #[error(transparent)]
    Otlp(#[from] super::otlp::Error),
}

/// What is kept for as long as there is something to log. Dropping it sends the last traces, if any are sent at all.
#[must_use = "dropping it ends the traces"]
pub struct Installed {
    #[cfg(feature = "otlp")]
    _traces: Option<super::otlp::Traces>,
}

/// Passes spans on to wherever traces go.
type TraceLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// Installs the log for the whole process. `--json` makes its lines JSON, whatever the configuration says.
///
/// # Errors
/// [`Error`]; a filter that passed the configuration's check is never refused.
pub fn install(log: &Log, terminal: &Terminal) -> Result<(), Error> {
    install_beside(log, terminal, None)
}

/// The same, and traces beside it if there is a collector for them.
///
/// # Errors
/// [`Error`].
pub fn install_with_traces(log: &Log, otlp: &Otlp, terminal: &Terminal) -> Result<Installed, Error> {
    let (installed, traces) = tracing_to(otlp)?;
    install_beside(log, terminal, traces)?;
    Ok(installed)
}

fn install_beside(log: &Log, terminal: &Terminal, traces: Option<TraceLayer>) -> Result<(), Error> {
    let format = match (log.format, terminal.json) {
        (LogFormat::Json, _) | (LogFormat::Human, true) => LogFormat::Json,
        (LogFormat::Human, false) => LogFormat::Human,
    };
    // As for standard output, colours are for terminals.
    let color = terminal.color_on_stderr && io::stderr().is_terminal();
    subscriber(&log.filter, format, color, io::stderr, traces)?.try_init()?;
    panic::set_hook(Box::new(log_panic));
    Ok(())
}

#[cfg(feature = "otlp")]
fn tracing_to(otlp: &Otlp) -> Result<(Installed, Option<TraceLayer>), Error> {
    let traces = match &otlp.endpoint {
        Some(endpoint) => Some(super::otlp::Traces::to(endpoint, otlp)?),
        None => None,
    };
    let layer = traces.as_ref().map(|traces| {
        let layer = tracing_opentelemetry::layer()
            .with_tracer(traces.tracer())
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false);
        // Every step, whatever the log is told to say; and nothing of libraries, for the same reason as there.
        let ours = filter_fn(|metadata| {
            metadata.target().starts_with("understudy") && *metadata.level() <= LevelFilter::DEBUG
        });
        layer.with_filter(ours).boxed()
    });
    Ok((Installed { _traces: traces }, layer))
}

#[cfg(not(feature = "otlp"))]
fn tracing_to(otlp: &Otlp) -> Result<(Installed, Option<TraceLayer>), Error> {
    match &otlp.endpoint {
        Some(_) => Err(Error::WithoutOtlp),
        None => Ok((Installed {}, None)),
    }
}

/// The log, and beside it the traces if there are any, each with what passes its own filter.
fn subscriber<W>(
    filter: &str,
    format: LogFormat,
    color: bool,
    writer: W,
    traces: Option<TraceLayer>,
) -> Result<Box<dyn Subscriber + Send + Sync>, ParseError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let wanted = EnvFilter::try_new(filter)?;
    // A filter of its own and not a directive: a directive for a module or a span would go before it.
    let bounded = filter_fn(is_bounded as fn(&Metadata<'_>) -> bool);
    Ok(match traces {
        // One filter for all is the quickest.
        None => Box::new(
            registry()
                .with(wanted)
                .with(bounded)
                .with(lines(format, color, writer)),
        ),
        Some(traces) => Box::new(
            registry()
                .with(traces)
                .with(lines(format, color, writer).with_filter(wanted.and(bounded))),
        ),
    })
}

fn lines<S, W>(format: LogFormat, color: bool, writer: W) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let layer = fmt::layer().with_writer(writer);
    match format {
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
        LogFormat::Human => layer.with_ansi(color).boxed(),
    }
}

fn is_bounded(metadata: &Metadata<'_>) -> bool {
    let (target, level) = (metadata.target(), *metadata.level());
    // That its queue is full is told as a warning, once; what it cannot send, each time: ours says it once.
    if target.starts_with("opentelemetry") {
        return level == Level::WARN && !metadata.name().starts_with("Export.Failed");
    }
    level <= most(target)
}

/// The most that this target may say, whatever the filter asks for.
fn most(target: &str) -> LevelFilter {
    match target.split("::").next().unwrap_or_default() {
        "understudy" => LevelFilter::TRACE,
        // Whole OBS messages, stream keys among them.
        "obws" => LevelFilter::INFO,
        // Whole WebSocket frames; the tokens of Socket.IO clients are in the first ones.
        "tungstenite" | "tokio_tungstenite" | "engineioxide" | "socketioxide" => LevelFilter::INFO,
        // Messages it did not expect, and what an agent is asked to sign.
        "russh" => LevelFilter::INFO,
        // Requests with their headers, and whole answers when something is wrong with them.
        library if library.starts_with("aws_sigv4") || library.starts_with("aws_smithy") => LevelFilter::INFO,
        // Where other libraries write down bytes, they do it below this.
        _ => LevelFilter::DEBUG,
    }
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
    use crate::config;

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

    impl Kept {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    /// Everything, by crate, by module, and by what it happens in.
    const LOUDEST: &str = "trace,obws=trace,obws::client=trace,tungstenite::protocol=trace,russh=trace,\
                           aws_smithy_runtime=trace,[{vm}]=trace,[outer]=trace";

    #[test]
    fn no_filter_makes_a_library_say_what_goes_over_its_wire() {
        for format in [LogFormat::Human, LogFormat::Json] {
            let kept = Kept::default();
            let writer = kept.clone();
            let subscriber = subscriber(LOUDEST, format, false, move || writer.clone(), None).unwrap();
            tracing::subscriber::with_default(subscriber, || {
                let _outer = tracing::error_span!("outer", vm = 1).entered();
                tracing::trace!(target: "obws::client", json = "hush", "sending message");
                tracing::debug!(target: "obws", "hush");
                tracing::trace!(target: "tungstenite::protocol::frame", "hush");
                tracing::debug!(target: "russh::client", "hush");
                tracing::debug!(target: "aws_smithy_runtime::client::orchestrator", "hush");
                tracing::trace!(target: "aws_sigv4::http_request::sign", "hush");
                tracing::trace!(target: "somebody::new", "hush");

                tracing::info!(target: "obws::client", "obws closed");
                tracing::warn!(target: "russh", "russh warned");
                tracing::debug!(target: "aws_config::meta", "chain asked");
                tracing::trace!(target: "understudy::infra::obs", "ours said");
            });
            let text = kept.text();
            assert!(!text.contains("hush"), "{text}");
            for told in ["obws closed", "russh warned", "chain asked", "ours said"] {
                assert!(text.contains(told), "{told}: {text}");
            }
        }
    }

    #[test]
    fn the_filter_still_decides_below_that_limit() {
        let kept = Kept::default();
        let writer = kept.clone();
        let filter = config::Log::default().filter;
        let subscriber = subscriber(&filter, LogFormat::Human, false, move || writer.clone(), None).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(target: "understudy::api", "kept");
            tracing::debug!(target: "understudy::api", "dropped");
            tracing::info!(target: "russh::client", "dropped");
        });
        let text = kept.text();
        assert!(text.contains("kept") && !text.contains("dropped"), "{text}");
    }

    #[test]
    fn a_panic_is_one_log_line_with_its_place() {
        let kept = Kept::default();
        let writer = kept.clone();
        let subscriber = subscriber("info", LogFormat::Json, false, move || writer.clone(), None).unwrap();
        let before = panic::take_hook();
        panic::set_hook(Box::new(log_panic));
        let caught = tracing::subscriber::with_default(subscriber, || {
            panic::catch_unwind(|| panic!("it {}", "burns"))
        });
        panic::set_hook(before);
        assert!(caught.is_err());
        let line: serde_json::Value = serde_json::from_str(&kept.text()).unwrap();
        assert_eq!(line["panic"], "it burns");
        assert_eq!(line["level"], "ERROR");
        assert!(
            line["location"].as_str().unwrap().contains("logging.rs"),
            "{line}"
        );
    }
}
