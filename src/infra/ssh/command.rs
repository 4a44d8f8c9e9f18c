//! A command that runs to its end, its output kept up to a cap.

use std::sync::Arc;
use std::time::Duration;

use russh::client::Msg;
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Sig};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::connection::{self, Connection};
use super::{Error, Exec, Exit, Finished};

/// How long a command that missed its deadline has to end after its hang-up, before its channel is closed.
const HANG_UP_GRACE: Duration = Duration::from_secs(1);

/// Extended data of this type is standard error (RFC 4254, section 5.2).
pub(super) const STDERR: u32 = 1;

/// One command on its way.
pub(super) struct Command {
    line: String,
    deadline: Duration,
    started: Instant,
    output: Output,
    connection: Arc<Connection>,
}

type Answer = oneshot::Sender<Result<Finished, Error>>;

impl Command {
    pub(super) fn new(line: String, exec: &Exec, connection: Arc<Connection>) -> Self {
        Self {
            line,
            deadline: exec.deadline,
            started: Instant::now(),
            output: Output::new(exec.output_bytes_max),
            connection,
        }
    }

    /// Answers when the command ends, its deadline passes or the connection is lost, whichever comes first,
    /// and cleans up after that. A caller that no longer waits is treated as a deadline that has passed.
    pub(super) async fn run(mut self, mut answer: Answer) {
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
        let opening = connection::open(&connection);
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
                    // Before the channel is closed: the closing would queue behind what nobody reads.
                    drop(read);
                    connection.leave(place, write.close()).await;
                }
            }
        }
    }

    /// The server has not opened the channel yet and may still do so; then it must be closed again.
    async fn give_up_opening(&self, answer: Answer, opening: impl Future<Output = connection::Opened>) {
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
                ChannelMsg::ExitSignal { signal_name, .. } => {
                    exit = Exit::Signal(connection::signal_name(signal_name));
                }
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

/// Tells the remote process to end and reads on for a moment, so that the server closes the channel itself.
/// `false` if it does not: the process goes on. OpenSSH passes no signals on to processes of root.
async fn hang_up(read: &mut ChannelReadHalf, write: &ChannelWriteHalf<Msg>) -> bool {
    let ends_by_itself = async {
        if write.signal(Sig::HUP).await.is_ok() {
            while !matches!(read.wait().await, Some(ChannelMsg::Close) | None) {}
        }
    };
    timeout(HANG_UP_GRACE, ends_by_itself).await.is_ok()
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
