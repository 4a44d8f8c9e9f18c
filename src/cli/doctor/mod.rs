//! `understudy doctor`: looks at an installation from the coordinator's machine, and says what to mend.
//!
//! | file | looks at |
//! |---|---|
//! | [`configuration`] | whether it can be read, and what in it is probably not meant |
//! | [`ledger`] | the journal and the key to its secrets |
//! | [`local`] | the disk under the ledger, open files, the coordinator that runs |
//! | [`cloud`] | credentials, permissions, the cloud's clock, the archive |
//! | [`key`] | the private key for SSH |
//! | [`traces`] | the collector of traces |
//! | [`machines`] | every running machine: its ports, its login, its clock |
//!
//! It changes nothing: what it asks of a cloud it asks as a dry run, what it writes goes away again, and a machine that it
//! sees for the first time is not remembered. It does not look at the mirror to the browsers' database: there is none yet.
//!
//! Everything has a limit of its own, and all of it together half a minute.

mod clock;
mod cloud;
mod configuration;
mod finding;
mod key;
mod ledger;
mod local;
mod machines;
mod traces;

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::FuturesUnordered;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::Instant;

use self::finding::Finding;
use super::failure::{Exit, Failure, Outcome};
use super::terminal::Terminal;
use crate::config::Loaded;

/// Limit on everything.
const ALL: Duration = Duration::from_secs(30);
/// Less than that, so that machines for which there was no time are named.
const MACHINES: Duration = Duration::from_secs(28);
const SPIN: Duration = Duration::from_millis(100);

/// Options of `understudy doctor`.
#[derive(Debug, clap::Args)]
pub struct DoctorArgs {
    /// The configuration file; without one, the defaults and the environment
    #[arg(long, short, value_name = "FILE", env = "UNDERSTUDY_CONFIG")]
    pub config: Option<PathBuf>,
}

type Check<'c> = LocalBoxFuture<'c, (&'static str, Vec<Finding>)>;

/// # Errors
/// If its answer cannot be written. What is wrong with the installation is its answer.
pub async fn run(args: &DoctorArgs, terminal: &Terminal) -> Outcome {
    let file = args.config.as_deref();
    let findings = match configuration::read(file).await {
        Ok(loaded) => look(&loaded, file, terminal).await?,
        Err(finding) => vec![
            finding,
            Finding::skipped("everything else", "there is no configuration to look by"),
        ],
    };
    if terminal.json {
        terminal.print_json(&finding::object(&findings))?;
    } else {
        terminal.print(&finding::table(&findings, terminal))?;
        terminal.note(&finding::summary(&findings));
    }
    Ok(if finding::is_well(&findings) {
        Exit::Done
    } else {
        Exit::Failed
    })
}

async fn look(loaded: &Loaded, file: Option<&Path>, terminal: &Terminal) -> Result<Vec<Finding>, Failure> {
    let config = &loaded.config;
    let folder = tempfile::tempdir()
        .map_err(|error| Failure::new(Exit::Failed, format!("no temporary folder can be made: {error}")))?;
    let began = Instant::now();
    let (instances_told, instances) = tokio::sync::oneshot::channel();
    // In the order in which they are told.
    let checks: [(&'static str, Check<'_>); 9] = [
        (
            "configuration",
            Box::pin(async { ("configuration", configuration::look(loaded, file).await) }),
        ),
        ("disk", Box::pin(async { ("disk", local::disk(config).await) })),
        (
            "journal",
            Box::pin(async { ("journal", ledger::look(config).await) }),
        ),
        (
            "open files",
            Box::pin(async { ("open files", vec![local::descriptors(config)]) }),
        ),
        (
            "coordinator",
            Box::pin(async { ("coordinator", local::coordinator(config).await) }),
        ),
        (
            "cloud",
            Box::pin(async {
                let (findings, instances) = cloud::look(config).await;
                // Nobody listens once the time is over.
                let _ = instances_told.send(instances);
                ("cloud", findings)
            }),
        ),
        (
            "archive",
            Box::pin(async { ("archive", cloud::archive(config).await) }),
        ),
        (
            "traces",
            Box::pin(async { ("traces", traces::look(config).await) }),
        ),
        (
            "machines",
            Box::pin(async {
                let (mut findings, key) = key::look(config, folder.path()).await;
                // Without an answer of the cloud there are none, and that is said there.
                let instances = instances.await.unwrap_or_default();
                findings.extend(machines::look(config, &instances, &key, began + MACHINES).await);
                ("machines", findings)
            }),
        ),
    ];
    Ok(all(checks.into(), began + ALL, terminal).await)
}

/// Runs all at once, and tells what they found in the order in which they were given.
async fn all(checks: Vec<(&'static str, Check<'_>)>, deadline: Instant, terminal: &Terminal) -> Vec<Finding> {
    let bar = progress(checks.len(), terminal);
    let names: Vec<&'static str> = checks.iter().map(|(name, _)| *name).collect();
    let mut under_way: FuturesUnordered<Check<'_>> = checks.into_iter().map(|(_, check)| check).collect();
    let mut found: Vec<(&'static str, Vec<Finding>)> = Vec::new();
    loop {
        let missing = names
            .iter()
            .filter(|name| found.iter().all(|(done, _)| done != *name));
        let missing: Vec<&str> = missing.copied().collect();
        bar.set_position((names.len() - missing.len()) as u64);
        bar.set_message(missing.join(", "));
        match tokio::time::timeout_at(deadline, under_way.next()).await {
            Ok(Some(check)) => found.push(check),
            Ok(None) => break,
            Err(_) => {
                let why = format!("it did not end within {} s", ALL.as_secs());
                let advice =
                    "see what hangs: a disk, a name that does not resolve, a network that drops everything";
                found.extend(
                    missing
                        .into_iter()
                        .filter_map(|missing| names.iter().find(|name| **name == missing))
                        .map(|name| (*name, vec![Finding::fail(*name, why.clone(), advice)])),
                );
                break;
            }
        }
    }
    bar.finish_and_clear();
    let place = |name: &str| names.iter().position(|other| *other == name);
    found.sort_by_key(|(name, _)| place(name));
    found.into_iter().flat_map(|(_, findings)| findings).collect()
}

fn progress(checks: usize, terminal: &Terminal) -> ProgressBar {
    if terminal.json || !terminal.interactive {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(checks as u64);
    if let Ok(style) = ProgressStyle::with_template("{spinner} {pos} of {len} done; looking at: {msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(SPIN);
    bar
}

/// A check with a limit of its own.
async fn within(check: &str, limit: Duration, look: impl Future<Output = Vec<Finding>>) -> Vec<Finding> {
    let looked = tokio::time::timeout(limit, look).await;
    looked.unwrap_or_else(|_| {
        let detail = format!("no answer within {} s", limit.as_secs());
        vec![Finding::fail(
            check,
            detail,
            "see what it waits for: a disk, a route, a proxy",
        )]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_hangs_is_named_and_the_rest_is_told_in_order() {
        let checks: Vec<(&'static str, Check<'_>)> = vec![
            ("slow", Box::pin(std::future::pending())),
            (
                "second",
                Box::pin(async {
                    tokio::time::sleep(Duration::from_secs(2)).await;
                    ("second", vec![Finding::pass("second", "fine")])
                }),
            ),
            (
                "third",
                Box::pin(async { ("third", vec![Finding::pass("third", "fine")]) }),
            ),
        ];
        let found = all(checks, Instant::now() + ALL, &Terminal::plain()).await;
        let names: Vec<&str> = found.iter().map(|finding| finding.check.as_str()).collect();
        assert_eq!(names, ["slow", "second", "third"]);
        assert!(found[0].detail.contains("did not end within 30 s"));
        assert!(!finding::is_well(&found));
    }
}
