//! What the VM is for now: being given to a show, watched at the right pace, and its show server told.

use std::sync::Arc;

use ractor::RpcReplyPort;

use super::link::{GRACE, Order, Pace, Target};
use super::{Message, State, VmError};
use crate::actors::coordinator::Checked;
use crate::actors::mailbox::ActorRef;
use crate::actors::task;
use crate::domain::event::Event;
use crate::domain::ids::{Epoch, RequestKey, ShowId};
use crate::domain::show::{self, Phase};
use crate::domain::state::State as LedgerState;
use crate::domain::vm::{self, Occupancy, Power, Status, Vm};
use crate::infra::probe;

impl State {
    pub(super) async fn assign(
        &mut self,
        show: ShowId,
        epoch: Epoch,
        by: Option<String>,
        key: Option<RequestKey>,
    ) -> Result<Arc<LedgerState>, VmError> {
        if let Some(vm) = self.vm()
            && vm.status() == Status::Releasing
        {
            // The ledger would take it: older journals know nothing of cleaning.
            return Err(VmError::WrongStatus {
                status: vm.status(),
                advice: "it is being cleaned of what a show left on it",
            });
        }
        let event = show::Event::Assigned {
            vm: self.id.clone(),
            epoch,
            by,
            key,
        };
        let committed = self.ctx.commit(vec![Event::show(&show, event)]).await;
        let committed = committed.inspect_err(|error| self.look_again_if_undecided(error))?;
        tracing::debug!(%show, epoch = epoch.0, "given to the show");
        if let Some(vm) = committed.state.vm(&self.id) {
            self.send_order(vm);
        }
        Ok(committed.state)
    }

    pub(super) async fn maintain(
        &mut self,
        enabled: bool,
        reason: Option<String>,
    ) -> Result<Status, VmError> {
        let event = if enabled {
            vm::Event::MaintenanceBegan { reason }
        } else {
            vm::Event::MaintenanceEnded
        };
        let committed = self.ctx.commit(vec![Event::vm(&self.id, event)]).await?;
        self.ctx.pool.poke();
        committed
            .state
            .vm(&self.id)
            .map(|vm| vm.status())
            .ok_or(VmError::Gone)
    }

    pub(super) async fn duty_changed(&mut self, me: &ActorRef<Message>) {
        if let Some(vm) = self.vm() {
            self.send_order(&vm);
            self.notify(me, &vm);
        }
        self.clean_if_left(me).await;
    }

    /// Tells the links whom to talk to and how often.
    pub(super) fn send_order(&self, vm: &Vm) {
        let up = matches!(vm.power, Power::Booting | Power::Ready);
        let target = self.ctx.ip_of(&vm.instance).filter(|_| up).map(|ip| Target {
            ip,
            service_port: self.ctx.settings().service_port,
            instance: Arc::new(vm.instance.clone()),
            generation: self.generation,
        });
        let pace = self.pace(vm);
        self.order.send_if_modified(|order| {
            let next = Order {
                target,
                pace,
                nudge: order.nudge,
            };
            let changed = *order != next;
            *order = next;
            changed
        });
    }

    fn pace(&self, vm: &Vm) -> Pace {
        match (&vm.occupancy, &vm.power) {
            (Occupancy::OnAir { .. }, _) => Pace::OnAir,
            (Occupancy::Assigned { show, .. }, _) => {
                let state = self.ctx.state();
                let streams = state.show(show).is_some_and(|show| {
                    show.stream_wanted || matches!(show.phase, Phase::OnAir | Phase::FailingOver(_))
                });
                if streams { Pace::OnAir } else { Pace::Watched }
            }
            (Occupancy::Releasing { .. }, _) | (_, Power::Booting) => Pace::Watched,
            (Occupancy::Free, _) if vm.fault.is_some() || vm.is_to_be_cleaned() => Pace::Watched,
            (Occupancy::Free | Occupancy::Maintenance { .. }, _) => Pace::Idle,
        }
    }

    /// Looks at once instead of at the next interval.
    pub(super) fn nudge(&self) {
        self.order.send_modify(|order| order.nudge += 1);
    }

    /// Tells the show server which show it serves, if it was last told something else. One call at a time;
    /// what it should be told is read again when a call ends.
    fn notify(&mut self, me: &ActorRef<Message>, vm: &Vm) {
        let wanted = vm.occupancy.tenant().map(|(show, _)| show.clone());
        let told = self.notified.as_ref() == Some(&wanted);
        let nothing_to_undo = wanted.is_none() && self.notified.is_none();
        let usable = vm.power == Power::Ready && self.ctx.options.notify_show_server;
        if told || nothing_to_undo || self.notifying || !usable {
            return;
        }
        let Some(ip) = self.ctx.ip_of(&vm.instance) else {
            return;
        };
        self.notifying = true;
        let (ctx, me) = (Arc::clone(&self.ctx), me.clone());
        task::effect(async move {
            let server = std::net::SocketAddr::new(ip, ctx.settings().service_port);
            let limit = ctx.options.probe.deadline;
            let told = ctx.world.probe.activate(server, wanted.as_ref(), limit);
            match task::ended(limit + GRACE, told).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::debug!(%server, %error, "the show server was not told about its show");
                }
                Err(why) => tracing::error!(%server, %why, "the show server was not told about its show"),
            }
            let _ = me.cast(Message::Notified { show: wanted });
        });
    }

    pub(super) fn notified(&mut self, me: &ActorRef<Message>, show: Option<ShowId>) {
        self.notifying = false;
        // Best effort: what failed is not tried again, only what has changed since.
        self.notified = Some(show);
        if let Some(vm) = self.vm() {
            self.notify(me, &vm);
        }
    }

    /// A check on demand: a fresh probe, and what the links know.
    pub(super) fn check(&self, reply: RpcReplyPort<Result<Checked, VmError>>) {
        let Some(vm) = self.vm() else {
            return crate::actors::mailbox::answer(reply, Err(VmError::Gone));
        };
        self.nudge();
        let (ctx, id, reading) = (Arc::clone(&self.ctx), self.id.clone(), self.observation.reading);
        task::effect(async move {
            let up = matches!(vm.power, Power::Booting | Power::Ready);
            let server = ctx
                .ip_of(&vm.instance)
                .filter(|_| up)
                .map(|ip| std::net::SocketAddr::new(ip, ctx.settings().service_port));
            let limit = ctx.options.probe.deadline;
            let result = match server {
                Some(server) => {
                    let asked = task::ended(limit + GRACE, ctx.world.probe.status(server, limit, None)).await;
                    // A defect here: for whoever asked it is as if the server had been silent.
                    Some(asked.unwrap_or(Err(probe::Error::TimedOut(limit))))
                }
                None => None,
            };
            let node = result.as_ref().map(Result::is_ok);
            let error = match &result {
                Some(Err(error)) => Some(error.to_string()),
                None => Some(format!("the VM is {}", vm.status())),
                Some(Ok(_)) => None,
            };
            let reading = crate::domain::health::Reading { node, ..reading };
            let checked = Checked {
                vm: id,
                instance: vm.instance_id().clone(),
                health: if node.is_some() {
                    reading.level()
                } else {
                    vm.health
                },
                reading,
                response_time: result.and_then(Result::ok).map(|status| status.response_time),
                at: ctx.now(),
                error,
            };
            crate::actors::mailbox::answer(reply, Ok(checked));
        });
    }
}
