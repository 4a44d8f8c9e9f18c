//! Power: what is asked of the cloud, what the cloud says, and what happens when neither comes to an end.

use std::sync::Arc;
use std::time::Duration;

use ractor::{ActorRef, RpcReplyPort};

use super::{Message, POWER_RETRY_AFTER, State, VmError};
use crate::actors::coordinator::PowerTurned;
use crate::actors::mailbox::answer;
use crate::actors::news::Level;
use crate::actors::{context::Context, show};
use crate::domain::failover::verdict::{CloudSign, Signals};
use crate::domain::ids::{Attempt, InstanceId, VmId};
use crate::domain::instance::{Instance, InstanceState, PowerChange};
use crate::domain::reconcile::reconcile;
use crate::domain::time::Timestamp;
use crate::domain::vm::{self, Power, Status, Vm};
use crate::infra::cloud::{Error as CloudError, ErrorKind, StateChange};

/// How often the cloud is asked whether a machine whose power was cut is off.
const OFF_POLL: Duration = Duration::from_millis(100);

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
        self.forget_machine();
        me.send_after(self.ctx.options.start_timeout, move || Message::PowerOverdue {
            attempt,
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

    async fn begin_stop(
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
        me.send_after(self.ctx.options.stop_timeout, move || Message::PowerOverdue {
            attempt,
        });
        Ok((vm, attempt))
    }

    pub(super) async fn reboot(&mut self, me: &ActorRef<Message>, force: bool, reply: Reply) {
        let vm = match self.vm() {
            Some(vm) if vm.status() == Status::InUse && !force => {
                let advice = "a show is on air on it; use force to reboot it all the same";
                return answer(
                    reply,
                    Err(VmError::WrongStatus {
                        status: vm.status(),
                        advice,
                    }),
                );
            }
            Some(vm) if matches!(vm.power, Power::Booting | Power::Ready) => vm,
            Some(vm) => {
                let advice = "only a running VM can be rebooted";
                return answer(
                    reply,
                    Err(VmError::WrongStatus {
                        status: vm.status(),
                        advice,
                    }),
                );
            }
            None => return answer(reply, Err(VmError::Gone)),
        };
        if let Err(error) = self.try_commit(vec![vm::Event::Booting]).await {
            return answer(reply, Err(error));
        }
        self.forget_machine();
        self.await_ready(me);
        self.call_cloud(me, &vm, vm.attempts, PowerChange::Reboot, Some(reply));
        self.duty_changed(me);
    }

    /// The caller waits; the VM leaves the pool when the cloud says that it is gone.
    pub(super) async fn terminate(&mut self, reply: Reply) {
        let Some(vm) = self.vm() else {
            return answer(reply, Err(VmError::Gone));
        };
        if let Some((show, _)) = vm.occupancy.tenant() {
            return answer(reply, Err(VmError::Occupied { show: show.clone() }));
        }
        if vm.is_free() {
            let reason = Some("being terminated".to_owned());
            if let Err(error) = self
                .try_commit(vec![vm::Event::MaintenanceBegan { reason }])
                .await
            {
                return answer(reply, Err(error));
            }
        }
        let (ctx, id) = (Arc::clone(&self.ctx), self.id.clone());
        tokio::spawn(async move {
            let instance = vm.instance_id().clone();
            let result = ctx.world.cloud.change(&instance, PowerChange::Terminate).await;
            ctx.cloud.look_now();
            answer(
                reply,
                result
                    .map(|change| turned(id, instance, change, None))
                    .map_err(VmError::Cloud),
            );
        });
    }

    /// The fence of last resort. Idempotent: a stop that is under way is joined.
    pub(super) async fn cut_power(
        &mut self,
        me: &ActorRef<Message>,
        reply: RpcReplyPort<Result<(), VmError>>,
    ) {
        let Some(vm) = self.vm() else {
            return answer(reply, Ok(()));
        };
        if vm.power == Power::Stopped {
            return answer(reply, Ok(()));
        }
        let attempt = match vm.power {
            Power::Stopping { attempt } => attempt,
            Power::Stopped | Power::Starting { .. } | Power::Booting | Power::Ready => {
                match self.begin_stop(me, true).await {
                    Ok((_, attempt)) => attempt,
                    Err(error) => return answer(reply, Err(error)),
                }
            }
        };
        let (ctx, me) = (Arc::clone(&self.ctx), me.clone());
        tokio::spawn(async move {
            let instance = vm.instance_id().clone();
            let limit = ctx.options.failover.fence_deadline;
            let result = match tokio::time::timeout(limit, switch_off(&ctx, &instance)).await {
                Ok(result) => result,
                Err(_) => Err(CloudError {
                    call: "StopInstances",
                    kind: ErrorKind::TimedOut,
                    code: None,
                    detail: Some("the cloud did not confirm that the machine is off".to_owned()),
                }),
            };
            let off = StateChange {
                previous: InstanceState::Running,
                current: InstanceState::Stopped,
            };
            let told = result.clone().map(|()| off);
            let _ = me.cast(Message::PowerCalled {
                attempt,
                change: PowerChange::ForceStop,
                result: told,
            });
            answer(reply, result.map_err(VmError::Cloud));
        });
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
        tokio::spawn(async move {
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
                me.send_after(self.ctx.options.start_timeout, move || Message::PowerOverdue {
                    attempt,
                });
            }
            Power::Stopping { attempt } => {
                self.call_cloud(me, vm, attempt, PowerChange::Stop, None);
                me.send_after(self.ctx.options.stop_timeout, move || Message::PowerOverdue {
                    attempt,
                });
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
                self.after_power(me, &vm);
            }
            (_, Ok(_)) | (PowerChange::Reboot | PowerChange::Terminate, Err(_)) => {}
            (PowerChange::Start, Err(error)) => self.start_failed(me, &vm, attempt, &error).await,
            (PowerChange::Stop | PowerChange::ForceStop, Err(error)) => {
                let reason = format!("it could not be stopped: {error}");
                self.commit(vec![vm::Event::StopFailed { reason }]).await;
                self.await_ready(me);
                self.after_power(me, &vm);
            }
        }
    }

    async fn start_failed(&mut self, me: &ActorRef<Message>, vm: &Vm, attempt: Attempt, error: &CloudError) {
        if error.kind.is_retryable() && error.kind != ErrorKind::NoCapacity {
            me.send_after(POWER_RETRY_AFTER, move || Message::PowerRetry { attempt });
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

    pub(super) async fn power_overdue(&mut self, attempt: Attempt) {
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
            let limit = self.ctx.options.stop_timeout.as_secs();
            let reason = format!("the cloud did not say stopped within {limit} s");
            self.commit(vec![vm::Event::StopFailed { reason }]).await;
        }
    }

    /// Gives the services of a machine that has just come up a limited time to answer.
    pub(super) fn await_ready(&mut self, me: &ActorRef<Message>) {
        self.boot += 1;
        let boot = self.boot;
        me.send_after(self.ctx.options.ready_timeout, move || Message::ReadyOverdue {
            boot,
        });
    }

    pub(super) async fn ready_overdue(&mut self, boot: u64) {
        let Some(vm) = self.vm() else { return };
        if boot != self.boot || vm.power != Power::Booting || vm.fault.is_some() {
            return;
        }
        let reading = self.observation.reading;
        let missing: Vec<&str> = [
            ("the show server", reading.node, true),
            ("OBS", reading.obs, self.ctx.world.obs.is_some()),
            ("SSH", reading.ssh, self.ctx.world.ssh.is_some()),
        ]
        .into_iter()
        .filter(|(_, up, wanted)| *wanted && *up != Some(true))
        .map(|(name, _, _)| name)
        .collect();
        let limit = self.ctx.options.ready_timeout.as_secs();
        let reason = format!(
            "no answer from {} within {limit} s of booting",
            missing.join(" and ")
        );
        self.fail_start(&vm, reason, false).await;
    }

    /// The cloud's sweep passed by.
    pub(super) async fn sighted(
        &mut self,
        me: &ActorRef<Message>,
        seen: Option<&Instance>,
        looked_at: Timestamp,
    ) {
        let Some(vm) = self.vm() else { return };
        self.note_cloud(&vm, seen.map(|instance| instance.state), looked_at);
        let events = reconcile(&vm, seen, looked_at);
        if events.is_empty() || !self.commit(events.clone()).await {
            return;
        }
        let gone = events.contains(&vm::Event::Gone);
        if gone {
            self.ctx.board.remove(&self.id);
            self.ctx.machines.dismiss(&self.id);
        } else if events.contains(&vm::Event::Booting) {
            self.await_ready(me);
        }
        for event in &events {
            if let vm::Event::Faulted { reason } = event {
                let reason = reason.clone();
                self.tell_show(&vm, |vm| show::Message::VmFailed { vm, reason });
            }
        }
        self.after_power(me, &vm);
    }

    fn note_cloud(&mut self, vm: &Vm, state: Option<InstanceState>, looked_at: Timestamp) {
        let before = self.signals.cloud;
        self.signals.cloud = match (state, before) {
            (Some(InstanceState::Pending | InstanceState::Running), _) => CloudSign::Running,
            (state, CloudSign::Down { since, .. }) => CloudSign::Down { since, state },
            // An older look than the start says nothing.
            (_, before) if vm.last_started_at.is_some_and(|at| looked_at < at) => before,
            (state, CloudSign::Unknown | CloudSign::Running) => CloudSign::Down {
                since: self.ctx.now(),
                state,
            },
        };
        if self.signals.cloud != before {
            self.observation.signals = self.signals;
            self.ctx.board.post(&self.id, self.observation.clone());
            let signals = Box::new(self.signals);
            self.tell_show(vm, |vm| show::Message::Signals { vm, signals });
        }
    }

    fn after_power(&mut self, me: &ActorRef<Message>, before: &Vm) {
        if self.vm().is_some_and(|vm| vm.power != before.power) {
            self.forget_machine_if_off();
        }
        self.duty_changed(me);
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
    fn forget_machine(&mut self) {
        self.signals = Signals {
            last_output_at: self.signals.last_output_at,
            ..Signals::default()
        };
        self.observation = crate::actors::board::Observation::default();
        self.studio = None;
        self.shell = None;
        self.bytes = None;
        self.notified = None;
        if let Some(vm) = self.vm() {
            self.hysteresis = crate::domain::health::Hysteresis::new(vm.health);
            self.send_order(&vm);
        }
        self.ctx.board.post(&self.id, self.observation.clone());
    }

    async fn try_commit(&self, events: Vec<vm::Event>) -> Result<(), VmError> {
        let events = events
            .into_iter()
            .map(|e| crate::domain::event::Event::vm(&self.id, e))
            .collect();
        self.ctx.commit(events).await?;
        Ok(())
    }
}

/// Stops the machine without ceremony and waits until the cloud says that it is off.
async fn switch_off(ctx: &Context, instance: &InstanceId) -> Result<(), CloudError> {
    let mut change = ctx.world.cloud.change(instance, PowerChange::ForceStop).await;
    loop {
        match change {
            Ok(change) if change.current.is_off() => return Ok(()),
            Err(error) if error.kind == ErrorKind::NotFound => return Ok(()),
            Err(error) if !error.kind.is_retryable() => return Err(error),
            Ok(_) | Err(_) => {}
        }
        let failed = change.is_err();
        tokio::time::sleep(OFF_POLL).await;
        match ctx.world.cloud.describe(instance).await {
            Ok(None) => return Ok(()),
            Ok(Some(seen)) if seen.state.is_off() => return Ok(()),
            Ok(Some(_)) | Err(_) => {}
        }
        // A request that was never accepted has to be made again.
        change = if failed {
            ctx.world.cloud.change(instance, PowerChange::ForceStop).await
        } else {
            Ok(StateChange {
                previous: InstanceState::Running,
                current: InstanceState::Stopping,
            })
        };
    }
}

fn turned(vm: VmId, instance: InstanceId, change: StateChange, ready_at: Option<Timestamp>) -> PowerTurned {
    PowerTurned {
        vm,
        instance,
        previous: change.previous,
        current: change.current,
        estimated_ready_at: ready_at,
    }
}
