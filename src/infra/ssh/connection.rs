//! One live connection: its channels, how it wears, and how it ends.
//!
//! russh (0.65) delivers the messages of all channels one after the other, so a channel that nobody reads would
//! stop the whole connection; and it opens a channel's window again as soon as a message has come in, not when it
//! was taken. Whoever has a channel therefore always reads it to the end, at once, and bounds what it keeps.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use russh::client::{Handle, Msg};
use russh::{Channel, ChannelOpenFailure, Disconnect, Sig};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;

use super::Error;
use super::connector::Client;

// OpenSSH refuses more than ten sessions on a connection (`MaxSessions` in sshd_config(5)) and counts those that
// have just ended until it has read all that we sent meanwhile, so that of short commands as many old ones may be
// counted as there are new ones. Forwarded connections are not counted.

/// Short commands that run at the same time; more wait, within their own deadlines.
const COMMANDS_AT_ONCE_MAX: u32 = 4;
/// Executions whose output is streamed. They may last for hours, so they have places of their own: what must be
/// done at once, such as ending a studio, never waits for them.
const EXECUTIONS_AT_ONCE_MAX: u32 = 3;

/// Channels for files.
const FILES_AT_ONCE_MAX: u32 = 2;

/// How often a channel is asked for before its refusal is believed.
const REFUSALS_MAX: u32 = 4;
/// Pause after the first refusal; it doubles with each.
const REFUSED_PAUSE: Duration = Duration::from_millis(20);

/// A connection wears: a command that goes on after its hang-up keeps its place at the server, and a channel
/// that we had to close or that was refused leaves a little behind in russh. At this much wear the connection
/// is closed and its owner makes a new one.
const WEAR_MAX: u32 = 64;
/// Wear of a command that would not end. As many as there are places wear a connection out.
const WEAR_OF_A_STUBBORN_COMMAND: u32 = WEAR_MAX.div_ceil(COMMANDS_AT_ONCE_MAX);
/// Wear of a channel that was refused, or opened too late.
const WEAR_OF_A_CHANNEL: u32 = 1;

/// How long saying goodbye may take.
const GOODBYE: Duration = Duration::from_secs(1);

/// How a connection ended, known to all who depend on it. The first reason given is the reason.
#[derive(Debug, Clone)]
pub(super) struct End(Arc<watch::Sender<Option<Ended>>>);

#[derive(Debug, Clone)]
struct Ended {
    why: Error,
    goodbye: bool,
}

impl Default for End {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }
}

impl End {
    pub(super) fn reach(&self, why: Error) {
        self.set(Ended { why, goodbye: false });
    }

    /// The server closed the connection in the protocol's own words.
    pub(super) fn reach_by_goodbye(&self) {
        self.set(Ended {
            why: Error::Closed,
            goodbye: true,
        });
    }

    fn set(&self, ended: Ended) {
        self.0.send_if_modified(|now| {
            let first = now.is_none();
            if first {
                *now = Some(ended);
            }
            first
        });
    }

    pub(super) fn reached(&self) -> bool {
        self.0.borrow().is_some()
    }

    pub(super) fn said_goodbye(&self) -> bool {
        self.0.borrow().as_ref().is_some_and(|ended| ended.goodbye)
    }

    pub(super) async fn wait(&self) -> Error {
        match self.0.subscribe().wait_for(Option::is_some).await.as_deref() {
            Ok(Some(ended)) => ended.why.clone(),
            Ok(None) | Err(_) => Error::Closed,
        }
    }
}

pub(super) struct Connection {
    pub(super) handle: Handle<Client>,
    pub(super) end: End,
    pub(super) commands: Arc<Semaphore>,
    pub(super) executions: Arc<Semaphore>,
    /// SFTP channels; one, unless an old one is just being closed.
    pub(super) files: Arc<Semaphore>,
    worn: AtomicU32,
}

impl Connection {
    pub(super) fn new(handle: Handle<Client>, end: End) -> Self {
        let places = |count: u32| Arc::new(Semaphore::new(count as usize));
        Self {
            handle,
            end,
            commands: places(COMMANDS_AT_ONCE_MAX),
            executions: places(EXECUTIONS_AT_ONCE_MAX),
            files: places(FILES_AT_ONCE_MAX),
            worn: AtomicU32::new(0),
        }
    }

    pub(super) async fn close(&self) {
        self.end.reach(Error::Closed);
        let goodbye = self.handle.disconnect(Disconnect::ByApplication, "", "");
        // Whether it was heard makes no difference to us.
        let _ = timeout(GOODBYE, goodbye).await;
    }

    /// Closes a channel on which nothing runs.
    pub(super) async fn give_up(&self, closing: impl Future<Output = Result<(), russh::Error>>) {
        // Fails if the connection is gone, and takes long only if it is about to be.
        let _ = timeout(GOODBYE, closing).await;
        self.wear(WEAR_OF_A_CHANNEL).await;
    }

    /// Closes a channel whose command goes on; it keeps its place at the server, so it keeps it here.
    pub(super) async fn leave(
        &self,
        place: OwnedSemaphorePermit,
        closing: impl Future<Output = Result<(), russh::Error>>,
    ) {
        // Fails if the connection is gone, and takes long only if it is about to be.
        let _ = timeout(GOODBYE, closing).await;
        place.forget();
        self.wear(WEAR_OF_A_STUBBORN_COMMAND).await;
    }

    async fn wear(&self, more: u32) {
        if self.worn.fetch_add(more, Ordering::Relaxed).saturating_add(more) >= WEAR_MAX {
            tracing::warn!("too many commands failed to start or to end on this SSH connection: closing it");
            self.close().await;
        }
    }
}

pub(super) type Opened = Result<Channel<Msg>, Error>;

/// A server that has just said that a command ended may hold its place a moment longer, until it has reaped the
/// process, and refuse the next one meanwhile: that one is asked for again, a little later each time.
pub(super) async fn open(connection: &Connection) -> Opened {
    let mut pause = REFUSED_PAUSE;
    for _ in 1..REFUSALS_MAX {
        match open_once(connection).await {
            Err(Refused::Channel(_)) => tokio::time::sleep(pause).await,
            Err(Refused::Connection) => return Err(Error::Closed),
            Ok(channel) => return Ok(channel),
        }
        pause *= 2;
    }
    open_once(connection).await.map_err(|refused| match refused {
        Refused::Channel(why) => Error::Protocol(format!("the server opens no channel: {why:?}")),
        Refused::Connection => Error::Closed,
    })
}

enum Refused {
    Channel(ChannelOpenFailure),
    Connection,
}

async fn open_once(connection: &Connection) -> Result<Channel<Msg>, Refused> {
    let opened = tokio::select! {
        opened = connection.handle.channel_open_session() => opened,
        _ = connection.end.wait() => return Err(Refused::Connection),
    };
    match opened {
        Ok(channel) => Ok(channel),
        Err(russh::Error::ChannelOpenFailure(why)) => {
            connection.wear(WEAR_OF_A_CHANNEL).await;
            Err(Refused::Channel(why))
        }
        Err(_) => Err(Refused::Connection),
    }
}

/// A signal's name without `SIG` (RFC 4254, section 6.10).
pub(super) fn signal_name(signal: Sig) -> String {
    match signal {
        Sig::Custom(name) => name,
        // The other variants are named as they are sent.
        named => format!("{named:?}"),
    }
}
