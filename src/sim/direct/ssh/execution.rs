//! Commands whose output arrives as it comes, and which can be told to end.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep_until};

use super::command;
use super::session::Connection;
use crate::infra::ssh::{
    Error, Execution, Exit, Orders, Outbox, Start, Stream, check_terminal, command_line,
};
use crate::sim::direct::network::Closed;
use crate::sim::model::shell::Output;

pub(super) async fn start(connection: &Arc<Connection>, start: &Start) -> Result<Execution, Error> {
    let line = start.argv.as_deref().map(command_line).transpose()?;
    if let Some(terminal) = &start.pty {
        check_terminal(terminal)?;
    }
    if connection.is_over() {
        return Err(Error::Closed);
    }
    let Some(line) = line else {
        return Err(Error::Protocol("the server gives no terminals".to_owned()));
    };
    let Ok(place) = Arc::clone(&connection.executions).try_acquire_owned() else {
        return Err(Error::Busy);
    };
    let out_of_time = Instant::now() + start.deadline;
    // The channel is opened.
    let opened = tokio::select! {
        biased;
        _ = connection.over() => Err(Error::Closed),
        () = sleep_until(out_of_time) => Err(Error::TimedOut(start.deadline)),
        opened = connection.link.call(|_| ()) => opened.map_err(|Closed| Error::Closed),
    };
    opened?;
    let (execution, orders, outbox) = Execution::begin(start.pty.as_ref());
    let running = Running {
        // In place of the login shell.
        line: format!("exec {line}"),
        connection: Arc::clone(connection),
        out_of_time,
        deadline: start.deadline,
        on_terminal: start.pty.is_some(),
        _place: place,
    };
    tokio::spawn(running.run(orders, outbox));
    Ok(execution)
}

/// One execution on its way.
struct Running {
    line: String,
    connection: Arc<Connection>,
    out_of_time: Instant,
    deadline: std::time::Duration,
    on_terminal: bool,
    _place: OwnedSemaphorePermit,
}

impl Running {
    async fn run(self, mut orders: Orders, mut outbox: Outbox) {
        let told_to_end = async {
            tokio::select! {
                biased;
                Ok(_) = orders.cancelled.wait_for(|cancelled| *cancelled) => {}
                () = outbox.reader_gone() => {}
            }
        };
        let ended = tokio::select! {
            // First the command: one that has ended has ended, whatever else has just happened.
            biased;
            ended = command::run(&self.connection.link, &self.line) => match ended {
                Ok(output) => Ok(output),
                Err(Closed) => Err(Err(Error::Closed)),
            },
            _ = self.connection.over() => Err(Err(Error::Closed)),
            () = told_to_end => Err(self.signal().await),
            () = sleep_until(self.out_of_time) => Err(Err(Error::TimedOut(self.deadline))),
        };
        let last = match ended {
            Ok(output) => Ok(self.say(output, &mut outbox)),
            Err(last) => last,
        };
        outbox.finish(last).await;
    }

    /// Tells the command to end, which it does. A terminal is closed.
    async fn signal(&self) -> Result<Exit, Error> {
        let heard = self.connection.link.call(|_| ()).await;
        match heard {
            Ok(()) if self.on_terminal => Ok(Exit::Unknown),
            Ok(()) => Ok(Exit::Signal("TERM".to_owned())),
            Err(Closed) => Err(Error::Closed),
        }
    }

    fn say(&self, output: Output, outbox: &mut Outbox) -> Exit {
        let Output {
            stdout,
            stderr,
            status,
        } = output;
        if self.on_terminal {
            outbox.put(Stream::Stdout, &crlf(&[stdout, stderr].concat()).into());
        } else {
            outbox.put(Stream::Stdout, &stdout.into());
            outbox.put(Stream::Stderr, &stderr.into());
        }
        Exit::Status(status)
    }
}

/// A terminal needs the carriage return that its kernel would add.
fn crlf(text: &[u8]) -> Vec<u8> {
    let mut shown = Vec::with_capacity(text.len() + 16);
    for byte in text {
        if *byte == b'\n' {
            shown.push(b'\r');
        }
        shown.push(*byte);
    }
    shown
}
