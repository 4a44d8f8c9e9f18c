//! A link: a child that keeps one conversation with the machine going.
//!
//! Its actor is a shell around one task, so that the task can wait as it must while the actor can be watched,
//! killed and restarted like any other. The task takes orders (where, how fast) and casts reports.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::{Message, obs, probe, ssh};
use crate::actors::context::Context;
use crate::actors::supervisor::Spec;
use crate::domain::instance::Instance;
use crate::domain::restart::Restart;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Link {
    Probe,
    Obs,
    Ssh,
}

impl Link {
    pub const ALL: [Link; 3] = [Self::Probe, Self::Obs, Self::Ssh];

    /// Whether this tree is configured to have it.
    pub fn is_wanted(self, ctx: &Context) -> bool {
        match self {
            Self::Probe => true,
            Self::Obs => ctx.world.obs.is_some(),
            Self::Ssh => ctx.world.ssh.is_some(),
        }
    }
}

/// What a link is to do now.
#[derive(Debug, Clone, PartialEq)]
pub struct Order {
    /// The machine to talk to; `None` while it is off.
    pub target: Option<Target>,
    pub pace: Pace,
    /// Rises when somebody wants a check at once.
    pub nudge: u64,
}

impl Default for Order {
    fn default() -> Self {
        Self {
            target: None,
            pace: Pace::Idle,
            nudge: 0,
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    pub ip: IpAddr,
    pub service_port: u16,
    pub instance: Arc<Instance>,
}

/// How closely a VM is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Nothing depends on it.
    Idle,
    /// It is coming up, or a show counts on it.
    Watched,
    OnAir,
}

/// The watched pace: quick enough to notice within seconds that a VM came up.
pub const WATCHED_EVERY: Duration = Duration::from_secs(1);

/// Everything a link's task needs.
pub struct Conversation {
    pub ctx: Arc<Context>,
    pub orders: watch::Receiver<Order>,
    pub vm: ActorRef<Message>,
}

impl Conversation {
    /// Waits until there is a machine to talk to; `None` when the VM actor is gone.
    pub async fn target(&mut self) -> Option<(Target, Pace)> {
        loop {
            let order = self.orders.borrow_and_update().clone();
            if let Some(target) = order.target {
                return Some((target, order.pace));
            }
            self.orders.changed().await.ok()?;
        }
    }

    /// Sleeps, but not past a change of orders.
    pub async fn pause(&mut self, span: Duration) {
        // Either outcome leads back to reading the orders; a closed channel is noticed there.
        let _ = tokio::time::timeout(span, self.orders.changed()).await;
    }

    pub fn report(&self, report: super::report::Report) {
        // The VM actor may just have died; its successor starts links of its own.
        let _ = self.vm.cast(Message::Reported(report));
    }
}

/// How this link is started and restarted.
pub fn spec(link: Link, ctx: Arc<Context>, orders: watch::Receiver<Order>, vm: ActorRef<Message>) -> Spec {
    let start = move |supervisor: ractor::ActorCell| {
        let conversation = Conversation {
            ctx: Arc::clone(&ctx),
            orders: orders.clone(),
            vm: vm.clone(),
        };
        let task: BoxFuture<'static, ()> = match link {
            Link::Probe => Box::pin(probe::run(conversation)),
            Link::Obs => Box::pin(obs::run(conversation)),
            Link::Ssh => Box::pin(ssh::run(conversation)),
        };
        let spawned = async move {
            let (actor, _) = Actor::spawn_linked(None, Shell, task, supervisor).await?;
            Ok(actor.get_cell())
        };
        Box::pin(spawned) as BoxFuture<'static, _>
    };
    Spec {
        restart: Restart::Permanent,
        start: Arc::new(start),
        on_give_up: None,
    }
}

struct Shell;

/// The task ended, which it does only by panicking or when its VM actor is gone.
struct Ended;

/// Aborts the task when the actor's state goes, however the actor ends.
struct Task(AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Actor for Shell {
    type Msg = Ended;
    type State = Task;
    type Arguments = BoxFuture<'static, ()>;

    async fn pre_start(
        &self,
        me: ActorRef<Ended>,
        task: Self::Arguments,
    ) -> Result<Task, ActorProcessingErr> {
        let running = tokio::spawn(task);
        let abort = running.abort_handle();
        tokio::spawn(async move {
            let _ = running.await;
            let _ = me.cast(Ended);
        });
        Ok(Task(abort))
    }

    async fn handle(&self, _: ActorRef<Ended>, Ended: Ended, _: &mut Task) -> Result<(), ActorProcessingErr> {
        Err("the link's task ended".into())
    }
}
