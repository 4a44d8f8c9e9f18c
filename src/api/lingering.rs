//! Bodies that are passed on as they come, and what is done with the rest of one that is refused.
//!
//! A server that closes a connection on which more is on its way has it reset, and with that the client may lose the
//! answer that is still in its buffer. So the rest is read and thrown away for a while, beside the answer: by then the
//! client has read it, and closes or has sent everything (RFC 9112, section 9.6).

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::runtime::Handle;

/// Bytes that are thrown away: more than is on its way in buffers before an answer can be there.
const BYTES_MAX: usize = 64 * 1024 * 1024;
/// How long is waited for the client to have read its answer: enough for a slow connection to another continent.
const LIMIT: Duration = Duration::from_secs(3);

/// A request's body. What has not been read of it when it is dropped is read for a while after that.
#[derive(Debug)]
pub struct Lingering(Body);

impl Lingering {
    #[must_use]
    pub fn new(body: Body) -> Self {
        Self(body)
    }
}

impl HttpBody for Lingering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.0).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        let rest = std::mem::take(&mut self.0);
        // Without a runtime there is no connection left either.
        if let (false, Ok(runtime)) = (rest.is_end_stream(), Handle::try_current()) {
            runtime.spawn(tokio::time::timeout(LIMIT, drain(rest)));
        }
    }
}

async fn drain(mut rest: Body) {
    let mut total = 0_usize;
    while let Some(Ok(frame)) = rest.frame().await {
        total += frame.data_ref().map_or(0, Bytes::len);
        if total > BYTES_MAX {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::stream;

    use super::*;

    const PIECE_BYTES: usize = 1024 * 1024;

    /// A body without an end that counts what is taken of it; the receiver hears when it is dropped.
    fn endless() -> (Body, Arc<AtomicUsize>, tokio::sync::oneshot::Receiver<()>) {
        let (keep, dropped) = tokio::sync::oneshot::channel::<()>();
        let taken = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&taken);
        let pieces = stream::repeat_with(move || {
            // It lives as long as the body.
            let _ = &keep;
            count.fetch_add(PIECE_BYTES, Ordering::Relaxed);
            Ok::<_, std::io::Error>(Bytes::from(vec![0; PIECE_BYTES]))
        });
        (Body::from_stream(pieces), taken, dropped)
    }

    #[tokio::test(start_paused = true)]
    async fn the_rest_of_a_body_is_read_up_to_a_bound() {
        let (body, taken, dropped) = endless();
        drop(Lingering::new(body));
        let _ = dropped.await;
        assert_eq!(taken.load(Ordering::Relaxed), BYTES_MAX + PIECE_BYTES);
    }

    #[tokio::test(start_paused = true)]
    async fn the_rest_of_a_body_that_does_not_come_is_waited_for_until_a_limit() {
        let (keep, dropped) = tokio::sync::oneshot::channel::<()>();
        let began = tokio::time::Instant::now();
        let pieces = stream::unfold(keep, async |keep| {
            std::future::pending::<()>().await;
            Some((Ok::<_, std::io::Error>(Bytes::new()), keep))
        });
        drop(Lingering::new(Body::from_stream(pieces)));
        let _ = dropped.await;
        assert_eq!(began.elapsed(), LIMIT);
    }
}
