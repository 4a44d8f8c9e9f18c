//! The session itself: the stream output, and the way to capture and restore.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::connector::open_quiet;
use super::link::{Link, OUTPUT_NOT_RUNNING, OUTPUT_RUNNING, denied_with};
use super::notices::{Phase, Phases};
use super::{Endpoint, Error, Restored, Session, capture, restore};
use crate::domain::studio::{Output, Studio};

/// How often OBS is asked whether a stream that was told to stop has stopped. It takes about 0.2 s.
const STOP_POLL: Duration = Duration::from_millis(20);

pub(super) struct ObwsSession {
    endpoint: Endpoint,
    link: Arc<Link>,
    phases: Phases,
}

impl ObwsSession {
    pub(super) fn new(endpoint: Endpoint, link: Arc<Link>, phases: Phases) -> Self {
        Self {
            endpoint,
            link,
            phases,
        }
    }

    /// Tells OBS to stop until there is nothing to stop. While a stream is still connecting, OBS answers that
    /// none is running, and starts it a moment later: the caller wants that one stopped too.
    async fn stop(&self) -> Result<(), Error> {
        let mut phases = self.phases.subscribe();
        loop {
            let connecting = *phases.borrow_and_update() == Phase::Starting;
            let stopped = self
                .link
                .call(
                    "StopStream",
                    |client| async move { client.streaming().stop().await },
                )
                .await;
            match stopped {
                Ok(()) => break,
                stopped if !denied_with(&stopped, OUTPUT_NOT_RUNNING) => return stopped,
                _ if connecting || phases.has_changed().unwrap_or(false) => {
                    self.next_phase(&mut phases).await?;
                }
                _ => return Ok(()),
            }
        }
        while self.output().await?.active {
            sleep(STOP_POLL).await;
        }
        Ok(())
    }

    async fn next_phase(&self, phases: &mut watch::Receiver<Phase>) -> Result<(), Error> {
        let mut ended = self.link.ended();
        tokio::select! {
            _ = ended.wait_for(|ended| *ended) => Err(Error::Closed),
            changed = phases.changed() => changed.map_err(|_| Error::Closed),
        }
    }
}

#[async_trait]
impl Session for ObwsSession {
    async fn capture(&self) -> Result<Studio, Error> {
        capture::capture(&self.link).await
    }

    async fn restore(&self, studio: &Studio) -> Result<Restored, Error> {
        let mut ended = self.link.ended();
        let restored = async {
            let quiet = open_quiet(&self.endpoint).await?;
            restore::restore(&quiet, studio).await
        };
        tokio::select! {
            biased;
            _ = ended.wait_for(|ended| *ended) => Err(Error::Closed),
            restored = restored => restored,
        }
    }

    async fn output(&self) -> Result<Output, Error> {
        capture::output(&self.link).await
    }

    async fn start_stream(&self) -> Result<(), Error> {
        // Before OBS can tell what became of it.
        self.phases.send_replace(Phase::Starting);
        let started = self
            .link
            .call(
                "StartStream",
                |client| async move { client.streaming().start().await },
            )
            .await;
        let running = denied_with(&started, OUTPUT_RUNNING);
        if let Err(Error::Denied { .. }) = started {
            self.phases.send_replace(Phase::Settled);
        }
        if running { Ok(()) } else { started }
    }

    async fn stop_stream(&self) -> Result<(), Error> {
        let limit = self.link.call_deadline();
        match timeout(limit, self.stop()).await {
            Ok(stopped) => stopped,
            Err(_) => Err(Error::TimedOut {
                call: "StopStream",
                limit,
            }),
        }
    }
}
