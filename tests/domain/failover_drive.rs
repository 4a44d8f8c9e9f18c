//! A coordinator that drives a failover by [`Failover::next`] alone, and everything that can go wrong with it:
//! it is killed between an effect and its record, it does things twice, spares die, late completions arrive.
//! Beside the state there is a world, in which VMs really publish or do not.

use std::collections::BTreeSet;

use proptest::prelude::*;
use understudy::domain::event::Event;
use understudy::domain::failover::{Action, Ending, Failover};
use understudy::domain::ids::{Attempt, Epoch, VmId};
use understudy::domain::invariants::violations;
use understudy::domain::show::{self, Phase};
use understudy::domain::state::State;
use understudy::domain::vm::{Event as VmEvent, Status};

use crate::fixtures::{
    after, all_of, assigned, at, ended, failover_began, fenced, of_show, publishing, ready_pool, restored,
    show_id, went_on_air,
};

const VMS: usize = 4;
/// More good steps in a row than any failover needs: choose, fence, restore, publish, end.
const GOOD_STEPS: usize = 6;

/// What befalls one step of the coordinator.
#[derive(Debug, Clone, Copy)]
enum Luck {
    Good,
    /// Killed after the effect, before it was recorded.
    KilledBeforeRecord,
    /// Killed after it recorded that the stream is about to start, before starting it.
    KilledBeforeStart,
    /// Both done and recorded twice.
    Twice,
    SpareLost,
    TargetNotReady,
    /// The old machine is found off by the cloud.
    OldMachineStops,
    /// What was begun for an earlier epoch completes now.
    LateCompletion,
    /// The producer changes their mind.
    Wanted(bool),
}

fn lucks() -> impl Strategy<Value = Luck> {
    prop_oneof![
        6 => Just(Luck::Good),
        1 => Just(Luck::KilledBeforeRecord),
        1 => Just(Luck::KilledBeforeStart),
        1 => Just(Luck::Twice),
        2 => Just(Luck::SpareLost),
        1 => Just(Luck::TargetNotReady),
        1 => Just(Luck::OldMachineStops),
        1 => Just(Luck::LateCompletion),
        1 => any::<bool>().prop_map(Luck::Wanted),
    ]
}

struct Drive {
    state: State,
    /// VMs whose stream really runs.
    streaming: BTreeSet<VmId>,
}

impl Drive {
    fn begin(spare: bool, on_air: bool) -> Self {
        let mut events = vec![assigned(1, 1)];
        if on_air {
            events.push(went_on_air(1));
        }
        events.push(failover_began(2, spare.then_some(2)));
        let state = after(&ready_pool(VMS), all_of(events));
        let streaming = if on_air { [vm(1)].into() } else { BTreeSet::new() };
        Self { state, streaming }
    }

    fn failover(&self) -> Option<Failover> {
        self.state.show(&show_id(1)).unwrap().failover().cloned()
    }

    fn commit(&mut self, event: Event) {
        let next = self.state.with(std::slice::from_ref(&event), at(20));
        self.state = next.unwrap_or_else(|why| panic!("{event:?}: {why}"));
        assert_eq!(violations(&self.state), Vec::<String>::new(), "after {event:?}");
    }

    fn record(&mut self, event: show::Event) {
        self.commit(of_show(1, event));
    }

    fn start_stream(&mut self, vm: &VmId) {
        self.streaming.insert(vm.clone());
        assert!(
            self.streaming.len() <= 1,
            "{:?} publish at the same time",
            self.streaming
        );
    }

    fn stop_stream(&mut self, vm: &VmId) {
        self.streaming.remove(vm);
    }

    fn step(&mut self, luck: Luck) {
        let Some(failover) = self.failover() else { return };
        match luck {
            Luck::SpareLost => self.lose_spare(&failover),
            Luck::OldMachineStops => {
                self.stop_stream(&failover.from);
                self.commit(Event::vm(&failover.from, VmEvent::Stopped));
            }
            Luck::LateCompletion => self.late(failover.epoch),
            Luck::Wanted(wanted) => self.record(show::Event::StreamWanted { wanted }),
            Luck::TargetNotReady => {
                let waits = [vec![Action::ChooseSpare], vec![Action::AwaitTarget]];
                assert!(waits.contains(&failover.next(false)));
            }
            Luck::Good | Luck::KilledBeforeRecord | Luck::KilledBeforeStart | Luck::Twice => {
                for action in failover.next(true) {
                    self.act(action, &failover, luck);
                }
            }
        }
    }

    fn act(&mut self, action: Action, failover: &Failover, luck: Luck) {
        let epoch = failover.epoch.0;
        let recorded = !matches!(luck, Luck::KilledBeforeRecord);
        let times = if matches!(luck, Luck::Twice) { 2 } else { 1 };
        match (action, &failover.to) {
            (Action::ChooseSpare, _) => self.choose_spare(failover.epoch),
            (Action::Fence, _) => {
                self.stop_stream(&failover.from);
                (0..times)
                    .filter(|_| recorded)
                    .for_each(|_| self.record(fenced(epoch)));
            }
            (Action::Restore, Some(_)) => {
                (0..times)
                    .filter(|_| recorded)
                    .for_each(|_| self.record(restored(epoch)));
            }
            (Action::Publish, Some(to)) => {
                (0..times).for_each(|_| self.record(publishing(epoch)));
                if matches!(luck, Luck::KilledBeforeStart) {
                    return;
                }
                self.start_stream(to);
                if recorded {
                    self.record(ended(epoch, Ending::OnAir));
                }
            }
            (Action::Finish, Some(to)) if recorded => {
                // A stream that was to be published when it was called off is still where it may be.
                assert!(failover.publishing_at.is_none() && !self.streaming.contains(to));
                self.record(ended(epoch, Ending::Moved));
            }
            (Action::Finish, Some(_)) => {}
            (Action::AwaitTarget | Action::Restore | Action::Publish | Action::Finish, _) => {
                panic!("{action:?} was asked for without a target that is ready")
            }
        }
    }

    /// A free VM, repaired if there is none that works.
    fn choose_spare(&mut self, epoch: Epoch) {
        let available = self
            .state
            .with_status(Status::Available)
            .next()
            .map(|vm| vm.id.clone());
        let spare = available.unwrap_or_else(|| {
            let broken = self.state.vms().find(|vm| vm.is_free()).unwrap().clone();
            if broken.status() == Status::Stopped {
                let attempt = Attempt(broken.attempts.0 + 1);
                self.commit(Event::vm(&broken.id, VmEvent::Starting { attempt }));
            }
            self.commit(Event::vm(&broken.id, VmEvent::Booting));
            self.commit(Event::vm(&broken.id, VmEvent::Ready));
            broken.id.clone()
        });
        assert!(
            !self.streaming.contains(&spare),
            "{spare} is free, and still publishes"
        );
        self.record(show::Event::SpareChosen { epoch, vm: spare });
    }

    fn lose_spare(&mut self, failover: &Failover) {
        let Some(vm) = failover.to.clone() else { return };
        let reason = "it does not answer".to_owned();
        self.record(show::Event::SpareLost {
            epoch: failover.epoch.next(),
            vm,
            reason,
        });
    }

    /// Nothing that was begun for the epoch before may have an effect now.
    fn late(&mut self, epoch: Epoch) {
        let before = epoch.0 - 1;
        let late = [
            fenced(before),
            restored(before),
            publishing(before),
            ended(before, Ending::OnAir),
        ];
        for event in late {
            let result = self.state.with(&[of_show(1, event.clone())], at(20));
            assert!(result.is_err(), "{event:?} is late and was accepted");
        }
    }
}

fn vm(n: usize) -> VmId {
    crate::fixtures::vm_id(n)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn a_failover_reaches_its_end_without_two_vms_ever_publishing(
        spare: bool,
        on_air: bool,
        lucks in prop::collection::vec(lucks(), 0..40),
    ) {
        let mut drive = Drive::begin(spare, on_air);
        for luck in lucks {
            drive.step(luck);
        }
        for _ in 0..GOOD_STEPS {
            drive.step(Luck::Good);
        }
        let show = drive.state.show(&show_id(1)).unwrap();
        prop_assert!(show.failover().is_none(), "it does not end: {:?}", show.failover());
        let vm = show.vm.clone().unwrap();
        let expected = if show.phase == Phase::OnAir { BTreeSet::from([vm.clone()]) } else { BTreeSet::new() };
        prop_assert_eq!(&drive.streaming, &expected);
        let last = show.records.last().unwrap();
        prop_assert_eq!(last.ending == Ending::OnAir, show.phase == Phase::OnAir);
        prop_assert_eq!(last.failover.to.as_ref(), Some(&vm));
        prop_assert_eq!(last.failover.epoch, show.epoch);
    }
}
