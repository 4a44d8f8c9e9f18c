//! The supervision matrix, and the page that is written from it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use ractor::{ActorCell, ActorId};
use tokio::time::Instant;
use understudy::domain::failover::verdict::{Sign, Signals};

use crate::doubles::{Bug, Switch};
use crate::tree::{Switches, Tree, children, collect};

/// Where the table stands in docs/failures.md.
const BEGIN: &str =
    "<!-- The table below is written by tests/failures: UPDATE_DOCS=1 cargo test --test failures -->\n";
const END: &str = "<!-- Up to here. -->\n";
/// Virtual time in which everything that follows from a failure has followed.
const AFTERMATH: Duration = Duration::from_secs(60);
/// Virtual time within which whoever died is back.
const BACK: Duration = Duration::from_secs(200);
/// What takes less than this in virtual time happens at once: no deadline and no pause was waited for.
const AT_ONCE: Duration = Duration::from_millis(100);

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

    fn name(self) -> &'static str {
        match self {
            Self::Stalls => "stalls",
            Self::Machines => "machines",
            Self::Shows => "shows",
            Self::Executions => "executions",
            Self::Pool => "pool",
            Self::Cloud => "cloud",
            Self::Gateway => "gateway",
            Self::Vm => "vm of a show on air",
            Self::Show => "show on air",
            Self::Probe => "probe link",
            Self::Obs => "OBS link",
            Self::Ssh => "SSH link",
        }
    }

    /// What dies with it and is not there again at once.
    fn lost(self) -> &'static str {
        match self {
            Self::Stalls => "nothing",
            Self::Machines => "every VM's actor with it, and their sessions; all are started anew",
            Self::Shows => "every show's actor with it; each goes on from the ledger",
            Self::Executions => "what runs is cancelled and recorded as ended unknown",
            Self::Pool => "promises not yet durable, which their shows ask for again",
            Self::Cloud => "who waits for a look is answered 503",
            Self::Gateway => "open connections; clients connect again",
            Self::Vm => "its sessions; commands to it are answered 503",
            Self::Show => "commands to it are answered 503; its procedure goes on from the ledger",
            Self::Probe => "one probe",
            Self::Obs => "the session, which is opened anew",
            Self::Ssh => "the session, which is opened anew, and what ran through it",
        }
    }

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

/// The adapter that a link depends on.
type Picks = fn(&Switches) -> &Switch;

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
            assert!(tree.coordinator.kill_vm_actor(&vm));
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

/// The links of all VMs, whose adapter has a bug when they call next; sessions are ended so that they call.
async fn buggy_link(actor: Actor, switch: fn(&Switches) -> &Switch, bug: Bug) -> Outcome {
    let mut tree = Tree::with_a_show().await;
    let machines = children(&tree.parts()[1]);
    let (number, sign): (usize, fn(&Signals) -> Sign) = match actor {
        Actor::Obs => (1, |signals| signals.obs),
        Actor::Ssh => (2, |signals| signals.ssh),
        _ => (0, |signals| signals.probe),
    };
    let switch = switch(&tree.switches).clone();
    switch.set(Some(bug));
    for vm in &machines {
        children(vm)[number].kill();
    }
    let what = format!("{} called again ({bug:?})", actor.name());
    let back = tree.until(&what, |_| switch.called_again()).await;
    switch.set(None);
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

fn after(span: Duration) -> String {
    if span < AT_ONCE {
        "at once".to_owned()
    } else {
        format!("after {} s", span.as_secs_f64().round())
    }
}

/// One line of the table. What must hold for every actor alike is asserted here.
fn row(table: &mut String, actor: &str, trouble: &str, noticed: &str, lost: &str, outcome: &Outcome) {
    assert!(outcome.untouched_show, "{actor}, {trouble}: its show noticed");
    assert_eq!(outcome.touched, 0, "{actor}, {trouble}: neighbours died with it");
    let alerts = if outcome.alerts.is_empty() {
        "none".to_owned()
    } else {
        outcome.alerts.join(", ")
    };
    let back = after(outcome.back);
    writeln!(
        table,
        "| {actor} | {trouble} | {noticed} | {back} | {lost} | nothing | {alerts} |"
    )
    .unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_death_of_no_actor_takes_a_show_off_the_air_or_a_neighbour_along() {
    let mut table = String::from(
        "| actor | trouble | who notices | back | what is lost | what its show and its neighbours see | alert |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for actor in Actor::ALL {
        let outcome = kill(actor).await;
        row(
            &mut table,
            actor.name(),
            "panic, error, kill",
            "its supervisor",
            actor.lost(),
            &outcome,
        );
    }
    let links: [(Actor, Picks); 3] = [
        (Actor::Probe, |switches| &switches.probe),
        (Actor::Obs, |switches| &switches.obs),
        (Actor::Ssh, |switches| &switches.ssh),
    ];
    for (actor, switch) in links {
        let outcome = buggy_link(actor, switch, Bug::Panic).await;
        row(
            &mut table,
            actor.name(),
            "its adapter panics",
            "its VM's actor",
            "what the adapter was doing",
            &outcome,
        );
        let outcome = buggy_link(actor, switch, Bug::Hang).await;
        let noticed = "the link itself: the adapter's own deadline and 5 s";
        row(
            &mut table,
            actor.name(),
            "its adapter hangs",
            noticed,
            "what is known over this channel: it is unknown or silent",
            &outcome,
        );
    }
    is_written(&table);
}

/// docs/failures.md has this table.
fn is_written(table: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/failures.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (head, rest) = page
        .split_once(BEGIN)
        .expect("the page says where the table begins");
    let (old, tail) = rest.split_once(END).expect("the page says where the table ends");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, format!("{head}{BEGIN}\n{table}\n{END}{tail}")).unwrap();
        return;
    }
    assert_eq!(
        old.trim(),
        table.trim(),
        "docs/failures.md is out of date: run again with UPDATE_DOCS=1"
    );
}
