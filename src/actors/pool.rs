//! The pool actor: the only allocator.
//!
//! It answers reservations from the ledger's state and its own short-lived promises, and never waits: whoever
//! got a reservation makes it durable, and a promise that is not kept runs out. On every change it brings the
//! pool to its warm target and lets surplus VMs rest; VMs with a show are none of its business.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, RpcReplyPort};

use super::context::Context;
use super::mailbox::{ActorRef, Backlog, Directory, Letter, NoAnswer, Waiting, answer};
use super::news::Item;
use super::span;
use crate::domain::ids::{ShowId, VmId};
use crate::domain::placement::Wish;
use crate::domain::pool::{self, Allocation, Denied, Reservations};
use crate::domain::time::Timestamp;
use crate::domain::vm::{Power, Status};

/// How long a promise holds: a reservation becomes durable within milliseconds, or its show has died.
const PROMISE: Duration = Duration::from_secs(5);
/// How long a start or stop that was ordered may take to show in the ledger before it is ordered again.
const ORDER: Duration = Duration::from_secs(5);
/// The pool looks at itself this often even if nothing seems to happen: idle VMs age silently.
const TICK: Duration = Duration::from_secs(1);
/// Limit on a reservation.
const RESERVE: Duration = Duration::from_secs(2);

pub enum Message {
    Reserve {
        show: ShowId,
        wish: Wish,
        reply: RpcReplyPort<Result<Allocation, Denied>>,
    },
    Cancel {
        show: ShowId,
        vm: VmId,
    },
    /// Something changed that may call for starts or stops.
    Poked,
    Tick,
}

/// Handle to the pool actor.
#[derive(Clone, Default)]
pub struct Pool {
    directory: Directory<(), Message>,
    /// Whether a poke is under way: any number of changes cost one look.
    poked: Arc<AtomicBool>,
}

impl Pool {
    pub async fn reserve(&self, show: ShowId, wish: Wish) -> Result<Result<Allocation, Denied>, NoAnswer> {
        self.directory
            .ask(&(), RESERVE, |reply| Message::Reserve { show, wish, reply })
            .await
    }

    /// Gives a promise back that will not be used.
    pub fn cancel(&self, show: &ShowId, vm: &VmId) {
        self.directory.cast(
            &(),
            Message::Cancel {
                show: show.clone(),
                vm: vm.clone(),
            },
        );
    }

    /// What waits for the actor.
    pub(super) fn backlog(&self) -> Backlog {
        self.directory.backlog()
    }

    /// Kills the actor, as a bug in it would. For drills.
    pub(super) fn kill(&self) -> bool {
        self.directory.get(&()).inspect(|actor| actor.kill()).is_some()
    }

    /// Tells the pool that something changed.
    pub fn poke(&self) {
        if !self.poked.swap(true, Ordering::AcqRel) && !self.directory.cast(&(), Message::Poked) {
            self.poked.store(false, Ordering::Release);
        }
    }
}

#[derive(Default)]
pub(super) struct PoolActor {
    waiting: Waiting,
}

pub(super) struct State {
    ctx: Arc<Context>,
    reservations: Reservations,
    /// Starts and stops asked of VM actors that do not show in the ledger yet.
    ordered: BTreeMap<VmId, Timestamp>,
}

impl Actor for PoolActor {
    type Msg = Letter<Message>;
    type State = State;
    type Arguments = Arc<Context>;

    async fn pre_start(
        &self,
        me: ractor::ActorRef<Self::Msg>,
        ctx: Arc<Context>,
    ) -> Result<State, ActorProcessingErr> {
        let me = ActorRef::new(me, &self.waiting);
        ctx.pool.poked.store(false, Ordering::Release);
        ctx.pool.directory.publish((), me.clone());
        let _ = me.cast(Message::Tick);
        Ok(State {
            ctx,
            reservations: Reservations::default(),
            ordered: BTreeMap::new(),
        })
    }

    async fn handle(
        &self,
        me: ractor::ActorRef<Self::Msg>,
        letter: Self::Msg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let (me, message) = (ActorRef::new(me, &self.waiting), letter.open());
        span::of_pool().in_scope(|| state.receive(&me, message));
        Ok(())
    }
}

impl State {
    fn receive(&mut self, me: &ActorRef<Message>, message: Message) {
        match message {
            Message::Reserve { show, wish, reply } => {
                if !reply.is_closed() {
                    let result = self.reserve(&show, &wish);
                    answer(reply, result);
                }
            }
            Message::Cancel { show, vm } => self.reservations.cancel(&vm, &show),
            Message::Poked => {
                self.ctx.pool.poked.store(false, Ordering::Release);
                self.look_after();
            }
            Message::Tick => {
                self.look_after();
                me.send_after(TICK, || Message::Tick);
            }
        }
    }

    fn reserve(&mut self, show: &ShowId, wish: &Wish) -> Result<Allocation, Denied> {
        let (now, ledger) = (self.ctx.now(), self.ctx.state());
        self.reservations.settle(&ledger, now);
        let settings = self.ctx.settings();
        let proven = |vm: &VmId| self.ctx.board.proven_at(vm);
        let allocation = pool::allocate(&ledger, &self.reservations, wish, &settings, &proven, now)?;
        tracing::debug!(%show, vm = %allocation.vm(), "promised");
        if let Some(vm) = ledger.vm(allocation.vm()) {
            self.reservations.reserve(vm, show.clone(), now + PROMISE);
        }
        // One fewer to spare: the warm target may call for a start.
        self.ctx.pool.poke();
        Ok(allocation)
    }

    fn look_after(&mut self) {
        if self.ctx.is_stopping() || !self.ctx.initialized.load(Ordering::Acquire) {
            return;
        }
        let (now, ledger, settings) = (self.ctx.now(), self.ctx.state(), self.ctx.settings());
        self.reservations.settle(&ledger, now);
        self.ordered.retain(|id, until| {
            *until > now
                && ledger.vm(id).is_some_and(|vm| {
                    vm.is_free() && (vm.power == Power::Stopped || vm.status() == Status::Available)
                })
        });
        let starting = |id: &VmId| ledger.vm(id).is_some_and(|vm| vm.power == Power::Stopped);
        let in_flight = self.ordered.keys().filter(|id| starting(id)).count();
        let wanted = pool::replenish(&ledger, &self.reservations, &settings, now);
        let missing = wanted.len().saturating_sub(in_flight);
        let starts: Vec<VmId> = wanted
            .into_iter()
            .filter(|id| !self.ordered.contains_key(id))
            .take(missing)
            .collect();
        if !starts.is_empty() {
            self.start(&starts, ledger.count(Status::Available), settings.warm_count, now);
        }
        for vm in pool::retire(&ledger, &self.reservations, &settings, now) {
            if !self.ordered.contains_key(&vm) && self.ctx.machines.stop_soon(&vm) {
                tracing::info!(%vm, "stopping a VM that was idle above the warm target");
                self.ordered.insert(vm, now + ORDER);
            }
        }
    }

    fn start(&mut self, vms: &[VmId], warm_before: usize, warm_target: u32, now: Timestamp) {
        let mut results = Vec::with_capacity(vms.len());
        for vm in vms {
            let reached = self.ctx.machines.start_soon(vm);
            self.ordered.insert(vm.clone(), now + ORDER);
            let result = if reached {
                Ok(())
            } else {
                Err("its actor is being restarted".to_owned())
            };
            results.push((vm.clone(), result));
        }
        tracing::info!(
            ?vms,
            warm_before,
            warm_target,
            "starting VMs to reach the warm target"
        );
        self.ctx.news.tell(Item::Replenished {
            warm_before,
            warm_target,
            results,
        });
    }
}
