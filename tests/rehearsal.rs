//! The scenarios of `understudy rehearse`, one test each: the real tree, real protocols, simulated machines.

use understudy::cli::rehearse::drill::{Cast, play};
use understudy::cli::rehearse::scenario::Scenario;

async fn passes(scenario: Scenario) {
    if std::env::var_os("RUST_LOG").is_some() {
        tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).init();
    }
    let report = play(scenario, Cast { shows: 2, seed: 7 }).await.unwrap();
    let complaints: Vec<_> = report.complaints().collect();
    assert!(report.passed, "{complaints:#?}\n{report:#?}");
    println!("{report:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crashed_studio_costs_about_a_second() {
    passes(Scenario::StudioCrash).await;
}
