//! One live connection: commands, pings, and how it ends.
//!
//! Every command runs in a task of its own that always reads its channel to the end: russh delivers the
//! messages of all channels one after the other, so a channel nobody reads would stop the whole connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use russh::client::{Handle, Msg};
use russh::{Channel, ChannelMsg, ChannelOpenFailure, ChannelReadHalf, ChannelWriteHalf, Disconnect, Sig};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::time::{Instant, timeout};

use super::connector::Client;
use super::{Error, Exec, Exit, Finished, Session, quote};

/// Commands that run at the same time on one connection; more wait, within their own deadlines. OpenSSH
/// refuses more than ten (`MaxSessions` in sshd_config(5)) and counts those that have just ended until it has
/// read all that we sent meanwhile, so that as many old ones may be counted as there are new ones.
const COMMANDS_AT_ONCE_MAX: u32 = 5;

/// How long a command that missed its deadline has to end after its hang-up, before its channel is closed.
const HANG_UP_GRACE: Duration = Duration::from_secs(1);

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

/// Extended data of this type is standard error (RFC 4254, section 5.2).
const STDERR: u32 = 1;

/// A message that a server must answer, whether it knows it or not (RFC 4254, section 4): no process needed.
const PING: &str = "keepalive@openssh.com";

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

    fn reached(&self) -> bool {
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

pub(super) struct RusshSession {
    connection: Arc<Connection>,
}

struct Connection {
    handle: Handle<Client>,
    end: End,
    commands: Arc<Semaphore>,
    worn: AtomicU32,
}

impl RusshSession {
    pub(super) fn new(handle: Handle<Client>, end: End) -> Self {
        Self {
            connection: Arc::new(Connection {
                handle,
                end,
                commands: Arc::new(Semaphore::new(COMMANDS_AT_ONCE_MAX as usize)),
                worn: AtomicU32::new(0),
            }),
        }
    }
}

#[async_trait]
impl Session for RusshSession {
    async fn exec(&self, exec: &Exec) -> Result<Finished, Error> {
        let line = quote::command_line(&exec.argv)?;
        if self.connection.end.reached() {
            return Err(Error::Closed);
        }
        let (answer, outcome) = oneshot::channel();
        let command = Command {
            line,
            deadline: exec.deadline,
            started: Instant::now(),
            output: Output::new(exec.output_bytes_max),
            connection: self.connection.clone(),
        };
        tokio::spawn(command.run(answer));
        // The task ends without an answer only with the runtime.
        outcome.await.unwrap_or(Err(Error::Closed))
    }

    async fn ping(&self, deadline: Duration) -> Result<(), Error> {
        let connection = &self.connection;
        if connection.end.reached() {
            return Err(Error::Closed);
        }
        let round_trip = async {
            tokio::select! {
                answer = connection.handle.send_global_request(PING, &[], true) => answer,
                _ = connection.end.wait() => Err(russh::Error::Disconnect),
            }
        };
        match timeout(deadline, round_trip).await {
            // Refusing the request is how most servers answer it.
            Ok(Ok(_) | Err(russh::Error::RequestDenied)) => Ok(()),
            Ok(Err(_)) => Err(Error::Closed),
            Err(_) => Err(Error::TimedOut(deadline)),
        }
    }

    async fn closed(&self) -> Error {
        self.connection.end.wait().await
    }

    async fn close(&self) {
        self.connection.close().await;
    }
}

impl Connection {
    async fn close(&self) {
        self.end.reach(Error::Closed);
        let goodbye = self.handle.disconnect(Disconnect::ByApplication, "", "");
        // Whether it was heard makes no difference to us.
        let _ = timeout(GOODBYE, goodbye).await;
    }

    /// Closes a channel on which nothing runs.
    async fn give_up(&self, closing: impl Future<Output = Result<(), russh::Error>>) {
        // Fails if the connection is gone, and takes long only if it is about to be.
        let _ = timeout(GOODBYE, closing).await;
        self.wear(WEAR_OF_A_CHANNEL).await;
    }

    async fn wear(&self, more: u32) {
        if self.worn.fetch_add(more, Ordering::Relaxed).saturating_add(more) >= WEAR_MAX {
            tracing::warn!("too many commands failed to start or to end on this SSH connection: closing it");
            self.close().await;
        }
    }
}

/// One command on its way.
struct Command {
    line: String,
    deadline: Duration,
    started: Instant,
    output: Output,
    connection: Arc<Connection>,
}

type Answer = oneshot::Sender<Result<Finished, Error>>;

impl Command {
    /// Answers when the command ends, its deadline passes or the connection is lost, whichever comes first,
    /// and cleans up after that. A caller that no longer waits is treated as a deadline that has passed.
    async fn run(mut self, mut answer: Answer) {
        let connection = self.connection.clone();
        let out_of_time = tokio::time::sleep_until(self.started + self.deadline);
        tokio::pin!(out_of_time);

        let place = tokio::select! {
            // It fails only if the semaphore is closed, which nobody does.
            Ok(place) = connection.commands.clone().acquire_owned() => place,
            _ = connection.end.wait() => return reply(answer, Err(Error::Closed)),
            () = &mut out_of_time => return reply(answer, Err(Error::TimedOut(self.deadline))),
            () = answer.closed() => return,
        };
        let opening = open(&connection);
        tokio::pin!(opening);
        let opened = tokio::select! {
            opened = &mut opening => opened,
            () = &mut out_of_time => return self.give_up_opening(answer, opening).await,
            () = answer.closed() => return self.give_up_opening(answer, opening).await,
        };
        let channel = match opened {
            Ok(channel) => channel,
            Err(error) => return reply(answer, Err(error)),
        };

        let (mut read, write) = channel.split();
        let ended = tokio::select! {
            // First the command: one that has ended has ended, even if the connection is lost right after.
            biased;
            ended = self.attend(&mut read, &write) => Some(ended),
            _ = connection.end.wait() => Some(Err(Error::Closed)),
            () = &mut out_of_time => None,
            () = answer.closed() => None,
        };
        match ended {
            Some(Ok(exit)) => reply(answer, Ok(self.output.finish(exit, self.started.elapsed()))),
            Some(Err(error)) => {
                reply(answer, Err(error));
                connection.give_up(write.close()).await;
            }
            None => {
                reply(answer, Err(Error::TimedOut(self.deadline)));
                if !hang_up(&mut read, &write).await {
                    place.forget();
                    connection.wear(WEAR_OF_A_STUBBORN_COMMAND).await;
                }
            }
        }
    }

    /// The server has not opened the channel yet and may still do so; then it must be closed again.
    async fn give_up_opening(&self, answer: Answer, opening: impl Future<Output = Opened>) {
        reply(answer, Err(Error::TimedOut(self.deadline)));
        if let Ok(channel) = opening.await {
            self.connection.give_up(channel.close()).await;
        }
    }

    /// Starts the command and reads everything it says until the server closes the channel.
    async fn attend(
        &mut self,
        read: &mut ChannelReadHalf,
        write: &ChannelWriteHalf<Msg>,
    ) -> Result<Exit, Error> {
        let sent = async {
            write.exec(true, self.line.as_bytes()).await?;
            // It has no input, and one that reads should learn that at once.
            write.eof().await
        };
        sent.await.map_err(|_: russh::Error| Error::Closed)?;
        let mut exit = Exit::Unknown;
        while let Some(message) = read.wait().await {
            match message {
                ChannelMsg::Data { data } => self.output.stdout.take(&data),
                ChannelMsg::ExtendedData { data, ext: STDERR } => self.output.stderr.take(&data),
                ChannelMsg::ExitStatus { exit_status } => exit = Exit::Status(exit_status),
                ChannelMsg::ExitSignal { signal_name, .. } => exit = Exit::Signal(signal(signal_name)),
                ChannelMsg::Failure => {
                    return Err(Error::Protocol("the server does not run commands".to_owned()));
                }
                ChannelMsg::Close => return Ok(exit),
                // Replies to what we sent, and what concerns writing.
                _ => {}
            }
        }
        // Without a close the connection itself is gone, and whether the command ended is not known.
        Err(Error::Closed)
    }
}

fn reply(answer: Answer, result: Result<Finished, Error>) {
    // The caller may have stopped waiting.
    let _ = answer.send(result);
}

type Opened = Result<Channel<Msg>, Error>;

/// A server that has just said that a command ended may hold its place a moment longer, until it has reaped the
/// process, and refuse the next one meanwhile: that one is asked for again, a little later each time.
async fn open(connection: &Connection) -> Opened {
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

/// Tells the remote process to end and reads on for a moment, so that the server closes the channel itself.
/// If it does not, the channel is closed from here and the answer is `false`: the process goes on. OpenSSH
/// passes no signals on to processes of root.
async fn hang_up(read: &mut ChannelReadHalf, write: &ChannelWriteHalf<Msg>) -> bool {
    let ends_by_itself = async {
        if write.signal(Sig::HUP).await.is_ok() {
            while !matches!(read.wait().await, Some(ChannelMsg::Close) | None) {}
        }
    };
    if timeout(HANG_UP_GRACE, ends_by_itself).await.is_ok() {
        return true;
    }
    // Fails if the connection is gone, and takes long only if it is about to be.
    let _ = timeout(GOODBYE, write.close()).await;
    false
}

/// What is kept of a command's output.
struct Output {
    stdout: Capped,
    stderr: Capped,
}

struct Capped {
    kept: Vec<u8>,
    bytes_max: usize,
    truncated: bool,
}

impl Output {
    fn new(bytes_max: usize) -> Self {
        let capped = || Capped {
            kept: Vec::new(),
            bytes_max,
            truncated: false,
        };
        Self {
            stdout: capped(),
            stderr: capped(),
        }
    }

    fn finish(self, exit: Exit, took: Duration) -> Finished {
        Finished {
            truncated: self.stdout.truncated || self.stderr.truncated,
            stdout: self.stdout.kept,
            stderr: self.stderr.kept,
            exit,
            took,
        }
    }
}

impl Capped {
    fn take(&mut self, data: &[u8]) {
        let room = self.bytes_max - self.kept.len();
        self.truncated |= data.len() > room;
        self.kept.extend_from_slice(&data[..data.len().min(room)]);
    }
}

/// A signal's name without `SIG` (RFC 4254, section 6.10).
fn signal(signal: Sig) -> String {
    match signal {
        Sig::Custom(name) => name,
        // The other variants are named as they are sent.
        named => format!("{named:?}"),
    }
}
