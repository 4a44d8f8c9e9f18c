//! The private key as a secret store has it.
//!
//! A task reads it at the start, then at every interval, and when a machine refuses the one we have: that is how a
//! rotation shows first. Nobody who connects waits for the store, except for the very first answer. While the store
//! is away the key that was read last goes on being used; the log says so once, and once when it is back.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

use super::Error;
use crate::domain::studio::Secret;
use crate::infra::secrets::{self, SecretStore};

/// Limit on one reading; the store has shorter ones of its own.
const READ: Duration = Duration::from_secs(15);
/// Between two readings because a machine refused the key. A machine that boots does not know its users yet, and that is
/// no reason to ask the store each time.
const REFUSED_AGAIN: Duration = Duration::from_secs(10);
/// Limit on waiting for such a reading: a store that is away must not make a machine that refused look silent.
const REFUSED_WAIT: Duration = Duration::from_secs(3);
/// Between two readings while there is no key at all, or the store is away; never longer than the interval.
const TROUBLED_AGAIN: Duration = Duration::from_secs(30);
/// Connections that wait for a reading at the same time; more do not get one.
const WAITING_MAX: usize = 256;

/// A key that a store keeps.
#[derive(Debug)]
pub struct StoredKey {
    known: watch::Receiver<Known>,
    refused: mpsc::Sender<oneshot::Sender<()>>,
    reading: JoinHandle<()>,
}

/// How a key that a store keeps is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyStanding {
    /// As the store has it.
    Current,
    /// The store could not be read lately; the last key that was read is used.
    Kept,
    /// The store could not be read, and never was.
    Missing,
}

/// What the readings so far have brought.
#[derive(Debug, Clone, Default)]
struct Known {
    /// The last that was read.
    key: Option<Secret>,
    /// Why the latest reading failed; `None` also before the first.
    trouble: Option<secrets::Error>,
}

impl StoredKey {
    /// Begins to read, in a task that ends with this value. Must be called on the runtime.
    #[must_use]
    pub fn start(store: Arc<dyn SecretStore>, interval: Duration) -> Self {
        let (tell, known) = watch::channel(Known::default());
        let (refused, asked) = mpsc::channel(WAITING_MAX);
        let reading = tokio::spawn(async move {
            let reading = Reading {
                store,
                interval,
                asked,
                tell,
            };
            reading.run().await;
        });
        Self {
            known,
            refused,
            reading,
        }
    }

    /// The key that was read last, from memory.
    ///
    /// # Errors
    /// [`Error::KeyUnavailable`] while none was ever read.
    pub(super) async fn current(&self) -> Result<Secret, Error> {
        let mut known = self.known.clone();
        let read = known
            .wait_for(|known| known.key.is_some() || known.trouble.is_some())
            .await;
        match read {
            Ok(known) => match (&known.key, &known.trouble) {
                (Some(key), _) => Ok(key.clone()),
                (None, Some(trouble)) => Err(Error::KeyUnavailable(trouble.to_string())),
                (None, None) => Err(Error::Closed),
            },
            // The task ends with the runtime.
            Err(_) => Err(Error::Closed),
        }
    }

    /// How the key is as of the latest reading; `None` before the first.
    pub(super) fn standing(&self) -> Option<KeyStanding> {
        let known = self.known.borrow();
        match (&known.key, &known.trouble) {
            (Some(_), None) => Some(KeyStanding::Current),
            (Some(_), Some(_)) => Some(KeyStanding::Kept),
            (None, Some(_)) => Some(KeyStanding::Missing),
            (None, None) => None,
        }
    }

    /// Has it read again, since a machine has refused it, and waits a little for that. It is not if that was done just now,
    /// or if too many wait already.
    pub(super) async fn read_again(&self) {
        let (done, read) = oneshot::channel();
        if self.refused.try_send(done).is_ok() {
            // Late, or the task ended with the runtime: the key is what it was.
            let _ = timeout(REFUSED_WAIT, read).await;
        }
    }
}

impl Drop for StoredKey {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

struct Reading {
    store: Arc<dyn SecretStore>,
    interval: Duration,
    asked: mpsc::Receiver<oneshot::Sender<()>>,
    tell: watch::Sender<Known>,
}

impl Reading {
    async fn run(mut self) {
        let mut waiting: Option<oneshot::Sender<()>> = None;
        let mut asked_at: Option<Instant> = None;
        loop {
            self.read().await;
            let read = Instant::now();
            if let Some(waiting) = waiting.take() {
                // Whoever asked may have given up.
                let _ = waiting.send(());
            }
            while waiting.is_none() {
                let asked = tokio::select! {
                    () = sleep_until(read + self.pause()) => break,
                    asked = self.asked.recv() => asked,
                };
                let Some(asked) = asked else { return };
                if asked_at.is_none_or(|at| at.elapsed() >= REFUSED_AGAIN) {
                    asked_at = Some(Instant::now());
                    waiting = Some(asked);
                } else {
                    // It was read for another machine just now.
                    let _ = asked.send(());
                }
            }
        }
    }

    fn pause(&self) -> Duration {
        if self.tell.borrow().trouble.is_some() {
            self.interval.min(TROUBLED_AGAIN)
        } else {
            self.interval
        }
    }

    async fn read(&self) {
        let answer = match timeout(READ, self.store.read()).await {
            Ok(answer) => answer,
            Err(_) => Err(secrets::Error::Unavailable {
                secret: "the private key".to_owned(),
                detail: format!("no answer within {} s", READ.as_secs()),
            }),
        };
        self.tell.send_modify(|known| match answer {
            Ok(key) => {
                if known.key.as_ref().is_some_and(|before| *before != key) {
                    tracing::info!("the private key for SSH was changed in its store; the new one is used");
                } else if known.trouble.is_some() {
                    tracing::info!("the store of the private key for SSH answers again");
                }
                *known = Known {
                    key: Some(key),
                    trouble: None,
                };
            }
            Err(trouble) => {
                if known.trouble.as_ref() != Some(&trouble) {
                    let goes_on = known.key.is_some();
                    tracing::warn!(
                        error = %trouble,
                        key_kept = goes_on,
                        "the private key for SSH cannot be read from its store; trying again"
                    );
                }
                known.trouble = Some(trouble);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;

    use super::*;

    /// A store that answers what it is told to, and counts.
    #[derive(Debug, Default)]
    struct Told {
        answer: Mutex<Option<&'static str>>,
        readings: Mutex<u32>,
    }

    impl Told {
        fn with(answer: &'static str) -> Arc<Self> {
            let told = Arc::new(Self::default());
            told.set(Some(answer));
            told
        }

        fn set(&self, answer: Option<&'static str>) {
            *self.answer.lock().unwrap() = answer;
        }

        fn readings(&self) -> u32 {
            *self.readings.lock().unwrap()
        }
    }

    #[async_trait]
    impl SecretStore for Told {
        async fn read(&self) -> Result<Secret, secrets::Error> {
            *self.readings.lock().unwrap() += 1;
            let answer = *self.answer.lock().unwrap();
            answer.map(Secret::new).ok_or_else(away)
        }
    }

    fn away() -> secrets::Error {
        secrets::Error::Unavailable {
            secret: "key".to_owned(),
            detail: "away".to_owned(),
        }
    }

    const INTERVAL: Duration = Duration::from_secs(300);

    async fn pass(time: Duration) {
        // One more than the timer, so that what it wakes has run.
        tokio::time::sleep(time + Duration::from_millis(1)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_changed_secret_is_known_after_an_interval() {
        let store = Told::with("one");
        let key = StoredKey::start(store.clone(), INTERVAL);
        assert_eq!(key.current().await, Ok(Secret::new("one")));
        store.set(Some("two"));
        assert_eq!(key.current().await, Ok(Secret::new("one")));
        pass(INTERVAL).await;
        assert_eq!(key.current().await, Ok(Secret::new("two")));
        assert_eq!(store.readings(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_has_it_read_at_once_but_many_do_not_ask_the_store_each() {
        let store = Told::with("one");
        let key = StoredKey::start(store.clone(), INTERVAL);
        key.current().await.unwrap();
        store.set(Some("two"));
        for _ in 0..50 {
            key.read_again().await;
            assert_eq!(key.current().await, Ok(Secret::new("two")));
        }
        assert_eq!(store.readings(), 2);
        pass(REFUSED_AGAIN).await;
        key.read_again().await;
        assert_eq!(store.readings(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_key_is_kept_while_the_store_is_away_and_that_is_known() {
        let store = Told::with("one");
        let key = StoredKey::start(store.clone(), INTERVAL);
        key.current().await.unwrap();
        assert_eq!(key.standing(), Some(KeyStanding::Current));
        store.set(None);
        pass(INTERVAL).await;
        assert_eq!(key.standing(), Some(KeyStanding::Kept));
        assert_eq!(key.current().await, Ok(Secret::new("one")));
        // It is looked for more often now.
        store.set(Some("two"));
        pass(TROUBLED_AGAIN).await;
        assert_eq!(key.standing(), Some(KeyStanding::Current));
        assert_eq!(key.current().await, Ok(Secret::new("two")));
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_never_answered_leaves_no_key_and_says_why() {
        let store = Arc::new(Told::default());
        let key = StoredKey::start(store.clone(), INTERVAL);
        let answer = key.current().await;
        assert_eq!(answer, Err(Error::KeyUnavailable(away().to_string())));
        assert_eq!(key.standing(), Some(KeyStanding::Missing));
        store.set(Some("hush"));
        pass(TROUBLED_AGAIN).await;
        assert_eq!(key.current().await, Ok(Secret::new("hush")));
        assert!(!format!("{key:?}").contains("hush"), "{key:?}");
    }
}
