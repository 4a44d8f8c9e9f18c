//! The show servers of the machines.

use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, timeout};

use super::machine::Shared;
use super::network::Network;
use crate::domain::ids::ShowId;
use crate::infra::probe::{Error, Probe, ServerStatus};
use crate::sim::model::machine::{Machine, Service, StatusPage};

/// Asks show servers, as [`crate::infra::probe::HttpProbe`] does.
pub(super) struct DirectProbe {
    network: Network,
}

impl DirectProbe {
    pub(super) fn new(network: Network) -> Self {
        Self { network }
    }

    /// A connection that broke says nothing about the server, so it is tried once more on a new one.
    async fn ask<T: Send + 'static>(
        &self,
        server: SocketAddr,
        deadline: Duration,
        act: impl FnOnce(&Shared) -> T + Clone + Send + 'static,
    ) -> Result<T, Error> {
        let tries = async {
            match self.ask_once(server, act.clone()).await {
                Err(Error::Unreachable(_)) => self.ask_once(server, act).await,
                answer => answer,
            }
        };
        timeout(deadline, tries)
            .await
            .unwrap_or(Err(Error::TimedOut(deadline)))
    }

    async fn ask_once<T: Send + 'static>(
        &self,
        server: SocketAddr,
        act: impl FnOnce(&Shared) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let dialed = self.network.dial(server, Service::Status).await;
        let link = dialed.map_err(|_| Error::Refused)?;
        let answered = link.call(act).await;
        answered.map_err(|_| Error::Unreachable("connection reset".to_owned()))
    }
}

#[async_trait]
impl Probe for DirectProbe {
    async fn status(
        &self,
        server: SocketAddr,
        deadline: Duration,
        _again: Option<Duration>,
    ) -> Result<ServerStatus, Error> {
        let sent = Instant::now();
        let page = self.ask(server, deadline, |machine| machine.inspect(Machine::status_page));
        let StatusPage {
            obs_connected,
            obs_streaming,
            obs_recording,
            obs_scene,
            uptime,
            version,
            active_show: _,
        } = page.await?;
        Ok(ServerStatus {
            obs_connected: Some(obs_connected),
            obs_streaming: Some(obs_streaming),
            obs_recording: Some(obs_recording),
            obs_scene,
            uptime_s: Some(uptime.as_secs_f64()),
            version: Some(version.to_owned()),
            response_time: sent.elapsed(),
        })
    }

    async fn activate(
        &self,
        server: SocketAddr,
        show: Option<&ShowId>,
        deadline: Duration,
    ) -> Result<(), Error> {
        let show = show.map(|show| show.as_str().to_owned());
        let act = move |machine: &Shared| machine.change(|model, _| model.activate(show));
        self.ask(server, deadline, act).await
    }
}
