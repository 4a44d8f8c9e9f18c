//! Faults of a machine that last: what is wrong with it now.

use std::time::Duration;

use super::process::{Service, Signal};
use super::{Machine, Power};
use crate::domain::time::{Timestamp, millis};
use crate::sim::model::fault::{Fault, FaultKind};

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Troubles {
    pub(super) status_hang: bool,
    pub(super) status_flap: Option<(Timestamp, Duration, Duration)>,
    pub(super) blackhole: bool,
    pub(super) ssh_down_at: Option<&'static str>,
    pub(super) slow_boot: Duration,
    pub(super) boot_never_finishes: bool,
    pub(super) never_starts: [bool; Service::ALL.len()],
}

impl Machine {
    /// Makes something go wrong.
    pub fn fault(&mut self, fault: Fault, now: Timestamp) {
        match fault {
            Fault::StudioCrash => self.crash(Service::Studio, now),
            Fault::StudioHang => {
                self.signal(Service::Studio, Signal::Stop, now);
            }
            Fault::StatusDown => self.crash(Service::Status, now),
            Fault::StatusHang => self.troubles.status_hang = true,
            Fault::StatusFlap { up, down } => self.troubles.status_flap = Some((now, up, down)),
            Fault::Blackhole => self.troubles.blackhole = true,
            Fault::SshDown => self.crash(Service::Ssh, now),
            Fault::SshDownAt { word } => self.troubles.ssh_down_at = Some(word),
            Fault::OutputSilent => self.studio.set_silent(true, now),
            Fault::SlowBoot { extra } => self.troubles.slow_boot = extra,
            Fault::BootNeverFinishes => self.troubles.boot_never_finishes = true,
            Fault::ServiceNeverStarts(service) => self.troubles.never_starts[service.index()] = true,
            // The cloud hands out addresses; the machine has no say in it.
            Fault::AddressChanges => {}
        }
    }

    /// Mends it again. A crashed or hung process is running afterwards.
    pub fn heal(&mut self, kind: FaultKind, now: Timestamp) {
        match kind {
            FaultKind::StudioCrash => self.start(Service::Studio, now),
            FaultKind::StudioHang => {
                self.signal(Service::Studio, Signal::Cont, now);
            }
            FaultKind::StatusDown => self.start(Service::Status, now),
            FaultKind::StatusHang => self.troubles.status_hang = false,
            FaultKind::StatusFlap => self.troubles.status_flap = None,
            FaultKind::Blackhole => self.troubles.blackhole = false,
            FaultKind::SshDown => {
                self.troubles.ssh_down_at = None;
                self.start(Service::Ssh, now);
            }
            FaultKind::OutputSilent => self.studio.set_silent(false, now),
            FaultKind::SlowBoot => self.troubles.slow_boot = Duration::ZERO,
            FaultKind::BootNeverFinishes => {
                self.troubles.boot_never_finishes = false;
                if self.power == (Power::Booting { until: None }) {
                    self.reboot(now);
                }
            }
            FaultKind::ServiceNeverStarts(service) => {
                self.troubles.never_starts[service.index()] = false;
                self.start(service, now);
            }
            FaultKind::AddressChanges => {}
        }
    }

    /// A command of these words has arrived over SSH. False if the SSH server is gone for that.
    pub fn command_arrived(&mut self, words: &[String], now: Timestamp) -> bool {
        let is_the_end = |end: &mut &str| words.iter().any(|word| word == end);
        if self.troubles.ssh_down_at.take_if(is_the_end).is_none() {
            return true;
        }
        self.crash(Service::Ssh, now);
        false
    }

    /// Whether a flapping show server is up now, and when that changes. `None` if it does not flap.
    pub(super) fn flap(&self, now: Timestamp) -> Option<(bool, Timestamp)> {
        let (since, up, down) = self.troubles.status_flap?;
        let (up_ms, period_ms) = (millis(up), millis(up + down).max(1));
        let phase_ms = millis(now.since(since)) % period_ms;
        let is_up = phase_ms < up_ms;
        let left_ms = if is_up {
            up_ms - phase_ms
        } else {
            period_ms - phase_ms
        };
        Some((is_up, now + Duration::from_millis(left_ms)))
    }
}
