//! Every actor of a tree with a show on air, killed.

use std::collections::BTreeSet;
use std::time::Duration;

use ractor::{ActorCell, ActorId};
use tokio::time::Instant;

use crate::tree::{Tree, children, collect};

/// Virtual time in which everything that follows from a failure has followed.
const AFTERMATH: Duration = Duration::from_secs(60);
/// Virtual time within which whoever died is back.
const BACK: Duration = Duration::from_secs(200);

/// An actor of the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Actor {
    Stalls,
    Machines,
    Shows,
    Executions,
    Pool,
    Cloud,
    Gateway,
    Vm,
    Show,
    Probe,
    Obs,
    Ssh,
}

impl Actor {
    const ALL: [Self; 12] = [
        Self::Stalls,
        Self::Machines,
        Self::Shows,
        Self::Executions,
        Self::Pool,
        Self::Cloud,
        Self::Gateway,
        Self::Vm,
        Self::Show,
        Self::Probe,
        Self::Obs,
        Self::Ssh,
    ];

    /// Who has it as a child, and which one it is. The links are those of the VM that started first.
    fn find(self, tree: &Tree) -> (ActorCell, ActorCell) {
        let parts = tree.parts();
        let [stalls, machines, shows, executions, pool, cloud, gateway] = &parts[..] else {
            panic!("{} parts", parts.len());
        };
        let of = |parent: &ActorCell, number: usize| (parent.clone(), children(parent)[number].clone());
        let root = stalls.try_get_supervisor().expect("its supervisor is the root");
        let part = |cell: &ActorCell| (root.clone(), cell.clone());
        let first_vm = || children(machines)[0].clone();
        match self {
            Self::Stalls => part(stalls),
            Self::Machines => part(machines),
            Self::Shows => part(shows),
            Self::Executions => part(executions),
            Self::Pool => part(pool),
            Self::Cloud => part(cloud),
            Self::Gateway => part(gateway),
            Self::Vm => of(machines, 0),
            Self::Show => of(shows, 0),
            Self::Probe => of(&first_vm(), 0),
            Self::Obs => of(&first_vm(), 1),
            Self::Ssh => of(&first_vm(), 2),
        }
    }
}

/// What became of a tree one of whose actors failed.
struct Outcome {
    /// Until it was back.
    back: Duration,
    /// Actors that neither failed nor belonged to the one that did, and are not there any more.
    touched: usize,
    untouched_show: bool,
    alerts: Vec<String>,
}

async fn kill(actor: Actor) -> Outcome {
    let mut tree = Tree::with_a_show().await;
    let (parent, victim) = actor.find(&tree);
    if actor == Actor::Vm {
        // Whichever started first; what matters is that it is the one that the show is on.
        let vm = tree.vm.clone();
        return outcome(&mut tree, &parent, None, |tree| {
            assert!(tree.coordinator.kill_vm_actor(&vm))
        })
        .await;
    }
    outcome(&mut tree, &parent, Some(&victim), |_| victim.kill()).await
}

/// Makes it fail and looks what follows. Without a victim it is whichever child of the parent is gone then.
async fn outcome(
    tree: &mut Tree,
    parent: &ActorCell,
    victim: Option<&ActorCell>,
    fail: impl FnOnce(&Tree),
) -> Outcome {
    let before = tree.everybody();
    let siblings: Vec<ActorCell> = children(parent);
    let families: Vec<(ActorId, BTreeSet<ActorId>)> = siblings
        .iter()
        .map(|cell| (cell.get_id(), family(cell)))
        .collect();
    let newest = before.iter().map(ActorId::pid).max();
    let failed_at = Instant::now();
    fail(tree);
    let back = tree.until("somebody new in its place", |_| {
        let now = children(parent);
        let is_gone = victim.is_none_or(|victim| now.iter().all(|cell| cell.get_id() != victim.get_id()));
        let is_there = now.iter().any(|cell| Some(cell.get_id().pid()) > newest);
        (is_gone && is_there && now.len() == siblings.len()).then(|| failed_at.elapsed())
    });
    let back = tokio::time::timeout(BACK, back)
        .await
        .expect("it is back in time");
    tokio::time::sleep(AFTERMATH).await;
    let now = tree.everybody();
    let died: BTreeSet<ActorId> = families
        .into_iter()
        .filter(|(id, _)| !now.contains(id))
        .flat_map(|(_, family)| family)
        .collect();
    Outcome {
        back,
        touched: before.difference(&now).filter(|id| !died.contains(id)).count(),
        untouched_show: tree.is_untouched(),
        alerts: tree.alerts(),
    }
}

/// It and everybody below it.
fn family(cell: &ActorCell) -> BTreeSet<ActorId> {
    let mut found = BTreeSet::from([cell.get_id()]);
    collect(cell, &mut found);
    found
}

#[tokio::test(start_paused = true)]
async fn the_death_of_no_actor_takes_a_show_off_the_air_or_a_neighbour_along() {
    for actor in Actor::ALL {
        let outcome = kill(actor).await;
        assert!(outcome.untouched_show, "{actor:?}: its show noticed");
        assert_eq!(outcome.touched, 0, "{actor:?}: neighbours died with it");
        println!(
            "{actor:?}: back after {:?}, alerts {:?}",
            outcome.back, outcome.alerts
        );
    }
}
