//! How others reach a show: by its id, starting its actor if it has none.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use ractor::{Actor, RpcReplyPort};

use super::{Arguments, Message, ShowActor};
use crate::actors::context::Context;
use crate::actors::coordinator::CommandError;
use crate::actors::mailbox::{ActorRef, Backlog, Directory, NoAnswer};
use crate::actors::supervisor::{self, Spec, Tally};
use crate::domain::ids::ShowId;
use crate::domain::restart::Restart;

/// Limit on starting a show's actor.
const SPAWN: Duration = Duration::from_secs(2);

/// Every show actor, and their supervisor.
#[derive(Clone, Default)]
pub struct Shows {
    directory: Directory<ShowId, Message>,
    supervisor: Directory<(), supervisor::Message<ShowId>>,
}

impl Shows {
    pub(super) fn publish(&self, id: ShowId, actor: ActorRef<Message>) {
        self.directory.publish(id, actor);
    }

    pub(super) fn withdraw(&self, id: &ShowId, actor: &ActorRef<Message>) {
        self.directory.withdraw(id, actor);
    }

    pub(crate) fn supervised_by(&self, supervisor: ActorRef<supervisor::Message<ShowId>>) {
        self.supervisor.publish((), supervisor);
    }

    /// What waits for the shows' actors.
    pub(crate) fn backlog(&self) -> Backlog {
        self.directory.backlog()
    }

    /// What waits for their supervisor.
    pub(crate) fn supervisor_backlog(&self) -> Backlog {
        self.supervisor.backlog()
    }

    /// Kills a show's actor, as a bug in it would. For drills.
    pub(crate) fn kill(&self, show: &ShowId) -> bool {
        self.directory.get(show).inspect(|actor| actor.kill()).is_some()
    }

    /// Kills the supervisor, and with it every show's actor. For drills.
    pub(crate) fn kill_all(&self) -> bool {
        let supervisor = self.supervisor.get(&());
        supervisor.inspect(|actor| supervisor::kill(actor)).is_some()
    }

    /// Whether the show has an actor that accepts messages.
    pub(crate) fn is_up(&self, show: &ShowId) -> bool {
        self.directory
            .get(show)
            .is_some_and(|actor| actor.get_status() == ractor::ActorStatus::Running)
    }

    /// Sends without waiting; a show whose actor is being restarted reads the ledger when it is back.
    pub(crate) fn tell(&self, show: &ShowId, message: Message) {
        self.directory.cast(show, message);
    }

    /// Gives a show a command.
    ///
    /// # Errors
    /// What the show answers; [`CommandError::Restarting`] if its actor is down;
    /// [`CommandError::TimedOut`] if there was no answer within `limit`.
    pub(crate) async fn command<R: Send + 'static>(
        &self,
        ctx: &Arc<Context>,
        show: &ShowId,
        what: &'static str,
        limit: Duration,
        message: impl Fn(RpcReplyPort<Result<R, CommandError>>) -> Message,
    ) -> Result<R, CommandError> {
        // An actor that has just ended for want of work is started anew, once.
        for _ in 0..2 {
            self.ensure(ctx, show).await?;
            match self.directory.ask(show, limit, &message).await {
                Ok(answer) => return answer,
                Err(NoAnswer::TimedOut) => return Err(CommandError::TimedOut { what, limit }),
                Err(NoAnswer::Down) => {}
            }
        }
        Err(CommandError::Restarting {
            subject: format!("show {show}"),
        })
    }

    async fn ensure(&self, ctx: &Arc<Context>, show: &ShowId) -> Result<(), CommandError> {
        if self.is_up(show) {
            return Ok(());
        }
        let spec = spec(ctx, show);
        let key = show.clone();
        let started = self
            .supervisor
            .ask(&(), SPAWN, |reply| supervisor::Message::Start {
                key,
                spec,
                reply: Some(reply),
            })
            .await;
        started.map_err(|_| CommandError::Restarting {
            subject: format!("show {show}"),
        })
    }
}

/// How a show's actor is started. It ends by itself when the show has no VM for a while.
pub fn spec(ctx: &Arc<Context>, id: &ShowId) -> Spec {
    let arguments = Arguments {
        ctx: Arc::clone(ctx),
        id: id.clone(),
        is_successor: false,
    };
    let started = AtomicBool::new(false);
    let start = move |supervisor: ractor::ActorCell| {
        let arguments = Arguments {
            is_successor: started.swap(true, Ordering::Relaxed),
            ..arguments.clone()
        };
        let spawned = async move {
            let (actor, _) = Actor::spawn_linked(None, ShowActor::default(), arguments, supervisor).await?;
            Ok(actor.get_cell())
        };
        Box::pin(spawned) as BoxFuture<'static, _>
    };
    let tally = Tally::new(&ctx.metrics, "show");
    let (ctx, id) = (Arc::clone(ctx), id.clone());
    let on_give_up = move |reason: &str| {
        let source = format!("show-actor-{id}");
        let message = format!("the actor of show {id} keeps failing and is left alone for a while: {reason}");
        ctx.alert(
            crate::actors::news::Level::Critical,
            source,
            "Show cannot be supervised",
            message,
            Some(&id),
            None,
        );
    };
    Spec {
        restart: Restart::Transient,
        start: Arc::new(start),
        on_give_up: Some(Arc::new(on_give_up)),
        tally,
    }
}
