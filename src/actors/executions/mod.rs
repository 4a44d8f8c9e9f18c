//! The executions actor: who may run what on a VM now, and the record of it.
//!
//! ```text
//!              begin ──► [bounds] ──► ledger: began ──► ticket ──► a task runs it ([`run`])
//!              cancel ─────────────────────────────────► │
//!              ledger: ended ◄──────────────────────── end(ticket)
//! ```
//!
//! It runs nothing itself. Whoever does holds a [`Ticket`]: it hears through it that the execution was cancelled, and
//! gives it back with how it ended. A ticket that is dropped instead, by a panic for example, is an ending that nobody
//! knows. When this actor dies, every ticket is cancelled with it, and its successor writes down as `unknown` what the
//! ledger has as running; so does the next coordinator. No VM and no show has anything to lose by that.

mod outcome;
pub mod run;
pub mod terminal;
pub mod transfer;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, RpcReplyPort};

use super::context::Context;
use super::coordinator::CommandError;
use super::mailbox::{ActorRef, Backlog, Directory, Letter, NoAnswer, Waiting, answer};
use super::vm::commit_error;
use crate::domain::event::Event;
use crate::domain::execution::{self, Deed, Ending, ExecutionId};
use crate::domain::ids::VmId;
use crate::domain::unix::AbsolutePath;
use crate::domain::vm::{Occupancy, Power};
use crate::infra::watch;

/// Limit on being given a ticket and on giving it back: one commit each.
const QUICK: Duration = Duration::from_secs(10);
/// Before what could not be written down is tried again.
const SWEEP_AGAIN: Duration = Duration::from_secs(1);

pub enum Message {
    /// Somebody wants to run something.
    Begin {
        begin: Begin,
        reply: RpcReplyPort<Result<(ExecutionId, Cancelled), CommandError>>,
    },
    /// It is over.
    Ended {
        id: ExecutionId,
        ending: Ending,
        bytes: u64,
        reply: Option<RpcReplyPort<()>>,
    },
    /// End it; answers whether it runs.
    Cancel {
        id: ExecutionId,
        by: String,
        reply: RpcReplyPort<bool>,
    },
    /// Write down the end of what runs no more.
    Sweep,
}

/// What is to be run.
pub struct Begin {
    pub vm: VmId,
    pub by: String,
    pub deed: Deed,
    /// Why it must not run while the VM is on air, if that is so.
    pub refused_on_air: bool,
}

/// Who cancelled it, once somebody has. It closes when nobody can any more.
type Cancelled = watch::Receiver<Option<String>>;

/// Bounds on executions.
#[derive(Debug, Clone)]
pub struct ExecutionOptions {
    /// At once on one VM: beside them the connection carries liveness, OBS and files.
    pub per_vm_max: usize,
    /// At once on all VMs.
    pub total_max: usize,
    /// Terminals among them.
    pub terminals_max: usize,
    /// Kept of each output stream for whoever asked; the rest is read and counted.
    pub output_bytes_max: usize,
    /// A terminal in which nothing is typed for so long is closed.
    pub terminal_idle: Duration,
    /// Whether callers may run command lines of their own.
    pub allow_free_commands: bool,
    /// Folders on a VM below which files may be moved.
    pub file_roots: Vec<AbsolutePath>,
    /// Most bytes of a file that is put on a VM.
    pub upload_bytes_max: u64,
    /// A transfer in which nothing moves for so long is given up.
    pub transfer_stall: Duration,
}

/// Handle to the executions actor.
#[derive(Clone, Default)]
pub struct Executions {
    directory: Directory<(), Message>,
}

impl Executions {
    pub(super) async fn begin(&self, begin: Begin) -> Result<Ticket, CommandError> {
        let asked = self
            .directory
            .ask(&(), QUICK, |reply| Message::Begin { begin, reply })
            .await;
        let (id, cancelled) = asked.unwrap_or_else(|no_answer| Err(unanswered(no_answer)))?;
        Ok(Ticket {
            id,
            cancelled,
            executions: Some(self.clone()),
        })
    }

    /// Whether it was running.
    pub(super) async fn cancel(&self, id: ExecutionId, by: String) -> Result<bool, CommandError> {
        let asked = self
            .directory
            .ask(&(), QUICK, |reply| Message::Cancel { id, by, reply })
            .await;
        asked.map_err(unanswered)
    }

    /// What waits for the actor.
    pub(super) fn backlog(&self) -> Backlog {
        self.directory.backlog()
    }

    /// Kills the actor, as a bug in it would. For drills.
    pub(super) fn kill(&self) -> bool {
        self.directory.get(&()).inspect(|actor| actor.kill()).is_some()
    }

    fn sweep(&self) {
        self.directory.cast(&(), Message::Sweep);
    }
}

fn unanswered(no_answer: NoAnswer) -> CommandError {
    match no_answer {
        NoAnswer::Down => CommandError::Restarting {
            subject: "executions".to_owned(),
        },
        NoAnswer::TimedOut => CommandError::TimedOut {
            what: "writing down the execution",
            limit: QUICK,
        },
    }
}

/// The right to run one thing, and the duty to say how it ended.
pub struct Ticket {
    id: ExecutionId,
    cancelled: Cancelled,
    /// Until it has been given back.
    executions: Option<Executions>,
}

impl Ticket {
    #[must_use]
    pub fn id(&self) -> ExecutionId {
        self.id
    }

    /// Returns once it was cancelled, with who did that.
    pub async fn cancelled(&mut self) -> String {
        match self.cancelled.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(by)) => by.clone(),
            Ok(None) | Err(_) => "the coordinator".to_owned(),
        }
    }

    /// Gives it back; returns once that is written down, or could not be.
    pub async fn end(mut self, ending: Ending, bytes: u64) {
        let Some(executions) = self.executions.take() else {
            return;
        };
        let id = self.id;
        let told = executions.directory.ask(&(), QUICK, |reply| Message::Ended {
            id,
            ending,
            bytes,
            reply: Some(reply),
        });
        if let Err(error) = told.await {
            tracing::warn!(execution = %id, ?error, "the end of an execution was not written down in time");
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(executions) = self.executions.take() {
            let message = Message::Ended {
                id: self.id,
                ending: Ending::Unknown,
                bytes: 0,
                reply: None,
            };
            // With nobody there, the successor finds it running in the ledger.
            executions.directory.cast(&(), message);
        }
    }
}

#[derive(Default)]
pub(super) struct ExecutionsActor {
    waiting: Waiting,
}

pub(super) struct State {
    ctx: Arc<Context>,
    running: BTreeMap<ExecutionId, Running>,
}

struct Running {
    vm: VmId,
    is_terminal: bool,
    cancel: watch::Sender<Option<String>>,
}

impl Actor for ExecutionsActor {
    type Msg = Letter<Message>;
    type State = State;
    type Arguments = Arc<Context>;

    async fn pre_start(
        &self,
        me: ractor::ActorRef<Self::Msg>,
        ctx: Arc<Context>,
    ) -> Result<State, ActorProcessingErr> {
        let me = ActorRef::new(me, &self.waiting);
        ctx.settled().await;
        ctx.executions.directory.publish((), me.clone());
        let _ = me.cast(Message::Sweep);
        Ok(State {
            ctx,
            running: BTreeMap::new(),
        })
    }

    async fn handle(
        &self,
        me: ractor::ActorRef<Self::Msg>,
        letter: Self::Msg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let (me, message) = (ActorRef::new(me, &self.waiting), letter.open());
        match message {
            Message::Begin { begin, reply } => {
                if !reply.is_closed() {
                    let begun = state.begin(begin).await;
                    let begun_id = begun.as_ref().ok().map(|(id, _)| *id);
                    if let (Err(_), Some(id)) = (reply.send(begun), begun_id) {
                        // Whoever asked has gone: nothing was run.
                        let reason = "nobody waited for it any more".to_owned();
                        state.end(id, Ending::NotStarted { reason }, 0).await;
                    }
                }
            }
            Message::Ended {
                id,
                ending,
                bytes,
                reply,
            } => {
                state.end(id, ending, bytes).await;
                if let Some(reply) = reply {
                    answer(reply, ());
                }
            }
            Message::Cancel { id, by, reply } => {
                let running = state.running.get(&id);
                let runs = running.is_some_and(|running| {
                    tracing::info!(execution = %id, vm = %running.vm, by, "cancelling an execution");
                    running.cancel.send_if_modified(|cancelled| {
                        let first = cancelled.is_none();
                        cancelled.get_or_insert(by);
                        first
                    });
                    true
                });
                answer(reply, runs);
            }
            Message::Sweep => state.sweep(&me).await,
        }
        Ok(())
    }
}

impl State {
    async fn begin(&mut self, begin: Begin) -> Result<(ExecutionId, Cancelled), CommandError> {
        let Begin {
            vm,
            by,
            deed,
            refused_on_air,
        } = begin;
        let state = self.ctx.state();
        let known = state.vm(&vm).ok_or_else(|| CommandError::UnknownVm(vm.clone()))?;
        if !matches!(known.power, Power::Ready | Power::Booting) {
            return Err(CommandError::WrongStatus {
                vm,
                status: known.status(),
                advice: "only on a running VM can something be run",
            });
        }
        if refused_on_air && matches!(known.occupancy, Occupancy::OnAir { .. }) {
            return Err(CommandError::WrongStatus {
                vm,
                status: known.status(),
                advice: "this is not done while it is on air",
            });
        }
        let is_terminal = matches!(deed, Deed::Terminal);
        self.admit(&vm, is_terminal)?;
        let (id, what) = (state.executions().next_id(), name(&deed));
        let event = execution::Event::Began {
            vm: vm.clone(),
            by: by.clone(),
            deed,
        };
        let committed = self.ctx.commit(vec![Event::execution(id, event)]).await;
        if let Err(error) = committed {
            self.ctx.once_decided(&error, |ctx| ctx.executions.sweep());
            return Err(commit_error(error));
        }
        tracing::info!(execution = %id, %vm, by, what, "an execution begins");
        let (cancel, cancelled) = watch::channel(None);
        let running = Running {
            vm,
            is_terminal,
            cancel,
        };
        self.running.insert(id, running);
        Ok((id, cancelled))
    }

    fn admit(&self, vm: &VmId, is_terminal: bool) -> Result<(), CommandError> {
        let options = &self.ctx.options.executions;
        let on_vm = self.running.values().filter(|running| running.vm == *vm).count();
        let terminals = self
            .running
            .values()
            .filter(|running| running.is_terminal)
            .count();
        let full = |what: &str, max: usize| {
            Err(CommandError::TooManyExecutions {
                what: what.to_owned(),
                max,
            })
        };
        if on_vm >= options.per_vm_max {
            return full(&format!("on VM {vm}"), options.per_vm_max);
        }
        if self.running.len() >= options.total_max {
            return full("on all VMs", options.total_max);
        }
        if is_terminal && terminals >= options.terminals_max {
            return full("in terminals", options.terminals_max);
        }
        Ok(())
    }

    async fn end(&mut self, id: ExecutionId, ending: Ending, bytes: u64) {
        let Some(running) = self.running.remove(&id) else {
            return;
        };
        tracing::info!(execution = %id, vm = %running.vm, ?ending, bytes, "an execution has ended");
        let event = execution::Event::Ended { ending, bytes };
        if let Err(error) = self.ctx.commit(vec![Event::execution(id, event)]).await {
            tracing::error!(execution = %id, %error, "how an execution ended could not be written down");
            self.ctx.once_decided(&error, |ctx| ctx.executions.sweep());
        }
    }

    /// What runs according to the ledger and nobody has a ticket for ended unseen.
    async fn sweep(&mut self, me: &ActorRef<Message>) {
        let state = self.ctx.state();
        let unseen = state.executions().running().map(|execution| execution.id);
        let events: Vec<Event> = unseen
            .filter(|id| !self.running.contains_key(id))
            .map(|id| {
                let (ending, bytes) = (Ending::Unknown, 0);
                Event::execution(id, execution::Event::Ended { ending, bytes })
            })
            .collect();
        if events.is_empty() {
            return;
        }
        tracing::warn!(count = events.len(), "how these executions ended is not known");
        if let Err(error) = self.ctx.commit(events).await {
            tracing::warn!(%error, "this could not be written down; it is tried again");
            me.send_after(SWEEP_AGAIN, || Message::Sweep);
        }
    }
}

/// What is said of it in the log: the words of a free command may hold a secret.
fn name(deed: &Deed) -> String {
    match deed {
        Deed::Operation { id, .. } => id.to_string(),
        Deed::Command { .. } => "a command".to_owned(),
        Deed::Terminal => "a terminal".to_owned(),
        Deed::Upload { .. } => "an upload".to_owned(),
        Deed::Download { .. } => "a download".to_owned(),
        Deed::List { .. } => "a look into a folder".to_owned(),
    }
}
