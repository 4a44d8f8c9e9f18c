//! Callers who give commands at the same time, and their book of what was acknowledged.
//!
//! Each caller has a show of its own, so that what the program must say of it is known exactly: whatever was
//! acknowledged, and nothing else. A command that was not answered is repeated with its key until it is; a command that
//! was carried out twice would show in the show's epoch, which rises by one with every assignment.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::LIMIT;
use crate::process::{Answer, Client};
use crate::scene::text;
use crate::support::eventually::eventually;

/// Pause before a command that was not carried out is repeated.
const AGAIN: Duration = Duration::from_millis(25);
/// Repetitions of one command, after which it counts as never answered.
const REPETITIONS_MAX: u32 = 3_000;

/// What a caller has been told, and so must be true.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    pub vm: Option<String>,
    pub epoch: u64,
    pub held: bool,
}

/// What a caller did.
#[derive(Debug, Clone, Default)]
pub struct Page {
    pub show: String,
    pub entry: Entry,
    /// Commands that were acknowledged.
    pub acknowledged: u64,
    /// Requests beyond the first for a command: not answered, or refused for a moment.
    pub repeated: u64,
    /// Comparisons of the book with what the program says.
    pub compared: u64,
    /// What differed.
    pub complaints: Vec<String>,
}

/// The callers at work.
pub struct Callers {
    stop: watch::Sender<bool>,
    /// Commands that were acknowledged to any of them.
    acknowledged: Arc<AtomicU64>,
    tasks: JoinSet<Page>,
}

impl Callers {
    pub fn begin(client: &Client, count: u64, seed: u64) -> Self {
        let stop = watch::Sender::new(false);
        let acknowledged = Arc::new(AtomicU64::new(0));
        let mut tasks = JoinSet::new();
        for number in 0..count {
            let caller = Caller {
                client: client.clone(),
                rng: StdRng::seed_from_u64(seed.wrapping_mul(1_000).wrapping_add(number)),
                stop: stop.subscribe(),
                acknowledged: Arc::clone(&acknowledged),
                page: Page {
                    show: format!("book-{number}"),
                    ..Page::default()
                },
                commands: 0,
            };
            tasks.spawn(caller.work());
        }
        Self {
            stop,
            acknowledged,
            tasks,
        }
    }

    /// Returns once so many commands have been acknowledged.
    pub async fn until_acknowledged(&self, count: u64) {
        let what = format!("{count} commands acknowledged");
        eventually(&what, LIMIT, async || {
            (self.acknowledged.load(Ordering::Relaxed) >= count).then_some(())
        })
        .await;
    }

    /// Lets everybody finish what is begun, and gives the book.
    pub async fn end(mut self) -> Vec<Page> {
        self.stop.send_replace(true);
        let mut book = Vec::new();
        while let Some(page) = self.tasks.join_next().await {
            book.push(page.expect("a caller does not panic"));
        }
        book
    }
}

struct Caller {
    client: Client,
    rng: StdRng,
    stop: watch::Receiver<bool>,
    acknowledged: Arc<AtomicU64>,
    page: Page,
    commands: u64,
}

impl Caller {
    async fn work(mut self) -> Page {
        while !*self.stop.borrow() && self.page.complaints.is_empty() {
            let given = match (&self.page.entry.vm, self.rng.random_range(0..12)) {
                (None, _) => self.assign().await,
                (Some(_), 0) => self.release().await,
                (Some(_), _) => self.hold().await,
            };
            let checked = match given {
                Ok(()) => self.compare().await,
                Err(complaint) => Err(complaint),
            };
            if let Err(complaint) = checked {
                self.page.complaints.push(complaint);
            }
        }
        self.page
    }

    async fn assign(&mut self) -> Result<(), String> {
        let path = format!("/api/competitions/{}/vm/assign", self.page.show);
        let body = self.insist(&path, json!({})).await?;
        let epoch = body["epoch"].as_u64().ok_or("an assignment without an epoch")?;
        let before = self.page.entry.epoch;
        if epoch != before + 1 {
            return Err(format!(
                "{} was given a VM {epoch} times, for {} commands: {body}",
                self.page.show,
                before + 1
            ));
        }
        self.page.entry = Entry {
            vm: Some(text(&body["vmId"])),
            epoch,
            held: self.page.entry.held,
        };
        Ok(())
    }

    async fn release(&mut self) -> Result<(), String> {
        let path = format!("/api/competitions/{}/vm/release", self.page.show);
        let body = self.insist(&path, json!({})).await?;
        let vm = body["vmId"].as_str().map(str::to_owned);
        if vm != self.page.entry.vm {
            return Err(format!(
                "{} had {:?} and gave back {vm:?}",
                self.page.show, self.page.entry.vm
            ));
        }
        self.page.entry.vm = None;
        self.page.entry.held = false;
        Ok(())
    }

    async fn hold(&mut self) -> Result<(), String> {
        let held = !self.page.entry.held;
        let path = format!("/api/competitions/{}/vm/hold", self.page.show);
        self.insist(&path, json!({ "held": held })).await?;
        self.page.entry.held = held;
        Ok(())
    }

    /// Gives one command until it is acknowledged as done, the same key each time: that it goes on is no such answer.
    async fn insist(&mut self, path: &str, body: Value) -> Result<Value, String> {
        self.commands += 1;
        let key = format!("{}-{}", self.page.show, self.commands);
        let mut last = Answer::Lost("not asked".to_owned());
        for _ in 0..REPETITIONS_MAX {
            last = self
                .client
                .call(Method::POST, path, Some(body.clone()), Some(&key))
                .await;
            if let Some(body) = last.done()
                && body["phase"] != "releasing"
            {
                self.page.acknowledged += 1;
                self.acknowledged.fetch_add(1, Ordering::Relaxed);
                return Ok(body.clone());
            }
            if !is_passing(&last) && last.done().is_none() {
                return Err(format!("{path} with key {key}: {last:?}"));
            }
            self.page.repeated += 1;
            tokio::time::sleep(AGAIN).await;
        }
        Err(format!("{path} was never acknowledged, at last {last:?}"))
    }

    /// What was acknowledged is true, and nothing else happened to this show.
    async fn compare(&mut self) -> Result<(), String> {
        let found = loop {
            let shows = self.client.get("/api/shows").await;
            match shows.done() {
                Some(body) => break entry_of(body, &self.page.show),
                None if is_passing(&shows) => tokio::time::sleep(AGAIN).await,
                None => return Err(format!("/api/shows: {shows:?}")),
            }
        };
        self.page.compared += 1;
        if found == self.page.entry {
            return Ok(());
        }
        Err(format!(
            "{}: acknowledged {:?}, and the program says {found:?}",
            self.page.show, self.page.entry
        ))
    }
}

/// What the program lists for a show.
pub fn entry_of(shows: &Value, show: &str) -> Entry {
    let list = shows["shows"].as_array().into_iter().flatten();
    let mut this = list.filter(|view| view["competitionId"] == show);
    this.next().map_or_else(Entry::default, |view| Entry {
        vm: view["vmId"].as_str().map(str::to_owned),
        epoch: view["epoch"].as_u64().unwrap_or_default(),
        held: view["held"] == true,
    })
}

/// It may work when it is asked again: nobody was there, no VM is free, or it goes on.
fn is_passing(answer: &Answer) -> bool {
    match answer {
        Answer::Lost(_) => true,
        Answer::Silence(_) => false,
        Answer::Answered { status, body } => match status {
            502..=504 => true,
            409 => body["code"] == "POOL_EXHAUSTED",
            _ => false,
        },
    }
}
