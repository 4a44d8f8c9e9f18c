//! What starts these tests (`in-namespaces`): however it ends, nothing of what it ran is left.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::{Child, Command};

use crate::LIMIT;
use crate::program::{ours, output, run};
use crate::support::eventually::eventually;

/// What a test may leave: a process that no polite signal ends, in a session of its own, in a network that a mount
/// keeps. `$0` is how long it would last.
const LEFT: &str = r#"trap "" HUP INT TERM; ip netns add left; ip netns exec left setsid --wait sleep "$0""#;
/// One end of a cable whose other end is in that network: both are gone with either.
const CABLE: &str = "cable";

struct Running {
    child: Child,
    /// What it runs: no two of them are alike.
    command: String,
}

impl Running {
    /// Runs it by this program with these words before it, and lays the cable.
    async fn start(program: &str, words: &[&str], seconds: &str) -> Self {
        let child = Command::new(program)
            .args(words)
            .args(["bash", "-c", LEFT, seconds])
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let command = format!("^sleep {seconds}$");
        let pid = eventually("it runs", LIMIT, async || {
            let found = output("pgrep", &["-f", &command]).await;
            found.status.success().then_some(found.stdout)
        })
        .await;
        let pid = String::from_utf8(pid).unwrap();
        let there = ["type", "veth", "peer", "name", "eth0", "netns", pid.trim()];
        run("ip", &[&["link", "add", CABLE], &there[..]].concat()).await;
        Self { child, command }
    }

    fn pid(&self) -> String {
        self.child.id().expect("it runs").to_string()
    }

    /// But for its control groups.
    async fn until_nothing_is_left(&self) {
        // What it ran, and what looked whether its starter is still there.
        for process in [&self.command, "^tail --pid="] {
            eventually(&format!("{process} is gone"), LIMIT, async || {
                let found = output("pgrep", &["-f", process]).await;
                (!found.status.success()).then_some(())
            })
            .await;
        }
        eventually(
            "its network is gone, and the mount that kept it",
            LIMIT,
            async || {
                let found = output("ip", &["link", "show", CABLE]).await;
                (!found.status.success()).then_some(())
            },
        )
        .await;
    }
}

/// The control groups of what the runner with this process id ran.
fn control_groups(runner: &str) -> PathBuf {
    let ours = std::env::var("UNDERSTUDY_STUDIO_CGROUP").unwrap();
    let all = Path::new(&ours).parent().unwrap();
    all.join(format!("understudy-studio-{runner}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_that_is_told_to_end_takes_everything_with_it() {
    // This one was started in the background of a shell: without `env` it would be deaf to Ctrl-C, as this is.
    let words = ["--default-signal=INT", &ours("in-namespaces")];
    for (signal, seconds) in [("-INT", "4711"), ("-TERM", "4712"), ("-HUP", "4713")] {
        let mut running = Running::start("env", &words, seconds).await;
        let groups = control_groups(&running.pid());
        assert!(groups.exists(), "{}", groups.display());
        run("kill", &[signal, &running.pid()]).await;
        let ended = tokio::time::timeout(LIMIT, running.child.wait()).await;
        assert!(!ended.expect("it ends").unwrap().success(), "{signal}");
        running.until_nothing_is_left().await;
        assert!(!groups.exists(), "{signal}: {}", groups.display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_that_is_killed_leaves_only_control_groups_and_the_next_one_removes_them() {
    let runner = ours("in-namespaces");
    let mut running = Running::start(&runner, &[], "4714").await;
    let groups = control_groups(&running.pid());
    running.child.kill().await.unwrap();
    running.until_nothing_is_left().await;
    run(&runner, &["true"]).await;
    assert!(!groups.exists(), "{}", groups.display());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_whose_starter_is_killed_takes_everything_with_it() {
    // Not the last command of the shell, which would become it.
    let starter = ["-c", "\"$0\" \"$@\"; true", &ours("in-namespaces")];
    let mut running = Running::start("bash", &starter, "4715").await;
    running.child.kill().await.unwrap();
    running.until_nothing_is_left().await;
}
