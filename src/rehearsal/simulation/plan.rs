//! What happens in a run, decided from one seed before anything happens.
//!
//! A plan is data: which shows are produced when, what breaks and is mended when, who is killed when. Making one needs no
//! clock and no world, so that a part of a plan ([`Plan::only`]) is a plan as well: that is what shrinking stands on.

mod maker;

use std::fmt;

use self::maker::Maker;
use crate::actors::coordinator::Link;
use crate::actors::root::Part;
use crate::infra::ledger::Death;
use crate::sim::model::fault::{ArchiveFault, CloudFault, Fault, FaultKind};

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
    /// What the studio of a show is to be made from is said long before it has a VM.
    Schedule {
        show: u32,
    },
    /// A producer wants the show: a VM, a studio, and the stream on.
    Produce {
        show: u32,
        how: SetUp,
    },
    /// The producer gives the VM back.
    Release {
        show: u32,
        how: GiveBack,
    },
    /// The show is not to be after all: the same, before it has begun.
    Cancel {
        show: u32,
    },
    /// Somebody gives an order about a show.
    Order {
        show: u32,
        order: Order,
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
    /// An operator has the pool launch another VM.
    Launch,
    /// Something breaks in the world, or is mended.
    World(Change),
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    StreamOn,
    StreamOff,
    Hold { held: bool },
    Failover,
}

/// What happens outside of the coordinator.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Change {
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
    BreakArchive {
        fault: ArchiveFault,
    },
    MendArchive,
    IngestDown,
    IngestUp,
    /// Somebody stops the instance in the cloud's console.
    StopInstance {
        vm: u32,
    },
}

/// How the studio of a show comes about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetUp {
    /// By hand, in OBS.
    ByHand,
    /// By hand, and recorded.
    Recorded,
    /// From a template.
    Configured,
    /// From a template that was named when it was scheduled.
    Scheduled,
}

/// How a VM is given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GiveBack {
    AsItIs,
    /// And stopped.
    Stopped,
    /// With its recordings archived.
    Archived,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Button {
    Start,
    Stop,
    Reboot,
    Terminate,
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
        let mut events = Maker::new(seed, size).make();
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
                    Act::Order { order, .. } => found.insert(variant(order)),
                    Act::World(change) => {
                        found.insert(variant(change));
                        match change {
                            Change::Break { fault, .. } => found.insert(variant(fault)),
                            Change::BreakCloud { fault } => found.insert(format!("Cloud{}", variant(fault))),
                            Change::BreakArchive { fault } => {
                                found.insert(format!("Archive{}", variant(fault)))
                            }
                            _ => false,
                        }
                    }
                    Act::Kill {
                        whom: Whom::Part(part),
                    } => found.insert(variant(part)),
                    Act::DieAtCommit { death, .. } => found.insert(variant(death)),
                    Act::Produce { how, .. } => found.insert(variant(how)),
                    Act::Release { how, .. } => found.insert(variant(how)),
                    Act::Press { button, .. } => found.insert(variant(button)),
                    _ => false,
                };
            }
        }
        let expected = "StudioCrash StudioHang StatusDown StatusHang StatusFlap Blackhole SshDown SshDownAt OutputSilent SlowBoot \
             BootNeverFinishes ServiceNeverStarts AddressChanges CloudDown CloudThrottled CloudSlow CloudNoCapacity \
             CloudStopsForgotten CloudMislaid CloudDenied CloudAnswersLost ArchiveDown ArchiveDenied ArchiveSlow \
             ArchiveAnswersLost ArchiveDamages BreakArchive MendArchive Schedule Cancel Launch ByHand Recorded Configured \
             Scheduled AsItIs Stopped Archived Start Stop Reboot Terminate Machines Shows Executions Pool Cloud BeforeTheSync AfterTheSync Produce Release StreamOff StreamOn Hold \
             Failover Maintain Press WarmTarget Mend BreakZone MendZone MendCloud IngestDown IngestUp StopInstance \
             KillCoordinator DiskFull SlowDisk";
        for name in expected.split_whitespace() {
            assert!(found.contains(name), "{name} never comes up");
        }
    }
}
