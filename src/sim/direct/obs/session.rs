//! The session itself: calls with deadlines, captures, and the outputs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use super::restore;
use super::watch::{Standing, Watched, watch};
use crate::domain::studio::{Output, Recording, Studio};
use crate::domain::time::{Timestamp, millis};
use crate::infra::obs::{Error, Frame, Means, Notice, Outputs, Phase, Restored, Scenes, stream_service};
use crate::infra::ssh::tunnel;
use crate::infra::vault::Vault;
use crate::infra::watch;
use crate::sim::direct::dice::Span;
use crate::sim::direct::network::Link;
use crate::sim::model::machine::Machine;
use crate::sim::model::studio::event::StudioEvent;

/// A capture is hundreds of requests on the wire.
const CAPTURE: Span = Span::of_ms(10, 60);
/// A picture (measured on OBS 30.2.3).
const PICTURE: Span = Span::of_ms(3, 80);

// As `infra::obs` asks.
const NOT_READY_PAUSE: Duration = Duration::from_millis(20);
const STOP_POLL: Duration = Duration::from_millis(20);
const CONNECTING_POLL: Duration = Duration::from_millis(100);
const START_SEEN: Duration = Duration::from_millis(250);
const RECORDING_FINISH: Duration = Duration::from_secs(10);
const UNANSWERED_MAX: u32 = 256;

pub(super) struct DirectSession {
    link: Link,
    limit: Duration,
    vault: Arc<Vault>,
    standing: Arc<Standing>,
    /// Since when events of the stream reach this session.
    since: Instant,
    unanswered: AtomicU32,
}

/// OBS is changing its scene collection.
struct NotReady;

impl DirectSession {
    pub(super) fn new(
        link: Link,
        way: Option<Box<dyn tunnel::Stream>>,
        events: mpsc::Receiver<StudioEvent>,
        limit: Duration,
        vault: Arc<Vault>,
    ) -> (Self, mpsc::Receiver<Notice>) {
        let (standing, notices) = watch(Watched {
            line: Arc::clone(link.line()),
            way,
            events,
            dice: Arc::clone(link.dice()),
        });
        let session = Self {
            link,
            limit,
            vault,
            standing,
            since: Instant::now(),
            unanswered: AtomicU32::new(0),
        };
        (session, notices)
    }

    pub(super) fn vault(&self) -> &Vault {
        &self.vault
    }

    /// A request and its answer. One that OBS is not ready for is repeated while there is time.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        call: &'static str,
        act: impl FnOnce(&mut Machine, Timestamp) -> T + Clone + Send + 'static,
    ) -> Result<T, Error> {
        let mut ended = self.standing.ended.subscribe();
        tokio::select! {
            biased;
            _ = ended.wait_for(|ended| *ended) => Err(Error::Closed),
            answer = self.answer(call, act) => answer,
        }
    }

    async fn answer<T: Send + 'static>(
        &self,
        call: &'static str,
        act: impl FnOnce(&mut Machine, Timestamp) -> T + Clone + Send + 'static,
    ) -> Result<T, Error> {
        let limit = self.limit;
        let deadline = Instant::now() + limit;
        loop {
            let act = act.clone();
            let asked = self.link.call(move |machine| {
                let act = |model: &mut Machine, now| match model.studio().switching_until(now) {
                    Some(_) => Err(NotReady),
                    None => Ok(act(model, now)),
                };
                // As obs-websocket names what only reads.
                if call.starts_with("Get") {
                    machine.ask(act)
                } else {
                    machine.change(act)
                }
            });
            match timeout_at(deadline, asked).await {
                Ok(Ok(answer)) => {
                    self.unanswered.store(0, Ordering::Relaxed);
                    if let Ok(answer) = answer {
                        return Ok(answer);
                    }
                }
                Ok(Err(_)) => return Err(Error::Closed),
                Err(_) => {
                    if self.unanswered.fetch_add(1, Ordering::Relaxed) + 1 >= UNANSWERED_MAX {
                        self.standing.ended.send_replace(true);
                    }
                    return Err(Error::TimedOut { call, limit });
                }
            }
            sleep(NOT_READY_PAUSE).await;
        }
    }

    /// Takes about as long as such a job takes on the wire, unless the connection ends.
    pub(super) async fn work(&self, span: Span) -> Result<(), Error> {
        let mut ended = self.standing.ended.subscribe();
        tokio::select! {
            biased;
            _ = ended.wait_for(|ended| *ended) => Err(Error::Closed),
            () = sleep(self.link.dice().draw(span)) => Ok(()),
        }
    }

    pub(super) async fn read(&self) -> Result<Studio, Error> {
        self.work(CAPTURE).await?;
        let (mut studio, service) = self
            .call("GetSceneCollectionList", |model, _| {
                let studio = model.studio();
                (studio.snapshot(), studio.service().clone())
            })
            .await?;
        let settings = Value::Object(service.settings);
        studio.stream = Some(stream_service(service.kind, settings, &self.vault)?);
        Ok(studio)
    }

    /// Tells OBS to stop until there is nothing to stop. While a stream is still connecting, OBS answers that
    /// none is running, and starts it a moment later: the caller wants that one stopped too.
    async fn stop(&self) -> Result<(), Error> {
        let mut phases = self.standing.phase.subscribe();
        loop {
            let phase = *phases.borrow_and_update();
            let stopped = self.call("StopStream", |model, now| model.studio_mut().stop_stream(now));
            match (stopped.await?, phase) {
                (Ok(()), _) => break,
                // The answer may be older than the news.
                (Err(_), _) if phases.has_changed() => {}
                (Err(_), Phase::Settled) => return Ok(()),
                (Err(_), Phase::Unknown) if self.is_idle().await? => self.settle(),
                (Err(_), Phase::Unknown | Phase::Starting) => self.next_phase(&mut phases).await?,
            }
        }
        while self.output().await?.active {
            sleep(STOP_POLL).await;
        }
        Ok(())
    }

    /// Whether OBS, which says that no stream is active, is not connecting one either: as [`crate::infra::obs`] finds out.
    async fn is_idle(&self) -> Result<bool, Error> {
        sleep_until(self.since + START_SEEN).await;
        self.call("GetOutputList", |model, now| {
            let output = model.studio().output();
            !output.is_made() || (!output.is_active() && output.bytes(now) > 0)
        })
        .await
    }

    /// Notes what was found out, unless OBS has told something since.
    fn settle(&self) {
        self.standing.phase.send_if_modified(|phase| {
            let was_unknown = *phase == Phase::Unknown;
            if was_unknown {
                *phase = Phase::Settled;
            }
            was_unknown
        });
    }

    /// Waits until OBS tells something, but not long.
    async fn next_phase(&self, phases: &mut watch::Receiver<Phase>) -> Result<(), Error> {
        let mut ended = self.standing.ended.subscribe();
        tokio::select! {
            biased;
            _ = ended.wait_for(|ended| *ended) => Err(Error::Closed),
            changed = phases.changed() => changed.map_err(|_| Error::Closed),
            () = sleep(CONNECTING_POLL) => Ok(()),
        }
    }
}

impl Drop for DirectSession {
    fn drop(&mut self) {
        self.standing.ended.send_replace(true);
    }
}

#[async_trait]
impl Scenes for DirectSession {
    async fn capture(&self) -> Result<Studio, Error> {
        self.read().await
    }

    async fn restore(&self, studio: &Studio, means: &Means) -> Result<Restored, Error> {
        restore::restore(self, studio, means).await
    }

    async fn check_frame(&self, may_edit: bool) -> Result<Frame, Error> {
        self.work(PICTURE).await?;
        self.call("GetSourceScreenshot", move |model, _| {
            let studio = model.studio();
            let colors = studio.colors(studio.collection().program);
            let differs = colors.iter().any(|color| *color != colors[0]);
            // A patch of our own, on a black canvas, shows wherever anything is drawn at all.
            if differs || (may_edit && studio.draws()) {
                Frame::Drawn
            } else {
                Frame::Blank
            }
        })
        .await
    }
}

#[async_trait]
impl Outputs for DirectSession {
    async fn output(&self) -> Result<Output, Error> {
        self.call("GetStreamStatus", |model, now| {
            let output = model.studio().output();
            Output {
                active: output.is_active(),
                reconnecting: output.is_reconnecting(),
                bytes: output.bytes(now),
                duration_ms: millis(output.duration(now)),
                skipped_frames: 0,
                total_frames: output.total_frames(now),
            }
        })
        .await
    }

    async fn start_stream(&self) -> Result<(), Error> {
        // Before OBS can tell what became of it.
        self.standing.phase.send_replace(Phase::Starting);
        let started = self.call("StartStream", |model, now| model.studio_mut().start_stream(now));
        match started.await? {
            Ok(()) => Ok(()),
            // One is active, which is what was asked for and can be stopped.
            Err(_) => {
                self.standing.phase.send_replace(Phase::Settled);
                Ok(())
            }
        }
    }

    async fn stop_stream(&self) -> Result<(), Error> {
        let limit = self.limit;
        let call = "StopStream";
        timeout(limit, self.stop())
            .await
            .unwrap_or(Err(Error::TimedOut { call, limit }))
    }

    async fn stop_recording(&self) -> Result<(), Error> {
        let ended = self.call("StopRecord", |model, now| {
            // Ending none is as good.
            let _ = model.studio_mut().stop_record(now);
            model.studio().recording()
        });
        let (call, limit) = ("StopRecord", RECORDING_FINISH);
        match timeout(limit, ended).await {
            Ok(Ok(Recording::Off)) => Ok(()),
            Ok(Err(error)) => Err(error),
            Ok(Ok(_)) | Err(_) => Err(Error::TimedOut { call, limit }),
        }
    }
}
