//! Readiness: what a VM that boots must have shown before it is given to a show.
//!
//! The show server, OBS and SSH have each answered since it booted, over the sessions that are open now, and OBS has
//! drawn a check frame: one that runs without drawing answers everything. What a show left on it is gone
//! ([`super::clean`]), for which OBS need not answer yet. What is missing is named in the VM's record all the while. A studio that a show holds is looked at and not touched, and may show black.

use std::sync::Arc;
use std::time::Duration;

use super::clean::Cleaning;
use super::link::Link;
use super::report::stray;
use super::{Message, State, Studio};
use crate::actors::mailbox::ActorRef;
use crate::actors::task::Unended;
use crate::actors::{show, task};
use crate::domain::failover::verdict::Sign;
use crate::domain::vm::{self, Health, Vm};
use crate::infra::obs::Frame;

/// Limit on one check frame: half a dozen requests, each of which has a limit too.
const FRAME_DEADLINE: Duration = Duration::from_secs(10);

/// What each service said last when it was not well.
#[derive(Debug, Clone, Default)]
pub(super) struct Troubles {
    pub probe: Option<String>,
    pub obs: Option<String>,
    pub ssh: Option<String>,
}

impl Troubles {
    /// What is told of them in one line. SSH before OBS, which may only be out of reach because SSH is.
    pub(super) fn worst(&self) -> Option<String> {
        [
            ("show server", &self.probe),
            ("SSH", &self.ssh),
            ("OBS", &self.obs),
        ]
        .into_iter()
        .find_map(|(service, trouble)| Some(format!("{service}: {}", trouble.as_ref()?)))
    }
}

/// The check frame of the studio that the VM has a session with.
#[derive(Debug, Default)]
pub(super) enum CheckFrame {
    #[default]
    Unseen,
    Asked,
    /// Why not, to be asked again with the next check.
    Failed(String),
    Drawn,
}

impl State {
    /// A booting VM is ready once everything that it should have has answered. `was_probe`: a check has ended, so
    /// what failed may be tried again.
    pub(super) async fn settle_boot(&mut self, me: &ActorRef<Message>, vm: &Vm, was_probe: bool) {
        let mut missing = self.missing();
        if self.missing_to_clean().is_empty() {
            missing.extend(self.clean_before_ready(me, vm, was_probe).await);
        }
        if missing.is_empty() && self.ctx.world.obs.is_some() {
            match &self.frame {
                CheckFrame::Drawn => {}
                CheckFrame::Failed(why) => {
                    missing.push(format!("check frame ({why})"));
                    if was_probe {
                        self.ask_for_frame(me, vm);
                    }
                }
                CheckFrame::Unseen => {
                    missing.push("check frame".to_owned());
                    self.ask_for_frame(me, vm);
                }
                CheckFrame::Asked => missing.push("check frame".to_owned()),
            }
        }
        if missing.is_empty() {
            return self.become_ready(me, vm).await;
        }
        self.observation.error = Some(format!("waiting for: {}", missing.join(", ")));
        self.ctx.board.post(&self.id, self.observation.clone());
    }

    /// What has not answered since it booted, each with why where that is known.
    pub(super) fn missing(&self) -> Vec<String> {
        self.missing_of(|_| true)
    }

    /// What of that keeps it from being cleaned. Not OBS where cleaning can start it, over SSH: one that was cut off
    /// in the middle has left OBS off.
    pub(super) fn missing_to_clean(&self) -> Vec<String> {
        let over_ssh = Link::Ssh.is_wanted(&self.ctx);
        self.missing_of(|link| link != Link::Obs || !over_ssh)
    }

    fn missing_of(&self, counts: impl Fn(Link) -> bool) -> Vec<String> {
        let is_needed = |link: Link| link.is_wanted(&self.ctx) && counts(link);
        let unanswered = self.unanswered().into_iter();
        let mut missing: Vec<String> = unanswered
            .filter(|(link, _)| is_needed(*link))
            .map(|(_, missing)| missing)
            .collect();
        let (now, needed) = (
            self.ctx.now(),
            Link::ALL.into_iter().filter(|link| is_needed(*link)),
        );
        let stalls = self.ctx.stalls();
        if !self
            .reboot
            .is_none_or(|reboot| reboot.is_over(needed, &stalls, now))
        {
            missing.push("its reboot".to_owned());
        }
        missing
    }

    /// Links whose service has not answered, each with what is told of that.
    fn unanswered(&self) -> Vec<(Link, String)> {
        let reading = self.observation.reading;
        // Not the show server's word on it, which counts elsewhere.
        let studio = matches!(self.signals.obs, Sign::Good { .. }) && self.studio.is_some();
        let shell = reading.ssh == Some(true) && self.shell.borrow().is_some();
        [
            (
                Link::Probe,
                "show server",
                reading.node == Some(true),
                &self.troubles.probe,
            ),
            (Link::Obs, "OBS", studio, &self.troubles.obs),
            (Link::Ssh, "SSH", shell, &self.troubles.ssh),
        ]
        .into_iter()
        .filter(|(_, _, answers, _)| !answers)
        .map(|(link, name, _, why)| match why {
            Some(why) => (link, format!("{name} ({why})")),
            None => (link, format!("{name} (no answer yet)")),
        })
        .collect()
    }

    /// Everything that keeps it from being ready, for people.
    pub(super) fn all_missing(&self) -> String {
        let mut missing = self.missing();
        if let Cleaning::Failed(why) = &self.cleaning {
            missing.push(format!("cleaning ({why})"));
        }
        if let CheckFrame::Failed(why) = &self.frame {
            missing.push(format!("check frame ({why})"));
        }
        if missing.is_empty() {
            missing.push("check frame".to_owned());
        }
        missing.join(", ")
    }

    fn ask_for_frame(&mut self, me: &ActorRef<Message>, vm: &Vm) {
        let Some(studio) = self.studio.clone() else { return };
        self.frame = CheckFrame::Asked;
        let is_held = vm.occupancy.tenant().is_some();
        let me = me.clone();
        task::effect(async move {
            let frame = task::ended(FRAME_DEADLINE, studio.check_frame(!is_held)).await;
            let result = match frame {
                Ok(Ok(Frame::Drawn)) => Ok(()),
                // What a show wants to be seen may be black.
                Ok(Ok(Frame::Blank)) if is_held => Ok(()),
                Ok(Ok(Frame::Blank)) => Err("blank: OBS draws nothing".to_owned()),
                Ok(Err(error)) => Err(error.to_string()),
                Err(Unended::TooLong(limit)) => Err(format!("none within {} s", limit.as_secs())),
                Err(why @ Unended::Panicked) => Err(why.to_string()),
            };
            let _ = me.cast(Message::FrameChecked { studio, result });
        });
    }

    pub(super) async fn frame_checked(
        &mut self,
        me: &ActorRef<Message>,
        studio: &Arc<dyn Studio>,
        result: Result<(), String>,
    ) {
        let is_current = self
            .studio
            .as_ref()
            .is_some_and(|current| Arc::ptr_eq(current, studio));
        if !is_current || !matches!(self.frame, CheckFrame::Asked) {
            return;
        }
        self.frame = match result {
            Ok(()) => CheckFrame::Drawn,
            Err(why) => CheckFrame::Failed(why),
        };
        if let Some(vm) = self.vm()
            && vm.power == vm::Power::Booting
        {
            self.settle_boot(me, &vm, false).await;
        }
    }

    async fn become_ready(&mut self, me: &ActorRef<Message>, vm: &Vm) {
        let mut events = vec![vm::Event::Ready];
        if vm.is_free() && self.publishes() {
            events.push(stray());
        }
        if self.commit(events).await {
            // Whatever fault it had has ended with its being ready.
            self.withhold_for_archive().await;
            self.reboot = None;
            self.hysteresis = crate::domain::health::Hysteresis::new(Health::Healthy);
            self.good_in_a_row = 0;
            self.observation.error = None;
            self.observation.proven_at = Some(self.ctx.now());
            self.ctx.board.post(&self.id, self.observation.clone());
            self.duty_changed(me).await;
            self.tell_show(vm, |vm| show::Message::VmReady { vm });
            self.ctx.pool.poke();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Troubles;

    #[test]
    fn what_cut_the_way_to_a_studio_is_told_rather_than_that_it_is_cut() {
        let mut troubles = Troubles::default();
        assert_eq!(troubles.worst(), None);
        troubles.obs = Some("the way there is cut".to_owned());
        assert_eq!(troubles.worst().as_deref(), Some("OBS: the way there is cut"));
        troubles.ssh = Some("another host key".to_owned());
        assert_eq!(troubles.worst().as_deref(), Some("SSH: another host key"));
        troubles.probe = Some("connection refused".to_owned());
        assert_eq!(
            troubles.worst().as_deref(),
            Some("show server: connection refused")
        );
    }
}
