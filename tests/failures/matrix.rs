//! The supervision matrix: a line for each actor, a column for each way to fail.

use std::collections::BTreeSet;
use std::time::Duration;

use ractor::ActorCell;

use crate::doubles::Bug;
use crate::page;
use crate::tree::{Tree, children};
use crate::ways::{self, How, Outcome};

/// What takes less than this in virtual time happens at once: no deadline and no pause was waited for.
const AT_ONCE: Duration = Duration::from_millis(100);

/// An actor of the tree, or the ledger's thread beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Actor {
    Root,
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
    Ledger,
}

impl Actor {
    pub fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
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
            Self::Ledger => "ledger (a thread)",
        }
    }

    /// What is gone with it and is not there again at once.
    fn lost(self) -> &'static str {
        match self {
            Self::Root | Self::Ledger => "as with `kill -9`: nothing that was acknowledged",
            Self::Stalls => "nothing",
            Self::Machines => "every VM's actor, and their sessions; all are started anew",
            Self::Shows => "every show's actor; each goes on from the ledger",
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
    pub fn find(self, tree: &Tree) -> (ActorCell, ActorCell) {
        let parts = tree.parts();
        let [stalls, machines, shows, executions, pool, cloud, gateway] = &parts[..] else {
            panic!("{} parts", parts.len());
        };
        let of = |parent: &ActorCell, number: usize| (parent.clone(), children(parent)[number].clone());
        let part = |cell: &ActorCell| (tree.root(), cell.clone());
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
            Self::Root | Self::Ledger => unreachable!("nobody has it as a child"),
        }
    }
}

/// What can happen to no actor but a task's: none returns an error (`source`).
const NO_ERROR: &str = "cannot be";

/// A line of the table. What must hold for every actor and every way alike is asserted as it is written.
struct Line {
    actor: Actor,
    cells: Vec<String>,
    alerts: BTreeSet<String>,
}

impl Line {
    fn of(actor: Actor) -> Self {
        Self {
            actor,
            cells: Vec::new(),
            alerts: BTreeSet::new(),
        }
    }

    fn says(&mut self, text: &str) {
        self.cells.push(text.to_owned());
    }

    /// `{back}` in the text is how long it took.
    fn shows(&mut self, text: &str, outcome: Outcome) {
        let actor = self.actor;
        assert!(
            outcome.untouched_show,
            "{actor:?}, {text}: its show noticed: {outcome:?}"
        );
        assert_eq!(
            outcome.touched, 0,
            "{actor:?}, {text}: neighbours died with it: {outcome:?}"
        );
        self.cells.push(text.replace("{back}", &after(outcome.back)));
        self.alerts.extend(outcome.alerts);
    }

    fn write(self) {
        let Self { actor, cells, alerts } = self;
        let [panic, error, kill, hang, flood] = &cells[..] else {
            panic!("{} cells", cells.len());
        };
        let alerts = if alerts.is_empty() {
            "none".to_owned()
        } else {
            Vec::from_iter(alerts).join(", ")
        };
        let (name, lost) = (actor.name(), actor.lost());
        page::has(&format!(
            "| {name} | {panic} | {error} | {kill} | {hang} | {flood} | {lost} | {alerts} |"
        ));
    }
}

fn after(span: Duration) -> String {
    if span < AT_ONCE {
        "at once".to_owned()
    } else {
        format!("after {} s", span.as_secs_f64().round())
    }
}

/// How a line begins for whoever has a supervisor that starts it again, whatever has ended it.
async fn supervised(actor: Actor) -> Line {
    let mut line = Line::of(actor);
    line.shows("back {back}", ways::panic(actor).await);
    if actor == Actor::Gateway {
        line.shows("back {back}", ways::end(actor).await);
    } else {
        line.says(NO_ERROR);
    }
    line.shows("back {back}", ways::kill(actor).await);
    line
}

#[tokio::test(start_paused = true)]
async fn without_its_root_the_tree_is_missed_and_shows_stay_on_air() {
    const ENDS: &str = "`serve` ends within 0.5 s, to be started again";
    let mut line = Line::of(Actor::Root);
    ways::root(How::Panic).await;
    line.says(ENDS);
    line.says(NO_ERROR);
    ways::root(How::Kill).await;
    line.says(ENDS);
    let outcome = ways::stalled_start().await;
    assert!(
        (AT_ONCE..Duration::from_secs(6)).contains(&outcome.back),
        "{outcome:?}"
    );
    line.shows(
        "a part that starts waits for the ledger: started {back}, whatever that says",
        outcome,
    );
    line.says("only its parts write to it, by dying");
    line.write();
}

#[tokio::test(start_paused = true)]
async fn nobody_sees_anything_of_it_when_the_watch_for_stalls_fails() {
    let mut line = supervised(Actor::Stalls).await;
    line.says("cannot be: it waits for its clock alone");
    line.says("nobody writes to it");
    line.write();
}

#[tokio::test(start_paused = true)]
async fn no_show_sees_anything_of_it_when_a_supervisor_fails() {
    for (actor, flood) in [
        (
            Actor::Machines,
            "one message for an instance that joins or leaves",
        ),
        (Actor::Shows, "one message for a show that begins"),
    ] {
        let mut line = supervised(actor).await;
        line.says("cannot be: nothing is waited for when a child starts");
        line.says(flood);
        line.write();
    }
}

#[tokio::test(start_paused = true)]
async fn no_show_sees_anything_of_it_when_executions_fail() {
    let mut line = supervised(Actor::Executions).await;
    let stalled = ways::stall(Actor::Executions).await;
    line.shows("the ledger's limit: answers 504 {back}", stalled);
    let flooded = ways::flood(Actor::Executions).await;
    line.shows("each is answered; 429 beyond `executions.total_max`", flooded);
    line.write();
}

#[tokio::test(start_paused = true)]
async fn no_show_sees_anything_of_it_when_the_pool_fails() {
    let mut line = supervised(Actor::Pool).await;
    line.says("cannot be: it waits for nothing");
    line.shows("each is answered", ways::flood(Actor::Pool).await);
    line.write();
}

#[tokio::test(start_paused = true)]
async fn no_show_sees_anything_of_it_when_the_cloud_or_its_adapter_fails() {
    let mut line = supervised(Actor::Cloud).await;
    let panicked = ways::cloud(Bug::Panic).await;
    assert!(panicked.back < AT_ONCE, "{panicked:?}");
    line.shows("", panicked);
    line.cells.pop();
    let hung = ways::cloud(Bug::Hang).await;
    let stalled = ways::stall(Actor::Cloud).await;
    let ledger = after(stalled.back);
    line.shows("", stalled);
    line.cells.pop();
    line.shows(
        &format!("its adapter's call fails {{back}} (a guard ends it), a wait for the ledger {ledger}"),
        hung,
    );
    line.shows(
        "each is answered; one look serves all who wait",
        ways::flood(Actor::Cloud).await,
    );
    line.write();
}

#[tokio::test(start_paused = true)]
async fn no_show_sees_anything_of_it_when_the_gateways_task_fails() {
    let mut line = supervised(Actor::Gateway).await;
    line.says("cannot be: each connection is a task of its own, with limits");
    line.says("`server.connections_max`; who comes then is answered 503");
    line.write();
}

#[tokio::test(start_paused = true)]
async fn a_show_stays_on_air_when_the_actor_of_its_vm_fails() {
    let mut line = supervised(Actor::Vm).await;
    let stalled = ways::stall(Actor::Vm).await;
    line.shows("the ledger's limit: answers 504 {back}", stalled);
    line.shows("each is answered", ways::flood(Actor::Vm).await);
    line.write();
}

#[tokio::test(start_paused = true)]
async fn a_show_stays_on_air_when_its_own_actor_fails() {
    let mut line = supervised(Actor::Show).await;
    let stalled = ways::stall(Actor::Show).await;
    line.shows("the ledger's limit: answers 504 {back}", stalled);
    line.shows("each is answered", ways::flood(Actor::Show).await);
    line.write();
}

#[tokio::test(start_paused = true)]
async fn a_show_stays_on_air_when_a_link_to_its_vm_fails() {
    for (actor, flood) in [
        (Actor::Probe, "one question at a time"),
        (Actor::Obs, "64 reports wait for its VM's actor, then it waits"),
        (Actor::Ssh, "one question at a time"),
    ] {
        let mut line = Line::of(actor);
        line.shows("back {back}", ways::link(actor, Bug::Panic).await);
        line.says("as when it hangs: it ends itself");
        line.shows("back {back}", ways::kill(actor).await);
        let hung = ways::link(actor, Bug::Hang).await;
        line.shows(
            "back {back}: its adapter's deadline and 5 s; the channel is unknown or silent",
            hung,
        );
        line.says(flood);
        line.write();
    }
}

#[tokio::test(start_paused = true)]
async fn shows_stay_on_air_when_the_ledger_fails() {
    let mut line = Line::of(Actor::Ledger);
    line.says("as an error");
    ways::full().await;
    line.says("`serve` ends within 0.5 s and says why");
    line.says("cannot be without the process");
    let stalled = ways::stall(Actor::Show).await;
    line.shows("commits are answered 504 {back}", stalled);
    line.says("`ledger.queue_max` wait, the rest are answered 503");
    line.write();
}
