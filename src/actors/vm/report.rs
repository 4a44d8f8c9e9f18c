//! What the links report, and what it becomes: signals, a reading, an observation, health.

use std::sync::Arc;
use std::time::Duration;

use super::clean::proven;
use super::ready::CheckFrame;
use super::{Message, State, Studio};
use crate::actors::mailbox::ActorRef;
use crate::actors::news::Item;
use crate::actors::{show, task};
use crate::domain::event::Event;
use crate::domain::failover::verdict::{OutputSign, Sign, Trouble};
use crate::domain::health::Reading;
use crate::domain::load::Load;
use crate::domain::studio::Output;
use crate::domain::time::Timestamp;
use crate::domain::vm::{self, Health, Power, Vm};
use crate::infra::probe::{Error as ProbeError, ServerStatus};
use crate::infra::{obs, ssh};

/// A look at the output that is this much younger than the end of a show is not of that show's stream.
const OUTPUT_SETTLED: Duration = Duration::from_secs(1);

/// Limit on stopping an abandoned stream: longer than OBS needs to end one.
const SILENCE: Duration = Duration::from_secs(15);

/// From a link to its VM.
pub enum Report {
    Probed {
        began: Timestamp,
        /// The silence began then, if this went unanswered.
        since: Timestamp,
        result: Result<ServerStatus, ProbeError>,
    },
    StudioUp {
        session: Arc<dyn Studio>,
    },
    /// The session is gone; whether the studio is, the next call tells.
    StudioLost,
    /// The studio could not be called.
    StudioDown {
        since: Timestamp,
        error: obs::Error,
    },
    /// The studio does not answer on its session.
    StudioSilent {
        since: Timestamp,
        error: obs::Error,
    },
    Output {
        output: Output,
        at: Timestamp,
    },
    Noticed(obs::Notice),
    ShellUp {
        session: Arc<dyn ssh::Session>,
    },
    ShellAnswered,
    ShellDown {
        since: Timestamp,
        error: ssh::Error,
    },
    /// How busy the machine is.
    Loaded(Load),
}

impl State {
    pub(super) async fn reported(&mut self, me: &ActorRef<Message>, report: Report) {
        let Some(vm) = self.vm() else { return };
        if !matches!(vm.power, Power::Booting | Power::Ready) {
            // A late word from a machine that is being switched off.
            return;
        }
        let was_probe = matches!(report, Report::Probed { .. });
        let now = self.ctx.now();
        for reboot in self.reboot.iter_mut().chain(&mut self.reboot_asked) {
            reboot.note(&report, now);
        }
        let studio_before = self.signals.obs;
        self.take_in(&vm, report);
        self.ask_cloud_if_out_of_sight(&vm, studio_before);
        self.observation.signals = self.signals;
        self.observation.reading = self.reading(&vm);
        self.observation.error = self.troubles.worst();
        self.ctx.board.post(&self.id, self.observation.clone());
        self.tell_signals(&vm);
        match vm.power {
            Power::Booting => self.settle_boot(me, &vm, was_probe).await,
            Power::Ready if self.is_stray(&vm) => self.set_aside_stray().await,
            Power::Ready if was_probe && !self.is_being_cleaned(&vm) => self.settle_health(me, &vm).await,
            Power::Ready | Power::Stopped | Power::Starting { .. } | Power::Stopping { .. } => {}
        }
        self.clean_if_left(me).await;
    }

    /// A show's studio that does not say that it is gone, but cannot be heard any more, may be on a machine that is
    /// being switched off.
    fn ask_cloud_if_out_of_sight(&self, vm: &Vm, before: Sign) {
        let is_out_of_sight = matches!(
            self.signals.obs,
            Sign::Bad {
                how: Trouble::Silent | Trouble::Cut,
                ..
            }
        );
        if is_out_of_sight && matches!(before, Sign::Good { .. }) && vm.occupancy.tenant().is_some() {
            self.ctx.cloud.ask_for(&self.id);
        }
    }

    fn take_in(&mut self, vm: &Vm, report: Report) {
        let now = self.ctx.now();
        match report {
            Report::Probed { began, since, result } => self.probed(began, since, result),
            Report::StudioUp { session } => {
                self.studio = Some(session);
                self.frame = CheckFrame::Unseen;
                self.troubles.obs = None;
                self.bytes = None;
                self.signals.obs = Sign::good(now);
                self.tell_show(vm, |vm| show::Message::StudioUp { vm });
            }
            Report::StudioLost => {
                self.studio = None;
                self.bytes = None;
            }
            Report::StudioDown { since, error } => {
                self.signals.obs = match studio_trouble(&error) {
                    Some(how) => self.signals.obs.worsen(since, how),
                    None => Sign::Unknown,
                };
                self.signals.output = OutputSign::Unknown;
                self.observation.output = None;
                self.troubles.obs = Some(error.to_string());
            }
            Report::StudioSilent { since, error } => {
                let how = studio_trouble(&error).unwrap_or(Trouble::Silent);
                self.signals.obs = self.signals.obs.worsen(since, how);
                self.troubles.obs = Some(error.to_string());
            }
            Report::Output { output, at } => self.output(output, at),
            Report::Noticed(notice) => self.noticed(vm, &notice),
            Report::ShellUp { session } => {
                self.shell.send_replace(Some(session));
                self.troubles.ssh = None;
                self.observation.ssh_fails_here = false;
                self.tell_of_shell_again(vm);
                self.signals.ssh = Sign::good(now);
            }
            Report::ShellAnswered => {
                self.troubles.ssh = None;
                self.signals.ssh = Sign::good(now);
            }
            Report::Loaded(load) => self.observation.load = Some((load, now)),
            Report::ShellDown { since, error } => {
                self.shell.send_replace(None);
                self.observation.load = None;
                self.tell_of_lost_shell(vm, &error);
                (self.signals.ssh, self.observation.ssh_fails_here) = match (shell_trouble(&error), &error) {
                    (Some(how), _) => (self.signals.ssh.worsen(since, how), false),
                    // The next try tells why.
                    (None, ssh::Error::Closed) => (self.signals.ssh, false),
                    (None, _) => (Sign::Unknown, true),
                };
                self.troubles.ssh = Some(error.to_string());
            }
        }
    }

    fn probed(&mut self, began: Timestamp, since: Timestamp, result: Result<ServerStatus, ProbeError>) {
        let now = self.ctx.now();
        self.observation.checked_at = Some(now);
        match result {
            Ok(status) => {
                self.signals.probe = Sign::good(now);
                self.observation.response_time = Some(status.response_time);
                self.observation.uptime_s = status.uptime_s;
                self.observation.version = status.version;
                self.observation.server_obs_connected = status.obs_connected;
                self.signals.hearsay = match status.obs_connected {
                    Some(true) => Sign::good(now),
                    Some(false) => self.signals.hearsay.worsen(began, Trouble::Refused),
                    None => Sign::Unknown,
                };
                self.observation.server_obs_streaming = status.obs_streaming;
                self.observation.server_obs_recording = status.obs_recording;
                self.observation.server_obs_scene = status.obs_scene;
                self.troubles.probe = None;
            }
            Err(error) => {
                self.troubles.probe = Some(error.to_string());
                let how = probe_trouble(&error);
                let since = if how == Trouble::Silent { since } else { began };
                self.signals.probe = self.signals.probe.worsen(since, how);
                self.signals.hearsay = Sign::Unknown;
                self.observation.response_time = None;
                self.observation.server_obs_connected = None;
                self.observation.server_obs_streaming = None;
            }
        }
    }

    fn output(&mut self, output: Output, at: Timestamp) {
        self.signals.obs = Sign::good(at);
        self.troubles.obs = None;
        let rose = output.active && self.bytes.is_some_and(|before| output.bytes > before);
        let turned = self
            .observation
            .output
            .is_none_or(|before| before.active != output.active);
        self.signals.output = match self.signals.output {
            _ if rose => {
                self.signals.last_output_at = Some(at);
                OutputSign::Rising { at }
            }
            flat @ OutputSign::Flat { .. } if !turned => flat,
            OutputSign::Rising { at } => OutputSign::Flat { since: at },
            // A stream that has just started or stopped is flat from now.
            OutputSign::Flat { .. } | OutputSign::Unknown => OutputSign::Flat { since: at },
        };
        self.bytes = Some(output.bytes);
        self.observation.output = Some(output);
    }

    fn noticed(&mut self, vm: &Vm, notice: &obs::Notice) {
        match notice {
            obs::Notice::Changed | obs::Notice::ProgramScene(_) => {
                self.tell_show(vm, |vm| show::Message::StudioChanged { vm });
            }
            obs::Notice::Stream { active } => {
                let active = *active;
                self.tell_show(vm, |vm| show::Message::StreamNoticed { vm, active });
            }
            obs::Notice::Exiting => tracing::info!(vm = %self.id, "the studio says that it is exiting"),
        }
    }

    pub(super) fn tell_signals(&self, vm: &Vm) {
        let signals = Box::new(self.signals);
        self.tell_show(vm, |vm| show::Message::Signals { vm, signals });
    }

    pub(super) fn tell_show(&self, vm: &Vm, message: impl FnOnce(crate::domain::ids::VmId) -> show::Message) {
        if let Some((show, _)) = vm.occupancy.tenant() {
            self.ctx.shows.tell(show, message(self.id.clone()));
        }
    }

    fn reading(&self, _: &Vm) -> Reading {
        let is_cut = matches!(
            self.signals.obs,
            Sign::Bad {
                how: Trouble::Cut,
                ..
            }
        );
        let obs = if self.ctx.world.obs.is_some() && !is_cut {
            up(self.signals.obs)
        } else {
            self.observation.server_obs_connected
        };
        Reading {
            node: up(self.signals.probe),
            obs,
            ssh: up(self.signals.ssh),
        }
    }

    async fn settle_health(&mut self, me: &ActorRef<Message>, vm: &Vm) {
        let now = self.ctx.now();
        let level = self.observation.reading.level();
        if level == Health::Healthy {
            self.observation.proven_at = Some(now);
            self.ctx.board.post(&self.id, self.observation.clone());
        }
        let thresholds = self.ctx.options.probe.thresholds;
        if let Some(health) = self.hysteresis.observe(level, thresholds)
            && self.commit(vec![vm::Event::HealthTurned { health }]).await
        {
            self.ctx.pool.poke();
        }
        self.ctx.news.tell(Item::Checked {
            vm: self.id.clone(),
            health: self.hysteresis.believed(),
            reading: self.observation.reading,
            response_time: self.observation.response_time,
            at: now,
        });
        if vm.fault.is_some() && vm.is_free() {
            self.prove(me, level).await;
        } else {
            self.withhold_for_archive().await;
        }
    }

    /// Its studio was last seen to stream.
    pub(super) fn publishes(&self) -> bool {
        self.observation.output.is_some_and(|output| output.active)
    }

    /// It publishes though no show holds it, and not just because what was seen of its output is older than the
    /// end of its last show.
    fn is_stray(&self, vm: &Vm) -> bool {
        let seen_at = match self.signals.obs {
            Sign::Good { at } => at,
            Sign::Unknown | Sign::Bad { .. } => return false,
        };
        let free = vm.is_free() && vm.fault.is_none();
        free && self.publishes() && seen_at.since(vm.last_state_change) > OUTPUT_SETTLED
    }

    /// Not to be given to a show before its stream is stopped; [`State::prove`] does that.
    async fn set_aside_stray(&mut self) {
        tracing::warn!(vm = %self.id, "it publishes though no show holds it");
        if self.commit(vec![stray()]).await {
            self.good_in_a_row = 0;
            if let Some(vm) = self.vm() {
                self.send_order(&vm);
            }
            self.ctx.pool.poke();
        }
    }

    /// A VM with a fault becomes usable again once it is certain that it publishes nothing for the show that left it, and
    /// that nothing of that is left on it, and checks in a row found everything in order.
    async fn prove(&mut self, me: &ActorRef<Message>, level: Health) {
        if self.publishes() {
            self.good_in_a_row = 0;
            self.silence(me);
            return;
        }
        let Some(vm) = self.vm() else { return };
        let is_left = vm.is_to_be_cleaned();
        let is_good = if is_left {
            self.missing_to_clean().is_empty()
        } else {
            self.is_proven(level)
        };
        self.good_in_a_row = if is_good { self.good_in_a_row + 1 } else { 0 };
        if self.good_in_a_row < self.ctx.options.probe.thresholds.recover {
            return;
        }
        self.good_in_a_row = 0;
        if is_left {
            return self.clean(me, &vm).await;
        }
        if vm.pursues_archive() {
            return self.archive_what_is_due(me, &vm).await;
        }
        if self.commit(proven(&vm)).await {
            self.hysteresis = crate::domain::health::Hysteresis::new(Health::Healthy);
            self.duty_changed(me).await;
            self.ctx.pool.poke();
        }
    }

    /// Everything is in order. What is not known of a service is no proof of it.
    pub(super) fn is_proven(&self, level: Health) -> bool {
        level == Health::Healthy && self.missing().is_empty()
    }

    /// Stops the stream of a VM that no show counts on.
    fn silence(&mut self, me: &ActorRef<Message>) {
        let (Some(studio), false) = (self.studio.clone(), self.silencing) else {
            return;
        };
        self.silencing = true;
        tracing::warn!(vm = %self.id, "it still publishes though its show has left it; stopping its stream");
        let me = me.clone();
        task::effect(async move {
            let trouble = match task::ended(SILENCE, studio.stop_stream()).await {
                Ok(stopped) => stopped.err().map(|error| error.to_string()),
                Err(why) => Some(why.to_string()),
            };
            if let Some(error) = trouble {
                tracing::warn!(
                    error,
                    "could not stop an abandoned stream; trying again at the next check"
                );
            }
            let _ = me.cast(Message::Silenced);
        });
    }

    /// Commits events about this VM; a refusal means that the world has moved on and is only logged.
    pub(super) async fn commit(&self, events: Vec<vm::Event>) -> bool {
        if events.is_empty() {
            return false;
        }
        let events = events
            .into_iter()
            .map(|event| Event::vm(&self.id, event))
            .collect();
        match self.ctx.commit(events).await {
            Ok(_) => true,
            Err(error) => {
                tracing::warn!(vm = %self.id, %error, "the ledger did not take an event");
                self.look_again_if_undecided(&error);
                false
            }
        }
    }
}

pub(super) fn stray() -> vm::Event {
    vm::Event::Faulted {
        reason: "it publishes though no show holds it; its stream is being stopped".to_owned(),
    }
}

fn up(sign: Sign) -> Option<bool> {
    match sign {
        Sign::Unknown => None,
        Sign::Good { .. } => Some(true),
        Sign::Bad { .. } => Some(false),
    }
}

/// `None`: it answered, but not so that it can be used.
pub fn studio_trouble(error: &obs::Error) -> Option<Trouble> {
    match error {
        obs::Error::Refused | obs::Error::Closed => Some(Trouble::Refused),
        obs::Error::TimedOut { .. } | obs::Error::Unreachable(_) => Some(Trouble::Silent),
        obs::Error::Cut(_) => Some(Trouble::Cut),
        obs::Error::BadPassword | obs::Error::Denied { .. } | obs::Error::Protocol(_) => None,
    }
}

fn probe_trouble(error: &ProbeError) -> Trouble {
    match error {
        ProbeError::TimedOut(_) | ProbeError::Unreachable(_) => Trouble::Silent,
        // The machine answered, if not well.
        ProbeError::Refused | ProbeError::Http(_) | ProbeError::NotJson | ProbeError::TooLarge(_) => {
            Trouble::Refused
        }
    }
}

/// `None`: it says nothing about the machine.
fn shell_trouble(error: &ssh::Error) -> Option<Trouble> {
    match error {
        ssh::Error::TimedOut(_) | ssh::Error::Unreachable(_) => Some(Trouble::Silent),
        ssh::Error::Refused
        | ssh::Error::AuthFailed { .. }
        | ssh::Error::HostKeyChanged { .. }
        | ssh::Error::HostKeyUnknown { .. }
        | ssh::Error::HostCertificate { .. }
        | ssh::Error::Protocol(_) => Some(Trouble::Refused),
        // Nothing that the machine did.
        ssh::Error::Closed
        | ssh::Error::Busy
        | ssh::Error::Stubborn
        | ssh::Error::NotRunning
        | ssh::Error::NotListening(_)
        | ssh::Error::ForwardingForbidden(_)
        | ssh::Error::HostKeyStore(_)
        | ssh::Error::BadKey(_)
        | ssh::Error::KeyUnavailable(_)
        | ssh::Error::BadCommand(_) => None,
    }
}
