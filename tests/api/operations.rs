//! Operations on a VM over SSH, on simulated machines.

use reqwest::Method;
use serde_json::{Value, json};
use understudy::api::{AuthMode, Options};
use understudy::domain::studio::Secret;
use understudy::domain::vm::Status;

use crate::served::{LIMIT, LOOK, Served, open, send, stage};
use crate::shows::set_up;
use crate::support::socketio::Script;

/// A VM on which something can be run: its SSH connection is up.
pub async fn a_reachable_vm(served: &Served) -> String {
    let vm = served.a_vm(Status::Available);
    until_reachable(served, &vm).await;
    vm
}

pub async fn until_reachable(served: &Served, vm: &str) {
    let path = format!("/api/admin/vm-pool/{vm}/system-info");
    let mut last = Value::Null;
    let wait = async {
        loop {
            let answer = served.get(&path).await;
            if answer.status == 200 {
                return;
            }
            last = answer.body;
            tokio::time::sleep(LOOK).await;
        }
    };
    let reached = tokio::time::timeout(LIMIT, wait).await;
    assert!(reached.is_ok(), "its SSH connection is not up: {last}");
}

pub async fn exec(served: &Served, vm: &str, body: Value) -> crate::served::Answer {
    served
        .post_json(&format!("/api/admin/vm-pool/{vm}/ssh/exec"), &body)
        .await
}

/// As by default, with command lines of callers allowed.
async fn with_free_commands() -> Served {
    let mut stage = stage(1, 0).await;
    stage.config.ssh.allow_free_commands = true;
    let served = Served::over(stage, open()).await;
    served.until_available(1).await;
    served
}

#[tokio::test(flavor = "multi_thread")]
async fn the_catalogue_says_what_each_operation_takes() {
    let served = Served::with(0, 0).await;
    let listed = served.get("/api/admin/vm-pool/ssh/operations").await.is(200);
    let operations = listed["operations"].as_array().unwrap();
    let find = |id: &str| {
        let found = operations.iter().find(|operation| operation["id"] == id);
        found.unwrap_or_else(|| panic!("no {id}"))
    };
    let start = find("START_OBS");
    assert_eq!(
        (&start["name"], &start["timeout"], &start["sudo"]),
        (&json!("Start OBS"), &json!(30_000), &json!(true))
    );
    let clear = find("CLEAR_RECORDINGS");
    assert_eq!(
        (&clear["sudo"], &clear["refusedOnAir"]),
        (&json!(false), &json!(true))
    );
    let lines = json!({
        "description": "How many lines", "type": "whole", "minimum": 1, "maximum": 1000, "default": "50"
    });
    assert_eq!(find("VIEW_LOGS")["parameters"]["lines"], lines);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_answers_with_what_it_printed_and_how_it_ended() {
    let served = Served::with(1, 0).await;
    let vm = a_reachable_vm(&served).await;
    let fine = exec(&served, &vm, json!({"operation": "CHECK_SERVICES"}))
        .await
        .is(200);
    assert_eq!(
        (&fine["success"], &fine["code"], &fine["vmId"], &fine["operation"]),
        (&json!(true), &json!(0), &json!(vm), &json!("CHECK_SERVICES"))
    );
    assert!(
        fine["stdout"].as_str().unwrap().contains("obs-headless.service"),
        "{fine}"
    );
    assert!(fine["duration"].is_u64() && fine["executionId"].is_string());

    assert_eq!(
        exec(&served, &vm, json!({"operation": "STOP_OBS"})).await.is(200)["code"],
        0
    );
    let stopped = exec(&served, &vm, json!({"operation": "CHECK_SERVICES"}))
        .await
        .is(200);
    assert_eq!(
        (&stopped["success"], &stopped["code"]),
        (&json!(false), &json!(3))
    );
    let info = exec(&served, &vm, json!({"operation": "SYSTEM_INFO"}))
        .await
        .is(200);
    for part in ["Mem:", "Mounted on", "PID USER"] {
        assert!(info["stdout"].as_str().unwrap().contains(part), "{part}: {info}");
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_run_is_refused_with_what_is_wrong() {
    let served = Served::with(1, 1).await;
    let vm = a_reachable_vm(&served).await;
    let off = served.a_vm(Status::Stopped);
    for (body, field) in [
        (json!({"operation": "FORMAT_DISK"}), "operation"),
        (
            json!({"operation": "VIEW_LOGS", "parameters": {"lines": "5; reboot"}}),
            "parameters.lines",
        ),
        (
            json!({"operation": "VIEW_LOGS", "parameters": {"files": "x"}}),
            "parameters.files",
        ),
        (json!({"operation": "VIEW_UNIT_LOGS"}), "parameters.unit"),
        (
            json!({"operation": "VIEW_UNIT_LOGS", "parameters": {"unit": "--all"}}),
            "parameters.unit",
        ),
        (json!({}), "operation"),
    ] {
        assert_eq!(
            exec(&served, &vm, body.clone()).await.is(400)["field"],
            field,
            "{body}"
        );
    }
    let operation = json!({"operation": "CHECK_SERVICES"});
    exec(&served, "vm-none", operation.clone())
        .await
        .refuses(404, "VM_NOT_FOUND");
    let refused = exec(&served, &off, operation).await.refuses(409, "WRONG_STATUS");
    assert_eq!(
        (&refused["vmId"], &refused["status"]),
        (&json!(off), &json!("stopped"))
    );
    let free = json!({"command": "id"});
    exec(&served, &vm, free)
        .await
        .refuses(403, "FREE_COMMANDS_FORBIDDEN");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_disturb_a_show_is_refused_while_it_is_on_air() {
    let served = Served::with(1, 0).await;
    let vm = set_up(&served).await;
    until_reachable(&served, &vm).await;
    served.post("/api/competitions/finals/show/start").await.is(200);
    let clear = json!({"operation": "CLEAR_RECORDINGS"});
    let refused = exec(&served, &vm, clear.clone())
        .await
        .refuses(409, "WRONG_STATUS");
    assert_eq!(refused["status"], "in_use");
    exec(&served, &vm, json!({"operation": "CHECK_SERVICES"}))
        .await
        .is(200);
    served.post("/api/competitions/finals/show/stop").await.is(200);
    exec(&served, &vm, clear).await.is(200);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn services_are_restarted_and_looked_at() {
    let served = Served::with(1, 0).await;
    let vm = a_reachable_vm(&served).await;
    let path = format!("/api/admin/vm-pool/{vm}/ssh/restart-service");
    let restarted = served
        .post_json(&path, &json!({"service": "nimble"}))
        .await
        .is(200);
    assert_eq!(
        (
            &restarted["success"],
            &restarted["service"],
            &restarted["operation"]
        ),
        (&json!(true), &json!("nimble"), &json!("RESTART_NIMBLE")),
        "{restarted}"
    );
    assert!(restarted["status"].as_str().unwrap().contains('/'), "{restarted}");
    let refused = served.post_json(&path, &json!({"service": "sshd"})).await.is(400);
    assert_eq!(refused["field"], "service");

    let path = format!("/api/admin/vm-pool/{vm}/ssh/services");
    let all = served.get(&path).await.is(200);
    let obs = &all["services"][1];
    assert_eq!(
        (
            &obs["service"],
            &obs["active"],
            &obs["status"],
            obs["pid"].is_u64()
        ),
        (
            &json!("obs-headless"),
            &json!(true),
            &json!("active/running"),
            true
        )
    );
    exec(&served, &vm, json!({"operation": "STOP_OBS"})).await.is(200);
    let obs = served.get(&path).await.is(200)["services"][1].clone();
    assert_eq!(
        (&obs["active"], &obs["status"]),
        (&json!(false), &json!("inactive/dead"))
    );
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_are_read_by_unit_and_number_of_lines() {
    let served = Served::with(1, 0).await;
    let vm = a_reachable_vm(&served).await;
    let path = |query: &str| format!("/api/admin/vm-pool/{vm}/ssh/logs{query}");
    let logs = served.get(&path("")).await.is(200);
    assert_eq!(
        (&logs["unit"], &logs["vmId"]),
        (&json!("show-server"), &json!(vm))
    );
    let lines = logs["lines"].as_array().unwrap();
    assert_eq!(lines.len(), 50);
    assert!(
        lines
            .iter()
            .all(|line| line.as_str().unwrap().contains("show-server["))
    );
    let three = served.get(&path("?unit=obs-headless&lines=3")).await.is(200);
    assert_eq!(three["stdout"].as_str().unwrap().lines().count(), 3);
    assert!(
        three["stdout"].as_str().unwrap().contains("obs-headless["),
        "{three}"
    );
    for (query, field) in [
        ("?lines=0", "lines"),
        ("?lines=1001", "lines"),
        ("?unit=-f", "unit"),
        ("?unit=a%3Bb", "unit"),
    ] {
        assert_eq!(served.get(&path(query)).await.is(400)["field"], field, "{query}");
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_says_how_it_is_in_words_and_in_numbers() {
    let served = Served::with(1, 0).await;
    let vm = a_reachable_vm(&served).await;
    let info = served
        .get(&format!("/api/admin/vm-pool/{vm}/system-info"))
        .await
        .is(200);
    assert_eq!(info["vmId"], json!(vm));
    assert!(
        info["hostname"].as_str().unwrap().starts_with("ip-127-"),
        "{info}"
    );
    assert!(info["uptime"].as_str().unwrap().starts_with("up "), "{info}");
    assert_eq!(
        info["memory"],
        json!({"total": "7.6Gi", "used": "2.2Gi", "free": "5.0Gi"})
    );
    assert_eq!(info["disk"]["total"], "48Gi");
    assert!(info["cpu"].as_str().unwrap().ends_with('%'), "{info}");
    let numbers = &info["numbers"];
    assert_eq!(numbers["memory"]["total"], 8_142_127_104_u64);
    assert_eq!(
        (&numbers["cpus"], &numbers["load"]),
        (&json!(2), &json!([0.42, 0.40, 0.38]))
    );
    assert!(
        numbers["cpuPercent"].as_f64().unwrap() > 0.0 && numbers["uptimeSeconds"].is_f64(),
        "{info}"
    );
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_is_run_is_written_down_with_who_and_how_it_ended() {
    let served = with_free_commands().await;
    let vm = a_reachable_vm(&served).await;
    let free = json!({"command": "sudo echo 'hello there'", "cwd": "/tmp"});
    let reply = exec(&served, &vm, free).await.is(200);
    assert_eq!(
        (&reply["stdout"], &reply["code"]),
        (&json!("hello there\n"), &json!(0))
    );
    let missing = exec(&served, &vm, json!({"command": "nonsense", "sudo": true}))
        .await
        .is(200);
    assert_eq!(
        (&missing["success"], &missing["code"]),
        (&json!(false), &json!(127))
    );

    let audit = served.get("/api/admin/executions?limit=2").await.is(200);
    let [last, before] = audit["executions"].as_array().unwrap().as_slice() else {
        panic!("{audit}")
    };
    assert_eq!(last["executionId"], missing["executionId"]);
    assert_eq!(
        (
            &last["kind"],
            &last["state"],
            &last["code"],
            &last["by"],
            &last["vmId"]
        ),
        (
            &json!("command"),
            &json!("exited"),
            &json!(127),
            &json!("api"),
            &json!(vm)
        )
    );
    assert_eq!(
        last["commands"],
        json!([["sudo", "-n", "--", "sh", "-c", "nonsense"]])
    );
    let words = json!([["env", "--chdir=/tmp", "sh", "-c", "sudo echo 'hello there'"]]);
    assert_eq!((&before["commands"], &before["bytes"]), (&words, &json!(12)));
    assert!(last["endedAt"].as_str() >= last["beganAt"].as_str());

    let next = audit["next"].as_str().unwrap();
    let older = served
        .get(&format!("/api/admin/executions?before={next}&vmId={vm}"))
        .await
        .is(200);
    assert_eq!(older["executions"][0]["operation"], "SYSTEM_FIGURES");
    assert_eq!(
        served.get("/api/admin/executions?before=7").await.is(400)["field"],
        "before"
    );
    served
        .post("/api/admin/executions/exec-1/cancel")
        .await
        .refuses(409, "NOT_RUNNING");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_run_for_whoever_has_no_token() {
    let token = "an-operations-token";
    let options = Options {
        auth: AuthMode::Compat,
        admin_token: Some(Secret::new(token)),
        ..Options::default()
    };
    let served = Served::with_options(1, 0, options).await;
    let vm = served.a_vm(Status::Available);
    for (method, path) in [
        (Method::GET, "ssh/operations".to_owned()),
        (Method::POST, format!("{vm}/ssh/exec")),
        (Method::GET, format!("{vm}/ssh/logs")),
        (Method::POST, format!("{vm}/ssh/restart-service")),
        (Method::GET, format!("{vm}/ssh/services")),
        (Method::GET, format!("{vm}/system-info")),
    ] {
        let path = format!("/api/admin/vm-pool/{path}");
        send(served.request(method, &path))
            .await
            .refuses(401, "UNAUTHORIZED");
    }
    for (method, path) in [
        (Method::GET, "/api/admin/executions"),
        (Method::POST, "/api/admin/executions/exec-1/cancel"),
    ] {
        send(served.request(method, path))
            .await
            .refuses(401, "UNAUTHORIZED");
    }
    let mut stranger = Script::connected(&served.url(""), &json!({})).await;
    let payload = json!({"vmId": vm, "operation": "CHECK_SERVICES"});
    let refused = stranger.ask("execSSHCommand", &[payload]).await;
    assert_eq!(
        (&refused["success"], &refused["code"]),
        (&json!(false), &json!("UNAUTHORIZED"))
    );
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_client_hears_the_output_of_what_it_runs_and_nobody_else_does() {
    let served = Served::with(1, 0).await;
    let vm = a_reachable_vm(&served).await;
    let mut client = Script::connected(&served.url(""), &json!({})).await;
    let mut bystander = Script::connected(&served.url(""), &json!({})).await;
    let payload = json!({"vmId": vm, "operation": "SYSTEM_INFO"});
    let begun = client.ask("execSSHCommand", &[payload]).await;
    assert_eq!((&begun["success"], &begun["vmId"]), (&json!(true), &json!(vm)));
    let end = client
        .event_with("sshOutput", |event| event["done"] == true)
        .await;
    assert_eq!(
        (&end["executionId"], &end["code"], &end["vmId"]),
        (&begun["executionId"], &json!(0), &json!(vm))
    );
    let printed: String = client
        .payloads("sshOutput")
        .filter(|event| event["stream"] == "stdout")
        .map(|event| event["data"].as_str().unwrap().to_owned())
        .collect();
    assert!(
        printed.contains("Mem:") && printed.contains("Mounted on"),
        "{printed}"
    );

    let wrong = json!({"vmId": vm, "operation": "NONSENSE"});
    client.emit("execSSHCommand", &[wrong]).await;
    let error = client.event("vmError").await;
    assert_eq!(
        (&error["field"], &error["vmId"]),
        (&json!("operation"), &json!(vm))
    );
    client.emit("execSSHCommand", &[]).await;
    assert!(client.event("vmError").await["error"].is_string());
    bystander.ask("getVMPoolStatus", &[]).await;
    assert_eq!(bystander.payloads("sshOutput").count(), 0);
    served.stop().await;
}
