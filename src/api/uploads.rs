//! Request bodies: read before a request takes its place among those being answered, each within a size and a
//! time, and only so many at once.
//!
//! A body that is sent slowly costs nothing to send, so whoever sends many must not keep others out: when there is
//! one too many, the one that has been on its way the longest is given up, not the newest refused. A body that
//! arrives with its head is on its way for microseconds.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use tokio::sync::oneshot;

/// Bytes of a refused body that are read and thrown away.
const OVERSHOOT_MAX: usize = 1024 * 1024;

/// What a request's body came to, handed to its route as an extension.
#[derive(Debug, Clone)]
pub struct Upload(pub Result<Bytes, Unread>);

/// Why a body was not read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unread {
    TooLarge,
    Broken,
    Late,
    /// It had to make room for another.
    GivenUp,
}

/// The bodies on their way.
#[derive(Debug)]
pub struct Uploads {
    max: usize,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    /// By when they began; dropping the sender gives the body up.
    by_number: BTreeMap<u64, oneshot::Sender<()>>,
}

/// One body's place. Given back when dropped.
struct Place<'a> {
    uploads: &'a Uploads,
    number: u64,
    given_up: oneshot::Receiver<()>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.uploads.lock().by_number.remove(&self.number);
    }
}

impl Uploads {
    /// `max` bodies at once; at least one.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self {
            max: max.max(1),
            waiting: Mutex::default(),
        }
    }

    /// Reads a body of at most `bytes_max` within `limit`.
    ///
    /// # Errors
    /// [`Unread`].
    pub async fn read(&self, body: Body, bytes_max: usize, limit: Duration) -> Result<Bytes, Unread> {
        let mut place = self.enter();
        tokio::select! {
            biased;
            read = read(body, bytes_max) => read,
            _ = &mut place.given_up => Err(Unread::GivenUp),
            () = tokio::time::sleep(limit) => Err(Unread::Late),
        }
    }

    fn enter(&self) -> Place<'_> {
        let (keep, given_up) = oneshot::channel();
        let mut waiting = self.lock();
        while waiting.by_number.len() >= self.max {
            waiting.by_number.pop_first();
        }
        let number = waiting.next;
        waiting.next += 1;
        waiting.by_number.insert(number, keep);
        drop(waiting);
        Place {
            uploads: self,
            number,
            given_up,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing in here can be left half done.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads a body to its end, or to [`OVERSHOOT_MAX`] bytes beyond the limit: closing on a client that is still
/// sending would lose it the answer.
async fn read(mut body: Body, limit: usize) -> Result<Bytes, Unread> {
    let (mut kept, mut total) = (BytesMut::new(), 0_usize);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Unread::Broken)?.into_data() else {
            continue;
        };
        total += data.len();
        if total <= limit {
            kept.extend_from_slice(&data);
        } else if total > limit + OVERSHOOT_MAX {
            break;
        }
    }
    if total > limit {
        Err(Unread::TooLarge)
    } else {
        Ok(kept.freeze())
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use futures_util::stream;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    fn endless() -> Body {
        Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>())
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_gives_way_to_the_newest() {
        let uploads = Uploads::new(2);
        let mut first = Box::pin(uploads.read(endless(), 10, LIMIT));
        let mut second = Box::pin(uploads.read(endless(), 10, LIMIT));
        assert!(first.as_mut().now_or_never().is_none());
        assert!(second.as_mut().now_or_never().is_none());
        let third = uploads.read(Body::from("{}"), 10, LIMIT).await;
        assert_eq!(third, Ok(Bytes::from_static(b"{}")));
        assert_eq!(first.await, Err(Unread::GivenUp));
        // Its place came back with the third.
        let fourth = uploads.read(Body::from("{}"), 10, LIMIT).await;
        assert_eq!(fourth, Ok(Bytes::from_static(b"{}")));
        assert_eq!(second.await, Err(Unread::Late));
        assert!(uploads.lock().by_number.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_is_bounded_in_size_and_time() {
        let uploads = Uploads::new(1);
        assert_eq!(
            uploads.read(Body::from("12345"), 4, LIMIT).await,
            Err(Unread::TooLarge)
        );
        let began = tokio::time::Instant::now();
        assert_eq!(uploads.read(endless(), 4, LIMIT).await, Err(Unread::Late));
        assert_eq!(began.elapsed(), LIMIT);
    }
}
