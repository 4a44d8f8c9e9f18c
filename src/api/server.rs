//! The listeners: accepts connections, bounds them, and lets them finish at shutdown.
//!
//! Written on hyper rather than with axum's own server, which has no limit on connections and none on the time
//! a request's head may take.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tower::ServiceExt;

use super::connection::Connection;
use super::gateway::Gateway;
use super::options::{AuthMode, Options};
use super::router;
use crate::actors::coordinator::Coordinator;

/// Wait before accepting again when the process is out of descriptors: they come back as connections end.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// That none can be accepted is said once in this time.
const TELL_AGAIN: Duration = Duration::from_secs(10);
/// Connections that are being told at one time that there are too many.
const REFUSALS_MAX: usize = 64;
/// Limit on telling one of them.
const REFUSAL_TIMEOUT: Duration = Duration::from_millis(500);
const REFUSAL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    content-type: application/json; charset=utf-8\r\n\
    retry-after: 1\r\nconnection: close\r\naccess-control-allow-origin: *\r\ncontent-length: 85\r\n\r\n\
    {\"error\":\"too many connections; try again in a moment\",\"code\":\"TOO_MANY_CONNECTIONS\"}";

/// Why the gateway did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("no listener was given")]
    NoListener,
    #[error("a listener's address cannot be read")]
    Address(#[source] std::io::Error),
    #[error(
        "authentication is off (`open`), which is only accepted on loopback, but {0} is not; choose `compat` or \
         `required`, or listen on 127.0.0.1"
    )]
    OpenBeyondLoopback(SocketAddr),
    #[error("authentication is `required`, but there is no admin token; nobody could call anything")]
    NoAdminToken,
}

/// Serves the API on these listeners until `shutdown` completes, then tells Socket.IO clients, closes them,
/// and lets open requests finish within the drain limit.
///
/// # Errors
/// [`ServeError`] if the options forbid serving on these listeners. Failures of single connections are logged.
pub async fn serve(
    options: Options,
    coordinator: Coordinator,
    listeners: impl IntoIterator<Item = TcpListener>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let listeners: Vec<TcpListener> = listeners.into_iter().collect();
    let addresses: Result<Vec<SocketAddr>, _> = listeners.iter().map(TcpListener::local_addr).collect();
    check(&options, &addresses.map_err(ServeError::Address)?)?;
    let drain_timeout = options.drain_timeout;
    let gateway = Gateway::new(options, coordinator);
    let (routes, sockets) = router(&gateway);
    let door = Open(Arc::new(Door::new(gateway, routes)));
    let mut accepting = JoinSet::new();
    for listener in listeners {
        accepting.spawn(Arc::clone(&door.0).accept(listener));
    }
    shutdown.await;
    accepting.abort_all();
    sockets.close("The coordinator is shutting down").await;
    door.0.drain(drain_timeout).await;
    Ok(())
}

fn check(options: &Options, listening: &[SocketAddr]) -> Result<(), ServeError> {
    if listening.is_empty() {
        return Err(ServeError::NoListener);
    }
    let beyond = listening.iter().find(|address| !address.ip().is_loopback());
    if let (AuthMode::Open, Some(address)) = (options.auth, beyond) {
        return Err(ServeError::OpenBeyondLoopback(*address));
    }
    let has_token = options
        .admin_token
        .as_ref()
        .is_some_and(|token| !token.is_empty());
    match options.auth {
        AuthMode::Required if !has_token => return Err(ServeError::NoAdminToken),
        AuthMode::Compat => tracing::warn!(
            "authentication is `compat`: everybody who reaches this port may list, assign and release VMs"
        ),
        AuthMode::Required | AuthMode::Open => {}
    }
    Ok(())
}

/// A door that closes when serving ends, however it ends: connections do not outlive the gateway they serve.
struct Open(Arc<Door>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.closing.send_replace(true);
    }
}

/// What all connections share.
struct Door {
    gateway: Gateway,
    routes: Router,
    http: http1::Builder,
    places: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
    closing: watch::Sender<bool>,
}

impl Door {
    fn new(gateway: Gateway, routes: Router) -> Self {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(gateway.options().header_timeout);
        Self {
            places: Arc::new(Semaphore::new(gateway.options().connections_max)),
            refusals: Arc::new(Semaphore::new(REFUSALS_MAX)),
            closing: watch::Sender::new(false),
            gateway,
            routes,
            http,
        }
    }

    async fn accept(self: Arc<Self>, listener: TcpListener) {
        let mut told_at: Option<tokio::time::Instant> = None;
        loop {
            match listener.accept().await {
                Ok((stream, _)) => self.admit(stream),
                Err(error) => {
                    // Without descriptors every try fails, and the log is not to drown in that.
                    if told_at.is_none_or(|at| at.elapsed() > TELL_AGAIN) {
                        told_at = Some(tokio::time::Instant::now());
                        tracing::warn!(%error, "connections cannot be accepted; they wait, and it is tried again");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn admit(self: &Arc<Self>, stream: TcpStream) {
        // Answers are small and waited for. A socket that cannot be tuned still works.
        let _ = stream.set_nodelay(true);
        match Arc::clone(&self.places).try_acquire_owned() {
            Ok(place) => {
                let stall_timeout = self.gateway.options().stall_timeout;
                let connection = Connection::new(stream, stall_timeout, Some(place));
                tokio::spawn(Arc::clone(self).attend(connection));
            }
            Err(_) => {
                // With too many of these too, the connection is closed without a word.
                if let Ok(place) = Arc::clone(&self.refusals).try_acquire_owned() {
                    tokio::spawn(async move {
                        let _ = tokio::time::timeout(REFUSAL_TIMEOUT, refuse(stream)).await;
                        drop(place);
                    });
                }
            }
        }
    }

    async fn attend(self: Arc<Self>, connection: Connection<TcpStream>) {
        let cutter = connection.cutter();
        let service = hyper::service::service_fn(|mut request: http::Request<Incoming>| {
            request.extensions_mut().insert(cutter.clone());
            self.routes.clone().oneshot(request.map(Body::new))
        });
        let serving = self
            .http
            .serve_connection(TokioIo::new(connection), service)
            .with_upgrades();
        let mut serving = std::pin::pin!(serving);
        let mut closing = self.closing.subscribe();
        let ended = tokio::select! {
            ended = serving.as_mut() => Some(ended),
            _ = closing.wait_for(|closing| *closing) => None,
        };
        let ended = match ended {
            Some(ended) => ended,
            None => {
                serving.as_mut().graceful_shutdown();
                serving.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended early");
        }
    }

    /// Lets open requests finish; connections that are left after the limit are dropped with the runtime.
    async fn drain(&self, limit: Duration) {
        self.closing.send_replace(true);
        let all = u32::try_from(self.gateway.options().connections_max).unwrap_or(u32::MAX);
        if tokio::time::timeout(limit, self.places.acquire_many(all))
            .await
            .is_err()
        {
            let open = self.gateway.options().connections_max - self.places.available_permits();
            tracing::warn!(
                open,
                ?limit,
                "connections were still open at the end of the drain"
            );
        }
    }
}

/// Answers without reading, then takes what the peer had sent, so that closing does not discard the answer.
async fn refuse(mut stream: TcpStream) -> std::io::Result<()> {
    stream.write_all(REFUSAL).await?;
    stream.shutdown().await?;
    tokio::io::copy(&mut stream, &mut tokio::io::sink())
        .await
        .map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::studio::Secret;

    #[test]
    fn the_fixed_refusal_says_its_own_length() {
        let text = std::str::from_utf8(REFUSAL).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(
            head.contains(&format!("content-length: {}", body.len())),
            "{}",
            body.len()
        );
        assert!(serde_json::from_str::<serde_json::Value>(body).unwrap()["error"].is_string());
    }

    fn verdict(auth: AuthMode, token: Option<&str>, address: &str) -> Result<(), ServeError> {
        let options = Options {
            auth,
            admin_token: token.map(Secret::new),
            ..Options::default()
        };
        check(&options, &[address.parse().unwrap()])
    }

    #[test]
    fn open_is_for_loopback_and_required_needs_a_token() {
        assert!(verdict(AuthMode::Open, None, "127.0.0.1:0").is_ok());
        let beyond = verdict(AuthMode::Open, None, "0.0.0.0:0");
        assert!(
            matches!(beyond, Err(ServeError::OpenBeyondLoopback(_))),
            "{beyond:?}"
        );
        for token in [None, Some("")] {
            let verdict = verdict(AuthMode::Required, token, "127.0.0.1:0");
            assert!(matches!(verdict, Err(ServeError::NoAdminToken)), "{verdict:?}");
        }
        assert!(verdict(AuthMode::Required, Some("hush"), "0.0.0.0:0").is_ok());
        assert!(verdict(AuthMode::Compat, None, "0.0.0.0:0").is_ok());
        assert!(matches!(
            check(&Options::default(), &[]),
            Err(ServeError::NoListener)
        ));
    }
}
