//! One listening port of a machine, and what a connection attempt on it meets.
//!
//! - *Closed*: no socket; the kernel refuses.
//! - *Open*: connections are accepted and served.
//! - *Unanswered*: the socket listens, nobody accepts; the kernel completes handshakes until the backlog is full,
//!   as for a process that is stopped.
//! - *Dark*: the backlog is reduced to nothing and filled, so that the kernel drops every SYN: the attempt times
//!   out, as for a machine that is not there. Lifting it serves the client's next retransmission.
//!
//! A port changes between the last three without closing its socket, so there is no moment at which a client is
//! refused that should not be.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;

use crate::sim::model::machine::Front;

/// Connections the kernel completes while nobody accepts.
const BACKLOG: u32 = 128;
/// How long to wait for the connection that fills a dark port's backlog. It succeeds at once or never.
const FILL_DEADLINE: Duration = Duration::from_millis(20);
/// Pause after a failed accept (out of descriptors), so as not to spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves one accepted connection: must return at once, and do the work in a task of its own.
pub(super) type Serve = Arc<dyn Fn(TcpStream) + Send + Sync>;

struct Listening {
    address: SocketAddr,
    listener: Arc<TcpListener>,
    acceptor: Option<JoinHandle<()>>,
    filler: Option<TcpStream>,
}

/// A port that follows a [`Front`].
#[derive(Default)]
pub(super) struct Port {
    listening: Option<Listening>,
}

impl Port {
    /// Makes the port what `front` says, at `address`. Idempotent.
    ///
    /// # Errors
    /// When the address cannot be bound; the port is closed then.
    pub(super) async fn follow(
        &mut self,
        front: Front,
        address: SocketAddr,
        serve: &Serve,
    ) -> io::Result<()> {
        if front == Front::Closed || self.listening.as_ref().is_some_and(|l| l.address != address) {
            self.close().await;
        }
        if front == Front::Closed {
            return Ok(());
        }
        let listening = match &mut self.listening {
            Some(listening) => listening,
            empty @ None => empty.insert(Listening {
                address,
                listener: Arc::new(bind(address, if front == Front::Dark { 0 } else { BACKLOG })?),
                acceptor: None,
                filler: None,
            }),
        };
        match front {
            Front::Open => listening.open(serve),
            Front::Unanswered => listening.leave_unanswered().await,
            Front::Dark => listening.darken().await,
            Front::Closed => Ok(()),
        }
    }

    /// Closes the socket; connection attempts are refused when this returns.
    pub(super) async fn close(&mut self) {
        if let Some(mut listening) = self.listening.take() {
            listening.stop_accepting().await;
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        if let Some(acceptor) = self.acceptor.take() {
            acceptor.abort();
        }
    }
}

impl Listening {
    fn open(&mut self, serve: &Serve) -> io::Result<()> {
        if self.acceptor.is_none() {
            self.undarken()?;
            let (listener, serve) = (Arc::clone(&self.listener), Arc::clone(serve));
            self.acceptor = Some(tokio::spawn(accept(listener, serve)));
        }
        Ok(())
    }

    async fn leave_unanswered(&mut self) -> io::Result<()> {
        self.stop_accepting().await;
        self.undarken()
    }

    async fn darken(&mut self) -> io::Result<()> {
        if self.filler.is_some() {
            return Ok(());
        }
        self.stop_accepting().await;
        SockRef::from(&*self.listener).listen(0)?;
        // One connection fills a backlog of zero (Linux admits one more than the backlog). If a client was
        // quicker, the backlog is full as well and this attempt times out.
        let filler = tokio::time::timeout(FILL_DEADLINE, TcpStream::connect(self.address)).await;
        self.filler = filler.ok().and_then(Result::ok);
        Ok(())
    }

    fn undarken(&mut self) -> io::Result<()> {
        self.filler = None;
        SockRef::from(&*self.listener).listen(i32::try_from(BACKLOG).unwrap_or(i32::MAX))
    }

    async fn stop_accepting(&mut self) {
        if let Some(acceptor) = self.acceptor.take() {
            acceptor.abort();
            // Cancelled, as just asked; what matters is that it holds the listener no more.
            let _ = acceptor.await;
        }
    }
}

fn bind(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(backlog)
}

async fn accept(listener: Arc<TcpListener>, serve: Serve) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => serve(stream),
            Err(error) => {
                tracing::warn!(%error, "a simulated machine cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
