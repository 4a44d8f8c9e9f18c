//! The processes of a machine and what systemd does with them.

use std::time::Duration;

use super::{Machine, Power};
use crate::domain::time::Timestamp;

/// A process that systemd keeps on a streaming VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    /// The virtual display, without which the studio does not run.
    Display,
    /// OBS Studio.
    Studio,
    /// The show server, which answers `/api/status`.
    Status,
    /// The SRT/RTMP server for cameras.
    Nimble,
    /// The SSH server.
    Ssh,
}

impl Service {
    pub const ALL: [Self; 5] = [Self::Display, Self::Studio, Self::Status, Self::Nimble, Self::Ssh];

    /// The name of its systemd unit.
    #[must_use]
    pub fn unit(self) -> &'static str {
        match self {
            Self::Display => "xvfb",
            Self::Studio => "obs-headless",
            Self::Status => "show-server",
            Self::Nimble => "nimble",
            Self::Ssh => "ssh",
        }
    }

    /// The service of a unit, with or without the suffix `.service`.
    #[must_use]
    pub fn from_unit(unit: &str) -> Option<Self> {
        let name = unit.strip_suffix(".service").unwrap_or(unit);
        Self::ALL.into_iter().find(|service| service.unit() == name)
    }

    pub(super) fn index(self) -> usize {
        self as usize
    }
}

/// Where a process is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Process {
    Stopped,
    /// Ended on its own account; systemd calls the unit `failed`.
    Failed,
    Starting {
        ready_at: Timestamp,
    },
    Running,
    /// Stopped by a signal, but still there.
    Hung,
    /// Asked to exit and doing so.
    Exiting {
        gone_at: Timestamp,
        restart: bool,
    },
    /// Asked to exit while hung: systemd kills it at `killed_at`.
    HungExiting {
        killed_at: Timestamp,
        restart: bool,
    },
}

impl Process {
    /// There is such a process, whether it answers or not.
    #[must_use]
    pub fn is_alive(self) -> bool {
        match self {
            Self::Running | Self::Hung | Self::Exiting { .. } | Self::HungExiting { .. } => true,
            Self::Stopped | Self::Failed | Self::Starting { .. } => false,
        }
    }

    pub(super) fn is_hung(self) -> bool {
        match self {
            Self::Hung | Self::HungExiting { .. } => true,
            Self::Running | Self::Exiting { .. } | Self::Stopped | Self::Failed | Self::Starting { .. } => {
                false
            }
        }
    }

    /// `systemctl is-active` in its own words.
    #[must_use]
    pub fn active_state(self) -> &'static str {
        match self {
            Self::Stopped => "inactive",
            Self::Failed => "failed",
            Self::Starting { .. } => "activating",
            Self::Running | Self::Hung => "active",
            Self::Exiting { .. } | Self::HungExiting { .. } => "deactivating",
        }
    }
}

/// A signal sent to a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// `SIGTERM`, `SIGINT`: please exit.
    Term,
    Kill,
    Stop,
    Cont,
}

impl Machine {
    /// `systemctl start`: starts what is not running. Starting the studio starts its display.
    pub fn start(&mut self, service: Service, now: Timestamp) {
        let from = match self.power {
            Power::Up => now,
            Power::Booting { until: Some(up_at) } => up_at,
            Power::Booting { until: None } | Power::Off => return,
        };
        if service == Service::Studio {
            self.start(Service::Display, now);
        }
        match self.process(service) {
            Process::Stopped | Process::Failed => {
                self.start_at(service, from + self.start_delay(service));
            }
            Process::Exiting { gone_at, .. } => {
                self.set(
                    service,
                    Process::Exiting {
                        gone_at,
                        restart: true,
                    },
                );
            }
            Process::HungExiting { killed_at, .. } => {
                self.set(
                    service,
                    Process::HungExiting {
                        killed_at,
                        restart: true,
                    },
                );
            }
            Process::Starting { .. } | Process::Running | Process::Hung => {}
        }
    }

    /// `systemctl stop`: a polite exit, or a kill after [`stop_timeout`](super::MachineTiming::stop_timeout). Stopping the display
    /// stops the studio. Returns when the process will be gone.
    pub fn stop(&mut self, service: Service, now: Timestamp) -> Timestamp {
        if service == Service::Display {
            self.stop(Service::Studio, now);
        }
        match self.process(service) {
            Process::Stopped | Process::Failed => now,
            Process::Starting { .. } => {
                self.set(service, Process::Stopped);
                now
            }
            Process::Running => {
                let gone_at = now + self.timing.exit;
                self.set(
                    service,
                    Process::Exiting {
                        gone_at,
                        restart: false,
                    },
                );
                if service == Service::Studio {
                    self.studio.exit_started(now);
                }
                gone_at
            }
            Process::Hung => {
                let killed_at = now + self.timing.stop_timeout;
                self.set(
                    service,
                    Process::HungExiting {
                        killed_at,
                        restart: false,
                    },
                );
                killed_at
            }
            Process::Exiting { gone_at, .. } => {
                self.set(
                    service,
                    Process::Exiting {
                        gone_at,
                        restart: false,
                    },
                );
                gone_at
            }
            Process::HungExiting { killed_at, .. } => {
                self.set(
                    service,
                    Process::HungExiting {
                        killed_at,
                        restart: false,
                    },
                );
                killed_at
            }
        }
    }

    /// `systemctl restart`. Returns when the old process will be gone.
    pub fn restart(&mut self, service: Service, now: Timestamp) -> Timestamp {
        let gone_at = self.stop(service, now);
        self.start(service, now);
        gone_at
    }

    /// `kill`. False if there is no such process.
    pub fn signal(&mut self, service: Service, signal: Signal, now: Timestamp) -> bool {
        let process = self.process(service);
        if !process.is_alive() {
            return false;
        }
        match signal {
            Signal::Kill => self.die(service, Process::Failed, now),
            Signal::Term => {
                if !process.is_hung() {
                    self.stop(service, now);
                }
            }
            Signal::Stop => {
                if process == Process::Running {
                    self.set(service, Process::Hung);
                    self.settle_output(now);
                }
            }
            Signal::Cont => match process {
                Process::Hung => {
                    self.set(service, Process::Running);
                    self.settle_output(now);
                }
                Process::HungExiting { .. } => {
                    self.set(service, Process::Running);
                    self.settle_output(now);
                    self.stop(service, now);
                }
                Process::Running
                | Process::Exiting { .. }
                | Process::Stopped
                | Process::Failed
                | Process::Starting { .. } => {}
            },
        }
        true
    }

    pub(super) fn set(&mut self, service: Service, process: Process) {
        self.processes[service.index()] = process;
    }

    pub(super) fn start_at(&mut self, service: Service, ready_at: Timestamp) {
        if self.troubles.never_starts[service.index()] {
            self.set(service, Process::Failed);
        } else {
            self.set(service, Process::Starting { ready_at });
        }
    }

    pub(super) fn start_delay(&self, service: Service) -> Duration {
        match service {
            Service::Display | Service::Nimble => Duration::ZERO,
            Service::Studio => self.timing.studio,
            Service::Status => self.timing.status,
            Service::Ssh => self.timing.ssh,
        }
    }

    pub(super) fn die(&mut self, service: Service, after: Process, now: Timestamp) {
        self.set(service, after);
        if service == Service::Studio {
            self.studio.process_died(now);
        }
        if service == Service::Display && self.process(Service::Studio).is_alive() {
            self.die(Service::Studio, Process::Failed, now);
        }
    }

    fn settle_output(&mut self, now: Timestamp) {
        self.studio.set_hung(self.process(Service::Studio).is_hung(), now);
    }

    pub(super) fn crash(&mut self, service: Service, now: Timestamp) {
        match self.process(service) {
            Process::Stopped | Process::Failed => {}
            Process::Starting { .. }
            | Process::Running
            | Process::Hung
            | Process::Exiting { .. }
            | Process::HungExiting { .. } => self.die(service, Process::Failed, now),
        }
    }
}
