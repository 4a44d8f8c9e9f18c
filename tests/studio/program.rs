//! Running other people's programs.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::process::Command;

/// Limit on one command; what takes longer hangs.
const DEADLINE: Duration = Duration::from_secs(60);

/// Runs a program to its end and gives what it said, whatever its exit status.
pub async fn output<S: AsRef<OsStr>>(program: &str, arguments: &[S]) -> Output {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let ended = tokio::time::timeout(DEADLINE, command.output()).await;
    let words: Vec<_> = arguments.iter().map(AsRef::as_ref).collect();
    let ended = ended.unwrap_or_else(|_| panic!("{program} {words:?} did not end within {DEADLINE:?}"));
    ended.unwrap_or_else(|error| panic!("{program} cannot be run: {error}"))
}

/// The same for one that must succeed; gives its standard output.
#[track_caller]
pub fn run<S: AsRef<OsStr>>(program: &str, arguments: &[S]) -> impl Future<Output = String> {
    let at = std::panic::Location::caller();
    async move {
        let output = output(program, arguments).await;
        let words: Vec<_> = arguments.iter().map(AsRef::as_ref).collect();
        assert!(
            output.status.success(),
            "{at}: {program} {words:?}: {}: {}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }
}

/// A file of `tests/studio`.
pub fn ours(name: &str) -> String {
    format!("{}/tests/studio/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// What `scripts/setup-studio` has put there.
pub fn installed(name: &str) -> String {
    let cache = match std::env::var_os("UNDERSTUDY_CACHE") {
        Some(cache) => PathBuf::from(cache),
        None => PathBuf::from(std::env::var_os("HOME").expect("HOME is set")).join(".cache/understudy"),
    };
    let path = cache.join("studio").join(name);
    assert!(
        path.exists(),
        "there is no {}: run scripts/setup-studio",
        path.display()
    );
    path.display().to_string()
}
