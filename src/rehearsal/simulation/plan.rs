//! What happens in a run, decided from one seed before anything happens.
//!
//! A plan is data: which shows are produced when, what breaks and is mended when, who is killed when. Making one needs no
//! clock and no world, so that a part of a plan ([`Plan::only`]) is a plan as well: that is what shrinking stands on.

use std::fmt;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};

use crate::actors::coordinator::Link;
use crate::actors::root::Part;
use crate::infra::ledger::Death;
use crate::sim::model::fault::{CloudFault, Fault, FaultKind};
use crate::sim::model::machine::Service;

/// How much happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// VMs that are ready at the start.
    pub warm: u32,
    /// VMs that are off at the start.
    pub cold: u32,
    /// Shows that are produced, one after the other and beside each other.
    pub shows: u32,
    /// Troubles: faults, deaths and what operators do.
    pub troubles: u32,
}

impl Default for Size {
    fn default() -> Self {
        Self {
            warm: 4,
            cold: 4,
            shows: 10,
            troubles: 40,
        }
    }
}

/// Between one show and the next.
const SHOW_EVERY_MS: std::ops::Range<u64> = 2_000..30_000;
/// From the wish for a show to its end.
const SHOW_TAKES_MS: std::ops::Range<u64> = 20_000..180_000;
/// Shows that are wanted at the same time, as a part of all VMs: some are left to take over.
const SHOWS_AT_ONCE: f64 = 0.5;
/// How long what broke stays broken.
const BROKEN_MS: std::ops::Range<u64> = 500..90_000;
/// How long the coordinator stays down.
const DOWN_MS: std::ops::Range<u64> = 100..20_000;
/// What is broken is mended only after everything else, this often.
const NEVER_MENDED: f64 = 0.1;

/// Something that happens at a time.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its place in the whole plan, by which it is named.
    pub number: usize,
    /// Milliseconds after the beginning.
    pub at_ms: u64,
    pub act: Act,
}

/// What happens. VMs are meant by their place among the instances, in the order of ids, as often around as it takes;
/// shows by their number.
#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    /// A producer wants the show: a VM, a studio, and the stream on.
    Produce {
        show: u32,
        how: SetUp,
    },
    /// The producer gives the VM back.
    Release {
        show: u32,
        stop_vm: bool,
    },
    StreamOff {
        show: u32,
    },
    StreamOn {
        show: u32,
    },
    Hold {
        show: u32,
        held: bool,
    },
    Failover {
        show: u32,
    },
    /// An operator takes a VM out of use, or back into it.
    Maintain {
        vm: u32,
        enabled: bool,
    },
    /// An operator presses a button of a VM, whatever it is for.
    Press {
        vm: u32,
        button: Button,
    },
    WarmTarget {
        vms: u32,
    },
    Break {
        vm: u32,
        fault: Fault,
    },
    Mend {
        vm: u32,
        kind: FaultKind,
    },
    BreakZone {
        zone: u32,
        fault: Fault,
    },
    MendZone {
        zone: u32,
        kind: FaultKind,
    },
    BreakCloud {
        fault: CloudFault,
    },
    MendCloud,
    IngestDown,
    IngestUp,
    /// Somebody stops the instance in the cloud's console.
    StopInstance {
        vm: u32,
    },
    Kill {
        whom: Whom,
    },
    /// `kill -9`, and a new start after this time.
    KillCoordinator {
        down_ms: u64,
    },
    /// The same, over the next commit.
    DieAtCommit {
        death: Death,
        down_ms: u64,
    },
    /// The journal has room for so many events more.
    DiskFull {
        events: usize,
    },
    SlowDisk {
        commit_ms: u64,
    },
}

/// How the studio of a show comes about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetUp {
    /// By hand, in OBS.
    ByHand,
    /// From a template.
    Configured,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Button {
    Start,
    Stop,
    Reboot,
}

/// An actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whom {
    Part(Part),
    Vm(u32),
    Link(u32, Link),
    Show(u32),
}

/// Everything that happens in one run.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    pub seed: u64,
    pub size: Size,
    /// In the order in which they happen.
    pub events: Vec<Event>,
    /// Whether these are all that the seed and the size lead to.
    pub is_whole: bool,
}

impl Plan {
    /// The plan of a seed: always the same.
    #[must_use]
    pub fn of(seed: u64, size: Size) -> Self {
        let mut maker = Maker {
            rng: StdRng::seed_from_u64(seed),
            size,
            events: Vec::new(),
        };
        let ends_at = maker.shows();
        for _ in 0..size.troubles {
            let at = maker.rng.random_range(1_000..ends_at);
            maker.trouble(at);
        }
        let mut events = maker.events;
        events.sort_by_key(|(at, _)| *at);
        let numbered = events.into_iter().enumerate();
        let events = numbered.map(|(number, (at_ms, act))| Event { number, at_ms, act });
        Self {
            seed,
            size,
            events: events.collect(),
            is_whole: true,
        }
    }

    /// Of this plan only the events with these numbers.
    #[must_use]
    pub fn only(&self, numbers: &[usize]) -> Self {
        let kept = |event: &&Event| numbers.contains(&event.number);
        let events: Vec<Event> = self.events.iter().filter(kept).cloned().collect();
        Self {
            is_whole: self.is_whole && events.len() == self.events.len(),
            events,
            ..*self
        }
    }

    #[must_use]
    pub fn numbers(&self) -> Vec<usize> {
        self.events.iter().map(|event| event.number).collect()
    }

    /// When the last of it happens.
    #[must_use]
    pub fn ends_at_ms(&self) -> u64 {
        self.events.last().map_or(0, |event| event.at_ms)
    }
}

struct Maker {
    rng: StdRng,
    size: Size,
    events: Vec<(u64, Act)>,
}

impl Maker {
    fn between(&mut self, range: std::ops::Range<u64>) -> u64 {
        self.rng.random_range(range)
    }

    fn add(&mut self, at: u64, act: Act) {
        self.events.push((at, act));
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
            let how = if self.rng.random_bool(0.3) {
                SetUp::Configured
            } else {
                SetUp::ByHand
            };
            self.add(begins, Act::Produce { show, how });
            // Some are on air to the end, so that the end finds them.
            if self.rng.random_bool(0.7) {
                let stop_vm = self.rng.random_bool(0.1);
                self.add(ends, Act::Release { show, stop_vm });
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
            52..62 => self.cloud_fault(at),
            62..66 => {
                self.add(at, Act::IngestDown);
                let until = at + self.between(BROKEN_MS);
                self.add(until, Act::IngestUp);
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
        self.add(at, Act::Break { vm, fault });
        if let Some(until) = self.mended(at) {
            let kind = fault.kind();
            self.add(until, Act::Mend { vm, kind });
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
        self.add(at, Act::BreakZone { zone, fault });
        if let Some(until) = self.mended(at) {
            let kind = fault.kind();
            self.add(until, Act::MendZone { zone, kind });
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
        self.add(at, Act::BreakCloud { fault });
        let until = at + self.between(BROKEN_MS);
        self.add(until, Act::MendCloud);
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
        match self.rng.random_range(0..10) {
            0 | 1 => self.add(at, Act::Failover { show }),
            2 => {
                self.add(at, Act::Hold { show, held: true });
                self.add(until, Act::Hold { show, held: false });
            }
            3 | 4 => {
                self.add(at, Act::StreamOff { show });
                self.add(until, Act::StreamOn { show });
            }
            5 => {
                self.add(at, Act::Maintain { vm, enabled: true });
                self.add(until, Act::Maintain { vm, enabled: false });
            }
            6 | 7 => {
                let buttons = [Button::Start, Button::Stop, Button::Reboot];
                let button = buttons.choose(&mut self.rng).copied().unwrap_or(Button::Start);
                self.add(at, Act::Press { vm, button });
            }
            8 => {
                let vms = self.rng.random_range(0..=self.size.warm);
                self.add(at, Act::WarmTarget { vms });
            }
            _ => self.add(at, Act::StopInstance { vm }),
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>9} ms  {:>3}  {:?}", self.at_ms, self.number, self.act)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_seed_leads_to_one_plan_and_another_to_another() {
        let size = Size::default();
        assert_eq!(Plan::of(7, size), Plan::of(7, size));
        assert_ne!(Plan::of(7, size), Plan::of(8, size));
    }

    #[test]
    fn a_part_of_a_plan_keeps_the_numbers_of_the_whole() {
        let whole = Plan::of(7, Size::default());
        let part = whole.only(&[3, 5]);
        assert_eq!(part.events, [whole.events[3].clone(), whole.events[5].clone()]);
        assert!(whole.is_whole && !part.is_whole);
        assert!(whole.only(&whole.numbers()).is_whole);
    }

    /// The name of a variant, without its data.
    fn variant(of: &impl fmt::Debug) -> String {
        let text = format!("{of:?}");
        text.split([' ', '(', '{']).next().unwrap_or_default().to_owned()
    }

    #[test]
    fn every_fault_every_death_and_every_act_comes_up_within_a_few_seeds() {
        let mut found = BTreeSet::new();
        for seed in 0..200 {
            for event in Plan::of(seed, Size::default()).events {
                found.insert(variant(&event.act));
                match &event.act {
                    Act::Break { fault, .. } => found.insert(variant(fault)),
                    Act::BreakCloud { fault } => found.insert(variant(fault)),
                    Act::Kill {
                        whom: Whom::Part(part),
                    } => found.insert(variant(part)),
                    Act::DieAtCommit { death, .. } => found.insert(variant(death)),
                    _ => false,
                };
            }
        }
        let expected = "StudioCrash StudioHang StatusDown StatusHang StatusFlap Blackhole SshDown SshDownAt OutputSilent SlowBoot \
             BootNeverFinishes ServiceNeverStarts AddressChanges Down Throttled Slow NoCapacity StopsForgotten Mislaid Denied \
             AnswersLost Machines Shows Executions Pool Cloud BeforeTheSync AfterTheSync Produce Release StreamOff StreamOn Hold \
             Failover Maintain Press WarmTarget Mend BreakZone MendZone MendCloud IngestDown IngestUp StopInstance \
             KillCoordinator DiskFull SlowDisk";
        for name in expected.split_whitespace() {
            assert!(found.contains(name), "{name} never comes up");
        }
    }
}
