//! A TCP proxy that is slow, lossy or mute on purpose, each direction on its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// What happens to bytes on their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Open,
    /// Whatever arrives is passed on so much later.
    Delayed(Duration),
    /// One byte at a time, with this pause after each.
    Dripping(Duration),
    /// Nothing is passed on, and nobody is told: half of a half-open connection.
    Mute,
    /// Connections are reset, and so is each new one.
    Reset,
}

/// Which of the two directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From whoever connects to the target.
    There,
    /// From the target to whoever connected.
    Back,
}

struct Ways {
    there: watch::Sender<Way>,
    back: watch::Sender<Way>,
}

/// A proxy in front of one address. It ends, with its connections, when it is dropped.
pub struct Proxy {
    ways: Arc<Ways>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Listens and passes on to `target`; everything is open at first.
    pub async fn start(listen: SocketAddr, target: SocketAddr) -> Self {
        let listener = TcpListener::bind(listen).await.unwrap();
        let ways = Arc::new(Ways {
            there: watch::Sender::new(Way::Open),
            back: watch::Sender::new(Way::Open),
        });
        let shared = Arc::clone(&ways);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                connections.spawn(carry(near, target, Arc::clone(&shared)));
                // What has ended is forgotten.
                while connections.try_join_next().is_some() {}
            }
        });
        Self { ways, task }
    }

    /// Changes both directions, of open connections too.
    pub fn set(&self, way: Way) {
        self.set_one(Direction::There, way);
        self.set_one(Direction::Back, way);
    }

    pub fn set_one(&self, direction: Direction, way: Way) {
        match direction {
            Direction::There => self.ways.there.send_replace(way),
            Direction::Back => self.ways.back.send_replace(way),
        };
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Until both sides have ended, or the connection is to be reset.
async fn carry(mut near: TcpStream, target: SocketAddr, ways: Arc<Ways>) {
    let Ok(mut far) = TcpStream::connect(target).await else {
        // Nobody there: as if there were nobody here.
        return reset(&near);
    };
    // Small messages are the rule; a socket that cannot be tuned still works.
    let _ = near.set_nodelay(true);
    let _ = far.set_nodelay(true);
    let (mut there, mut back) = (ways.there.subscribe(), ways.back.subscribe());
    let is_reset = |way: &Way| *way == Way::Reset;
    let is_to_be_reset = {
        let (near_in, near_out) = near.split();
        let (far_in, far_out) = far.split();
        let both = async {
            tokio::join!(
                pump(near_in, far_out, ways.there.subscribe()),
                pump(far_in, near_out, ways.back.subscribe())
            )
        };
        tokio::select! {
            _ = both => false,
            _ = there.wait_for(is_reset) => true,
            _ = back.wait_for(is_reset) => true,
        }
    };
    if is_to_be_reset {
        reset(&near);
        reset(&far);
    }
}

/// One direction: the end of one side is passed on as the end.
async fn pump(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, mut way: watch::Receiver<Way>) {
    let mut buffer = vec![0; 4096];
    loop {
        let Ok(count) = from.read(&mut buffer).await else {
            return;
        };
        if count == 0 {
            let _ = to.shutdown().await;
            return;
        }
        if pass_on(&buffer[..count], &mut to, &mut way).await.is_err() {
            return;
        }
    }
}

async fn pass_on(
    bytes: &[u8],
    to: &mut WriteHalf<'_>,
    way: &mut watch::Receiver<Way>,
) -> std::io::Result<()> {
    for (index, byte) in bytes.iter().enumerate() {
        // An error means that the proxy is gone, and this with it.
        let _ = way.wait_for(|way| *way != Way::Mute).await;
        let now = *way.borrow_and_update();
        match now {
            Way::Dripping(pause) => {
                to.write_all(&[*byte]).await?;
                tokio::time::sleep(pause).await;
            }
            Way::Delayed(span) => {
                tokio::time::sleep(span).await;
                return to.write_all(&bytes[index..]).await;
            }
            Way::Open | Way::Mute | Way::Reset => return to.write_all(&bytes[index..]).await,
        }
    }
    Ok(())
}

/// Closes so that the other side is told of a reset, not of an end.
fn reset(stream: &TcpStream) {
    // A socket that is gone already needs none.
    let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
}
