//! A screen that is drawn in place: the terminal's alternate buffer, so that what stood there before is there
//! again afterwards, however it ends.

use std::io::{self, IsTerminal, Read, Write};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::terminal::{
    BeginSynchronizedUpdate, Clear, ClearType, DisableLineWrap, EnableLineWrap, EndSynchronizedUpdate,
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use crossterm::{execute, queue};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// Whether the terminal is taken over now.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The screen. Dropping it gives the terminal back.
#[derive(Debug)]
pub struct Screen {
    /// Keys come one by one, and Ctrl-C is one of them.
    keys: bool,
}

impl Screen {
    /// Takes the terminal over. Keys are taken one by one if they come from a terminal, too.
    ///
    /// # Errors
    /// What the terminal says; it is then as it was before.
    pub fn enter() -> io::Result<Self> {
        restore_on_panic();
        let screen = Self {
            keys: io::stdin().is_terminal(),
        };
        TAKEN.store(true, Ordering::SeqCst);
        if screen.keys {
            enable_raw_mode()?;
        }
        execute!(io::stdout(), EnterAlternateScreen, Hide, DisableLineWrap)?;
        Ok(screen)
    }

    /// Shows `body` from the top left and `footer`, one line, under it. What of the body does not fit is cut
    /// off, and said so; the footer is always there.
    ///
    /// # Errors
    /// What the terminal says.
    pub fn draw(&mut self, body: &str, footer: &str) -> io::Result<()> {
        let rows = crossterm::terminal::size().map_or(usize::MAX, |(_, rows)| usize::from(rows).max(3));
        let mut frame = Vec::with_capacity(body.len() + footer.len() + 256);
        queue!(frame, BeginSynchronizedUpdate, MoveTo(0, 0))?;
        let mut shown = clipped(body, rows - 1);
        shown.push(footer.trim_end().to_owned());
        for (at, line) in shown.iter().enumerate() {
            if at > 0 {
                frame.extend_from_slice(b"\r\n");
            }
            // Before the text: after a line as wide as the window it would take the last character with it.
            queue!(frame, Clear(ClearType::UntilNewLine))?;
            frame.extend_from_slice(line.as_bytes());
        }
        // Likewise: what is below, not what the cursor stands on.
        if shown.len() < rows {
            frame.extend_from_slice(b"\r\n");
            queue!(frame, Clear(ClearType::FromCursorDown))?;
        }
        queue!(frame, EndSynchronizedUpdate)?;
        let mut out = io::stdout().lock();
        out.write_all(&frame)?;
        out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        leave();
    }
}

/// Gives the terminal back, once. There is nowhere to say that it would not be given.
fn leave() {
    if !TAKEN.swap(false, Ordering::SeqCst) {
        return;
    }
    let _ = execute!(io::stdout(), EnableLineWrap, Show, LeaveAlternateScreen);
    let _ = disable_raw_mode();
}

/// A panic's message must not vanish with the alternate buffer.
fn restore_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let next = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            leave();
            next(panic);
        }));
    });
}

/// The first lines, and in the last row how many are missing.
fn clipped(text: &str, rows: usize) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    if lines.len() <= rows {
        return lines.into_iter().map(str::to_owned).collect();
    }
    let shown = rows.saturating_sub(1);
    let missing = lines.len() - shown;
    let mut clipped: Vec<String> = lines[..shown].iter().map(|line| (*line).to_owned()).collect();
    clipped.push(format!("… {missing} more lines"));
    clipped
}

/// The wish to end: a signal, or `q` and Ctrl-C on a screen.
#[derive(Debug)]
pub struct Quit {
    wished: watch::Receiver<bool>,
}

impl Quit {
    /// Listens for signals, and for keys if the screen takes them.
    ///
    /// # Errors
    /// The operating system refuses to tell about signals.
    pub fn listen(screen: &Screen) -> io::Result<Self> {
        let (tell, wished) = watch::channel(false);
        spawn_signals(tell.clone())?;
        if screen.keys {
            // Reading keys blocks until there is one, so it has a thread, which ends with the process.
            thread::Builder::new().name("keys".to_owned()).spawn(move || {
                if io::stdin().lock().bytes().map_while(Result::ok).any(is_quit) {
                    tell.send_replace(true);
                }
            })?;
        }
        Ok(Self { wished })
    }

    /// Listens for signals alone.
    ///
    /// # Errors
    /// As [`Quit::listen`].
    pub fn on_signals() -> io::Result<Self> {
        let (tell, wished) = watch::channel(false);
        spawn_signals(tell)?;
        Ok(Self { wished })
    }

    /// Waits until somebody wants to end it.
    pub async fn wait(&mut self) {
        // The signals' task never drops its end before it has told.
        let _ = self.wished.wait_for(|wished| *wished).await;
    }
}

/// `q`, and Ctrl-C, which is a key like others where keys come one by one.
fn is_quit(key: u8) -> bool {
    const CTRL_C: u8 = 3;
    matches!(key, b'q' | b'Q' | CTRL_C)
}

fn spawn_signals(tell: watch::Sender<bool>) -> io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
        tell.send_replace(true);
    });
    Ok(())
}

/// The window has another size.
#[derive(Debug)]
pub struct Resized {
    signal: Signal,
}

impl Resized {
    /// # Errors
    /// The operating system refuses to tell.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            signal: signal(SignalKind::window_change())?,
        })
    }

    pub async fn wait(&mut self) {
        // `None` never comes on Unix: the runtime keeps its signals open.
        let _ = self.signal.recv().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_counted() {
        assert_eq!(clipped("a\nb\nc\n", 3), ["a", "b", "c"]);
        assert_eq!(clipped("a\nb\nc\nd\n", 3), ["a", "b", "… 2 more lines"]);
    }

    #[test]
    fn q_and_control_c_quit_and_an_arrow_does_not() {
        assert!(is_quit(b'q') && is_quit(b'Q') && is_quit(3));
        assert!(!"\u{1b}[A\r x".bytes().any(is_quit));
    }
}
