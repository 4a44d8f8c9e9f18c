//! `docs/state-machines.md` is written from the tables that the tests check.

use std::fmt::Write;
use std::path::Path;

use crate::{show_table, verdict_table, vm_table};

const INTRO: &str = "# State machines

What a VM is, what it is for, and what a show is going through, as tables. A test applies every event in every
state and compares the outcome with these cells, and this page is written from the same data
(`UPDATE_DOCS=1 cargo test --test domain doc` writes it again). A dash means that the event is refused and
nothing changes.
";

const VM: &str = "
## A VM

Power, occupancy and health are three machines; [`src/domain/vm`](../src/domain/vm/mod.rs) draws them. People
see one status, which is a function of the three and of the fault:
";

const VM_BY_POWER: &str = "
### Events of a VM, by power

The VM is free, without a fault, and healthy if it is ready. Cells are `power: status` afterwards. `Starting` and
`Stopping` carry an attempt, which must be later than the last one used; `Described` must be of the same
instance.
";

const VM_NOT_CLEAN: &str = "
### Events of a VM that a show has left something on

However a show leaves its VM, it leaves something on it: *left* in the cells. It is gone when the VM was cleaned, and
the VM is not available before. *Forgiven*: it was found and accepted; the VM is available, and what was left is tried
again when it comes up anew, or the next show leaves it.
";

const VM_BY_OCCUPANCY: &str = "
### Events of a VM, by occupancy

Cells are the status afterwards. *Leaving* is the VM that a failover moves away from, *arriving* the one it moves
to. A VM that holds a show is stopped only to fence it, or after its release began; it is never removed.
";

const SHOW: &str = "
## A show

Events carry an epoch: the present one, or the next where they begin one. For any other they are refused
everywhere. `Released` is accepted while releasing, for the VM the show has, once that may not publish any more:
it was never told to, or `Silenced` or `Fenced` came after. And if its recordings are to be archived, once that has
ended; the stages of an archive are drawn in [`src/domain/archive.rs`](../src/domain/archive.rs).
`StreamWanted` changes nothing while another show is on air, or is meant to be, with the server and the stream key of
this one.
";

const STEPS: &str = "
### Within a failover

*Waiting* has no spare yet, *moving* has one. A spare that is lost after its stream was about to start becomes the
VM to be fenced; that is why its fence is forgotten.
";

const NEXT: &str = "
### What a failover does next

Derived from the facts alone, so a coordinator that is killed in any step goes on from there.
";

const VERDICTS: &str = "
## Has the VM on air failed?

With a silence limit of 3000 ms and a studio grace of 200 ms. Figures are milliseconds that the trouble has lasted,
or the age of an answer. The ingest is asked from another VM.
";

fn header(page: &mut String, columns: &[&str]) {
    writeln!(page, "\n| {} |", columns.join(" | ")).unwrap();
    writeln!(page, "|{}", "---|".repeat(columns.len())).unwrap();
}

fn row(page: &mut String, cells: &[&str]) {
    writeln!(page, "| {} |", cells.join(" | ")).unwrap();
}

fn vm(page: &mut String) {
    page.push_str(VM);
    let healths = ["healthy, degraded or unknown", "unhealthy", "with a fault"];
    header(page, &[&["power", "occupancy"], &healths[..]].concat());
    for (power, occupancy, cells) in vm_table::STATUS {
        row(page, &[&[power, occupancy], &cells[..]].concat());
    }
    page.push_str(VM_BY_POWER);
    header(page, &[&["event"], &vm_table::POWERS[..]].concat());
    for (event, cells) in vm_table::BY_POWER {
        row(page, &[&[event], &cells[..]].concat());
    }
    page.push_str(VM_NOT_CLEAN);
    header(page, &[&["event"], &vm_table::POWERS[..]].concat());
    for (event, cells) in vm_table::NOT_CLEAN {
        row(page, &[&[event], &cells[..]].concat());
    }
    page.push_str(VM_BY_OCCUPANCY);
    header(page, &[&["event", "power"], &vm_table::OCCUPANCIES[..]].concat());
    for (event, power, cells) in vm_table::BY_OCCUPANCY {
        row(page, &[&[event, power], &cells[..]].concat());
    }
}

fn show(page: &mut String) {
    page.push_str(SHOW);
    header(page, &[&["event"], &show_table::PHASES[..]].concat());
    for (event, cells) in show_table::BY_PHASE {
        row(page, &[&[event], &cells[..]].concat());
    }
    page.push_str(STEPS);
    header(page, &[&["event"], &show_table::STEPS[..]].concat());
    for (event, cells) in show_table::BY_STEP {
        row(page, &[&[event], &cells[..]].concat());
    }
    page.push_str(NEXT);
    header(
        page,
        &[
            "has a spare",
            "its studio answers",
            "fenced",
            "restored",
            "to be published",
            "next",
        ],
    );
    for (facts, next) in show_table::NEXT {
        let mut cells: Vec<_> = facts
            .iter()
            .map(|fact| if *fact { "yes" } else { "no" })
            .collect();
        cells.push(next);
        row(page, &cells);
    }
}

fn verdicts(page: &mut String) {
    page.push_str(VERDICTS);
    header(
        page,
        &[
            "cloud",
            "OBS",
            "probe",
            "SSH",
            "output",
            "ingest",
            "stream wanted",
            "verdict",
        ],
    );
    for (signals, verdict) in verdict_table::VERDICTS {
        row(page, &[&signals[..], &[verdict]].concat());
    }
}

#[test]
fn the_page_of_state_machines_shows_the_tables_that_are_tested() {
    let mut page = INTRO.to_owned();
    vm(&mut page);
    show(&mut page);
    verdicts(&mut page);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/state-machines.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page,
        "docs/state-machines.md is out of date: run again with UPDATE_DOCS=1"
    );
}
