//! Rehearsals: what is wrong with the command line is said before the first scenario.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::live::interrupt;
use crate::program::{DEADLINE, Run, finished, program, run};
use crate::support::eventually::eventually;

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
        told.contains(&format!("--report cannot be written to {report}")),
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
    let narrow = run(&[("COLUMNS", "80")], &["rehearse", "--list"]).await;
    assert!(
        narrow.answer().lines().all(|line| line.chars().count() <= 80),
        "{narrow:?}"
    );
    assert!(!narrow.answer().contains('…'), "{narrow:?}");
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words(narrow.answer()), words(plain.answer()));
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

#[tokio::test]
async fn what_would_be_ignored_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("page.html");
    let page_path = page.display().to_string();
    for (arguments, told) in [
        (
            ["--seed", "7", "--html", &page_path].as_slice(),
            "--seed 7 without --scenario is a simulation, which has no --html",
        ),
        (&["--seed", "7", "--progress"], "which has no --progress"),
        (&["--soak", "1s"], "--seed <S>"),
        (&["--log"], "--seed <S>"),
        (&["--troubles", "3"], "--seed <S>"),
        (
            &["--seed", "7", "--scenario", "studio-crash", "--soak", "1s"],
            "cannot be used with",
        ),
        (
            &["--seed", "7", "--scenario", "all", "--warm", "3"],
            "cannot be used with",
        ),
        (
            &["--seed", "7", "--soak", "1s", "--only", "3"],
            "cannot be used with",
        ),
        (&["--seed", "7", "--live"], "--scenario"),
        (&["--list", "--seed", "7"], "cannot be used with"),
        (
            &["--scenario", "studio-crash", "--timeout", "3s"],
            "--timeout is for the server that --live rehearses with",
        ),
        (
            &["--seed", "7", "--only", "3,9999"],
            "nothing in the plan of seed 7 has the number 9999",
        ),
    ] {
        let arguments: Vec<&str> = ["rehearse"].iter().chain(arguments).copied().collect();
        let refused = run(&[], &arguments).await;
        assert!(refused.failed(2).contains(told), "{arguments:?}: {refused:?}");
    }
    assert!(!page.exists());
}

#[tokio::test]
async fn a_simulated_seed_ends_with_its_verdict_on_a_line_of_its_own() {
    let size = ["--shows", "1", "--troubles", "0"];
    let arguments: Vec<&str> = ["rehearse", "--seed", "3"].iter().chain(&size).copied().collect();
    let run = run(&[], &arguments).await;
    assert!(run.answer().ends_with("and every rule held\n"), "{run:?}");
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

#[tokio::test]
async fn a_report_is_written_as_a_page_and_for_a_build_server() {
    let folder = tempfile::tempdir().unwrap();
    let scenario = folder.path().join("hall & stage.toml");
    let text = "about = \"<script>alert('no')</script>\"\nshows = 1\n\
        [[step]]\ntarget = \"show:*\"\nfault = \"studio-crash\"\n\
        [objective]\nmax_off_air = \"1ms\"\nmust_ring = [\"nothing-rings-like-<this>\"]\nmoves = 1\n";
    std::fs::write(&scenario, text).unwrap();
    let (page, xml) = (
        folder.path().join("report.html"),
        folder.path().join("report.xml"),
    );
    let run = rehearse(&[
        "--scenario",
        scenario.to_str().unwrap(),
        "--html",
        page.to_str().unwrap(),
        "--junit",
        xml.to_str().unwrap(),
    ])
    .await;
    assert_eq!(run.status, Some(1), "{run:?}");
    assert!(run.stdout.contains("the objective is 1 ms"), "{run:?}");
    let page = std::fs::read_to_string(page).unwrap();
    for told in [
        "<svg",
        "failed",
        "hall &amp; stage",
        "&lt;script&gt;",
        "nothing-rings-like-&lt;this&gt;",
        "missing",
    ] {
        assert!(page.contains(told), "{told} is not in {page}");
    }
    for outside in ["<script", "http:", "https:", "url(", "@import", "src="] {
        assert!(!page.contains(outside), "{outside} is in {page}");
    }
    let xml = std::fs::read_to_string(xml).unwrap();
    assert!(
        xml.contains("<testsuites") && xml.contains("failures=\"1\""),
        "{xml}"
    );
    assert!(xml.contains("name=\"hall &amp; stage\""), "{xml}");
}

#[tokio::test]
async fn an_interrupted_rehearsal_says_so_and_leaves_no_files() {
    let tmp = tempfile::tempdir().unwrap();
    let environment = [("TMPDIR", tmp.path().to_str().unwrap())];
    let left = || std::fs::read_dir(tmp.path()).unwrap().count();
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (folder.path().join("old.html"), folder.path().join("new.xml"));
    std::fs::write(&old, "passed").unwrap();
    let (html, junit) = (old.to_str().unwrap(), new.to_str().unwrap());
    let arguments = [
        "rehearse",
        "--scenario",
        "status-flap",
        "--html",
        html,
        "--junit",
        junit,
    ];
    let child = program(&environment, &arguments).spawn().unwrap();
    eventually("it has begun", DEADLINE, async || (left() > 0).then_some(())).await;
    interrupt(&child).await;
    let ended = tokio::time::timeout(DEADLINE, child.wait_with_output()).await;
    let run = finished(ended.expect("it ends").unwrap());
    assert!(run.failed(1).contains("ended before its verdict"), "{run:?}");
    assert_eq!(left(), 0);
    // An older verdict is none of this rehearsal's.
    assert_eq!(std::fs::read_to_string(&old).unwrap(), "");
    assert!(!new.exists());
}

#[tokio::test]
async fn ended_between_two_scenarios_it_tells_the_verdicts_that_there_are() {
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report.json");
    let arguments = ["rehearse", "--progress", "--report", report.to_str().unwrap()];
    let mut command = program(&[], &arguments);
    let mut child = command.stdin(std::process::Stdio::piped()).spawn().unwrap();
    let input = child.stdin.take();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut begun = 0;
    while begun < 2 {
        let line = tokio::time::timeout(SCENARIO, lines.next_line()).await;
        let line = line.expect("it goes on").unwrap().expect("it goes on");
        let happening: Value = serde_json::from_str(&line).unwrap();
        begun += usize::from(happening["happening"] == "setting-up");
    }
    drop(input);
    let told = tokio::time::timeout(DEADLINE, lines.next_line()).await;
    assert!(told.is_ok(), "it ends");
    let ended = tokio::time::timeout(DEADLINE, child.wait_with_output()).await;
    let run = finished(ended.expect("it ends").unwrap());
    assert_eq!(run.status, Some(1), "{run:?}");
    assert!(
        run.stdout.contains("VERDICT") && run.stdout.contains("without a verdict"),
        "{run:?}"
    );
    let report: Value = serde_json::from_slice(&std::fs::read(&report).unwrap()).unwrap();
    assert_eq!(report["scenarios"].as_array().unwrap().len(), 1);
    assert!(!report["unplayed"].as_array().unwrap().is_empty());
    assert_eq!(report["error"], "the rehearsal was ended before its verdict");
    let began_at = report["began_at"].as_str().unwrap();
    assert!(began_at.parse::<jiff::Timestamp>().is_ok(), "{began_at}");
}

#[tokio::test]
async fn a_soak_that_is_interrupted_ends_with_its_table() {
    let small = ["--seed", "1", "--soak", "1h", "--shows", "1", "--troubles", "0"];
    let arguments: Vec<&str> = ["rehearse"].iter().chain(&small).copied().collect();
    let mut child = program(&[], &arguments).spawn().unwrap();
    let mut told = BufReader::new(child.stderr.take().unwrap()).lines();
    let line = tokio::time::timeout(DEADLINE, told.next_line()).await;
    let line = line.expect("it begins").unwrap().expect("it begins");
    assert!(line.contains("Ctrl-C"), "{line}");
    interrupt(&child).await;
    let ended = tokio::time::timeout(DEADLINE, child.wait_with_output()).await;
    let run = finished(ended.expect("it ends").unwrap());
    let table = run.answer();
    assert!(table.contains("virtual hours"), "{run:?}");
    assert!(table.contains(" 0  seeds with violations"), "{run:?}");
}

#[tokio::test]
async fn started_by_a_program_it_tells_every_step_and_ends_with_its_input() {
    let tmp = tempfile::tempdir().unwrap();
    let environment = [("TMPDIR", tmp.path().to_str().unwrap())];
    let mut command = program(
        &environment,
        &["rehearse", "--scenario", "status-flap", "--progress", "--json"],
    );
    let mut child = command.stdin(std::process::Stdio::piped()).spawn().unwrap();
    let input = child.stdin.take();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut told = Vec::new();
    while !told.contains(&"struck".to_owned()) {
        let line = tokio::time::timeout(SCENARIO, lines.next_line()).await;
        let line = line.expect("it goes on").unwrap().expect("it goes on");
        let happening: Value = serde_json::from_str(&line).unwrap();
        told.push(happening["happening"].as_str().unwrap().to_owned());
    }
    assert_eq!(told, ["setting-up", "began", "struck"]);
    drop(input);
    let ended = tokio::time::timeout(DEADLINE, child.wait_with_output()).await;
    let run = finished(ended.expect("it ends").unwrap());
    assert_eq!(run.status, Some(1));
    assert!(
        run.json()["error"]
            .as_str()
            .unwrap()
            .contains("ended before its verdict")
    );
    assert_eq!(std::fs::read_dir(tmp.path()).unwrap().count(), 0);
}
