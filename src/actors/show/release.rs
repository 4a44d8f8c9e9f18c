//! Release: the VM is silenced, then given back.
//!
//! A show that gives its VM back may have another a moment later. So what was told to stream is not let go before
//! it is known not to: asked to stop, else fenced like a VM that a failover leaves. Until that has worked the show
//! stays in `releasing`, visibly, and it is tried again and again.

use std::sync::Arc;
use std::time::Duration;

use ractor::ActorRef;

use super::{Message, Reply, State, Task, effects, queue};
use crate::actors::coordinator::{CommandError, Release, Released};
use crate::actors::mailbox::answer;
use crate::actors::news::Level;
use crate::domain::event::Event;
use crate::domain::failover::Fence;
use crate::domain::ids::{Epoch, RequestKey, VmId};
use crate::domain::show::{Event as Fact, Phase, Show};
use crate::domain::state::Request;
use crate::domain::vm;
use crate::infra::ledger::CommitError;

/// Pause before a VM that could not be silenced is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(2);

/// What is to be taken up again of a release.
pub(in crate::actors) struct Cleaning {
    vm: VmId,
    epoch: Epoch,
    key: Option<RequestKey>,
    stop_vm: bool,
}

/// A VM that publishes nothing any more.
pub(in crate::actors) struct Quiet {
    /// How that was made certain; `None` if it had never been told to publish.
    pub how: Option<Fence>,
    /// Why it is not fit for the next show.
    pub unfit: Option<String>,
}

impl State {
    pub(super) async fn release(&mut self, me: &ActorRef<Message>, ask: Release, reply: Reply<Released>) {
        match self.begin_release(me, &ask).await {
            Ok(Some(released)) => answer(reply, Ok(released)),
            Ok(None) => queue(&mut self.waiting_for_release, reply),
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
            Phase::FailingOver(_) => {
                let began = Fact::ReleaseBegan { stop_vm: ask.stop_vm };
                let show = self.abandon_move(Some(began)).await?;
                self.clean(me, &show, ask.key.clone());
                return Ok(None);
            }
            Phase::OffAir | Phase::OnAir => {}
        }
        let Some(vm) = show.vm.clone() else {
            return Err(CommandError::NotAssigned(self.id.clone()));
        };
        self.turning = None;
        self.mending = None;
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
    pub(super) fn is_quiet(&self, show: &Show, vm: &VmId) -> bool {
        let output = self.ctx.board.latest(vm).output;
        let active = output.is_some_and(|output| output.active);
        show.phase == Phase::OffAir && !show.may_publish && !active
    }

    /// Silences the VM; [`Message::Cleaned`] says how that went.
    pub(super) fn clean(&mut self, me: &ActorRef<Message>, show: &Show, key: Option<RequestKey>) {
        let Some(vm) = show.vm.clone() else { return };
        let (ctx, me, epoch) = (Arc::clone(&self.ctx), me.clone(), show.epoch);
        let may_publish = show.may_publish;
        self.turning = Some(Task::spawn(async move {
            let result = effects::silence(&ctx, &vm, may_publish).await;
            let _ = me.cast(Message::Cleaned { epoch, key, result });
        }));
    }

    pub(super) fn clean_again(&mut self, me: &ActorRef<Message>, cleaning: Cleaning) {
        let show = self.show();
        if show.epoch != cleaning.epoch {
            return;
        }
        let under_way = self.turning.as_ref().is_some_and(Task::is_running);
        match show.phase {
            Phase::Releasing { .. } if !under_way => self.clean(me, &show, cleaning.key),
            // Its end was recorded after all.
            Phase::Idle => {
                self.let_go(me, &cleaning.vm, cleaning.stop_vm);
            }
            Phase::OffAir | Phase::OnAir | Phase::FailingOver(_) | Phase::Releasing { .. } => {}
        }
    }

    pub(super) async fn cleaned(
        &mut self,
        me: &ActorRef<Message>,
        epoch: Epoch,
        key: Option<RequestKey>,
        result: Result<Quiet, String>,
    ) {
        let show = self.show();
        let (Phase::Releasing { stop_vm }, Some(vm)) = (&show.phase, show.vm.clone()) else {
            return;
        };
        if show.epoch != epoch {
            return;
        }
        let cleaning = Cleaning {
            vm: vm.clone(),
            epoch,
            key: key.clone(),
            stop_vm: *stop_vm,
        };
        let quiet = match result {
            Ok(quiet) => quiet,
            Err(message) => return self.not_silent(me, cleaning, message),
        };
        let mut events = Vec::with_capacity(3);
        if let Some(how) = quiet.how {
            events.push(Event::show(&self.id, Fact::Silenced { epoch, how }));
        }
        events.push(Event::show(&self.id, Fact::Released { vm: vm.clone(), key }));
        if let Some(why) = quiet.unfit {
            let reason = format!("it could not be cleaned after show {}: {why}", self.id);
            events.push(Event::vm(&vm, vm::Event::Faulted { reason }));
        }
        let answered = match self.ctx.commit(events).await {
            Ok(_) => Ok(self.let_go(me, &vm, cleaning.stop_vm)),
            Err(error) => {
                self.record_later(me, cleaning, &error);
                Err(crate::actors::vm::commit_error(error))
            }
        };
        for reply in self.waiting_for_release.drain(..) {
            answer(reply, answered.clone());
        }
    }

    /// The VM is silent and the ledger did not take it: tried again, without a key that belongs to another request.
    fn record_later(&self, me: &ActorRef<Message>, mut cleaning: Cleaning, error: &CommitError) {
        tracing::warn!(show = %self.id, vm = %cleaning.vm, %error, "the release was not recorded; trying again");
        if matches!(error, CommitError::Rejected(_)) {
            cleaning.key = None;
        }
        let (ctx, me) = (Arc::clone(&self.ctx), me.clone());
        tokio::spawn(async move {
            tokio::time::sleep(TRY_AGAIN).await;
            ctx.decided().await;
            let _ = me.cast(Message::CleanAgain(Box::new(cleaning)));
        });
    }

    /// The release goes on; whoever waits for it is told why it is not over.
    fn not_silent(&mut self, me: &ActorRef<Message>, cleaning: Cleaning, message: String) {
        let vm = &cleaning.vm;
        tracing::error!(show = %self.id, %vm, message, "the VM is not silenced yet; trying again");
        let source = format!("vm-not-silent-{}", self.id);
        let text = format!(
            "show {} keeps {vm} until it publishes nothing: {message}",
            self.id
        );
        let title = "Release waits for its VM";
        self.ctx
            .alert(Level::Critical, source, title, text, Some(&self.id), Some(vm));
        for reply in self.waiting_for_release.drain(..) {
            let (vm, message) = (vm.clone(), message.clone());
            answer(reply, Err(CommandError::NotSilent { vm, message }));
        }
        me.send_after(TRY_AGAIN, move || Message::CleanAgain(Box::new(cleaning)));
    }

    fn let_go(&mut self, me: &ActorRef<Message>, vm: &VmId, stop_vm: bool) -> Released {
        self.steps.clear();
        self.capturing = None;
        self.mending = None;
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
}
