//! Connecting to a studio: the way there, the password, and the subscription to events.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::session::DirectSession;
use crate::domain::studio::Secret;
use crate::infra::obs::{Connector, Endpoint, Error, Notice, Route, Session};
use crate::infra::ssh;
use crate::infra::vault::Vault;
use crate::sim::direct::machine::{Line, Shared};
use crate::sim::direct::network::{Link, Network};
use crate::sim::model::machine::Service;
use crate::sim::model::studio::event::StudioEvent;

/// What a connection attempt is called in [`Error::TimedOut`].
const CONNECT: &str = "connect";

/// Connects to studios in memory.
pub(in crate::sim::direct) struct DirectConnector {
    network: Network,
    /// Of every studio.
    password: Option<Secret>,
    vault: Arc<Vault>,
}

/// A way to a studio that keeps it open, if it leads through a shell.
type Way = Option<Box<dyn ssh::tunnel::Stream>>;

impl DirectConnector {
    pub(in crate::sim::direct) fn new(network: Network, password: Option<Secret>, vault: Arc<Vault>) -> Self {
        Self {
            network,
            password,
            vault,
        }
    }

    async fn way_in(&self, endpoint: &Endpoint) -> Result<(Link, Way), Error> {
        let shell = match &endpoint.route {
            Route::Direct => {
                let dialed = self.network.dial(endpoint.address, Service::Studio).await;
                return dialed.map(|link| (link, None)).map_err(|_| Error::Refused);
            }
            Route::Cut => return Err(Error::Cut(ssh::Error::Closed)),
            Route::Shell(shell) => shell,
        };
        let limit = endpoint.connect_deadline / 2;
        let mut tunnel = match shell.tunnel(endpoint.address, limit).await {
            Ok(tunnel) => tunnel,
            Err(ssh::Error::NotListening(_)) => return Err(Error::Refused),
            // Either the studio's port or the SSH server did not answer; the server can be asked.
            Err(ssh::Error::TimedOut(_)) => {
                return Err(match shell.ping(limit).await {
                    Ok(()) => Error::TimedOut { call: CONNECT, limit },
                    Err(why) => Error::Cut(why),
                });
            }
            Err(why) => return Err(Error::Cut(why)),
        };
        let passage = tunnel.read_u64().await.map_err(|_| Error::Closed)?;
        let link = self.network.passages().take(passage).ok_or(Error::Closed)?;
        Ok((link, Some(tunnel)))
    }

    /// WebSocket upgrade, then Hello and Identify.
    async fn identify(
        &self,
        link: &Link,
        given: Option<&Secret>,
    ) -> Result<mpsc::Receiver<StudioEvent>, Error> {
        let closed = |_| Error::Closed;
        link.call(|_| ()).await.map_err(closed)?;
        // Without one, a studio takes any.
        let is_right = self.password.is_none() || self.password.as_ref() == given;
        let line: Arc<Line> = Arc::clone(link.line());
        let identified = link.call(move |machine: &Shared| is_right.then(|| machine.subscribe(&line)));
        identified.await.map_err(closed)?.ok_or(Error::BadPassword)
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

#[async_trait]
impl Connector for DirectConnector {
    async fn connect(
        &self,
        endpoint: &Endpoint,
    ) -> Result<(Arc<dyn Session>, mpsc::Receiver<Notice>), Error> {
        let started = Instant::now();
        let limit = endpoint.connect_deadline;
        let silence = || Error::TimedOut { call: CONNECT, limit };
        let (link, way) = timeout(limit, self.way_in(endpoint))
            .await
            .unwrap_or_else(|_| Err(silence()))?;
        let left = limit.saturating_sub(started.elapsed());
        let identified = timeout(left, self.identify(&link, endpoint.password.as_ref())).await;
        let events = match identified.unwrap_or_else(|_| Err(silence())) {
            Ok(events) => events,
            Err(error) => return Err(doubted(endpoint, error).await),
        };
        let vault = Arc::clone(&self.vault);
        let (session, notices) = DirectSession::new(link, way, events, endpoint.call_deadline, vault);
        Ok((Arc::new(session), notices))
    }
}
