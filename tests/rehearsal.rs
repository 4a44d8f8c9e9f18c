//! The scenarios of `understudy rehearse`, one test each: the real tree, real protocols, simulated machines.
//! What must hold in each is the scenario's own; see `understudy::cli::rehearse::scenario`.

use understudy::cli::rehearse::drill::{Cast, play};
use understudy::cli::rehearse::scenario::Scenario;

async fn passes(scenario: Scenario) {
    if std::env::var_os("RUST_LOG").is_some() {
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        // A second test in this process finds it set already.
        let _ = tracing_subscriber::fmt().with_env_filter(filter).try_init();
    }
    let report = play(scenario, Cast { shows: 2, seed: 7 }).await.unwrap();
    let complaints: Vec<_> = report.complaints().collect();
    println!("{}", serde_json::to_string(&report).unwrap());
    assert!(report.passed, "{complaints:#?}\n{report:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crashed_studio_is_replaced() {
    passes(Scenario::StudioCrash).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_studio_that_hangs_is_killed_and_replaced() {
    passes(Scenario::StudioHang).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_falls_silent_is_switched_off_and_replaced() {
    passes(Scenario::MachineBlackhole).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_stopped_behind_our_back_is_replaced() {
    passes(Scenario::InstanceStopped).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_show_server_that_flaps_moves_nothing() {
    passes(Scenario::StatusFlap).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ingest_that_is_away_moves_nothing() {
    passes(Scenario::IngestDown).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_spare_the_show_waits_for_a_cold_vm() {
    passes(Scenario::NoSpare).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_actor_of_a_vm_on_air_may_die() {
    passes(Scenario::KillVmActor).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_actor_of_a_show_may_die_while_it_moves_it() {
    passes(Scenario::KillShowActor).await;
}
