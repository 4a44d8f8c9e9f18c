//! The coordinator's own side: its server, ledger, pool policy, supervision and log.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, TRANSFER_ENCODING};
use http::{HeaderName, HeaderValue};

use crate::domain::studio::Secret;

use super::reader::{Choice, Reader, Section};
use super::span::{mins, ms, secs};

/// Declares how a section is read: per key its kind, default and range, in the order of the reference.
macro_rules! section {
    ($name:literal => $Section:ident { $($key:ident: $kind:ident($($argument:expr),* $(,)?)),* $(,)? }) => {
        impl $Section {
            pub(super) fn read(section: &mut Section<'_>) -> Self {
                Self { $($key: section.$kind(stringify!($key), $($argument),*)),* }
            }
        }

        impl Default for $Section {
            fn default() -> Self {
                Self::read(&mut Reader::default().section($name))
            }
        }
    };
}
pub(super) use section;

/// Where the server listens unless told otherwise: loopback, so that nothing is exposed by accident, on the
/// port existing clients expect.
pub(super) const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 3003);

/// Shortest admin token, in characters: 16 random characters are beyond guessing over a network.
const ADMIN_TOKEN_CHARS_MIN: usize = 16;

/// HTTP and Socket.IO.
#[derive(Debug, Clone, PartialEq)]
pub struct Server {
    pub listen: SocketAddr,
    /// Defaults to [`Auth::Open`] on loopback, else to [`Auth::Required`].
    pub auth: Auth,
    pub admin_token: Option<Secret>,
    /// File the admin token was or would be read from.
    pub admin_token_file: Option<PathBuf>,
    /// Origins browsers may call from; `*` is any. Defaults to `*`, in [`Auth::Required`] to none.
    pub cors_origins: Vec<String>,
    /// Largest request body, in bytes.
    pub body_bytes_max: usize,
    pub connections_max: usize,
    /// Socket.IO clients at a time.
    pub sockets_max: usize,
    /// Limit on answering a request that does not ask to wait.
    pub request_timeout: Duration,
    /// Folder of a built web application to serve.
    pub static_dir: Option<PathBuf>,
    /// This coordinator's own public address, for its status answer.
    pub public_ip: Option<IpAddr>,
}

/// Who may call what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Auth {
    /// Everybody, everything. Only while listening on loopback.
    Open,
    /// What existing clients call stays anonymous, the dangerous rest needs the admin token.
    Compat,
    Required,
}

impl Choice for Auth {
    const ALL: &'static [(&'static str, Self)] = &[
        ("open", Self::Open),
        ("compat", Self::Compat),
        ("required", Self::Required),
    ];
}

impl Auth {
    /// As written in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.word()
    }
}

impl Server {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let listen = section.socket("listen", LISTEN);
        let auth_default = if is_loopback(listen) {
            Auth::Open
        } else {
            Auth::Required
        };
        let auth = section.choice("auth", auth_default);
        let (admin_token, admin_token_file) = section.secret(
            "admin_token",
            "COORDINATOR_ADMIN_TOKEN",
            "at least 16 letters, digits or signs without blanks, as it travels in an HTTP header",
            |token| token.len() >= ADMIN_TOKEN_CHARS_MIN && token.bytes().all(|b| b.is_ascii_graphic()),
        );
        let origins_default: &[&str] = match auth {
            Auth::Open | Auth::Compat => &["*"],
            Auth::Required => &[],
        };
        Self {
            listen,
            auth,
            admin_token,
            admin_token_file,
            cors_origins: section.texts(
                "cors_origins",
                origins_default,
                "a list of \"*\" or origins such as \"https://shows.example.org\", without a path",
                is_origin,
            ),
            body_bytes_max: section.whole("body_bytes_max", 102_400, 1024..=16_777_216),
            connections_max: section.whole("connections_max", 4096, 1..=100_000),
            sockets_max: section.whole("sockets_max", 2000, 1..=100_000),
            request_timeout: section.span("request_timeout", secs(30), secs(1)..=mins(10)),
            static_dir: section.path_opt("static_dir"),
            public_ip: section.ip_opt("public_ip"),
        }
    }
}

impl Default for Server {
    fn default() -> Self {
        Self::read(&mut Reader::default().section("server"))
    }
}

/// Whether only this machine can reach `address`.
pub(super) fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

fn is_origin(text: &str) -> bool {
    if text == "*" {
        return true;
    }
    let host = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    host.is_some_and(|host| {
        !host.is_empty()
            && host
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-.:[]".contains(&b))
    })
}

/// The durable journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ledger {
    pub path: PathBuf,
    /// File with the key under which secrets are sealed in the journal; see [`Ledger::secrets_key`].
    pub secrets_key_path: Option<PathBuf>,
    /// Commits that may wait for the writer; the next one is refused.
    pub queue_max: usize,
    /// Commits written with one sync.
    pub batch_max: usize,
    /// Events between two snapshots: bounds replay.
    pub snapshot_every: u64,
    /// Limit on one commit, waiting included.
    pub commit_deadline: Duration,
}

section!("ledger" => Ledger {
    path: path("var/understudy.db"),
    secrets_key_path: path_opt(),
    queue_max: whole(4096, 1..=1_000_000),
    batch_max: whole(512, 1..=65_536),
    snapshot_every: whole(20_000, 100..=10_000_000),
    commit_deadline: span(secs(5), ms(100)..=mins(1)),
});

impl Ledger {
    /// The file with the key for secrets: the configured one, else beside the journal, `.key` in place of its
    /// extension.
    #[must_use]
    pub fn secrets_key(&self) -> PathBuf {
        let beside = || self.path.with_extension("key");
        self.secrets_key_path.clone().unwrap_or_else(beside)
    }
}

/// What is the same for every show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shows {
    /// Folder with templates of one's own, beside the built-in one.
    pub templates_path: Option<PathBuf>,
    /// What becomes of a VM that a show leaves and that is not proven clean.
    pub cleanup: Cleanup,
    /// Limit on cleaning a VM, once it is silent.
    pub cleanup_deadline: Duration,
}

/// What becomes of a VM that is not proven clean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cleanup {
    /// It goes to `error`, and is cleaned again before it is used.
    Strict,
    /// It is available all the same, if it works.
    BestEffort,
}

impl Choice for Cleanup {
    const ALL: &'static [(&'static str, Self)] =
        &[("strict", Self::Strict), ("best-effort", Self::BestEffort)];
}

section!("shows" => Shows {
    templates_path: path_opt(),
    cleanup: choice(Cleanup::Strict),
    cleanup_deadline: span(secs(15), ms(500)..=mins(5)),
});

/// Where recordings are kept when a show gives its VM back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// `None`: nothing is archived.
    pub bucket: Option<String>,
    /// Beginning of every key, without `/` at its ends.
    pub prefix: String,
    /// Of the bucket; `None` is the instances' own.
    pub region: Option<String>,
    /// Another endpoint than the region's own.
    pub endpoint_url: Option<String>,
    /// The bucket's name in the path instead of the host name.
    pub path_style: bool,
    /// As S3 names it.
    pub storage_class: Option<String>,
    /// Bytes that are sent at a time.
    pub part_bytes: u64,
    /// From the release of a show to giving its recordings up.
    pub deadline: Duration,
}

section!("archive" => Archive {
    bucket: text_opt(),
    prefix: text("recordings", prefix),
    region: text_opt(),
    endpoint_url: url_opt(),
    path_style: flag(false),
    storage_class: text_opt(),
    // S3 takes no smaller ones (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>), and each archive
    // holds two of them in memory.
    part_bytes: whole(8 << 20, 5 << 20..=64 << 20),
    deadline: span(mins(30), secs(5)..=mins(1440)),
});

fn prefix(text: &str) -> Result<(), String> {
    if text.starts_with('/') || text.ends_with('/') {
        return Err("the beginning of a key, without / at its ends".to_owned());
    }
    Ok(())
}

/// How many machines, and how long things may take. Over the wire some of these can be changed later, within
/// narrower ranges.
#[derive(Debug, Clone, PartialEq)]
pub struct Pool {
    /// Value of the `Project` tag: instances without it do not exist for the pool.
    pub project: String,
    /// VMs ready and unassigned at any time.
    pub warm_count: u32,
    /// Stopped VMs kept in reserve.
    pub cold_count: u32,
    /// Instances, in whatever state.
    pub max_instances: u32,
    /// Shows with a VM at a time.
    pub max_concurrent: u32,
    /// Between two probes of a VM that is not on air.
    pub health_check_interval: Duration,
    /// Minutes until an unassigned VM above the warm count is stopped; 0 is never. See [`Pool::idle_timeout`].
    pub idle_timeout_minutes: f64,
    /// Estimate of a start until starts have been measured.
    pub warmup_time: Duration,
    /// Limit on an instance getting to `running` with an address.
    pub start_timeout: Duration,
    /// Limit on an instance getting to `stopped`.
    pub stop_timeout: Duration,
    /// Limit on the services of a running instance coming up.
    pub ready_timeout: Duration,
    pub default_instance_type: String,
}

impl Pool {
    /// Time until an unassigned VM above the warm count is stopped; `None` is never.
    #[must_use]
    pub fn idle_timeout(&self) -> Option<Duration> {
        (self.idle_timeout_minutes > 0.0)
            .then(|| Duration::try_from_secs_f64(self.idle_timeout_minutes * 60.0).ok())
            .flatten()
    }
}

section!("pool" => Pool {
    project: text("understudy", any),
    warm_count: whole(2, 0..=10_000),
    cold_count: whole(3, 0..=10_000),
    max_instances: whole(5, 1..=10_000),
    max_concurrent: whole(4, 1..=10_000),
    health_check_interval: span(secs(30), ms(500)..=mins(10)),
    idle_timeout_minutes: number(120.0, 0.0..=525_600.0),
    warmup_time: span(secs(180), secs(1)..=mins(15)),
    start_timeout: span(secs(300), secs(1)..=mins(60)),
    stop_timeout: span(secs(180), secs(1)..=mins(60)),
    ready_timeout: span(secs(120), secs(1)..=mins(60)),
    default_instance_type: text("t3.large", any),
});

pub(super) fn any(_: &str) -> Result<(), String> {
    Ok(())
}

/// How often an actor may be restarted, and how fast.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Supervision {
    /// Restarts within `window`; one more parks the VM in `error`.
    pub restarts_max: u32,
    pub window: Duration,
    /// Pause before the second restart within `window`; the first is immediate. It doubles.
    pub backoff_initial: Duration,
    pub backoff_max: Duration,
    /// Until a VM parked for crashing is tried again.
    pub cooldown: Duration,
}

section!("supervision" => Supervision {
    restarts_max: whole(5, 1..=1000),
    window: span(secs(30), secs(1)..=mins(60)),
    backoff_initial: span(ms(50), ms(1)..=mins(1)),
    backoff_max: span(secs(5), ms(1)..=mins(10)),
    cooldown: span(secs(60), secs(1)..=mins(1440)),
});

/// What is measured for Prometheus beyond what happens anyway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metrics {
    /// Ask running VMs over SSH how busy they are.
    pub vm_load: bool,
    /// Between two questions to a VM.
    pub vm_interval: Duration,
    /// VMs that are asked at the same time; the others wait for their turn.
    pub vm_at_once: usize,
}

section!("metrics" => Metrics {
    vm_load: flag(true),
    // Half of the usual resolution of a dashboard of an hour, and two short commands each.
    vm_interval: span(secs(30), secs(1)..=mins(60)),
    vm_at_once: whole(16, 1..=1000),
});

/// Traces for an OpenTelemetry collector. Needs a build with the feature `otlp`.
#[derive(Debug, Clone, PartialEq)]
pub struct Otlp {
    /// The collector, as `http://host:4318`; `None` sends nothing.
    pub endpoint: Option<String>,
    /// `NAME=VALUE`, several of them separated by commas: what the collector knows us by.
    pub headers: Option<Secret>,
    /// Share of commands and failovers that are sent, each whole or not at all.
    pub sample_ratio: f64,
    /// Limit on sending some spans.
    pub timeout: Duration,
    /// Spans that wait to be sent; more are dropped.
    pub queue_max: usize,
}

impl Otlp {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        Self {
            endpoint: section.url_opt("endpoint"),
            headers: section.secret_variable(
                "headers",
                "UNDERSTUDY__OTLP__HEADERS",
                "NAME=VALUE, several of them separated by commas",
                |text| text.split(',').all(is_header),
            ),
            sample_ratio: section.number("sample_ratio", 1.0, 0.0..=1.0),
            timeout: section.span("timeout", secs(5), ms(100)..=mins(1)),
            queue_max: section.whole("queue_max", 2048, 16..=65_536),
        }
    }
}

impl Default for Otlp {
    fn default() -> Self {
        Self::read(&mut Reader::default().section("otlp"))
    }
}

/// `NAME=VALUE` that can go into a request as it is, and is not what makes one.
fn is_header(pair: &str) -> bool {
    let Some((name, value)) = pair.split_once('=') else {
        return false;
    };
    let is_framing = |name: &HeaderName| {
        let framing = [HOST, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING, CONNECTION];
        framing.contains(name)
    };
    let name = HeaderName::try_from(name.trim());
    name.is_ok_and(|name| !is_framing(&name)) && HeaderValue::try_from(value.trim()).is_ok()
}

/// The log on standard error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    pub format: LogFormat,
    /// In the syntax of `tracing`'s environment filter.
    pub filter: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Human,
    /// One JSON object a line.
    Json,
}

impl Choice for LogFormat {
    const ALL: &'static [(&'static str, Self)] = &[("human", Self::Human), ("json", Self::Json)];
}

section!("log" => Log {
    format: choice(LogFormat::Human),
    filter: text("understudy=info,warn", |text| {
        let parsed = tracing_subscriber::EnvFilter::try_new(text);
        parsed.map(drop).map_err(|error| format!("a log filter such as \"understudy=info,warn\" ({error})"))
    }),
});
