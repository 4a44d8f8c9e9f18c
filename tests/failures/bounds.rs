//! What bounds the mailboxes, which have no bound of their own.

use std::time::Duration;

use understudy::actors::coordinator::MetricsFormat;
use understudy::domain::vm::Occupancy;
use understudy::infra::obs::Notice;

use crate::doubles::NOTICES_MAX;
use crate::tree::Tree;

/// What the disk takes for a commit; whoever waits for one waits for five seconds.
const STALLED_COMMIT: Duration = Duration::from_secs(20);
/// Less than that.
const A_WHILE: Duration = Duration::from_secs(3);
/// Far more than may wait.
const TALKATIVE: usize = 1_000;
/// Reports of one link that may wait, with what is in its hands and on its way to it.
const WAITING_MAX: usize = 64 + NOTICES_MAX + 2;

#[tokio::test(start_paused = true)]
async fn a_studio_that_does_not_stop_talking_waits_while_the_actor_of_its_vm_does() {
    let tree = Tree::with_a_show().await;
    let spare = tree.spare();
    let state = tree.coordinator.state();
    let address = state.vm(&spare).unwrap().instance.private_ip;
    let address = address.expect("it has one");
    let studio = tree.switches.obs.notices(address).expect("there is a session");

    tree.journal.slow_down(STALLED_COMMIT);
    let coordinator = tree.coordinator.clone();
    let vm = spare.clone();
    let busy = tokio::spawn(async move { coordinator.maintenance(vm, true, None).await });
    tokio::time::sleep(Duration::from_millis(10)).await;
    let mut taken = 0;
    for _ in 0..TALKATIVE {
        taken += usize::from(studio.try_send(Notice::Changed).is_ok());
        tokio::time::sleep(A_WHILE / u32::try_from(TALKATIVE).unwrap()).await;
    }
    assert!(!busy.is_finished(), "nobody was kept waiting");
    assert!(taken <= WAITING_MAX, "{taken} wait for an actor that takes none");
    assert!(taken > 2 * NOTICES_MAX, "the link took none itself: {taken}");

    tree.journal.slow_down(Duration::ZERO);
    let _ = busy.await.unwrap();
    for _ in 0..TALKATIVE {
        let sent = tokio::time::timeout(A_WHILE, studio.send(Notice::Changed)).await;
        sent.expect("it is heard again").expect("over the same session");
    }
    assert!(tree.is_untouched());
}

/// So that commands which pile up while the disk stalls, one caller after the other giving up, cost nothing afterwards.
#[tokio::test(start_paused = true)]
async fn a_command_that_nobody_waits_for_any_more_is_not_begun() {
    const IMPATIENT: Duration = Duration::from_millis(10);
    // In time, if only just: whoever comes next is looked at.
    const SLOW_COMMIT: Duration = Duration::from_secs(4);
    let tree = Tree::with_a_show().await;
    let (spare, show) = (tree.spare(), tree.show.clone());
    let coordinator = &tree.coordinator;
    tree.journal.slow_down(SLOW_COMMIT);
    let (busy_show, busy_vm) = (
        coordinator.hold(show.clone(), false, None),
        coordinator.maintenance(spare.clone(), true, None),
    );
    let given_up = async {
        tokio::time::sleep(IMPATIENT).await;
        let held = tokio::time::timeout(IMPATIENT, coordinator.hold(show.clone(), true, None));
        let ended = tokio::time::timeout(IMPATIENT, coordinator.maintenance(spare.clone(), false, None));
        assert!(
            held.await.is_err() && ended.await.is_err(),
            "they were not kept waiting"
        );
        tree.journal.slow_down(Duration::ZERO);
    };
    let (_, _, ()) = tokio::join!(busy_show, busy_vm, given_up);
    tokio::time::sleep(STALLED_COMMIT).await;
    let state = coordinator.state();
    assert!(!state.show(&show).unwrap().held);
    let spare = state.vm(&spare).unwrap();
    assert!(
        matches!(spare.occupancy, Occupancy::Maintenance { .. }),
        "{spare:?}"
    );
}

/// The figures of the mailboxes of shows: all of them, and the fullest.
fn waiting_for_shows(tree: &Tree) -> [f64; 2] {
    let page = tree.coordinator.scrape().text(MetricsFormat::Prometheus).unwrap();
    ["", "_max"].map(|which| {
        let series = format!("understudy_actor_messages_waiting{which}{{kind=\"show\"}} ");
        let figure = page.lines().find_map(|line| line.strip_prefix(&series));
        figure
            .unwrap_or_else(|| panic!("no {series} in {page}"))
            .parse()
            .unwrap()
    })
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_an_actor_is_told_until_the_actor_dies() {
    const COMMANDS: u8 = 5;
    let all_but_one = [f64::from(COMMANDS - 1); 2];
    let tree = Tree::with_a_show().await;
    tree.journal.slow_down(STALLED_COMMIT);
    let mut commands = Vec::new();
    for held in [true, false].into_iter().cycle().take(COMMANDS.into()) {
        let (coordinator, show) = (tree.coordinator.clone(), tree.show.clone());
        commands.push(tokio::spawn(
            async move { coordinator.hold(show, held, None).await },
        ));
    }
    tokio::time::sleep(Duration::from_millis(10)).await;
    // The first of them is being carried out.
    assert_eq!(waiting_for_shows(&tree), all_but_one);
    // Whoever sent them has gone.
    commands.iter().for_each(tokio::task::JoinHandle::abort);
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(waiting_for_shows(&tree), all_but_one);
    assert!(tree.coordinator.kill_show_actor(&tree.show));
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(waiting_for_shows(&tree), [0.0, 0.0]);
}
