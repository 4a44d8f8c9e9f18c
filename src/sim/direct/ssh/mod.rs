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
}

impl DirectConnector {
    pub(super) fn new(network: Network) -> Self {
        Self { network }
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
        Ok(DirectSession::new(link, self.network.clone()))
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
