//! The login shell, as somebody at a terminal finds it.

use bytes::Bytes;
use tokio::time::timeout;
use understudy::infra::ssh::{Execution, Exit, Piece, Start, Terminal};

use super::files::{Rig, rig};
use super::support::DEADLINE;

/// A login shell, with what it has shown.
struct Screen {
    execution: Execution,
    shown: String,
    end: Option<Exit>,
    _rig: Rig,
}

impl Screen {
    async fn open(pty: bool) -> Self {
        let rig = rig().await;
        let start = Start {
            argv: None,
            pty: pty.then(|| Terminal {
                term: "xterm".to_owned(),
                columns: 80,
                rows: 24,
            }),
            deadline: DEADLINE,
        };
        let execution = rig.session.start(&start).await.unwrap();
        Self {
            execution,
            shown: String::new(),
            end: None,
            _rig: rig,
        }
    }

    async fn types(&self, text: &str) {
        let bytes = Bytes::copy_from_slice(text.as_bytes());
        self.execution.control.input(bytes).await.unwrap();
    }

    /// Waits until this has been shown, after what was waited for before. Gives what came before it.
    async fn until(&mut self, text: &str) -> String {
        let seen = async {
            loop {
                if let Some(at) = self.shown.find(text) {
                    let before = self.shown[..at].to_owned();
                    self.shown.drain(..at + text.len());
                    return before;
                }
                match self.execution.pieces.recv().await {
                    Some(Piece::Output { bytes, .. }) => self.shown += &String::from_utf8_lossy(&bytes),
                    other => panic!("{other:?} instead of {text:?}; shown: {:?}", self.shown),
                }
            }
        };
        match timeout(DEADLINE, seen).await {
            Ok(before) => before,
            Err(_) => panic!("{text:?} is not shown, but: {:?}", self.shown),
        }
    }

    async fn until_ended(&mut self) -> Exit {
        let ended = async {
            loop {
                match self.execution.pieces.recv().await {
                    Some(Piece::Output { bytes, .. }) => self.shown += &String::from_utf8_lossy(&bytes),
                    Some(Piece::Ended(exit)) => self.end = Some(exit.unwrap()),
                    Some(other) => panic!("{other:?}"),
                    None => return self.end.clone().expect("an end"),
                }
            }
        };
        timeout(DEADLINE, ended).await.expect("it ends")
    }
}

#[tokio::test]
async fn what_is_typed_is_echoed_and_run() {
    let mut screen = Screen::open(true).await;
    screen.until(":~$ ").await;
    screen.types("echo one tw\u{7f}wo\r").await;
    screen.until("echo one tw\x08 \x08wo\r\n").await;
    screen.until("one two\r\n").await;
    screen.until(":~$ ").await;
    screen.types("touch /tmp/é\u{7f}e; true\r").await;
    screen.until("is not supported").await;
    screen.types("no-such-command\r").await;
    screen.until("sh: 1: no-such-command: not found\r\n").await;
    screen.types("exit 7\r").await;
    assert_eq!(screen.until_ended().await, Exit::Status(7));
}

#[tokio::test]
async fn the_size_of_the_terminal_is_known_and_follows() {
    let mut screen = Screen::open(true).await;
    screen.types("stty size\r").await;
    screen.until("\r\n24 80\r\n").await;
    screen.execution.control.resize(132, 43);
    // It goes there beside what is typed, and may come later.
    let follows = async {
        loop {
            screen.types("stty size\r").await;
            screen.until("stty size\r\n").await;
            if screen.until("\r\n").await == "43 132" {
                break;
            }
        }
    };
    timeout(DEADLINE, follows).await.expect("the new size");
}

#[tokio::test]
async fn control_c_ends_the_line_or_the_command_and_control_d_the_shell() {
    let mut screen = Screen::open(true).await;
    screen.types("rm -rf /tmp\x03").await;
    screen.until("rm -rf /tmp^C\r\n").await;
    screen.until(":~$ ").await;
    screen.types("sleep 600\r").await;
    screen.until("sleep 600\r\n").await;
    screen.types("\x03").await;
    screen.until("^C\r\n").await;
    screen.types("\x1b[Aecho still here\r").await;
    screen.until("\r\nstill here\r\n").await;
    screen.types("\x04").await;
    assert_eq!(screen.until_ended().await, Exit::Status(0));
    assert!(screen.shown.contains("logout"), "{}", screen.shown);
}

#[tokio::test]
async fn without_a_terminal_nothing_is_echoed() {
    let mut screen = Screen::open(false).await;
    screen.types("echo one\nstty size\n").await;
    screen.execution.control.end_of_input().await.unwrap();
    assert_eq!(screen.until_ended().await, Exit::Status(1));
    assert!(screen.shown.starts_with("one\n"), "{:?}", screen.shown);
}
