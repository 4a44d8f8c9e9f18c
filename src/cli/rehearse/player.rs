//! Plays the rehearsals that the API is asked for: this same program, in a process of its own.
//!
//! The coordinator that is on air must not notice. A rehearsal in its process would share its runtime, its descriptors and
//! its fate; so it gets a process with nothing in its environment, one worker thread, and a pipe that tells it when to end:
//! it ends when its standard input does, which is also when this process dies, however it dies (docs/adr/0007).

use std::collections::VecDeque;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;

use super::chosen;
use crate::api::rehearsals::{Ask, Progress, Refused, Rehearsal, Rehearsals, ScenarioLine, State};
use crate::domain::time::{Timestamp, millis};
use crate::rehearsal::play::{Cast, Happening};
use crate::rehearsal::scenario::{self, Scenario};

/// Rehearsals remembered; the oldest is forgotten first.
const REMEMBERED: usize = 20;
/// Limit on a whole rehearsal: all built-in scenarios take some minutes.
const PLAY_MAX: Duration = Duration::from_secs(60 * 60);
/// Limit on ending when told to; then it is killed.
const END_MAX: Duration = Duration::from_secs(15);
/// Largest report, and largest account of the progress, in bytes.
const OUTPUT_BYTES_MAX: u64 = 32 << 20;

/// Plays one at a time, and remembers the last ones until the process ends.
#[derive(Debug)]
pub struct Player {
    program: PathBuf,
    /// Where each process gets a folder.
    folders: PathBuf,
    scenarios: Vec<Scenario>,
    book: Arc<Mutex<Book>>,
}

#[derive(Debug, Default)]
struct Book {
    count: u64,
    /// Newest first.
    rehearsals: VecDeque<Rehearsal>,
    /// Ends the one that is played when it is taken.
    end: Option<oneshot::Sender<()>>,
}

impl Book {
    fn find(&mut self, id: u64) -> Option<&mut Rehearsal> {
        self.rehearsals.iter_mut().find(|known| known.id == id)
    }
}

impl Player {
    /// Plays with this program, which is an understudy; what a rehearsal puts down is in a folder in this one.
    #[must_use]
    pub fn new(program: PathBuf, folders: PathBuf) -> Self {
        Self {
            program,
            folders,
            // A test reads them all.
            scenarios: scenario::all().unwrap_or_default(),
            book: Arc::default(),
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        lock(&self.book)
    }

    /// Only names of built-in scenarios: a path from outside is none of our files.
    fn check(&self, ask: &Ask) -> Result<Vec<Scenario>, Refused> {
        if let Some(name) = &ask.scenario
            && !self.scenarios.iter().any(|scenario| scenario.name == *name)
        {
            return Err(Refused::Scenario { name: name.clone() });
        }
        if ask.shows == Some(0) {
            let reason = "shows must be at least 1".to_owned();
            return Err(Refused::Shows { reason });
        }
        let cast = Cast {
            shows: ask.shows,
            ..Cast::default()
        };
        chosen(ask.scenario.as_deref().unwrap_or(super::ALL), cast).map_err(|failure| Refused::Shows {
            reason: failure.message,
        })
    }

    /// The process, and a folder for what it puts down: one that is killed cannot clear up.
    fn launch(&self, ask: &Ask) -> std::io::Result<(Child, TempDir)> {
        let folder = tempfile::Builder::new()
            .prefix("understudy-rehearsal-")
            .tempdir_in(&self.folders)?;
        let mut command = Command::new(&self.program);
        command.args(["rehearse", "--json", "--progress"]);
        if let Some(scenario) = &ask.scenario {
            command.arg("--scenario").arg(scenario);
        }
        if let Some(shows) = ask.shows {
            command.arg("--shows").arg(shows.to_string());
        }
        if let Some(seed) = ask.seed {
            command.arg("--seed").arg(seed.to_string());
        }
        if ask.scenario.is_none() {
            // Without this, a seed alone would mean something else.
            command.args(["--scenario", super::ALL]);
        }
        let child = command
            .env_clear()
            .env("TOKIO_WORKER_THREADS", "1")
            .env("TMPDIR", folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        Ok((child, folder))
    }
}

impl Rehearsals for Player {
    fn scenarios(&self) -> Vec<ScenarioLine> {
        let scenarios = self.scenarios.iter();
        scenarios
            .map(|scenario| ScenarioLine {
                name: scenario.name.clone(),
                about: scenario.about.clone(),
            })
            .collect()
    }

    fn list(&self) -> Vec<Rehearsal> {
        let book = self.book();
        let without_report = |known: &Rehearsal| Rehearsal {
            report: None,
            ..known.clone()
        };
        book.rehearsals.iter().map(without_report).collect()
    }

    fn get(&self, id: u64) -> Option<Rehearsal> {
        self.book().find(id).cloned()
    }

    fn begin(&self, ask: Ask) -> Result<Rehearsal, Refused> {
        let scenarios = self.check(&ask)?;
        let mut book = self.book();
        if let Some(running) = book.rehearsals.iter().find(|known| known.state == State::Running) {
            return Err(Refused::Busy { id: running.id });
        }
        let (child, folder) = self.launch(&ask).map_err(|error| Refused::Start {
            reason: error.to_string(),
        })?;
        book.count += 1;
        let begun = Rehearsal {
            id: book.count,
            ask,
            state: State::Running,
            began_at: now(),
            ended_at: None,
            progress: Progress {
                scenarios: u32::try_from(scenarios.len()).unwrap_or(u32::MAX),
                ..Progress::default()
            },
            error: None,
            report: None,
        };
        book.rehearsals.push_front(begun.clone());
        book.rehearsals.truncate(REMEMBERED);
        let (end, ended) = oneshot::channel();
        book.end = Some(end);
        drop(book);
        let book = Arc::clone(&self.book);
        let id = begun.id;
        tokio::spawn(async move {
            follow(book, id, child, ended).await;
            // It is over by then, however it ended.
            tokio::task::spawn_blocking(|| drop(folder));
        });
        Ok(begun)
    }

    fn cancel(&self, id: u64) -> Result<Rehearsal, Refused> {
        let mut book = self.book();
        let found = book.find(id).cloned().ok_or(Refused::Unknown { id })?;
        if found.state != State::Running {
            return Err(Refused::Over { id });
        }
        // Already taken: it is ending.
        if let Some(end) = book.end.take() {
            let _ = end.send(());
        }
        Ok(found)
    }
}

fn lock(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(millis(since_epoch))
}

/// How a rehearsal ended.
struct Ending {
    state: State,
    error: Option<String>,
    report: Option<Value>,
}

impl Ending {
    fn broken(error: impl Into<String>) -> Self {
        Self {
            state: State::Broken,
            error: Some(error.into()),
            report: None,
        }
    }
}

/// Follows the process to its end and writes down what became of it.
async fn follow(book: Arc<Mutex<Book>>, id: u64, child: Child, ended: oneshot::Receiver<()>) {
    let ending = watch(&book, id, child, ended).await;
    tracing::info!(
        rehearsal = id,
        state = ending.state.as_str(),
        error = ending.error,
        "a rehearsal is over"
    );
    let mut book = lock(&book);
    book.end = None;
    if let Some(rehearsal) = book.find(id) {
        rehearsal.state = ending.state;
        rehearsal.error = ending.error;
        rehearsal.report = ending.report;
        rehearsal.ended_at = Some(now());
    }
}

async fn watch(book: &Mutex<Book>, id: u64, mut child: Child, ended: oneshot::Receiver<()>) -> Ending {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(stdin), Some(stdout), Some(stderr)) = (stdin, stdout, stderr) else {
        return Ending::broken("its pipes are not there");
    };
    let told = async {
        let ((), report) = tokio::join!(progress(book, id, stderr), read(stdout));
        report
    };
    tokio::pin!(told);
    let told_to_end = tokio::select! {
        biased;
        report = &mut told => return verdict(end_of(&mut child).await, &report),
        _ = ended => State::Cancelled,
        () = tokio::time::sleep(PLAY_MAX) => State::Broken,
    };
    drop(stdin);
    // It may have more to say on its way out, and would wait for somebody to listen.
    let _ = tokio::time::timeout(END_MAX, told).await;
    if end_of(&mut child).await.is_err() {
        // It is let go of with its pipes; that it may be dead already is fine.
        let _ = child.kill().await;
    }
    match told_to_end {
        State::Broken => Ending::broken(format!("it took longer than {} s", PLAY_MAX.as_secs())),
        state => Ending {
            state,
            error: None,
            report: None,
        },
    }
}

/// Waits for the end of a process that has closed its pipes.
async fn end_of(child: &mut Child) -> std::io::Result<std::process::ExitStatus> {
    let ended = tokio::time::timeout(END_MAX, child.wait()).await;
    ended.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
}

fn verdict(status: std::io::Result<std::process::ExitStatus>, told: &[u8]) -> Ending {
    let status = match status {
        Ok(status) => status,
        Err(error) => return Ending::broken(format!("its end was not seen: {error}")),
    };
    let Ok(told) = serde_json::from_slice::<Value>(told) else {
        return Ending::broken(format!("it ended with {status} and without a report"));
    };
    if let (true, Some(error)) = (told["scenarios"].is_array(), told["error"].as_str()) {
        // Some have a verdict, and not all.
        return Ending {
            report: Some(told.clone()),
            ..Ending::broken(error)
        };
    }
    if told["scenarios"].is_array() {
        let passed = status.code() == Some(0);
        return Ending {
            state: if passed { State::Passed } else { State::Failed },
            error: None,
            report: Some(told),
        };
    }
    Ending::broken(
        told["error"]
            .as_str()
            .unwrap_or("it says nothing of what went wrong"),
    )
}

async fn read(stdout: impl AsyncRead + Unpin) -> Vec<u8> {
    let mut bytes = Vec::new();
    // What was cut off is no JSON, and is told as that.
    let _ = stdout.take(OUTPUT_BYTES_MAX).read_to_end(&mut bytes).await;
    bytes
}

/// Reads what happens, line by line, until there is no more.
async fn progress(book: &Mutex<Book>, id: u64, stderr: impl AsyncRead + Unpin) {
    let mut lines = BufReader::new(stderr.take(OUTPUT_BYTES_MAX)).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        // Whatever else it has to say is not for us.
        let Ok(happening) = serde_json::from_str::<Happening>(&line) else {
            continue;
        };
        if let Some(rehearsal) = lock(book).find(id) {
            note(&mut rehearsal.progress, happening);
        }
    }
}

fn note(progress: &mut Progress, happening: Happening) {
    match happening {
        Happening::SettingUp { scenario, shows } => {
            progress.latest = Some(format!("putting {shows} shows on air"));
            progress.scenario = Some(scenario);
            (progress.steps_done, progress.steps) = (0, 0);
        }
        Happening::Began { cues, .. } => {
            progress.steps = u32::try_from(cues).unwrap_or(u32::MAX);
            progress.latest = Some("all shows are on air".to_owned());
        }
        Happening::Struck { what, .. } => {
            progress.steps_done += 1;
            progress.latest = Some(what);
        }
        Happening::Mended { what, .. } => progress.latest = Some(format!("over: {what}")),
        Happening::Settling { .. } => {
            progress.latest = Some("waiting for everything to be as expected".to_owned());
        }
        Happening::Judged { scenario, passed } => {
            progress.scenarios_done += 1;
            let word = if passed { "passed" } else { "failed" };
            progress.latest = Some(format!("{scenario} {word}"));
        }
    }
}
