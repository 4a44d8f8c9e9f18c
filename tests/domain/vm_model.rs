//! One VM against its own history: every fact about it is found again by looking back through all it went
//! through.

use std::sync::Arc;

use proptest::prelude::*;
use understudy::domain::ids::{Attempt, Epoch};
use understudy::domain::time::Timestamp;
use understudy::domain::vm::{Event, Health, Occupancy, Power, Vm};

use crate::fixtures::{cleaned, forgiven, instance, leftover, machine, show_id};

/// What a show left on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    Nothing,
    There,
    Forgiven,
}

/// What a VM went through, accepted events only.
struct Past {
    first: Vm,
    log: Vec<(Event, Timestamp)>,
}

impl Past {
    fn before(&self, length: usize) -> &[(Event, Timestamp)] {
        &self.log[..length]
    }

    fn power(&self, length: usize) -> Power {
        let latest = self
            .before(length)
            .iter()
            .rev()
            .find_map(|(event, _)| match event {
                Event::Starting { attempt } => Some(Power::Starting { attempt: *attempt }),
                Event::Booting | Event::StopFailed { .. } => Some(Power::Booting),
                Event::Ready => Some(Power::Ready),
                Event::Stopping { attempt } => Some(Power::Stopping { attempt: *attempt }),
                Event::Stopped => Some(Power::Stopped),
                _ => None,
            });
        latest.unwrap_or(self.first.power)
    }

    fn health(&self, length: usize) -> Health {
        let latest = self
            .before(length)
            .iter()
            .rev()
            .find_map(|(event, _)| match event {
                Event::HealthTurned { health } => Some(*health),
                Event::Ready => Some(Health::Healthy),
                Event::Starting { .. } | Event::Booting | Event::Stopped => Some(Health::Unknown),
                _ => None,
            });
        latest.unwrap_or(self.first.health)
    }

    /// Where in the log the faults are that have not been cleared since.
    fn faults(&self, length: usize) -> Vec<usize> {
        let mut open = Vec::new();
        for (at, (event, _)) in self.before(length).iter().enumerate() {
            match event {
                Event::Faulted { .. } | Event::Withheld { .. } | Event::StopFailed { .. } => open.push(at),
                Event::Starting { .. } | Event::Ready | Event::FaultCleared => open.clear(),
                _ => {}
            }
        }
        open
    }

    fn in_maintenance(&self, length: usize) -> bool {
        let count = |wanted: fn(&Event) -> bool| {
            self.before(length)
                .iter()
                .filter(|(event, _)| wanted(event))
                .count()
        };
        let begun = count(|event| matches!(event, Event::MaintenanceBegan { .. }));
        begun > count(|event| matches!(event, Event::MaintenanceEnded))
    }

    /// What is known of what a show left on it.
    fn left(&self, length: usize) -> Left {
        let held = self.first.occupancy != Occupancy::Free;
        let mut left = if self.first.leftover.is_some() {
            Left::There
        } else {
            Left::Nothing
        };
        for (event, _) in self.before(length) {
            left = match (event, left) {
                (
                    Event::Cleaned {
                        report,
                        accepted: true,
                    },
                    _,
                ) if report.is_clean() => Left::Nothing,
                (Event::Cleaned { accepted: true, .. }, Left::There) => Left::Forgiven,
                (Event::Booting | Event::Stopped, Left::Forgiven) if !held => Left::There,
                (Event::Ready, Left::There) if held => Left::Nothing,
                (_, left) => left,
            };
        }
        left
    }

    fn status(&self, length: usize) -> String {
        let power = self.power(length);
        let broken = !self.faults(length).is_empty();
        let sick = power == Power::Ready && self.health(length) == Health::Unhealthy;
        let text = match (&self.first.occupancy, power) {
            _ if self.in_maintenance(length) => "maintenance",
            (_, Power::Stopping { .. }) => "stopping",
            (Occupancy::Releasing { .. }, _) => "releasing",
            _ if broken || sick => "error",
            (_, Power::Stopped) => "stopped",
            (_, Power::Starting { .. } | Power::Booting) => "starting",
            (Occupancy::Assigned { .. }, _) => "assigned",
            (Occupancy::OnAir { .. }, _) => "in_use",
            _ if self.left(length) == Left::There => "releasing",
            _ => "available",
        };
        text.to_owned()
    }

    fn attempts(&self) -> u64 {
        let used = self.log.iter().filter_map(|(event, _)| match event {
            Event::Starting { attempt } | Event::Stopping { attempt } => Some(attempt.0),
            _ => None,
        });
        used.max().unwrap_or(self.first.attempts.0)
    }

    fn may_happen(&self, event: &Event) -> bool {
        let now = self.log.len();
        let power = self.power(now);
        match event {
            Event::Adopted { .. } => false,
            Event::Described { instance } => instance.instance_id == self.first.instance.instance_id,
            Event::Starting { attempt } => power == Power::Stopped && attempt.0 > self.attempts(),
            Event::Stopping { attempt } => power != Power::Stopped && attempt.0 > self.attempts(),
            Event::Ready => power == Power::Booting,
            Event::StopFailed { .. } => matches!(power, Power::Stopping { .. }),
            Event::MaintenanceBegan { .. } | Event::Withheld { .. } => {
                self.first.occupancy == Occupancy::Free && !self.in_maintenance(now)
            }
            Event::MaintenanceEnded => self.in_maintenance(now),
            Event::Resealed { keys } => {
                let is_left = self.left(now) != Left::Nothing;
                let left = self.first.leftover.as_ref().filter(|_| is_left);
                left.is_some_and(|left| left.keys.len() == keys.len())
            }
            Event::Booting
            | Event::Stopped
            | Event::Gone
            | Event::HealthTurned { .. }
            | Event::Faulted { .. }
            | Event::FaultCleared
            | Event::Cleaned { .. } => true,
            // No show has left recordings on it.
            Event::ArchiveResumed { .. } | Event::Archive { .. } => false,
        }
    }

    fn latest(&self, wanted: impl Fn(usize, &Event) -> bool) -> Option<Timestamp> {
        let indexed = self.log.iter().enumerate();
        indexed
            .filter(|(n, (event, _))| wanted(*n, event))
            .map(|(_, (_, at))| *at)
            .last()
    }

    fn assert_tells(&self, vm: &Vm) {
        let now = self.log.len();
        assert_eq!(vm.power, self.power(now));
        assert_eq!(vm.health, self.health(now));
        assert_eq!(
            matches!(vm.occupancy, Occupancy::Maintenance { .. }),
            self.in_maintenance(now)
        );
        let left = match &vm.leftover {
            None => Left::Nothing,
            Some(left) if left.forgiven => Left::Forgiven,
            Some(_) => Left::There,
        };
        assert_eq!(left, self.left(now));
        assert_eq!(vm.status().as_str(), self.status(now));
        assert_eq!(vm.attempts.0, self.attempts());
        let fault = vm
            .fault
            .as_ref()
            .map(|fault| (fault.since, fault.previous.to_string()));
        let faults = self.faults(now);
        let expected = faults
            .first()
            .zip(faults.last())
            .map(|(first, last)| (self.log[*last].1, self.status(*first)));
        assert_eq!(fault, expected);
        let changed = self.latest(|n, _| self.status(n) != self.status(n + 1));
        assert_eq!(
            vm.last_state_change,
            changed.unwrap_or(self.first.last_state_change)
        );
        let started = self.latest(|n, event| match event {
            Event::Starting { .. } => true,
            Event::Booting => self.power(n) == Power::Stopped,
            _ => false,
        });
        assert_eq!(vm.last_started_at, started);
        assert_eq!(
            vm.last_stopped_at,
            self.latest(|_, event| *event == Event::Stopped)
        );
    }
}

/// What is tried: an event whose attempt, if it has one, is this far from the last used.
fn tries() -> impl Strategy<Value = (usize, u64, u64)> {
    (
        0usize..21,
        prop_oneof![4 => Just(1), 1 => Just(0), 1 => Just(3)],
        1u64..1_000,
    )
}

fn event(kind: usize, ahead: u64, vm: &Vm) -> Event {
    let attempt = Attempt(vm.attempts.0 + ahead);
    let turned = |health| Event::HealthTurned { health };
    match kind {
        0 => Event::Adopted {
            instance: instance(1),
        },
        1 => Event::Described {
            instance: instance(usize::from(ahead != 1) + 1),
        },
        2 | 3 => Event::Starting { attempt },
        4 => Event::Booting,
        5 | 6 => Event::Ready,
        7 => Event::Stopping { attempt },
        8 => Event::StopFailed {
            reason: "throttled".into(),
        },
        9 => Event::Stopped,
        10 => turned(Health::Unhealthy),
        11 => turned(Health::Degraded),
        12 => Event::Faulted {
            reason: "it crashed".into(),
        },
        13 => Event::FaultCleared,
        14 => Event::MaintenanceBegan { reason: None },
        15 => Event::MaintenanceEnded,
        16 | 17 => cleaned(kind == 16),
        18 => forgiven(),
        19 => Event::Resealed {
            keys: leftover(2).keys,
        },
        20 => Event::Withheld {
            reason: "recordings are on it".into(),
        },
        other => panic!("no event has number {other}"),
    }
}

fn occupancies() -> impl Strategy<Value = Occupancy> {
    let (show, epoch) = (show_id(1), Epoch(1));
    prop_oneof![
        3 => Just(Occupancy::Free),
        1 => Just(Occupancy::Assigned { show: show.clone(), epoch }),
        1 => Just(Occupancy::OnAir { show: show.clone(), epoch }),
        1 => Just(Occupancy::Releasing { show, epoch }),
    ]
}

proptest! {
    #[test]
    fn a_vm_is_what_its_history_says(
        occupancy in occupancies(),
        left in any::<bool>(),
        tries in prop::collection::vec(tries(), 1..60),
    ) {
        let mut vm = machine(1, Power::Stopped);
        vm.occupancy = occupancy;
        vm.leftover = left.then(|| Arc::new(leftover(2)));
        let mut past = Past { first: vm.clone(), log: Vec::new() };
        let mut now = Timestamp(1_000);
        for (kind, ahead, ms) in tries {
            now = Timestamp(now.0 + ms);
            let (event, before) = (event(kind, ahead, &vm), vm.clone());
            let result = vm.apply(&event, now);
            prop_assert_eq!(result.is_ok(), past.may_happen(&event), "{:?}: {:?}", event, result);
            if result.is_ok() {
                past.log.push((event, now));
            } else {
                prop_assert_eq!(&vm, &before, "a refused event changed it");
            }
            past.assert_tells(&vm);
        }
    }
}
