//! What is said, and with which exit status, when the server says no or says nothing.

use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::pool::{POOL, server};
use crate::program::{ask, run};
use crate::server::{Say, Server};

const ASSIGN: &str = "POST /api/competitions/finals/vm/assign";

/// The command, what the server says to it, and what becomes of that.
struct Case {
    command: &'static [&'static str],
    line: &'static str,
    status: u16,
    body: Value,
    exit: i32,
    /// All of these are told.
    told: &'static [&'static str],
}

type Make = fn(u16, Value, i32, &'static [&'static str]) -> Case;

const TO_ASSIGN: Make = |status, body, exit, told| Case {
    command: &["assign", "finals"],
    line: ASSIGN,
    status,
    body,
    exit,
    told,
};

const TO_START: Make = |status, body, exit, told| Case {
    command: &["vm", "start", "vm-1"],
    line: "POST /api/admin/vm-pool/vm-1/start",
    status,
    body,
    exit,
    told,
};

fn cases() -> impl Iterator<Item = Case> {
    show_refused()
        .into_iter()
        .chain(server_refuses())
        .chain(vm_refused())
}

/// What is in the way of a show.
fn show_refused() -> Vec<Case> {
    vec![
        TO_ASSIGN(
            400,
            json!({"error": "show finals already has VM vm-1", "code": "ALREADY_ASSIGNED", "competitionId": "finals",
                "vmId": "vm-1", "publicIp": null}),
            6,
            &[
                "error: show finals already has VM vm-1\n",
                "understudy failover finals --to VM",
                "understudy release finals",
            ],
        ),
        TO_ASSIGN(
            400,
            json!({"error": "region has at most 64 characters", "field": "region"}),
            2,
            &["error: region has at most 64 characters\n"],
        ),
        TO_ASSIGN(
            409,
            json!({"error": "no VM is left", "code": "POOL_EXHAUSTED"}),
            6,
            &[
                "no VM is left\n",
                "understudy release SHOW",
                "config set maxInstances=N",
            ],
        ),
        TO_ASSIGN(
            409,
            json!({"error": "4 shows", "code": "MAX_CONCURRENT"}),
            6,
            &["config set maxConcurrent=N"],
        ),
        TO_ASSIGN(
            409,
            json!({"error": "VM vm-1 is in_use", "code": "PREFERRED_BUSY", "vmId": "vm-1", "status": "in_use"}),
            6,
            &["VM vm-1 is in_use\n", "--fallback", "vm list --status available"],
        ),
        TO_ASSIGN(
            409,
            json!({"error": "it is shutting down", "code": "STOPPING"}),
            7,
            &["when it runs again"],
        ),
        TO_ASSIGN(
            422,
            json!({"error": "used before", "code": "IDEMPOTENCY_KEY_REUSED"}),
            2,
            &["--idempotency-key"],
        ),
    ]
}

/// What the server cannot do at all.
fn server_refuses() -> Vec<Case> {
    vec![
        TO_ASSIGN(
            503,
            json!({"error": "VM pool manager not initialized", "code": "NOT_INITIALIZED", "message": "no credentials"}),
            7,
            &[
                "error: VM pool manager not initialized: no credentials\n",
                "understudy status",
            ],
        ),
        TO_ASSIGN(
            504,
            json!({"error": "not within 10000 ms", "code": "TIMED_OUT"}),
            7,
            &["--idempotency-key cli-"],
        ),
        TO_ASSIGN(
            500,
            json!({"error": "internal", "code": "INTERNAL", "requestId": "r-7"}),
            1,
            &["log has this under r-7"],
        ),
    ]
}

/// What is in the way of work on a VM.
fn vm_refused() -> Vec<Case> {
    vec![
        TO_START(
            409,
            json!({"error": "VM vm-1 is available; it is running already", "code": "WRONG_STATUS", "vmId": "vm-1",
                "status": "available"}),
            6,
            &["error: VM vm-1 is available; it is running already\n"],
        ),
        TO_START(
            409,
            json!({"error": "VM vm-1 is assigned to show finals", "code": "OCCUPIED", "vmId": "vm-1",
                "assignedTo": "finals"}),
            6,
            &["understudy release finals"],
        ),
        TO_START(
            502,
            json!({"error": "the cloud refused: no capacity", "code": "CLOUD_FAILED", "vmId": "vm-1",
                "awsCode": "InsufficientInstanceCapacity"}),
            7,
            &["no capacity\n", "InsufficientInstanceCapacity"],
        ),
        TO_START(
            401,
            json!({"error": "this needs a token", "code": "UNAUTHORIZED"}),
            4,
            &["set UNDERSTUDY_TOKEN"],
        ),
        TO_START(
            403,
            json!({"error": "not you", "requiredRole": "admin"}),
            4,
            &["set UNDERSTUDY_TOKEN"],
        ),
        TO_START(
            404,
            json!({"error": "there is nothing at this path", "code": "NOT_FOUND"}),
            5,
            &["of this version"],
        ),
        TO_START(
            413,
            json!({"error": "the body is larger than 1 bytes"}),
            2,
            &["the body is larger"],
        ),
    ]
}

#[tokio::test]
async fn the_servers_words_are_told_as_they_are_and_the_way_out_beside_them() {
    for case in cases() {
        let server = Server::start([(case.line, vec![Say::Json(case.status, case.body.clone())])]).await;
        let run = ask(&server, case.command).await;
        let told = run.failed(case.exit);
        for part in case.told {
            assert!(told.contains(part), "{part:?} is not in {told:?}");
        }
    }
}

#[tokio::test]
async fn for_programs_a_refusal_is_an_object_with_everything_the_server_said() {
    for case in cases() {
        let server = Server::start([(case.line, vec![Say::Json(case.status, case.body.clone())])]).await;
        let arguments: Vec<&str> = case.command.iter().copied().chain(["--json"]).collect();
        let run = ask(&server, &arguments).await;
        assert_eq!(
            (run.status, run.stderr.as_str()),
            (Some(case.exit), ""),
            "{run:?}"
        );
        let json = run.json();
        assert_eq!(json["exitCode"], case.exit);
        assert_eq!(json["httpStatus"], case.status);
        for (name, value) in case.body.as_object().unwrap() {
            let same = json[name] == *value;
            let longer = name == "error" && json[name].as_str() > value.as_str();
            assert!(same || longer, "{name}: {json}");
        }
    }
}

#[tokio::test]
async fn a_vm_that_is_not_there_is_answered_with_the_one_that_may_be_meant() {
    let server = server().await;
    let unknown = |id: &str| {
        let line = format!("GET /api/admin/vm-pool/{id}");
        server.say(
            &line,
            vec![Say::Json(
                404,
                json!({"error": "VM not found", "code": "VM_NOT_FOUND", "vmId": id}),
            )],
        );
    };
    for (given, meant) in [
        ("vm-0a1b2c3", "vm-0a1b2c3d"),
        ("VM-E5F60781", "vm-e5f60718"),
        ("cam-vm-33334444", "vm-33334444"),
        ("i-0000vm-77778888", "vm-77778888"),
    ] {
        unknown(given);
        let run = ask(&server, &["vm", "show", given]).await;
        let told = run.failed(5);
        assert!(
            told.starts_with(&format!("error: VM not found: {given}\n")),
            "{told}"
        );
        assert!(told.contains(&format!("did you mean {meant}?")), "{told}");
    }
    unknown("something-else");
    let run = ask(&server, &["vm", "show", "something-else"]).await;
    assert!(!run.failed(5).contains("did you mean"), "{run:?}");
    assert!(run.stderr.contains("understudy vm list"), "{run:?}");
}

#[tokio::test]
async fn a_show_without_a_vm_is_answered_with_the_one_that_may_be_meant() {
    let server = server().await;
    let body = json!({"error": "show fnals has no VM", "code": "NOT_ASSIGNED", "competitionId": "fnals", "vm": null,
        "vmId": null});
    server.say(
        "POST /api/competitions/fnals/show/start",
        vec![Say::Json(404, body)],
    );
    let run = ask(&server, &["show", "start", "fnals"]).await;
    let told = run.failed(5);
    assert!(told.starts_with("error: show fnals has no VM\n"), "{told}");
    assert!(
        told.contains("did you mean finals?") && told.contains("understudy assign fnals"),
        "{told}"
    );
}

#[tokio::test]
async fn a_token_that_is_not_the_servers_is_told_from_none() {
    let body = json!({"error": "the token is not valid", "code": "UNAUTHORIZED"});
    let server = Server::start([(POOL, vec![Say::Json(401, body)])]).await;
    let environment = [
        ("UNDERSTUDY_URL", server.url()),
        ("UNDERSTUDY_TOKEN", "hush-hush".to_owned()),
    ];
    let environment = environment
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    let run_ = run(&environment, &["vm", "list"]).await;
    assert!(run_.failed(4).contains("is not this server's"), "{run_:?}");
    assert!(!run_.stderr.contains("hush-hush"), "{run_:?}");
    let bad = run(&[("UNDERSTUDY_TOKEN", "hush-hush\n")], &["vm", "list"]).await;
    assert!(bad.failed(2).contains("cannot be in an HTTP header"), "{bad:?}");
    assert!(!bad.stderr.contains("hush-hush"), "{bad:?}");
}

#[tokio::test]
async fn a_limited_rate_says_when_to_try_again() {
    let body = json!({"error": "too many requests", "code": "RATE_LIMITED", "retryAfterSeconds": 7});
    let server = Server::start([(POOL, vec![Say::With(429, &[("retry-after", "7")], body)])]).await;
    let run = ask(&server, &["vm", "list"]).await;
    assert!(run.failed(7).contains("try again in 7 s"), "{run:?}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_with_how_to_start_one() {
    // Bound and let go again: free now.
    let address = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let url = format!("http://{address}");
    let run_ = run(&[], &["status", "--server", &url]).await;
    let told = run_.failed(3);
    assert!(
        told.starts_with(&format!(
            "error: no server answers at {url}: connection refused\n"
        )),
        "{told}"
    );
    assert!(
        told.contains("understudy serve") && told.contains("--server"),
        "{told}"
    );
    let json = run(&[], &["status", "--server", &url, "--json"]).await;
    assert_eq!((json.status, &json.json()["exitCode"]), (Some(3), &json!(3)));
}

#[tokio::test]
async fn silence_ends_at_the_limit() {
    let server = Server::start([(POOL, vec![Say::Silence]), (ASSIGN, vec![Say::Silence])]).await;
    let run = ask(&server, &["vm", "list", "--timeout", "200ms"]).await;
    assert!(
        run.failed(3).starts_with("error: no answer within 0.20 s\n"),
        "{run:?}"
    );
    let run = ask(&server, &["assign", "finals", "--timeout", "200ms"]).await;
    let key = server.only(ASSIGN).header("idempotency-key").unwrap().to_owned();
    let told = run.failed(3);
    assert!(told.contains("may or may not"), "{told}");
    assert!(told.contains(&format!("--idempotency-key {key}")), "{told}");
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_once_more_with_the_same_key() {
    let assigned =
        json!({"vmId": "vm-1", "vmAddress": "203.0.113.9:3003", "status": "assigned", "repeated": true});
    let server = Server::start([(ASSIGN, vec![Say::HangUp, Say::Json(200, assigned)])]).await;
    let run = ask(&server, &["assign", "finals"]).await;
    assert_eq!(run.answer(), "finals has vm-1 at 203.0.113.9:3003\n");
    let keys: Vec<_> = server
        .seen(ASSIGN)
        .iter()
        .map(|request| request.headers["idempotency-key"].clone())
        .collect();
    assert_eq!(keys.len(), 2);
    assert_eq!(keys[0], keys[1]);
}

#[tokio::test]
async fn an_answer_lost_twice_is_a_failure_that_says_how_to_go_on() {
    let server = Server::start([(ASSIGN, vec![Say::HangUp])]).await;
    let run = ask(&server, &["assign", "finals"]).await;
    assert!(
        run.failed(3)
            .contains("the connection was lost before the answer came"),
        "{run:?}"
    );
    assert!(run.stderr.contains("--idempotency-key cli-"), "{run:?}");
    assert_eq!(server.seen(ASSIGN).len(), 2);
}

#[tokio::test]
async fn what_is_not_safe_to_repeat_is_not_repeated() {
    const LAUNCH: &str = "POST /api/admin/vm-pool/launch";
    let server = Server::start([(LAUNCH, vec![Say::HangUp])]).await;
    let run = ask(&server, &["vm", "launch"]).await;
    assert!(
        run.failed(3)
            .contains("look with `understudy status` before you repeat it"),
        "{run:?}"
    );
    assert_eq!(server.seen(LAUNCH).len(), 1);
}

#[tokio::test]
async fn something_else_that_answers_is_not_taken_for_an_understudy() {
    const HTML: &[u8] =
        b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 13\r\n\r\n<html></html>";
    const MISSING: &[u8] = b"HTTP/1.1 404 X\r\ncontent-length: 9\r\nconnection: close\r\n\r\nnot found";
    const GATEWAY: &[u8] = b"HTTP/1.1 502 X\r\ncontent-length: 11\r\nconnection: close\r\n\r\nbad gateway";
    for (say, exit, told) in [
        (Say::Raw(HTML), 3, "the answer is not JSON"),
        (Say::Raw(MISSING), 3, "it answers 404 Not Found, and not in JSON"),
        (Say::Raw(GATEWAY), 7, "something in front of the server"),
        (Say::Raw(b"SSH-2.0-OpenSSH_9.2\r\n"), 3, "error:"),
        (Say::Json(200, json!([1, 2])), 3, "JSON, but not an object"),
        (
            Say::Json(200, json!({"hello": "world"})),
            3,
            "not what an understudy answers",
        ),
        (Say::Json(500, json!({"oops": true})), 3, "without saying why"),
    ] {
        let server = Server::start([(POOL, vec![say.clone()])]).await;
        let run = ask(&server, &["vm", "list"]).await;
        assert!(run.failed(exit).contains(told), "{told}: {run:?}");
    }
}

#[tokio::test]
async fn a_redirection_is_told_and_not_followed() {
    let elsewhere = Server::start([(POOL, vec![Say::Json(200, json!({}))])]).await;
    let location: &'static str = format!("{}/api/admin/vm-pool", elsewhere.url()).leak();
    let headers: &'static [(&str, &str)] = vec![("location", location)].leak();
    let server = Server::start([(POOL, vec![Say::With(307, headers, json!({}))])]).await;
    let run_ = run(
        &[],
        &["vm", "list", "--server", &server.url(), "--token", "hush-hush"],
    )
    .await;
    assert!(
        run_.failed(3).contains(&format!("--server {}", elsewhere.url())),
        "{run_:?}"
    );
    assert!(elsewhere.seen(POOL).is_empty(), "the token must not travel");
}

#[tokio::test]
async fn a_proxy_is_not_asked_for_this_machine() {
    let server = server().await;
    let environment = [
        ("UNDERSTUDY_URL", server.url()),
        ("http_proxy", "http://127.0.0.1:1".to_owned()),
    ];
    let environment = environment
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    run(&environment, &["vm", "list"]).await.answer();
}
