//! An execution: a command or a login shell whose output arrives as it comes, and which can be talked to.
//!
//! ```text
//!  Control ── input, size, cancel ──► task ──► channel ──► the command
//!  Receiver<Piece> ◄── bounded ────── outbox ◄── output ◄──┘
//! ```
//!
//! The task reads its channel at once whatever its reader does (see [`super::connection`] for why it must), and
//! keeps what the reader has not taken yet in the [`outbox`](super::outbox), which has a bound in bytes. What does
//! not fit is dropped and counted, and the reader is told how much is missing where it is missing. So a slow reader
//! stops neither the command nor anything else on the connection.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use russh::client::Msg;
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Sig};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{Instrument as _, debug_span};

use super::command::STDERR;
use super::connection::{self, Connection};
use super::outbox::Outbox;
use super::{Error, Exit, Start, Stream, Terminal, quote};
use crate::domain::stall;

/// How long a command that was told to end (`TERM`) may take before it is killed.
const TERM_GRACE: Duration = Duration::from_secs(3);
/// How long a killed command may take to be gone before its channel is closed.
const KILL_GRACE: Duration = Duration::from_secs(1);
/// Pieces of input that wait to be sent; who writes faster waits.
const INPUT_MAX: usize = 16;
/// Longest name of a terminal type; terminfo's are far below.
const TERM_CHARS_MAX: usize = 64;

/// A running command or login shell. Dropping `pieces` cancels it.
#[derive(Debug)]
pub struct Execution {
    /// Any number of [`Piece::Output`] and [`Piece::Skipped`], then exactly one [`Piece::Ended`]. It closes without
    /// that only for a reader who leaves pieces lying for half a minute after the end.
    pub pieces: mpsc::Receiver<Piece>,
    pub control: Control,
}

/// What an execution says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    Output {
        stream: Stream,
        bytes: Bytes,
    },
    /// So many bytes of output are missing here: they came faster than they were taken.
    Skipped {
        bytes: u64,
    },
    /// How it ended: by itself or after [`Control::cancel`]. [`Error::TimedOut`] past its deadline,
    /// [`Error::Stubborn`] if it was told to end and did not, [`Error::Closed`] if the connection was lost, and then
    /// it may go on.
    Ended(Result<Exit, Error>),
}

/// Talks to an execution. Dropping all of its clones ends the input.
#[derive(Debug, Clone)]
pub struct Control {
    input: mpsc::Sender<Input>,
    size: watch::Sender<Size>,
    cancelled: watch::Sender<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Size {
    columns: u16,
    rows: u16,
}

#[derive(Debug)]
enum Input {
    Bytes(Bytes),
    End,
}

impl Control {
    /// Asks it to end, and returns at once; the last piece says how it ended. A command is sent `TERM`, and `KILL`
    /// if it goes on. A terminal is closed, which hangs up everything in it.
    pub fn cancel(&self) {
        self.cancelled.send_replace(true);
    }

    /// Sends input; waits while the command does not read, at most until the execution ends.
    ///
    /// # Errors
    /// [`Error::NotRunning`] if it has ended, or its input has.
    pub async fn input(&self, bytes: Bytes) -> Result<(), Error> {
        let sent = self.input.send(Input::Bytes(bytes)).await;
        sent.map_err(|_| Error::NotRunning)
    }

    /// Tells the command that there is no more input.
    ///
    /// # Errors
    /// [`Error::NotRunning`] if it has ended, or its input has.
    pub async fn end_of_input(&self) -> Result<(), Error> {
        self.input.send(Input::End).await.map_err(|_| Error::NotRunning)
    }

    /// Gives its terminal another size in characters; of several in a row the last one counts. Without a terminal
    /// nothing happens.
    pub fn resize(&self, columns: u16, rows: u16) {
        self.size.send_replace(Size { columns, rows });
    }
}

/// The far ends of a [`Control`].
pub(crate) struct Orders {
    input: mpsc::Receiver<Input>,
    size: watch::Receiver<Size>,
    pub(crate) cancelled: watch::Receiver<bool>,
}

impl Execution {
    /// An execution, and its far ends for whoever carries it out.
    pub(crate) fn begin(terminal: Option<&Terminal>) -> (Self, Orders, Outbox) {
        let size = terminal.map_or(Size { columns: 0, rows: 0 }, |terminal| Size {
            columns: terminal.columns,
            rows: terminal.rows,
        });
        let (outbox, pieces) = Outbox::new();
        let (input, input_end) = mpsc::channel(INPUT_MAX);
        let (size, cancelled) = (watch::Sender::new(size), watch::Sender::new(false));
        let orders = Orders {
            input: input_end,
            size: size.subscribe(),
            cancelled: cancelled.subscribe(),
        };
        let control = Control {
            input,
            size,
            cancelled,
        };
        (Self { pieces, control }, orders, outbox)
    }
}

/// Starts what was asked for and returns once the server runs it.
pub(super) async fn start(connection: &Arc<Connection>, start: &Start) -> Result<Execution, Error> {
    let line = start.argv.as_deref().map(quote::command_line).transpose()?;
    // In place of the login shell: signals go to the server's own child, which would otherwise be that shell.
    let line = line.map(|command| format!("exec {command}"));
    if let Some(terminal) = &start.pty {
        check(terminal)?;
    }
    if connection.end.reached() {
        return Err(Error::Closed);
    }
    let Ok(place) = connection.executions.clone().try_acquire_owned() else {
        return Err(Error::Busy);
    };
    let out_of_time = Instant::now() + start.deadline;
    let (answer, started) = oneshot::channel();
    let running = Running {
        line,
        terminal: start.pty.clone(),
        deadline: start.deadline,
        out_of_time,
        connection: Arc::clone(connection),
        place,
    };
    // A task of its own from the start, so that a caller who gives up leaves no channel open.
    let program = start.argv.as_ref().and_then(|argv| argv.first());
    let span = debug_span!("ssh", program);
    tokio::spawn(running.run(answer).instrument(span));
    // The task ends without an answer only with the runtime.
    started.await.unwrap_or(Err(Error::Closed))
}

/// Such a name ends up in the command's environment, and is often what a browser said.
pub(crate) fn check(terminal: &Terminal) -> Result<(), Error> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "+-._".contains(c);
    let term = &terminal.term;
    if term.is_empty() || term.len() > TERM_CHARS_MAX || !term.chars().all(fits) {
        return Err(Error::BadCommand("the terminal's type is not a name"));
    }
    Ok(())
}

/// One execution on its way.
struct Running {
    line: Option<String>,
    terminal: Option<Terminal>,
    deadline: Duration,
    out_of_time: Instant,
    connection: Arc<Connection>,
    place: OwnedSemaphorePermit,
}

type Answer = oneshot::Sender<Result<Execution, Error>>;

impl Running {
    async fn run(self, answer: Answer) {
        let (mut read, write) = match self.open().await {
            Ok(channel) => channel.split(),
            Err(error) => return drop(answer.send(Err(error))),
        };
        let begun = self.begin(&mut read, &write);
        let begun = tokio::select! {
            begun = timeout_at(self.out_of_time, begun) => begun.unwrap_or(Err(Error::TimedOut(self.deadline))),
            _ = self.connection.end.wait() => Err(Error::Closed),
        };
        if let Err(error) = begun {
            // Before the channel is closed: the closing would queue behind what nobody reads.
            drop(read);
            let _ = answer.send(Err(error));
            return self.connection.give_up(write.close()).await;
        }
        let (execution, orders, outbox) = Execution::begin(self.terminal.as_ref());
        // A caller that has gone meanwhile drops the receiver, which is noticed below.
        let _ = answer.send(Ok(execution));
        self.attend(read, write, orders, outbox).await;
    }

    /// A server that takes too long may still open the channel; then it is closed again.
    async fn open(&self) -> Result<Channel<Msg>, Error> {
        let opening = connection::open(&self.connection);
        tokio::pin!(opening);
        if let Ok(opened) = timeout_at(self.out_of_time, &mut opening).await {
            return opened;
        }
        let connection = Arc::clone(&self.connection);
        if let Ok(late) = opening.await {
            connection.give_up(late.close()).await;
        }
        Err(Error::TimedOut(self.deadline))
    }

    /// Asks for the terminal and the command; every request is answered in its turn (RFC 4254, section 6.5).
    async fn begin(&self, read: &mut ChannelReadHalf, write: &ChannelWriteHalf<Msg>) -> Result<(), Error> {
        let gone = |_: russh::Error| Error::Closed;
        if let Some(Terminal { term, columns, rows }) = &self.terminal {
            let (columns, rows) = (u32::from(*columns), u32::from(*rows));
            let asked = write.request_pty(true, term, columns, rows, 0, 0, &[]).await;
            asked.map_err(gone)?;
            granted(read, "the server gives no terminals").await?;
        }
        match &self.line {
            Some(line) => write.exec(true, line.as_bytes()).await.map_err(gone)?,
            None => write.request_shell(true).await.map_err(gone)?,
        }
        granted(read, "the server does not run commands").await
    }

    /// Sees it to its end and clears up after it.
    async fn attend(
        self,
        mut read: ChannelReadHalf,
        write: ChannelWriteHalf<Msg>,
        orders: Orders,
        mut outbox: Outbox,
    ) {
        let outcome = self.follow(&mut read, &write, orders, &mut outbox).await;
        // Before the channel is closed: the closing would queue behind what nobody reads.
        drop(read);
        let last = match outcome {
            Outcome::Ended(result) => {
                if result.is_err() {
                    self.connection.give_up(write.close()).await;
                }
                drop(self.place);
                result
            }
            Outcome::Stopped(stop, Some(result)) => {
                drop(self.place);
                stop.name(self.deadline, result)
            }
            Outcome::Stopped(stop, None) if self.terminal.is_some() => {
                self.connection.give_up(write.close()).await;
                drop(self.place);
                stop.name(self.deadline, Ok(Exit::Unknown))
            }
            Outcome::Stopped(stop, None) => {
                self.connection.leave(self.place, write.close()).await;
                stop.name(self.deadline, Err(Error::Stubborn))
            }
        };
        outbox.finish(last).await;
    }

    async fn follow(
        &self,
        read: &mut ChannelReadHalf,
        write: &ChannelWriteHalf<Msg>,
        orders: Orders,
        outbox: &mut Outbox,
    ) -> Outcome {
        let Orders {
            input,
            size,
            mut cancelled,
        } = orders;
        let reader_gone = outbox.reader_gone();
        let output = listen(read, outbox);
        let talk = talk(write, input, size);
        tokio::pin!(output);
        let stop = tokio::select! {
            // First the command: one that has ended has ended, whatever else has just happened.
            biased;
            ended = &mut output => return Outcome::Ended(ended),
            _ = self.connection.end.wait() => return Outcome::Ended(Err(Error::Closed)),
            Ok(_) = cancelled.wait_for(|cancelled| *cancelled) => Stop::Cancelled,
            () = time_up(self.out_of_time, self.deadline) => Stop::OutOfTime,
            () = reader_gone => Stop::Cancelled,
            never = talk => match never {},
        };
        if self.terminal.is_some() {
            // Closing it is what ends a terminal: the kernel hangs up on whatever runs in it.
            return Outcome::Stopped(stop, None);
        }
        for (signal, grace) in [(Sig::TERM, TERM_GRACE), (Sig::KILL, KILL_GRACE)] {
            let asked = async {
                // Fails if the connection is gone, and then so does the output.
                let _ = write.signal(signal).await;
                output.as_mut().await
            };
            if let Ok(ended) = timeout(grace, asked).await {
                return Outcome::Stopped(stop, Some(ended));
            }
        }
        Outcome::Stopped(stop, None)
    }
}

/// Returns once the time is up, as it was for somebody who was there: if this process did not run when that happened, the
/// command may have ended long ago, and it has its time again to be heard.
async fn time_up(mut due: Instant, span: Duration) {
    loop {
        tokio::time::sleep_until(due).await;
        if !stall::slept_through(due.elapsed()) {
            return;
        }
        due = Instant::now() + span;
    }
}

/// Why an execution is not left to end by itself.
#[derive(Debug, Clone, Copy)]
enum Stop {
    /// Or its reader is gone.
    Cancelled,
    OutOfTime,
}

impl Stop {
    fn name(self, deadline: Duration, ended: Result<Exit, Error>) -> Result<Exit, Error> {
        match self {
            Self::Cancelled => ended,
            Self::OutOfTime => Err(Error::TimedOut(deadline)),
        }
    }
}

enum Outcome {
    /// By itself, or with the connection.
    Ended(Result<Exit, Error>),
    /// It was told to end; with how it ended, if it did.
    Stopped(Stop, Option<Result<Exit, Error>>),
}

async fn granted(read: &mut ChannelReadHalf, refused: &str) -> Result<(), Error> {
    loop {
        match read.wait().await {
            Some(ChannelMsg::Success) => return Ok(()),
            Some(ChannelMsg::Failure) => return Err(Error::Protocol(refused.to_owned())),
            Some(ChannelMsg::Close) | None => return Err(Error::Closed),
            // How much may be written.
            Some(_) => {}
        }
    }
}

/// Reads everything the command says until the server closes the channel.
async fn listen(read: &mut ChannelReadHalf, outbox: &mut Outbox) -> Result<Exit, Error> {
    let mut exit = Exit::Unknown;
    loop {
        if outbox.has_waiting() {
            // The reader may be a task of the same thread: its turn, before more is read.
            tokio::task::yield_now().await;
        }
        let message = tokio::select! {
            // Nothing more is read while there is room for what has been: only a reader who lags makes it wait.
            biased;
            () = outbox.send_next(), if outbox.has_waiting() => continue,
            message = read.wait() => message,
        };
        match message {
            Some(ChannelMsg::Data { data }) => outbox.put(Stream::Stdout, &data),
            Some(ChannelMsg::ExtendedData { data, ext: STDERR }) => outbox.put(Stream::Stderr, &data),
            Some(ChannelMsg::ExitStatus { exit_status }) => exit = Exit::Status(exit_status),
            Some(ChannelMsg::ExitSignal { signal_name, .. }) => {
                exit = Exit::Signal(connection::signal_name(signal_name));
            }
            Some(ChannelMsg::Close) => return Ok(exit),
            // Without a close the connection itself is gone, and whether the command ended is not known.
            None => return Err(Error::Closed),
            // Replies to what we sent, and what concerns writing.
            Some(_) => {}
        }
    }
}

/// Passes on input and sizes for as long as the execution runs.
async fn talk(
    write: &ChannelWriteHalf<Msg>,
    mut input: mpsc::Receiver<Input>,
    mut size: watch::Receiver<Size>,
) -> Infallible {
    let feed = async {
        while let Some(Input::Bytes(bytes)) = input.recv().await {
            if write.data_bytes(bytes).await.is_err() {
                return;
            }
        }
        // What is written after this is refused. It fails if the connection is gone, as `listen` learns too.
        drop(input);
        let _ = write.eof().await;
    };
    let fit = async {
        while size.changed().await.is_ok() {
            let Size { columns, rows } = *size.borrow_and_update();
            let sent = write.window_change(u32::from(columns), u32::from(rows), 0, 0);
            if sent.await.is_err() {
                return;
            }
        }
    };
    tokio::join!(feed, fit);
    std::future::pending().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_command_whose_time_was_up_while_this_process_did_not_run_has_it_again() {
        const SPAN: Duration = Duration::from_secs(10);
        let began = Instant::now();
        let up = tokio::spawn(time_up(began + SPAN, SPAN));
        tokio::time::sleep(SPAN / 2).await;
        // At once, as for whoever is stopped and goes on.
        tokio::time::advance(Duration::from_secs(60)).await;
        let awake_at = Instant::now();
        up.await.unwrap();
        assert_eq!(awake_at.elapsed(), SPAN);
    }

    #[tokio::test(start_paused = true)]
    async fn a_command_has_no_more_time_than_it_was_given() {
        const SPAN: Duration = Duration::from_secs(10);
        let began = Instant::now();
        time_up(began + SPAN, SPAN).await;
        assert_eq!(began.elapsed(), SPAN);
    }
}
