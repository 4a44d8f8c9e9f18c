//! The session itself: the stream output, and the way to capture and restore.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{Instrument as _, debug, debug_span};

use super::connector::open_quiet;
use super::link::{Link, OUTPUT_NOT_RUNNING, OUTPUT_RUNNING, denied_with};
use super::notices::{Phase, Phases};
use super::{Endpoint, Error, Frame, Means, Outputs, Restored, Scenes, capture, frame, restore};
use crate::domain::studio::{Output, Recording, Studio};

/// How often OBS is asked whether a stream that was told to stop has stopped. It takes about 0.2 s.
const STOP_POLL: Duration = Duration::from_millis(20);

/// Limit on OBS finishing the file of a recording. What was encoded is still to be written, and the file's index after it.
const RECORDING_FINISH: Duration = Duration::from_secs(10);

/// How often OBS is asked whether it has finished the file of a recording.
const RECORDING_POLL: Duration = Duration::from_millis(50);

/// How often a stream that may be connecting is told to stop, should the event that it has connected be lost.
const CONNECTING_POLL: Duration = Duration::from_millis(100);

/// OBS answers `StartStream` before its window's thread does it; meanwhile everything looks as before. Measured
/// on OBS 30.2.3, idle and on a busy machine: up to 40 ms. What a session finds once it is this old holds for
/// every start that was asked for before it was made.
const START_SEEN: Duration = Duration::from_millis(250);

pub(super) struct ObwsSession {
    endpoint: Endpoint,
    link: Arc<Link>,
    phases: Phases,
    /// Since when events of the stream reach this session.
    since: Instant,
}

impl ObwsSession {
    pub(super) fn new(endpoint: Endpoint, link: Arc<Link>, phases: Phases) -> Self {
        Self {
            endpoint,
            link,
            phases,
            since: Instant::now(),
        }
    }

    /// Tells OBS to stop until there is nothing to stop. While a stream is still connecting, OBS answers that
    /// none is running, and starts it a moment later: the caller wants that one stopped too.
    async fn stop(&self) -> Result<(), Error> {
        let mut phases = self.phases.subscribe();
        loop {
            let phase = *phases.borrow_and_update();
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
                // The answer may be older than the news.
                _ if phases.has_changed().unwrap_or(false) => {}
                _ => match phase {
                    Phase::Settled => return Ok(()),
                    Phase::Unknown if self.is_idle().await? => self.settle(),
                    Phase::Unknown | Phase::Starting => self.next_phase(&mut phases).await?,
                },
            }
        }
        while self.output().await?.active {
            sleep(STOP_POLL).await;
        }
        Ok(())
    }

    async fn end_recording(&self) -> Result<(), Error> {
        let stopped = self
            .link
            .call(
                "StopRecord",
                |client| async move { client.recording().stop().await },
            )
            .await;
        // It may be about to end one that somebody else has stopped.
        if !denied_with(&stopped, OUTPUT_NOT_RUNNING) {
            stopped?;
        }
        while capture::recording(&self.link).await? != Recording::Off {
            sleep(RECORDING_POLL).await;
        }
        Ok(())
    }

    /// Whether OBS, which says that no stream is active, is not connecting one either. Its protocol has no word
    /// for that, but two traces tell (OBS 30.2.3, `UI/window-basic-main-outputs.cpp` and
    /// `plugins/obs-outputs/rtmp-stream.c`, and measured with an ingest that accepts and never answers):
    /// the output that needs a service is made by the first start, and a start makes `outputBytes`, which
    /// otherwise keep the last stream's figure, zero before it connects. So no such output, or bytes without an
    /// active stream, mean idle. An output without bytes may be connecting, or have failed to.
    ///
    /// Not seen: a start that OBS's window is too busy for to begin within [`START_SEEN`].
    async fn is_idle(&self) -> Result<bool, Error> {
        sleep_until(self.since + START_SEEN).await;
        let outputs = self
            .link
            .call(
                "GetOutputList",
                |client| async move { client.outputs().list().await },
            )
            .await?;
        if !outputs.iter().any(|output| output.flags.service) {
            return Ok(true);
        }
        let output = self.output().await?;
        Ok(!output.active && output.bytes > 0)
    }

    /// Notes what was found out, unless OBS has told something since.
    fn settle(&self) {
        self.phases.send_if_modified(|phase| {
            let was_unknown = *phase == Phase::Unknown;
            if was_unknown {
                *phase = Phase::Settled;
            }
            was_unknown
        });
    }

    /// Waits until OBS tells something, but not long.
    async fn next_phase(&self, phases: &mut watch::Receiver<Phase>) -> Result<(), Error> {
        let mut ended = self.link.ended();
        tokio::select! {
            _ = ended.wait_for(|ended| *ended) => Err(Error::Closed),
            changed = phases.changed() => changed.map_err(|_| Error::Closed),
            () = sleep(CONNECTING_POLL) => Ok(()),
        }
    }
}

/// What comes of something that a studio was asked to do, in the log and in a span of its own.
async fn told<T>(call: &'static str, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let told = async {
        let result = work.await;
        match &result {
            Ok(_) => debug!("the studio has done it"),
            Err(error) => debug!(%error, "the studio has not done it"),
        }
        result
    };
    told.instrument(debug_span!("obs", call)).await
}

#[async_trait]
impl Scenes for ObwsSession {
    async fn capture(&self) -> Result<Studio, Error> {
        told("capture", Box::pin(capture::capture(&self.link))).await
    }

    async fn restore(&self, studio: &Studio, means: &Means) -> Result<Restored, Error> {
        told("restore", Box::pin(self.make_equal(studio, means))).await
    }

    async fn check_frame(&self, may_edit: bool) -> Result<Frame, Error> {
        frame::check(&self.link, may_edit).await
    }
}

impl ObwsSession {
    async fn make_equal(&self, studio: &Studio, means: &Means) -> Result<Restored, Error> {
        let mut ended = self.link.ended();
        let restored = async {
            let quiet = open_quiet(&self.endpoint, self.link.vault()).await?;
            Box::pin(restore::restore(&quiet, studio, means)).await
        };
        tokio::select! {
            biased;
            _ = ended.wait_for(|ended| *ended) => Err(Error::Closed),
            restored = restored => restored,
        }
    }

    async fn begin_stream(&self) -> Result<(), Error> {
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
            // Refused because one is active, which can be stopped; else nothing is known but that it is not ours.
            let phase = if running { Phase::Settled } else { Phase::Unknown };
            self.phases.send_replace(phase);
        }
        if running { Ok(()) } else { started }
    }
}

#[async_trait]
impl Outputs for ObwsSession {
    async fn output(&self) -> Result<Output, Error> {
        capture::output(&self.link).await
    }

    async fn start_stream(&self) -> Result<(), Error> {
        told("start-stream", self.begin_stream()).await
    }

    async fn stop_stream(&self) -> Result<(), Error> {
        let limit = self.link.call_deadline();
        let stopped = async {
            timeout(limit, self.stop()).await.unwrap_or(Err(Error::TimedOut {
                call: "StopStream",
                limit,
            }))
        };
        told("stop-stream", stopped).await
    }

    async fn stop_recording(&self) -> Result<(), Error> {
        let limit = RECORDING_FINISH;
        timeout(limit, self.end_recording())
            .await
            .unwrap_or(Err(Error::TimedOut {
                call: "StopRecord",
                limit,
            }))
    }
}
