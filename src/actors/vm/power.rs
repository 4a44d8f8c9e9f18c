//! Power: what is asked of the cloud, and what happens when that does not come to an end.

use std::sync::Arc;

use ractor::RpcReplyPort;

use super::{Message, POWER_RETRY_AFTER, State, VmError};
use crate::actors::coordinator::PowerTurned;
use crate::actors::mailbox::{ActorRef, answer};
use crate::actors::news::Level;
use crate::actors::{show, task};
use crate::domain::failover::verdict::Signals;
use crate::domain::ids::{Attempt, InstanceId, VmId};
use crate::domain::instance::{InstanceState, PowerChange};
use crate::domain::time::Timestamp;
use crate::domain::vm::{self, Occupancy, Power, Status, Vm};
use crate::infra::cloud::{Error as CloudError, ErrorKind, StateChange};

/// Why a VM is in maintenance while its termination is asked for.
const BEING_TERMINATED: &str = "being terminated";

type Reply = RpcReplyPort<Result<PowerTurned, VmError>>;

impl State {
    pub(super) async fn start(&mut self, me: &ActorRef<Message>, reply: Option<Reply>) {
        let result = self.begin_start(me).await;
        match (result, reply) {
            (Ok((vm, attempt)), reply) => self.call_cloud(me, &vm, attempt, PowerChange::Start, reply),
            (Err(error), Some(port)) => answer(port, Err(error)),
            (Err(error), None) => tracing::debug!(vm = %self.id, %error, "not started"),
        }
    }

    async fn begin_start(&mut self, me: &ActorRef<Message>) -> Result<(Arc<Vm>, Attempt), VmError> {
        let vm = self.vm().ok_or(VmError::Gone)?;
        if vm.power != Power::Stopped || !matches!(vm.status(), Status::Stopped | Status::Error) {
            return Err(VmError::WrongStatus {
                status: vm.status(),
                advice: "only a stopped VM can be started",
            });
        }
        let attempt = vm.attempts.next();
        self.try_commit(vec![vm::Event::Starting { attempt }]).await?;
        self.start_accepted_at = None;
        self.forget_machine();
        self.tell_signals(&vm);
        self.ctx
            .after_running(self.ctx.options.start_timeout, me, move || {
                Message::PowerOverdue { attempt }
            });
        Ok((vm, attempt))
    }

    pub(super) async fn stop(&mut self, me: &ActorRef<Message>, reply: Option<Reply>) {
        let result = self.begin_stop(me, false).await;
        match (result, reply) {
            (Ok((vm, attempt)), reply) => self.call_cloud(me, &vm, attempt, PowerChange::Stop, reply),
            (Err(error), Some(port)) => answer(port, Err(error)),
            (Err(error), None) => tracing::debug!(vm = %self.id, %error, "not stopped"),
        }
    }

    pub(super) async fn begin_stop(
        &mut self,
        me: &ActorRef<Message>,
        of_show: bool,
    ) -> Result<(Arc<Vm>, Attempt), VmError> {
        let vm = self.vm().ok_or(VmError::Gone)?;
        if !of_show {
            if let Some((show, _)) = vm.occupancy.tenant() {
                return Err(VmError::Occupied { show: show.clone() });
            }
            if !matches!(
                vm.status(),
                Status::Available | Status::Error | Status::Maintenance
            ) {
                let advice = "only an available VM, or one in error or maintenance, can be stopped";
                return Err(VmError::WrongStatus {
                    status: vm.status(),
                    advice,
                });
            }
        }
        let attempt = vm.attempts.next();
        self.try_commit(vec![vm::Event::Stopping { attempt }]).await?;
        self.forget_machine();
        self.await_stopped(me, attempt);
        Ok((vm, attempt))
    }

    /// The caller waits; the VM leaves the pool when the cloud says that it is gone.
    pub(super) async fn terminate(&mut self, me: &ActorRef<Message>, reply: Reply) {
        let Some(vm) = self.vm() else {
            return answer(reply, Err(VmError::Gone));
        };
        if let Some((show, _)) = vm.occupancy.tenant() {
            return answer(reply, Err(VmError::Occupied { show: show.clone() }));
        }
        if vm.is_free() {
            let reason = Some(BEING_TERMINATED.to_owned());
            if let Err(error) = self
                .try_commit(vec![vm::Event::MaintenanceBegan { reason }])
                .await
            {
                return answer(reply, Err(error));
            }
        }
        let (ctx, me, id) = (Arc::clone(&self.ctx), me.clone(), self.id.clone());
        task::effect(async move {
            let instance = vm.instance_id().clone();
            match ctx.world.cloud.change(&instance, PowerChange::Terminate).await {
                // Answered here: a look that already shows it gone may end this actor before the cloud has answered.
                Ok(change) => answer(reply, Ok(turned(id, instance, change, None))),
                Err(error) => {
                    let _ = me.cast(Message::TerminationRefused { error, reply });
                }
            }
            ctx.cloud.look_now();
        });
    }

    /// A termination that was refused leaves the VM as it was. What the cloud does all the same, the next look
    /// shows.
    pub(super) async fn termination_refused(&mut self, error: CloudError, reply: Reply) {
        let reason = Some(BEING_TERMINATED.to_owned());
        let set_aside = Occupancy::Maintenance { reason };
        if self.vm().is_some_and(|vm| vm.occupancy == set_aside) {
            self.commit(vec![vm::Event::MaintenanceEnded]).await;
            self.ctx.pool.poke();
        }
        answer(reply, Err(VmError::Cloud(error)));
    }

    fn call_cloud(
        &self,
        me: &ActorRef<Message>,
        vm: &Vm,
        attempt: Attempt,
        change: PowerChange,
        reply: Option<Reply>,
    ) {
        let (ctx, me, id, instance) = (
            Arc::clone(&self.ctx),
            me.clone(),
            self.id.clone(),
            Self::instance_id(vm),
        );
        task::effect(async move {
            let result = ctx.world.cloud.change(&instance, change).await;
            let _ = me.cast(Message::PowerCalled {
                attempt,
                change,
                result: result.clone(),
            });
            if let Some(port) = reply {
                let ready_at = (change == PowerChange::Start).then(|| ctx.now() + ctx.settings().warmup_time);
                let result = result.map(|change| turned(id, instance, change, ready_at));
                answer(port, result.map_err(VmError::Cloud));
            }
            ctx.cloud.look_now();
        });
    }

    /// After this actor's own restart: calls are repeated, since all of them are idempotent.
    pub(super) fn resume_power(&mut self, me: &ActorRef<Message>, vm: &Vm) {
        match vm.power {
            Power::Starting { attempt } => {
                self.call_cloud(me, vm, attempt, PowerChange::Start, None);
                self.ctx
                    .after_running(self.ctx.options.start_timeout, me, move || {
                        Message::PowerOverdue { attempt }
                    });
            }
            Power::Stopping { attempt } => {
                self.call_cloud(me, vm, attempt, PowerChange::Stop, None);
                self.await_stopped(me, attempt);
            }
            Power::Booting => self.await_ready(me),
            Power::Stopped | Power::Ready => {}
        }
    }

    pub(super) async fn power_called(
        &mut self,
        me: &ActorRef<Message>,
        attempt: Attempt,
        change: PowerChange,
        result: Result<StateChange, CloudError>,
    ) {
        let Some(vm) = self.vm() else { return };
        let current = match vm.power {
            Power::Starting { attempt } | Power::Stopping { attempt } => attempt == vm.attempts,
            Power::Stopped | Power::Booting | Power::Ready => false,
        };
        if !current || attempt != vm.attempts {
            return;
        }
        match (change, result) {
            (PowerChange::ForceStop, Ok(change)) if change.current.is_off() => {
                self.commit(vec![vm::Event::Stopped]).await;
                self.after_power(me, &vm).await;
            }
            (PowerChange::Start, Ok(_)) => {
                self.start_accepted_at.get_or_insert(self.ctx.now());
            }
            (_, Ok(_)) | (PowerChange::Reboot | PowerChange::Terminate, Err(_)) => {}
            (PowerChange::Start, Err(error)) => self.start_failed(me, &vm, attempt, &error).await,
            (PowerChange::Stop | PowerChange::ForceStop, Err(error)) if may_go_down(&vm, &error) => {
                tracing::warn!(vm = %self.id, %error, "it may be stopping; nobody's until the cloud says which");
            }
            (PowerChange::Stop | PowerChange::ForceStop, Err(error)) => {
                let reason = format!("it could not be stopped: {error}");
                self.stop_failed(me, &vm, reason).await;
            }
        }
    }

    async fn start_failed(&mut self, me: &ActorRef<Message>, vm: &Vm, attempt: Attempt, error: &CloudError) {
        if error.kind.is_retryable() && error.kind != ErrorKind::NoCapacity {
            task::send_later(me, POWER_RETRY_AFTER, move || Message::PowerRetry { attempt });
            return;
        }
        self.fail_start(vm, format!("it could not be started: {error}"), true)
            .await;
    }

    /// The VM did not come up. Whoever waits for it must look for another.
    async fn fail_start(&mut self, vm: &Vm, reason: String, stopped: bool) {
        let mut events = Vec::new();
        if stopped {
            events.push(vm::Event::Stopped);
        }
        events.push(vm::Event::Faulted {
            reason: reason.clone(),
        });
        if self.commit(events).await {
            let show = vm.occupancy.tenant().map(|(show, _)| show);
            let level = if show.is_some() {
                Level::Critical
            } else {
                Level::Warning
            };
            let source = format!("vm-start-failed-{}", self.id);
            self.ctx.alert(
                level,
                source,
                "VM did not start",
                format!("{}: {reason}", self.id),
                show,
                Some(&self.id),
            );
            self.tell_show(vm, |vm| show::Message::VmFailed { vm, reason });
            self.ctx.pool.poke();
        }
    }

    pub(super) fn power_retry(&self, me: &ActorRef<Message>, attempt: Attempt) {
        if let Some(vm) = self.vm()
            && vm.power == (Power::Starting { attempt })
        {
            self.call_cloud(me, &vm, attempt, PowerChange::Start, None);
        }
    }

    pub(super) async fn power_overdue(&mut self, me: &ActorRef<Message>, attempt: Attempt) {
        let Some(vm) = self.vm() else { return };
        if vm.power == (Power::Starting { attempt }) {
            let limit = self.ctx.options.start_timeout.as_secs();
            self.fail_start(
                &vm,
                format!("the cloud did not say running within {limit} s"),
                false,
            )
            .await;
        } else if vm.power == (Power::Stopping { attempt }) {
            self.stop_overdue(me, &vm, attempt).await;
        }
    }

    /// Gives the cloud a limited time to say that it is off.
    pub(super) fn await_stopped(&self, me: &ActorRef<Message>, attempt: Attempt) {
        self.ctx
            .after_running(self.ctx.options.stop_timeout, me, move || Message::PowerOverdue {
                attempt,
            });
    }

    /// By the cloud's last word it may still go down: until that is another one, whatever answers there is nobody's.
    async fn stop_overdue(&mut self, me: &ActorRef<Message>, vm: &Vm, attempt: Attempt) {
        let limit = self.ctx.options.stop_timeout;
        let reason = format!("the cloud did not say stopped within {} s", limit.as_secs());
        if vm.instance.state != InstanceState::Stopping {
            return self.stop_failed(me, vm, reason).await;
        }
        if vm.fault.as_ref().is_none_or(|fault| fault.reason != reason) {
            self.commit(vec![vm::Event::Faulted { reason }]).await;
        }
        self.ctx
            .after_running(limit, me, move || Message::PowerOverdue { attempt });
    }

    /// The machine still runs: its links call it again, and it is ready once it has proven itself.
    async fn stop_failed(&mut self, me: &ActorRef<Message>, vm: &Vm, reason: String) {
        self.commit(vec![vm::Event::StopFailed { reason }]).await;
        self.await_ready(me);
        self.after_power(me, vm).await;
    }

    /// Gives the services of a machine that has just come up a limited time to answer.
    pub(super) fn await_ready(&mut self, me: &ActorRef<Message>) {
        self.boot += 1;
        let boot = self.boot;
        self.ctx
            .after_running(self.ctx.options.ready_timeout, me, move || {
                Message::ReadyOverdue { boot }
            });
    }

    pub(super) async fn ready_overdue(&mut self, boot: u64) {
        let Some(vm) = self.vm() else { return };
        if boot != self.boot || vm.power != Power::Booting || vm.fault.is_some() {
            return;
        }
        let limit = self.ctx.options.ready_timeout.as_secs();
        let missing = self.all_missing();
        let reason = format!("not ready {limit} s after booting, still waiting for: {missing}");
        self.fail_start(&vm, reason, false).await;
    }

    pub(super) async fn after_power(&mut self, me: &ActorRef<Message>, before: &Vm) {
        if self.vm().is_some_and(|vm| vm.power != before.power) {
            self.forget_machine_if_off();
        }
        self.duty_changed(me).await;
        self.ctx.pool.poke();
    }

    fn forget_machine_if_off(&mut self) {
        if self.vm().is_some_and(|vm| vm.power == Power::Stopped) {
            let cloud = self.signals.cloud;
            self.forget_machine();
            self.signals.cloud = cloud;
        }
    }

    /// What was observed of the machine before it was switched off or on says nothing about it now.
    pub(super) fn forget_machine(&mut self) {
        self.generation += 1;
        self.signals = Signals {
            last_output_at: self.signals.last_output_at,
            ..Signals::default()
        };
        self.observation = crate::actors::board::Observation::default();
        self.studio = None;
        self.shell.send_replace(None);
        self.frame = super::ready::CheckFrame::default();
        self.cleaning = super::clean::Cleaning::default();
        self.troubles = super::ready::Troubles::default();
        self.shell_alert = None;
        self.bytes = None;
        self.notified = None;
        self.reboot = None;
        if let Some(vm) = self.vm() {
            self.hysteresis = crate::domain::health::Hysteresis::new(vm.health);
            self.send_order(&vm);
        }
        self.ctx.board.post(&self.id, self.observation.clone());
    }

    pub(super) async fn try_commit(&self, events: Vec<vm::Event>) -> Result<(), VmError> {
        let events = events
            .into_iter()
            .map(|e| crate::domain::event::Event::vm(&self.id, e))
            .collect();
        let committed = self.ctx.commit(events).await;
        committed
            .map(|_| ())
            .inspect_err(|error| self.look_again_if_undecided(error))
            .map_err(VmError::from)
    }
}

/// Whether a stop that was answered with this may be carried out all the same: nobody knows what became of the request,
/// or of an earlier try of it, or the cloud says that it is under way.
fn may_go_down(vm: &Vm, error: &CloudError) -> bool {
    error.kind.is_retryable() || vm.instance.state == InstanceState::Stopping
}

pub(super) fn turned(
    vm: VmId,
    instance: InstanceId,
    change: StateChange,
    ready_at: Option<Timestamp>,
) -> PowerTurned {
    PowerTurned {
        vm,
        instance,
        previous: change.previous,
        current: change.current,
        estimated_ready_at: ready_at,
    }
}
