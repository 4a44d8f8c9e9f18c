//! `kill -9` at random instants under load: nothing that was acknowledged is lost, nothing is done twice, the state is
//! the journal replayed, and shows stay on air.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use understudy::domain::ids::ShowId;
use understudy::domain::invariants::violations;
use understudy::domain::state::State;
use understudy::infra::ledger::{Ledger, Options};
use understudy::rehearsal::stage::{Stage, stream_key};
use understudy::sim::model::fault::{Fault, FaultKind};

use crate::LIMIT;
use crate::book::{Callers, Page, entry_of};
use crate::process::{Launch, Process};
use crate::report::{Report, times};
use crate::scene::{self, key, moves, until_on_air};
use crate::support::eventually::eventually;

const CALLERS: u64 = 4;
/// Kills come at an instant within this after the program was ready again.
const KILL_WITHIN_MS: u64 = 1_200;
/// Every so many kills, the studio of a show crashes at that instant.
const CRASH_EVERY: u64 = 5;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_or_doubled_by_kill_9() {
    let cycles = times(8, 200);
    let seed = rand::random();
    let mut rng = StdRng::seed_from_u64(seed);
    println!("seed {seed}");
    let launch = Launch {
        environment: vec![
            // Often, so that kills meet snapshots too.
            key("LEDGER__SNAPSHOT_EVERY", "100"),
            // Its studio crashes on one VM after the other, and no operator looks why.
            key("FAILOVER__CAP", &(1 + cycles / CRASH_EVERY).to_string()),
        ],
        ..Launch::default()
    };
    let (stage, mut process) = scene::begin(8, 0, launch).await;
    let steady = scene::on_air(&stage, &process, "steady").await;
    let unlucky = scene::on_air(&stage, &process, "unlucky").await;
    let callers = Callers::begin(&process.client, CALLERS, seed);
    let mut crashes = 0;
    let mut away = Duration::ZERO;
    for cycle in 1..=cycles {
        // Whatever is under way at that instant: it must not be one that anything here chooses.
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..KILL_WITHIN_MS))).await;
        if cycle % CRASH_EVERY == 0 {
            crash_studio(&stage, &process, &unlucky, crashes).await;
            crashes += 1;
            tokio::time::sleep(Duration::from_millis(rng.random_range(0..KILL_WITHIN_MS))).await;
        }
        process.kill().await;
        let killed = Instant::now();
        process.start_again().await;
        away += killed.elapsed();
    }
    until_snapshot(&stage).await;
    let book = callers.end().await;
    let complaints: Vec<_> = book.iter().flat_map(|page| &page.complaints).collect();
    assert!(complaints.is_empty(), "seed {seed}: {complaints:#?}");
    for show in [&steady, &unlucky] {
        until_on_air(&stage, &process, show).await;
    }
    never_interrupted(&stage, &process, &steady).await;
    scene::never_two_publishers(&stage);
    let events = journal_is_what_was_acknowledged(&stage, &mut process, &book).await;
    let total = |figure: fn(&Page) -> u64| book.iter().map(figure).sum::<u64>();
    let mut report = Report::new("killed", "kill -9 under load (R2)");
    report.line(&format!(
        "seed {seed}: {cycles} kills, {crashes} of them while a crashed studio was being replaced"
    ));
    report.line(&format!(
        "{} commands acknowledged to {CALLERS} callers, {} repetitions of unanswered ones, {} comparisons of the book \
         with the program: 0 lost, 0 doubled",
        total(|page| page.acknowledged),
        total(|page| page.repeated),
        total(|page| page.compared),
    ));
    report.line(&format!(
        "{events} events in the journal; replayed with and without snapshots: the same state, sound"
    ));
    report.line(&format!(
        "the show nothing happened to was published without a gap; never two publishers; from kill to ready {} ms on \
         average",
        away.as_millis() / u128::from(cycles)
    ));
    report.passed();
}

/// Lets the studio of the VM on air crash. The one that crashed before is usable again by itself, having been
/// restarted when it was cleaned.
async fn crash_studio(stage: &Stage, process: &Process, show: &ShowId, crashes: u64) {
    until_on_air(stage, process, show).await;
    let instance = scene::instance(process, show.as_str()).await;
    if crashes > 0 {
        // Whoever left it: nothing is wrong with any machine but this one.
        for other in stage.world.instances() {
            stage
                .world
                .heal(&other.instance_id, FaultKind::StudioCrash)
                .unwrap();
        }
    }
    stage.world.fault(&instance, Fault::StudioCrash).unwrap();
}

/// Its bytes never paused, and it was never moved.
async fn never_interrupted(stage: &Stage, process: &Process, show: &ShowId) {
    let key = stream_key(show);
    let mut stretches = stage.world.ingest().stretches();
    stretches.retain(|stretch| stretch.key == key);
    assert_eq!(stretches.len(), 1, "{stretches:#?}");
    let (finished, current) = moves(process, show.as_str()).await.expect("a list of moves");
    assert!(
        finished.is_empty() && current.is_null(),
        "{finished:#?} {current}"
    );
}

/// However little a busy machine got done between two kills.
async fn until_snapshot(stage: &Stage) {
    let journal = rusqlite::Connection::open(&stage.config.ledger.path).unwrap();
    eventually("a snapshot in the journal", LIMIT, async || {
        let count = "SELECT count(*) FROM snapshot";
        let snapshots: u32 = journal.query_row(count, [], |row| row.get(0)).ok()?;
        (snapshots > 0).then_some(())
    })
    .await;
}

/// Kills it for the last time and reads the journal: it says what the program said, is sound, and gives the same state
/// from its snapshots as from its first event. Returns how many events are in it.
async fn journal_is_what_was_acknowledged(stage: &Arc<Stage>, process: &mut Process, book: &[Page]) -> u64 {
    let said = process.client.get("/api/shows").await.expect();
    process.kill().await;
    let path = &stage.config.ledger.path;
    let copy = path.with_file_name("copy.db");
    let replayed = replay(path).await;
    assert_eq!(violations(&replayed), Vec::<String>::new());
    for page in book {
        assert_eq!(entry_of(&said, &page.show), page.entry, "{}", page.show);
        let show = replayed
            .shows()
            .find(|show| show.id.as_str() == page.show)
            .expect("it is in the journal");
        let vm = show.vm.as_ref().map(ToString::to_string);
        assert_eq!(
            (vm, show.epoch.0, show.held),
            (page.entry.vm.clone(), page.entry.epoch, page.entry.held)
        );
    }
    std::fs::copy(path, &copy).unwrap();
    forget_snapshots(&copy);
    assert!(
        *replay(&copy).await == *replayed,
        "the snapshots say something else than the events"
    );
    replayed.seq.0
}

async fn replay(path: &Path) -> Arc<State> {
    let ledger = Ledger::open(Options::new(path)).unwrap();
    let state = ledger.state();
    ledger.close().await.unwrap();
    state
}

fn forget_snapshots(path: &Path) {
    let journal = rusqlite::Connection::open(path).unwrap();
    let forgotten = journal.execute("DELETE FROM snapshot", []).unwrap();
    assert!(forgotten > 0, "there was no snapshot to compare with");
}
