//! OBS Studio, over obs-websocket v5.
//!
//! A [`Session`] is one live connection. It cannot hang: every call has a deadline, and a call after the
//! connection is lost answers [`Error::Closed`] at once. It does not reconnect; its owner does, and reads the
//! state again when it has.
//!
//! Protocol: <https://github.com/obsproject/obs-websocket/blob/master/docs/generated/protocol.md>. OBS 30.2 and
//! obs-websocket 5.5 are the oldest that work. Captured and restored are scene collection, scenes, inputs,
//! items, filters, sound, transitions, stream service, program and preview scene. There is no request to make a
//! group or a transition: they come from a scene collection's file, and without one what is missing is a difference. Whether it records is captured
//! and left alone. Blend modes, deinterlacing, hotkeys and profiles are not captured. OBS tells of no change to
//! the stream service, to a transition's settings or to a scene's transition, so none arrives as a [`Notice`].
//!
//! Stream keys pass through here, and are sealed before they are handed on and opened only for OBS: the `obws` crate logs whole messages at `trace`, so its level must stay
//! above that in production.

mod capture;
mod collection;
mod connector;
mod draw;
mod filters;
mod frame;
mod inputs;
mod items;
mod link;
mod notices;
mod restore;
mod room;
mod service;
mod session;
mod sound;
mod transitions;
mod wire;

pub use collection::Folder;
pub(crate) use collection::{file_for, text as collection_text};
pub use connector::ObwsConnector;
pub use frame::Frame;
pub(crate) use notices::{NOTICES_KEPT, Outbox, Phase};
pub(crate) use wire::{canonical, decimal, stream_service, stream_settings};

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;

use crate::domain::studio::{MadeBy, Output, Secret, Studio};
use crate::infra::ssh;

/// Where a studio listens and how to get in.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// As seen from where [`Endpoint::route`] ends.
    pub address: SocketAddr,
    pub route: Route,
    pub password: Option<Secret>,
    /// Limit on connecting: TCP, WebSocket upgrade, Hello and Identify together.
    pub connect_deadline: Duration,
    /// Limit on each request.
    pub call_deadline: Duration,
}

/// How the way to a studio begins.
#[derive(Clone)]
pub enum Route {
    Direct,
    /// Every connection goes through this machine's SSH server.
    Shell(Arc<dyn ssh::Session>),
    /// It should go through its SSH server, and there is no connection to that.
    Cut,
}

impl std::fmt::Debug for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Direct => "Direct",
            Self::Shell(_) => "Shell",
            Self::Cut => "Cut",
        })
    }
}

#[async_trait]
pub trait Connector: Send + Sync + 'static {
    /// Connects and identifies. Notices come on the returned channel, which is bounded; when it is full,
    /// notices are merged into one [`Notice::Changed`]. It ends when the connection does.
    async fn connect(&self, endpoint: &Endpoint)
    -> Result<(Arc<dyn Session>, mpsc::Receiver<Notice>), Error>;
}

/// A connection to OBS with all that it can do.
pub trait Session: Scenes + Outputs {}

impl<T: Scenes + Outputs> Session for T {}

/// What is in the studio.
#[async_trait]
pub trait Scenes: Send + Sync + 'static {
    /// Reads everything that [`Scenes::restore`] can write.
    async fn capture(&self) -> Result<Studio, Error>;

    /// Makes this studio equal to `studio`. Safe to repeat, and on a studio that already has some of it. While a
    /// stream is running the stream service is not touched, and nothing is made from a file.
    async fn restore(&self, studio: &Studio, means: &Means) -> Result<Restored, Error>;

    /// Whether OBS draws: looks at the program scene, and if that is the same all over and `may_edit`, at a scene of
    /// our own that is removed again.
    async fn check_frame(&self, may_edit: bool) -> Result<Frame, Error>;
}

/// What leaves the studio: its stream and its recording.
#[async_trait]
pub trait Outputs: Send + Sync + 'static {
    /// `GetStreamStatus`: also the liveness poll.
    async fn output(&self) -> Result<Output, Error>;

    /// Starts the stream; starting one that runs already is not an error. Success means the request was
    /// accepted: only rising [`Output::bytes`] prove a stream.
    async fn start_stream(&self) -> Result<(), Error>;

    /// Stops the stream and returns once OBS says that the output is inactive. Stopping none is not an error.
    ///
    /// OBS cannot stop a stream that is still connecting: it says that none is running. One that was started
    /// or announced on this session is waited for and stopped then. A session that has heard nothing of the stream
    /// yet looks for traces of a start, once it is a quarter of a second old; if there may be one, it waits too.
    /// If the stream does not connect in time, or silence cannot be proven, the answer is [`Error::TimedOut`], and a
    /// stream may still begin.
    async fn stop_stream(&self) -> Result<(), Error>;

    /// Ends a recording and returns once OBS says that its file is finished. Ending none is not an error.
    async fn stop_recording(&self) -> Result<(), Error>;
}

/// What OBS told without being asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// Scenes, inputs, audio, transitions or the program scene changed: worth a new capture.
    Changed,
    /// The program scene is now this one.
    ProgramScene(String),
    /// The stream output started or stopped, for whatever reason.
    Stream { active: bool },
    /// OBS announced that it is exiting.
    Exiting,
}

/// By which ways a studio may be made.
#[derive(Debug, Clone)]
pub enum Means {
    /// Request by request.
    Requests,
    /// From a scene collection's file, if anything is to be made at all.
    File(Folder),
    /// From a file if something is wanted that no request makes, or so much that a file is faster.
    Either(Folder),
}

/// What a restore did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// How it was made.
    pub by: MadeBy,
    /// Requests sent to change something. Those that only read are not counted, so repeating a restore counts
    /// nothing.
    pub requests: u32,
    /// What could not be made equal, one sentence each: an input kind this OBS does not have, for example.
    pub differences: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("connection refused")]
    Refused,
    #[error("no answer to {call} within {} ms", .limit.as_millis())]
    TimedOut { call: &'static str, limit: Duration },
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    #[error("the OBS password was not accepted")]
    BadPassword,
    #[error("the connection is closed")]
    Closed,
    /// Nothing is known of the studio: it is the way there that is lost.
    #[error("it could not be asked, since the way there over SSH is cut")]
    Cut(#[source] ssh::Error),
    #[error("OBS refused {call}: {comment} (code {code})")]
    Denied {
        call: &'static str,
        code: i64,
        comment: String,
    },
    #[error("OBS answered something that is not obs-websocket v5: {0}")]
    Protocol(String),
}

impl Error {
    /// Whether the same call may succeed later without anything being mended by hand.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Refused | Self::TimedOut { .. } | Self::Unreachable(_) | Self::Closed => true,
            Self::Cut(why) => why.is_retryable(),
            Self::Denied { code, .. } => *code == i64::from(link::NOT_READY),
            Self::BadPassword | Self::Protocol(_) => false,
        }
    }
}
