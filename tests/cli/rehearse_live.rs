//! Live rehearsals: the real binary against a real coordinator in another process, whose pool is simulated over the wire.

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::process::Child;
use understudy::config::Config;
use understudy::rehearsal::stage::{Setting, Stage};
use understudy::sim::model::fault::Fault;
use understudy::sim::world::WorldConfig;

use crate::live::{Pty, interrupt};
use crate::program::{Run, finished, program};
use crate::real::Theatre;
use crate::support::eventually::eventually;

/// For machines to come up, a show to be put on air and moved, and VMs to be ready again.
const PATIENCE: Duration = Duration::from_secs(240);
const KEY: &str = "rehearsals-own-key";

/// A coordinator with so many running VMs, and a file that says what a rehearsal's studio is made from.
struct Live {
    theatre: Theatre,
    folder: tempfile::TempDir,
}

impl Live {
    async fn open(warm: u32) -> Self {
        let mut base = Config::default();
        base.pool.warm_count = 1;
        base.pool.health_check_interval = Duration::from_secs(5);
        base.cloud.sweep_interval = Duration::from_secs(1);
        let world = WorldConfig::for_test(warm, 0);
        let stage = Stage::set(Setting { world, base }).await.unwrap();
        let theatre = Theatre::on(stage, &[], &[], Stdio::null());
        let folder = tempfile::tempdir().unwrap();
        let server = theatre.stage.world.ingest().server_url();
        let studio = format!(
            "template = \"multi-camera\"\n\
             [variables]\ntitle = \"Rehearsal\"\ncameras = [{{ name = \"One\", port = 9001 }}]\n\
             [stream]\nserver = \"{server}\"\nkey = \"{KEY}\"\n"
        );
        std::fs::write(folder.path().join("studio.toml"), studio).unwrap();
        let available = format!("● {warm} available");
        theatre.until("the VMs are there", &["status"], &available).await;
        Self { theatre, folder }
    }

    fn begin(&self, arguments: &[&str]) -> Child {
        let studio = self.folder.path().join("studio.toml").display().to_string();
        let always = ["rehearse", "--live", "--studio", &studio];
        let arguments: Vec<&str> = always.iter().chain(arguments).copied().collect();
        program(&[("UNDERSTUDY_URL", &self.theatre.url)], &arguments)
            .spawn()
            .unwrap()
    }

    async fn rehearse(&self, arguments: &[&str]) -> Run {
        end(self.begin(arguments)).await
    }

    /// The one VM that a show is on air from.
    async fn until_on_air(&self) -> Value {
        eventually("the rehearsal is on air", PATIENCE, async || {
            let pool = self.theatre.ask(&["status", "--json"]).await;
            let pool: Value = serde_json::from_str(&pool.stdout).ok()?;
            let text = pool.to_string();
            (text.contains("\"in_use\"") && !self.publishers().is_empty()).then_some(pool)
        })
        .await
    }

    fn publishers(&self) -> Vec<std::net::Ipv4Addr> {
        self.theatre.stage.world.ingest().publishers(KEY)
    }

    /// Every VM is ready, none has a show, and nobody publishes.
    async fn is_as_found(&self, warm: u32) {
        let status = self.theatre.ask(&["status"]).await;
        assert!(
            status.answer().contains(&format!("● {warm} available")),
            "{status:?}"
        );
        assert_eq!(self.publishers(), [] as [std::net::Ipv4Addr; 0]);
    }
}

/// The show that a rehearsal would put on air, from what it says before it asks.
fn show_of(told: &str) -> &str {
    let (_, rest) = told.split_once("It puts show ").unwrap();
    rest.split_once(' ').unwrap().0
}

async fn end(child: Child) -> Run {
    let ended = tokio::time::timeout(PATIENCE, child.wait_with_output()).await;
    finished(ended.expect("it ends in time").unwrap())
}

#[tokio::test]
async fn a_show_of_its_own_is_moved_between_spare_vms_and_the_pool_is_left_as_it_was() {
    let live = Live::open(3).await;
    let run = live
        .rehearse(&["--scenario", "studio-crash", "--yes", "--json"])
        .await;
    let report = run.json();
    assert_eq!(run.status, Some(0), "{report:#}");
    assert_eq!(report["pool"], live.theatre.url.as_str());
    let played = &report["scenarios"][0];
    let failover = &played["failovers"][0];
    assert!(failover["show"].as_str().unwrap().starts_with("rehearsal-"));
    assert_ne!(failover["from"], failover["to"]);
    assert!(failover["off_air_ms"].as_u64().unwrap() > 0);
    assert_eq!(played["on_stage"][0]["moves"], 1);
    // The ingest saw both, one after the other.
    let ingest = live.theatre.stage.world.ingest();
    let mut publishers: Vec<_> = ingest.stretches().into_iter().map(|one| one.publisher).collect();
    publishers.dedup();
    assert_eq!(publishers.len(), 2, "{:?}", ingest.stretches());
    assert_eq!(ingest.overlaps(), []);
    live.is_as_found(3).await;
}

#[tokio::test]
async fn nothing_is_done_without_consent_or_where_real_shows_need_the_spares() {
    let live = Live::open(2).await;
    let (old, new) = (
        live.folder.path().join("old.xml"),
        live.folder.path().join("new.html"),
    );
    std::fs::write(&old, "passed").unwrap();
    let (junit, html) = (old.to_str().unwrap(), new.to_str().unwrap());
    let reports = ["--junit", junit, "--html", html];
    let unasked = [&["--scenario", "studio-crash", "--keep", "0"], reports.as_slice()].concat();
    let (unasked, at_once) = tokio::join!(live.rehearse(&unasked), live.rehearse(&unasked));
    assert_eq!(std::fs::read_to_string(&old).unwrap(), "passed");
    assert!(!new.exists());
    let told = unasked.failed(2);
    assert!(told.contains("nobody can be asked"), "{told}");
    assert_ne!(show_of(told), show_of(at_once.failed(2)));
    // It said what it would have done, and with which VMs.
    assert!(
        told.contains("It puts show rehearsal-") && told.contains("It may be moved to: vm-"),
        "{told}"
    );
    assert!(!told.contains(KEY), "{told}");
    for (answer, ending) in [
        ("no\n", "nobody agreed to it"),
        ("\u{3}", "was ended before it began"),
    ] {
        let studio = live.folder.path().join("studio.toml").display().to_string();
        let arguments = format!("rehearse --live --studio {studio} --scenario studio-crash --keep 0");
        let mut asked = Pty::at(&live.theatre.url, 40, &[], &arguments);
        asked.until(0, "Type yes to begin:").await;
        asked.press(answer).await;
        let (status, written) = asked.end().await;
        assert_eq!(status, Some(2), "{written}");
        assert!(written.contains(ending), "{written}");
    }
    let few = live.rehearse(&["--scenario", "studio-crash", "--yes"]).await;
    assert!(few.failed(6).contains("1 must stay for real shows"), "{few:?}");
    let impossible = live.rehearse(&["--scenario", "machine-blackhole", "--yes"]).await;
    assert!(
        impossible.failed(2).contains("not for the real pool"),
        "{impossible:?}"
    );
    let studio = live.folder.path().join("studio.toml");
    std::fs::write(&studio, "template = \"multi-camera\"\n").unwrap();
    let nowhere = live.rehearse(&["--scenario", "studio-crash", "--yes"]).await;
    assert!(
        nowhere.failed(2).contains("stream.server is missing"),
        "{nowhere:?}"
    );
    live.is_as_found(2).await;
}

#[tokio::test]
async fn a_real_alert_aborts_it_and_everything_is_given_back() {
    let live = Live::open(5).await;
    let theatre = &live.theatre;
    // A real show, whose studio is about to fail.
    theatre.ask(&["assign", "finals", "--wait", "60"]).await.answer();
    let real = theatre
        .until("finals has a VM", &["status", "--json"], "finals")
        .await;
    let real: Value = serde_json::from_str(&real).unwrap();
    let vms = real["pool"]["vms"].as_array().or(real["vms"].as_array()).unwrap();
    let vm = vms.iter().find(|vm| vm["assignedTo"] == "finals").unwrap();
    let instance: understudy::domain::ids::InstanceId =
        understudy::domain::ids::InstanceId::new(vm["instanceId"].as_str().unwrap()).unwrap();
    let machine = theatre.stage.machine(&instance).unwrap();
    machine.load_example_studio("key-finals").unwrap();
    theatre
        .until("finals is on air", &["show", "start", "finals"], "on air")
        .await;
    let folder = live.folder.path();
    let patient = folder.join("patient.toml");
    std::fs::write(
        &patient,
        "about = \"nothing happens for long\"\n[[step]]\nat = \"10m\"\ntarget = \"show:*\"\nfault = \"studio-crash\"\n",
    )
    .unwrap();
    let child = live.begin(&["--scenario", patient.to_str().unwrap(), "--yes", "--json"]);
    live.until_on_air().await;
    theatre.stage.world.fault(&instance, Fault::StudioCrash).unwrap();
    let run = end(child).await;
    assert_eq!(run.status, Some(1), "{run:?}");
    let failures = run.json()["scenarios"][0]["failures"].to_string();
    assert!(failures.contains("aborted: "), "{failures}");
    assert!(failures.contains("finals"), "{failures}");
    assert_eq!(live.publishers(), [] as [std::net::Ipv4Addr; 0]);
    theatre
        .until("finals is on air again", &["status", "finals"], "▶ on air")
        .await;
}

#[tokio::test]
async fn interrupted_it_gives_everything_back_before_it_ends() {
    let live = Live::open(3).await;
    let child = live.begin(&["--scenario", "studio-crash", "--yes", "--json"]);
    live.until_on_air().await;
    interrupt(&child).await;
    let run = end(child).await;
    assert_eq!(run.status, Some(1), "{run:?}");
    let failures = run.json()["scenarios"][0]["failures"].to_string();
    assert!(failures.contains("somebody ended it"), "{failures}");
    live.is_as_found(3).await;
}
