//! A reboot: asked of the cloud, and told apart from the machine as it was before.
//!
//! EC2 accepts a reboot at once and carries it out later: until the machine goes down, everything on it answers as
//! before. An answer counts only if it is from after that: its link was interrupted since, or the show server says
//! that it started since. A machine on which neither was seen for [`UNSEEN`] is taken as it is.

use std::sync::Arc;
use std::time::Duration;

use ractor::RpcReplyPort;

use super::link::Link;
use super::report::Report;
use super::{Message, State, VmError};
use crate::actors::coordinator::PowerTurned;
use crate::actors::mailbox::{ActorRef, answer};
use crate::actors::task;
use crate::domain::instance::PowerChange;
use crate::domain::stall::Stalls;
use crate::domain::time::Timestamp;
use crate::domain::vm::{self, Occupancy, Power, Vm};
use crate::infra::cloud::{Error as CloudError, StateChange};
use crate::infra::obs;

type Reply = RpcReplyPort<Result<PowerTurned, VmError>>;

/// A machine that reboots has gone down by then.
const UNSEEN: Duration = Duration::from_secs(30);

/// Which links have reached the machine as it is after its reboot. It counts from when the reboot was asked for: the
/// cloud may be slower to answer than to act.
#[derive(Debug, Clone, Copy)]
pub struct Reboot {
    asked_at: Timestamp,
    probe: Evidence,
    obs: Evidence,
    ssh: Evidence,
    /// When the first answer from after the reboot came.
    up_since: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Evidence {
    /// What it heard may be from before.
    Old,
    /// It was interrupted since.
    Interrupted,
    /// It was answered after that.
    New,
}

impl Reboot {
    pub fn asked(at: Timestamp) -> Self {
        Self {
            asked_at: at,
            probe: Evidence::Old,
            obs: Evidence::Old,
            ssh: Evidence::Old,
            up_since: None,
        }
    }

    pub fn note(&mut self, report: &Report, now: Timestamp) {
        match report {
            Report::Probed { began, result, .. } => match result {
                Ok(status) => {
                    let started_at = status
                        .uptime_s
                        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
                        .map(|uptime| now - uptime);
                    let started_since = started_at.is_some_and(|at| at > self.asked_at);
                    let up_before = self.up_since.is_some_and(|since| *began >= since);
                    self.answered(Link::Probe, started_since || up_before, now);
                }
                Err(_) => self.interrupted(Link::Probe),
            },
            Report::StudioUp { .. } | Report::Output { .. } => {
                self.answered(Link::Obs, self.up_since.is_some(), now);
            }
            // The way there was cut, which the SSH link says for itself.
            Report::StudioDown {
                error: obs::Error::Cut(_),
                ..
            }
            | Report::StudioSilent {
                error: obs::Error::Cut(_),
                ..
            } => {}
            Report::StudioLost | Report::StudioDown { .. } | Report::StudioSilent { .. } => {
                self.interrupted(Link::Obs);
            }
            Report::ShellUp { .. } | Report::ShellAnswered => {
                self.answered(Link::Ssh, self.up_since.is_some(), now);
            }
            Report::ShellDown { .. } => self.interrupted(Link::Ssh),
            Report::Noticed(_) | Report::Loaded(_) => {}
        }
    }

    /// `is_new`: known to be from after the reboot. No session outlives one, so whatever is heard over a session
    /// once anything on the machine is new is new too.
    fn answered(&mut self, link: Link, is_new: bool, now: Timestamp) {
        let evidence = self.evidence(link);
        if is_new || *evidence == Evidence::Interrupted {
            *evidence = Evidence::New;
            self.up_since.get_or_insert(now);
        }
    }

    fn interrupted(&mut self, link: Link) {
        *self.evidence(link) = Evidence::Interrupted;
    }

    fn evidence(&mut self, link: Link) -> &mut Evidence {
        match link {
            Link::Probe => &mut self.probe,
            Link::Obs => &mut self.obs,
            Link::Ssh => &mut self.ssh,
        }
    }

    /// Whether everything that was heard last over these links is from after the reboot. While this process did not run it
    /// would have missed that the machine went down.
    pub fn is_over(mut self, links: impl Iterator<Item = Link>, stalls: &Stalls, now: Timestamp) -> bool {
        let mut links = links;
        stalls.left(self.asked_at, UNSEEN, now).is_zero()
            || links.all(|link| *self.evidence(link) == Evidence::New)
    }
}

impl State {
    /// Nothing here changes before the cloud has accepted it: a reboot that is refused has not happened.
    pub(super) fn reboot(&mut self, me: &ActorRef<Message>, force: bool, reply: Reply) {
        let vm = match self.rebootable(force) {
            Ok(vm) => vm,
            Err(error) => return answer(reply, Err(error)),
        };
        self.reboot_asked = Some(Reboot::asked(self.ctx.now()));
        let (ctx, me) = (Arc::clone(&self.ctx), me.clone());
        task::effect(async move {
            let result = ctx
                .world
                .cloud
                .change(vm.instance_id(), PowerChange::Reboot)
                .await;
            let _ = me.cast(Message::Rebooted { result, reply });
        });
    }

    fn rebootable(&self, force: bool) -> Result<Arc<Vm>, VmError> {
        let vm = self.vm().ok_or(VmError::Gone)?;
        let on_air = matches!(vm.occupancy, Occupancy::OnAir { .. });
        let up = matches!(vm.power, Power::Booting | Power::Ready);
        let advice = match (on_air && !force, up) {
            (true, _) => "a show is on air on it; use force to reboot it all the same",
            (false, false) => "only a running VM can be rebooted",
            (false, true) => return Ok(vm),
        };
        Err(VmError::WrongStatus {
            status: vm.status(),
            advice,
        })
    }

    pub(super) async fn rebooted(
        &mut self,
        me: &ActorRef<Message>,
        result: Result<StateChange, CloudError>,
        reply: Reply,
    ) {
        let outcome = match result {
            Ok(change) => self.begin_boot(me, change).await,
            Err(error) => Err(VmError::Cloud(error)),
        };
        self.reboot_asked = None;
        answer(reply, outcome);
        self.ctx.cloud.look_now();
    }

    async fn begin_boot(
        &mut self,
        me: &ActorRef<Message>,
        change: StateChange,
    ) -> Result<PowerTurned, VmError> {
        let vm = self.vm().ok_or(VmError::Gone)?;
        // Stopped meanwhile, it does not come up by itself.
        if matches!(vm.power, Power::Booting | Power::Ready) {
            self.try_commit(vec![vm::Event::Booting]).await?;
            let asked = self.reboot_asked.take();
            self.forget_machine();
            self.reboot = asked;
            self.await_ready(me);
            self.duty_changed(me).await;
        }
        let instance = vm.instance_id().clone();
        Ok(super::power::turned(self.id.clone(), instance, change, None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infra::obs::Error as ObsError;
    use crate::infra::probe::{Error as ProbeError, ServerStatus};

    const ASKED: Timestamp = Timestamp(1_000_000);

    fn later(ms: u64) -> Timestamp {
        ASKED + Duration::from_millis(ms)
    }

    fn probed(ms: u64, uptime_s: Option<f64>) -> Report {
        let status = ServerStatus {
            obs_connected: None,
            obs_streaming: None,
            obs_recording: None,
            obs_scene: None,
            uptime_s,
            version: None,
            response_time: Duration::ZERO,
        };
        Report::Probed {
            began: later(ms),
            since: later(ms),
            result: Ok(status),
        }
    }

    fn unanswered(ms: u64) -> Report {
        Report::Probed {
            began: later(ms),
            since: later(ms),
            result: Err(ProbeError::Refused),
        }
    }

    fn studio_down(ms: u64) -> Report {
        Report::StudioDown {
            since: later(ms),
            error: ObsError::Refused,
        }
    }

    fn studio_answers(ms: u64) -> Report {
        let output = crate::domain::studio::Output {
            active: false,
            reconnecting: false,
            bytes: 0,
            duration_ms: 0,
            skipped_frames: 0,
            total_frames: 0,
        };
        Report::Output {
            output,
            at: later(ms),
        }
    }

    fn is_over(reports: &[(u64, Report)], at: u64) -> bool {
        let mut reboot = Reboot::asked(ASKED);
        for (ms, report) in reports {
            reboot.note(report, later(*ms));
        }
        let stalls = Stalls::new(later(at));
        reboot.is_over([Link::Probe, Link::Obs].into_iter(), &stalls, later(at))
    }

    #[test]
    fn answers_of_a_machine_that_has_not_gone_down_yet_do_not_count() {
        let before = [
            (10, probed(5, Some(3_600.0))),
            (20, studio_answers(20)),
            (1_000, probed(990, None)),
        ];
        assert!(!is_over(&before, 1_000));
    }

    #[test]
    fn an_answer_counts_after_its_link_was_interrupted() {
        let reports = [
            (10, studio_down(10)),
            (20, probed(15, None)),
            (30, unanswered(25)),
            (40, studio_answers(40)),
        ];
        assert!(!is_over(&reports, 50), "the show server has not answered since");
        let reports = reports.into_iter().chain([(60, probed(55, None))]);
        assert!(is_over(&reports.collect::<Vec<_>>(), 60));
    }

    #[test]
    fn a_show_server_that_was_never_missed_counts_by_its_uptime_or_after_the_studio_came_back() {
        let back = || [(10, studio_down(10)), (3_000, studio_answers(3_000))];
        let with = |probe| is_over(&back().into_iter().chain([probe]).collect::<Vec<_>>(), 3_100);
        assert!(
            with((3_100, probed(3_050, None))),
            "asked after the studio came back"
        );
        assert!(!with((3_100, probed(2_990, None))), "asked before");
        assert!(
            with((3_100, probed(2_990, Some(1.0)))),
            "it says that it started since"
        );
        assert!(
            !with((3_100, probed(2_990, Some(4.0)))),
            "it says that it has not"
        );
    }

    #[test]
    fn a_machine_that_was_never_seen_to_go_down_is_taken_as_it_is_after_a_while() {
        assert!(!is_over(&[], 29_999));
        assert!(is_over(&[], 30_000));
    }

    #[test]
    fn a_machine_is_not_taken_as_it_is_because_nobody_was_there_to_see_it_go_down() {
        let mut stalls = Stalls::new(ASKED);
        let asleep = stalls.look(later(60_000));
        assert!(asleep.is_some());
        let is_over = |at| Reboot::asked(ASKED).is_over(Link::ALL.into_iter(), &stalls, later(at));
        assert!(!is_over(60_000) && !is_over(89_999));
        assert!(is_over(90_000));
    }
}
