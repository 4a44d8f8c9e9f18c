//! Faults that were struck and are not mended yet. Several may lie over each other, and what one step mends another may still
//! want broken. Pure.

use super::scenario::MachineFault;
use crate::domain::ids::InstanceId;
use crate::sim::model::fault::CloudFault;

/// A fault of something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Force {
    Machine(MachineFault, InstanceId),
    Cloud(CloudFault),
    Ingest,
}

impl Force {
    /// Whether there can only be one of the two at a time: the later one stands in for both.
    fn excludes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Machine(one, machine), Self::Machine(two, same)) => machine == same && one.is_alike(*two),
            (Self::Ingest, Self::Ingest) => true,
            (Self::Machine(..) | Self::Cloud(_) | Self::Ingest, _) => false,
        }
    }
}

impl MachineFault {
    fn is_alike(self, other: Self) -> bool {
        match (self, other) {
            (Self::Fault(one), Self::Fault(two)) => one.kind() == two.kind(),
            _ => self == other,
        }
    }
}

/// What is to be done so that only what is still in force holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lift {
    /// Nothing else wants it.
    Heal(Force),
    /// This holds instead, and did before.
    Restore(Force),
    /// The cloud's API is healed as a whole; these go on.
    Cloud(Vec<CloudFault>),
}

/// By the number of the strike, in the order in which they were struck.
#[derive(Debug, Default)]
pub struct InForce(Vec<(usize, Force)>);

impl InForce {
    pub fn add(&mut self, strike: usize, force: Force) {
        self.0.push((strike, force));
    }

    /// The time of a strike is over.
    pub fn lift(&mut self, strike: usize) -> Vec<Lift> {
        let (lifted, left): (Vec<_>, Vec<_>) = std::mem::take(&mut self.0)
            .into_iter()
            .partition(|(of, _)| *of == strike);
        self.0 = left;
        lifted
            .into_iter()
            .filter_map(|(_, force)| self.lifted(force))
            .collect()
    }

    fn lifted(&self, force: Force) -> Option<Lift> {
        if matches!(force, Force::Cloud(_)) {
            let left = self.0.iter().filter_map(|(_, other)| match other {
                Force::Cloud(fault) => Some(*fault),
                Force::Machine(..) | Force::Ingest => None,
            });
            return Some(Lift::Cloud(left.collect()));
        }
        let other = self.0.iter().rev().find(|(_, other)| other.excludes(&force));
        match other {
            None => Some(Lift::Heal(force)),
            Some((_, other)) if *other == force => None,
            Some((_, other)) => Some(Lift::Restore(other.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sim::model::fault::Fault;

    fn machine(fault: Fault) -> Force {
        Force::Machine(MachineFault::Fault(fault), InstanceId::new("i-1").unwrap())
    }

    #[test]
    fn what_another_step_still_wants_broken_is_not_mended() {
        let mut in_force = InForce::default();
        for strike in [1, 2] {
            in_force.add(strike, Force::Ingest);
            in_force.add(strike, machine(Fault::Blackhole));
        }
        assert_eq!(in_force.lift(2), []);
        let both = [Force::Ingest, machine(Fault::Blackhole)].map(Lift::Heal);
        assert_eq!(in_force.lift(1), both);
    }

    #[test]
    fn what_is_of_another_kind_or_machine_is_mended() {
        let mut in_force = InForce::default();
        in_force.add(1, machine(Fault::Blackhole));
        let other = InstanceId::new("i-2").unwrap();
        in_force.add(1, Force::Machine(MachineFault::Fault(Fault::StudioCrash), other));
        in_force.add(2, machine(Fault::StudioCrash));
        assert_eq!(in_force.lift(2), [Lift::Heal(machine(Fault::StudioCrash))]);
    }

    #[test]
    fn of_two_of_one_kind_the_other_holds_when_one_is_over() {
        let flap = |ms: u64| Fault::StatusFlap {
            up: Duration::from_millis(ms),
            down: Duration::from_millis(ms),
        };
        let mut in_force = InForce::default();
        in_force.add(1, machine(flap(100)));
        in_force.add(2, machine(flap(200)));
        assert_eq!(in_force.lift(2), [Lift::Restore(machine(flap(100)))]);
    }

    #[test]
    fn the_clouds_other_faults_go_on() {
        let slow = CloudFault::Slow {
            delay: Duration::from_secs(1),
        };
        let mut in_force = InForce::default();
        in_force.add(1, Force::Cloud(CloudFault::Down));
        in_force.add(2, Force::Cloud(slow));
        assert_eq!(in_force.lift(2), [Lift::Cloud(vec![CloudFault::Down])]);
        assert_eq!(in_force.lift(1), [Lift::Cloud(Vec::new())]);
    }
}
