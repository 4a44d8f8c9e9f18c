//! The SSH adapter against real OpenSSH servers: commands, liveness, and servers that misbehave.

use std::time::{Duration, Instant};

use tokio::net::TcpListener;

use understudy::infra::ssh::{Connector, Endpoint, Error, Exec, Exit, Finished, Session};

use crate::support::eventually::eventually;
use crate::support::memory::{peak_memory_kib, reset_peak_memory};
use crate::support::sshd::{Sshd, refusal};
use crate::support::{BRIEF, PLENTY};

fn words(argv: &[&str]) -> Exec {
    Exec {
        argv: argv.iter().map(|&word| word.to_owned()).collect(),
        deadline: PLENTY,
        output_bytes_max: 1024 * 1024,
    }
}

async fn sh(session: &dyn Session, script: &str) -> Result<Finished, Error> {
    session.exec(&words(&["sh", "-c", script])).await
}

#[tokio::test]
async fn streams_and_statuses_are_kept_apart() {
    let server = Sshd::start().await;
    let session = server.connect().await.unwrap();

    let both = sh(&*session, "echo out; echo err >&2; exit 7").await.unwrap();
    assert_eq!(both.stdout, b"out\n");
    assert_eq!(both.stderr, b"err\n");
    assert_eq!(both.exit, Exit::Status(7));
    assert!(!both.truncated);

    let fine = session.exec(&words(&["true"])).await.unwrap();
    assert_eq!((fine.exit, fine.stdout.len()), (Exit::Status(0), 0));

    let killed = sh(&*session, "kill -TERM $$").await.unwrap();
    assert_eq!(killed.exit, Exit::Signal("TERM".to_owned()));

    let missing = session.exec(&words(&["/no/such/program"])).await.unwrap();
    assert_eq!(missing.exit, Exit::Status(127));
}

#[tokio::test]
async fn words_are_not_read_by_the_remote_shell() {
    let server = Sshd::start().await;
    let session = server.connect().await.unwrap();
    let finished = session
        .exec(&words(&[
            "printf",
            "%s|",
            "$HOME",
            "a'b",
            "; exit 9",
            "*",
            "two words",
            "",
            "é",
        ]))
        .await
        .unwrap();
    assert_eq!(finished.exit, Exit::Status(0));
    assert_eq!(
        String::from_utf8(finished.stdout).unwrap(),
        "$HOME|a'b|; exit 9|*|two words||é|"
    );
    assert_eq!(
        session.exec(&words(&[])).await,
        Err(Error::BadCommand("it has no words"))
    );
}

#[tokio::test]
async fn a_command_that_reads_finds_no_input() {
    let server = Sshd::start().await;
    let session = server.connect().await.unwrap();
    let finished = session.exec(&words(&["cat"])).await.unwrap();
    assert_eq!((finished.exit, finished.stdout.len()), (Exit::Status(0), 0));
}

#[tokio::test]
async fn fifty_megabytes_of_output_neither_grow_memory_nor_hold_up_others() {
    let server = Sshd::start().await;
    let session = server.connect().await.unwrap();
    session.exec(&words(&["true"])).await.unwrap();

    reset_peak_memory();
    let before = peak_memory_kib();
    let flood = Exec {
        output_bytes_max: 1000,
        ..words(&[
            "sh",
            "-c",
            "head -c 50000000 /dev/zero; head -c 50000000 /dev/zero >&2",
        ])
    };
    let (flooded, others) = tokio::join!(session.exec(&flood), async {
        let mut others = 0;
        for n in 0..20 {
            let finished = sh(&*session, &format!("echo {n}")).await.unwrap();
            assert_eq!(finished.stdout, format!("{n}\n").into_bytes());
            session.ping(PLENTY).await.unwrap();
            others += 1;
        }
        others
    });
    let flooded = flooded.unwrap();
    let grown = peak_memory_kib() - before;

    assert_eq!(flooded.exit, Exit::Status(0));
    assert_eq!((flooded.stdout.len(), flooded.stderr.len()), (1000, 1000));
    assert!(flooded.truncated);
    assert_eq!(others, 20);
    assert!(grown < 16 * 1024, "memory grew by {grown} KiB");
}

#[tokio::test]
async fn output_of_exactly_the_cap_is_not_called_truncated() {
    let server = Sshd::start().await;
    let session = server.connect().await.unwrap();
    let capped = |bytes: usize| Exec {
        output_bytes_max: bytes,
        ..words(&["printf", "12345"])
    };
    let exact = session.exec(&capped(5)).await.unwrap();
    assert_eq!((exact.stdout.as_slice(), exact.truncated), (&b"12345"[..], false));
    let cut = session.exec(&capped(4)).await.unwrap();
    assert_eq!((cut.stdout.as_slice(), cut.truncated), (&b"1234"[..], true));
}

#[tokio::test]
async fn a_command_past_its_deadline_times_out_and_the_connection_goes_on() {
    let server = Sshd::start().await;
    let session = server.connect().await.unwrap();
    let slow = Exec {
        deadline: BRIEF,
        ..words(&["sh", "-c", "echo started; sleep 30"])
    };
    let started = Instant::now();
    assert_eq!(session.exec(&slow).await, Err(Error::TimedOut(BRIEF)));
    assert!(started.elapsed() < PLENTY / 2, "took {:?}", started.elapsed());
    assert_eq!(
        session.exec(&words(&["echo", "on"])).await.unwrap().stdout,
        b"on\n"
    );
}

#[tokio::test]
async fn commands_that_will_not_end_wear_a_connection_out_and_a_new_one_is_fresh() {
    let server = Sshd::start().await;
    let session = server.connect().await.unwrap();
    let stubborn = Exec {
        deadline: BRIEF,
        ..words(&["sh", "-c", "trap '' HUP; sleep 30"])
    };
    let at_once = (0..3).map(|_| session.exec(&stubborn));
    for answer in futures_util::future::join_all(at_once).await {
        assert_eq!(answer, Err(Error::TimedOut(BRIEF)));
    }
    // Three of four places are taken for good; the last one serves.
    assert_eq!(
        session.exec(&words(&["echo", "on"])).await.unwrap().stdout,
        b"on\n"
    );
    assert_eq!(session.exec(&stubborn).await, Err(Error::TimedOut(BRIEF)));
    assert_eq!(
        tokio::time::timeout(PLENTY, session.closed()).await,
        Ok(Error::Closed)
    );
    let session = server.connect().await.unwrap();
    assert_eq!(
        session.exec(&words(&["echo", "on"])).await.unwrap().stdout,
        b"on\n"
    );
}

#[tokio::test]
async fn commands_run_side_by_side_on_one_connection() {
    let server = Sshd::start().await;
    let session = server.connect().await.unwrap();
    // Each waits for the one started before it, so they end only if they run at the same time.
    let folder = server.path("turns");
    std::fs::create_dir(&folder).unwrap();
    let turn = |n: usize| {
        let folder = folder.display();
        format!(
            "until [ -e {folder}/{} ] || [ {n} = 3 ]; do sleep 0.01; done; touch {folder}/{n}; echo {n}",
            n + 1
        )
    };
    let scripts: Vec<String> = (0..4).map(turn).collect();
    let at_once = scripts.iter().map(|script| sh(&*session, script));
    for (n, finished) in futures_util::future::join_all(at_once)
        .await
        .into_iter()
        .enumerate()
    {
        assert_eq!(finished.unwrap().stdout, format!("{n}\n").into_bytes());
    }
    // Far more than fit at once: they take turns.
    let nothing = words(&["true"]);
    let many = (0..60).map(|_| session.exec(&nothing));
    for finished in futures_util::future::join_all(many).await {
        assert_eq!(finished.unwrap().exit, Exit::Status(0));
    }
}

#[tokio::test]
async fn a_killed_server_closes_the_session() {
    let mut server = Sshd::start().await;
    let session = server.connect().await.unwrap();
    let running = tokio::spawn({
        let session = session.clone();
        async move { sh(&*session, "sleep 60").await }
    });
    session.ping(PLENTY).await.unwrap();
    server.kill();
    assert_eq!(
        tokio::time::timeout(PLENTY, session.closed()).await,
        Ok(Error::Closed)
    );
    assert_eq!(running.await.unwrap(), Err(Error::Closed));
    assert_eq!(session.ping(PLENTY).await, Err(Error::Closed));
    assert_eq!(sh(&*session, "true").await, Err(Error::Closed));
}

#[tokio::test]
async fn closing_says_goodbye_once_and_for_all() {
    let server = Sshd::start().await;
    let session = server.connect().await.unwrap();
    // The server has said all it had to say: closing with something unread resets the connection.
    session.ping(PLENTY).await.unwrap();
    session.close().await;
    session.close().await;
    assert_eq!(session.closed().await, Error::Closed);
    assert_eq!(session.ping(PLENTY).await, Err(Error::Closed));
    assert_eq!(sh(&*session, "true").await, Err(Error::Closed));
    let log = server.path("log");
    eventually(
        "the server hears that the client disconnects",
        PLENTY,
        async || {
            let log = std::fs::read_to_string(&log).unwrap();
            log.contains("Received disconnect").then_some(())
        },
    )
    .await;
}

#[tokio::test]
async fn a_ping_is_answered_without_a_process() {
    // A server that allows no sessions at all cannot start one.
    let server = Sshd::start_with(&["MaxSessions 0"]).await;
    let session = server.connect().await.unwrap();
    for _ in 0..100 {
        session.ping(PLENTY).await.unwrap();
    }
    assert!(matches!(sh(&*session, "true").await, Err(Error::Protocol(_))));
}

#[tokio::test]
async fn a_server_that_refuses_every_command_is_left_in_the_end() {
    let server = Sshd::start_with(&["MaxSessions 0"]).await;
    let session = server.connect().await.unwrap();
    let mut refused = 0;
    while let Err(Error::Protocol(_)) = sh(&*session, "true").await {
        refused += 1;
        assert!(refused < 1000, "goes on for ever");
    }
    assert_eq!(session.closed().await, Error::Closed);
}

#[tokio::test]
async fn a_hung_server_is_noticed_by_a_ping_and_answers_again_when_it_goes_on() {
    let server = Sshd::start().await;
    let session = server.connect().await.unwrap();
    server.pause();
    assert_eq!(session.ping(BRIEF).await, Err(Error::TimedOut(BRIEF)));
    let exec = Exec {
        deadline: BRIEF,
        ..words(&["true"])
    };
    assert_eq!(session.exec(&exec).await, Err(Error::TimedOut(BRIEF)));
    server.resume();
    session.ping(PLENTY).await.unwrap();
    assert_eq!(sh(&*session, "true").await.unwrap().exit, Exit::Status(0));
}

#[tokio::test]
async fn keep_alives_give_up_a_hung_server() {
    let server = Sshd::start().await;
    let session = server
        .connect_with(|config| {
            config.keep_alive_interval = Duration::from_millis(50);
            config.keep_alive_max = 2;
        })
        .await
        .unwrap();
    session.ping(PLENTY).await.unwrap();
    server.pause();
    let why = tokio::time::timeout(PLENTY, session.closed()).await.unwrap();
    assert!(matches!(why, Error::TimedOut(_)), "{why:?}");
    assert_eq!(session.ping(PLENTY).await, Err(Error::Closed));
}

#[tokio::test]
async fn keep_alives_hold_an_idle_connection() {
    let server = Sshd::start().await;
    let session = server
        .connect_with(|config| {
            config.keep_alive_interval = Duration::from_millis(20);
            config.keep_alive_max = 2;
        })
        .await
        .unwrap();
    let lost = tokio::time::timeout(Duration::from_millis(600), session.closed()).await;
    assert!(lost.is_err(), "{lost:?}");
    session.ping(PLENTY).await.unwrap();
}

#[tokio::test]
async fn servers_that_do_not_answer_are_told_apart() {
    let nobody = {
        let listener = TcpListener::bind("127.44.9.2:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let server = Sshd::start().await;
    let connector = server.connector();
    let at = |address, connect_deadline| Endpoint {
        address,
        host: "i-1".to_owned(),
        connect_deadline,
    };
    let refused = connector.connect(&at(nobody, PLENTY)).await;
    assert_eq!(refusal(refused), Error::Refused);

    server.pause();
    let hung = connector.connect(&at(server.address(), BRIEF)).await;
    assert_eq!(refusal(hung), Error::TimedOut(BRIEF));

    let silent = TcpListener::bind("127.44.9.2:0").await.unwrap();
    let answer = connector.connect(&at(silent.local_addr().unwrap(), BRIEF)).await;
    assert_eq!(refusal(answer), Error::TimedOut(BRIEF));
}

#[tokio::test]
async fn a_server_that_stops_halfway_leaves_no_connection_behind() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let server = Sshd::start().await;
    let halfway = TcpListener::bind("127.44.9.2:0").await.unwrap();
    let endpoint = Endpoint {
        address: halfway.local_addr().unwrap(),
        host: "i-1".to_owned(),
        connect_deadline: BRIEF,
    };
    let connector = server.connector();
    let (answer, _) = tokio::join!(connector.connect(&endpoint), async {
        let (mut stream, _) = halfway.accept().await.unwrap();
        stream.write_all(b"SSH-2.0-silent\r\n").await.unwrap();
        // Ends only when the client closes the connection.
        let mut rest = Vec::new();
        tokio::time::timeout(PLENTY, stream.read_to_end(&mut rest))
            .await
            .unwrap()
    });
    assert_eq!(refusal(answer), Error::TimedOut(BRIEF));
}

#[tokio::test]
async fn what_is_not_ssh_is_a_protocol_error_or_a_closed_connection() {
    use tokio::io::AsyncWriteExt;
    let server = Sshd::start().await;
    let connector = server.connector();
    let other = TcpListener::bind("127.44.9.2:0").await.unwrap();
    let endpoint = Endpoint {
        address: other.local_addr().unwrap(),
        host: "i-1".to_owned(),
        connect_deadline: PLENTY,
    };
    for garbage in [
        &b"SSH-2.0-x\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"[..],
        &b"HTTP/1.1 400 Bad\r\n\r\n"[..],
        b"",
    ] {
        let (answer, ()) = tokio::join!(connector.connect(&endpoint), async {
            let (mut stream, _) = other.accept().await.unwrap();
            let _ = stream.write_all(garbage).await;
        });
        let error = refusal(answer);
        assert!(
            matches!(error, Error::Protocol(_) | Error::Closed),
            "{error:?} for {garbage:?}"
        );
    }
}
