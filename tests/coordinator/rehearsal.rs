//! The scenarios of `understudy rehearse`, one test each: the real tree, real protocols, simulated machines.
//! What must hold in each is the scenario's own, in `config/rehearsals`.

use std::path::Path;

use understudy::rehearsal::play::{Cast, play_here};
use understudy::rehearsal::report::ScenarioReport;
use understudy::rehearsal::scenario::{built_in, parse};

/// Plays a scenario of one's own.
async fn played(text: &str) -> ScenarioReport {
    let scenario = parse(Path::new("own.toml"), "own", text).unwrap();
    let cast = Cast { shows: None, seed: 7 };
    play_here(&scenario, cast, &()).await.unwrap()
}

async fn passes(scenario: &str) {
    if std::env::var_os("RUST_LOG").is_some() {
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        // A second test in this process finds it set already.
        let _ = tracing_subscriber::fmt().with_env_filter(filter).try_init();
    }
    let scenario = built_in(scenario).unwrap();
    let cast = Cast { shows: None, seed: 7 };
    let report = play_here(&scenario, cast, &()).await.unwrap();
    let complaints: Vec<_> = report.complaints().collect();
    println!("{}", serde_json::to_string(&report).unwrap());
    assert!(report.passed, "{complaints:#?}\n{report:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crashed_studio_is_replaced() {
    passes("studio-crash").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_studio_that_hangs_is_killed_and_replaced() {
    passes("studio-hang").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_falls_silent_is_switched_off_and_replaced() {
    passes("machine-blackhole").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_stopped_behind_our_back_is_replaced() {
    passes("instance-stopped").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_show_server_that_flaps_moves_nothing() {
    passes("status-flap").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ingest_that_is_away_for_as_long_as_the_silence_limit_moves_nothing() {
    passes("ingest-blip").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ingest_that_is_away_moves_nothing() {
    passes("ingest-down").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_spare_the_show_waits_for_a_cold_vm() {
    passes("no-spare").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_actor_of_a_vm_on_air_may_die() {
    passes("kill-vm-actor").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_actor_of_a_show_may_die_while_it_moves_it() {
    passes("kill-show-actor").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_that_falls_silent_is_replaced() {
    passes("output-silent").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_zone_takes_only_its_own_show_with_it() {
    passes("zone-lost").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_show_is_moved_while_the_cloud_cannot_be_asked() {
    passes("cloud-down-and-studio-crash").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_shows_with_one_spare_the_second_waits_for_a_machine_to_boot() {
    passes("two-shows-one-spare").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_flaps_for_less_than_the_silence_limit_moves_nothing() {
    passes("flapping-network").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_show_can_be_released_in_the_middle_of_its_failover() {
    passes("release-during-failover").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_ssh_server_moves_nothing() {
    passes("ssh-down").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_can_move_every_show() {
    passes("forced-move").await;
}

/// While it is stopped nobody expects anything; once it is started again somebody does.
#[tokio::test(flavor = "multi_thread")]
async fn a_gap_after_a_stop_and_a_start_counts() {
    let report = played(
        "about = \"stopped by mistake, started again, and then its machine is lost\"\nshows = 1\n\
         [[step]]\nat = \"500ms\"\ntarget = \"show:*\"\ncommand = \"stop\"\n\
         [[step]]\nat = \"2s\"\ntarget = \"show:*\"\ncommand = \"start\"\n\
         [[step]]\nat = \"4s\"\ntarget = \"show:*\"\nfault = \"instance-stopped\"\n\
         [objective]\nmax_off_air = \"100ms\"\nmoves = 1\n",
    )
    .await;
    let complaints: Vec<String> = report.complaints().cloned().collect();
    assert!(!report.passed, "{report:#?}");
    assert!(
        complaints.iter().all(|told| told.contains("had nothing for")),
        "{complaints:?}"
    );
    let gaps = &report.on_stage[0].gaps;
    assert!(
        gaps.iter().any(|gap| gap.at_ms > 3_500 && gap.ms > 100),
        "{gaps:?}"
    );
    assert!(
        gaps.iter().all(|gap| gap.ms < 1_400),
        "what nobody expected counts: {gaps:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_step_still_wants_broken_is_not_mended_by_another() {
    let report = played(
        "about = \"the ingest is away, and away again for a moment meanwhile\"\nshows = 1\n\
         [[step]]\nat = \"500ms\"\ntarget = \"ingest\"\nfault = \"away\"\nfor = \"4s\"\n\
         [[step]]\nat = \"700ms\"\ntarget = \"ingest\"\nfault = \"away\"\nfor = \"10ms\"\n\
         [objective]\nmax_off_air = \"30s\"\nmoves = 0\n",
    )
    .await;
    let published = &report.on_stage[0].published;
    let away = 700..4_400;
    assert!(
        published.iter().all(|seen| !away.contains(&seen.at_ms)),
        "{published:?}"
    );
    assert!(report.worst_gap_ms >= 3_700, "{published:?}");
}
