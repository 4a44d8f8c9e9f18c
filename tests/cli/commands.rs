//! What each command asks of the server, and what it says when that worked.

use serde_json::{Value, json};

use crate::pool::{POOL, moved, moving, pool, server, vm};
use crate::program::{ask, run};
use crate::server::{Request, Say, Server};

const ASSIGN: &str = "POST /api/competitions/finals/vm/assign";
const RELEASE: &str = "POST /api/competitions/finals/vm/release";

fn assigned() -> Value {
    json!({
        "success": true, "vmId": "vm-33334444", "instanceId": "i-1", "publicIp": "203.0.113.9",
        "vmAddress": "203.0.113.9:3003", "competitionId": "finals", "status": "assigned",
        "estimatedReadyTime": 1_577_880_000_000_u64, "epoch": 1,
    })
}

fn starting() -> Value {
    json!({
        "success": true, "vmId": "vm-55556666", "instanceId": "i-2", "publicIp": null, "vmAddress": null,
        "competitionId": "finals", "status": "starting", "estimatedReadyTime": 4_102_444_800_000_u64, "position": 3,
        "epoch": 1,
    })
}

#[tokio::test]
async fn assign_says_which_vm_the_show_has() {
    let server = Server::start([(ASSIGN, vec![Say::Json(200, assigned())])]).await;
    let run = ask(&server, &["assign", "finals"]).await;
    assert_eq!(
        run.answer(),
        "finals has vm-33334444 at 203.0.113.9:3003, epoch 1\n"
    );
    let request = server.only(ASSIGN);
    assert_eq!(request.json(), json!({}));
    assert!(
        request
            .header("idempotency-key")
            .is_some_and(|key| key.len() > 30),
        "{request:?}"
    );
    assert_eq!(request.header("authorization"), None);
}

#[tokio::test]
async fn assign_passes_on_every_wish() {
    let line = format!("{ASSIGN}?wait=90");
    let server = Server::start([(line.as_str(), vec![Say::Json(200, assigned())])]).await;
    let arguments = [
        "assign",
        "finals",
        "--vm",
        "vm-1",
        "--fallback",
        "--region",
        "eu",
        "--capability",
        "4k",
        "--capability",
        "gpu",
        "--wait",
        "1m 30s",
        "--idempotency-key",
        "mine",
        "--token",
        "hush-hush",
        "--json",
    ];
    let run = ask(&server, &arguments).await;
    assert_eq!(run.json(), assigned());
    let request = server.only(&line);
    assert_eq!(
        request.json(),
        json!({"preferredVmId": "vm-1", "allowFallback": true, "region": "eu", "capabilities": ["4k", "gpu"]})
    );
    assert_eq!(request.header("idempotency-key"), Some("mine"));
    assert_eq!(request.header("authorization"), Some("Bearer hush-hush"));
}

#[tokio::test]
async fn a_vm_that_is_still_starting_is_said_to_be_so() {
    let line = format!("{ASSIGN}?wait=1");
    let server = Server::start([
        (ASSIGN, vec![Say::Json(202, starting())]),
        (line.as_str(), vec![Say::Json(202, starting())]),
    ])
    .await;
    let run = ask(&server, &["assign", "finals"]).await;
    assert_eq!(
        run.answer(),
        "finals gets vm-55556666, which is starting, epoch 1\n"
    );
    assert!(run.stderr.contains("ready at about 00:00:00"), "{run:?}");
    assert!(run.stderr.contains("2 other shows wait, too"), "{run:?}");
    assert!(run.stderr.contains("understudy status finals --watch"), "{run:?}");

    // It was asked to be ready, so a script must be able to tell that it is not.
    let waited = ask(&server, &["assign", "finals", "--wait", "1"]).await;
    assert_eq!(waited.status, Some(7), "{waited:?}");
    assert!(waited.stdout.contains("still starting"), "{waited:?}");
}

#[tokio::test]
async fn release_says_what_became_of_the_vm() {
    let answer = json!({"success": true, "competitionId": "finals", "vmId": "vm-1", "instanceId": "i-1",
        "status": "available"});
    let nothing = json!({"success": true, "competitionId": "finals", "message": "No VM was assigned"});
    let server = Server::start([(RELEASE, vec![Say::Json(200, answer), Say::Json(200, nothing)])]).await;
    let run = ask(&server, &["release", "finals", "--stop-vm"]).await;
    assert_eq!(run.answer(), "finals gave vm-1 back; it is available now\n");
    assert_eq!(server.only(RELEASE).json(), json!({"stopVM": true}));
    assert!(server.only(RELEASE).header("idempotency-key").is_some());
    let run = ask(&server, &["release", "finals"]).await;
    assert_eq!(run.answer(), "finals had no VM; nothing to do\n");
}

#[tokio::test]
async fn a_release_that_is_not_over_is_asked_for_again_with_the_same_key() {
    let going_on = json!({"success": true, "competitionId": "finals", "vmId": "vm-1", "status": "releasing",
        "phase": "releasing", "message": "it goes on"});
    let over = json!({"success": true, "competitionId": "finals", "vmId": "vm-1", "status": "available",
        "repeated": true});
    let said = vec![
        Say::Json(202, going_on.clone()),
        Say::Json(202, going_on),
        Say::Json(200, over),
    ];
    let server = Server::start([(RELEASE, said)]).await;
    let run = ask(&server, &["release", "finals"]).await;
    assert_eq!(run.answer(), "finals gave vm-1 back; it is available now\n");
    let asked = server.seen(RELEASE);
    let keys: Vec<_> = asked
        .iter()
        .map(|request| request.header("idempotency-key"))
        .collect();
    assert_eq!(keys.len(), 3);
    assert!(
        keys[0].is_some() && keys.iter().all(|key| *key == keys[0]),
        "{keys:?}"
    );
}

#[tokio::test]
async fn a_release_with_recordings_says_where_they_are_and_fails_if_some_are_missing() {
    let answer = |archived: bool, archive: Value| {
        let body = json!({"success": true, "competitionId": "finals", "vmId": "vm-1", "status": "available",
            "archived": archived, "archive": archive});
        Say::Json(200, body)
    };
    let folder = "recordings/finals/vm-1/5/";
    let all = json!({"bucket": "shows", "folder": folder, "files": 2, "bytes": 70, "older": 1});
    let none = json!({"bucket": "shows", "folder": folder, "files": 0, "bytes": 0, "error": "no bucket"});
    let said = vec![answer(true, all), answer(false, none)];
    let server = Server::start([(RELEASE, said)]).await;
    let run = ask(&server, &["release", "finals", "--archive"]).await;
    assert_eq!(
        run.answer(),
        "finals gave vm-1 back; it is available now; 2 recordings (70 bytes) are in shows/recordings/finals/vm-1/5/, \
         verified; an older one stays on the VM\n"
    );
    assert_eq!(server.only(RELEASE).json(), json!({"archiveRecordings": true}));
    let run = ask(&server, &["release", "finals", "--archive"]).await;
    assert_eq!(run.status, Some(1), "{run:?}");
    assert!(run.stdout.contains("still on the VM: no bucket"), "{run:?}");
}

#[tokio::test]
async fn failover_hold_and_stream_are_posted_and_told() {
    let held = |held: bool| {
        Say::Json(
            200,
            json!({"success": true, "competitionId": "finals", "held": held}),
        )
    };
    let on_air = |on_air: bool| {
        Say::Json(
            200,
            json!({"success": true, "competitionId": "finals", "vmId": "vm-1", "onAir": on_air}),
        )
    };
    let moving = |to: Value| {
        Say::Json(
            200,
            json!({"success": true, "competitionId": "finals", "epoch": 4, "fromVmId": "vm-1",
            "toVmId": to}),
        )
    };
    const FAILOVER: &str = "POST /api/competitions/finals/vm/failover";
    const HOLD: &str = "POST /api/competitions/finals/vm/hold";
    let server = Server::start([
        (FAILOVER, vec![moving(json!("vm-2")), moving(json!(null))]),
        (HOLD, vec![held(true), held(false), held(false)]),
        ("POST /api/competitions/finals/show/start", vec![on_air(true)]),
        ("POST /api/competitions/finals/show/stop", vec![on_air(false)]),
    ])
    .await;
    let says = [
        (
            &["failover", "finals", "--to", "vm-2"][..],
            "finals moves from vm-1 to vm-2, epoch 4\n",
        ),
        (
            &["failover", "finals"],
            "finals leaves vm-1 as soon as there is a spare, epoch 4\n",
        ),
        (
            &["hold", "finals"],
            "finals is held: it is not moved unless you say so with `understudy failover finals`\n",
        ),
        (
            &["hold", "finals", "--off"],
            "finals is moved by itself again if its VM fails\n",
        ),
        (
            &["resume", "finals"],
            "finals is moved by itself again if its VM fails\n",
        ),
        (&["show", "start", "finals"], "finals is on air from vm-1\n"),
        (&["show", "stop", "finals"], "finals is off air; it keeps vm-1\n"),
    ];
    for (arguments, says) in says {
        assert_eq!(ask(&server, arguments).await.answer(), says, "{arguments:?}");
    }
    let bodies = |line| server.seen(line).iter().map(Request::json).collect::<Vec<_>>();
    assert_eq!(bodies(FAILOVER), [json!({"to": "vm-2"}), json!({})]);
    assert_eq!(
        bodies(HOLD),
        [
            json!({"held": true}),
            json!({"held": false}),
            json!({"held": false})
        ]
    );
}

#[tokio::test]
async fn work_on_a_vm_is_posted_and_told() {
    let power = |message: &str| {
        let body =
            json!({"success": true, "vmId": "vm-1", "instanceId": "i-1", "message": message, "instance": {}});
        vec![Say::Json(200, body)]
    };
    let status = |status: &str| Say::Json(200, json!({"success": true, "vmId": "vm-1", "status": status}));
    const PATH: &str = "POST /api/admin/vm-pool";
    let server = Server::start([
        (&format!("{PATH}/vm-1/start"), power("VM vm-1 is starting")),
        (&format!("{PATH}/vm-1/stop"), power("VM vm-1 is stopping")),
        (&format!("{PATH}/vm-1/reboot"), power("VM vm-1 is rebooting")),
        (
            "DELETE /api/admin/vm-pool/vm-1",
            power("Instance i-1 is being terminated"),
        ),
        (&format!("{PATH}/launch"), power("Instance i-1 was launched")),
        (
            &format!("{PATH}/vm-1/maintenance"),
            vec![status("maintenance"), status("available")],
        ),
    ])
    .await;
    for (arguments, says) in [
        (&["vm", "start", "vm-1"][..], "VM vm-1 is starting\n"),
        (&["vm", "stop", "vm-1"], "VM vm-1 is stopping\n"),
        (&["vm", "reboot", "vm-1", "--force"], "VM vm-1 is rebooting\n"),
        (
            &["vm", "terminate", "vm-1"],
            "vm-1: Instance i-1 is being terminated\n",
        ),
        (
            &[
                "vm",
                "launch",
                "--name",
                "cam",
                "--type",
                "c5.xlarge",
                "--tag",
                "a=b=c",
            ],
            "vm-1: Instance i-1 was launched\n",
        ),
        (
            &["vm", "maintenance", "vm-1", "--reason", "new disk"],
            "vm-1 is maintenance now\n",
        ),
        (&["vm", "maintenance", "vm-1", "--off"], "vm-1 is available now\n"),
    ] {
        assert_eq!(ask(&server, arguments).await.answer(), says, "{arguments:?}");
    }
    let body = |line: &str, nth: usize| server.seen(&format!("{PATH}{line}"))[nth].json();
    assert_eq!(body("/vm-1/reboot", 0), json!({"force": true}));
    assert_eq!(
        body("/launch", 0),
        json!({"name": "cam", "instanceType": "c5.xlarge", "tags": {"a": "b=c"}})
    );
    assert_eq!(
        body("/vm-1/maintenance", 0),
        json!({"enabled": true, "reason": "new disk"})
    );
    assert_eq!(body("/vm-1/maintenance", 1), json!({"enabled": false}));
}

#[tokio::test]
async fn what_is_left_on_a_vm_is_archived_and_told() {
    let left = |more: Value| {
        let mut left = json!({"competitionId": "finals", "underWay": false, "tries": 1,
            "archive": {"bucket": "shows", "folder": "f/", "files": 0, "bytes": 0}});
        for (name, value) in more.as_object().unwrap() {
            left[name] = value.clone();
        }
        left
    };
    let going_on = json!({"underWay": true,
        "archiving": {"file": "a.mkv", "bytes": 5, "totalBytes": 9, "files": 0, "totalFiles": 1}});
    let failed = json!({"nextTryAt": 1_577_880_000_000_u64,
        "archive": {"bucket": "shows", "folder": "f/", "files": 0, "bytes": 0, "error": "no bucket"}});
    let answer = json!({"success": true, "vmId": "vm-1", "status": "error", "message": "it goes on",
        "unarchived": [left(going_on), left(failed.clone())]});
    let record = vm(
        "vm-1",
        "error",
        json!({"unarchived": [left(failed), left(json!({}))]}),
    );
    let server = Server::start([
        (
            "POST /api/admin/vm-pool/vm-1/archive",
            vec![Say::Json(202, answer)],
        ),
        ("GET /api/admin/vm-pool/vm-1", vec![Say::Json(200, record)]),
    ])
    .await;
    let run = ask(&server, &["vm", "archive", "vm-1"]).await;
    assert_eq!(
        run.stdout,
        "vm-1: recordings of finals, for shows/f/: being archived, 5 of 9 bytes\n\
         vm-1: recordings of finals, for shows/f/: no bucket; tried again at about 12:00:00\n"
    );
    assert!(run.stderr.contains("understudy vm show vm-1"), "{run:?}");
    let shown = ask(&server, &["vm", "show", "vm-1"]).await;
    let left = "recordings of finals, for shows/f/:";
    let first = format!("not archived    {left} no bucket; tried again at about 12:00:00");
    let second = format!(
        "{:16}recordings of finals, for shows/f/; not tried again by itself",
        ""
    );
    let lines: Vec<&str> = shown.answer().lines().collect();
    assert!(
        lines.windows(2).any(|pair| pair == [&first, &second]),
        "{}",
        shown.stdout
    );
}

#[tokio::test]
async fn a_check_fails_if_one_vm_is_not_healthy() {
    let result = |id: &str, healthy: bool| {
        json!({"vmId": id, "instanceId": "i", "publicIp": null, "healthy": healthy,
            "healthStatus": if healthy { "healthy" } else { "degraded" }, "services": {"node": true, "obs": healthy},
            "responseTime": 12, "timestamp": "2020-01-01T12:00:00.000Z"})
    };
    let answer = |results: Vec<Value>| {
        let healthy = results.iter().filter(|result| result["healthy"] == true).count();
        Say::Json(
            200,
            json!({"success": true, "total": results.len(), "healthy": healthy,
            "unhealthy": results.len() - healthy, "results": results}),
        )
    };
    const LINE: &str = "POST /api/admin/vm-pool/health-check";
    let says = vec![
        answer(vec![result("vm-1", true), result("vm-2", false)]),
        answer(vec![result("vm-1", true)]),
        answer(vec![]),
    ];
    let server = Server::start([(LINE, says)]).await;
    let all = ask(&server, &["vm", "check", "--reconcile"]).await;
    assert_eq!(all.status, Some(1));
    assert_eq!(
        all.stdout,
        "\
VM    HEALTH    SRV  OBS   TOOK
───────────────────────────────
vm-1  healthy   ●    ●    12 ms
vm-2  degraded  ●    ✗    12 ms
"
    );
    let one = ask(&server, &["vm", "check", "vm-1", "--json"]).await;
    assert_eq!(one.status, Some(0));
    assert_eq!(one.json()["healthy"], 1);
    let bodies: Vec<Value> = server.seen(LINE).iter().map(Request::json).collect();
    assert_eq!(
        bodies,
        [
            json!({"reconcile": true}),
            json!({"reconcile": false, "vmId": "vm-1"})
        ]
    );
    assert!(
        ask(&server, &["vm", "check"])
            .await
            .failed(5)
            .contains("no VM to check")
    );
}

#[tokio::test]
async fn vms_are_listed_by_status_and_shown_one_by_one() {
    let server = server().await;
    server.say(
        "GET /api/admin/vm-pool/vm-1",
        vec![Say::Json(
            200,
            vm(
                "vm-1",
                "in_use",
                json!({"assignedTo": "finals", "cleaning": {"competitionId": "cup", "clean": false, "took": 900,
                    "recordings": 2, "findings": [{"clean": true, "found": "its scenes were replaced"},
                    {"clean": false, "found": "a file\nstays"}]}}),
            ),
        )],
    );
    let list = ask(
        &server,
        &["vm", "list", "--status", "available", "--status", "stopped"],
    )
    .await;
    let names: Vec<&str> = list
        .answer()
        .lines()
        .skip(2)
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert_eq!(names, ["vm-33334444", "vm-77778888"]);
    let json = ask(&server, &["vm", "list", "--status", "stopped", "--json"])
        .await
        .json();
    assert_eq!(json.as_array().unwrap().len(), 1);

    let shown = ask(&server, &["vm", "show", "vm-1"]).await;
    for line in [
        "status          ▶ in use",
        "services        ● server up   ● OBS up",
        "checked         2020-01-01 11:59:57 (3 s ago)",
        "launched        2020-01-01 09:47:00 (2 h 13 min ago)",
        "tags            Name=cam, capability=[\"4k\"]",
        "cleaned         after show cup, 0.9 s",
        "                its scenes were replaced",
        "                NOT CLEAN: a file\u{fffd}stays",
        "                2 recordings stay on it",
    ] {
        assert!(
            shown.answer().lines().any(|shown| shown == line),
            "{line}\n{}",
            shown.stdout
        );
    }
}

#[tokio::test]
async fn moves_are_told_step_by_step() {
    let server = server().await;
    let line = "GET /api/competitions/finals/failovers";
    let forced = json!({"epoch": 2, "cause": "forced", "fromVmId": "vm-1", "toVmId": "vm-2", "summary": "",
        "beganAt": "2020-01-01T10:00:00.000Z", "ending": "moved", "endedAt": "2020-01-01T10:00:01.000Z",
        "timeline": {"detectMs": 0, "decideMs": 3, "fenceMs": 22, "restoreMs": 140, "verifyMs": null, "offAirMs": null}});
    let mut now = moving();
    // Of a move under way people are told how long it has taken, by the clock of their own machine.
    now["beganAt"] = json!("2999-01-01T00:00:00.000Z");
    let answer = json!({"competitionId": "finals", "current": null, "failovers": [moved(), forced]});
    server.say(
        line,
        vec![Say::Json(200, answer.clone()), Say::Json(200, answer.clone())],
    );
    let table = ask(&server, &["failovers", "finals"]).await;
    let expected = "\
EPOCH  BEGAN                CAUSE        FROM         TO           DETECT  DECIDE   FENCE  RESTORE  VERIFY  OFF AIR  ENDED   DIFFERS  FENCED BY      WHY
──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────
    3  2020-01-01 11:56:59  studio-lost  vm-0a1b2c3d  vm-e5f60718  0.21 s    4 ms  0.10 s   0.24 s  0.37 s   0.82 s  on air  in 1     studio-killed  OBS does not answer, the machine does
    2  2020-01-01 10:00:00  forced       vm-1         vm-2           0 ms    3 ms   22 ms   0.14 s       –        –  moved   –

Request by request, since it could not be made from a file:
epoch 3: the server has no SFTP

Not the same on the new VM:
epoch 3: input \"Cam 3\": monitoring type
epoch 3: monitoring of input \"Cam 3\"
";
    assert_eq!(table.answer(), expected);
    assert_eq!(
        ask(&server, &["failovers", "finals", "--json"]).await.json(),
        answer
    );

    server.say(
        line,
        vec![Say::Json(200, json!({"current": now, "failovers": []}))],
    );
    let under_way = ask(&server, &["failovers", "finals"]).await;
    assert!(under_way.answer().contains("fenced, restoring"), "{under_way:?}");
    server.say(
        line,
        vec![Say::Json(200, json!({"current": null, "failovers": []}))],
    );
    assert_eq!(
        ask(&server, &["failovers", "finals"]).await.answer(),
        "no move of finals is known; `understudy status` lists the shows\n"
    );
}

#[tokio::test]
async fn settings_are_read_and_changed() {
    const PATH: &str = "/api/admin/vm-pool/config";
    let config = json!({"warmCount": 3, "amiId": "ami-1", "maxInstances": 8});
    let unknown = json!({"error": "there is no setting warmCuont", "field": "warmCuont"});
    let server = Server::start([
        (&format!("GET {PATH}"), vec![Say::Json(200, config.clone())]),
        (
            &format!("PUT {PATH}"),
            vec![
                Say::Json(200, json!({"success": true, "config": config})),
                Say::Json(400, unknown),
            ],
        ),
    ])
    .await;
    assert_eq!(
        ask(&server, &["config", "get", "warmCount"]).await.answer(),
        "3\n"
    );
    assert_eq!(
        ask(&server, &["config", "get", "amiId", "--json"]).await.answer(),
        "\"ami-1\"\n"
    );
    assert_eq!(ask(&server, &["config", "get", "--json"]).await.json(), config);
    let set = ask(&server, &["config", "set", "warmCount=3", "amiId=ami-1"]).await;
    assert!(set.answer().contains("warmCount  3\n"), "{set:?}");
    assert!(!set.answer().contains("maxInstances"), "{set:?}");
    let put = format!("PUT {PATH}");
    assert_eq!(
        server.only(&put).json(),
        json!({"warmCount": 3, "amiId": "ami-1"})
    );

    let wrong = ask(&server, &["config", "set", "warmCuont=3"]).await;
    assert!(wrong.failed(2).contains("did you mean warmCount?"), "{wrong:?}");
    let wrong = ask(&server, &["config", "get", "warmCuont"]).await;
    assert!(wrong.failed(2).contains("did you mean warmCount?"), "{wrong:?}");
    let twice = ask(&server, &["config", "set", "a=1", "a=2"]).await;
    assert!(twice.failed(2).contains("a is given twice"), "{twice:?}");
}

#[tokio::test]
async fn the_server_and_the_token_come_from_the_environment_or_the_command_line() {
    let server = Server::start([(POOL, vec![Say::Json(200, pool())])]).await;
    let environment = [
        ("UNDERSTUDY_URL", "http://127.0.0.1:1"),
        ("UNDERSTUDY_TOKEN", "from-environment"),
    ];
    let url = server.url();
    let listed = run(&environment, &["vm", "list", "--server", &url]).await;
    listed.answer();
    assert_eq!(
        server.only(POOL).header("authorization"),
        Some("Bearer from-environment")
    );
    // Deployment tools leave empty variables behind.
    let bare = url.trim_start_matches("http://");
    let listed = run(&[("UNDERSTUDY_TOKEN", "")], &["vm", "list", "--server", bare]).await;
    listed.answer();
    assert_eq!(server.seen(POOL)[1].header("authorization"), None);
}
