//! The witness itself: a proof that finds nothing has to be able to find something.

use std::net::Ipv4Addr;

use tokio::process::{Child, Command};

use crate::LIMIT;
use crate::ingest::Ingest;
use crate::network::{attach, make_bridge};
use crate::program::installed;
use crate::support::eventually::eventually;

const FIRST: (&str, Ipv4Addr) = ("one", Ipv4Addr::new(10, 44, 0, 4));
const SECOND: (&str, Ipv4Addr) = ("two", Ipv4Addr::new(10, 44, 0, 5));

#[tokio::test(flavor = "multi_thread")]
async fn a_second_publisher_of_a_show_is_seen_and_one_after_the_other_is_not_called_two() {
    make_bridge().await;
    let folder = tempfile::tempdir().unwrap();
    let ingest = Ingest::start(folder.path()).await;
    for (name, address) in [FIRST, SECOND] {
        attach(name, address).await;
    }

    let mut first = publish(FIRST.0);
    ingest.until_published_by(FIRST.1).await;
    first.kill().await.unwrap();
    eventually("the first has ended", LIMIT, async || {
        ingest.publishers().is_empty().then_some(())
    })
    .await;
    let _second = publish(SECOND.0);
    ingest.until_published_by(SECOND.1).await;
    assert_eq!(ingest.overlaps(), Vec::<String>::new());

    let _again = publish(FIRST.0);
    ingest.until_published_by(FIRST.1).await;
    let found = eventually("both have been seen to send", LIMIT, async || {
        let found = ingest.overlaps();
        (!found.is_empty()).then_some(found)
    })
    .await;
    assert!(found[0].contains("while"), "{found:?}");
}

/// Streams from a network namespace under the key that the other has, too.
fn publish(namespace: &str) -> Child {
    let (clip, url) = (
        installed("moving.mkv"),
        format!("{}/key-finals", Ingest::server_url()),
    );
    let input = [
        "ffmpeg",
        "-nostdin",
        "-v",
        "error",
        "-re",
        "-stream_loop",
        "-1",
        "-i",
        &clip,
    ];
    Command::new("ip")
        .args(["netns", "exec", namespace])
        .args(input)
        .args(["-c", "copy", "-f", "flv", &url])
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}
