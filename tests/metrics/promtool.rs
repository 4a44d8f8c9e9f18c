//! Prometheus's own tools on what is served and on what is shipped.

use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::played::{played, text};
use crate::support::PLENTY;

/// Runs promtool in the repository and gives what it says; it has to be content.
pub async fn promtool(arguments: &[&str], input: &str) -> String {
    let mut command = Command::new("promtool");
    command
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command
        .spawn()
        .expect("promtool is missing: scripts/setup-test installs it (Debian's package prometheus)");
    let mut stdin = child.stdin.take().unwrap();
    let written = async {
        stdin.write_all(input.as_bytes()).await.unwrap();
        drop(stdin);
        child.wait_with_output().await.unwrap()
    };
    // It computes, for seconds on a machine that has nothing else to do.
    let output = tokio::time::timeout(PLENTY * 2, written)
        .await
        .expect("promtool has ended");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "promtool {arguments:?}: {said}");
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn promtool_has_nothing_to_say_about_the_metrics() {
    let served = played().await;
    let said = promtool(&["check", "metrics"], &text(&served).await).await;
    assert_eq!(said, "");
    served.stop().await;
}
