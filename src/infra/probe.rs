//! The VM's own show server, asked over HTTP how it is.
//!
//! The far side is a machine that may be failing: it may be silent, drip one byte a second, answer with
//! megabytes, or not speak HTTP at all. Each is a different [`Error`], and none of them costs more than the
//! deadline and [`ANSWER_BYTES_MAX`]. Nothing here decides what a failure means; `domain::health` does.

use std::error::Error as StdError;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use reqwest::header::{CONNECTION, HeaderValue};
use serde_json::{Map, Value};

use crate::domain::ids::ShowId;

/// Largest answer read, in bytes. A show server's status with its list of clients is a few kilobytes.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// How long an idle connection to a show server is kept for the next probe. A machine on air is asked every second, over one
/// connection; where the next probe is further away the connection is closed at once. One that waits costs a descriptor and
/// 28 KiB here (hyper's buffers and queues: heaptrack, 67 connections), which is more than what calling again does.
const IDLE_CONNECTION_KEPT: Duration = Duration::from_secs(3);

/// Ends a connection with its answer (RFC 9112, 9.6).
const CLOSE: HeaderValue = HeaderValue::from_static("close");

#[async_trait]
pub trait Probe: Send + Sync + 'static {
    /// `GET /api/status`. Bounded by `deadline` as a whole, and in the size of the answer. `again`: the next one follows in
    /// so long, as far as that is known; soon enough, it finds a connection.
    async fn status(
        &self,
        server: SocketAddr,
        deadline: Duration,
        again: Option<Duration>,
    ) -> Result<ServerStatus, Error>;

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

impl Error {
    /// Whether the same call may succeed later without anything being mended by hand. A machine that is
    /// starting refuses, is unreachable and answers 5xx on its way up.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Refused | Self::TimedOut(_) | Self::Unreachable(_) => true,
            Self::Http(code) => *code >= 500 || *code == 429,
            Self::NotJson | Self::TooLarge(_) => false,
        }
    }
}

/// The probe over real HTTP/1.1: no redirects, no proxies, at most one kept connection per server.
#[derive(Debug, Clone)]
pub struct HttpProbe {
    client: reqwest::Client,
}

impl HttpProbe {
    /// # Errors
    /// The HTTP client cannot be set up on this machine.
    pub fn new() -> Result<Self, SetUpError> {
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            // Show servers speak plain HTTP: without this the trust store of the system is read and kept.
            .tls_certs_only([])
            .http1_only()
            .tcp_nodelay(true)
            .pool_max_idle_per_host(1)
            .pool_idle_timeout(IDLE_CONNECTION_KEPT)
            .user_agent(concat!("understudy/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(SetUpError)?;
        Ok(Self { client })
    }

    /// Sends `request` and returns its 2xx answer, at most [`ANSWER_BYTES_MAX`] of it.
    ///
    /// A server may close a kept connection at the very moment it is used again; that says nothing about the
    /// server, so a connection that broke is tried once more on a new one. Both requests are idempotent.
    async fn send(&self, request: reqwest::Request, deadline: Duration) -> Result<Vec<u8>, Error> {
        let tries = async {
            let again = request.try_clone();
            match self.send_once(request).await {
                Err(Error::Unreachable(first)) => match again {
                    Some(request) => self.send_once(request).await,
                    None => Err(Error::Unreachable(first)),
                },
                answer => answer,
            }
        };
        match tokio::time::timeout(deadline, tries).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::TimedOut(deadline)),
        }
    }

    async fn send_once(&self, request: reqwest::Request) -> Result<Vec<u8>, Error> {
        let mut response = self.client.execute(request).await.map_err(|e| classify(&e))?;
        let status = response.status();
        if !status.is_success() {
            return Err(Error::Http(status.as_u16()));
        }
        let announced = response.content_length().unwrap_or(0);
        if announced > ANSWER_BYTES_MAX as u64 {
            return Err(Error::TooLarge(ANSWER_BYTES_MAX));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| classify(&e))? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(Error::TooLarge(ANSWER_BYTES_MAX));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

/// The HTTP client could not be built.
#[derive(Debug, thiserror::Error)]
#[error("the HTTP client for probes cannot be set up")]
pub struct SetUpError(#[source] reqwest::Error);

#[async_trait]
impl Probe for HttpProbe {
    async fn status(
        &self,
        server: SocketAddr,
        deadline: Duration,
        again: Option<Duration>,
    ) -> Result<ServerStatus, Error> {
        let mut request = reqwest::Request::new(reqwest::Method::GET, url(server, &["api", "status"]));
        if again.is_none_or(|again| again > IDLE_CONNECTION_KEPT) {
            request.headers_mut().insert(CONNECTION, CLOSE);
        }
        let sent = Instant::now();
        let body = self.send(request, deadline).await?;
        let response_time = sent.elapsed();
        match serde_json::from_slice(&body) {
            Ok(Value::Object(fields)) => Ok(read_status(&fields, response_time)),
            Ok(_) | Err(_) => Err(Error::NotJson),
        }
    }

    async fn activate(
        &self,
        server: SocketAddr,
        show: Option<&ShowId>,
        deadline: Duration,
    ) -> Result<(), Error> {
        let url = match show {
            Some(show) => url(server, &["api", "competitions", show.as_str(), "activate"]),
            None => url(server, &["api", "competitions", "deactivate"]),
        };
        let request = reqwest::Request::new(reqwest::Method::POST, url);
        match self.send(request, deadline).await {
            // What it answered does not matter, only that it accepted.
            Ok(_) | Err(Error::TooLarge(_)) => Ok(()),
            Err(refused) => Err(refused),
        }
    }
}

/// `http://server/segment/segment`, every segment percent-encoded: a show's id is free text.
fn url(server: SocketAddr, segments: &[&str]) -> reqwest::Url {
    let mut url = reqwest::Url::parse("http://0.0.0.0/").expect("a constant URL");
    // These three fail only for URLs without a host, such as `mailto:`.
    let _ = url.set_ip_host(server.ip());
    let _ = url.set_port(Some(server.port()));
    if let Ok(mut path) = url.path_segments_mut() {
        path.clear().extend(segments);
    }
    url
}

/// Takes what is there and of the right type. A field that is missing or of another type is unknown: never
/// "no", never zero.
fn read_status(fields: &Map<String, Value>, response_time: Duration) -> ServerStatus {
    let flag = |name: &str| fields.get(name).and_then(Value::as_bool);
    let text = |name: &str| fields.get(name).and_then(Value::as_str).map(str::to_owned);
    ServerStatus {
        obs_connected: flag("obsConnected"),
        obs_streaming: flag("obsIsStreaming"),
        obs_recording: flag("obsIsRecording"),
        obs_scene: text("obsCurrentScene"),
        uptime_s: fields.get("uptime").and_then(Value::as_f64).filter(|s| *s >= 0.0),
        version: text("version"),
        response_time,
    }
}

/// Finds out what went wrong below an HTTP client's error by the types in its chain, not by its text.
fn classify(error: &reqwest::Error) -> Error {
    let mut deepest: &(dyn StdError + 'static) = error;
    let mut next: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(cause) = next {
        if let Some(io) = cause.downcast_ref::<io::Error>()
            && io.kind() == io::ErrorKind::ConnectionRefused
        {
            return Error::Refused;
        }
        if let Some(http) = cause.downcast_ref::<hyper::Error>()
            && http.is_parse()
        {
            return Error::NotJson;
        }
        deepest = cause;
        next = cause.source();
    }
    Error::Unreachable(deepest.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_made_of_any_address_and_any_show() {
        let v4 = "127.0.0.1:3003".parse().unwrap();
        let v6 = "[fe80::1%7]:3003".parse().unwrap();
        assert_eq!(
            url(v4, &["api", "status"]).as_str(),
            "http://127.0.0.1:3003/api/status"
        );
        assert_eq!(
            url(v6, &["api", "status"]).as_str(),
            "http://[fe80::1]:3003/api/status"
        );
        assert_eq!(
            url(v4, &["api", "competitions", "État?&% 1", "activate"]).path(),
            "/api/competitions/%C3%89tat%3F&%25%201/activate"
        );
    }

    #[test]
    fn a_missing_or_mistyped_field_is_unknown() {
        let read = |json: &str| {
            let fields: Map<String, Value> = serde_json::from_str(json).unwrap();
            read_status(&fields, Duration::from_millis(3))
        };
        let unknown = ServerStatus {
            obs_connected: None,
            obs_streaming: None,
            obs_recording: None,
            obs_scene: None,
            uptime_s: None,
            version: None,
            response_time: Duration::from_millis(3),
        };
        assert_eq!(read("{}"), unknown);
        assert_eq!(
            read(
                r#"{"obsConnected":"yes","obsIsStreaming":1,"obsIsRecording":null,"obsCurrentScene":7,
                    "uptime":"long","version":2}"#
            ),
            unknown
        );
        assert_eq!(read(r#"{"uptime":-1}"#), unknown);
    }
}
