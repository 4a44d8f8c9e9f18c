//! Release: the VM is silenced, its recordings are archived if that was asked, it is cleaned, then given back.
//!
//! ```text
//! release began ──► silence ─┬───────────────────► clean and prove ──► released
//!                            └──► archive ──┘       (and faulted, if recordings are left, or if it is not clean)
//! ```
//!
//! A show that gives its VM back may have another a moment later. So what was told to stream is not let go before
//! it is known not to: asked to stop, else fenced like a VM that a failover leaves. Until that has worked the show
//! stays in `releasing`, visibly, and it is tried again and again.
//!
//! Cleaning is tried once, within its limit: a VM that is not clean then is given back all the same, and what is left on
//! it is its own matter, as it is for a VM that is off, is coming up, or has a fault (see [`crate::actors::vm`]).
//! Whoever dies on the way begins with the silence again; every step may be repeated.
//!
//! Who asks for a release that is under way joins it, and is refused if he wants more of it than it was begun with.

use std::sync::Arc;
use std::time::Duration;

use super::{Message, Reply, State, Task, effects, queue};
use crate::actors::cleaning;
use crate::actors::coordinator::{CommandError, Release, Released};
use crate::actors::mailbox::{ActorRef, answer};
use crate::actors::news::Level;
use crate::actors::task;
use crate::actors::vm::commit_error;
use crate::domain::cleaning::{Leftover, Report};
use crate::domain::event::Event;
use crate::domain::failover::Fence;
use crate::domain::ids::{Epoch, VmId};
use crate::domain::show::{Event as Fact, Phase, Show};
use crate::domain::state::Request;
use crate::domain::vm::{self, Power, Vm};
use crate::infra::ledger::CommitError;

/// Pause before a VM that could not be silenced is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(2);

/// A release under way.
#[derive(Clone)]
pub(in crate::actors) struct Unreleased {
    pub(super) vm: VmId,
    pub(super) epoch: Epoch,
    stop_vm: bool,
    /// See [`Quiet::unfit`].
    unfit: Option<String>,
}

/// A VM that publishes nothing any more.
pub(in crate::actors) struct Quiet {
    /// How that was made certain; `None` if it had never been told to publish.
    pub how: Option<Fence>,
    /// Why it is not fit for the next show, unless it can be cleaned.
    pub unfit: Option<String>,
}

impl State {
    pub(super) async fn release(&mut self, me: &ActorRef<Message>, ask: Release, reply: Reply<Released>) {
        let begun = match self.begin_release(me, &ask).await {
            // The first try may have been undecided when this one began, and recorded since: then it is found now.
            Err(CommandError::KeyReused) => self.begin_release(me, &ask).await,
            begun => begun,
        };
        match begun {
            Ok(Some(released)) => answer(reply, Ok(released)),
            Ok(None) => queue(&mut self.waiting_for_release, reply),
            Err(error) => answer(reply, Err(error)),
        }
    }

    /// `None`: the VM is being silenced, archived from and cleaned, and the answer comes when it is.
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
            // The same request again: it waits for what it began, or is told how that ended.
            let under_way = self.is_releasing(&done.vm);
            return Ok((!under_way).then(|| self.tell_released(&done.vm, true)));
        }
        let show = self.show();
        match &show.phase {
            Phase::Idle => {
                return Ok(Some(Released {
                    show: self.id.clone(),
                    vm: None,
                    status: None,
                    report: None,
                    archive: None,
                    repeated: false,
                }));
            }
            Phase::Releasing { stop_vm } => {
                if let Some(advice) = unmet(ask, &show, *stop_vm) {
                    let (show, phase) = (self.id.clone(), show.phase.as_str());
                    return Err(CommandError::WrongPhase { show, phase, advice });
                }
                if let Some(key) = ask.key.clone() {
                    self.commit(vec![Fact::ReleaseJoined { key }]).await?;
                }
                return Ok(None);
            }
            Phase::FailingOver(failover) => {
                let began = self.beginning(&show, failover.vm_if_abandoned(), ask)?;
                let show = self.abandon_move(began).await?;
                self.silence(me, &show);
                return Ok(None);
            }
            Phase::OffAir | Phase::OnAir => {}
        }
        let Some(vm) = show.vm.clone() else {
            return Err(CommandError::NotAssigned(self.id.clone()));
        };
        let began = self.beginning(&show, &vm, ask)?;
        self.turning = None;
        self.mending = None;
        self.renewing = None;
        if !ask.archive && self.is_quiet(&show, &vm) && !self.is_to_be_cleaned(&vm) {
            let released = Fact::Released {
                vm: vm.clone(),
                key: None,
            };
            let began = began.into_iter().chain([released]);
            let mut events: Vec<Event> = began.map(|fact| Event::show(&self.id, fact)).collect();
            events.extend(self.nothing_to_clean(&vm, &show));
            let committed = self.ctx.commit(events).await;
            committed
                .inspect_err(|error| self.look_again_if_undecided(error))
                .map_err(commit_error)?;
            return Ok(Some(self.let_go(me, &vm, ask.stop_vm)));
        }
        let show = self.commit(began).await?;
        self.silence(me, &show);
        Ok(None)
    }

    /// What is recorded when it begins to give this VM back.
    fn beginning(&self, show: &Show, vm: &VmId, ask: &Release) -> Result<Vec<Fact>, CommandError> {
        let mut began = vec![Fact::ReleaseBegan {
            stop_vm: ask.stop_vm,
            key: ask.key.clone(),
        }];
        if ask.archive {
            began.push(self.archive_asked(show, vm)?);
        }
        Ok(began)
    }

    /// It can be cleaned now. One that is off or has a fault is cleaned before it is used again.
    fn is_to_be_cleaned(&self, vm: &VmId) -> bool {
        let is_usable = |vm: &Vm| vm.power == Power::Ready && vm.fault.is_none();
        let state = self.ctx.state();
        cleaning::is_possible(&self.ctx) && state.vm(vm).is_some_and(|vm| is_usable(vm))
    }

    /// For the record, where nothing can have been put on it.
    fn nothing_to_clean(&self, vm: &VmId, show: &Show) -> Option<Event> {
        let is_possible = cleaning::is_possible(&self.ctx);
        (!is_possible).then(|| Event::vm(vm, cleaning::nothing(&self.ctx, &Leftover::of(show))))
    }

    /// Nothing is streaming and nothing was meant to.
    pub(super) fn is_quiet(&self, show: &Show, vm: &VmId) -> bool {
        let output = self.ctx.board.latest(vm).output;
        let active = output.is_some_and(|output| output.active);
        show.phase == Phase::OffAir && !show.may_publish && !active
    }

    /// Silences the VM; [`Message::Silenced`] says how that went.
    pub(super) fn silence(&mut self, me: &ActorRef<Message>, show: &Show) {
        let (Phase::Releasing { stop_vm }, Some(vm)) = (&show.phase, show.vm.clone()) else {
            return;
        };
        let release = Unreleased {
            vm: vm.clone(),
            epoch: show.epoch,
            stop_vm: *stop_vm,
            unfit: None,
        };
        // What is read from here on is not the show's any more.
        self.capturing = None;
        let (ctx, me, may_publish) = (Arc::clone(&self.ctx), me.clone(), show.may_publish);
        self.turning = Some(Task::spawn(async move {
            let result = effects::silence(&ctx, &vm, may_publish).await;
            let release = Box::new(release);
            let _ = me.cast(Message::Silenced { release, result });
        }));
    }

    pub(super) fn release_again(&mut self, me: &ActorRef<Message>, release: Unreleased) {
        let show = self.show();
        if show.epoch != release.epoch {
            return;
        }
        let under_way = self.turning.as_ref().is_some_and(Task::is_running);
        match show.phase {
            Phase::Releasing { .. } if !under_way => self.silence(me, &show),
            // Its end was recorded after all.
            Phase::Idle => {
                let released = self.let_go(me, &release.vm, release.stop_vm);
                self.answer_released(&released);
            }
            Phase::OffAir | Phase::OnAir | Phase::FailingOver(_) | Phase::Releasing { .. } => {}
        }
    }

    fn is_under_way(&self, release: &Unreleased) -> bool {
        self.is_releasing(&release.vm) && self.show().epoch == release.epoch
    }

    pub(super) async fn silenced(
        &mut self,
        me: &ActorRef<Message>,
        mut release: Unreleased,
        result: Result<Quiet, String>,
    ) {
        if !self.is_under_way(&release) {
            return;
        }
        let quiet = match result {
            Ok(quiet) => quiet,
            Err(message) => return self.not_silent(me, release, message),
        };
        if let Some(how) = quiet.how {
            let epoch = release.epoch;
            // Before anything else is done to it: who takes this up meanwhile must not fence a studio that is down for that.
            let silenced = Event::show(&self.id, Fact::Silenced { epoch, how });
            if let Err(error) = self.ctx.commit(vec![silenced]).await {
                return self.not_recorded(me, release, error);
            }
        }
        release.unfit = quiet.unfit;
        if self.show().is_archiving() {
            return self.archive(me, release);
        }
        self.clean_or_give_back(me, release).await;
    }

    pub(super) async fn archived(
        &mut self,
        me: &ActorRef<Message>,
        release: Unreleased,
        result: Result<(), String>,
    ) {
        if !self.is_under_way(&release) {
            return;
        }
        if let Err(error) = result {
            let (show, vm) = (&self.id, &release.vm);
            tracing::warn!(%show, %vm, error, "what became of the recordings was not recorded; trying again");
            task::send_later(me, TRY_AGAIN, move || Message::ReleaseAgain(Box::new(release)));
            return;
        }
        self.clean_or_give_back(me, release).await;
    }

    /// It is silent, and what was to be kept of it is.
    async fn clean_or_give_back(&mut self, me: &ActorRef<Message>, release: Unreleased) {
        if self.is_to_be_cleaned(&release.vm) {
            return self.clean(me, release);
        }
        let cleaned = self.nothing_to_clean(&release.vm, &self.show());
        let unfit = release.unfit.as_ref();
        let unfit = unfit.map(|why| format!("it could not be cleaned after show {}: {why}", self.id));
        self.give_back(me, release, cleaned, unfit).await;
    }

    /// Cleans the VM; [`Message::Cleaned`] has the report.
    fn clean(&mut self, me: &ActorRef<Message>, release: Unreleased) {
        let state = self.ctx.state();
        // With what was forgiven of shows before.
        let before = state.vm(&release.vm).and_then(|vm| vm.leftover.as_deref());
        let leftover = Leftover::of(&self.show()).and(before);
        let (ctx, me) = (Arc::clone(&self.ctx), me.clone());
        self.turning = Some(Task::spawn(async move {
            let report = cleaning::clean(&ctx, &release.vm, &leftover).await;
            let (release, report) = (Box::new(release), Box::new(report));
            let _ = me.cast(Message::Cleaned { release, report });
        }));
    }

    pub(super) async fn cleaned(&mut self, me: &ActorRef<Message>, release: Unreleased, report: Report) {
        if !self.is_under_way(&release) {
            return;
        }
        let (cleaned, unclean) = cleaning::verdict(&self.ctx, report);
        if let Some(reason) = &unclean {
            cleaning::alert(&self.ctx, &release.vm, reason);
        }
        let cleaned = Event::vm(&release.vm, cleaned);
        self.give_back(me, release, Some(cleaned), unclean).await;
    }

    /// Gives the VM back, with what is to be recorded of it.
    async fn give_back(
        &mut self,
        me: &ActorRef<Message>,
        release: Unreleased,
        cleaned: Option<Event>,
        unfit: Option<String>,
    ) {
        let released = Fact::Released {
            vm: release.vm.clone(),
            key: None,
        };
        let mut events = vec![Event::show(&self.id, released)];
        events.extend(cleaned);
        let faults: Vec<String> = unfit.into_iter().chain(self.not_archived(&release.vm)).collect();
        if !faults.is_empty() {
            let reason = faults.join("; ");
            events.push(Event::vm(&release.vm, vm::Event::Faulted { reason }));
        }
        if let Err(error) = self.ctx.commit(events).await {
            return self.not_recorded(me, release, error);
        }
        let released = self.let_go(me, &release.vm, release.stop_vm);
        self.answer_released(&released);
    }

    fn answer_released(&mut self, released: &Released) {
        for reply in self.waiting_for_release.drain(..) {
            answer(reply, Ok(released.clone()));
        }
    }

    fn not_recorded(&mut self, me: &ActorRef<Message>, release: Unreleased, error: CommitError) {
        self.record_later(me, release, &error);
        let error = commit_error(error);
        for reply in self.waiting_for_release.drain(..) {
            answer(reply, Err(error.clone()));
        }
    }

    /// The ledger did not take what was done: tried again.
    fn record_later(&self, me: &ActorRef<Message>, release: Unreleased, error: &CommitError) {
        tracing::warn!(show = %self.id, vm = %release.vm, %error, "the release was not recorded; trying again");
        let (ctx, me) = (Arc::clone(&self.ctx), me.clone());
        task::effect(async move {
            tokio::time::sleep(TRY_AGAIN).await;
            ctx.decided().await;
            let _ = me.cast(Message::ReleaseAgain(Box::new(release)));
        });
    }

    /// The release goes on; whoever waits for it is told why it is not over.
    fn not_silent(&mut self, me: &ActorRef<Message>, release: Unreleased, message: String) {
        let vm = &release.vm;
        tracing::error!(show = %self.id, %vm, error = message, "the VM is not silenced yet; trying again");
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
        task::send_later(me, TRY_AGAIN, move || Message::ReleaseAgain(Box::new(release)));
    }

    fn let_go(&mut self, me: &ActorRef<Message>, vm: &VmId, stop_vm: bool) -> Released {
        self.steps.clear();
        self.renewing = None;
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
        tracing::info!(%vm, stop_vm, "the show has given its VM back");
        self.tell_released(vm, false)
    }

    fn is_releasing(&self, vm: &VmId) -> bool {
        let show = self.show();
        matches!(show.phase, Phase::Releasing { .. }) && show.vm.as_ref() == Some(vm)
    }

    fn tell_released(&self, vm: &VmId, repeated: bool) -> Released {
        let state = self.ctx.state();
        let known = state.vm(vm);
        let report = known.and_then(|vm| vm.cleaning.clone());
        Released {
            show: self.id.clone(),
            vm: Some(vm.clone()),
            status: known.map(|vm| vm.status()),
            // The next show may have left it by now.
            report: report.filter(|report| report.show == self.id),
            archive: self.show().archive.clone(),
            repeated,
        }
    }
}

/// What is asked of a release that is under way without it, and what to do instead. It goes on as it began: its VM may have
/// been cleaned already, and whoever began it waits for what he asked for.
fn unmet(ask: &Release, show: &Show, stops_vm: bool) -> Option<&'static str> {
    if ask.archive && show.archive.is_none() {
        Some(
            "that release was begun without archiveRecordings; ask without it, and fetch the recordings from its VM, where \
             they stay",
        )
    } else if ask.stop_vm && !stops_vm {
        Some(
            "that release was begun without stopVM; ask without it, and stop the VM once the show has released it",
        )
    } else {
        None
    }
}
