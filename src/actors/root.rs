//! The whole tree on one screen.
//!
//! [`Node::start`] builds it, [`Node::stop`] takes it down: first what takes commands, then what carries them
//! out, the ledger last. Shows that are on air stay on air; nothing on any machine is touched.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::BoxFuture;
use ractor::{Actor, ActorCell, ActorStatus};

use super::clock::Clock;
use super::cloud::CloudActor;
use super::context::{Context, Options, World};
use super::coordinator::Coordinator;
use super::executions::ExecutionsActor;
use super::news::Item;
use super::pool::PoolActor;
use super::supervisor::{Arguments, Spec, Tally};
use super::{show, supervisor, task, vm};
use crate::domain::restart::Restart;
use crate::infra::ledger::{CloseError, Ledger};

/// How long each part of the tree has to come down before it is killed.
const STOP: Duration = Duration::from_secs(5);

/// The parts of the tree, in the order in which they start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// Tells when this process did not run.
    Stalls,
    Machines,
    Shows,
    Executions,
    Pool,
    Cloud,
    Gateway,
}

impl Part {
    fn as_str(self) -> &'static str {
        match self {
            Self::Stalls => "stalls",
            Self::Machines => "machines",
            Self::Shows => "shows",
            Self::Executions => "executions",
            Self::Pool => "pool",
            Self::Cloud => "cloud",
            Self::Gateway => "gateway",
        }
    }
}

/// A running tree.
pub struct Node {
    ctx: Arc<Context>,
    root: ActorCell,
}

/// The root could not be started: there is nothing to supervise it.
#[derive(Debug, thiserror::Error)]
#[error("the supervision tree could not be started: {0}")]
pub struct StartError(String);

impl Node {
    /// Starts the tree over a ledger and a world. `gateway`, if given, is started last and supervised like
    /// every other part.
    ///
    /// # Errors
    /// [`StartError`]; failures of single parts are the supervisor's business.
    pub async fn start(
        clock: Clock,
        ledger: Ledger,
        options: Options,
        world: World,
        gateway: impl FnOnce(Coordinator) -> Option<Spec>,
    ) -> Result<Self, StartError> {
        let policy = options.restart;
        let ctx = Arc::new(Context::new(clock, ledger, options, world));
        let mut children = vec![
            (Part::Stalls, stalls(&ctx)),
            (Part::Machines, machines(&ctx)),
            (Part::Shows, shows(&ctx)),
            (
                Part::Executions,
                part(&ctx, |ctx, root| {
                    Box::pin(spawn(ExecutionsActor::default(), ctx, root))
                }),
            ),
            (
                Part::Pool,
                part(&ctx, |ctx, root| Box::pin(spawn(PoolActor::default(), ctx, root))),
            ),
            (
                Part::Cloud,
                part(&ctx, |ctx, root| {
                    Box::pin(spawn(CloudActor::default(), ctx, root))
                }),
            ),
        ];
        if let Some(spec) = gateway(Coordinator::new(Arc::clone(&ctx))) {
            children.push((Part::Gateway, spec));
        }
        for (part, spec) in &mut children {
            spec.tally = Tally::new(&ctx.metrics, part.as_str());
        }
        let arguments = Arguments {
            policy,
            clock,
            children,
        };
        let root = supervisor::spawn(arguments, None)
            .await
            .map_err(|error| StartError(error.to_string()))?;
        Ok(Self {
            ctx,
            root: root.get_cell(),
        })
    }

    /// The handle to the tree.
    #[must_use]
    pub fn coordinator(&self) -> Coordinator {
        Coordinator::new(Arc::clone(&self.ctx))
    }

    /// Whether the root is there. Nobody starts it again: without it nothing is, and the process is to end.
    #[must_use]
    pub fn is_standing(&self) -> bool {
        self.root.get_status() == ActorStatus::Running
    }

    /// Kills every actor at once, as the end of the process would, and leaves the ledger as it is. What they had begun
    /// outside may go on: for simulations, whose ledger and world end with it.
    pub fn kill(self) {
        supervisor::kill(&self.root);
    }

    /// Takes the tree down in order: no new commands, commits in flight finish, the ledger is closed.
    ///
    /// # Errors
    /// [`CloseError`] if the ledger could not be closed properly; what was acknowledged is safe all the same.
    pub async fn stop(self) -> Result<(), CloseError> {
        self.ctx.stopping.store(true, Ordering::Release);
        let message = "the coordinator is shutting down; shows stay on air".to_owned();
        self.ctx.news.tell(Item::ShuttingDown {
            at: self.ctx.now(),
            message,
        });
        // Children of a stopping ractor supervisor are killed; none of ours has anything to lose by that.
        if self.root.stop_and_wait(None, Some(STOP)).await.is_err() {
            self.root.kill();
        }
        self.ctx.ledger.close().await
    }
}

type StartPart = fn(Arc<Context>, ActorCell) -> BoxFuture<'static, Result<ActorCell, ractor::SpawnErr>>;

fn part(ctx: &Arc<Context>, start: StartPart) -> Spec {
    let ctx = Arc::clone(ctx);
    Spec {
        restart: Restart::Permanent,
        start: Arc::new(move |root| start(Arc::clone(&ctx), root)),
        on_give_up: None,
        tally: None,
    }
}

async fn spawn<A>(actor: A, ctx: Arc<Context>, root: ActorCell) -> Result<ActorCell, ractor::SpawnErr>
where
    A: Actor<Arguments = Arc<Context>>,
{
    let (actor, _) = Actor::spawn_linked(None, actor, ctx, root).await?;
    Ok(actor.get_cell())
}

fn stalls(ctx: &Arc<Context>) -> Spec {
    let ctx = Arc::clone(ctx);
    task::spec(Restart::Permanent, move || Arc::clone(&ctx).look_for_stalls())
}

fn machines(ctx: &Arc<Context>) -> Spec {
    part(ctx, |ctx, root| {
        Box::pin(async move {
            ctx.settled().await;
            let known: Vec<_> = ctx
                .state()
                .vms()
                .map(|vm| (vm.id.clone(), vm::spec(&ctx, &vm.id)))
                .collect();
            let arguments = Arguments {
                policy: ctx.options.restart,
                clock: ctx.clock,
                children: known,
            };
            let actor = supervisor::spawn(arguments, Some(root)).await?;
            ctx.machines.supervised_by(actor.clone());
            Ok(actor.get_cell())
        })
    })
}

fn shows(ctx: &Arc<Context>) -> Spec {
    part(ctx, |ctx, root| {
        Box::pin(async move {
            ctx.settled().await;
            let placed: Vec<_> = ctx
                .state()
                .placed_shows()
                .map(|show| (show.id.clone(), show::spec(&ctx, &show.id)))
                .collect();
            let arguments = Arguments {
                policy: ctx.options.restart,
                clock: ctx.clock,
                children: placed,
            };
            let actor = supervisor::spawn(arguments, Some(root)).await?;
            ctx.shows.supervised_by(actor.clone());
            Ok(actor.get_cell())
        })
    })
}
