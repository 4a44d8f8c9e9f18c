//! Events to commit, folders to keep journals in, and the way to run a test's second half in another process.

use std::io::{BufRead, BufReader, Lines};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use understudy::domain::event::Event;
use understudy::domain::ids::{InstanceId, VmId};
use understudy::domain::instance::{Instance, InstanceState};
use understudy::domain::time::Timestamp;
use understudy::domain::vm;
use understudy::infra::ledger::{Ledger, Options};

/// Any time will do: the ledger stores it as given.
pub const NOW: Timestamp = Timestamp(1_700_000_000_000);

/// Names the journal that a second process works on; its presence is what makes it one.
const CHILD: &str = "UNDERSTUDY_LEDGER_TEST_JOURNAL";

/// Starts every line that a second process writes for its parent, among those of the test harness.
const SAYS: &str = "child says: ";

/// A journal in a folder of its own.
pub struct Place {
    folder: TempDir,
}

impl Place {
    pub fn new() -> Self {
        Self {
            folder: tempfile::tempdir().expect("a temporary folder"),
        }
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn journal(&self) -> PathBuf {
        self.folder.path().join("journal.db")
    }

    pub fn options(&self) -> Options {
        Options::new(self.journal())
    }

    pub fn open(&self) -> Ledger {
        Ledger::open(self.options()).expect("the journal opens")
    }

    /// The file as SQLite sees it, beside the ledger.
    pub fn database(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.journal()).expect("the file opens")
    }
}

pub fn vm_id(name: &str) -> VmId {
    VmId::new(format!("vm-{name}")).expect("a legal id")
}

pub fn instance(name: &str) -> Instance {
    Instance {
        instance_id: InstanceId::new(format!("i-{name}")).expect("a legal id"),
        name: Some(name.to_owned()),
        state: InstanceState::Running,
        public_ip: None,
        private_ip: Some([127, 77, 0, 1].into()),
        public_dns: None,
        private_dns: None,
        instance_type: Some("g4dn.xlarge".to_owned()),
        launch_time: Some(NOW),
        availability_zone: None,
        subnet_id: None,
        vpc_id: None,
        tags: [("Name".to_owned(), name.to_owned())].into(),
    }
}

pub fn adopted(name: &str) -> Event {
    let instance = instance(name);
    Event::vm(&vm_id(name), vm::Event::Adopted { instance })
}

pub fn faulted(name: &str, reason: &str) -> Event {
    let reason = reason.to_owned();
    Event::vm(&vm_id(name), vm::Event::Faulted { reason })
}

pub fn ready(name: &str) -> Event {
    Event::vm(&vm_id(name), vm::Event::Ready)
}

/// Long for the machine, short for whoever waits for a test that hangs.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The journal to work on, if this is the second process of a test.
pub fn role() -> Option<PathBuf> {
    std::env::var_os(CHILD).map(PathBuf::from)
}

/// For a second process: one line to its parent, at once.
pub fn say(text: &str) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    // A parent that is gone hears nothing.
    let _ = writeln!(out, "{SAYS}{text}");
    let _ = out.flush();
}

/// The same test in another process, working on `journal`. `program` is this binary or a link to it.
pub fn again(program: &Path, test: &str, journal: &Path) -> Command {
    let mut command = Command::new(program);
    as_child(&mut command, test, journal);
    command
}

/// The same test in another process, begun by a shell that first runs `preparation`.
pub fn again_after(preparation: &str, test: &str, journal: &Path) -> Command {
    let mut command = Command::new("sh");
    let program = std::env::current_exe().expect("this binary's path");
    command
        .arg("-c")
        .arg(format!("{preparation}; exec \"$0\" \"$@\""))
        .arg(program);
    as_child(&mut command, test, journal);
    command
}

/// Makes a command that runs this binary the second process of a test.
pub fn as_child(command: &mut Command, test: &str, journal: &Path) {
    command
        .args([test, "--exact", "--nocapture"])
        .env(CHILD, journal)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
}

/// A second process and what it says. Killed when it goes out of scope.
pub struct Second {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Second {
    pub fn start(mut command: Command) -> Self {
        let mut child = command.spawn().expect("the second process starts");
        let out = child.stdout.take().expect("its output is ours");
        Self {
            child,
            lines: BufReader::new(out).lines(),
        }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it says next; `None` once it has ended.
    pub fn hear(&mut self) -> Option<String> {
        let lines = self.lines.by_ref().map_while(Result::ok);
        // The harness may leave a line of its own unfinished before ours.
        lines
            .filter_map(|line| line.split_once(SAYS).map(|(_, text)| text.to_owned()))
            .next()
    }

    /// `kill -9`, and the wait for its end.
    pub fn kill(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it ends");
    }

    /// Everything it says until it ends, which must be well: as a test it has its own assertions.
    pub fn hear_out(mut self) -> Vec<String> {
        let heard: Vec<_> = std::iter::from_fn(|| self.hear()).collect();
        let status = self.child.wait().expect("it ends");
        assert!(
            status.success(),
            "the second process failed, having said {heard:?}"
        );
        heard
    }
}

impl Drop for Second {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether file permissions do not bind this process.
pub fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// Waits until it is so; a test that waits in vain fails.
pub async fn eventually(is_so: impl Fn() -> bool) {
    let wait = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait)
        .await
        .expect("it never came to be so");
}
