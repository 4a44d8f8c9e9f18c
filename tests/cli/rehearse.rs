//! Rehearsals: what is wrong with the command line is said before the first scenario.

use std::time::Duration;

use crate::program::{Run, finished, program, run};

/// Limit on a scenario from its first VM to its verdict, on a machine with other things to do.
const SCENARIO: Duration = Duration::from_secs(180);

/// Plays a scenario to its end.
async fn rehearse(arguments: &[&str]) -> Run {
    let arguments: Vec<&str> = ["rehearse"].iter().chain(arguments).copied().collect();
    let output = tokio::time::timeout(SCENARIO, program(&[], &arguments).output()).await;
    finished(output.expect("it ends in time").unwrap())
}

#[tokio::test]
async fn a_report_that_has_no_place_is_refused_before_anything_is_rehearsed() {
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("missing/report.json").display().to_string();
    let run = run(
        &[],
        &["rehearse", "--scenario", "studio-crash", "--report", &report],
    )
    .await;
    let told = run.failed(1);
    assert!(
        told.contains(&format!("the report cannot be written to {report}")),
        "{told}"
    );
    assert!(told.contains("No such file or directory"), "{told}");
}

#[tokio::test]
async fn the_built_in_scenarios_are_listed_with_what_they_are_about() {
    let plain = run(&[], &["rehearse", "--list"]).await;
    for name in ["studio-crash", "coordinator-kill-9", "release-during-failover"] {
        let line = plain.answer().lines().find(|line| line.starts_with(name));
        assert!(line.is_some_and(|line| line.len() > name.len() + 20), "{plain:?}");
    }
    let json = run(&[], &["rehearse", "--list", "--json"]).await.json();
    assert_eq!(json.as_array().unwrap().len(), plain.answer().lines().count());
    assert!(json[0]["about"].is_string());
}

#[tokio::test]
async fn a_scenario_that_is_none_is_told_with_what_it_should_be() {
    let unknown = run(&[], &["rehearse", "--scenario", "studio-crahs"]).await;
    assert!(
        unknown.failed(2).contains("did you mean studio-crash?"),
        "{unknown:?}"
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("drill.toml");
    std::fs::write(
        &file,
        "about = \"x\"\n[[step]]\ntarget = \"ingest\"\nfalt = \"away\"\n",
    )
    .unwrap();
    let path = file.display().to_string();
    let misspelt = run(&[], &["rehearse", "--scenario", &path]).await;
    let told = misspelt.failed(2);
    assert!(
        told.contains(&format!(
            "{path}:4: there is no key step.falt; did you mean step.fault?"
        )),
        "{told}"
    );
    let many = run(&[], &["rehearse", "--scenario", "zone-lost", "--shows", "7"]).await;
    assert!(many.failed(2).contains("names its 2 shows"), "{many:?}");
}

/// With the real binary, which plays the coordinator that is killed, too.
#[tokio::test]
async fn a_coordinator_that_is_killed_in_the_middle_of_failovers_goes_on_where_it_was() {
    for scenario in ["coordinator-kill-9", "coordinator-dead-when-studio-crashes"] {
        let run = rehearse(&["--scenario", scenario, "--json"]).await;
        let report = run.json();
        assert_eq!(run.status, Some(0), "{report:#}");
        let played = &report["scenarios"][0];
        assert_eq!(
            (&played["passed"], &played["shows_on_air"]),
            (&true.into(), &2.into())
        );
        assert_eq!(played["failures"].as_array().unwrap().len(), 0);
        let strikes = played["strikes"].as_array().unwrap();
        let killed = strikes
            .iter()
            .find(|strike| strike["what"].as_str().unwrap().contains("SIGKILL"));
        assert!(killed.unwrap()["until_ms"].is_u64(), "{strikes:#?}");
    }
}
