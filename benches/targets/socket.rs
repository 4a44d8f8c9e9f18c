//! A Socket.IO client over a plain WebSocket, as light as it can be: it counts what it is told and answers
//! pings. Protocols: Engine.IO 4 and Socket.IO 5, text packets only.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

const PATIENCE: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(5);

/// Times are counted from here, so that they fit into an atomic number.
static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// What one client was told.
#[derive(Debug, Default)]
pub struct Told {
    /// WebSocket payload and frame headers.
    pub bytes: AtomicU64,
    pub packets: AtomicU64,
    /// `vmAssigned` events.
    pub assigned: AtomicU64,
    /// When the last of them came, in microseconds from the beginning; 0 if none has.
    assigned_us: AtomicU64,
    /// Ledger position of the last whole pool or delta.
    pub seq: AtomicU64,
}

impl Told {
    /// When it was last told of an assignment.
    pub fn assigned_at(&self) -> Option<Instant> {
        let us = self.assigned_us.load(Ordering::Relaxed);
        (us > 0).then(|| *BEGAN + Duration::from_micros(us))
    }
}

/// A connected client. It disconnects when dropped.
pub struct Client {
    pub told: Arc<Told>,
    reading: AbortHandle,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

impl Client {
    /// Connects and waits for the first snapshot.
    pub async fn connect(server: SocketAddr, deltas: bool) -> Result<Self> {
        let stream = TcpStream::connect(server).await?;
        stream.set_nodelay(true)?;
        let url = format!("ws://{server}/socket.io/?EIO=4&transport=websocket");
        let (mut socket, _) = tokio_tungstenite::client_async(url, stream).await?;
        let open = socket.next().await.context("closed before it was open")??;
        ensure!(open.to_text()?.starts_with('0'), "no open packet but {open}");
        let connect = if deltas { r#"40{"deltas":true}"# } else { "40" };
        socket.send(Message::text(connect)).await?;
        let told = Arc::new(Told::default());
        let counting = Arc::clone(&told);
        let reading = tokio::spawn(async move {
            if let Err(error) = read(socket, &counting).await {
                eprintln!("a Socket.IO client was lost: {error:#}");
            }
        });
        let client = Self {
            told,
            reading: reading.abort_handle(),
        };
        client.until_told(1).await.context("no snapshot came")?;
        Ok(client)
    }

    /// Waits until a snapshot or delta of this ledger position or a later one has come.
    pub async fn until_told(&self, seq: u64) -> Result<()> {
        let wait = async {
            while self.told.seq.load(Ordering::Relaxed) < seq {
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await?;
        Ok(())
    }

    /// The server has closed the connection: the client knows that it may have missed something.
    pub fn is_cut_off(&self) -> bool {
        self.reading.is_finished()
    }

    pub fn bytes(&self) -> u64 {
        self.told.bytes.load(Ordering::Relaxed)
    }
}

async fn read(mut socket: WebSocketStream<TcpStream>, told: &Told) -> Result<()> {
    while let Some(message) = socket.next().await {
        let Message::Text(text) = message? else {
            continue;
        };
        told.bytes.fetch_add(framed(text.len()), Ordering::Relaxed);
        told.packets.fetch_add(1, Ordering::Relaxed);
        let text = text.as_str();
        if text == "2" {
            socket.send(Message::text("3")).await?;
        } else if text.starts_with(r#"42["vmAssigned""#) {
            let us = u64::try_from(BEGAN.elapsed().as_micros()).unwrap_or(u64::MAX);
            told.assigned_us.store(us.max(1), Ordering::Relaxed);
            // Last: who sees the count must find the time.
            told.assigned.fetch_add(1, Ordering::Release);
        } else if text.starts_with(r#"42["vmPool"#)
            && let Some(seq) = last_seq(text)
        {
            told.seq.fetch_max(seq, Ordering::Relaxed);
        }
    }
    anyhow::bail!("the server closed the connection")
}

/// Bytes on the wire of an unmasked frame (RFC 6455, 5.2).
fn framed(payload: usize) -> u64 {
    let head = match payload {
        0..126 => 2,
        126..65_536 => 4,
        _ => 10,
    };
    payload as u64 + head
}

fn last_seq(text: &str) -> Option<u64> {
    let (_, behind) = text.rsplit_once(r#""seq":"#)?;
    let digits = behind.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}
