//! Executions against real OpenSSH servers: output as it comes, input, terminals, cancelling, and their bounds.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::time::timeout;

use understudy::infra::ssh::{Error, Exec, Execution, Exit, Piece, Session, Start, Stream, Terminal};

use crate::support::eventually::eventually;
use crate::support::memory::{peak_memory_kib, reset_peak_memory};
use crate::support::sshd::Sshd;
use crate::support::{BRIEF, PLENTY};

fn sh(script: &str) -> Start {
    Start {
        argv: Some(["sh", "-c", script].map(str::to_owned).to_vec()),
        pty: None,
        deadline: PLENTY,
    }
}

fn terminal(argv: Option<&[&str]>) -> Start {
    Start {
        argv: argv.map(|words| words.iter().map(|&word| word.to_owned()).collect()),
        pty: Some(Terminal {
            term: "xterm-256color".to_owned(),
            columns: 91,
            rows: 17,
        }),
        deadline: PLENTY,
    }
}

async fn echo(session: &dyn Session, text: &str) -> Vec<u8> {
    let exec = Exec {
        argv: vec!["echo".to_owned(), text.to_owned()],
        deadline: PLENTY,
        output_bytes_max: 1000,
    };
    session.exec(&exec).await.unwrap().stdout
}

/// The next piece, which must come soon.
async fn next(execution: &mut Execution) -> Piece {
    let piece = timeout(PLENTY, execution.pieces.recv()).await;
    piece.expect("a piece comes").expect("it has not ended yet")
}

/// Reads standard output until this text has come.
async fn until(execution: &mut Execution, wanted: &str) -> String {
    let mut said = String::new();
    while !said.contains(wanted) {
        match next(execution).await {
            Piece::Output {
                stream: Stream::Stdout,
                bytes,
            } => said.push_str(std::str::from_utf8(&bytes).unwrap()),
            other => panic!("{other:?} after {said:?}, before {wanted:?}"),
        }
    }
    said
}

/// Waits until there is no such process; `of` is its folder in `/proc`.
async fn gone(of: &str) {
    eventually("the process is gone", PLENTY, async || {
        (!std::path::Path::new(of).exists()).then_some(())
    })
    .await;
}

/// Everything it says from now on, by stream, and how it ended.
async fn rest(execution: &mut Execution) -> (Vec<u8>, Vec<u8>, Result<Exit, Error>) {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    loop {
        match next(execution).await {
            Piece::Output {
                stream: Stream::Stdout,
                bytes,
            } => stdout.extend_from_slice(&bytes),
            Piece::Output {
                stream: Stream::Stderr,
                bytes,
            } => stderr.extend_from_slice(&bytes),
            Piece::Skipped { bytes } => panic!("{bytes} bytes are missing"),
            Piece::Ended(ended) => {
                let after = timeout(PLENTY, execution.pieces.recv()).await;
                assert_eq!(after, Ok(None), "nothing comes after the end");
                return (stdout, stderr, ended);
            }
        }
    }
}

#[tokio::test]
async fn output_arrives_while_the_command_runs_and_input_reaches_it() {
    let server = Sshd::start().await;
    let session = server.connect().await.unwrap();
    let script = "echo one; read line; echo got $line; echo err >&2; cat; exit 3";
    let mut execution = session.start(&sh(script)).await.unwrap();

    assert_eq!(until(&mut execution, "one\n").await, "one\n");
    let control = execution.control.clone();
    control.input(Bytes::from_static(b"two\nthree")).await.unwrap();
    let mut said = until(&mut execution, "got two\n").await.into_bytes();
    control.end_of_input().await.unwrap();
    let (stdout, stderr, ended) = rest(&mut execution).await;
    said.extend(stdout);
    assert_eq!((&said[..], &stderr[..]), (&b"got two\nthree"[..], &b"err\n"[..]));
    assert_eq!(ended, Ok(Exit::Status(3)));
    assert_eq!(
        control.input(Bytes::from_static(b"late")).await,
        Err(Error::NotRunning)
    );
}

#[tokio::test]
async fn input_ends_with_the_last_control() {
    let server = Sshd::start().await;
    let session = server.connect().await.unwrap();
    let Execution { mut pieces, control } = session.start(&sh("cat; echo over")).await.unwrap();
    control.input(Bytes::from_static(b"in ")).await.unwrap();
    drop(control);
    let mut said = Vec::new();
    while let Some(Piece::Output { bytes, .. }) = timeout(PLENTY, pieces.recv()).await.unwrap() {
        said.extend_from_slice(&bytes);
    }
    assert_eq!(said, b"in over\n");
}

#[tokio::test]
async fn a_hundred_megabytes_that_nobody_reads_neither_grow_memory_nor_hold_up_others() {
    const BYTES: u64 = 100_000_000;
    let server = Sshd::start().await;
    let session = server.connect().await.unwrap();
    echo(&*session, "warm").await;
    let done = server.path("done");
    let script = format!("head -c {BYTES} /dev/zero; touch {}", done.display());

    reset_peak_memory();
    let before = peak_memory_kib();
    let mut flood = session.start(&sh(&script)).await.unwrap();
    let mut others = session.start(&sh("read line; echo $line")).await.unwrap();
    let mut answered = 0;
    eventually("the command has written everything", PLENTY, async || {
        session.ping(PLENTY).await.unwrap();
        assert_eq!(echo(&*session, "hello").await, b"hello\n");
        answered += 1;
        done.exists().then_some(())
    })
    .await;
    let grown = peak_memory_kib() - before;
    others.control.input(Bytes::from_static(b"on\n")).await.unwrap();
    assert_eq!(until(&mut others, "on\n").await, "on\n");

    let (mut read, mut skipped) = (0, 0);
    let ended = loop {
        match next(&mut flood).await {
            Piece::Output { bytes, .. } => read += bytes.len() as u64,
            Piece::Skipped { bytes } => skipped += bytes,
            Piece::Ended(ended) => break ended,
        }
    };
    assert_eq!(ended, Ok(Exit::Status(0)));
    assert_eq!(read + skipped, BYTES);
    assert!(read >= 1_000_000, "the first megabyte is there: {read}");
    assert!(answered >= 1);
    assert!(grown < 16 * 1024, "memory grew by {grown} KiB");
}

#[tokio::test]
async fn a_reader_who_keeps_up_misses_nothing() {
    const BYTES: usize = 20_000_000;
    let server = Sshd::start().await;
    let session = server.connect().await.unwrap();
    let mut execution = session
        .start(&sh("seq 1 3000000 | head -c 20000000"))
        .await
        .unwrap();
    let (stdout, _, ended) = rest(&mut execution).await;
    assert_eq!(ended, Ok(Exit::Status(0)));
    let expected: String = (1..3_000_000).map(|n| format!("{n}\n")).collect();
    assert!(
        stdout == expected.as_bytes()[..BYTES],
        "{} bytes differ",
        stdout.len()
    );
}

#[tokio::test]
async fn a_cancelled_command_ends_by_its_signal() {
    let server = Sshd::start_for_an_ordinary_user().await;
    let session = server.connect().await.unwrap();
    let mut plain = session.start(&sh("echo up; exec sleep 60")).await.unwrap();
    until(&mut plain, "up\n").await;
    plain.control.cancel();
    assert_eq!(rest(&mut plain).await.2, Ok(Exit::Signal("TERM".to_owned())));

    let tidy = "trap 'echo tidied; exit 5' TERM; echo up; while :; do sleep 0.05; done";
    let mut tidy = session.start(&sh(tidy)).await.unwrap();
    until(&mut tidy, "up\n").await;
    tidy.control.cancel();
    let (stdout, _, ended) = rest(&mut tidy).await;
    assert_eq!((&stdout[..], ended), (&b"tidied\n"[..], Ok(Exit::Status(5))));

    let deaf = "trap '' TERM; echo up; while :; do sleep 0.05; done";
    let mut deaf = session.start(&sh(deaf)).await.unwrap();
    until(&mut deaf, "up\n").await;
    deaf.control.cancel();
    assert_eq!(rest(&mut deaf).await.2, Ok(Exit::Signal("KILL".to_owned())));
}

#[tokio::test]
async fn a_command_that_no_signal_reaches_is_called_stubborn_and_the_connection_goes_on() {
    let server = Sshd::start().await;
    let session = server.connect().await.unwrap();
    // OpenSSH passes no signals on to root; for anybody else none can get past this one.
    let script = "trap '' TERM; echo up; kill -STOP $$ & sleep 60";
    let mut execution = session.start(&sh(script)).await.unwrap();
    until(&mut execution, "up\n").await;
    execution.control.cancel();
    let ended = rest(&mut execution).await.2;
    if server.user() == "root" {
        assert_eq!(ended, Err(Error::Stubborn));
    } else {
        assert_eq!(ended, Ok(Exit::Signal("KILL".to_owned())));
    }
    assert_eq!(echo(&*session, "on").await, b"on\n");
}

#[tokio::test]
async fn an_execution_past_its_deadline_is_ended() {
    let server = Sshd::start_for_an_ordinary_user().await;
    let session = server.connect().await.unwrap();
    let start = Start {
        deadline: BRIEF,
        ..sh("echo $$; exec sleep 60")
    };
    let mut execution = session.start(&start).await.unwrap();
    let (stdout, _, ended) = rest(&mut execution).await;
    assert_eq!(ended, Err(Error::TimedOut(BRIEF)));
    let process = format!("/proc/{}", String::from_utf8(stdout).unwrap().trim());
    gone(&process).await;
}

#[tokio::test]
async fn an_execution_whose_reader_is_gone_is_ended() {
    let server = Sshd::start_for_an_ordinary_user().await;
    let session = server.connect().await.unwrap();
    let mut execution = session.start(&sh("echo $$; exec sleep 60")).await.unwrap();
    let process = format!("/proc/{}", until(&mut execution, "\n").await.trim());
    drop(execution.pieces);
    gone(&process).await;
}

#[tokio::test]
async fn a_terminal_has_the_size_it_is_given_and_takes_another() {
    let server = Sshd::start().await;
    let session = server.connect().await.unwrap();
    let script = "trap 'stty size; exit 0' WINCH; echo $TERM; stty size; while :; do sleep 0.05; done";
    let mut execution = session
        .start(&terminal(Some(&["sh", "-c", script])))
        .await
        .unwrap();
    assert_eq!(
        until(&mut execution, "17 91\r\n").await,
        "xterm-256color\r\n17 91\r\n"
    );
    execution.control.resize(132, 43);
    until(&mut execution, "43 132\r\n").await;
    assert_eq!(rest(&mut execution).await.2, Ok(Exit::Status(0)));
}

#[tokio::test]
async fn a_login_shell_is_talked_to_like_a_person_does() {
    let server = Sshd::start().await;
    let session = server.connect().await.unwrap();
    let mut shell = session.start(&terminal(None)).await.unwrap();
    let say = |line: &'static str| shell.control.input(Bytes::from_static(line.as_bytes()));
    say("echo $((6 * 7))-sum; test -t 0 && echo a-tty\r")
        .await
        .unwrap();
    until(&mut shell, "42-sum\r\n").await;
    shell
        .control
        .input(Bytes::from_static(b"exit 9\r"))
        .await
        .unwrap();
    assert_eq!(rest(&mut shell).await.2, Ok(Exit::Status(9)));
}

#[tokio::test]
async fn a_cancelled_terminal_hangs_up_what_runs_in_it() {
    let server = Sshd::start().await;
    let session = server.connect().await.unwrap();
    let script = "echo $$; exec sleep 60";
    let mut execution = session
        .start(&terminal(Some(&["sh", "-c", script])))
        .await
        .unwrap();
    let process = format!("/proc/{}", until(&mut execution, "\r\n").await.trim());
    let asked = Instant::now();
    execution.control.cancel();
    assert_eq!(rest(&mut execution).await.2, Ok(Exit::Unknown));
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    gone(&process).await;
}

#[tokio::test]
async fn more_executions_than_fit_are_refused_and_leave_room_for_commands() {
    let server = Sshd::start().await;
    let session = server.connect().await.unwrap();
    let waiting = sh("read line");
    let mut running = Vec::new();
    let refused = loop {
        match session.start(&waiting).await {
            Ok(execution) => running.push(execution),
            Err(error) => break error,
        }
        assert!(running.len() < 10, "no end to it");
    };
    assert_eq!(refused, Error::Busy);
    assert!(refused.is_retryable());
    assert!(running.len() >= 2, "{}", running.len());
    assert_eq!(echo(&*session, "room").await, b"room\n");
    session.ping(PLENTY).await.unwrap();

    let mut first = running.remove(0);
    first.control.end_of_input().await.unwrap();
    assert_eq!(rest(&mut first).await.2, Ok(Exit::Status(1)));
    let mut next = session.start(&sh("echo next")).await.unwrap();
    assert_eq!(rest(&mut next).await.0, b"next\n");
}

#[tokio::test]
async fn a_lost_connection_ends_every_execution() {
    let mut server = Sshd::start().await;
    let session = server.connect().await.unwrap();
    let mut execution = session.start(&sh("echo up; sleep 60")).await.unwrap();
    until(&mut execution, "up\n").await;
    server.kill();
    assert_eq!(rest(&mut execution).await.2, Err(Error::Closed));
    assert_eq!(session.start(&sh("true")).await.err(), Some(Error::Closed));
}

#[tokio::test]
async fn what_cannot_be_started_says_why() {
    let server = Sshd::start_with(&["PermitTTY no"]).await;
    let session = server.connect().await.unwrap();
    let refused = session.start(&terminal(None)).await.err();
    assert_eq!(
        refused,
        Some(Error::Protocol("the server gives no terminals".to_owned()))
    );
    let no_words = Start {
        argv: Some(Vec::new()),
        ..sh("")
    };
    assert!(matches!(
        session.start(&no_words).await.err(),
        Some(Error::BadCommand(_))
    ));
    for term in ["", "xterm;reboot", "x y", &"x".repeat(65)] {
        let mut start = terminal(None);
        start.pty = start.pty.map(|pty| Terminal {
            term: term.to_owned(),
            ..pty
        });
        let refused = session.start(&start).await.err();
        assert!(
            matches!(refused, Some(Error::BadCommand(_))),
            "{refused:?} for {term:?}"
        );
    }
}
