//! A connection from the machine itself to an address that it can reach, carried by the SSH connection.
//!
//! As for every channel, what comes in is taken at once (see [`super::connection`]) and waits here for its reader, up
//! to a bound. A reader who lags further loses the tunnel rather than stopping what else goes over the connection.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use russh::client::Msg;
use russh::{Channel, ChannelMsg, ChannelOpenFailure, ChannelReadHalf, ChannelWriteHalf};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::connection::Connection;
use super::{Error, Passages};

/// Both directions of a tunnel, as bytes.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Bytes on their way between the tunnel and its user, in each direction.
const PIPE_BYTES: usize = 64 * 1024;
/// Bytes that have come and that the user has not taken.
const WAITING_BYTES_MAX: usize = 8 * 1024 * 1024;
/// How long the machine may go on sending once the user has stopped.
const LINGER: Duration = Duration::from_secs(10);

/// Opens a tunnel and returns once the machine is connected to `to`.
pub(super) async fn open(
    connection: &Arc<Connection>,
    to: SocketAddr,
    deadline: Duration,
) -> Result<Box<dyn Stream>, Error> {
    if connection.end.reached() {
        return Err(Error::Closed);
    }
    let (answer, opened) = oneshot::channel();
    let connection = Arc::clone(connection);
    // A task of its own, so that a channel that the server opens after the caller has given up is closed again.
    tokio::spawn(async move {
        let channel = tokio::select! {
            channel = connection.handle.channel_open_direct_tcpip(
                to.ip().to_string(),
                u32::from(to.port()),
                // Where it comes from is for the server's log alone (RFC 4254, section 7.2).
                "127.0.0.1",
                0,
            ) => channel.map_err(|error| refusal(error, to)),
            _ = connection.end.wait() => Err(Error::Closed),
        };
        if let Err(Ok(late)) = answer.send(channel) {
            connection.give_up(late.close()).await;
        }
    });
    match timeout(deadline, opened).await {
        Ok(Ok(channel)) => Ok(Box::new(carry(channel?))),
        // The task ends without an answer only with the runtime.
        Ok(Err(_)) => Err(Error::Closed),
        Err(_) => Err(Error::TimedOut(deadline)),
    }
}

fn refusal(error: russh::Error, to: SocketAddr) -> Error {
    match error {
        russh::Error::ChannelOpenFailure(ChannelOpenFailure::ConnectFailed) => Error::NotListening(to),
        russh::Error::ChannelOpenFailure(ChannelOpenFailure::AdministrativelyProhibited) => {
            Error::ForwardingForbidden(to)
        }
        russh::Error::ChannelOpenFailure(why) => {
            Error::Protocol(format!("the server opens no channel: {why:?}"))
        }
        _ => Error::Closed,
    }
}

/// Makes a channel a stream. Dropping the stream closes the channel.
fn carry(channel: Channel<Msg>) -> impl Stream {
    let (near, far) = tokio::io::duplex(PIPE_BYTES);
    let (mut read, write) = channel.split();
    tokio::spawn(async move {
        exchange(&mut read, &write, far).await;
        // Before the channel is closed: the closing would queue behind what nobody reads.
        drop(read);
        let _ = timeout(LINGER, write.close()).await;
    });
    near
}

/// Carries bytes both ways. How it ends shows to the user, who loses the stream; here there is nobody to tell.
async fn exchange(read: &mut ChannelReadHalf, write: &ChannelWriteHalf<Msg>, far: DuplexStream) {
    let (from_user, to_user) = tokio::io::split(far);
    let (inward, outward) = (receive(read, to_user), send(write, from_user));
    tokio::pin!(inward, outward);
    let sent = tokio::select! {
        _ = &mut inward => return,
        sent = &mut outward => sent,
    };
    if sent.is_ok() {
        // The machine may have something left to say.
        let _ = timeout(LINGER, inward).await;
    }
}

/// Takes what comes and hands it on, until the channel is closed.
async fn receive(read: &mut ChannelReadHalf, mut user: WriteHalf<DuplexStream>) -> io::Result<()> {
    let mut waiting: VecDeque<Bytes> = VecDeque::new();
    let mut waiting_bytes = 0;
    let (mut ended, mut closed) = (false, false);
    while !(closed && waiting.is_empty()) {
        tokio::select! {
            // What has come before what comes: only a user who lags lets it pile up.
            biased;
            flushed = flush(&mut user, &mut waiting), if ended || !waiting.is_empty() => match flushed? {
                Some(written) => waiting_bytes -= written,
                None => ended = false,
            },
            message = read.wait(), if !closed => match message {
                Some(ChannelMsg::Data { data }) => {
                    waiting_bytes += data.len();
                    waiting.push_back(data);
                    if waiting_bytes > WAITING_BYTES_MAX {
                        tracing::warn!("the user of an SSH tunnel does not keep up: closing the tunnel");
                        return Err(io::ErrorKind::QuotaExceeded.into());
                    }
                }
                Some(ChannelMsg::Eof) => ended = true,
                Some(ChannelMsg::Close) | None => closed = true,
                // How much may be written, and what makes no sense on such a channel.
                Some(_) => {}
            },
        }
    }
    user.shutdown().await
}

/// Writes of what has waited longest; `None` once it has said that there is no more.
async fn flush(
    user: &mut WriteHalf<DuplexStream>,
    waiting: &mut VecDeque<Bytes>,
) -> io::Result<Option<usize>> {
    let Some(first) = waiting.front_mut() else {
        return user.shutdown().await.map(|()| None);
    };
    let written = user.write(first).await?;
    first.advance(written);
    if first.is_empty() {
        waiting.pop_front();
    }
    Ok(Some(written))
}

/// Sends what the user writes until they stop.
async fn send(write: &ChannelWriteHalf<Msg>, mut user: ReadHalf<DuplexStream>) -> io::Result<()> {
    let mut buffer = vec![0; PIPE_BYTES];
    loop {
        let count = user.read(&mut buffer).await?;
        let sent = match count {
            0 => write.eof().await,
            _ => write.data_bytes(Bytes::copy_from_slice(&buffer[..count])).await,
        };
        sent.map_err(io::Error::other)?;
        if count == 0 {
            return Ok(());
        }
    }
}

/// A loopback address behind which a tunnel lies, for a client that can only dial: the first connection to it is
/// carried, and nobody listens after that, or after `deadline`.
///
/// # Errors
/// As for [`Passages::tunnel`]; [`Error::Unreachable`] if this machine has no port left.
pub async fn once(session: &dyn Passages, to: SocketAddr, deadline: Duration) -> Result<SocketAddr, Error> {
    let mut tunnel = session.tunnel(to, deadline).await?;
    let no_port = |error: io::Error| Error::Unreachable(error.to_string());
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(no_port)?;
    let address = listener.local_addr().map_err(no_port)?;
    tokio::spawn(async move {
        let Ok(Ok((mut client, _))) = timeout(deadline, listener.accept()).await else {
            // Nobody came. Dropping the tunnel closes it.
            return;
        };
        drop(listener);
        if let Err(error) = client.set_nodelay(true) {
            tracing::debug!(%error, "an SSH tunnel's local connection keeps Nagle's algorithm");
        }
        // However it ends, both ends see it.
        let _ = tokio::io::copy_bidirectional(&mut client, &mut tunnel).await;
    });
    Ok(address)
}
