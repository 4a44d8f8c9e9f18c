//! One value, and those who wait for it to change: as `tokio::sync::watch`, but those who wait are woken in the order in
//! which they began to.
//!
//! tokio's draws lots (tokio 1.54, `sync/watch.rs`, `BigNotify`), and only takes a seed for them in builds that cost every task
//! and timer more (docs/adr/0008). A tree that draws lots cannot be simulated from a seed, so what takes part in a simulation
//! has this one: `tests/layering` refuses the other there.
//!
//! Whoever waits sees the latest value; those before it that it missed are gone.

use std::ops::Deref;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use tokio::sync::Notify;

/// Nobody is left who could change the value, and the last change has been seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("nobody is left who could change it")]
pub struct Closed;

#[derive(Debug)]
struct Shared<T> {
    present: RwLock<Present<T>>,
    changed: Notify,
    senders: AtomicUsize,
}

#[derive(Debug)]
struct Present<T> {
    value: T,
    /// Rises with every change.
    version: u64,
    closed: bool,
}

impl<T> Shared<T> {
    fn read(&self) -> RwLockReadGuard<'_, Present<T>> {
        self.present.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Present<T>) -> bool) -> bool {
        let changed = change(&mut self.present.write().unwrap_or_else(PoisonError::into_inner));
        if changed {
            // In the order in which they were added (tokio, `Notify::notify_waiters`).
            self.changed.notify_waiters();
        }
        changed
    }
}

/// Holds the value; until it is dropped nobody can change it, so it does not outlive a statement.
#[derive(Debug)]
pub struct Ref<'a, T>(RwLockReadGuard<'a, Present<T>>);

impl<T> Deref for Ref<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.value
    }
}

/// Changes the value. When the last one is dropped, those who wait are told.
#[derive(Debug)]
pub struct Sender<T>(Arc<Shared<T>>);

/// Sees the value, and waits for the next.
#[derive(Debug)]
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    seen: u64,
}

/// A value, and the first who has seen it.
pub fn channel<T>(value: T) -> (Sender<T>, Receiver<T>) {
    let sender = Sender::new(value);
    let receiver = sender.subscribe();
    (sender, receiver)
}

impl<T> Sender<T> {
    pub fn new(value: T) -> Self {
        Self(Arc::new(Shared {
            present: RwLock::new(Present {
                value,
                version: 0,
                closed: false,
            }),
            changed: Notify::new(),
            senders: AtomicUsize::new(1),
        }))
    }

    /// One who has seen the present value.
    #[must_use]
    pub fn subscribe(&self) -> Receiver<T> {
        Receiver {
            seen: self.0.read().version,
            shared: Arc::clone(&self.0),
        }
    }

    #[must_use]
    pub fn borrow(&self) -> Ref<'_, T> {
        Ref(self.0.read())
    }

    /// Sets the value, whether it is another one or not, and returns the one before.
    pub fn send_replace(&self, value: T) -> T {
        let mut value = value;
        self.send_modify(|present| std::mem::swap(present, &mut value));
        value
    }

    pub fn send_modify(&self, modify: impl FnOnce(&mut T)) {
        self.send_if_modified(|value| {
            modify(value);
            true
        });
    }

    /// Wakes nobody unless `modify` says that it changed something; says the same.
    pub fn send_if_modified(&self, modify: impl FnOnce(&mut T) -> bool) -> bool {
        self.0.change(|present| {
            let modified = modify(&mut present.value);
            present.version += u64::from(modified);
            modified
        })
    }
}

impl<T: Default> Default for Sender<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.senders.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(&self.0))
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if self.0.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.change(|present| {
                present.closed = true;
                true
            });
        }
    }
}

impl<T> Receiver<T> {
    /// The value, which does not count as seen.
    #[must_use]
    pub fn borrow(&self) -> Ref<'_, T> {
        Ref(self.shared.read())
    }

    /// The value, which has been seen then.
    pub fn borrow_and_update(&mut self) -> Ref<'_, T> {
        let present = self.shared.read();
        self.seen = present.version;
        Ref(present)
    }

    /// Whether there is a value that was not seen.
    #[must_use]
    pub fn has_changed(&self) -> bool {
        self.shared.read().version != self.seen
    }

    /// Waits until there is a value that was not seen, which is then. May be dropped while it waits: nothing is lost.
    ///
    /// # Errors
    /// [`Closed`].
    pub async fn changed(&mut self) -> Result<(), Closed> {
        loop {
            let mut woken = pin!(self.shared.changed.notified());
            // From here on a change wakes it.
            woken.as_mut().enable();
            {
                let present = self.shared.read();
                if present.version != self.seen {
                    self.seen = present.version;
                    return Ok(());
                }
                if present.closed {
                    return Err(Closed);
                }
            }
            woken.await;
        }
    }

    /// Waits until the value is such a one, seen or not, and returns it.
    ///
    /// # Errors
    /// [`Closed`].
    pub async fn wait_for(&mut self, mut is_such: impl FnMut(&T) -> bool) -> Result<Ref<'_, T>, Closed> {
        loop {
            let mut woken = pin!(self.shared.changed.notified());
            woken.as_mut().enable();
            {
                let present = self.shared.read();
                self.seen = present.version;
                if is_such(&present.value) {
                    return Ok(Ref(present));
                }
                if present.closed {
                    return Err(Closed);
                }
            }
            woken.await;
        }
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            seen: self.seen,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn those_who_wait_are_woken_in_the_order_in_which_they_began_to() {
        let (value, _) = channel(0);
        let woken: Arc<Mutex<Vec<usize>>> = Arc::default();
        let waiting: Vec<_> = (0..20)
            .map(|number| {
                let (mut seen, woken) = (value.subscribe(), Arc::clone(&woken));
                tokio::spawn(async move {
                    seen.changed().await.unwrap();
                    woken.lock().unwrap().push(number);
                })
            })
            .collect();
        tokio::task::yield_now().await;
        value.send_replace(1);
        for task in waiting {
            task.await.unwrap();
        }
        assert_eq!(*woken.lock().unwrap(), (0..20).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_change_is_seen_once_and_the_latest_of_several() {
        let (value, mut seen) = channel("first");
        assert_eq!(value.send_replace("second"), "first");
        value.send_modify(|value| *value = "third");
        seen.changed().await.unwrap();
        assert_eq!(*seen.borrow(), "third");
        assert!(!value.send_if_modified(|_| false));
        assert!(
            seen.changed().now_or_never().is_none(),
            "nothing has changed since"
        );
        value.send_replace("fourth");
        assert!(seen.changed().now_or_never().is_some());
        assert_eq!(*seen.borrow_and_update(), "fourth");
        let mut late = value.subscribe();
        assert!(
            late.changed().now_or_never().is_none(),
            "who subscribes has seen what there is"
        );
    }

    #[tokio::test]
    async fn what_was_sent_last_is_seen_before_the_end() {
        let (value, mut seen) = channel(1);
        let other = value.clone();
        drop(value);
        other.send_replace(2);
        drop(other);
        assert_eq!(seen.changed().await, Ok(()));
        assert_eq!(seen.changed().await, Err(Closed));
        assert_eq!(seen.wait_for(|value| *value == 2).await.as_deref(), Ok(&2));
        assert_eq!(seen.wait_for(|value| *value == 3).await.err(), Some(Closed));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn no_change_is_missed_by_who_is_about_to_wait() {
        let (value, mut seen) = channel(0);
        let last = tokio::spawn(async move { *seen.wait_for(|value| *value == 10_000).await.unwrap() });
        for number in 1..=10_000 {
            value.send_replace(number);
        }
        assert_eq!(last.await.unwrap(), 10_000);
    }
}
