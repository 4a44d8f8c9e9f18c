//! The ways in which an actor of the tree fails.

use std::collections::BTreeSet;
use std::time::Duration;

use ractor::{ActorCell, ActorId};
use tokio::time::Instant;
use understudy::actors::coordinator::{Assign, CloudStanding, CommandError, Victim};
use understudy::actors::root::Part;
use understudy::domain::failover::verdict::{Sign, Signals};
use understudy::domain::ids::{ShowId, VmId};
use understudy::domain::vm::Status;

use crate::doubles::{Bug, Switch};
use crate::log::Log;
use crate::matrix::Actor;
use crate::tree::{Switches, Tree, children, collect};

/// Virtual time in which everything that follows from a failure has followed.
const AFTERMATH: Duration = Duration::from_secs(20);
/// Virtual time within which whoever died is back.
const BACK: Duration = Duration::from_secs(200);
/// A process that did not run for so long notices.
const STALL: Duration = Duration::from_secs(10);
/// What each commit takes on a disk that stalls: far longer than anybody waits for it.
const STALLED_COMMIT: Duration = Duration::from_secs(20);
/// How long a command waits for that, at most: the ledger's own limit and what it takes to tell.
const COMMIT: Duration = Duration::from_secs(6);

/// What became of a tree one of whose actors failed.
#[derive(Debug)]
pub struct Outcome {
    /// Until it was back, or had answered.
    pub back: Duration,
    /// Actors that neither failed nor belonged to the one that did, and are not there any more.
    pub touched: usize,
    pub untouched_show: bool,
    pub alerts: Vec<String>,
}

pub async fn kill(actor: Actor) -> Outcome {
    let mut tree = Tree::with_a_show().await;
    let (parent, victim) = actor.find(&tree);
    if actor == Actor::Vm {
        // Whichever started first; what matters is that it is the one that the show is on.
        let vm = tree.vm.clone();
        return outcome(&mut tree, &parent, None, async |tree| {
            assert!(tree.coordinator.kill_vm_actor(&vm));
        })
        .await;
    }
    outcome(&mut tree, &parent, Some(&victim), async |_| victim.kill()).await
}

/// The gateway's task ends, which is an error.
pub async fn end(actor: Actor) -> Outcome {
    assert_eq!(actor, Actor::Gateway, "no other task ends but by a defect");
    let mut tree = Tree::with_a_show().await;
    let (parent, victim) = actor.find(&tree);
    outcome(&mut tree, &parent, Some(&victim), async |tree| tree.gateway.end()).await
}

/// It panics in its own code.
pub async fn panic(actor: Actor) -> Outcome {
    let log = Log::begin();
    let mut tree = Tree::with_a_show().await;
    let (parent, victim) = actor.find(&tree);
    let victim = (actor != Actor::Vm).then_some(&victim);
    outcome(&mut tree, &parent, victim, async |tree| {
        let is_broken = provoke(actor, tree, &log).await;
        if is_broken {
            tree.until("a panic", |_| log.has_broken().then_some(())).await;
        }
    })
    .await
}

/// The line over which a supervisor that restarts somebody panics.
const DIED: &str = "an actor died; restarting it";

/// Has an actor write the line over which it panics. Whether it is by its log.
async fn provoke(actor: Actor, tree: &Tree, log: &Log) -> bool {
    let (coordinator, show, vm) = (tree.coordinator.clone(), &tree.show, &tree.vm);
    match actor {
        Actor::Root => {
            log.break_at(DIED, "Pool");
            assert!(coordinator.kill(&Victim::Part(Part::Pool)));
        }
        Actor::Stalls => {
            log.break_at(
                "this process did not run for a while; what seems to have failed meanwhile is looked at again",
                "",
            );
            tokio::time::advance(STALL).await;
        }
        Actor::Machines => {
            log.break_at(DIED, vm.as_str());
            assert!(coordinator.kill_vm_actor(vm));
        }
        Actor::Shows => {
            log.break_at(DIED, show.as_str());
            assert!(coordinator.kill_show_actor(show));
        }
        Actor::Executions => {
            log.break_at("an execution begins", "");
            let vm = vm.clone();
            tokio::spawn(async move { coordinator.system_info(vm, "a test".to_owned()).await });
        }
        Actor::Pool => log.break_at("pool", ""),
        Actor::Cloud => {
            log.break_at(
                "the cloud could not be looked at; going on with what was seen before",
                "",
            );
            tree.switches.cloud.times(1, "list", Bug::Panic);
            tokio::spawn(async move { coordinator.check(None, true).await });
        }
        Actor::Gateway => {
            tree.gateway.panic();
            return false;
        }
        Actor::Vm => log.break_at("vm", vm.as_str()),
        Actor::Show => log.break_at("show", show.as_str()),
        Actor::Probe | Actor::Obs | Actor::Ssh | Actor::Ledger => unreachable!("they fail otherwise"),
    }
    true
}

/// Makes it fail and looks what follows. Without a victim it is whichever child of the parent is gone then.
async fn outcome(
    tree: &mut Tree,
    parent: &ActorCell,
    victim: Option<&ActorCell>,
    fail: impl AsyncFnOnce(&Tree),
) -> Outcome {
    let before = tree.everybody();
    let siblings: Vec<ActorCell> = children(parent);
    let families: Vec<(ActorId, BTreeSet<ActorId>)> = siblings
        .iter()
        .map(|cell| (cell.get_id(), family(cell)))
        .collect();
    let newest = before.iter().map(ActorId::pid).max();
    fail(tree).await;
    let failed_at = Instant::now();
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

/// The links of all VMs, whose adapter has a defect when they call next; sessions are ended so that they call.
pub async fn link(actor: Actor, bug: Bug) -> Outcome {
    let mut tree = Tree::with_a_show().await;
    let machines = children(&tree.parts()[1]);
    type Picks = fn(&Switches) -> &Switch;
    let (number, picks, call, sign): (usize, Picks, &str, fn(&Signals) -> Sign) = match actor {
        Actor::Obs => (1, |all| &all.obs, "connect", |signals| signals.obs),
        Actor::Ssh => (2, |all| &all.ssh, "connect", |signals| signals.ssh),
        _ => (0, |all| &all.probe, "status", |signals| signals.probe),
    };
    let switch = picks(&tree.switches).clone();
    switch.on(call, bug);
    for vm in &machines {
        children(vm)[number].kill();
    }
    let what = format!("{} called again ({bug:?})", actor.name());
    let back = tree.until(&what, |_| switch.called_again()).await;
    switch.off();
    let mended_at = tree.world.clock().now();
    // Whoever was given up for its many deaths is tried afresh after a minute.
    let what = format!("{} heard again ({bug:?})", actor.name());
    tree.until(&what, |_| {
        let signals = tree.coordinator.board().latest(&tree.vm).signals;
        matches!(sign(&signals), Sign::Good { at } if at > mended_at).then_some(())
    })
    .await;
    tokio::time::sleep(AFTERMATH).await;
    let now = children(&tree.parts()[1]);
    let ids = |cells: &[ActorCell]| cells.iter().map(ActorCell::get_id).collect::<BTreeSet<_>>();
    Outcome {
        back,
        touched: ids(&machines).difference(&ids(&now)).count(),
        untouched_show: tree.is_untouched(),
        alerts: tree.alerts(),
    }
}

/// The cloud's adapter has a defect: how long until a look fails. Looks go on once it has none.
pub async fn cloud(bug: Bug) -> Outcome {
    let mut tree = Tree::with_a_show().await;
    let before = tree.everybody();
    tree.switches.cloud.on("list", bug);
    let began = Instant::now();
    let coordinator = tree.coordinator.clone();
    let look = tokio::spawn(async move { coordinator.check(None, true).await });
    let what = format!("a look that failed ({bug:?})");
    let back = tree.until(&what, |_| match tree.coordinator.readiness().cloud {
        CloudStanding::Unknown | CloudStanding::Connected { .. } => None,
        CloudStanding::NoCredentials { .. }
        | CloudStanding::Unreachable { .. }
        | CloudStanding::Error { .. } => Some(began.elapsed()),
    });
    let back = back.await;
    let told = look.await.unwrap();
    assert!(told.is_err(), "whoever waited for it was told {told:?}");
    tree.switches.cloud.off();
    tokio::time::sleep(AFTERMATH).await;
    let again = tree.coordinator.check(None, true).await;
    assert!(again.is_ok(), "looks do not go on: {again:?}");
    settled(&mut tree, before, back)
}

/// Nobody has failed, and nothing was noticed.
fn settled(tree: &mut Tree, before: BTreeSet<ActorId>, back: Duration) -> Outcome {
    Outcome {
        back,
        touched: before.difference(&tree.everybody()).count(),
        untouched_show: tree.is_untouched(),
        alerts: tree.alerts(),
    }
}

/// The root of the tree fails; nobody starts it again, and `serve` ends for that.
pub async fn root(how: How) {
    let log = Log::begin();
    let tree = Tree::with_a_show().await;
    assert!(tree.node.is_standing());
    match how {
        How::Panic => {
            provoke(Actor::Root, &tree, &log).await;
        }
        How::Kill => tree.root().kill(),
    }
    tree.until("the root missed", |_| (!tree.node.is_standing()).then_some(()))
        .await;
    tokio::time::sleep(AFTERMATH).await;
    assert!(tree.is_untouched(), "a tree that is gone took its show along");
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    Panic,
    Kill,
}

/// What it waits for in its handlers, the ledger, does not answer: how long until a command to it is answered all the
/// same. Once the ledger answers, so does it.
pub async fn stall(actor: Actor) -> Outcome {
    let mut tree = Tree::with_a_show().await;
    let spare = tree.spare();
    let before = tree.everybody();
    tree.journal.slow_down(STALLED_COMMIT);
    let began = Instant::now();
    command_while_stalled(actor, &tree, &spare).await;
    let back = began.elapsed();
    assert!(back < COMMIT, "{actor:?} hung for {back:?}");
    tree.journal.slow_down(Duration::ZERO);
    tokio::time::sleep(AFTERMATH).await;
    let after = command_afterwards(actor, &tree, &spare).await;
    assert!(after.is_ok(), "{actor:?} does not go on: {after:?}");
    tokio::time::sleep(AFTERMATH).await;
    settled(&mut tree, before, back)
}

async fn command_while_stalled(actor: Actor, tree: &Tree, spare: &VmId) {
    let coordinator = &tree.coordinator;
    let answer = match actor {
        Actor::Show => coordinator.hold(tree.show.clone(), true, None).await,
        Actor::Executions => {
            let asked = coordinator.system_info(spare.clone(), "a test".to_owned());
            asked.await.map(drop)
        }
        Actor::Cloud => {
            // It cannot take this one into the pool.
            tree.place_another();
            return coordinator.check(None, true).await.map(drop).unwrap();
        }
        _ => {
            let turned = coordinator.maintenance(spare.clone(), true, None);
            turned.await.map(drop)
        }
    };
    assert!(
        matches!(answer, Err(CommandError::TimedOut { .. })),
        "{actor:?}: {answer:?}"
    );
}

async fn command_afterwards(actor: Actor, tree: &Tree, spare: &VmId) -> Result<(), CommandError> {
    let coordinator = &tree.coordinator;
    match actor {
        Actor::Show => coordinator.hold(tree.show.clone(), false, None).await,
        Actor::Executions => {
            let asked = coordinator.system_info(spare.clone(), "a test".to_owned());
            asked.await.map(drop)
        }
        Actor::Cloud => {
            coordinator.check(None, true).await?;
            tree.until("the VM that was found meanwhile", |state| {
                (state.count(Status::Available) == 3).then_some(())
            })
            .await;
            Ok(())
        }
        _ => {
            // What was begun may have been done.
            let _ = coordinator.maintenance(spare.clone(), false, None).await;
            coordinator.maintenance(spare.clone(), true, None).await?;
            coordinator
                .maintenance(spare.clone(), false, None)
                .await
                .map(drop)
        }
    }
}

/// A part of the tree dies while the ledger does not answer: the root waits so long for it and no longer.
pub async fn stalled_start() -> Outcome {
    let mut tree = Tree::with_a_show().await;
    let (parent, victim) = Actor::Machines.find(&tree);
    let (journal, coordinator, show) = (tree.journal.clone(), tree.coordinator.clone(), tree.show.clone());
    let outcome = outcome(&mut tree, &parent, Some(&victim), async |_| {
        journal.slow_down(STALLED_COMMIT);
        // Something that is not decided.
        tokio::spawn(async move { coordinator.hold(show, false, None).await });
        tokio::time::sleep(Duration::from_millis(100)).await;
        victim.kill();
    })
    .await;
    journal.slow_down(Duration::ZERO);
    outcome
}

/// The disk is full: how the ledger's end is told, and that shows stay on air.
pub async fn full() {
    let tree = Tree::with_a_show().await;
    assert_eq!(tree.coordinator.readiness().ledger, Ok(()));
    tree.journal.leave_room_for(0);
    let held = tree.coordinator.hold(tree.show.clone(), true, None).await;
    assert!(matches!(held, Err(CommandError::Ledger(_))), "{held:?}");
    let told = tree.coordinator.readiness().ledger;
    assert!(told.is_err(), "`understudy serve` does not hear of it");
    tokio::time::sleep(AFTERMATH).await;
    assert!(tree.is_untouched(), "its show noticed");
}

/// Commands to it, all at once: each is answered, carried out or not, and nobody else sees anything of it.
pub async fn flood(actor: Actor) -> Outcome {
    const COMMANDS: usize = 1_000;
    let mut tree = Tree::with_a_show().await;
    let (spare, before) = (tree.spare(), tree.everybody());
    let began = Instant::now();
    let commands: Vec<_> = (0..COMMANDS)
        .map(|number| {
            let (coordinator, show, vm) = (tree.coordinator.clone(), tree.show.clone(), spare.clone());
            tokio::spawn(async move {
                match actor {
                    Actor::Show => coordinator.hold(show, number % 2 == 0, None).await,
                    Actor::Executions => {
                        let asked = coordinator.system_info(vm, "a test".to_owned());
                        asked.await.map(drop)
                    }
                    Actor::Cloud => coordinator.check(None, true).await.map(drop),
                    Actor::Pool => {
                        let other = ShowId::new(format!("other-{}", number % 10)).unwrap();
                        let ask = Assign {
                            region: Some("nowhere".to_owned()),
                            ..Assign::default()
                        };
                        coordinator.assign(other, ask).await.map(drop)
                    }
                    _ => coordinator.check(Some(vm), false).await.map(drop),
                }
            })
        })
        .collect();
    for command in commands {
        // Done or refused: answered.
        let _ = command.await.unwrap();
    }
    let back = began.elapsed();
    tree.coordinator
        .hold(tree.show.clone(), false, None)
        .await
        .unwrap();
    tokio::time::sleep(AFTERMATH).await;
    settled(&mut tree, before, back)
}
