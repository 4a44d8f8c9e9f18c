//! Not enough of something: file descriptors, or memory that clients would like to have used.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::LIMIT;
use crate::process::{Launch, Process};
use crate::report::Report;
use crate::scene::{begin, is_on_air, moves, never_two_publishers, on_air};
use crate::support::eventually::eventually;

/// Enough for the pool and a few clients.
const DESCRIPTORS: u32 = 100;
/// Far more than that.
const CLIENTS: usize = 400;
/// Longer than every deadline by which a failure is told.
const LONG: Duration = Duration::from_secs(8);
/// What the log may say of it meanwhile.
const LINES_MAX: usize = 50;

#[tokio::test(flavor = "multi_thread")]
async fn without_descriptors_new_clients_wait_or_are_refused_and_the_pool_goes_on() {
    let launch = Launch {
        runner: vec![
            "prlimit".to_owned(),
            format!("--nofile={DESCRIPTORS}:{DESCRIPTORS}"),
        ],
        ..Launch::default()
    };
    let (stage, mut process) = begin(3, 0, launch).await;
    let show = on_air(&stage, &process, "gala").await;
    let lines_before = process.log().lines().count();
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(TcpStream::connect(process.address()).await.unwrap());
    }
    let used = descriptors(&process);
    // The trouble itself: nothing is to happen for so long.
    tokio::time::sleep(LONG).await;
    drop(clients);
    eventually("it answers again", LIMIT, async || {
        process.client.get("/readyz").await.done().map(drop)
    })
    .await;
    assert!(process.is_running());
    assert!(
        used + 5 > DESCRIPTORS as usize,
        "only {used} descriptors were used"
    );
    let (finished, current) = moves(&process, "gala").await.unwrap();
    assert!(
        finished.is_empty() && current.is_null(),
        "{finished:#?} {current}"
    );
    assert_eq!(is_on_air(&stage, &process, &show).await, Ok(()));
    never_two_publishers(&stage);
    let lines = process.log().lines().count() - lines_before;
    assert!(lines < LINES_MAX, "{lines} lines were logged");
    let mut report = Report::new("descriptors", "No file descriptors left");
    report.line(&format!(
        "{CLIENTS} connections on {DESCRIPTORS} descriptors for {LONG:?}: {used} in use, {lines} lines logged, no show moved; \
         answers again once they are gone"
    ));
    report.passed();
}

fn descriptors(process: &Process) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", process.id()))
        .unwrap()
        .count()
}

/// Clients that send what nobody asked for, as long as it is taken.
const GREEDY: usize = 64;
const BODY_BYTES: usize = 8 << 20;
/// What they may cost together: far less than what they send.
const GROWTH_KIB_MAX: u64 = 96 << 10;

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_too_large_are_refused_and_cost_no_memory() {
    let (_stage, process) = begin(1, 0, Launch::default()).await;
    let before = peak_kib(&process);
    let mut greedy = JoinSet::new();
    for _ in 0..GREEDY {
        greedy.spawn(send_much(process.address()));
    }
    let mut refused = 0;
    while let Some(answer) = greedy.join_next().await {
        let answer = answer.unwrap();
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 413"),
            "{answer}"
        );
        refused += usize::from(!answer.is_empty());
    }
    let grown = peak_kib(&process) - before;
    assert!(refused > 0, "nobody was told why");
    assert!(
        grown < GROWTH_KIB_MAX,
        "{grown} KiB for {GREEDY} bodies of {BODY_BYTES} bytes"
    );
    process.client.get("/readyz").await.expect();
    let mut report = Report::new("memory", "Clients that send too much");
    report.line(&format!(
        "{GREEDY} bodies of {} MiB at once: {refused} answered 413, the others cut off; peak memory grew by {} MiB",
        BODY_BYTES >> 20,
        grown >> 10
    ));
    report.passed();
}

/// What it answered; nothing if it hung up on what was still being sent.
async fn send_much(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /api/competitions/gala/vm/assign HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
         transfer-encoding: chunked\r\n\r\n{BODY_BYTES:x}\r\n"
    );
    // It may hang up at any time.
    let _ = stream.write_all(head.as_bytes()).await;
    let _ = stream.write_all(&vec![b' '; BODY_BYTES]).await;
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(LIMIT, stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// The most memory that it ever had, in KiB (proc(5), VmHWM).
fn peak_kib(process: &Process) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
