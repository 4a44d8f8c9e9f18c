//! Signals in, verdict out.

use std::sync::Arc;
use std::time::Duration;

use super::{Message, State, effects};
use crate::actors::coordinator::CommandError;
use crate::actors::mailbox::ActorRef;
use crate::actors::news::Level;
use crate::actors::task;
use crate::domain::failover::Cause;
use crate::domain::failover::verdict::{self, IngestSign, Signals, Verdict};
use crate::domain::ids::VmId;
use crate::domain::show::{Event as Fact, Phase, Show};
use crate::domain::time::Timestamp;
use crate::domain::vm::Power;

/// A show is judged at least this often while it is watched.
const JUDGE_EVERY: Duration = Duration::from_millis(500);
/// A show that is not on air can afford more patience than one that is.
const PATIENCE_OFF_AIR: u32 = 5;
/// Between two questions to other VMs whether the ingest answers. Each is a command on a VM.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// How often another VM is sought for one that did not come up.
const REPLACE_EVERY: Duration = Duration::from_secs(5);

impl State {
    pub(super) async fn signals(&mut self, me: &ActorRef<Message>, vm: &VmId, signals: Signals) {
        let show = self.show();
        if show.vm.as_ref() != Some(vm) {
            return;
        }
        self.signals = signals.expecting_output_from(self.on_air_since);
        match show.phase {
            Phase::OnAir | Phase::OffAir => {
                self.notice_stream(me, &show, vm).await;
                self.judge(me).await;
            }
            Phase::FailingOver(_) if signals.is_publishing() => self.drive(me).await,
            Phase::Idle | Phase::FailingOver(_) | Phase::Releasing { .. } => {}
        }
    }

    pub(super) async fn studio_up(&mut self, me: &ActorRef<Message>, vm: &VmId) {
        let show = self.show();
        match &show.phase {
            Phase::FailingOver(failover) if failover.to.as_ref() == Some(vm) => self.drive(me).await,
            Phase::OffAir | Phase::OnAir if show.vm.as_ref() == Some(vm) => {
                self.capture_soon(me, self.ctx.options.obs.capture_debounce);
            }
            Phase::Idle | Phase::OffAir | Phase::OnAir | Phase::FailingOver(_) | Phase::Releasing { .. } => {}
        }
    }

    pub(super) async fn vm_ready(&mut self, me: &ActorRef<Message>, vm: &VmId) {
        let show = self.show();
        if show.failover().is_some() {
            self.drive(me).await;
        } else if show.vm.as_ref() == Some(vm) && show.phase == Phase::OffAir {
            self.go_on(me, &show);
        }
    }

    pub(super) async fn vm_failed(&mut self, me: &ActorRef<Message>, vm: &VmId, reason: String) {
        let show = self.show();
        match &show.phase {
            Phase::FailingOver(failover) if failover.to.as_ref() == Some(vm) => {
                self.lose_spare(me, vm, reason).await;
            }
            Phase::OffAir if show.vm.as_ref() == Some(vm) => {
                self.replace_reserved(vm, &reason).await;
                self.judge_at(me, self.ctx.now() + REPLACE_EVERY);
            }
            Phase::Idle | Phase::OffAir | Phase::OnAir | Phase::FailingOver(_) | Phase::Releasing { .. } => {}
        }
    }

    /// A timer that was set before the look was put off, or brought forward, has nothing to say: each would set the next, and
    /// there would be more and more of them.
    pub(super) async fn judge_if_due(&mut self, me: &ActorRef<Message>) {
        if self.judge_due.is_some_and(|due| due <= self.ctx.now()) {
            self.judge_due = None;
            self.judge(me).await;
        }
    }

    pub(super) async fn judge(&mut self, me: &ActorRef<Message>) {
        let show = self.show();
        if !matches!(show.phase, Phase::OnAir | Phase::OffAir) {
            return;
        }
        let now = self.ctx.now();
        self.judge_at(me, now + JUDGE_EVERY);
        if self.start_reserved(&show) {
            // That it is off is no news.
            return;
        }
        if self.reserved_vm_failed(&show) && self.retry_replacement(me, &show).await {
            return;
        }
        match verdict::judge(
            &self.signals,
            self.ingest,
            show.phase == Phase::OnAir,
            &self.policy(&show),
            now,
        ) {
            Verdict::Fine => self.told_ingest_away = false,
            Verdict::Suspect { recheck_at, .. } => self.judge_at(me, recheck_at),
            Verdict::AskIngest { .. } | Verdict::NotThisVm { .. } | Verdict::Lost { .. }
                if !self.has_listened(now) => {}
            Verdict::AskIngest { .. } => self.ask_ingest(me),
            Verdict::NotThisVm { .. } => {
                self.tell_ingest_away(&show);
                self.ask_ingest(me);
            }
            Verdict::Lost { cause, since } => self.lost(me, &show, cause, since).await,
        }
    }

    /// This process has run for long enough to have heard whoever speaks.
    fn has_listened(&self, now: Timestamp) -> bool {
        let silence_limit = self.ctx.options.failover.verdict.silence_limit;
        self.ctx.stalls().none_within(silence_limit, now)
    }

    fn policy(&self, show: &Show) -> verdict::Policy {
        let on_air = self.ctx.options.failover.verdict;
        if show.phase == Phase::OnAir || show.stream_wanted {
            return on_air;
        }
        verdict::Policy {
            silence_limit: on_air.silence_limit * PATIENCE_OFF_AIR,
            studio_grace: on_air.silence_limit * PATIENCE_OFF_AIR,
        }
    }

    pub(super) fn judge_at(&mut self, me: &ActorRef<Message>, at: Timestamp) {
        if self.judge_due.is_some_and(|due| due <= at) {
            return;
        }
        self.judge_due = Some(at);
        me.send_after(at.since(self.ctx.now()), || Message::Judge);
    }

    fn reserved_vm_failed(&self, show: &Show) -> bool {
        let state = self.ctx.state();
        let vm = show.vm.as_ref().and_then(|vm| state.vm(vm));
        show.phase == Phase::OffAir
            && vm.is_some_and(|vm| vm.failed_since_given() && vm.power != Power::Ready)
    }

    /// Whether the VM was replaced, or there is none to replace it with yet. A VM that must be fenced first is
    /// left by a failover.
    async fn retry_replacement(&mut self, me: &ActorRef<Message>, show: &Show) -> bool {
        let Some(vm) = show.vm.clone() else { return false };
        let handled = self.replace_reserved(&vm, "it did not come up").await;
        self.judge_due = None;
        self.judge_at(me, self.ctx.now() + REPLACE_EVERY);
        handled
    }

    async fn lost(&mut self, me: &ActorRef<Message>, show: &Show, cause: Cause, since: Timestamp) {
        let options = &self.ctx.options.failover;
        if !options.enabled || show.held {
            if !std::mem::replace(&mut self.told_held, true) {
                let message = format!(
                    "show {} should be moved ({}), but automatic failover is {}; move it by hand",
                    self.id,
                    cause.as_str(),
                    if show.held {
                        "on hold for it"
                    } else {
                        "switched off"
                    }
                );
                self.alert(Level::Critical, "Failover is held", message, show.vm.as_ref());
            }
            return;
        }
        if options.cap.is_reached(show.moves(), self.ctx.now()) {
            let (moves, window_s) = (options.cap.moves_max, options.cap.window.as_secs());
            let message = format!(
                "show {} was moved {moves} times within {window_s} s and is now on hold; move it by hand",
                self.id
            );
            self.alert(Level::Critical, "Failover cap reached", message, show.vm.as_ref());
            self.told_held = true;
            self.note(Fact::Held { held: true }).await;
            return;
        }
        if let Err(error) = self.begin_move(me, show, cause, since, None).await {
            tracing::error!(show = %self.id, %error, "the failover could not be decided; trying again");
        }
    }

    pub(super) async fn hold(&mut self, me: &ActorRef<Message>, held: bool) -> Result<(), CommandError> {
        self.told_held = false;
        let show = self.commit(vec![Fact::Held { held }]).await?;
        if let Some(failover) = show.failover().filter(|failover| !held && failover.to.is_none()) {
            // The operator has looked: one more, whatever the cap says. Without a spare the move goes on as it can.
            self.told_waiting = false;
            if let Err(error) = self.choose_spare(me, failover, None).await {
                tracing::info!(show = %self.id, %error, "let go on, and there is no spare yet");
                let _ = me.cast(Message::Drive);
            }
        }
        Ok(())
    }

    fn ask_ingest(&mut self, me: &ActorRef<Message>) {
        let now = self.ctx.now();
        let is_too_soon = |at: Timestamp| now.since(at) < ASK_AGAIN;
        if self.asking_ingest || self.ingest_asked_at.is_some_and(is_too_soon) {
            return;
        }
        self.asking_ingest = true;
        self.ingest_asked_at = Some(now);
        let (ctx, me, show) = (Arc::clone(&self.ctx), me.clone(), self.id.clone());
        task::effect(async move {
            let limit = ctx.options.failover.ingest_check_deadline * 4;
            let asked = task::ended(limit, effects::ingest_is_reachable(&ctx, &show)).await;
            let _ = me.cast(Message::IngestAnswered {
                reachable: asked.unwrap_or(None),
            });
        });
    }

    pub(super) async fn ingest_answered(&mut self, me: &ActorRef<Message>, reachable: Option<bool>) {
        self.asking_ingest = false;
        let at = self.ctx.now();
        self.ingest = match reachable {
            Some(true) => self
                .ingest_away_at
                .map_or(IngestSign::Reachable { at }, |away_at| IngestSign::Back {
                    at,
                    away_at,
                }),
            Some(false) => {
                self.ingest_away_at = Some(at);
                IngestSign::Unreachable { at }
            }
            None => IngestSign::Unknown,
        };
        if reachable.is_none() && !std::mem::replace(&mut self.told_ingest_away, true) {
            let show = self.show();
            let message = format!(
                "no output leaves the VM of show {}, and no other VM could be asked whether the ingest answers; \
                 not moving it on that",
                self.id
            );
            self.alert(Level::Critical, "No output", message, show.vm.as_ref());
        }
        if reachable.is_none() {
            let show = self.show();
            self.renew_in_doubt(&show);
        }
        // Where nobody can be asked, that is known at once: it is asked again at the next look, and not before.
        if reachable.is_some() {
            self.judge(me).await;
        }
    }

    fn tell_ingest_away(&mut self, show: &Show) {
        if std::mem::replace(&mut self.told_ingest_away, true) {
            return;
        }
        let message = format!(
            "show {} sends nothing because its ingest cannot be reached, from other VMs either; \
             moving it would not help",
            self.id
        );
        self.alert(Level::Critical, "Ingest unreachable", message, show.vm.as_ref());
    }

    pub(super) fn alert(&self, level: Level, title: &str, message: String, vm: Option<&VmId>) {
        let source = format!("vm-failover-{}", self.id);
        self.ctx.alert(level, source, title, message, Some(&self.id), vm);
    }
}
