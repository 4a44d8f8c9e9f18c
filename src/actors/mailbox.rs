//! Reaching an actor by what it is for: directories of who is who now, and calls that always end.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use imbl::OrdMap;
use ractor::rpc::CallResult;
use ractor::{ActorRef, Message, RpcReplyPort};

/// A call that got no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoAnswer {
    /// There is no such actor now, or it died over it.
    Down,
    TimedOut,
}

/// Who is who, by id. Written by the children as they start, read by handles; a ref in here may be dead, and
/// then the message is refused and the caller told.
pub struct Directory<K, M: Message>(Arc<ArcSwap<OrdMap<K, ActorRef<M>>>>);

impl<K, M: Message> Clone for Directory<K, M> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K: Ord + Clone, M: Message> Default for Directory<K, M> {
    fn default() -> Self {
        Self(Arc::new(ArcSwap::from_pointee(OrdMap::new())))
    }
}

impl<K: Ord + Clone, M: Message> Directory<K, M> {
    pub fn get(&self, key: &K) -> Option<ActorRef<M>> {
        self.0.load().get(key).cloned()
    }

    /// Everybody, by key.
    pub fn all(&self) -> Vec<ActorRef<M>> {
        self.0.load().values().cloned().collect()
    }

    pub fn publish(&self, key: K, actor: ActorRef<M>) {
        self.0.rcu(|map| map.update(key.clone(), actor.clone()));
    }

    /// Forgets the entry if it is still this actor's.
    pub fn withdraw(&self, key: &K, actor: &ActorRef<M>) {
        self.0.rcu(|map| match map.get(key) {
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
