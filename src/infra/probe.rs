//! The VM's own show server, asked over HTTP how it is.

use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;

use crate::domain::ids::ShowId;

#[async_trait]
pub trait Probe: Send + Sync + 'static {
    /// `GET /api/status`. Bounded by `deadline` as a whole, and in the size of the answer.
    async fn status(&self, server: SocketAddr, deadline: Duration) -> Result<ServerStatus, Error>;

    /// Tells the show server which show it serves now, or none: `POST /api/competitions/{id}/activate` or
    /// `/api/competitions/deactivate`. Best effort: the VM works without it.
    async fn activate(
        &self,
        server: SocketAddr,
        show: Option<&ShowId>,
        deadline: Duration,
    ) -> Result<(), Error>;
}

/// What `/api/status` said. Absent means the server did not say, never "no".
#[derive(Debug, Clone, PartialEq)]
pub struct ServerStatus {
    pub obs_connected: Option<bool>,
    pub obs_streaming: Option<bool>,
    pub obs_recording: Option<bool>,
    pub obs_scene: Option<String>,
    pub uptime_s: Option<f64>,
    pub version: Option<String>,
    /// From sending the request to having read the answer.
    pub response_time: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("connection refused")]
    Refused,
    #[error("no answer within {} ms", .0.as_millis())]
    TimedOut(Duration),
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    #[error("HTTP {0}")]
    Http(u16),
    #[error("the answer is not a JSON object")]
    NotJson,
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
}
