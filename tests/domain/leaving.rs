//! However a show leaves a VM, the VM knows what was left on it.

use std::sync::Arc;

use understudy::domain::failover::Ending;
use understudy::domain::sealed::Sealed;
use understudy::domain::show;
use understudy::domain::state::State;
use understudy::domain::studio::{Secret, StreamService, Studio};
use understudy::domain::vm::{Event, Status};

use crate::fixtures::{
    after, all_of, assigned, cleaned, ended, failover_began, fenced, forgiven, of_show, of_vm, publishing,
    ready_pool, restored, show_id, spare_lost, vm, vm_id, went_on_air,
};

fn key(text: &str) -> Sealed {
    Sealed::Plain(Secret::new(text))
}

/// Show 1 on air from VM 1 of three, its studio captured with a stream key.
fn on_air() -> State {
    let stream = StreamService {
        key: Some(key("hush")),
        ..StreamService::default()
    };
    let studio = Arc::new(Studio {
        stream: Some(stream),
        ..Studio::default()
    });
    let events = vec![assigned(1, 1), show::Event::Captured { studio }, went_on_air(1)];
    after(&ready_pool(3), all_of(events))
}

fn left(state: &State, n: usize) -> bool {
    vm(state, n).leftover.is_some()
}

#[test]
fn a_vm_that_was_given_back_is_available_once_it_is_clean() {
    let events = vec![
        show::Event::WentOffAir {
            epoch: vm(&on_air(), 1).occupancy.tenant().unwrap().1,
        },
        show::Event::ReleaseBegan {
            stop_vm: false,
            key: None,
        },
        show::Event::Released {
            vm: vm_id(1),
            key: None,
        },
    ];
    let released = after(&on_air(), all_of(events));
    assert_eq!(vm(&released, 1).status(), Status::Releasing);
    let leftover = vm(&released, 1).leftover.clone().unwrap();
    assert_eq!(
        (&leftover.show, &leftover.keys[..]),
        (&show_id(1), &[key("hush")][..])
    );
    let unclean = after(&released, vec![of_vm(1, cleaned(false))]);
    assert_eq!(vm(&unclean, 1).status(), Status::Releasing);
    assert!(!vm(&unclean, 1).cleaning.as_ref().unwrap().is_clean());
    let clean = after(&unclean, vec![of_vm(1, cleaned(true))]);
    assert_eq!(vm(&clean, 1).status(), Status::Available);
    assert!(vm(&clean, 1).cleaning.as_ref().unwrap().is_clean());
}

/// VM 1 given to show 1, and given back before it was ready.
fn given_back_while_booting() -> State {
    let booting = after(&ready_pool(1), vec![of_vm(1, Event::Booting)]);
    let events = vec![
        assigned(1, 1),
        show::Event::ReleaseBegan {
            stop_vm: false,
            key: None,
        },
        show::Event::Released {
            vm: vm_id(1),
            key: None,
        },
    ];
    after(&booting, all_of(events))
}

#[test]
fn what_a_show_leaves_a_moment_before_its_vm_is_ready_is_not_forgotten() {
    let ready = after(&given_back_while_booting(), vec![of_vm(1, Event::Ready)]);
    assert!(left(&ready, 1));
    assert_eq!(vm(&ready, 1).status(), Status::Releasing);
    let clean = after(&ready, vec![of_vm(1, cleaned(true))]);
    assert_eq!(vm(&clean, 1).status(), Status::Available);
}

#[test]
fn what_was_forgiven_is_tried_again_when_the_vm_comes_up_anew_or_the_next_show_leaves_it() {
    let released = after(&given_back_while_booting(), vec![of_vm(1, Event::Ready)]);
    let used = after(&released, vec![of_vm(1, forgiven())]);
    assert_eq!(vm(&used, 1).status(), Status::Available);
    assert!(left(&used, 1) && !vm(&used, 1).is_to_be_cleaned());
    let anew = after(&used, vec![of_vm(1, Event::Booting)]);
    assert!(vm(&anew, 1).is_to_be_cleaned());
    // While a show has it, what is on it is the show's, even if it comes up anew.
    let taken = after(&used, vec![of_show(2, assigned(1, 1))]);
    let anew = after(&taken, vec![of_vm(1, Event::Booting), of_vm(1, Event::Ready)]);
    assert!(left(&anew, 1) && !vm(&anew, 1).is_to_be_cleaned());
    let released = vec![
        show::Event::ReleaseBegan {
            stop_vm: false,
            key: None,
        },
        show::Event::Released {
            vm: vm_id(1),
            key: None,
        },
    ];
    let released = released.into_iter().map(|event| of_show(2, event)).collect();
    let next = after(&anew, released);
    assert!(vm(&next, 1).is_to_be_cleaned());
    assert_eq!(vm(&next, 1).leftover.as_ref().unwrap().show, show_id(2));
}

/// The show has gone from VM 1 to VM 2.
fn moved() -> State {
    let steps = vec![
        failover_began(2, Some(2)),
        fenced(2),
        restored(2),
        publishing(2),
        ended(2, Ending::OnAir),
    ];
    after(&on_air(), all_of(steps))
}

#[test]
fn the_vm_that_a_failover_leaves_is_not_clean_and_the_one_it_moves_to_is_the_shows() {
    let moved = moved();
    assert_eq!((left(&moved, 1), left(&moved, 2)), (true, false));
    // Proven otherwise, it is still to be cleaned.
    let proven = after(&moved, vec![of_vm(1, Event::FaultCleared)]);
    assert_eq!(vm(&proven, 1).status(), Status::Releasing);
    let clean = after(&proven, vec![of_vm(1, cleaned(true))]);
    assert_eq!(vm(&clean, 1).status(), Status::Available);
}

#[test]
fn a_spare_that_was_lost_or_not_needed_after_all_is_not_clean_either() {
    let lost = after(
        &on_air(),
        all_of(vec![failover_began(2, Some(2)), spare_lost(3, 2)]),
    );
    assert_eq!((left(&lost, 1), left(&lost, 2)), (false, true));
    let recovered = after(
        &on_air(),
        all_of(vec![failover_began(2, Some(2)), ended(2, Ending::Recovered)]),
    );
    assert_eq!((left(&recovered, 1), left(&recovered, 2)), (false, true));
    assert_eq!(vm(&recovered, 2).status(), Status::Releasing);
    assert_eq!(vm(&recovered, 1).status(), Status::InUse);
}

#[test]
fn a_vm_that_is_off_keeps_what_was_left_until_it_is_up_and_clean_whoever_has_it() {
    let moved = moved();
    let off = after(
        &moved,
        vec![of_vm(1, Event::Stopped), of_vm(1, Event::FaultCleared)],
    );
    let given = after(&off, vec![of_show(2, assigned(1, 1)), of_vm(1, Event::Booting)]);
    assert!(
        left(&given, 1),
        "it is another show's, and what was left is still on it"
    );
    let clean = after(&given, vec![of_vm(1, cleaned(true)), of_vm(1, Event::Ready)]);
    assert_eq!(vm(&clean, 1).status(), Status::Assigned);
    // It restarts while the show has it: what is there is the show's.
    let restarted = after(&clean, vec![of_vm(1, Event::Booting)]);
    assert!(!left(&restarted, 1));
}
