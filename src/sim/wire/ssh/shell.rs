//! The login shell: reads lines, runs the same commands as `exec`, and edits and echoes if there is a terminal.
//!
//! Beside the commands it knows `exit`, `logout`, `stty size` and `clear`. On a terminal Ctrl-C drops the line or ends
//! the command, Ctrl-U empties the line, Ctrl-D ends the shell, and the arrow keys do nothing.

use std::collections::VecDeque;
use std::sync::Arc;

use russh::server::Msg;
use russh::{Channel, ChannelMsg, Sig};

use super::super::machine::Shared;
use super::command;
use crate::sim::model::shell::{Host, Output};

/// Longest line, in bytes; what is typed beyond it is refused with a bell.
const LINE_BYTES_MAX: usize = 4_096;
/// Bytes typed ahead while a command runs; more are dropped, as by a kernel whose queue is full.
const AHEAD_BYTES_MAX: usize = 4_096;

const INTERRUPT: u8 = 0x03;
const END: u8 = 0x04;
const BACKSPACE: u8 = 0x08;
const KILL_LINE: u8 = 0x15;
const ESCAPE: u8 = 0x1b;
const DELETE: u8 = 0x7f;
const BELL: &[u8] = b"\x07";
/// What a shell tells of a command that a signal ended: 128 and its number.
const INTERRUPTED: u32 = 130;

/// A terminal's size in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) columns: u32,
    pub(super) rows: u32,
}

/// The client is gone.
pub(super) struct Gone;

impl From<()> for Gone {
    fn from((): ()) -> Self {
        Self
    }
}

impl From<russh::Error> for Gone {
    fn from(_: russh::Error) -> Self {
        Self
    }
}

/// What reading a line came to.
enum Read {
    Line(String),
    /// The line was dropped.
    Interrupted,
    End,
}

pub(super) struct Shell {
    machine: Arc<Shared>,
    channel: Channel<Msg>,
    terminal: Option<Size>,
    ahead: VecDeque<u8>,
    /// There is no more input.
    ended: bool,
}

impl Shell {
    pub(super) fn new(machine: Arc<Shared>, channel: Channel<Msg>, terminal: Option<Size>) -> Self {
        Self {
            machine,
            channel,
            terminal,
            ahead: VecDeque::new(),
            ended: false,
        }
    }

    /// Runs until `exit` or the end of the input, and closes the channel.
    pub(super) async fn run(mut self) -> Result<(), Gone> {
        let mut status = 0;
        loop {
            self.prompt().await?;
            let line = match self.read().await? {
                Read::Line(line) => line,
                Read::Interrupted => {
                    status = INTERRUPTED;
                    continue;
                }
                Read::End => {
                    self.say(b"logout\n").await?;
                    break;
                }
            };
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                [] => {}
                ["exit" | "logout"] => break,
                ["exit" | "logout", number] => {
                    status = number.parse().map_or(2, |number: u32| number & 0xff);
                    break;
                }
                ["clear"] => self.say(b"\x1b[H\x1b[2J").await?,
                ["stty", "size"] => status = self.stty().await?,
                _ => status = self.execute(&line).await?,
            }
        }
        self.channel.exit_status(status).await?;
        self.channel.eof().await?;
        Ok(self.channel.close().await?)
    }

    async fn prompt(&self) -> Result<(), Gone> {
        if self.terminal.is_some() {
            let user = &self.machine.config().ssh.user;
            let address = self.machine.address();
            let host = self.machine.ask(|model, now| Host { model, address, now }.name());
            self.say(format!("{user}@{host}:~$ ").as_bytes()).await?;
        }
        Ok(())
    }

    /// Shows text; a terminal needs the carriage return that its kernel would add.
    async fn say(&self, text: &[u8]) -> Result<(), Gone> {
        if text.is_empty() {
            return Ok(());
        }
        let text = match self.terminal {
            Some(_) => crlf(text),
            None => text.to_vec(),
        };
        Ok(self.channel.data_bytes(text).await?)
    }

    async fn stty(&self) -> Result<u32, Gone> {
        match self.terminal {
            Some(Size { columns, rows }) => {
                self.say(format!("{rows} {columns}\n").as_bytes()).await?;
                Ok(0)
            }
            None => {
                self.say(b"stty: 'standard input': Inappropriate ioctl for device\n")
                    .await?;
                Ok(1)
            }
        }
    }

    /// The next byte that was typed; `None` at the end of the input.
    async fn next(&mut self) -> Result<Option<u8>, Gone> {
        loop {
            if let Some(byte) = self.ahead.pop_front() {
                return Ok(Some(byte));
            }
            if self.ended {
                return Ok(None);
            }
            self.listen().await?;
        }
    }

    /// Takes in what the client says next.
    async fn listen(&mut self) -> Result<(), Gone> {
        match self.channel.wait().await {
            Some(ChannelMsg::Data { data }) => {
                let room = AHEAD_BYTES_MAX - self.ahead.len();
                self.ahead.extend(data.iter().take(room));
            }
            Some(ChannelMsg::WindowChange {
                col_width,
                row_height,
                ..
            }) => {
                if let Some(size) = &mut self.terminal {
                    *size = Size {
                        columns: col_width,
                        rows: row_height,
                    };
                }
            }
            Some(ChannelMsg::Eof) => self.ended = true,
            Some(
                ChannelMsg::Close
                | ChannelMsg::Signal {
                    signal: Sig::HUP | Sig::KILL,
                },
            )
            | None => {
                return Err(Gone);
            }
            Some(_) => {}
        }
        Ok(())
    }

    async fn read(&mut self) -> Result<Read, Gone> {
        let mut line = Vec::new();
        while let Some(byte) = self.next().await? {
            match (byte, self.terminal.is_some()) {
                (b'\r' | b'\n', true) | (b'\n', false) => {
                    self.echo(b"\n").await?;
                    return Ok(Read::Line(String::from_utf8_lossy(&line).into_owned()));
                }
                (INTERRUPT, true) => {
                    self.echo(b"^C\n").await?;
                    return Ok(Read::Interrupted);
                }
                (END, true) if line.is_empty() => return Ok(Read::End),
                (DELETE | BACKSPACE, true) => {
                    if rub_out(&mut line) {
                        self.echo(b"\x08 \x08").await?;
                    }
                }
                (KILL_LINE, true) => {
                    while rub_out(&mut line) {
                        self.echo(b"\x08 \x08").await?;
                    }
                }
                (ESCAPE, true) => self.skip_key().await?,
                (0..b' ', true) => {}
                _ if line.len() >= LINE_BYTES_MAX => self.echo(BELL).await?,
                (byte, _) => {
                    line.push(byte);
                    self.echo(&[byte]).await?;
                }
            }
        }
        if line.is_empty() {
            return Ok(Read::End);
        }
        Ok(Read::Line(String::from_utf8_lossy(&line).into_owned()))
    }

    async fn echo(&self, text: &[u8]) -> Result<(), Gone> {
        if self.terminal.is_some() {
            self.say(text).await?;
        }
        Ok(())
    }

    /// A key that sends a control sequence (ECMA-48, section 5.4) is not typed text.
    async fn skip_key(&mut self) -> Result<(), Gone> {
        if self.next().await? == Some(b'[') {
            while let Some(byte) = self.next().await? {
                if (0x40..=0x7e).contains(&byte) {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Runs a command to its end, or until Ctrl-C. Gives its status.
    async fn execute(&mut self, line: &str) -> Result<u32, Gone> {
        let machine = Arc::clone(&self.machine);
        let running = command::run(&machine, line);
        tokio::pin!(running);
        let output = loop {
            tokio::select! {
                output = &mut running => break output,
                heard = self.listen(), if !self.ended => heard?,
            }
            if self.terminal.is_some()
                && let Some(at) = self.ahead.iter().position(|byte| *byte == INTERRUPT)
            {
                // What was typed before it is gone with it.
                self.ahead.drain(..=at);
                self.say(b"^C\n").await?;
                return Ok(INTERRUPTED);
            }
        };
        let Output {
            stdout,
            stderr,
            status,
        } = output;
        self.say(&stdout).await?;
        self.say(&stderr).await?;
        Ok(status)
    }
}

/// Takes the last character off. False if there is none.
fn rub_out(line: &mut Vec<u8>) -> bool {
    while let Some(byte) = line.pop() {
        // The first byte of a character in UTF-8 does not begin with the bits 10.
        if byte & 0xc0 != 0x80 {
            return true;
        }
    }
    false
}

pub(super) fn crlf(text: &[u8]) -> Vec<u8> {
    let mut shown = Vec::with_capacity(text.len() + 16);
    for byte in text {
        if *byte == b'\n' {
            shown.push(b'\r');
        }
        shown.push(*byte);
    }
    shown
}
