//! A connection that can be frozen or reset from outside, below whatever protocol runs over it.
//!
//! Frozen, it neither reads nor writes, like a connection to a machine that has dropped off the network or to a
//! process that is stopped; thawed, it goes on where it was. Reset, both directions fail and the peer receives
//! a TCP reset, as from a kernel whose process died with unread data.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};

use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::sim::model::machine::Fate;

const FLOWING: u8 = 0;
const FROZEN: u8 = 1;
const RESET: u8 = 2;

/// The outside's hold on one connection.
#[derive(Debug, Default)]
pub(super) struct Gate {
    fate: AtomicU8,
    reader: AtomicWaker,
    writer: AtomicWaker,
}

impl Gate {
    /// Decides the connection's fate from now on. A reset is final.
    pub(super) fn set(&self, fate: Fate) {
        let value = match fate {
            Fate::Flowing => FLOWING,
            Fate::Frozen => FROZEN,
            Fate::Reset => RESET,
        };
        let changed = self
            .fate
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |present| {
                (present != RESET && present != value).then_some(value)
            });
        if changed.is_ok() {
            self.reader.wake();
            self.writer.wake();
        }
    }

    fn poll(&self, waker: &AtomicWaker, cx: &Context<'_>) -> Poll<io::Result<()>> {
        // Registered before looking, or a change in between would be missed.
        waker.register(cx.waker());
        match self.fate.load(Ordering::Acquire) {
            FLOWING => Poll::Ready(Ok(())),
            RESET => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            _ => Poll::Pending,
        }
    }
}

/// A TCP connection behind a [`Gate`].
#[derive(Debug)]
pub(super) struct GatedStream {
    stream: TcpStream,
    gate: Arc<Gate>,
}

impl GatedStream {
    pub(super) fn new(stream: TcpStream, gate: Arc<Gate>) -> Self {
        Self { stream, gate }
    }
}

impl Drop for GatedStream {
    fn drop(&mut self) {
        if self.gate.fate.load(Ordering::Acquire) == RESET {
            // Fails only on a socket that is gone already.
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for GatedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.gate.poll(&self.gate.reader, cx))?;
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for GatedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.gate.poll(&self.gate.writer, cx))?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.gate.poll(&self.gate.writer, cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.gate.poll(&self.gate.writer, cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
