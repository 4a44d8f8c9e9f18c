//! The same commands against a real coordinator that has simulated machines: that both sides mean the same by
//! the contract.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};
use understudy::config::Config;
use understudy::domain::ids::{InstanceId, ShowId};
use understudy::rehearsal::stage::{Setting, Stage, stream_key};
use understudy::sim::wire::machine::MachineHandle;
use understudy::sim::world::WorldConfig;

use crate::live::interrupt;
use crate::program::{Run, run};
use crate::support::eventually::eventually;

/// For machines to come up, and for a show to move.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Theatre {
    /// Ends with this.
    pub coordinator: Child,
    pub stage: Stage,
    pub url: String,
}

impl Theatre {
    pub async fn open() -> Self {
        Self::set(&[], Stdio::null()).await
    }

    /// With further options of the coordinator, and where its log goes.
    async fn set(options: &[&str], log: Stdio) -> Self {
        Self::on(Self::stage().await, &[], options, log)
    }

    /// Two machines that run and one that does not.
    pub async fn stage() -> Stage {
        let world = WorldConfig::for_test(2, 1);
        let mut base = Config::default();
        base.pool.warm_count = 1;
        base.pool.health_check_interval = Duration::from_secs(5);
        base.cloud.sweep_interval = Duration::from_secs(1);
        Stage::set(Setting { world, base }).await.unwrap()
    }

    pub fn machine(&self, instance: &str) -> MachineHandle {
        self.stage.machine(&InstanceId::new(instance).unwrap()).unwrap()
    }

    /// On this stage, with further variables in the coordinator's environment.
    pub fn on(stage: Stage, environment: &[(&str, &str)], options: &[&str], log: Stdio) -> Self {
        // Bound and let go again: free now.
        let address: SocketAddr = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .unwrap()
            .local_addr()
            .unwrap();
        let coordinator = Command::new(env!("CARGO_BIN_EXE_understudy"))
            .arg("serve")
            .args(options)
            .env_clear()
            .envs(stage.environment(address))
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self {
            coordinator,
            stage,
            url: format!("http://{address}"),
        }
    }

    /// Gives the studio on this machine something to send, and somewhere to send it.
    pub fn dress(&self, instance: &str) {
        self.machine(instance)
            .load_example_studio(&stream_key(&ShowId::new("finals").unwrap()))
            .unwrap();
    }

    pub async fn ask(&self, arguments: &[&str]) -> Run {
        run(&[("UNDERSTUDY_URL", &self.url)], arguments).await
    }

    pub async fn until(&self, what: &str, arguments: &[&str], told: &str) -> String {
        eventually(what, PATIENCE, async || {
            let run = self.ask(arguments).await;
            (run.status == Some(0) && run.stdout.contains(told)).then_some(run.stdout)
        })
        .await
    }
}

#[tokio::test]
async fn an_attended_coordinator_ends_in_order_with_its_standard_input_and_not_before() {
    let mut theatre = Theatre::set(&["--attended"], Stdio::null()).await;
    theatre
        .until("two VMs are there", &["status"], "● 2 available")
        .await;
    drop(theatre.coordinator.stdin.take());
    let ended = tokio::time::timeout(PATIENCE, theatre.coordinator.wait()).await;
    assert!(ended.expect("it does not end").unwrap().success());
}

#[tokio::test]
async fn a_show_is_given_a_vm_put_on_air_moved_and_released_from_the_command_line() {
    let theatre = Theatre::open().await;
    theatre
        .until("two VMs are there", &["status"], "● 2 available")
        .await;

    let assigned = theatre.ask(&["assign", "finals", "--wait", "60", "--json"]).await;
    let assigned = assigned.json();
    let vm = assigned["vmId"].as_str().unwrap().to_owned();
    theatre.dress(assigned["instanceId"].as_str().unwrap());
    let again = theatre.ask(&["assign", "finals"]).await;
    assert!(again.failed(6).contains("understudy release finals"), "{again:?}");

    let started = theatre.ask(&["show", "start", "finals"]).await;
    assert_eq!(started.answer(), format!("finals is on air from {vm}\n"));
    theatre
        .until("finals is on air", &["status", "finals"], "▶ on air")
        .await;

    let held = theatre.ask(&["hold", "finals"]).await;
    assert!(held.answer().contains("is held"), "{held:?}");
    theatre.ask(&["resume", "finals"]).await.answer();

    let moving = theatre.ask(&["failover", "finals"]).await;
    assert!(
        moving
            .answer()
            .starts_with(&format!("finals moves from {vm} to vm-")),
        "{moving:?}"
    );
    let table = theatre
        .until("finals was moved", &["failovers", "finals"], "on air")
        .await;
    assert!(table.contains("forced") && table.contains(&vm), "{table}");

    let shown = theatre.ask(&["vm", "show", &vm]).await;
    assert!(
        shown.answer().contains(&format!("id               {vm}")),
        "{shown:?}"
    );
    let stopped = theatre.ask(&["show", "stop", "finals"]).await;
    assert!(
        stopped.answer().starts_with("finals is off air; it keeps vm-"),
        "{stopped:?}"
    );
    let released = theatre.ask(&["release", "finals"]).await;
    assert!(released.answer().starts_with("finals gave vm-"), "{released:?}");
    assert_eq!(
        theatre.ask(&["release", "finals"]).await.answer(),
        "finals had no VM; nothing to do\n"
    );
}

#[tokio::test]
async fn mistakes_are_answered_by_a_real_server_as_the_command_line_expects() {
    let theatre = Theatre::open().await;
    theatre
        .until("two VMs are there", &["status"], "● 2 available")
        .await;
    let listed = theatre.ask(&["vm", "list", "--json"]).await.json();
    let vm = listed[0]["vmId"].as_str().unwrap();

    let near = &vm[..vm.len() - 1];
    let unknown = theatre.ask(&["vm", "start", near]).await;
    assert!(
        unknown.failed(5).contains(&format!("did you mean {vm}?")),
        "{unknown:?}"
    );
    let idle = theatre.ask(&["show", "start", "finals"]).await;
    assert!(idle.failed(5).contains("understudy assign finals"), "{idle:?}");
    let settings = theatre.ask(&["config", "set", "warmCuont=1"]).await;
    assert!(
        settings.failed(2).contains("did you mean warmCount?"),
        "{settings:?}"
    );
    let settings = theatre.ask(&["config", "set", "coldCount=2"]).await;
    assert!(settings.answer().contains("coldCount  2"), "{settings:?}");
    assert_eq!(theatre.ask(&["config", "get", "coldCount"]).await.answer(), "2\n");
    let checked = theatre.ask(&["vm", "check", vm, "--json"]).await;
    assert_eq!(checked.json()["total"], 1, "{checked:?}");
    let resting = theatre
        .ask(&["vm", "maintenance", vm, "--reason", "new disk"])
        .await;
    assert_eq!(resting.answer(), format!("{vm} is maintenance now\n"));
    theatre
        .until("the reason is told", &["vm", "list"], "new disk")
        .await;
    let back = theatre.ask(&["vm", "maintenance", vm, "--off"]).await;
    assert_eq!(back.answer(), format!("{vm} is available now\n"));
}

#[tokio::test]
async fn a_coordinator_whose_log_is_for_programs_logs_json_lines_and_stops_when_interrupted() {
    let mut theatre = Theatre::set(&["--json"], Stdio::piped()).await;
    theatre
        .until("two VMs are there", &["status"], "● 2 available")
        .await;
    interrupt(&theatre.coordinator).await;
    let mut log = String::new();
    let end = async {
        theatre
            .coordinator
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut log)
            .await
            .unwrap();
        theatre.coordinator.wait().await.unwrap()
    };
    let status = tokio::time::timeout(PATIENCE, end)
        .await
        .expect("it does not stop");
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.lines().count() > 1, "{log}");
    for line in log.lines() {
        let line: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(line["level"].is_string() && line["message"].is_string(), "{line}");
    }
}
