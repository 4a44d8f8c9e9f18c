//! Working on a VM: what is asked of the server, what is shown, and how the program ends.

use serde_json::{Value, json};

use crate::program::ask;
use crate::server::{Say, Server};

const EXEC: &str = "POST /api/admin/vm-pool/vm-1/ssh/exec";

/// A streamed answer, ended by the end of the connection.
const STREAMED: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\nconnection: close\r\n\r\n\
    {\"vmId\":\"vm-1\",\"executionId\":\"exec-7\",\"data\":\"\",\"done\":false}\n\
    {\"vmId\":\"vm-1\",\"executionId\":\"exec-7\",\"stream\":\"stdout\",\"data\":\"one\\ntwo\\n\",\"done\":false}\n\
    {\"vmId\":\"vm-1\",\"executionId\":\"exec-7\",\"stream\":\"stderr\",\"data\":\"oops\\n\",\"done\":false}\n\
    {\"vmId\":\"vm-1\",\"executionId\":\"exec-7\",\"data\":\"\",\"notice\":\"12 bytes are left out\",\"done\":false}\n\
    {\"vmId\":\"vm-1\",\"executionId\":\"exec-7\",\"data\":\"\",\"done\":true,\"code\":3,\"success\":false}\n";

/// The same, cut off.
const CUT: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\nconnection: close\r\n\r\n\
    {\"vmId\":\"vm-1\",\"executionId\":\"exec-7\",\"data\":\"\",\"done\":false}\n";

/// The same, with a line that says something else than it should.
const GARBLED: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\nconnection: close\r\n\r\n\
    {\"vmId\":\"vm-1\",\"executionId\":\"exec-7\",\"data\":7,\"done\":false}\n\
    {\"vmId\":\"vm-1\",\"executionId\":\"exec-7\",\"data\":\"\",\"done\":true,\"code\":0,\"success\":true}\n";

#[tokio::test]
async fn exec_shows_each_stream_where_it_belongs_and_passes_the_status_on() {
    let server = Server::start([(EXEC, vec![Say::Raw(STREAMED)])]).await;
    let arguments = [
        "vm",
        "exec",
        "vm-1",
        "VIEW_LOGS",
        "--set",
        "lines=5",
        "--limit",
        "7",
    ];
    let run = ask(&server, &arguments).await;
    assert_eq!((run.status, run.stdout.as_str()), (Some(3), "one\ntwo\n"));
    assert!(
        run.stderr.contains("oops\n") && run.stderr.contains("[12 bytes are left out]"),
        "{run:?}"
    );
    let request = server.only(EXEC);
    let body = json!({"operation": "VIEW_LOGS", "parameters": {"lines": "5"}, "timeout": 7_000});
    assert_eq!(request.json(), body);
    assert_eq!(request.header("accept"), Some("application/x-ndjson"));
}

#[tokio::test]
async fn exec_gives_programs_every_line_as_it_came() {
    let server = Server::start([(EXEC, vec![Say::Raw(STREAMED)])]).await;
    let arguments = [
        "--json", "vm", "exec", "vm-1", "-c", "ls *", "--cwd", "/tmp", "--sudo",
    ];
    let run = ask(&server, &arguments).await;
    assert_eq!(run.status, Some(3));
    let lines: Vec<serde_json::Value> = run
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 5);
    assert_eq!(
        (&lines[1]["data"], &lines[4]["done"]),
        (&json!("one\ntwo\n"), &json!(true))
    );
    let body = json!({"command": "ls *", "cwd": "/tmp", "sudo": true});
    assert_eq!(server.only(EXEC).json(), body);
}

#[tokio::test]
async fn an_answer_that_is_cut_off_or_refused_is_not_taken_for_an_end() {
    let server = Server::start([(EXEC, vec![Say::Raw(CUT)])]).await;
    let run = ask(&server, &["vm", "exec", "vm-1", "STOP_OBS"]).await;
    let said = run.failed(3);
    assert!(said.contains("understudy vm executions"), "{said}");

    let server = Server::start([(EXEC, vec![Say::Raw(GARBLED)])]).await;
    let run = ask(&server, &["vm", "exec", "vm-1", "STOP_OBS"]).await;
    let said = run.failed(3);
    assert!(said.contains("cannot be understood"), "{said}");

    let refusal =
        json!({"error": "there is no operation \"NOPE\"", "field": "operation", "code": "INVALID_OPERATION"});
    let server = Server::start([(EXEC, vec![Say::Json(400, refusal)])]).await;
    let run = ask(&server, &["vm", "exec", "vm-1", "NOPE"]).await;
    assert!(
        run.failed(2).contains("there is no operation \"NOPE\""),
        "{run:?}"
    );
}

#[tokio::test]
async fn logs_are_printed_as_they_are() {
    let path = "GET /api/admin/vm-pool/vm-1/ssh/logs?unit=nimble&lines=2";
    let answer = json!({"vmId": "vm-1", "unit": "nimble", "lines": ["a", "b"], "stdout": "a\nb\n"});
    let server = Server::start([(path, vec![Say::Json(200, answer)])]).await;
    let run = ask(
        &server,
        &["vm", "logs", "vm-1", "--unit", "nimble", "--lines", "2"],
    )
    .await;
    assert_eq!(run.answer(), "a\nb\n");
}

#[tokio::test]
async fn info_says_what_is_known_and_what_is_not() {
    let path = "GET /api/admin/vm-pool/vm-1/system-info";
    let answer = json!({
        "vmId": "vm-1", "hostname": "ip-10-0-3-77", "uptime": "up 4 days", "cpu": "12.5%",
        "memory": {"total": "7.6Gi", "used": "2.2Gi", "free": "5.0Gi"},
        "numbers": {"cpus": 2, "memory": {"usedPercent": 29.5}},
    });
    let server = Server::start([(path, vec![Say::Json(200, answer)])]).await;
    let said = ask(&server, &["vm", "info", "vm-1"]).await.answer().to_owned();
    for part in [
        "ip-10-0-3-77",
        "up 4 days",
        "2.2Gi of 7.6Gi used (29.5 %), 5.0Gi free",
        "12.5% of 2 busy",
        "unknown",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[tokio::test]
async fn restart_service_says_how_the_service_is_or_why_it_was_not_restarted() {
    let path = "POST /api/admin/vm-pool/vm-1/ssh/restart-service";
    let fine = json!({"success": true, "service": "nimble", "active": true, "status": "active/running"});
    let failed = json!({"success": false, "code": 1, "stderr": "Job failed.\n", "status": "failed/failed"});
    let unseen = json!({
        "success": true, "service": "nimble", "active": null, "status": "unknown", "statusError": "SSH to vm-1 broke",
    });
    let answers = [fine, failed, unseen].map(|body| Say::Json(200, body));
    let server = Server::start([(path, answers.into())]).await;
    let arguments = ["vm", "restart-service", "vm-1", "nimble"];
    let run = ask(&server, &arguments).await;
    assert_eq!(run.answer(), "nimble on vm-1 was restarted: active/running\n");
    let run = ask(&server, &arguments).await;
    assert!(run.failed(1).contains("(failed/failed): Job failed."), "{run:?}");
    let run = ask(&server, &arguments).await;
    assert_eq!(
        run.answer(),
        "nimble on vm-1 was restarted: unknown, since SSH to vm-1 broke\n"
    );
}

/// Shown, it would be taken for "nothing", by people and by programs.
#[tokio::test]
async fn an_answer_that_lacks_what_was_asked_for_is_not_taken_for_nothing() {
    let cases: [(&str, &[&str], Value, &str); 9] = [
        (
            "vm-pool/vm-1/ssh/services",
            &["services", "vm-1"],
            json!({}),
            "services",
        ),
        (
            "vm-pool/vm-1/ssh/services",
            &["services", "vm-1"],
            json!({"services": [{"service": "nimble", "status": "active/running"}]}),
            "active",
        ),
        (
            "vm-pool/vm-1/ssh/files/list?path=%2Ftmp",
            &["files", "vm-1", "/tmp"],
            json!({}),
            "entries",
        ),
        (
            "vm-pool/vm-1/ssh/files/list?path=%2Ftmp",
            &["files", "vm-1", "/tmp"],
            json!({"entries": [{"kind": "file", "bytes": 7}]}),
            "name",
        ),
        (
            "vm-pool/vm-1/ssh/logs?unit=nimble&lines=5",
            &["logs", "vm-1", "--unit", "nimble", "--lines", "5"],
            json!({"lines": []}),
            "stdout",
        ),
        ("vm-pool/ssh/operations", &["operations"], json!({}), "operations"),
        (
            "vm-pool/ssh/operations",
            &["operations"],
            json!({"operations": [{"id": "X"}]}),
            "sudo",
        ),
        ("executions?limit=20", &["executions"], json!({}), "executions"),
        (
            "executions?limit=20",
            &["executions"],
            json!({"executions": [{"executionId": "exec-1"}]}),
            "vmId",
        ),
    ];
    for (path, arguments, body, missing) in cases {
        let line = format!("GET /api/admin/{path}");
        let answers = vec![Say::Json(200, body.clone()), Say::Json(200, body)];
        let server = Server::start([(line.as_str(), answers)]).await;
        let missing = format!("missing field `{missing}`");
        let command = [&["vm"][..], arguments].concat();
        let people = ask(&server, &command).await;
        assert!(people.failed(3).contains(&missing), "{people:?}");
        let programs = ask(&server, &[&command[..], &["--json"][..]].concat()).await;
        assert_eq!(programs.status, Some(3));
        let told = programs.json();
        assert!(told["error"].as_str().unwrap().contains(&missing), "{told}");
    }
}

#[tokio::test]
async fn operations_and_executions_are_listed() {
    let operations = json!({"operations": [{
        "id": "VIEW_LOGS", "name": "View", "description": "The latest lines", "timeout": 10_000, "sudo": true,
        "refusedOnAir": false, "parameters": {"lines": {"type": "whole"}},
    }]});
    let executions = json!({"executions": [
        {"executionId": "exec-2", "vmId": "vm-1", "by": "operator", "kind": "command", "state": "exited", "code": 0,
         "commands": [["sh", "-c", "id"]], "beganAt": "2026-01-01T00:00:00.000Z"},
        {"executionId": "exec-1", "vmId": "vm-1", "by": "operator", "kind": "terminal", "state": "unknown",
         "beganAt": "2026-01-01T00:00:00.000Z"},
    ]});
    let server = Server::start([
        (
            "GET /api/admin/vm-pool/ssh/operations",
            vec![Say::Json(200, operations)],
        ),
        (
            "GET /api/admin/executions?limit=20&vmId=vm-1",
            vec![Say::Json(200, executions)],
        ),
    ])
    .await;
    let said = ask(&server, &["vm", "operations"]).await.answer().to_owned();
    assert!(
        said.contains("VIEW_LOGS") && said.contains("lines") && said.contains("root"),
        "{said}"
    );
    let said = ask(&server, &["vm", "executions", "vm-1"])
        .await
        .answer()
        .to_owned();
    assert!(
        said.contains("exited 0") && said.contains("sh -c id") && said.contains("terminal"),
        "{said}"
    );
}
