//! Reaching an actor by what it is for: directories of who is who now, and calls that always end.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use imbl::OrdMap;
use ractor::rpc::CallResult;
use ractor::{ActorRef, Message, RpcReplyPort};
use tokio::sync::Notify;
use tokio::time::timeout;

/// A call that got no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoAnswer {
    /// There is no such actor now, or it died over it.
    Down,
    TimedOut,
}

/// Who is who, by id. Written by the children as they start, read by handles; a ref in here may be dead, and
/// then the message is refused and the caller told.
pub struct Directory<K, M: Message>(Arc<Entries<K, M>>);

struct Entries<K, M: Message> {
    by_key: ArcSwap<OrdMap<K, ActorRef<M>>>,
    arrivals: Notify,
}

impl<K, M: Message> Clone for Directory<K, M> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K: Ord + Clone, M: Message> Default for Directory<K, M> {
    fn default() -> Self {
        Self(Arc::new(Entries {
            by_key: ArcSwap::from_pointee(OrdMap::new()),
            arrivals: Notify::new(),
        }))
    }
}

impl<K: Ord + Clone, M: Message> Directory<K, M> {
    pub fn get(&self, key: &K) -> Option<ActorRef<M>> {
        self.0.by_key.load().get(key).cloned()
    }

    pub fn publish(&self, key: K, actor: ActorRef<M>) {
        self.0.by_key.rcu(|map| map.update(key.clone(), actor.clone()));
        self.0.arrivals.notify_waiters();
    }

    /// Returns once there is an entry, or after `limit` without one. What the ledger says exists may have an actor only
    /// a moment later.
    pub async fn arrival(&self, key: &K, limit: Duration) {
        let arrived = async {
            loop {
                // Made before the look, so that it misses nobody who comes after it.
                let next = self.0.arrivals.notified();
                if self.get(key).is_some() {
                    return;
                }
                next.await;
            }
        };
        // Whoever asks then is told that there is nobody.
        let _ = timeout(limit, arrived).await;
    }

    /// Forgets the entry if it is still this actor's.
    pub fn withdraw(&self, key: &K, actor: &ActorRef<M>) {
        self.0.by_key.rcu(|map| match map.get(key) {
            Some(current) if current.get_id() == actor.get_id() => map.without(key),
            Some(_) | None => OrdMap::clone(map),
        });
    }

    /// Sends, and says whether there was anybody to send to.
    pub fn cast(&self, key: &K, message: M) -> bool {
        self.get(key).is_some_and(|actor| actor.cast(message).is_ok())
    }

    pub async fn ask<R: Send + 'static>(
        &self,
        key: &K,
        limit: Duration,
        message: impl FnOnce(RpcReplyPort<R>) -> M,
    ) -> Result<R, NoAnswer> {
        match self.get(key) {
            Some(actor) => ask(&actor, limit, message).await,
            None => Err(NoAnswer::Down),
        }
    }
}

/// Calls and waits for at most `limit`. After a time-out the handler may still run.
pub async fn ask<M: Message, R: Send + 'static>(
    actor: &ActorRef<M>,
    limit: Duration,
    message: impl FnOnce(RpcReplyPort<R>) -> M,
) -> Result<R, NoAnswer> {
    match actor.call(message, Some(limit)).await {
        Ok(CallResult::Success(answer)) => Ok(answer),
        Ok(CallResult::Timeout) => Err(NoAnswer::TimedOut),
        Ok(CallResult::SenderError) | Err(_) => Err(NoAnswer::Down),
    }
}

/// Answers a call. A caller that has given up is not the callee's problem.
pub fn answer<R: Send + 'static>(port: RpcReplyPort<R>, value: R) {
    let _ = port.send(value);
}

#[cfg(test)]
mod tests {
    use ractor::{Actor, ActorProcessingErr};
    use tokio::time::Instant;

    use super::*;

    struct Nobody;

    impl Actor for Nobody {
        type Msg = ();
        type State = ();
        type Arguments = ();

        async fn pre_start(&self, _: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_is_about_to_arrive_is_waited_for_and_nobody_else() {
        let directory: Directory<u8, ()> = Directory::default();
        let began = Instant::now();
        directory.arrival(&1, Duration::from_secs(2)).await;
        assert_eq!(began.elapsed(), Duration::from_secs(2));

        let (actor, _) = Actor::spawn(None, Nobody, ()).await.unwrap();
        let began = Instant::now();
        let (waiting, publishing) = (directory.clone(), directory.clone());
        let publish = async move {
            tokio::time::sleep(Duration::from_millis(300)).await;
            publishing.publish(2, actor.clone());
            tokio::time::sleep(Duration::from_millis(300)).await;
            publishing.publish(1, actor);
        };
        let limit = Duration::from_secs(2);
        tokio::join!(waiting.arrival(&1, limit), publish);
        assert_eq!(began.elapsed(), Duration::from_millis(600));
        directory.arrival(&1, limit).await;
        assert_eq!(began.elapsed(), Duration::from_millis(600));
    }
}
