//! Making a plan: demand first, then troubles beside it.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};

use super::{Act, Button, Change, GiveBack, Order, SetUp, Size, Whom};
use crate::actors::coordinator::Link;
use crate::actors::root::Part;
use crate::infra::ledger::Death;
use crate::sim::model::fault::{ArchiveFault, CloudFault, Fault};
use crate::sim::model::machine::Service;

/// Between one show and the next.
const SHOW_EVERY_MS: std::ops::Range<u64> = 2_000..30_000;
/// From the wish for a show to its end.
const SHOW_TAKES_MS: std::ops::Range<u64> = 20_000..180_000;
/// From saying what a show is to be made from to wanting it.
const SCHEDULED_BEFORE_MS: std::ops::Range<u64> = 1_000..60_000;
/// From the wish for a show to giving it up: it may have its VM by then, or wait for one, or be about to start.
const CANCELLED_AFTER_MS: std::ops::Range<u64> = 0..8_000;
/// Shows that are wanted at the same time, as a part of all VMs: some are left to take over.
const SHOWS_AT_ONCE: f64 = 0.5;
/// How long what broke stays broken.
const BROKEN_MS: std::ops::Range<u64> = 500..90_000;
/// How long the coordinator stays down.
const DOWN_MS: std::ops::Range<u64> = 100..20_000;
/// What is broken is mended only after everything else, this often.
const NEVER_MENDED: f64 = 0.1;

/// Draws what happens, one thing after the other.
pub(super) struct Maker {
    rng: StdRng,
    size: Size,
    events: Vec<(u64, Act)>,
}

impl Maker {
    pub(super) fn new(seed: u64, size: Size) -> Self {
        Self {
            rng: StdRng::seed_from_u64(seed),
            size,
            events: Vec::new(),
        }
    }

    /// What happens when, in no order.
    pub(super) fn make(mut self) -> Vec<(u64, Act)> {
        let ends_at = self.shows();
        for _ in 0..self.size.troubles {
            let at = self.rng.random_range(1_000..ends_at);
            self.trouble(at);
        }
        self.events
    }

    fn change(&mut self, at: u64, change: Change) {
        self.add(at, Act::World(change));
    }

    fn between(&mut self, range: std::ops::Range<u64>) -> u64 {
        self.rng.random_range(range)
    }

    fn add(&mut self, at: u64, act: Act) {
        self.events.push((at, act));
    }

    fn order(&mut self, at: u64, show: u32, order: Order) {
        self.add(at, Act::Order { show, order });
    }

    fn vm(&mut self) -> u32 {
        self.rng.random_range(0..(self.size.warm + self.size.cold).max(1))
    }

    fn show(&mut self) -> u32 {
        self.rng.random_range(0..self.size.shows.max(1))
    }

    /// The demand. Returns when the last show has been given back.
    fn shows(&mut self) -> u64 {
        let places = (f64::from(self.size.warm + self.size.cold) * SHOWS_AT_ONCE).max(1.0) as usize;
        let mut free_at = vec![0; places];
        let mut at = 500;
        for show in 0..self.size.shows {
            at += self.between(SHOW_EVERY_MS);
            // In the place that is free first, and not before it is.
            let place = (0..places).min_by_key(|place| free_at[*place]).unwrap_or(0);
            let begins = at.max(free_at[place]);
            let ends = begins + self.between(SHOW_TAKES_MS);
            free_at[place] = ends + 2_000;
            let how = match self.rng.random_range(0..20) {
                0..10 => SetUp::ByHand,
                10..13 => SetUp::Recorded,
                13..17 => SetUp::Configured,
                _ => SetUp::Scheduled,
            };
            if how == SetUp::Scheduled {
                let before = self.between(SCHEDULED_BEFORE_MS);
                self.add(begins.saturating_sub(before), Act::Schedule { show });
            }
            self.add(begins, Act::Produce { show, how });
            // Some are on air to the end, so that the end finds them.
            match self.rng.random_range(0..20) {
                0..3 => {
                    let cancelled = begins + self.between(CANCELLED_AFTER_MS);
                    self.add(cancelled, Act::Cancel { show });
                }
                3..14 => {
                    let how = match (how, self.rng.random_range(0..10)) {
                        (SetUp::Recorded, 0..8) | (_, 8) => GiveBack::Archived,
                        (_, 9) => GiveBack::Stopped,
                        (SetUp::ByHand | SetUp::Recorded | SetUp::Configured | SetUp::Scheduled, _) => {
                            GiveBack::AsItIs
                        }
                    };
                    self.add(ends, Act::Release { show, how });
                }
                _ => {}
            }
        }
        self.events
            .iter()
            .map(|(at, _)| *at)
            .max()
            .unwrap_or(0)
            .max(20_000)
    }

    fn trouble(&mut self, at: u64) {
        match self.rng.random_range(0..100) {
            0..46 => self.machine_fault(at),
            46..52 => self.zone_fault(at),
            52..60 => self.cloud_fault(at),
            60..63 => self.archive_fault(at),
            63..66 => {
                self.change(at, Change::IngestDown);
                let until = at + self.between(BROKEN_MS);
                self.change(until, Change::IngestUp);
            }
            66..80 => {
                let whom = self.whom();
                self.add(at, Act::Kill { whom });
            }
            80..87 => self.coordinator_trouble(at),
            _ => self.operator(at),
        }
    }

    fn machine_fault(&mut self, at: u64) {
        let (vm, fault) = (self.vm(), self.fault());
        self.change(at, Change::Break { vm, fault });
        if let Some(until) = self.mended(at) {
            let kind = fault.kind();
            self.change(until, Change::Mend { vm, kind });
        }
    }

    fn zone_fault(&mut self, at: u64) {
        let zone = self.rng.random_range(0..3);
        let faults = [
            Fault::Blackhole,
            Fault::StudioCrash,
            Fault::SshDown,
            Fault::StatusHang,
        ];
        let Some(fault) = faults.choose(&mut self.rng).copied() else {
            return;
        };
        self.change(at, Change::BreakZone { zone, fault });
        if let Some(until) = self.mended(at) {
            let kind = fault.kind();
            self.change(until, Change::MendZone { zone, kind });
        }
    }

    fn cloud_fault(&mut self, at: u64) {
        let delay = Duration::from_millis(self.between(200..15_000));
        let faults = [
            CloudFault::Down,
            CloudFault::Throttled,
            CloudFault::Slow { delay },
            CloudFault::NoCapacity,
            CloudFault::StopsForgotten,
            CloudFault::Mislaid,
            CloudFault::Denied,
            CloudFault::AnswersLost,
        ];
        let Some(fault) = faults.choose(&mut self.rng).copied() else {
            return;
        };
        self.change(at, Change::BreakCloud { fault });
        let until = at + self.between(BROKEN_MS);
        self.change(until, Change::MendCloud);
    }

    fn archive_fault(&mut self, at: u64) {
        let delay = Duration::from_millis(self.between(200..15_000));
        let faults = [
            ArchiveFault::Down,
            ArchiveFault::Denied,
            ArchiveFault::Slow { delay },
            ArchiveFault::AnswersLost,
            ArchiveFault::Damages,
        ];
        let Some(fault) = faults.choose(&mut self.rng).copied() else {
            return;
        };
        self.change(at, Change::BreakArchive { fault });
        let until = at + self.between(BROKEN_MS);
        self.change(until, Change::MendArchive);
    }

    fn mended(&mut self, at: u64) -> Option<u64> {
        let mended = !self.rng.random_bool(NEVER_MENDED);
        let until = at + self.between(BROKEN_MS);
        mended.then_some(until)
    }

    /// Of every kind there is.
    fn fault(&mut self) -> Fault {
        let services = [Service::Studio, Service::Status, Service::Ssh];
        let service = services.choose(&mut self.rng).copied().unwrap_or(Service::Studio);
        let up = Duration::from_millis(self.between(500..10_000));
        let down = Duration::from_millis(self.between(500..10_000));
        let extra = Duration::from_millis(self.between(1_000..120_000));
        let word = ["pkill", "systemctl", "rm"]
            .choose(&mut self.rng)
            .copied()
            .unwrap_or("rm");
        let faults = [
            Fault::StudioCrash,
            Fault::StudioCrash,
            Fault::StudioHang,
            Fault::StudioHang,
            Fault::Blackhole,
            Fault::Blackhole,
            Fault::Blackhole,
            Fault::OutputSilent,
            Fault::OutputSilent,
            Fault::StatusDown,
            Fault::StatusHang,
            Fault::StatusFlap { up, down },
            Fault::SshDown,
            Fault::SshDownAt { word },
            Fault::SlowBoot { extra },
            Fault::BootNeverFinishes,
            Fault::ServiceNeverStarts(service),
            Fault::AddressChanges,
        ];
        faults
            .choose(&mut self.rng)
            .copied()
            .unwrap_or(Fault::StudioCrash)
    }

    fn whom(&mut self) -> Whom {
        match self.rng.random_range(0..12) {
            0..3 => Whom::Vm(self.vm()),
            3..6 => Whom::Show(self.show()),
            6 | 7 => {
                let link = Link::ALL.choose(&mut self.rng).copied().unwrap_or(Link::Obs);
                Whom::Link(self.vm(), link)
            }
            8 => Whom::Part(Part::Pool),
            9 => Whom::Part(Part::Cloud),
            10 => Whom::Part(Part::Executions),
            _ if self.rng.random_bool(0.5) => Whom::Part(Part::Machines),
            _ => Whom::Part(Part::Shows),
        }
    }

    fn coordinator_trouble(&mut self, at: u64) {
        let down_ms = self.between(DOWN_MS);
        match self.rng.random_range(0..10) {
            0..3 => self.add(at, Act::KillCoordinator { down_ms }),
            3..7 => {
                let death = if self.rng.random_bool(0.5) {
                    Death::BeforeTheSync
                } else {
                    Death::AfterTheSync
                };
                self.add(at, Act::DieAtCommit { death, down_ms });
            }
            7 | 8 => {
                let events = self.rng.random_range(0..20);
                self.add(at, Act::DiskFull { events });
            }
            _ => {
                let commit_ms = self.between(50..8_000);
                self.add(at, Act::SlowDisk { commit_ms });
                let until = at + self.between(1_000..30_000);
                self.add(until, Act::SlowDisk { commit_ms: 0 });
            }
        }
    }

    fn operator(&mut self, at: u64) {
        let (show, vm) = (self.show(), self.vm());
        let until = at + self.between(BROKEN_MS);
        match self.rng.random_range(0..11) {
            0 | 1 => self.order(at, show, Order::Failover),
            2 => {
                self.order(at, show, Order::Hold { held: true });
                self.order(until, show, Order::Hold { held: false });
            }
            3 | 4 => {
                self.order(at, show, Order::StreamOff);
                self.order(until, show, Order::StreamOn);
            }
            5 => {
                self.add(at, Act::Maintain { vm, enabled: true });
                self.add(until, Act::Maintain { vm, enabled: false });
            }
            6 | 7 => {
                let buttons = [Button::Start, Button::Stop, Button::Reboot, Button::Terminate];
                let button = buttons.choose(&mut self.rng).copied().unwrap_or(Button::Start);
                self.add(at, Act::Press { vm, button });
            }
            8 => {
                let vms = self.rng.random_range(0..=self.size.warm);
                self.add(at, Act::WarmTarget { vms });
            }
            9 => self.add(at, Act::Launch),
            _ => self.change(at, Change::StopInstance { vm }),
        }
    }
}
