//! Connecting to a studio: TCP, WebSocket upgrade, Hello, Identify and the version check in one deadline.

use std::error::Error as StdError;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use obws::Client;
use obws::client::{ConnectConfig, HandshakeError};
use obws::error::Error as Obws;
use obws::events::EventStream;
use obws::requests::EventSubscription;
use obws::responses::WebSocketCloseCode;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::link::{Link, several};
use super::notices::{self, EVENTS_KEPT, SUBSCRIPTIONS};
use super::session::ObwsSession;
use super::{Connector, Endpoint, Error, Notice, Route, Session};
use crate::domain::studio::Secret;
use crate::infra::causes::with_causes;
use crate::infra::ssh;
use crate::infra::vault::Vault;

/// What a connection attempt is called in [`Error::TimedOut`].
const CONNECT: &str = "connect";

/// Requests on their way at the same time on the connection that stays.
const REQUESTS_AT_ONCE: usize = 16;

/// Connections that are opened for the time of a restore.
const QUIET_LANES: usize = 4;

/// After so long `obws` gives up waiting for the first message, whatever the deadline.
const HELLO_MAX: Duration = Duration::from_secs(5);

/// Connects with `obws`.
#[derive(Debug, Clone)]
pub struct ObwsConnector {
    vault: Arc<Vault>,
}

impl ObwsConnector {
    /// `vault` seals the stream keys that are captured and opens those that are restored.
    #[must_use]
    pub fn new(vault: Arc<Vault>) -> Self {
        Self { vault }
    }
}

#[async_trait]
impl Connector for ObwsConnector {
    async fn connect(
        &self,
        endpoint: &Endpoint,
    ) -> Result<(Arc<dyn Session>, mpsc::Receiver<Notice>), Error> {
        let (client, events) = open(endpoint, SUBSCRIPTIONS, EVENTS_KEPT).await?;
        let (limit, vault) = (endpoint.call_deadline, Arc::clone(&self.vault));
        let link = Arc::new(Link::new(vec![client], REQUESTS_AT_ONCE, limit, vault));
        let (phases, notices) = notices::watch(&link, 0, events);
        Ok((
            Arc::new(ObwsSession::new(endpoint.clone(), link, phases)),
            notices,
        ))
    }
}

/// Several connections on which OBS tells nothing by itself, each for one request at a time.
///
/// OBS leaves Nagle's algorithm on: what it sends second on a connection waits until what it sent first is
/// acknowledged, which a client that has nothing to send delays by 40 ms. So the answer to a request that
/// changes something waits behind the event that tells of the change, and one answer behind another. Without
/// events and with one request at a time there is never a second; several such connections hide the time that
/// requests spend on the network.
pub(super) async fn open_quiet(endpoint: &Endpoint, vault: &Arc<Vault>) -> Result<Arc<Link>, Error> {
    let opening = (0..QUIET_LANES).map(|_| open(endpoint, EventSubscription::NONE, 1));
    let (clients, events): (Vec<_>, Vec<_>) = several(opening).await?.into_iter().unzip();
    let link = Arc::new(Link::new(clients, 1, endpoint.call_deadline, Arc::clone(vault)));
    for (lane, events) in events.into_iter().enumerate() {
        // Nobody reads the notices; the watcher ends the link when the connection ends.
        let _ = notices::watch(&link, lane, events);
    }
    Ok(link)
}

async fn open(
    endpoint: &Endpoint,
    subscriptions: EventSubscription,
    events_kept: usize,
) -> Result<(Client, EventStream), Error> {
    let started = Instant::now();
    let limit = endpoint.connect_deadline;
    let address = way_in(endpoint).await?;
    let left = limit.saturating_sub(started.elapsed());
    let config = ConnectConfig {
        host: host(address),
        port: address.port(),
        dangerous: None,
        password: endpoint.password.as_ref().map(Secret::expose),
        event_subscriptions: Some(subscriptions),
        broadcast_capacity: events_kept,
        connect_timeout: left,
    };
    let client = match timeout(left, Client::connect_with_config(config)).await {
        Ok(Ok(client)) => client,
        Ok(Err(error)) => {
            let error = classify(error, limit, started.elapsed());
            return Err(doubted(endpoint, error).await);
        }
        Err(_) => {
            let error = Error::TimedOut { call: CONNECT, limit };
            return Err(doubted(endpoint, error).await);
        }
    };
    match client.events() {
        Ok(events) => Ok((client, events)),
        Err(_) => Err(Error::Closed),
    }
}

/// Where to dial. `obws` can only dial, so a tunnel is given a loopback address for each connection.
async fn way_in(endpoint: &Endpoint) -> Result<SocketAddr, Error> {
    let limit = endpoint.connect_deadline;
    let shell = match &endpoint.route {
        Route::Direct => return Ok(endpoint.address),
        Route::Cut => return Err(Error::Cut(ssh::Error::Closed)),
        Route::Shell(shell) => shell,
    };
    let error = match ssh::tunnel::once(shell.as_ref(), endpoint.address, limit / 2).await {
        Ok(address) => return Ok(address),
        Err(error) => error,
    };
    match error {
        ssh::Error::NotListening(_) => Err(Error::Refused),
        // Either the studio's port or the SSH server did not answer; the server can be asked.
        ssh::Error::TimedOut(_) => match shell.ping(limit / 2).await {
            Ok(()) => Err(Error::TimedOut {
                call: CONNECT,
                limit: limit / 2,
            }),
            Err(why) => Err(Error::Cut(why)),
        },
        why => Err(Error::Cut(why)),
    }
}

/// Silence and a lost connection may be the SSH server's, if it lies on the way: then it has no sign of life.
async fn doubted(endpoint: &Endpoint, error: Error) -> Error {
    let (Route::Shell(shell), Error::Closed | Error::TimedOut { .. }) = (&endpoint.route, &error) else {
        return error;
    };
    match shell.ping(endpoint.connect_deadline / 2).await {
        Ok(()) => error,
        Err(why) => Error::Cut(why),
    }
}

/// An address as the host of a URL.
fn host(address: SocketAddr) -> String {
    match address.ip() {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

fn classify(error: Obws, limit: Duration, waited: Duration) -> Error {
    let timed_out = |limit| Error::TimedOut { call: CONNECT, limit };
    if let Some(io) = io_cause(&error) {
        return match io.kind() {
            io::ErrorKind::ConnectionRefused => Error::Refused,
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof => Error::Closed,
            _ => Error::Unreachable(io.to_string()),
        };
    }
    match error {
        Obws::Timeout => timed_out(limit),
        Obws::Handshake(HandshakeError::ConnectionClosed(Some(details))) => {
            let code = WebSocketCloseCode::try_from(u16::from(details.code));
            match code {
                Ok(WebSocketCloseCode::AuthenticationFailed) => Error::BadPassword,
                Ok(_) => Error::Protocol(format!("it closed the connection: {}", details.reason)),
                Err(_) => Error::Closed,
            }
        }
        Obws::Handshake(HandshakeError::ConnectionClosed(None)) => Error::Closed,
        // Without the wait, the first message was something else.
        Obws::Handshake(HandshakeError::NoHello) if waited >= HELLO_MAX => timed_out(HELLO_MAX),
        Obws::Send(_) | Obws::ReceiveMessage(_) | Obws::Disconnected => Error::Closed,
        other => Error::Protocol(with_causes(&other)),
    }
}

fn io_cause(error: &Obws) -> Option<&io::Error> {
    let mut next: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(cause) = next {
        if let Some(io) = cause.downcast_ref() {
            return Some(io);
        }
        next = cause.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_url_host() {
        assert_eq!(host("10.0.0.1:4455".parse().unwrap()), "10.0.0.1");
        assert_eq!(host("[::1]:4455".parse().unwrap()), "[::1]");
    }
}
