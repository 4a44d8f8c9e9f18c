//! Assign, and putting another VM in the place of one that does not come up.

use std::sync::Arc;

use super::{Message, State};
use crate::actors::coordinator::{Assign, Assigned, CommandError, describe_assignment};
use crate::actors::mailbox::{ActorRef, NoAnswer};
use crate::actors::news::Level;
use crate::actors::vm::VmError;
use crate::domain::failover::Ending;
use crate::domain::ids::{RequestKey, VmId};
use crate::domain::placement::Wish;
use crate::domain::pool::Allocation;
use crate::domain::show::{Event as Fact, Phase, Show};
use crate::domain::state::{Request, State as LedgerState};
use crate::domain::vm::Power;
use crate::infra::ledger::CommitError;

/// VMs that are tried before an assignment is given up: each may be lost to a race or a restart.
const TRIES: usize = 4;

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
        let key = ask.key.clone();
        let (vm, ledger) = match self.take_vm(ask).await {
            // The first try was undecided when this one began, and has been recorded since.
            Err(CommandError::KeyReused) => {
                let repeated = self.repeated_assign(key.as_ref())?;
                return repeated.ok_or(CommandError::KeyReused);
            }
            taken => taken?,
        };
        tracing::info!(%vm, "the show has a VM");
        if ledger.vm(&vm).is_some_and(|vm| vm.power == Power::Stopped) {
            self.ctx.machines.start_soon(&vm);
        }
        self.ctx.machines.duty_changed(&vm);
        self.signals = self.ctx.board.latest(&vm).signals;
        self.capture_soon(me, self.ctx.options.obs.capture_debounce);
        Ok(describe_assignment(&self.ctx, &ledger, &self.id, &vm, false))
    }

    /// Whoever repeats an assign is told the VM that the show has now: it may have been moved since. A show that has none
    /// has given its VM back, and what the first answer said may be another show's VM by now.
    fn repeated_assign(&self, key: Option<&RequestKey>) -> Result<Option<Assigned>, CommandError> {
        let ledger = self.ctx.state();
        match key.and_then(|key| ledger.done(key)) {
            None => Ok(None),
            Some(done) if done.request == Request::Assign && done.show == self.id => {
                let Some(vm) = ledger.vm_of_show(&self.id) else {
                    let message = format!(
                        "the assignment of VM {} that this Idempotency-Key made is over; use a new key",
                        done.vm
                    );
                    return Err(CommandError::Refused(message));
                };
                let assigned = describe_assignment(&self.ctx, &ledger, &self.id, &vm.id, true);
                Ok(Some(assigned))
            }
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
            last_resort: false,
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
            // Kept or not to be kept: a promise that outlived a quick release would hold the VM back.
            self.ctx.pool.cancel(&self.id, &vm);
            match given {
                Ok(ledger) => return Ok((vm, ledger)),
                Err(error) => {
                    if let VmError::Commit(error) = &error {
                        self.look_again_if_undecided(error);
                    }
                    let passing = matches!(
                        error,
                        VmError::Down | VmError::Gone | VmError::Commit(CommitError::Rejected(_))
                    );
                    let error = error.about(&vm);
                    let is_final = !passing || matches!(error, CommandError::KeyReused);
                    if is_final || (wish.preferred.as_ref() == Some(&vm) && !wish.allow_fallback) {
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

    /// Ends the move under way, and goes on with `then` in the same breath: a show that is no longer meant to be on
    /// air must not be taken for one that is, whoever dies in between.
    pub(super) async fn abandon_move(&mut self, then: Vec<Fact>) -> Result<Arc<Show>, CommandError> {
        let show = self.show();
        let Some(failover) = show.failover() else {
            return Ok(show);
        };
        self.steps.clear();
        self.renewing = None;
        let ended = Fact::FailoverEnded {
            epoch: failover.epoch,
            ending: Ending::Abandoned,
        };
        let mut events = vec![Fact::StreamWanted { wanted: false }, ended];
        events.extend(then);
        let after = self.commit(events).await?;
        for vm in std::iter::once(&failover.from).chain(&failover.to) {
            self.ctx.machines.duty_changed(vm);
        }
        Ok(after)
    }

    /// A VM that was reserved is to come up, whatever became of the order to start it. Whether it still has to.
    pub(super) fn start_reserved(&self, show: &Show) -> bool {
        let state = self.ctx.state();
        let vm = show.vm.as_ref().and_then(|vm| state.vm(vm));
        let awaited = vm.filter(|vm| show.phase == Phase::OffAir && vm.awaits_start());
        if let Some(vm) = awaited {
            self.ctx.machines.start_soon(&vm.id);
        }
        awaited.is_some()
    }

    /// The VM reserved for this show did not come up: another takes its place, now or when there is one. False
    /// if the ledger says that the VM may not be left like this.
    pub(super) async fn replace_reserved(&mut self, from: &VmId, reason: &str) -> bool {
        let wish = Wish {
            exclude: vec![from.clone()],
            last_resort: true,
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
        let committed = self.commit(vec![event]).await;
        // Kept or not to be kept: either way the promise has done its work.
        self.ctx.pool.cancel(&self.id, &vm);
        if let Err(error) = committed {
            tracing::info!(show = %self.id, %from, %error, "the reserved VM cannot simply be left");
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
