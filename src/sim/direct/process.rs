//! A coordinator's process, as the world meets it.

use std::sync::Arc;

use crate::infra::watch;

/// A process that may die at any time, as by `kill -9`. Clones are the same one.
#[derive(Clone, Default)]
pub(super) struct Process(Arc<watch::Sender<bool>>);

impl Process {
    pub(super) fn die(&self) {
        self.0.send_replace(true);
    }

    /// Does this for as long as the process lives. Afterwards nothing of it goes on, and nobody hears what came of it.
    pub(super) async fn alive<T>(&self, act: impl Future<Output = T>) -> T {
        let mut dead = self.0.subscribe();
        let death = async {
            // The sender is held here.
            let _ = dead.wait_for(|dead| *dead).await;
        };
        tokio::select! {
            // Nothing happens any more in the moment of its death.
            biased;
            () = death => std::future::pending().await,
            outcome = act => outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_a_process_was_doing_when_it_died_is_not_done() {
        let process = Process::default();
        assert_eq!(process.alive(async { 1 }).await, 1);
        let (done, mut is_done) = watch::channel(false);
        let same = process.clone();
        let work = tokio::spawn(async move {
            let later = async {
                tokio::time::sleep(Duration::from_secs(2)).await;
                done.send_replace(true);
            };
            same.alive(later).await;
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        process.die();
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(!work.is_finished() && !*is_done.borrow_and_update());
    }
}
