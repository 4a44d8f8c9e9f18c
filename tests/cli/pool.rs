//! A pool with two shows, in the contract's words, as of [`crate::server::DATE`].

use serde_json::{Value, json};

use crate::server::{Say, Server};

pub const POOL: &str = "GET /api/admin/vm-pool";

pub fn vm(id: &str, status: &str, more: Value) -> Value {
    let mut vm = json!({
        "vmId": id, "instanceId": format!("i-0000{id}"), "name": format!("cam-{id}"), "status": status,
        "instanceType": "t3.large", "availabilityZone": "us-east-1a", "ec2State": "running",
        "publicIp": "203.0.113.7", "vmAddress": "203.0.113.7:3003", "launchTime": "2020-01-01T09:47:00.000Z",
        "lastStateChange": "2020-01-01T11:00:00.000Z", "lastHealthCheck": "2020-01-01T11:59:57.000Z",
        "lastHealthCheckMs": 1_577_879_997_000_u64, "createdAt": 1, "totalAssignments": 2, "healthStatus": "healthy",
        "services": {"node": true, "obs": true, "uptime": 4000.5, "version": "1.4.0",
            "nodeServer": {"running": true, "port": 3003, "lastChecked": 1}},
        "tags": {"Name": "cam", "capability": ["4k"]},
    });
    for (name, value) in more.as_object().unwrap() {
        vm[name] = value.clone();
    }
    vm
}

fn off(id: &str, status: &str, state: &str) -> Value {
    let mut vm = vm(id, status, json!({"ec2State": state, "healthStatus": "unknown"}));
    for absent in [
        "publicIp",
        "vmAddress",
        "services",
        "lastHealthCheck",
        "lastHealthCheckMs",
    ] {
        vm.as_object_mut().unwrap().remove(absent);
    }
    vm
}

/// One on air, one that was left because its studio crashed, one spare, one starting, one off.
pub fn pool() -> Value {
    let vms = [
        vm(
            "vm-e5f60718",
            "in_use",
            json!({"assignedTo": "finals", "epoch": 3}),
        ),
        vm(
            "vm-0a1b2c3d",
            "error",
            json!({
                "publicIp": "203.0.113.8", "vmAddress": "203.0.113.8:3003", "healthStatus": "degraded", "services": {"node": true, "obs": false},
                "errorReason": "OBS crashed while finals was on air", "previousStatus": "in_use",
            }),
        ),
        vm(
            "vm-33334444",
            "available",
            json!({"publicIp": "203.0.113.9", "vmAddress": "10.0.0.9:3003"}),
        ),
        off("vm-55556666", "starting", "pending"),
        off("vm-77778888", "stopped", "stopped"),
    ];
    let config = json!({"warmCount": 2, "maxInstances": 8, "maxConcurrent": 4, "servicePort": 3003});
    let counts = json!({
        "total": 5, "available": 1, "assigned": 0, "inUse": 1, "stopped": 1, "starting": 1, "stopping": 0,
        "error": 1, "releasing": 0, "maintenance": 0,
    });
    json!({
        "initialized": true, "vms": vms, "config": config, "poolConfig": config, "counts": counts, "summary": counts,
        "seq": 41,
    })
}

pub fn assignment() -> Value {
    json!({
        "competitionId": "finals", "vmId": "vm-e5f60718", "instanceId": "i-0000vm-e5f60718",
        "publicIp": "203.0.113.7", "vmAddress": "203.0.113.7:3003", "status": "in_use", "services": null,
        "epoch": 3, "phase": "on_air", "held": false, "streamWanted": true,
    })
}

pub fn moved() -> Value {
    json!({
        "epoch": 3, "cause": "studio-lost", "fromVmId": "vm-0a1b2c3d", "toVmId": "vm-e5f60718",
        "summary": "OBS does not answer, the machine does", "suspectedAt": "2020-01-01T11:56:59.000Z",
        "decidedAt": "2020-01-01T11:56:59.212Z", "lastOutputAt": "2020-01-01T11:56:59.000Z",
        "beganAt": "2020-01-01T11:56:59.213Z", "chosenAt": "2020-01-01T11:56:59.216Z", "fence": "studio-killed",
        "fencedAt": "2020-01-01T11:56:59.321Z", "restoredAt": "2020-01-01T11:56:59.456Z",
        "differences": ["input \"Cam 3\": monitoring type"],
        "restoredBy": "requests", "notByFile": "the server has no SFTP",
        "comparison": {"at": "2020-01-01T11:57:00.129Z", "differences": ["monitoring of input \"Cam 3\""]}, "publishingAt": "2020-01-01T11:56:59.460Z",
        "ending": "on-air", "endedAt": "2020-01-01T11:56:59.829Z",
        "timeline": {"detectMs": 212, "decideMs": 4, "fenceMs": 105, "restoreMs": 240, "verifyMs": 373, "offAirMs": 829},
    })
}

pub fn moving() -> Value {
    let mut moving = moved();
    for (name, value) in [
        ("epoch", json!(4)),
        ("fromVmId", json!("vm-e5f60718")),
        ("toVmId", json!("vm-33334444")),
        ("restoredAt", json!(null)),
        ("publishingAt", json!(null)),
        ("differences", json!([])),
        ("restoredBy", json!(null)),
        ("notByFile", json!(null)),
        ("comparison", json!(null)),
        ("ending", json!(null)),
        ("endedAt", json!(null)),
        ("timeline", json!(null)),
    ] {
        moving[name] = value;
    }
    moving
}

/// A server that has this pool.
pub async fn server() -> Server {
    let failovers = json!({"competitionId": "finals", "current": null, "failovers": [moved()]});
    Server::start([
        (POOL, vec![Say::Json(200, pool())]),
        (
            "GET /api/competitions/finals/vm",
            vec![Say::Json(200, assignment())],
        ),
        (
            "GET /api/competitions/finals/failovers",
            vec![Say::Json(200, failovers)],
        ),
        (
            "GET /api/coordinator/status",
            vec![Say::Json(
                200,
                json!({"version": "0.1.0", "uptime": 8000, "connectedClients": 2}),
            )],
        ),
        (
            "GET /readyz",
            vec![Say::Json(
                200,
                json!({"ready": true, "initialized": true, "ledger": "ok", "cloud": "connected",
                "stopping": false}),
            )],
        ),
    ])
    .await
}
