//! The private key as a secret store has it.
//!
//! A task reads it at the start, then at every interval, and when a machine refuses the one we have: that is how a
//! rotation shows first. Nobody who connects waits for the store, except for the very first answer.
//!
//! What the store has counts once it is a key that can be used. While it is not, or the store is away, the last good key
//! goes on being used; the log says so once, and once when that is over. The key before the last one is kept as well:
//! a machine that was off during a rotation knows no other. It is offered to a machine that has refused the present
//! one, and forgotten at the next rotation.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

use super::key::ClientKey;
use super::key_source::{Offer, decode};
use super::{Error, connector};
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
/// Where a key was found that cannot be used.
const PLACE: &str = "the secret that ssh.key_secret_arn names";

/// A key that a store keeps.
#[derive(Debug)]
pub(super) struct StoredKey {
    known: watch::Receiver<Known>,
    refused: mpsc::Sender<oneshot::Sender<()>>,
    reading: JoinHandle<()>,
}

/// How a key that a store keeps is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyStanding {
    /// As the store has it.
    Current,
    /// As the store has it; a connection is open that was let in with the one before it alone.
    Rotating,
    /// The store could not be read lately, or has what cannot be used; the last good key is used.
    Kept,
    /// There never was a key that could be used.
    Missing,
}

/// Held by whatever uses a key that the store has replaced.
#[derive(Debug)]
pub(super) struct Superseded;

/// What the readings so far have brought.
#[derive(Debug, Default)]
struct Known {
    /// The last that could be used.
    key: Option<Accepted>,
    /// The one before it.
    before: Option<Before>,
    /// Why the latest reading brought no key; `None` also before the first.
    trouble: Option<Error>,
}

#[derive(Debug)]
struct Accepted {
    text: Secret,
    key: Arc<ClientKey>,
}

#[derive(Debug)]
struct Before {
    key: Arc<ClientKey>,
    used: Arc<Superseded>,
}

impl Known {
    /// Gives back whether it is another key than before.
    fn accept(&mut self, new: Accepted) -> bool {
        let replaced = self.key.replace(new).map(|old| old.key);
        self.trouble = None;
        match replaced.filter(|old| !self.has(old)) {
            Some(old) => {
                self.keep_before(old);
                true
            }
            None => false,
        }
    }

    fn keep_before(&mut self, key: Arc<ClientKey>) {
        let used = Arc::new(Superseded);
        self.before = Some(Before { key, used });
    }

    /// Whether this is the present key, however it was written.
    fn has(&self, key: &ClientKey) -> bool {
        self.key.as_ref().is_some_and(|known| is_same(&known.key, key))
    }
}

fn is_same(one: &ClientKey, other: &ClientKey) -> bool {
    one.public().key_data() == other.public().key_data()
}

impl StoredKey {
    /// Begins to read, in a task that ends with this value. Must be called on the runtime. `passphrase` is the file of
    /// what protects the key.
    pub(super) fn start(
        store: Arc<dyn SecretStore>,
        passphrase: Option<PathBuf>,
        interval: Duration,
    ) -> Self {
        let (tell, known) = watch::channel(Known::default());
        let (refused, asked) = mpsc::channel(WAITING_MAX);
        let reading = tokio::spawn(async move {
            let reading = Reading {
                store,
                passphrase,
                interval,
                asked,
                tell,
                has_looked_back: false,
            };
            reading.run().await;
        });
        Self {
            known,
            refused,
            reading,
        }
    }

    /// The last key that could be used, from memory.
    ///
    /// # Errors
    /// [`Error::KeyUnavailable`] or [`Error::BadKey`] while there was none.
    pub(super) async fn current(&self) -> Result<Arc<ClientKey>, Error> {
        let mut known = self.known.clone();
        let read = known
            .wait_for(|known| known.key.is_some() || known.trouble.is_some())
            .await;
        match read {
            Ok(known) => match (&known.key, &known.trouble) {
                (Some(accepted), _) => Ok(accepted.key.clone()),
                (None, Some(trouble)) => Err(trouble.clone()),
                (None, None) => Err(Error::Closed),
            },
            // The task ends with the runtime.
            Err(_) => Err(Error::Closed),
        }
    }

    /// The keys to try after this one was refused by a machine: what the store has by now, then what it had before.
    pub(super) async fn instead_of(&self, refused: &ClientKey) -> Vec<Offer> {
        self.read_again().await;
        let known = self.known.borrow();
        let present = known.key.as_ref().map(|accepted| Offer {
            key: accepted.key.clone(),
            superseded: None,
        });
        let before = known.before.as_ref().map(|before| Offer {
            key: before.key.clone(),
            superseded: Some(Arc::downgrade(&before.used)),
        });
        let offers = present.into_iter().chain(before);
        offers.filter(|offer| !is_same(&offer.key, refused)).collect()
    }

    /// How the key is as of the latest reading; `None` before the first.
    pub(super) fn standing(&self) -> Option<KeyStanding> {
        let known = self.known.borrow();
        let is_before_used = |before: &Before| Arc::strong_count(&before.used) > 1;
        match (&known.key, &known.trouble) {
            (Some(_), None) if known.before.as_ref().is_some_and(is_before_used) => {
                Some(KeyStanding::Rotating)
            }
            (Some(_), None) => Some(KeyStanding::Current),
            (Some(_), Some(_)) => Some(KeyStanding::Kept),
            (None, Some(_)) => Some(KeyStanding::Missing),
            (None, None) => None,
        }
    }

    /// Has it read again, since a machine has refused it, and waits a little for that. It is not if that was done just now,
    /// or if too many wait already.
    async fn read_again(&self) {
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
    passphrase: Option<PathBuf>,
    interval: Duration,
    asked: mpsc::Receiver<oneshot::Sender<()>>,
    tell: watch::Sender<Known>,
    /// The key before the present one is known, or known not to be.
    has_looked_back: bool,
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

    async fn read(&mut self) {
        match self.present().await {
            Ok(key) => self.accept(key),
            Err(trouble) => self.note(trouble),
        }
        if !self.has_looked_back && self.tell.borrow().key.is_some() {
            self.look_back().await;
        }
    }

    /// What the store has now, as a key.
    async fn present(&self) -> Result<Accepted, Error> {
        let unavailable = |error: secrets::Error| Error::KeyUnavailable(error.to_string());
        let text = answer(self.store.read()).await.map_err(unavailable)?;
        let known = match &self.tell.borrow().key {
            Some(known) if known.text == text => Some(known.key.clone()),
            _ => None,
        };
        let key = match known {
            Some(key) => key,
            None => self.decoded(text.clone()).await?,
        };
        Ok(Accepted { text, key })
    }

    async fn decoded(&self, text: Secret) -> Result<Arc<ClientKey>, Error> {
        let passphrase = self.passphrase.clone();
        connector::blocking(move || decode(&PLACE, &text, passphrase.as_deref()).map(Arc::new)).await
    }

    fn accept(&mut self, key: Accepted) {
        let mut changed = false;
        self.tell.send_modify(|known| {
            let was_troubled = known.key.is_some() && known.trouble.is_some();
            changed = known.accept(key);
            if changed {
                tracing::info!("the private key for SSH was changed in its store; the new one is used");
            } else if was_troubled {
                tracing::info!("the store of the private key for SSH has a key that can be used again");
            }
        });
        self.has_looked_back |= changed;
    }

    fn note(&self, trouble: Error) {
        self.tell.send_modify(|known| {
            if known.trouble.as_ref() != Some(&trouble) {
                tracing::warn!(
                    error = %trouble,
                    key_kept = known.key.is_some(),
                    "the private key for SSH cannot be had from its store; trying again"
                );
            }
            known.trouble = Some(trouble);
        });
    }

    /// A coordinator that starts in the middle of a rotation has not seen the key before it.
    async fn look_back(&mut self) {
        let before = match answer(self.store.read_previous()).await {
            Ok(before) => before,
            Err(error) => {
                tracing::debug!(%error, "the key before the present one is not known; looking again");
                return;
            }
        };
        self.has_looked_back = true;
        let Some(text) = before else { return };
        match self.decoded(text).await {
            Ok(key) if !self.tell.borrow().has(&key) => {
                self.tell.send_modify(|known| known.keep_before(key));
            }
            Ok(_) => {}
            Err(error) => tracing::info!(%error, "what the store had before is no key that can be used"),
        }
    }
}

/// The store's answer, within the limit.
async fn answer<T>(
    asked: impl Future<Output = Result<T, secrets::Error>> + Send,
) -> Result<T, secrets::Error> {
    let late = || secrets::Error::Unavailable {
        secret: "the private key".to_owned(),
        detail: format!("no answer within {} s", READ.as_secs()),
    };
    timeout(READ, asked).await.unwrap_or_else(|_| Err(late()))
}

#[cfg(test)]
#[path = "stored_key_tests.rs"]
mod tests;
