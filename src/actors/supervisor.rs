//! Supervision: who watches whom, and what happens when somebody dies.
//!
//! ractor tells a supervisor of its children's deaths and does nothing else; by default it stops the
//! supervisor with them. [`Children`] is the part that remembers how each child is started and asks
//! [`crate::domain::restart`] what to do; any actor can embed one. [`spawn`] starts an actor that is nothing
//! but one. Every child is on its own (OTP's one-for-one): the death of one never touches another.
//!
//! What the policy says is to be restarted at once is restarted while its death is being handled: no timer, and
//! nothing that waits in the supervisor's mailbox, comes between.
//!
//! A child whose budget is used up is reported through its [`Spec::on_give_up`] and tried afresh after the
//! policy's cool-down; its supervisor and its siblings go on.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, Signal, SpawnErr, SupervisionEvent};

use super::clock::Clock;
use super::mailbox::{ActorRef, Letter, Waiting, answer};
use crate::domain::restart::{Death, History, Policy, Restart, Verdict};
use crate::infra::metrics::Metrics;

/// Starts a child linked to the given supervisor.
pub type Start = Arc<dyn Fn(ActorCell) -> BoxFuture<'static, Result<ActorCell, SpawnErr>> + Send + Sync>;

/// Told why a child was given up.
pub type OnGiveUp = Arc<dyn Fn(&str) + Send + Sync>;

/// How a child is started and when again.
#[derive(Clone)]
pub struct Spec {
    pub restart: Restart,
    pub start: Start,
    pub on_give_up: Option<OnGiveUp>,
    pub tally: Option<Tally>,
}

/// Where the deaths of children of one kind are counted.
#[derive(Debug, Clone)]
pub struct Tally {
    pub metrics: Metrics,
    pub kind: &'static str,
}

impl Tally {
    #[must_use]
    pub fn new(metrics: &Metrics, kind: &'static str) -> Option<Self> {
        let metrics = metrics.clone();
        Some(Self { metrics, kind })
    }

    fn restarted(&self) {
        self.metrics.actor_restarts.count([self.kind]);
    }

    fn given_up(&self) {
        self.metrics.actor_give_ups.count([self.kind]);
    }
}

/// A restart that is due after a while; its owner brings it back to [`Children::retry`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry<K> {
    pub key: K,
    pub generation: u64,
    pub after: Duration,
}

struct Child {
    spec: Spec,
    running: Option<ActorCell>,
    history: History,
    /// Rises with every start and stop, so that a retry that is no longer wanted is recognised.
    generation: u64,
}

/// What follows from a death.
enum Next<K> {
    Restart(K),
    Wait(Retry<K>),
    Nothing,
}

/// The children of one actor.
pub struct Children<K> {
    children: BTreeMap<K, Child>,
    keys: BTreeMap<ActorId, K>,
    policy: Policy,
    clock: Clock,
}

impl<K: Ord + Clone + Debug> Children<K> {
    #[must_use]
    pub fn new(policy: Policy, clock: Clock) -> Self {
        Self {
            children: BTreeMap::new(),
            keys: BTreeMap::new(),
            policy,
            clock,
        }
    }

    /// Starts a child under this key; does nothing if it is there already, running or waiting for a retry.
    /// A start that fails counts as a death.
    #[must_use = "a retry that is dropped leaves the child down"]
    pub async fn start(&mut self, me: ActorCell, key: K, spec: Spec) -> Option<Retry<K>> {
        if self.children.contains_key(&key) {
            return None;
        }
        let child = Child {
            spec,
            running: None,
            history: History::default(),
            generation: 0,
        };
        self.children.insert(key.clone(), child);
        self.launch(&me, key).await
    }

    /// A retry's time has come.
    #[must_use = "a retry that is dropped leaves the child down"]
    pub async fn retry(&mut self, me: ActorCell, key: K, generation: u64) -> Option<Retry<K>> {
        let due = self
            .children
            .get(&key)
            .is_some_and(|c| c.generation == generation && c.running.is_none());
        if due { self.launch(&me, key).await } else { None }
    }

    /// Stops a child for good: its backlog is dropped, its `post_stop` runs.
    pub fn stop(&mut self, key: &K) {
        if let Some(child) = self.children.remove(key)
            && let Some(cell) = child.running
        {
            self.keys.remove(&cell.get_id());
            cell.stop(None);
        }
    }

    /// Takes a supervision event, restarts whoever is to be restarted at once, and says what is to be restarted
    /// later, if anything.
    #[must_use = "a retry that is dropped leaves the child down"]
    pub async fn observe(&mut self, me: ActorCell, event: SupervisionEvent) -> Option<Retry<K>> {
        // Only that much is kept of the event: with it goes the state that a killed child hands back, and with
        // that the child's tasks, before its successor starts tasks of its own.
        let (actor, death, reason) = obituary(event)?;
        let key = self.keys.remove(&actor)?;
        self.children.get_mut(&key)?.running = None;
        match self.decide(key, death, &reason) {
            Next::Restart(key) => self.launch(&me, key).await,
            Next::Wait(retry) => Some(retry),
            Next::Nothing => None,
        }
    }

    #[must_use]
    pub fn get(&self, key: &K) -> Option<&ActorCell> {
        self.children.get(key).and_then(|child| child.running.as_ref())
    }

    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.children.keys()
    }

    /// A start that fails is one more death, so this ends when the budget does at the latest.
    async fn launch(&mut self, me: &ActorCell, mut key: K) -> Option<Retry<K>> {
        loop {
            let child = self.children.get_mut(&key)?;
            child.generation += 1;
            let error = match (child.spec.start)(me.clone()).await {
                Ok(cell) => {
                    self.keys.insert(cell.get_id(), key);
                    child.running = Some(cell);
                    return None;
                }
                Err(error) => error,
            };
            key = match self.decide(key, Death::Failed, &error.to_string()) {
                Next::Restart(key) => key,
                Next::Wait(retry) => return Some(retry),
                Next::Nothing => return None,
            };
        }
    }

    fn decide(&mut self, key: K, death: Death, reason: &str) -> Next<K> {
        let Some(child) = self.children.get_mut(&key) else {
            return Next::Nothing;
        };
        let generation = child.generation;
        match child
            .history
            .died(child.spec.restart, death, &self.policy, self.clock.now())
        {
            Verdict::AtOnce => {
                tracing::warn!(child = ?key, reason, restart_ms = 0, "an actor died; restarting it");
                child.spec.tally.iter().for_each(Tally::restarted);
                Next::Restart(key)
            }
            Verdict::After(after) => {
                tracing::warn!(child = ?key, reason, restart_ms = after.as_millis(), "an actor died; restarting it");
                child.spec.tally.iter().for_each(Tally::restarted);
                Next::Wait(Retry {
                    key,
                    generation,
                    after,
                })
            }
            Verdict::GiveUp { retry_after } => {
                tracing::error!(
                    child = ?key, reason, retry_s = retry_after.as_secs(),
                    "an actor keeps dying; giving it up for a while"
                );
                child.spec.tally.iter().for_each(Tally::given_up);
                if let Some(on_give_up) = &child.spec.on_give_up {
                    on_give_up(reason);
                }
                Next::Wait(Retry {
                    key,
                    generation,
                    after: retry_after,
                })
            }
            Verdict::Leave => {
                self.children.remove(&key);
                Next::Nothing
            }
        }
    }
}

/// Kills an actor and everything below it, for drills. ractor takes the children of a dead actor in the order of a hash,
/// which would make two runs of one seed differ: here each comes before its children, and these in the order in which they
/// were started.
pub(super) fn kill(actor: &ActorCell) {
    let mut children = actor.get_children();
    children.sort_unstable_by_key(ActorCell::get_id);
    actor.kill();
    children.iter().for_each(kill);
}

/// Who died, how and why; `None` if the event tells of no death.
fn obituary(event: SupervisionEvent) -> Option<(ActorId, Death, String)> {
    match event {
        SupervisionEvent::ActorFailed(cell, reason) => {
            Some((cell.get_id(), Death::Failed, reason.to_string()))
        }
        // Killed while it handles a message, an actor hands back no state; killed while it waits for one
        // (ractor 0.16.5), it hands back its state, and only the reason tells.
        SupervisionEvent::ActorTerminated(cell, state, reason) => {
            let killed = state.is_none() || reason.as_deref() == Some(Signal::Kill.to_string().as_str());
            let death = if killed { Death::Failed } else { Death::Normal };
            let reason = reason.unwrap_or_else(|| "it ended".to_owned());
            Some((cell.get_id(), death, reason))
        }
        SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_) => None,
    }
}

/// An actor that does nothing but supervise.
struct Supervisor<K> {
    waiting: Waiting,
    keys: std::marker::PhantomData<fn(K)>,
}

/// Starts an actor that does nothing but supervise, under somebody or at the top.
///
/// # Errors
/// [`SpawnErr`] if `above` is ending.
pub async fn spawn<K: Ord + Clone + Debug + Send + Sync + 'static>(
    arguments: Arguments<K>,
    above: Option<ActorCell>,
) -> Result<ActorRef<Message<K>>, SpawnErr> {
    let waiting = Waiting::default();
    let supervisor = Supervisor {
        waiting: waiting.clone(),
        keys: std::marker::PhantomData,
    };
    let (actor, _) = match above {
        Some(above) => Actor::spawn_linked(None, supervisor, arguments, above).await?,
        None => Actor::spawn(None, supervisor, arguments).await?,
    };
    Ok(ActorRef::new(actor, &waiting))
}

pub enum Message<K> {
    /// Start a child unless it is there already; the port is answered once it has been tried.
    Start {
        key: K,
        spec: Spec,
        reply: Option<ractor::RpcReplyPort<()>>,
    },
    Stop {
        key: K,
    },
    Retry {
        key: K,
        generation: u64,
    },
}

/// What a supervisor starts with.
pub struct Arguments<K> {
    pub policy: Policy,
    pub clock: Clock,
    pub children: Vec<(K, Spec)>,
}

impl<K: Ord + Clone + Debug + Send + Sync + 'static> Actor for Supervisor<K> {
    type Msg = Letter<Message<K>>;
    type State = Children<K>;
    type Arguments = Arguments<K>;

    async fn pre_start(
        &self,
        me: ractor::ActorRef<Self::Msg>,
        arguments: Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        let me = ActorRef::new(me, &self.waiting);
        let mut children = Children::new(arguments.policy, arguments.clock);
        for (key, spec) in arguments.children {
            let retry = children.start(me.get_cell(), key, spec).await;
            schedule(&me, retry);
        }
        Ok(children)
    }

    async fn handle(
        &self,
        me: ractor::ActorRef<Self::Msg>,
        letter: Self::Msg,
        children: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        let (me, message) = (ActorRef::new(me, &self.waiting), letter.open());
        match message {
            Message::Start { key, spec, reply } => {
                let retry = children.start(me.get_cell(), key, spec).await;
                schedule(&me, retry);
                if let Some(port) = reply {
                    answer(port, ());
                }
            }
            Message::Stop { key } => children.stop(&key),
            Message::Retry { key, generation } => {
                let retry = children.retry(me.get_cell(), key, generation).await;
                schedule(&me, retry);
            }
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        me: ractor::ActorRef<Self::Msg>,
        event: SupervisionEvent,
        children: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        let me = ActorRef::new(me, &self.waiting);
        let retry = children.observe(me.get_cell(), event).await;
        schedule(&me, retry);
        Ok(())
    }
}

fn schedule<K: Send + Sync + 'static>(me: &ActorRef<Message<K>>, retry: Option<Retry<K>>) {
    if let Some(Retry {
        key,
        generation,
        after,
    }) = retry
    {
        me.send_after(after, move || Message::Retry { key, generation });
    }
}
