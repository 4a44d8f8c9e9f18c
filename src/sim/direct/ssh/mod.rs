//! The SSH servers of the machines, as [`crate::infra::ssh::RusshConnector`] reaches them.
//!
//! Everybody knows the machines' host keys, and has the right key. Commands are those of [`crate::sim::model::shell`].
//! Deliberately absent: login shells and what a command reads. Nobody types in a simulation; a server here gives no
//! terminals.

mod command;
mod execution;
mod files;
mod session;
mod upload;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::timeout;

use self::session::DirectSession;
use super::dice::Span;
use super::network::Network;
use crate::infra::ssh::{Connector, Endpoint, Error, Session};
use crate::sim::model::machine::Service;

/// Key exchange and log-in.
const HANDSHAKE: Span = Span::of_ms(5, 40);

/// Connects to SSH servers in memory.
pub(super) struct DirectConnector {
    network: Network,
    keep_alive: KeepAlive,
}

/// When a session whose server is silent is given up, as [`crate::infra::ssh::Config`] has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeepAlive {
    /// Between two questions.
    pub interval: Duration,
    /// Questions that may go unanswered.
    pub max: u32,
}

impl Default for KeepAlive {
    /// What a coordinator is configured with by default.
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(15),
            max: 3,
        }
    }
}

impl KeepAlive {
    /// From the last sign of life to giving up.
    fn patience(self) -> Duration {
        self.interval.saturating_mul(self.max.saturating_add(1))
    }

    /// As what that is reported.
    fn silence_max(self) -> Duration {
        self.interval.saturating_mul(self.max.saturating_add(2))
    }
}

impl DirectConnector {
    pub(super) fn new(network: Network, keep_alive: KeepAlive) -> Self {
        Self { network, keep_alive }
    }

    async fn log_in(&self, endpoint: &Endpoint) -> Result<DirectSession, Error> {
        let dialed = self.network.dial(endpoint.address, Service::Ssh).await;
        let link = dialed.map_err(|_| Error::Refused)?;
        let login = async {
            link.call(|_| ()).await?;
            tokio::time::sleep(link.dice().draw(HANDSHAKE)).await;
            link.call(|_| ()).await
        };
        // As of a server that goes in the middle of it.
        login
            .await
            .map_err(|_| Error::Unreachable("connection reset".to_owned()))?;
        Ok(DirectSession::new(link, self.network.clone(), self.keep_alive))
    }
}

#[async_trait]
impl Connector for DirectConnector {
    async fn connect(&self, endpoint: &Endpoint) -> Result<Arc<dyn Session>, Error> {
        let limit = endpoint.connect_deadline;
        match timeout(limit, self.log_in(endpoint)).await {
            Ok(session) => Ok(Arc::new(session?)),
            Err(_) => Err(Error::TimedOut(limit)),
        }
    }
}
