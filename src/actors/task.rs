//! Tasks of actors: one that ends with whoever started it, and one with an actor around it, so that it can be
//! watched, killed and restarted like any other.
//!
//! The first is for an effect whose result is cast back. The second is for work that is one long conversation rather
//! than a mailbox: a link to a machine, the gateway's server.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use ractor::{Actor, ActorProcessingErr};
use tokio::task::{AbortHandle, JoinHandle};
use tracing::Instrument as _;

use super::mailbox::ActorRef;
use super::supervisor::Spec;
use crate::domain::restart::Restart;

/// How a child is started that is nothing but this task. The task ending counts as its failure.
pub fn spec(restart: Restart, task: impl Fn() -> BoxFuture<'static, ()> + Send + Sync + 'static) -> Spec {
    let start = move |supervisor: ractor::ActorCell| {
        let task = task();
        let spawned = async move {
            let (actor, _) = Actor::spawn_linked(None, Shell, task, supervisor).await?;
            Ok(actor.get_cell())
        };
        Box::pin(spawned) as BoxFuture<'static, _>
    };
    Spec {
        restart,
        start: Arc::new(start),
        on_give_up: None,
        tally: None,
    }
}

/// A task that ends with whatever holds it: with an actor's state, however the actor ends.
#[derive(Debug)]
pub(super) struct Task(AbortHandle);

/// Starts slow work whose result is cast back. What it says in the log belongs to what it was started for, and so does
/// what it casts.
pub(super) fn effect<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    tokio::spawn(work.in_current_span())
}

/// Why work did not come to its end. Only a defect here panics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unended {
    #[error("it broke off: a defect of understudy, of which the log says more")]
    Panicked,
    #[error("it took longer than {0:?}")]
    TooLong(Duration),
}

/// Work that ends within the limit, whatever becomes of it: for whoever waits for its result and does nothing else about
/// it meanwhile. An adapter that panics, or does not keep its own deadline, must not leave him waiting for ever.
pub(super) async fn ended<T>(limit: Duration, work: impl Future<Output = T>) -> Result<T, Unended> {
    match tokio::time::timeout(limit, AssertUnwindSafe(work).catch_unwind()).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(_)) => {
            tracing::error!("work of an actor panicked; it counts as failed");
            Err(Unended::Panicked)
        }
        Err(_) => Err(Unended::TooLong(limit)),
    }
}

/// Sends this actor a message after a while, on account of what is being done now. What belongs to nothing, such as a
/// tick, is sent with ractor's own timers.
pub(super) fn send_later<M: ractor::Message>(
    actor: &ActorRef<M>,
    after: Duration,
    message: impl FnOnce() -> M + Send + 'static,
) {
    let actor = actor.clone();
    effect(async move {
        tokio::time::sleep(after).await;
        // An actor that has died meanwhile reads in the ledger what is to be done.
        let _ = actor.cast(message());
    });
}

impl Task {
    pub(super) fn spawn(work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(effect(work).abort_handle())
    }

    pub(super) fn is_running(&self) -> bool {
        !self.0.is_finished()
    }
}

struct Shell;

/// The task has ended.
struct Ended;

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Actor for Shell {
    type Msg = Ended;
    type State = Task;
    type Arguments = BoxFuture<'static, ()>;

    async fn pre_start(
        &self,
        me: ractor::ActorRef<Ended>,
        task: Self::Arguments,
    ) -> Result<Task, ActorProcessingErr> {
        // Of its own: it outlives whatever its actor was started for.
        let running = tokio::spawn(task);
        let abort = running.abort_handle();
        tokio::spawn(async move {
            // However it ended, by returning or by a panic, it is over.
            let _ = running.await;
            let _ = me.cast(Ended);
        });
        Ok(Task(abort))
    }

    async fn handle(
        &self,
        _: ractor::ActorRef<Ended>,
        Ended: Ended,
        _: &mut Task,
    ) -> Result<(), ActorProcessingErr> {
        Err("its task has ended".into())
    }
}
