//! Assign and release.

use std::sync::Arc;
use std::time::Duration;

use ractor::ActorRef;

use super::{Message, Reply, State, Task};
use crate::actors::coordinator::{Assign, Assigned, CommandError, Release, Released, describe_assignment};
use crate::actors::mailbox::{NoAnswer, answer};
use crate::actors::news::Level;
use crate::actors::vm::VmError;
use crate::domain::event::Event;
use crate::domain::failover::Ending;
use crate::domain::ids::{RequestKey, VmId};
use crate::domain::placement::Wish;
use crate::domain::pool::Allocation;
use crate::domain::show::{Event as Fact, Phase, Show};
use crate::domain::state::{Request, State as LedgerState};
use crate::domain::vm::{self, Power};
use crate::infra::ledger::CommitError;

/// VMs that are tried before an assignment is given up: each may be lost to a race or a restart.
const TRIES: usize = 4;
/// Limit on stopping the stream of a VM that is being released.
const CLEAN: Duration = Duration::from_secs(15);

impl State {
    pub(super) async fn assign(
        &mut self,
        me: &ActorRef<Message>,
        ask: Assign,
    ) -> Result<Assigned, CommandError> {
        if self.ctx.is_stopping() {
            return Err(CommandError::Stopping);
        }
        if let Some(repeated) = self.repeated_assign(ask.key.as_ref())? {
            return Ok(repeated);
        }
        let show = self.show();
        if let Some(vm) = &show.vm {
            return Err(CommandError::AlreadyAssigned {
                show: self.id.clone(),
                vm: vm.clone(),
            });
        }
        let (vm, ledger) = self.take_vm(ask).await?;
        if ledger.vm(&vm).is_some_and(|vm| vm.power == Power::Stopped) {
            self.ctx.machines.start_soon(&vm);
        }
        self.ctx.machines.duty_changed(&vm);
        self.signals = self.ctx.board.latest(&vm).signals;
        self.capture_soon(me, self.ctx.options.obs.capture_debounce);
        Ok(describe_assignment(&self.ctx, &ledger, &self.id, &vm, false))
    }

    fn repeated_assign(&self, key: Option<&RequestKey>) -> Result<Option<Assigned>, CommandError> {
        let ledger = self.ctx.state();
        match key.and_then(|key| ledger.done(key)) {
            None => Ok(None),
            Some(done) if done.request == Request::Assign && done.show == self.id => Ok(Some(
                describe_assignment(&self.ctx, &ledger, &self.id, &done.vm, true),
            )),
            Some(_) => Err(CommandError::KeyReused),
        }
    }

    async fn take_vm(&mut self, ask: Assign) -> Result<(VmId, Arc<LedgerState>), CommandError> {
        let mut wish = Wish {
            preferred: ask.preferred,
            allow_fallback: ask.allow_fallback,
            region: ask.region,
            capabilities: ask.capabilities,
            exclude: Vec::new(),
            counts_as_new: true,
        };
        let mut lost = None;
        for _ in 0..TRIES {
            let allocation = self.reserve(wish.clone()).await?;
            let vm = allocation.vm().clone();
            let epoch = self.ctx.state().next_epoch(&self.id);
            let given = self
                .ctx
                .machines
                .assign(&vm, self.id.clone(), epoch, ask.by.clone(), ask.key.clone())
                .await;
            match given {
                Ok(ledger) => {
                    // Kept: else the promise would outlive a quick release and hold the VM back.
                    self.ctx.pool.cancel(&self.id, &vm);
                    return Ok((vm, ledger));
                }
                Err(error) => {
                    self.ctx.pool.cancel(&self.id, &vm);
                    let passing = matches!(
                        error,
                        VmError::Down | VmError::Gone | VmError::Commit(CommitError::Rejected(_))
                    );
                    let error = error.about(&vm);
                    if !passing || (wish.preferred.as_ref() == Some(&vm) && !wish.allow_fallback) {
                        return Err(error);
                    }
                    wish.exclude.push(vm);
                    lost = Some(error);
                }
            }
        }
        Err(lost.unwrap_or(CommandError::Busy))
    }

    pub(super) async fn reserve(&self, wish: Wish) -> Result<Allocation, CommandError> {
        match self.ctx.pool.reserve(self.id.clone(), wish).await {
            Ok(result) => Ok(result?),
            Err(NoAnswer::Down) => Err(CommandError::Restarting {
                subject: "the pool".to_owned(),
            }),
            Err(NoAnswer::TimedOut) => Err(CommandError::Busy),
        }
    }

    pub(super) async fn release(&mut self, me: &ActorRef<Message>, ask: Release, reply: Reply<Released>) {
        match self.begin_release(me, &ask).await {
            Ok(Some(released)) => answer(reply, Ok(released)),
            Ok(None) => self.waiting_for_release.push(reply),
            Err(error) => answer(reply, Err(error)),
        }
    }

    /// `None`: the VM is being cleaned, and the answer comes when it is.
    async fn begin_release(
        &mut self,
        me: &ActorRef<Message>,
        ask: &Release,
    ) -> Result<Option<Released>, CommandError> {
        let ledger = self.ctx.state();
        if let Some(done) = ask.key.as_ref().and_then(|key| ledger.done(key)) {
            if done.request != Request::Release || done.show != self.id {
                return Err(CommandError::KeyReused);
            }
            let status = ledger.vm(&done.vm).map(|vm| vm.status());
            return Ok(Some(Released {
                show: self.id.clone(),
                vm: Some(done.vm.clone()),
                status,
            }));
        }
        self.abandon_move().await?;
        let show = self.show();
        match &show.phase {
            Phase::Idle => {
                return Ok(Some(Released {
                    show: self.id.clone(),
                    vm: None,
                    status: None,
                }));
            }
            Phase::Releasing { .. } => return Ok(None),
            Phase::OffAir | Phase::OnAir | Phase::FailingOver(_) => {}
        }
        let Some(vm) = show.vm.clone() else {
            return Err(CommandError::NotAssigned(self.id.clone()));
        };
        self.turning = None;
        let began = Fact::ReleaseBegan { stop_vm: ask.stop_vm };
        if self.is_quiet(&show, &vm) {
            let released = Fact::Released {
                vm: vm.clone(),
                key: ask.key.clone(),
            };
            self.commit(vec![began, released]).await?;
            return Ok(Some(self.let_go(me, &vm, ask.stop_vm)));
        }
        let show = self.commit(vec![began]).await?;
        self.clean(me, &show, ask.key.clone());
        Ok(None)
    }

    /// Nothing is streaming and nothing was meant to: there is nothing to clean.
    fn is_quiet(&self, show: &Show, vm: &VmId) -> bool {
        let active = self
            .ctx
            .board
            .latest(vm)
            .output
            .is_some_and(|output| output.active);
        show.phase == Phase::OffAir && !show.stream_wanted && !active
    }

    /// Stops what the VM still publishes; [`Message::Cleaned`] says how that went.
    pub(super) fn clean(&mut self, me: &ActorRef<Message>, show: &Show, key: Option<RequestKey>) {
        let Some(vm) = show.vm.clone() else { return };
        let (ctx, me, epoch) = (Arc::clone(&self.ctx), me.clone(), show.epoch);
        self.turning = Some(Task::spawn(async move {
            let usable = ctx
                .state()
                .vm(&vm)
                .is_some_and(|vm| vm.power == Power::Ready && vm.fault.is_none());
            let result = if usable {
                match tokio::time::timeout(CLEAN, super::effects::stop_stream(&ctx, &vm)).await {
                    Ok(result) => result,
                    Err(_) => Err(format!("its stream did not stop within {} s", CLEAN.as_secs())),
                }
            } else {
                // It is in error already and stays there.
                Ok(())
            };
            let _ = me.cast(Message::Cleaned { epoch, key, result });
        }));
    }

    pub(super) async fn cleaned(
        &mut self,
        me: &ActorRef<Message>,
        epoch: crate::domain::ids::Epoch,
        key: Option<RequestKey>,
        result: Result<(), String>,
    ) {
        let show = self.show();
        let (Phase::Releasing { stop_vm }, Some(vm)) = (&show.phase, show.vm.clone()) else {
            return;
        };
        if show.epoch != epoch {
            return;
        }
        let stop_vm = *stop_vm;
        let mut events = vec![Event::show(&self.id, Fact::Released { vm: vm.clone(), key })];
        if let Err(why) = result {
            let reason = format!("it could not be cleaned after show {}: {why}", self.id);
            events.push(Event::vm(&vm, vm::Event::Faulted { reason }));
        }
        let answered = match self.ctx.commit(events).await {
            Ok(_) => Ok(self.let_go(me, &vm, stop_vm)),
            Err(error) => Err(crate::actors::vm::commit_error(error)),
        };
        for reply in self.waiting_for_release.drain(..) {
            answer(reply, answered.clone());
        }
    }

    fn let_go(&mut self, me: &ActorRef<Message>, vm: &VmId, stop_vm: bool) -> Released {
        self.steps.clear();
        self.capturing = None;
        self.signals = crate::domain::failover::verdict::Signals::default();
        for reply in self
            .waiting_for_air
            .drain(..)
            .chain(self.waiting_for_quiet.drain(..))
        {
            answer(reply, Err(CommandError::NotAssigned(self.id.clone())));
        }
        self.ctx.machines.duty_changed(vm);
        if stop_vm {
            self.ctx.machines.stop_soon(vm);
        }
        self.ctx.pool.poke();
        self.linger(me);
        let status = self.ctx.state().vm(vm).map(|vm| vm.status());
        Released {
            show: self.id.clone(),
            vm: Some(vm.clone()),
            status,
        }
    }

    /// Ends a move under way; the show then has whichever VM it has come to.
    pub(super) async fn abandon_move(&mut self) -> Result<(), CommandError> {
        let show = self.show();
        let Some(failover) = show.failover() else {
            return Ok(());
        };
        self.steps.clear();
        let ended = Fact::FailoverEnded {
            epoch: failover.epoch,
            ending: Ending::Abandoned,
        };
        self.commit(vec![ended]).await?;
        for vm in std::iter::once(&failover.from).chain(&failover.to) {
            self.ctx.machines.duty_changed(vm);
        }
        Ok(())
    }

    /// The VM reserved for this show did not come up: another takes its place, now or when there is one. False
    /// if the ledger says that the VM may not be left like this.
    pub(super) async fn replace_reserved(&mut self, from: &VmId, reason: &str) -> bool {
        let wish = Wish {
            exclude: vec![from.clone()],
            ..Wish::default()
        };
        let allocation = match self.reserve(wish).await {
            Ok(allocation) => allocation,
            Err(error) => {
                self.tell_no_replacement(from, reason, &error);
                return true;
            }
        };
        let vm = allocation.vm().clone();
        let epoch = self.show().epoch.next();
        let event = Fact::Reassigned {
            from: from.clone(),
            vm: vm.clone(),
            epoch,
        };
        if let Err(error) = self.commit(vec![event]).await {
            tracing::info!(show = %self.id, %from, %error, "the reserved VM cannot simply be left");
            self.ctx.pool.cancel(&self.id, &vm);
            return false;
        }
        tracing::warn!(show = %self.id, %from, %vm, reason, "the reserved VM failed; another takes its place");
        self.told_waiting = false;
        if self
            .ctx
            .state()
            .vm(&vm)
            .is_some_and(|vm| vm.power == Power::Stopped)
        {
            self.ctx.machines.start_soon(&vm);
        }
        self.ctx.machines.duty_changed(from);
        self.ctx.machines.duty_changed(&vm);
        true
    }

    fn tell_no_replacement(&mut self, from: &VmId, reason: &str, error: &CommandError) {
        if std::mem::replace(&mut self.told_waiting, true) {
            return;
        }
        let message = format!("{from} failed ({reason}) and there is no other VM: {error}; waiting for one");
        let source = format!("vm-failover-{}", self.id);
        let title = "The show has no usable VM";
        self.ctx.alert(
            Level::Critical,
            source,
            title,
            message,
            Some(&self.id),
            Some(from),
        );
    }
}
