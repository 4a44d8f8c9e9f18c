//! What is sent to actors, counted while it waits: ractor does not say how much is in a mailbox.
//!
//! An actor's message type is [`Letter`], which nothing makes but [`ActorRef`], so that no way to an actor goes past the
//! count. A letter counts until it is opened or dropped, and the mailbox of an actor that dies is dropped with everything
//! in it. What ractor itself tells a supervisor is not counted.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ractor::rpc::CallResult;
use ractor::{ActorCell, Message, RpcReplyPort};

use super::NoAnswer;

/// How many messages wait in one actor's mailbox.
#[derive(Debug, Clone, Default)]
pub struct Waiting(Arc<AtomicUsize>);

impl Waiting {
    /// Not counting the one that is being handled.
    #[must_use]
    pub fn now(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn letter<M>(&self, message: M) -> Letter<M> {
        self.0.fetch_add(1, Ordering::Relaxed);
        let counted = Counted(self.clone());
        Letter { message, counted }
    }
}

/// One that waits, until it is dropped.
struct Counted(Waiting);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A message on its way to an actor.
pub struct Letter<M> {
    message: M,
    counted: Counted,
}

impl<M> Letter<M> {
    /// Takes the message out; it does not wait any more.
    pub fn open(self) -> M {
        drop(self.counted);
        self.message
    }
}

/// An actor that is sent letters, as [`ractor::ActorRef`] otherwise.
pub struct ActorRef<M> {
    inner: ractor::ActorRef<Letter<M>>,
    waiting: Waiting,
}

impl<M> Clone for ActorRef<M> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            waiting: self.waiting.clone(),
        }
    }
}

impl<M> Deref for ActorRef<M> {
    type Target = ActorCell;

    fn deref(&self) -> &ActorCell {
        &self.inner
    }
}

impl<M: Message> ActorRef<M> {
    /// The actor that keeps this count of what waits for it.
    #[must_use]
    pub fn new(inner: ractor::ActorRef<Letter<M>>, waiting: &Waiting) -> Self {
        let waiting = waiting.clone();
        Self { inner, waiting }
    }

    #[must_use]
    pub fn get_cell(&self) -> ActorCell {
        self.inner.get_cell()
    }

    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.now()
    }

    /// Sends without waiting.
    ///
    /// # Errors
    /// [`NoAnswer::Down`] if the actor has ended.
    pub fn cast(&self, message: M) -> Result<(), NoAnswer> {
        let letter = self.waiting.letter(message);
        self.inner.cast(letter).map_err(|_| NoAnswer::Down)
    }

    /// Calls and waits for at most `limit`. After a time-out the handler may still run.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub async fn ask<R: Send + 'static>(
        &self,
        limit: Duration,
        message: impl FnOnce(RpcReplyPort<R>) -> M,
    ) -> Result<R, NoAnswer> {
        let letter = |port| self.waiting.letter(message(port));
        match self.inner.call(letter, Some(limit)).await {
            Ok(CallResult::Success(answer)) => Ok(answer),
            Ok(CallResult::Timeout) => Err(NoAnswer::TimedOut),
            Ok(CallResult::SenderError) | Err(_) => Err(NoAnswer::Down),
        }
    }

    /// Sends after a while, if the actor is there then.
    pub fn send_after(&self, after: Duration, message: impl FnOnce() -> M + Send + 'static) {
        let waiting = self.waiting.clone();
        self.inner.send_after(after, move || waiting.letter(message()));
    }

    /// Sends again and again, for as long as the actor is there.
    pub fn send_interval(&self, period: Duration, message: impl Fn() -> M + Send + 'static) {
        let waiting = self.waiting.clone();
        self.inner
            .send_interval(period, move || waiting.letter(message()));
    }
}
