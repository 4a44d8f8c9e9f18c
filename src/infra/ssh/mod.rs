//! SSH to a VM: one connection, commands with deadlines, liveness.
//!
//! A [`Session`] is one live connection. It does not reconnect; its owner does. What it can do is kept small
//! on purpose: run a command given as words, or a login shell in a terminal ([`Commands`]); move files and carry
//! connections ([`Passages`]); and tell whether the far side is alive ([`Liveness`]). Whatever a server asks of us
//! (channels, agents, X11) is refused.

mod command;
mod connection;
mod connector;
mod execution;
pub mod files;
mod host_certificate;
mod host_keys;
mod key;
mod key_source;
mod known_hosts;
mod outbox;
mod pins;
mod quote;
mod rsa;
mod session;
mod stored_key;
pub mod tunnel;

pub use connector::{Config, RusshConnector};
pub use execution::{Control, Execution, Piece};
pub(crate) use execution::{Orders, check as check_terminal};
pub use host_keys::HostKeyPolicy;
pub use key_source::KeySource;
pub(crate) use outbox::Outbox;
pub(crate) use quote::command_line;
pub use stored_key::KeyStanding;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

/// Where a VM's SSH server listens. Key, user and host-key policy are the connector's configuration.
#[derive(Debug, Clone)]
pub struct Endpoint {
    pub address: SocketAddr,
    /// What host keys are pinned to: the instance, since addresses are reused.
    pub host: String,
    /// Limit on connecting and authenticating together.
    pub connect_deadline: Duration,
}

#[async_trait]
pub trait Connector: Send + Sync + 'static {
    async fn connect(&self, endpoint: &Endpoint) -> Result<Arc<dyn Session>, Error>;

    /// How the private key is, where it is in a store that may be away.
    fn key_standing(&self) -> Option<KeyStanding> {
        None
    }
}

/// A live connection with all that it can do.
pub trait Session: Commands + Passages + Liveness {}

impl<T: Commands + Passages + Liveness> Session for T {}

/// What is run on the machine.
#[async_trait]
pub trait Commands: Send + Sync + 'static {
    /// Runs one command to its end. On [`Error::TimedOut`] the channel is closed and the remote process is
    /// sent a hang-up; it may go on.
    async fn exec(&self, exec: &Exec) -> Result<Finished, Error>;

    /// Starts a command or a login shell whose output arrives as it comes. Few fit beside each other on one
    /// connection.
    ///
    /// # Errors
    /// [`Error::Busy`] if as many run as fit; the other errors as for [`Commands::exec`]. What happens after it has
    /// started is told by the execution itself.
    async fn start(&self, start: &Start) -> Result<Execution, Error>;
}

/// What goes through to the machine.
#[async_trait]
pub trait Passages: Send + Sync + 'static {
    /// Connects the machine to an address as seen from there, and carries the bytes. Any number fit on one
    /// connection.
    ///
    /// # Errors
    /// [`Error::NotListening`] if the machine was refused there; [`Error::ForwardingForbidden`] if its SSH server
    /// does not do this; [`Error::TimedOut`] says not which of the two was silent.
    async fn tunnel(&self, to: SocketAddr, deadline: Duration) -> Result<Box<dyn tunnel::Stream>, Error>;

    /// The machine's files. Whoever asks while others use them shares their channel.
    async fn files(&self) -> Result<Arc<dyn files::Files>, Error>;
}

/// Whether the connection is there.
#[async_trait]
pub trait Liveness: Send + Sync + 'static {
    /// A round trip through the SSH server itself, without starting a process.
    async fn ping(&self, deadline: Duration) -> Result<(), Error>;

    /// Returns when the connection is lost or closed, with the reason.
    async fn closed(&self) -> Error;

    /// Says goodbye. Later calls answer [`Error::Closed`].
    async fn close(&self);
}

/// A command as words. They are quoted for the remote shell by the adapter; nothing is ever spliced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exec {
    pub argv: Vec<String>,
    pub deadline: Duration,
    /// Kept of each stream, in bytes; the rest is read and dropped, and [`Finished::truncated`] says so.
    pub output_bytes_max: usize,
}

/// What is to be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// A command as words, quoted as for [`Exec`]; `None` is the user's login shell.
    pub argv: Option<Vec<String>>,
    /// Without one, standard error is kept apart. With one there is none, and the input is what a keyboard sends.
    pub pty: Option<Terminal>,
    /// The longest time that it may take from now until its end; then it is ended as [`Control::cancel`] does.
    pub deadline: Duration,
}

/// The terminal that a command finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terminal {
    /// Its type as terminfo names it, for example `xterm-256color`.
    pub term: String,
    /// In characters.
    pub columns: u16,
    /// In characters.
    pub rows: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub truncated: bool,
    pub exit: Exit,
    pub took: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    Status(u32),
    /// Killed by this signal, named without `SIG`.
    Signal(String),
    /// The server closed the channel without saying, or we closed its terminal.
    Unknown,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("connection refused")]
    Refused,
    #[error("no answer within {} ms", .0.as_millis())]
    TimedOut(Duration),
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    #[error("the server did not accept the key for user {user}")]
    AuthFailed { user: String },
    #[error("the host key of {host} is not the one seen before: expected {expected}, got {got}; refused")]
    HostKeyChanged {
        host: String,
        expected: String,
        got: String,
    },
    #[error("the host key of {host} is not in known_hosts; refused")]
    HostKeyUnknown { host: String },
    #[error("the host certificate of {host} is refused: {why}")]
    HostCertificate { host: String, why: String },
    #[error("there is no private key yet: {0}")]
    KeyUnavailable(String),
    #[error("the private key cannot be used: {0}")]
    BadKey(String),
    #[error("the file of known host keys cannot be used: {0}")]
    HostKeyStore(String),
    #[error("the command cannot be sent: {0}")]
    BadCommand(&'static str),
    #[error(
        "as many commands are running over this connection as it has places for; try again when one has ended"
    )]
    Busy,
    #[error("the command did not end when it was told to; its channel is closed, and it may go on")]
    Stubborn,
    #[error("it takes no more input")]
    NotRunning,
    #[error("nothing listens at {0} on the machine")]
    NotListening(SocketAddr),
    #[error("the SSH server forbids a connection to {0} (AllowTcpForwarding, PermitOpen)")]
    ForwardingForbidden(SocketAddr),
    #[error("the connection is closed")]
    Closed,
    #[error("SSH protocol error: {0}")]
    Protocol(String),
}

impl Error {
    /// Whether the same call may succeed later without anything being mended by hand. A machine that is
    /// starting refuses, is unreachable, or does not know its users yet.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Refused
            | Self::TimedOut(_)
            | Self::Unreachable(_)
            | Self::AuthFailed { .. }
            | Self::KeyUnavailable(_)
            | Self::Busy
            | Self::NotListening(_)
            | Self::Closed
            | Self::Protocol(_) => true,
            Self::HostKeyChanged { .. }
            | Self::HostKeyUnknown { .. }
            | Self::HostCertificate { .. }
            | Self::BadKey(_)
            | Self::HostKeyStore(_)
            | Self::Stubborn
            | Self::ForwardingForbidden(_)
            | Self::NotRunning
            | Self::BadCommand(_) => false,
        }
    }
}
