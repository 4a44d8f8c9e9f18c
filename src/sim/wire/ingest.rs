//! The venue's ingest, as an independent witness of who publishes what and when.
//!
//! It is **not RTMP**: a publisher connects over TCP, sends the line `PUBLISH <app>/<key>`, is answered `OK`, and
//! sends bytes from then on. Enough to count publishers, and to be refused, dropped and starved like the real
//! one; real RTMP comes with the real OBS.
//!
//! What it saw is in the [`Book`].

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::sim::clock::Clock;
use crate::sim::model::ingest::Book;
pub use crate::sim::model::ingest::{IDLE, Overlap, Stretch};

/// Limit on saying which key is published.
const HELLO_DEADLINE: Duration = Duration::from_secs(5);
const HELLO_BYTES_MAX: usize = 512;

struct Shared {
    clock: Clock,
    address: SocketAddr,
    book: Mutex<Book>,
    /// Rises when a publisher begins or ends, for those who wait.
    changes: watch::Sender<u64>,
    /// False while the ingest is down.
    up: watch::Sender<bool>,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// The ingest and its witness. Cheap to clone; it stops when the last clone is dropped.
#[derive(Clone)]
pub struct Ingest {
    shared: Arc<Shared>,
}

impl Ingest {
    /// Listens at `address`; port 0 picks a free one. Must be called within a runtime.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn start(address: SocketAddr, clock: Clock) -> io::Result<Self> {
        let listener = listen(address)?;
        let shared = Arc::new(Shared {
            clock,
            address: listener.local_addr()?,
            book: Mutex::default(),
            changes: watch::Sender::new(0),
            up: watch::Sender::new(true),
            task: Mutex::new(None),
        });
        let ingest = Self { shared };
        ingest.run(listener);
        Ok(ingest)
    }

    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.shared.address
    }

    /// `rtmp://host:port/live`, for a studio's stream settings.
    #[must_use]
    pub fn server_url(&self) -> String {
        format!("rtmp://{}/live", self.shared.address)
    }

    /// Refuses new publishers and drops the present ones, when this returns.
    pub async fn take_down(&self) {
        self.shared.up.send_replace(false);
        let task = self.task().take();
        if let Some(task) = task {
            task.abort();
            // Cancelled, as just asked; the listener is closed now.
            let _ = task.await;
        }
    }

    /// Accepts publishers again.
    ///
    /// # Errors
    /// When the address cannot be bound any more.
    pub async fn bring_back(&self) -> io::Result<()> {
        let is_down = self.task().is_none();
        if is_down {
            let listener = TcpListener::bind(self.shared.address).await?;
            self.shared.up.send_replace(true);
            self.run(listener);
        }
        Ok(())
    }

    /// Everything that was published, in the order it began.
    #[must_use]
    pub fn stretches(&self) -> Vec<Stretch> {
        self.book().stretches(self.shared.clock.now())
    }

    /// Who publishes `key` now.
    #[must_use]
    pub fn publishers(&self, key: &str) -> Vec<Ipv4Addr> {
        self.book().publishers(key, self.shared.clock.now())
    }

    /// Bytes that have arrived for `key`, from whomever.
    #[must_use]
    pub fn bytes(&self, key: &str) -> u64 {
        self.book().bytes(key)
    }

    /// Every time two publishers were on one key at once.
    #[must_use]
    pub fn overlaps(&self) -> Vec<Overlap> {
        self.book().overlaps()
    }

    /// Waits until `holds` is true of the witness, looking again whenever a publisher begins or ends and at
    /// least every 20 ms. False if the deadline came first.
    pub async fn until(&self, deadline: Duration, holds: impl Fn(&Self) -> bool) -> bool {
        let end = Instant::now() + deadline;
        let mut changes = self.shared.changes.subscribe();
        while !holds(self) {
            if Instant::now() >= end {
                return false;
            }
            // Silence is no event: an end by IDLE is seen by looking.
            let _ = timeout(Duration::from_millis(20), changes.changed()).await;
        }
        true
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.shared.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn task(&self) -> MutexGuard<'_, Option<JoinHandle<()>>> {
        self.shared.task.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, listener: TcpListener) {
        // The task holds no strong reference, so that dropping the last clone ends it.
        let shared = Arc::downgrade(&self.shared);
        let up = self.shared.up.subscribe();
        let task = tokio::spawn(async move {
            loop {
                let Ok((stream, peer)) = listener.accept().await else {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                };
                let Some(shared) = shared.upgrade() else { return };
                let SocketAddr::V4(peer) = peer else { continue };
                tokio::spawn(serve(shared, stream, *peer.ip(), up.clone()));
            }
        });
        *self.task() = Some(task);
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let task = self.task.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(task) = task.take() {
            task.abort();
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(1_024)
}

async fn serve(shared: Arc<Shared>, mut stream: TcpStream, peer: Ipv4Addr, mut up: watch::Receiver<bool>) {
    let hello = timeout(HELLO_DEADLINE, read_hello(&mut stream));
    let key = tokio::select! {
        hello = hello => match hello {
            Ok(Ok(Some(key))) => key,
            Ok(Ok(None) | Err(_)) | Err(_) => return,
        },
        _ = up.wait_for(|up| !up) => return,
    };
    if stream.write_all(b"OK\n").await.is_err() {
        return;
    }
    let connection = lock(&shared.book).connected();
    // Only counts and wakes, so the task must not keep the ingest alive.
    let weak = Arc::downgrade(&shared);
    drop(shared);
    let mut buffer = [0_u8; 1_024];
    loop {
        let read = tokio::select! {
            read = stream.read(&mut buffer) => read,
            // An error means that the ingest itself is gone.
            _ = up.wait_for(|up| !up) => break,
        };
        let (Ok(read @ 1..), Some(shared)) = (read, weak.upgrade()) else {
            break;
        };
        let now = shared.clock.now();
        let bytes = u64::try_from(read).unwrap_or(u64::MAX);
        let began = lock(&shared.book).note(connection, &key, peer, bytes, now);
        if began {
            shared.changes.send_modify(|count| *count += 1);
        }
    }
    if let Some(shared) = weak.upgrade() {
        lock(&shared.book).end(connection);
        shared.changes.send_modify(|count| *count += 1);
    }
}

fn lock(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads `PUBLISH <app>/<key>\n`, byte by byte so as not to read into the stream. `None` if it is anything else.
async fn read_hello(stream: &mut TcpStream) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    while line.len() < HELLO_BYTES_MAX {
        match stream.read_u8().await? {
            b'\n' => {
                let line = String::from_utf8_lossy(&line);
                let path = line.strip_prefix("PUBLISH ");
                return Ok(path
                    .and_then(|path| path.split_once('/'))
                    .map(|(_, key)| key.to_owned()));
            }
            byte => line.push(byte),
        }
    }
    Ok(None)
}
