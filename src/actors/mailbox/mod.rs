//! Reaching an actor by what it is for: directories of who is who now, calls that always end, and how much waits.

mod letter;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use imbl::OrdMap;
use ractor::{Message, RpcReplyPort};
use tokio::sync::Notify;
use tokio::time::timeout;

pub use self::letter::{ActorRef, Letter, Waiting};

/// A call that got no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoAnswer {
    /// There is no such actor now, or it died over it.
    Down,
    TimedOut,
}

/// Messages that wait for the actors of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backlog {
    pub all: usize,
    /// In one mailbox.
    pub most: usize,
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

    /// What waits for all of them.
    pub fn backlog(&self) -> Backlog {
        let map = self.0.by_key.load();
        let waiting = map.values().map(ActorRef::waiting);
        waiting.fold(Backlog::default(), |so_far, waiting| Backlog {
            all: so_far.all + waiting,
            most: so_far.most.max(waiting),
        })
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
            Some(actor) => actor.ask(limit, message).await,
            None => Err(NoAnswer::Down),
        }
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

    /// Never done with the first message.
    struct Busy;

    impl Busy {
        async fn spawn() -> ActorRef<()> {
            let waiting = Waiting::default();
            let (actor, _) = Actor::spawn(None, Self, ()).await.unwrap();
            ActorRef::new(actor, &waiting)
        }
    }

    impl Actor for Busy {
        type Msg = Letter<()>;
        type State = ();
        type Arguments = ();

        async fn pre_start(&self, _: ractor::ActorRef<Self::Msg>, (): ()) -> Result<(), ActorProcessingErr> {
            Ok(())
        }

        async fn handle(
            &self,
            _: ractor::ActorRef<Self::Msg>,
            letter: Self::Msg,
            (): &mut (),
        ) -> Result<(), ActorProcessingErr> {
            letter.open();
            std::future::pending().await
        }
    }

    const LIMIT: Duration = Duration::from_secs(2);
    /// Everybody has had a turn by then.
    const SOON: Duration = Duration::from_millis(1);

    #[tokio::test(start_paused = true)]
    async fn what_waits_for_an_actor_is_counted_until_it_dies() {
        let directory: Directory<u8, ()> = Directory::default();
        let (one, other) = (Busy::spawn().await, Busy::spawn().await);
        directory.publish(1, one.clone());
        directory.publish(2, other.clone());
        for _ in 0..4 {
            one.cast(()).unwrap();
        }
        other.cast(()).unwrap();
        other.send_after(LIMIT, || ());
        other.send_interval(LIMIT, || ());
        tokio::time::sleep(SOON).await;
        let backlog = |all, most| Backlog { all, most };
        assert_eq!(directory.backlog(), backlog(3, 3), "one is being handled");
        tokio::time::sleep(LIMIT).await;
        assert_eq!(directory.backlog(), backlog(5, 3), "timers send, too");
        let asked = directory.ask(&1, LIMIT, |_: RpcReplyPort<()>| ()).await;
        assert_eq!(asked, Err(NoAnswer::Down), "the port was dropped");
        assert_eq!(directory.backlog().most, 4, "it waits all the same");

        one.kill();
        tokio::time::sleep(SOON).await;
        assert_eq!(one.waiting(), 0);
        assert_eq!(one.cast(()), Err(NoAnswer::Down));
        assert_eq!(one.waiting(), 0);
        let left = directory.backlog();
        assert_eq!((left.all, left.most), (other.waiting(), other.waiting()));
        assert!(left.all >= 2);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_is_about_to_arrive_is_waited_for_and_nobody_else() {
        let directory: Directory<u8, ()> = Directory::default();
        let began = Instant::now();
        directory.arrival(&1, LIMIT).await;
        assert_eq!(began.elapsed(), LIMIT);

        let actor = Busy::spawn().await;
        let began = Instant::now();
        let (waiting, publishing) = (directory.clone(), directory.clone());
        let publish = async move {
            tokio::time::sleep(Duration::from_millis(300)).await;
            publishing.publish(2, actor.clone());
            tokio::time::sleep(Duration::from_millis(300)).await;
            publishing.publish(1, actor);
        };
        tokio::join!(waiting.arrival(&1, LIMIT), publish);
        assert_eq!(began.elapsed(), Duration::from_millis(600));
        directory.arrival(&1, LIMIT).await;
        assert_eq!(began.elapsed(), Duration::from_millis(600));
    }
}
