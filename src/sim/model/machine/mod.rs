//! One machine: its power, the processes on it, its network, and its faults.
//!
//! ```text
//!  Off ──power_on──► Booting ──boot delay──► Up ──shut_down──► Up (processes exiting)
//!   ▲                                         │
//!   └────────────── power_off ◄───────────────┘
//! ```
//!
//! Each [`Service`] is a process with a life of its own: it starts some time after the boot, can crash, hang, be
//! stopped and started. Its *generation* rises with every start, so that a connection can tell whether the
//! process that accepted it still exists.
//!
//! Its files are on its [`disk`], and stay there when the power is cut.
//!
//! Deliberately absent: CPU and memory. Nothing the coordinator decides depends on them yet.

pub mod disk;
mod front;
mod process;
mod status_page;
mod storage;
#[cfg(test)]
mod tests;
mod trouble;
mod view;

use std::time::Duration;

use self::disk::Disk;
pub use self::front::{Fate, Front, Ports};
pub use self::process::{Process, Service, Signal};
pub use self::status_page::StatusPage;
use self::trouble::Troubles;
pub use self::view::MachineView;
use super::earliest;
use super::studio::{Studio, StudioTiming};
use crate::domain::time::Timestamp;

/// How long things take on a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MachineTiming {
    /// From power to a network that answers.
    pub boot: Duration,
    /// From the end of the boot to each service being ready.
    pub ssh: Duration,
    pub status: Duration,
    pub studio: Duration,
    /// From a polite request to exit to the process being gone.
    pub exit: Duration,
    /// How long systemd waits for a process that does not exit before killing it (`TimeoutStopSec`).
    pub stop_timeout: Duration,
    pub output: StudioTiming,
}

impl Default for MachineTiming {
    /// A quick machine: real proportions, a fraction of the time.
    fn default() -> Self {
        Self {
            boot: Duration::from_millis(300),
            ssh: Duration::from_millis(100),
            status: Duration::from_millis(200),
            studio: Duration::from_millis(400),
            exit: Duration::from_millis(100),
            stop_timeout: Duration::from_secs(90),
            output: StudioTiming::default(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Power {
    Off,
    /// Powered, the network is up at `until`; `None` for a boot that never finishes.
    Booting {
        until: Option<Timestamp>,
    },
    Up,
}

/// The whole state of one machine.
#[derive(Debug)]
pub struct Machine {
    timing: MachineTiming,
    power: Power,
    up_since: Timestamp,
    /// How far its own clock is ahead of the world's.
    clock_ahead: Duration,
    processes: [Process; Service::ALL.len()],
    generations: [u32; Service::ALL.len()],
    troubles: Troubles,
    studio: Studio,
    active_show: Option<String>,
    disk: Disk,
    /// The file that the studio recorded to when the disk was last looked at.
    recording: Option<String>,
    /// Changes to the disk that the studio has seen.
    seen_changes: u64,
}

impl Machine {
    /// A machine that is switched off. `seed` makes its studio's identifiers its own.
    #[must_use]
    pub fn new(timing: MachineTiming, seed: u64) -> Self {
        let mut machine = Self {
            timing,
            power: Power::Off,
            up_since: Timestamp::default(),
            processes: [Process::Stopped; Service::ALL.len()],
            generations: [0; Service::ALL.len()],
            clock_ahead: Duration::ZERO,
            troubles: Troubles::default(),
            studio: Studio::new(timing.output, seed),
            active_show: None,
            disk: Disk::image(Timestamp::default()),
            recording: None,
            seen_changes: 0,
        };
        machine.install(Timestamp::default());
        machine
    }

    #[must_use]
    pub fn power(&self) -> Power {
        self.power
    }

    #[must_use]
    pub fn process(&self, service: Service) -> Process {
        self.processes[service.index()]
    }

    /// Rises with every start of the service's process.
    #[must_use]
    pub fn generation(&self, service: Service) -> u32 {
        self.generations[service.index()]
    }

    #[must_use]
    pub fn studio(&self) -> &Studio {
        &self.studio
    }

    /// The show that the show server was last told to serve.
    #[must_use]
    pub fn active_show(&self) -> Option<&str> {
        self.active_show.as_deref()
    }

    pub fn activate(&mut self, show: Option<String>) {
        self.active_show = show;
    }

    /// What it takes the time to be itself.
    #[must_use]
    pub fn wall_clock(&self, now: Timestamp) -> Timestamp {
        now + self.clock_ahead
    }

    /// Its own clock is so far ahead of the world's from now on.
    pub fn set_clock_ahead(&mut self, by: Duration) {
        self.clock_ahead = by;
    }

    /// Time since power, for the show server's `uptime`.
    #[must_use]
    pub fn uptime(&self, now: Timestamp) -> Duration {
        match self.power {
            Power::Off => Duration::ZERO,
            Power::Booting { .. } | Power::Up => now.since(self.up_since),
        }
    }

    /// The process that answers OBS requests exists and is not stopped by a signal.
    #[must_use]
    pub fn studio_answers(&self) -> bool {
        match self.process(Service::Studio) {
            Process::Running | Process::Exiting { .. } => true,
            Process::Stopped
            | Process::Failed
            | Process::Starting { .. }
            | Process::Hung
            | Process::HungExiting { .. } => false,
        }
    }

    /// What the show server thinks of its connection to the studio. It notices a process that is gone, not
    /// one that hangs.
    #[must_use]
    pub fn studio_connected(&self) -> bool {
        self.process(Service::Studio).is_alive()
    }

    // ----- power -----

    /// Applies power. Nothing happens to a machine that has it.
    pub fn power_on(&mut self, now: Timestamp) {
        if self.power != Power::Off {
            return;
        }
        self.up_since = now;
        self.disk.boot();
        let until =
            (!self.troubles.boot_never_finishes).then(|| now + self.timing.boot + self.troubles.slow_boot);
        self.power = Power::Booting { until };
        if let Some(up_at) = until {
            for service in Service::ALL {
                self.start_at(service, up_at + self.start_delay(service));
            }
        }
    }

    /// Cuts the power: everything in memory is gone at once, and nobody is told.
    pub fn power_off(&mut self, now: Timestamp) {
        self.power = Power::Off;
        for service in Service::ALL {
            self.processes[service.index()] = Process::Stopped;
        }
        self.studio.process_died(now);
        self.active_show = None;
    }

    /// Asks the operating system to shut down: processes exit politely. The power is cut separately.
    pub fn shut_down(&mut self, now: Timestamp) {
        for service in Service::ALL {
            self.stop(service, now);
        }
    }

    /// Cuts and applies power again.
    pub fn reboot(&mut self, now: Timestamp) {
        self.power_off(now);
        self.power_on(now);
    }

    // ----- time -----

    /// Lets everything happen that was due by `now`.
    pub fn advance(&mut self, now: Timestamp) {
        if let Power::Booting { until: Some(until) } = self.power
            && until <= now
        {
            self.power = Power::Up;
        }
        for service in Service::ALL {
            match self.process(service) {
                Process::Starting { ready_at } if ready_at <= now && self.power == Power::Up => {
                    if service == Service::Studio {
                        self.load_studio(now);
                    }
                    self.set(service, Process::Running);
                    let generation = &mut self.generations[service.index()];
                    *generation = generation.wrapping_add(1);
                }
                Process::Exiting { gone_at: at, restart }
                | Process::HungExiting {
                    killed_at: at,
                    restart,
                } if at <= now => {
                    self.die(service, Process::Stopped, now);
                    if restart {
                        self.start(service, now);
                    }
                }
                Process::Stopped
                | Process::Failed
                | Process::Starting { .. }
                | Process::Running
                | Process::Hung
                | Process::Exiting { .. }
                | Process::HungExiting { .. } => {}
            }
        }
        if self.studio_answers() {
            self.studio.advance(now);
        }
        self.store_recordings(now);
    }

    /// When the next thing happens by itself.
    #[must_use]
    pub fn next_deadline(&self, now: Timestamp) -> Option<Timestamp> {
        let mut next = match self.power {
            Power::Off => return None,
            Power::Booting { until } => return until,
            Power::Up => self.flap(now).map(|(_, at)| at),
        };
        for process in self.processes {
            let at = match process {
                Process::Starting { ready_at: at }
                | Process::Exiting { gone_at: at, .. }
                | Process::HungExiting { killed_at: at, .. } => Some(at),
                Process::Stopped | Process::Failed | Process::Running | Process::Hung => None,
            };
            next = earliest(next, at);
        }
        if self.studio_answers() {
            next = earliest(next, self.studio.next_deadline());
        }
        next
    }
}
