//! A link: a child that keeps one conversation with the machine going.
//!
//! It is a task in an actor's shell ([`task`]): it can wait as it must, and be watched, killed and restarted like
//! any other. It takes orders (where, how fast) and casts reports; it ends when its VM's actor is gone, and when an adapter
//! does not keep its own deadline, which only a bug can bring about: its VM's actor starts it anew then.
//!
//! Reports that the VM's actor has not taken yet are bounded: at the bound the link waits, and what its machine sends meanwhile
//! waits in the machine's own connection.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::Instrument as _;

use super::report::Report;
use super::{Message, Shell, obs, probe, ssh};
use crate::actors::context::Context;
use crate::actors::mailbox::ActorRef;
use crate::actors::supervisor::{Spec, Tally};
use crate::actors::{span, task};
use crate::domain::ids::VmId;
use crate::domain::instance::Instance;
use crate::domain::restart::Restart;
use crate::infra::watch;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Link {
    Probe,
    Obs,
    Ssh,
}

impl Link {
    pub const ALL: [Link; 3] = [Self::Probe, Self::Obs, Self::Ssh];

    fn as_str(self) -> &'static str {
        match self {
            Self::Probe => "probe",
            Self::Obs => "obs",
            Self::Ssh => "ssh",
        }
    }

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
    /// Rises when what was known of the machine is forgotten: what was connected before is of no use, even where
    /// the machine never went off.
    pub generation: u64,
}

impl Target {
    /// Whether a connection with `self` is still one with `other`.
    pub fn is_same_machine(&self, other: &Self) -> bool {
        (self.ip, self.generation) == (other.ip, other.generation)
    }
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

/// Reports of one link that wait for the VM's actor. On air it makes some ten a second, and the actor waits for the disk for
/// five seconds at most.
const REPORTS_MAX: usize = 64;
/// How much longer than its deadline an adapter may take before the link ends with it.
pub const GRACE: Duration = Duration::from_secs(5);

/// A place among the reports that wait; given up when the report was taken.
pub type Place = OwnedSemaphorePermit;

/// Where a link's reports go.
#[derive(Clone)]
pub struct Reports {
    vm: ActorRef<Message>,
    places: Arc<Semaphore>,
}

impl Reports {
    /// Waits for a place, and casts the report to the VM's actor.
    pub async fn send(&self, report: Report) {
        // It is never closed.
        if let Ok(place) = Arc::clone(&self.places).acquire_owned().await {
            // The VM actor may just have died; its successor starts links of its own.
            let _ = self.vm.cast(Message::Reported(report, place));
        }
    }
}

/// Everything a link's task needs.
pub struct Conversation {
    pub ctx: Arc<Context>,
    pub orders: watch::Receiver<Order>,
    /// The connection to the machine's SSH server, while there is one.
    pub shell: watch::Receiver<Option<Arc<dyn Shell>>>,
    pub reports: Reports,
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

    pub async fn report(&self, report: Report) {
        self.reports.send(report).await;
    }

    /// What an adapter answers; `None` if it does not keep its own deadline.
    pub async fn in_time<T>(
        &self,
        what: &str,
        deadline: Duration,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        let answer = tokio::time::timeout(deadline + GRACE, work).await.ok();
        if answer.is_none() {
            tracing::error!(
                what,
                ?deadline,
                "an adapter does not keep its deadline; the link is started anew"
            );
        }
        answer
    }
}

/// How this link is started and restarted.
pub fn spec(
    link: Link,
    id: VmId,
    ctx: Arc<Context>,
    orders: watch::Receiver<Order>,
    shell: watch::Receiver<Option<Arc<dyn Shell>>>,
    vm: ActorRef<Message>,
) -> Spec {
    let tally = Tally::new(&ctx.metrics, link.as_str());
    let spec = task::spec(Restart::Permanent, move || {
        let conversation = Conversation {
            ctx: Arc::clone(&ctx),
            orders: orders.clone(),
            shell: shell.clone(),
            reports: Reports {
                vm: vm.clone(),
                places: Arc::new(Semaphore::new(REPORTS_MAX)),
            },
        };
        let span = span::of_link(link.as_str(), &id);
        match link {
            Link::Probe => Box::pin(probe::run(conversation).instrument(span)),
            Link::Obs => Box::pin(obs::run(conversation).instrument(span)),
            Link::Ssh => Box::pin(ssh::run(conversation).instrument(span)),
        }
    });
    Spec { tally, ..spec }
}
