//! `doctor`, beside a real coordinator with simulated machines that go wrong.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use understudy::domain::ids::InstanceId;
use understudy::domain::instance::InstanceState;
use understudy::rehearsal::stage::Stage;
use understudy::sim::model::fault::Fault;

use crate::program::{Run, run};
use crate::real::Theatre;

/// What it promises to take at most, and what starting a program may add on a busy machine.
const LIMIT: Duration = Duration::from_secs(45);

/// The environment of a coordinator of this stage, with other values for some variables.
pub fn environment(stage: &Stage, listen: &str, others: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut variables: BTreeMap<String, String> =
        stage.environment(listen.parse().unwrap()).into_iter().collect();
    variables.extend(
        others
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
    );
    variables.into_iter().collect()
}

pub async fn doctor(environment: &[(String, String)], arguments: &[&str]) -> Run {
    let environment: Vec<(&str, &str)> = environment
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let arguments: Vec<&str> = ["doctor"].iter().chain(arguments).copied().collect();
    tokio::time::timeout(LIMIT, run(&environment, &arguments))
        .await
        .expect("it keeps its limit")
}

/// The findings of a run, of checks whose name begins so.
pub fn findings(run: &Run, check: &str) -> Vec<Value> {
    let all = run.json()["findings"].as_array().unwrap().clone();
    let of_check: Vec<Value> = all
        .into_iter()
        .filter(|finding| finding["check"].as_str().unwrap().starts_with(check))
        .collect();
    assert!(!of_check.is_empty(), "nothing about {check}: {run:?}");
    of_check
}

/// The one of these that is so.
pub fn the<'f>(findings: &'f [Value], verdict: &str) -> &'f Value {
    let found: Vec<&Value> = findings
        .iter()
        .filter(|finding| finding["verdict"] == verdict)
        .collect();
    let [one] = found[..] else {
        panic!("not one {verdict}: {findings:#?}")
    };
    one
}

pub fn says(finding: &Value, field: &str, part: &str) {
    let text = finding[field].as_str().unwrap_or_default();
    assert!(text.contains(part), "{part:?} is not in {field} of {finding:#}");
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .filter(|path| path.is_file())
        .map(|path| (path.display().to_string(), std::fs::read(&path).unwrap()))
        .collect()
}

#[tokio::test]
async fn a_healthy_installation_passes_and_is_left_as_it_was() {
    let theatre = Theatre::open().await;
    theatre
        .until("two VMs are there", &["status"], "● 2 available")
        .await;
    let listen = theatre.url.trim_start_matches("http://").to_owned();
    let environment = environment(&theatre.stage, &listen, &[]);
    let checked = doctor(&environment, &["--json"]).await;
    assert_eq!(checked.status, Some(0), "{checked:#?}");
    let told = checked.json();
    assert_eq!((&told["ok"], &told["failed"]), (&true.into(), &0.into()));
    for check in [
        "configuration",
        "disk sync",
        "disk space",
        "coordinator",
        "cloud",
        "ssh key",
    ] {
        let found = findings(&checked, check);
        assert!(
            found[0]["verdict"] != "fail" && found[0]["verdict"] != "skipped",
            "{found:#?}"
        );
    }
    for check in ["ports of ", "login to ", "clock of i-"] {
        let found = findings(&checked, check);
        assert_eq!(found.len(), 2, "{found:#?}");
        assert!(
            found.iter().all(|finding| finding["verdict"] == "pass"),
            "{found:#?}"
        );
    }
    says(&findings(&checked, "ports of ")[0], "detail", "OBS (port");
    says(&findings(&checked, "coordinator")[0], "detail", "it is ready at");
    says(
        &findings(&checked, "archive")[0],
        "detail",
        "archive.bucket is not set",
    );
    says(
        &findings(&checked, "traces")[0],
        "detail",
        "otlp.endpoint is not set",
    );

    let told = doctor(&environment, &[]).await;
    assert!(
        told.answer().contains("RESULT") && told.stderr.contains("0 failed"),
        "{told:?}"
    );
}

#[tokio::test]
async fn nothing_is_written_where_the_coordinator_keeps_its_files() {
    let stage = Theatre::stage().await;
    let before = files(stage.dir());
    let environment = environment(&stage, "127.0.0.1:1", &[]);
    let checked = doctor(&environment, &["--json"]).await;
    assert_eq!(checked.status, Some(0), "{checked:#?}");
    says(
        &findings(&checked, "coordinator")[0],
        "detail",
        "none listens at 127.0.0.1:1",
    );
    assert_eq!(findings(&checked, "login to ").len(), 2);
    assert_eq!(files(stage.dir()), before, "no pin, no journal, no probe file");
}

#[tokio::test]
async fn a_silent_machine_a_dead_service_and_a_wrong_clock_are_told_apart() {
    let stage = Theatre::stage().await;
    let instances = stage.world.instances().into_iter();
    let running: Vec<InstanceId> = instances
        .filter(|instance| instance.state == InstanceState::Running)
        .map(|instance| instance.instance_id)
        .collect();
    let [silent, ill] = &running[..] else {
        panic!("two run")
    };
    let (walled, machine) = (stage.machine(silent).unwrap(), stage.machine(ill).unwrap());
    walled.fault(Fault::Blackhole);
    machine.fault(Fault::StatusDown);
    machine.set_clock_ahead(Duration::from_secs(7));
    walled.settled().await;
    machine.settled().await;

    let checked = doctor(&environment(&stage, "127.0.0.1:1", &[]), &["--json"]).await;
    assert_eq!(checked.status, Some(1), "{checked:#?}");
    let of =
        |check: &str, instance: &dyn std::fmt::Display| findings(&checked, &format!("{check}{instance}"));
    let ports = of("ports of ", silent);
    says(the(&ports, "fail"), "detail", "is silent");
    says(the(&ports, "fail"), "advice", "nothing of it answers");
    let ports = of("ports of ", ill);
    says(the(&ports, "fail"), "detail", "is refused");
    says(the(&ports, "fail"), "advice", "start show server");
    says(the(&of("login to ", ill), "pass"), "detail", "it takes the key");
    let clock = of("clock of ", ill);
    says(the(&clock, "warn"), "detail", "s ahead of this machine's");
    says(the(&clock, "warn"), "advice", "set its clock");
}

#[tokio::test]
async fn a_key_that_no_machine_takes_and_one_that_is_none_are_told_apart() {
    let stage = Theatre::stage().await;
    let folder = tempfile::tempdir().unwrap();
    let stranger = folder.path().join("stranger");
    let made = std::process::Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(&stranger)
        .status()
        .unwrap();
    assert!(made.success());
    let path = stranger.to_str().unwrap();
    let with_key = environment(&stage, "127.0.0.1:1", &[("UNDERSTUDY__SSH__KEY_PATH", path)]);
    let checked = doctor(&with_key, &["--json"]).await;
    assert_eq!(checked.status, Some(1), "{checked:#?}");
    says(&findings(&checked, "ssh key")[0], "detail", "SHA256:");
    for refused in findings(&checked, "login to ") {
        assert_eq!(refused["verdict"], "fail");
        says(&refused, "detail", "did not accept the key");
        says(&refused, "advice", "authorized_keys");
    }

    std::fs::write(&stranger, "not a key\n").unwrap();
    let checked = doctor(&with_key, &["--json"]).await;
    assert_eq!(checked.status, Some(1), "{checked:#?}");
    says(
        the(&findings(&checked, "ssh key"), "fail"),
        "detail",
        "it is not a private key",
    );
}

#[tokio::test]
async fn a_configuration_that_cannot_be_read_is_the_finding() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("understudy.toml");
    std::fs::write(&file, "[pool]\nwarm_cuont = 3\n").unwrap();
    let checked = doctor(&[], &["--config", file.to_str().unwrap(), "--json"]).await;
    assert_eq!(checked.status, Some(1), "{checked:?}");
    says(
        the(&findings(&checked, "configuration"), "fail"),
        "detail",
        "did you mean pool.warm_count?",
    );
    assert_eq!(
        the(&findings(&checked, "everything else"), "skipped")["advice"],
        Value::Null
    );
}

#[tokio::test]
async fn a_cloud_that_is_away_is_told_and_ends_nothing_else() {
    let stage = Theatre::stage().await;
    // Bound and let go again: nobody answers there.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let url = format!("http://{nobody}");
    let away = environment(
        &stage,
        "127.0.0.1:1",
        &[("UNDERSTUDY__CLOUD__ENDPOINT_URL", &url)],
    );
    let checked = doctor(&away, &["--json"]).await;
    assert_eq!(checked.status, Some(1), "{checked:#?}");
    let cloud = findings(&checked, "cloud");
    says(
        the(&cloud, "fail"),
        "advice",
        "see that this machine reaches the cloud's API",
    );
    assert_eq!(findings(&checked, "disk space").len(), 1);
}
