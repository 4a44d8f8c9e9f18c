//! Where answers go: standard output for what was asked for, standard error for everything said about it.
//!
//! Colours are used on a terminal only, and not if `NO_COLOR` is set; `CLICOLOR_FORCE` and `--color` say
//! otherwise. Nothing here fails because a reader went away: `understudy status | head -1` is a fine thing to
//! do.

use std::env;
use std::io::{self, ErrorKind, IsTerminal, Write};

use serde::Serialize;

use super::failure::Failure;
use super::style::{Tone, tame};

/// When to use colours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum When {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    Always,
    Never,
}

/// What is known about the reader of the output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terminal {
    /// Answers are for a program.
    pub json: bool,
    /// Use colours on standard output.
    pub color: bool,
    /// Use colours on standard error.
    pub color_on_stderr: bool,
    /// Standard output is a terminal.
    pub interactive: bool,
    /// Columns of standard output; `None` is no limit.
    pub width: Option<u16>,
}

/// Narrower than this, nothing can be laid out.
const WIDTH_MIN: u16 = 20;

impl Terminal {
    /// Looks at the process's own streams and environment.
    #[must_use]
    pub fn detect(json: bool, when: When) -> Self {
        let interactive = io::stdout().is_terminal();
        let color = wants_color(when, interactive) && !json;
        if color {
            // The table's own library asks NO_COLOR again, and would overrule `--color always`.
            crossterm::style::force_color_output(true);
        }
        Self {
            json,
            color,
            color_on_stderr: wants_color(when, io::stderr().is_terminal()) && !json,
            interactive,
            width: width(interactive),
        }
    }

    /// No colours and no limit: for tests and for files.
    #[must_use]
    pub fn plain() -> Self {
        Self {
            json: false,
            color: false,
            color_on_stderr: false,
            interactive: false,
            width: None,
        }
    }

    /// The same after the window may have changed its size.
    #[must_use]
    pub fn resized(&self) -> Self {
        Self {
            width: width(self.interactive),
            ..self.clone()
        }
    }

    #[must_use]
    pub fn paint(&self, tone: Tone, text: &str) -> String {
        tone.paint(text, self.color)
    }

    /// Writes to standard output.
    ///
    /// # Errors
    /// What the operating system says, except that nobody reads any more: see [`Reader`].
    pub fn print(&self, text: &str) -> io::Result<Reader> {
        let mut out = io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Ok(()) => Ok(Reader::There),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Reader::Gone),
            Err(error) => Err(io::Error::new(
                error.kind(),
                format!("standard output cannot be written: {error}"),
            )),
        }
    }

    /// Writes one JSON value and a line end: indented, for one answer.
    ///
    /// # Errors
    /// As [`Terminal::print`].
    pub fn print_json<T: Serialize>(&self, value: &T) -> io::Result<Reader> {
        self.print(&(serde_json::to_string_pretty(value)? + "\n"))
    }

    /// Writes one JSON value in one line: for one of many.
    ///
    /// # Errors
    /// As [`Terminal::print`].
    pub fn print_json_line<T: Serialize>(&self, value: &T) -> io::Result<Reader> {
        self.print(&(serde_json::to_string(value)? + "\n"))
    }

    /// Tells people something beside the answer. Programs do not need it, and nothing depends on it arriving.
    pub fn note(&self, text: &str) {
        if !self.json {
            let _ = writeln!(io::stderr().lock(), "{text}");
        }
    }

    /// Tells what went wrong: an object on standard output for programs, else text on standard error.
    pub fn report(&self, failure: &Failure) {
        // There is nowhere left to say that this could not be said.
        let _ = if self.json {
            self.print_json(&failure.json()).map(drop)
        } else {
            io::stderr().lock().write_all(self.failure(failure).as_bytes())
        };
    }

    fn failure(&self, failure: &Failure) -> String {
        let label = |tone: Tone, text| tone.paint(text, self.color_on_stderr);
        // A message of several lines is ours, and keeps them; each is tamed.
        let mut lines = failure.message.lines().map(tame);
        let mut text = format!(
            "{} {}\n",
            label(Tone::Bad, "error:"),
            lines.next().unwrap_or_default()
        );
        for line in lines {
            text.push_str(&line);
            text.push('\n');
        }
        if let Some(advice) = &failure.advice {
            text.push_str(&format!("{} {}\n", label(Tone::Strong, " help:"), tame(advice)));
        }
        if let Some(id) = failure.logged_request() {
            let told = format!("the server's log has this under {}", tame(id));
            text.push_str(&format!("{} {told}\n", label(Tone::Strong, "  log:")));
        }
        text
    }
}

/// Whether anybody still takes what is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    There,
    /// The pipe was closed: there is no point in writing more.
    Gone,
}

fn wants_color(when: When, terminal: bool) -> bool {
    let set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
    match when {
        When::Always => true,
        When::Never => false,
        When::Auto if set("NO_COLOR") => false,
        When::Auto
            if env::var_os("CLICOLOR_FORCE").is_some_and(|value| value != "0" && !value.is_empty()) =>
        {
            true
        }
        When::Auto => terminal && env::var_os("TERM").is_none_or(|term| term != "dumb"),
    }
}

/// Of the terminal; without one, `COLUMNS` if somebody set it.
fn width(interactive: bool) -> Option<u16> {
    let found = if interactive {
        crossterm::terminal::size().ok().map(|(columns, _)| columns)
    } else {
        env::var("COLUMNS").ok().and_then(|text| text.trim().parse().ok())
    };
    // A terminal that says 0 does not know.
    found
        .filter(|columns| *columns > 0)
        .map(|columns| columns.max(WIDTH_MIN))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::failure::Exit;

    #[test]
    fn a_failure_is_told_with_its_advice_and_cannot_drive_the_terminal() {
        let failure = Failure::new(Exit::Unknown, "VM vm-\u{1b}[2J is not there\n  really").advice("look");
        let text = Terminal::plain().failure(&failure);
        assert_eq!(
            text,
            "error: VM vm-\u{fffd}[2J is not there\n  really\n help: look\n"
        );
    }
}
