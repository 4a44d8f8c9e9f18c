//! One accepted TCP connection: counted while it lives, cut off when told to or when its peer takes nothing.
//!
//! A peer that stops reading would otherwise hold its buffers for ever: the WebSocket writer below waits for
//! it, and no packet that could close the session gets through.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep};

/// Cuts a connection off from elsewhere; clones cut the same one.
#[derive(Debug, Clone, Default)]
pub struct Cutter(Arc<Cut>);

#[derive(Debug, Default)]
struct Cut {
    is_cut: AtomicBool,
    reader: AtomicWaker,
    writer: AtomicWaker,
}

/// A [`Cutter`] that does not keep the connection's memory.
#[derive(Debug, Clone)]
pub struct WeakCutter(Weak<Cut>);

impl WeakCutter {
    #[must_use]
    pub fn upgrade(&self) -> Option<Cutter> {
        self.0.upgrade().map(Cutter)
    }

    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.0.strong_count() > 0
    }
}

impl Cutter {
    #[must_use]
    pub fn downgrade(&self) -> WeakCutter {
        WeakCutter(Arc::downgrade(&self.0))
    }

    /// From here on, reads and writes fail.
    pub fn cut(&self) {
        self.0.is_cut.store(true, Ordering::Release);
        self.0.reader.wake();
        self.0.writer.wake();
    }

    fn check(&self, waker: &AtomicWaker, cx: &Context<'_>) -> io::Result<()> {
        waker.register(cx.waker());
        if self.0.is_cut.load(Ordering::Acquire) {
            Err(io::ErrorKind::ConnectionAborted.into())
        } else {
            Ok(())
        }
    }
}

/// The stream with its place among the open connections.
#[derive(Debug)]
pub struct Connection<S> {
    stream: S,
    cutter: Cutter,
    stall_timeout: Duration,
    stalled: Pin<Box<Sleep>>,
    is_stalling: bool,
    _place: Option<OwnedSemaphorePermit>,
}

impl<S> Connection<S> {
    #[must_use]
    pub fn new(stream: S, stall_timeout: Duration, place: Option<OwnedSemaphorePermit>) -> Self {
        Self {
            stream,
            cutter: Cutter::default(),
            stall_timeout,
            stalled: Box::pin(tokio::time::sleep(stall_timeout)),
            is_stalling: false,
            _place: place,
        }
    }

    #[must_use]
    pub fn cutter(&self) -> Cutter {
        self.cutter.clone()
    }

    /// Passes a write's outcome on, unless it has been pending for too long.
    fn bound<T>(&mut self, outcome: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.is_stalling = false;
            return outcome;
        }
        if !self.is_stalling {
            self.is_stalling = true;
            self.stalled.as_mut().reset(Instant::now() + self.stall_timeout);
        }
        match self.stalled.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.cutter.check(&self.cutter.0.reader, cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.cutter.check(&self.cutter.0.writer, cx)?;
        let outcome = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.bound(outcome, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.cutter.check(&self.cutter.0.writer, cx)?;
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.bound(outcome, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.cutter.check(&self.cutter.0.writer, cx)?;
        let outcome = Pin::new(&mut self.stream).poll_flush(cx);
        self.bound(outcome, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.bound(outcome, cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const STALL: Duration = Duration::from_secs(20);

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_nothing_is_given_up() {
        let (near, _far) = tokio::io::duplex(8);
        let mut connection = Connection::new(near, STALL, None);
        let began = Instant::now();
        let error = connection.write_all(&[0; 64]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed(), STALL);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_peer_is_not_given_up_while_it_takes_something() {
        let (near, mut far) = tokio::io::duplex(8);
        let mut connection = Connection::new(near, STALL, None);
        let reader = tokio::spawn(async move {
            let mut byte = [0; 8];
            for _ in 0..8 {
                tokio::time::sleep(STALL - Duration::from_secs(1)).await;
                far.read_exact(&mut byte).await.unwrap();
            }
        });
        connection.write_all(&[0; 64]).await.unwrap();
        reader.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn cutting_wakes_a_pending_read_and_a_pending_write() {
        let (near, _far) = tokio::io::duplex(8);
        let connection = Connection::new(near, STALL, None);
        let cutter = connection.cutter();
        let (mut reader, mut writer) = tokio::io::split(connection);
        let read = tokio::spawn(async move { reader.read_u8().await.map(|_| ()) });
        let write = tokio::spawn(async move { writer.write_all(&[0; 64]).await });
        tokio::task::yield_now().await;
        cutter.cut();
        let began = Instant::now();
        for outcome in [read.await.unwrap(), write.await.unwrap()] {
            assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
        }
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
}
