//! Whether time goes on: a run in which everybody is busy for ever, and nobody waits, would never end.
//!
//! Virtual time moves only while nobody has anything to do. So somebody outside looks at it, from another thread. This is the
//! one thing in a simulation that reads a real clock, and all that it can do is end what would have no end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use tokio::sync::Notify;

/// Virtual time that has not moved for so long never will: a quarter of a second of it takes milliseconds, a hundred times
/// that where a machine is busy.
pub const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
struct Shared {
    at_ms: AtomicU64,
    stands: Notify,
}

/// Looks at a run's time until it is dropped. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Pace {
    shared: Arc<Shared>,
    /// Its end is that of the thread.
    _looking: mpsc::Sender<()>,
}

impl Pace {
    /// Begins to look.
    ///
    /// # Errors
    /// If there is no other thread to be had.
    pub fn begin(patience: Duration) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let (looking, ended) = mpsc::channel();
        let seen = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("pace".to_owned())
            .spawn(move || look(&seen, &ended, patience))?;
        Ok(Self {
            shared,
            _looking: looking,
        })
    }

    /// It is so late now, in virtual time.
    pub fn passed(&self, now_ms: u64) {
        self.shared.at_ms.store(now_ms, Ordering::Relaxed);
    }

    /// Returns when time does not go on.
    pub async fn stands(&self) {
        self.shared.stands.notified().await;
    }
}

fn look(shared: &Shared, ended: &mpsc::Receiver<()>, patience: Duration) {
    let mut before = None;
    while let Err(mpsc::RecvTimeoutError::Timeout) = ended.recv_timeout(patience) {
        let now = Some(shared.at_ms.load(Ordering::Relaxed));
        if now == before {
            shared.stands.notify_one();
        }
        before = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether somebody who does this all the time was found to keep time from going on, within some of it.
    fn stands<F: Future<Output = ()> + Send + 'static>(patience: Duration, does: fn() -> F) -> bool {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let pace = Pace::begin(patience).unwrap();
        runtime.block_on(async {
            let began = tokio::time::Instant::now();
            tokio::spawn(async move {
                loop {
                    does().await;
                }
            });
            let minutes = async {
                while began.elapsed() < Duration::from_secs(60) {
                    pace.passed(crate::domain::time::millis(began.elapsed()));
                    tokio::time::sleep(Duration::from_millis(250)).await;
                }
            };
            tokio::select! {
                biased;
                () = pace.stands() => true,
                () = minutes => false,
            }
        })
    }

    #[test]
    fn who_never_waits_is_found_and_who_works_all_the_time_is_not() {
        assert!(stands(Duration::from_millis(100), tokio::task::yield_now));
        // With more patience than a busy machine takes to come back to it.
        let works = || tokio::time::sleep(Duration::from_millis(1));
        assert!(!stands(PATIENCE, works));
    }
}
