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
//! Deliberately absent: CPU, memory and disk. Nothing the coordinator decides depends on them yet.

use std::time::Duration;

use super::earliest;
use super::fault::{Fault, FaultKind};
use super::studio::{Studio, StudioTiming};
use crate::domain::time::{Timestamp, millis};

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

    fn index(self) -> usize {
        self as usize
    }
}

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
    fn is_alive(self) -> bool {
        match self {
            Self::Running | Self::Hung | Self::Exiting { .. } | Self::HungExiting { .. } => true,
            Self::Stopped | Self::Failed | Self::Starting { .. } => false,
        }
    }

    fn is_hung(self) -> bool {
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Power {
    Off,
    /// Powered, the network is up at `until`; `None` for a boot that never finishes.
    Booting {
        until: Option<Timestamp>,
    },
    Up,
}

/// What happens to a connection attempt on a service's port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Front {
    /// Nothing comes back, as from an address nobody has.
    Dark,
    /// Refused: the machine is there, the process is not.
    Closed,
    /// The kernel accepts, the process never answers.
    Unanswered,
    Open,
}

/// What happens to an established connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Flowing,
    /// Neither reads nor writes.
    Frozen,
    /// The other end is told that the connection is gone.
    Reset,
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

#[derive(Debug, Clone, Copy, Default)]
struct Troubles {
    status_hang: bool,
    status_flap: Option<(Timestamp, Duration, Duration)>,
    blackhole: bool,
    slow_boot: Duration,
    boot_never_finishes: bool,
    never_starts: [bool; Service::ALL.len()],
}

/// The whole state of one machine.
#[derive(Debug)]
pub struct Machine {
    timing: MachineTiming,
    power: Power,
    up_since: Timestamp,
    processes: [Process; Service::ALL.len()],
    generations: [u32; Service::ALL.len()],
    troubles: Troubles,
    studio: Studio,
    active_show: Option<String>,
}

impl Machine {
    /// A machine that is switched off. `seed` makes its studio's identifiers its own.
    #[must_use]
    pub fn new(timing: MachineTiming, seed: u64) -> Self {
        Self {
            timing,
            power: Power::Off,
            up_since: Timestamp::default(),
            processes: [Process::Stopped; Service::ALL.len()],
            generations: [0; Service::ALL.len()],
            troubles: Troubles::default(),
            studio: Studio::new(timing.output, seed),
            active_show: None,
        }
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

    /// The studio, to change it as somebody sitting before it could.
    pub fn studio_mut(&mut self) -> &mut Studio {
        &mut self.studio
    }

    /// The show that the show server was last told to serve.
    #[must_use]
    pub fn active_show(&self) -> Option<&str> {
        self.active_show.as_deref()
    }

    pub fn activate(&mut self, show: Option<String>) {
        self.active_show = show;
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

    // ----- processes -----

    /// `systemctl start`: starts what is not running. Starting the studio starts its display.
    pub fn start(&mut self, service: Service, now: Timestamp) {
        if self.power != Power::Up {
            return;
        }
        if service == Service::Studio {
            self.start(Service::Display, now);
        }
        match self.process(service) {
            Process::Stopped | Process::Failed => {
                self.start_at(service, now + self.start_delay(service));
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

    /// `systemctl stop`: a polite exit, or a kill after [`MachineTiming::stop_timeout`]. Stopping the display
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

    fn set(&mut self, service: Service, process: Process) {
        self.processes[service.index()] = process;
    }

    fn start_at(&mut self, service: Service, ready_at: Timestamp) {
        if self.troubles.never_starts[service.index()] {
            self.set(service, Process::Failed);
        } else {
            self.set(service, Process::Starting { ready_at });
        }
    }

    fn start_delay(&self, service: Service) -> Duration {
        match service {
            Service::Display | Service::Nimble => Duration::ZERO,
            Service::Studio => self.timing.studio,
            Service::Status => self.timing.status,
            Service::Ssh => self.timing.ssh,
        }
    }

    fn die(&mut self, service: Service, after: Process, now: Timestamp) {
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

    // ----- faults -----

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
            FaultKind::SshDown => self.start(Service::Ssh, now),
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

    fn crash(&mut self, service: Service, now: Timestamp) {
        match self.process(service) {
            Process::Stopped | Process::Failed => {}
            Process::Starting { .. }
            | Process::Running
            | Process::Hung
            | Process::Exiting { .. }
            | Process::HungExiting { .. } => self.die(service, Process::Failed, now),
        }
    }

    // ----- the wire -----

    /// Packets reach the machine and come back.
    #[must_use]
    pub fn is_reachable(&self) -> bool {
        self.power == Power::Up && !self.troubles.blackhole
    }

    /// What a new connection to the service's port meets.
    #[must_use]
    pub fn front(&self, service: Service, now: Timestamp) -> Front {
        if !self.is_reachable() {
            return Front::Dark;
        }
        let process = self.process(service);
        if !process.is_alive() {
            return Front::Closed;
        }
        if service == Service::Status {
            if self.flap(now).is_some_and(|(up, _)| !up) {
                return Front::Closed;
            }
            if self.troubles.status_hang {
                return Front::Unanswered;
            }
        }
        if process.is_hung() {
            Front::Unanswered
        } else {
            Front::Open
        }
    }

    /// What becomes of a connection that the service's process of `generation` accepted.
    #[must_use]
    pub fn fate(&self, service: Service, generation: u32, now: Timestamp) -> Fate {
        match self.front(service, now) {
            Front::Dark => Fate::Frozen,
            Front::Closed => Fate::Reset,
            Front::Unanswered if self.generation(service) == generation => Fate::Frozen,
            Front::Open if self.generation(service) == generation => Fate::Flowing,
            Front::Unanswered | Front::Open => Fate::Reset,
        }
    }

    /// Whether a flapping show server is up now, and when that changes. `None` if it does not flap.
    fn flap(&self, now: Timestamp) -> Option<(bool, Timestamp)> {
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
