//! One obs-websocket connection made safe to call: a deadline on every request, an end that everyone learns of.
//!
//! `obws` itself waits for ever for an answer, also when the connection is gone.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use obws::Client;
use obws::responses::StatusCode;
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::time::{Instant, sleep, timeout_at};

use super::Error;
use crate::domain::studio::without_secrets;
use crate::infra::causes::with_causes;
use crate::infra::vault::Vault;

/// `RequestStatus::NotReady`: OBS is changing its scene collection; the request may be repeated.
pub(super) const NOT_READY: u16 = StatusCode::NotReady as u16;
/// `RequestStatus::OutputRunning`.
pub(super) const OUTPUT_RUNNING: u16 = StatusCode::OutputRunning as u16;
/// `RequestStatus::OutputNotRunning`.
pub(super) const OUTPUT_NOT_RUNNING: u16 = StatusCode::OutputNotRunning as u16;
/// `RequestStatus::ResourceNotFound`.
pub(super) const NOT_FOUND: u16 = StatusCode::ResourceNotFound as u16;
/// `RequestStatus::InvalidResourceState`: among others, asking an input without sound for its volume.
pub(super) const WRONG_STATE: u16 = StatusCode::InvalidResourceState as u16;

/// Pieces of a studio worked on at the same time; each is up to three requests.
const PIECES_AT_ONCE: usize = 16;

/// Pause before a request is repeated that OBS was not ready for.
const NOT_READY_PAUSE: Duration = Duration::from_millis(20);

/// `obws` remembers every request until it is answered. A studio that leaves so many unanswered, one after the
/// other, is not coming back on this connection.
const UNANSWERED_MAX: u32 = 256;

/// A request on its way, as `obws` makes them.
pub(super) trait Request<T>: Future<Output = Result<T, obws::error::Error>> + Send {}

impl<T, F: Future<Output = Result<T, obws::error::Error>> + Send> Request<T> for F {}

/// One connection, shared with the requests on their way on it.
pub(super) type Lane = Arc<Client>;

pub(super) struct Link {
    /// One or more connections to the same studio; all are used alike.
    lanes: Vec<Lane>,
    /// Lanes that may take a request now, as often as they may take one.
    free: Mutex<Vec<usize>>,
    /// As many as there are entries in `free`.
    turns: Semaphore,
    call_deadline: Duration,
    /// Seals and opens the stream keys that pass through.
    vault: Arc<Vault>,
    ended: watch::Sender<bool>,
    unanswered: AtomicU32,
}

/// The right to send one request on one lane.
struct Turn<'a> {
    link: &'a Link,
    lane: usize,
    _permit: SemaphorePermit<'a>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.link
            .free
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(self.lane);
    }
}

impl Link {
    /// `requests_per_lane` is how many requests may be on their way on each lane at the same time.
    pub(super) fn new(
        lanes: Vec<Client>,
        requests_per_lane: usize,
        call_deadline: Duration,
        vault: Arc<Vault>,
    ) -> Self {
        let free: Vec<usize> = (0..lanes.len())
            .cycle()
            .take(lanes.len() * requests_per_lane)
            .collect();
        Self {
            lanes: lanes.into_iter().map(Arc::new).collect(),
            turns: Semaphore::new(free.len()),
            free: Mutex::new(free),
            call_deadline,
            vault,
            ended: watch::Sender::new(false),
            unanswered: AtomicU32::new(0),
        }
    }

    /// Whether `obws` still holds this lane's connection.
    pub(super) fn is_connected(&self, lane: usize) -> bool {
        self.lanes.get(lane).is_some_and(|client| client.events().is_ok())
    }

    pub(super) fn call_deadline(&self) -> Duration {
        self.call_deadline
    }

    pub(super) fn vault(&self) -> &Arc<Vault> {
        &self.vault
    }

    /// Makes every call from now on, and those that wait, answer [`Error::Closed`].
    pub(super) fn end(&self) {
        self.ended.send_replace(true);
    }

    pub(super) fn ended(&self) -> watch::Receiver<bool> {
        self.ended.subscribe()
    }

    /// Sends a request and waits for its answer. `call` is its name in the protocol. The deadline includes
    /// waiting for a turn. A request that OBS was not ready for is repeated while there is time: nothing has
    /// happened then.
    pub(super) async fn call<T, R: Request<T>>(
        &self,
        call: &'static str,
        request: impl Fn(Lane) -> R,
    ) -> Result<T, Error> {
        let mut ended = self.ended();
        tokio::select! {
            biased;
            _ = ended.wait_for(|ended| *ended) => Err(Error::Closed),
            answer = self.answer(call, request) => answer,
        }
    }

    async fn answer<T, R: Request<T>>(
        &self,
        call: &'static str,
        request: impl Fn(Lane) -> R,
    ) -> Result<T, Error> {
        let limit = self.call_deadline;
        let deadline = Instant::now() + limit;
        let mut not_ready = None;
        loop {
            let asked = async {
                let turn = self.turn().await?;
                Some(request(self.lanes.get(turn.lane)?.clone()).await)
            };
            let answer = match timeout_at(deadline, asked).await {
                Ok(Some(answer)) => answer,
                // There are always turns and lanes.
                Ok(None) => return Err(Error::Closed),
                Err(_) => {
                    if self.unanswered.fetch_add(1, Ordering::Relaxed) + 1 >= UNANSWERED_MAX {
                        self.end();
                    }
                    // OBS did say something before the time was over.
                    return Err(not_ready.unwrap_or(Error::TimedOut { call, limit }));
                }
            };
            self.unanswered.store(0, Ordering::Relaxed);
            let error = match answer {
                Ok(answer) => return Ok(answer),
                Err(error) => self.classify(call, error),
            };
            let repeat = matches!(error, Error::Denied { code, .. } if code == i64::from(NOT_READY));
            if !repeat || Instant::now() + NOT_READY_PAUSE >= deadline {
                return Err(error);
            }
            not_ready = Some(error);
            sleep(NOT_READY_PAUSE).await;
        }
    }

    async fn turn(&self) -> Option<Turn<'_>> {
        let permit = self.turns.acquire().await.ok()?;
        let lane = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
        Some(Turn {
            link: self,
            lane,
            _permit: permit,
        })
    }

    fn classify(&self, call: &'static str, error: obws::error::Error) -> Error {
        use obws::error::Error as Obws;
        match error {
            Obws::Api { code, message } => Error::Denied {
                call,
                code: i64::from(u16::from(code)),
                comment: message.unwrap_or_default(),
            },
            Obws::Send(_) | Obws::ReceiveMessage(_) | Obws::Disconnected => {
                self.end();
                Error::Closed
            }
            // A value that does not fit is in the text.
            other => Error::Protocol(format!("{call}: {}", without_secrets(&with_causes(&other)))),
        }
    }
}

/// Waits for all pieces of a bigger job, several at a time, and returns what they return in their order. The
/// first error ends it.
pub(super) async fn several<T>(
    pieces: impl IntoIterator<Item = impl Future<Output = Result<T, Error>>>,
) -> Result<Vec<T>, Error> {
    // Collected first: a lazy iterator's borrows are more than the compiler can follow across threads.
    let pieces: Vec<_> = pieces.into_iter().collect();
    stream::iter(pieces).buffered(PIECES_AT_ONCE).try_collect().await
}

/// Whether OBS refused with this code.
pub(super) fn denied_with<T>(answer: &Result<T, Error>, status: u16) -> bool {
    matches!(answer, Err(Error::Denied { code, .. }) if *code == i64::from(status))
}
