//! What the server says about everything, at one time.

use std::collections::BTreeSet;

use futures_util::StreamExt as _;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::cli::advice;
use crate::cli::answers::{Assignment, Coordinator, Failover, Failovers, Pool, Readiness};
use crate::cli::client::{Answer, Call, CallError, Client};
use crate::cli::failure::{Exit, Failure};

/// Questions about shows that are asked side by side.
const AT_ONCE: usize = 8;
/// Clocks that differ by less than this are taken for equal: the server tells its time in whole seconds.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_secs(2);

/// The pool and its shows.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// Where the server is.
    pub url: String,
    pub pool: Pool,
    /// `None` if the server does not tell.
    pub coordinator: Option<Coordinator>,
    /// `None` if the server does not tell.
    pub readiness: Option<Readiness>,
    /// Those that have a VM, by name.
    pub shows: Vec<Show>,
    /// When it was true, by the server's clock.
    pub at: Timestamp,
    pool_answer: Value,
    readiness_answer: Option<Value>,
}

/// One show.
#[derive(Debug, Clone, PartialEq)]
pub struct Show {
    pub assignment: Assignment,
    /// The move under way.
    pub moving: Option<Failover>,
    /// The latest finished one.
    pub moved: Option<Failover>,
    assignment_answer: Value,
    moving_answer: Value,
    moved_answer: Value,
}

impl Snapshot {
    /// Asks for the pool, and for every show that has a VM.
    ///
    /// # Errors
    /// The first that is not answered.
    pub async fn fetch(client: &Client) -> Result<Self, Failure> {
        let (pool_answer, coordinator, readiness_answer) = tokio::join!(
            client.ask(Call::get(&["api", "admin", "vm-pool"])),
            client.glance(&["api", "coordinator", "status"]),
            client.glance(&["readyz"]),
        );
        let pool_answer = pool_answer?;
        let pool: Pool = pool_answer.read()?;
        let names: BTreeSet<&str> = pool
            .vms
            .iter()
            .filter_map(|vm| vm.assigned_to.as_deref())
            .collect();
        let mut shows = Vec::with_capacity(names.len());
        let mut answers = futures_util::stream::iter(names.into_iter().map(|name| Show::fetch(client, name)))
            .buffered(AT_ONCE);
        while let Some(show) = answers.next().await {
            shows.extend(show?);
        }
        drop(answers);
        Ok(Self {
            url: client.url(),
            coordinator: coordinator.and_then(|body| serde_json::from_value(body).ok()),
            readiness: readiness_answer
                .clone()
                .and_then(|body| serde_json::from_value(body).ok()),
            shows,
            at: server_time(&pool_answer, Timestamp::now()),
            pool,
            pool_answer: pool_answer.body,
            readiness_answer,
        })
    }

    /// Leaves only what has this name, and what belongs to it. Whether there is anything.
    pub fn narrow(&mut self, name: &str) -> bool {
        let vms = &mut self.pool.vms;
        vms.retain(|vm| {
            vm.vm_id == name
                || vm.instance_id == name
                || vm.name.as_deref() == Some(name)
                || vm.assigned_to.as_deref() == Some(name)
        });
        let ids: BTreeSet<&str> = vms.iter().map(|vm| vm.vm_id.as_str()).collect();
        let shows: BTreeSet<&str> = vms.iter().filter_map(|vm| vm.assigned_to.as_deref()).collect();
        self.shows
            .retain(|show| shows.contains(show.assignment.competition_id.as_str()));
        if let Some(Value::Array(answers)) = self.pool_answer.get_mut("vms") {
            answers.retain(|vm| vm["vmId"].as_str().is_some_and(|id| ids.contains(id)));
        }
        !self.pool.vms.is_empty()
    }

    /// What to say if [`Snapshot::narrow`] leaves nothing; ask before.
    #[must_use]
    pub fn nothing_named(&self, name: &str) -> Failure {
        let vms = self.pool.vms.iter().map(|vm| vm.vm_id.as_str());
        let shows = self.pool.vms.iter().filter_map(|vm| vm.assigned_to.as_deref());
        let failure = Failure::new(
            Exit::Unknown,
            format!("there is no VM {name}, and no show {name} that has one"),
        );
        match advice::nearest(name, vms.chain(shows)) {
            Some(near) => failure.advice(format!("did you mean {near}?")),
            None => failure.advice("`understudy status` lists all"),
        }
    }

    /// For programs: the server's own answers, put together.
    #[must_use]
    pub fn json(&self) -> Value {
        let shows: Vec<Value> = self.shows.iter().map(Show::json).collect();
        json!({
            "server": self.url,
            "at": self.at.to_string(),
            "readiness": self.readiness_answer,
            "pool": self.pool_answer,
            "shows": shows,
        })
    }
}

impl Show {
    /// `None` if it has lost its VM meanwhile.
    async fn fetch(client: &Client, name: &str) -> Result<Option<Self>, Failure> {
        let vm = ["api", "competitions", name, "vm"];
        let failovers = ["api", "competitions", name, "failovers"];
        let (vm, failovers) = tokio::join!(present(client, &vm), present(client, &failovers));
        let Some(vm) = vm? else { return Ok(None) };
        let failovers = failovers?;
        let moves: Option<Failovers> = failovers.as_ref().map(Answer::read).transpose()?;
        let (moving, moved) = moves.map_or((None, None), |moves| {
            (moves.current, moves.failovers.into_iter().next())
        });
        let part = |pointer| {
            failovers
                .as_ref()
                .and_then(|answer| answer.body.pointer(pointer).cloned())
        };
        Ok(Some(Self {
            assignment: vm.read()?,
            moving,
            moved,
            moving_answer: part("/current").unwrap_or_default(),
            moved_answer: part("/failovers/0").unwrap_or_default(),
            assignment_answer: vm.body,
        }))
    }

    fn json(&self) -> Value {
        let mut json = self.assignment_answer.clone();
        json["failover"] = self.moving_answer.clone();
        json["lastFailover"] = self.moved_answer.clone();
        json
    }
}

/// `None` for what is not there (any more).
async fn present(client: &Client, path: &[&str]) -> Result<Option<Answer>, Failure> {
    let call = Call::get(path);
    match client.send(&call).await {
        Ok(answer) => Ok(Some(answer)),
        Err(CallError::Refused(refusal)) if refusal.status == 404 => Ok(None),
        Err(error) => Err(advice::explain(client, error, &call).await),
    }
}

/// The server's clock if it is far from ours: ages are reckoned against its own times.
fn server_time(answer: &Answer, ours: Timestamp) -> Timestamp {
    match answer.date {
        Some(theirs) if ours.duration_since(theirs).abs() > CLOCK_TOLERANCE => theirs,
        Some(_) | None => ours,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_reckoned_by_the_servers_clock_if_ours_is_wrong() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let answer = |date| Answer {
            status: 200,
            body: Value::Null,
            date,
        };
        assert_eq!(server_time(&answer(Some(at(100))), at(101)), at(101));
        assert_eq!(server_time(&answer(Some(at(100))), at(5000)), at(100));
        assert_eq!(server_time(&answer(None), at(5000)), at(5000));
    }
}
