//! Which event an item of news is to Socket.IO clients. Pure.
//!
//! | news | event |
//! |---|---|
//! | a VM was looked at | `vmHealthUpdate` |
//! | the warm target was seen to | `vmPoolMaintenance` |
//! | recordings are on their way | `archiveProgress` |
//! | an alert | `alertCreated`, to the competition it is about |
//! | a file to or from a VM has moved on | `fileProgress`, to administrators |

use serde_json::{Value, json};

use super::events::{Audience, Told};
use crate::actors::archive::Progress;
use crate::actors::board::Board;
use crate::actors::news::{Alert, Item, Level};
use crate::api::project::{self, Reach};
use crate::api::types::Iso;
use crate::api::types::alert::level_word;
use crate::domain::ids::{Seq, ShowId, VmId};

/// The event of one item of news. Shutting down is told by whoever closes the sockets, once.
#[must_use]
pub fn event_of(item: &Item, seq: Seq, board: &Board, reach: Reach, alert_number: u64) -> Option<Told> {
    let everybody = |name, payload| {
        Some(Told {
            name,
            to: Audience::Everybody,
            payload,
        })
    };
    match item {
        Item::Checked {
            vm,
            health,
            reading,
            response_time,
            at,
        } => {
            let seen = board.latest(vm);
            let seen = crate::actors::board::Observation {
                reading: *reading,
                checked_at: Some(*at),
                ..seen.as_ref().clone()
            };
            let payload = json!({
                "vmId": vm.as_str(),
                "healthStatus": project::health_word(*health),
                "services": project::services(&seen, reach),
                "responseTime": response_time.map(crate::domain::time::millis),
                "timestamp": Iso(*at).to_string(),
                "seq": seq.0,
            });
            everybody("vmHealthUpdate", payload)
        }
        Item::Replenished {
            warm_before,
            warm_target,
            results,
        } => {
            let results: Vec<Value> = results
                .iter()
                .map(|(vm, result)| start_result(vm, result))
                .collect();
            let payload = json!({
                "warmVMsBefore": warm_before,
                "warmVMsTarget": warm_target,
                "startedCount": results.iter().filter(|result| result["success"] == true).count(),
                "results": results,
                "seq": seq.0,
            });
            everybody("vmPoolMaintenance", payload)
        }
        Item::Archiving(progress) => everybody("archiveProgress", archive_progress(progress, seq)),
        Item::Alert(alert) => Some(alert_created(alert, seq, alert_number)),
        Item::Transferred(far) => Some(Told {
            name: "fileProgress",
            to: Audience::Admins,
            payload: json!({
                "id": far.id.to_string(),
                "vmId": far.vm.as_str(),
                "path": far.path.as_str(),
                "direction": if far.is_upload { "upload" } else { "download" },
                "bytes": far.bytes,
                "totalBytes": far.bytes_total,
                "done": far.done,
            }),
        }),
        Item::ShuttingDown { .. } => None,
    }
}

fn archive_progress(progress: &Progress, seq: Seq) -> Value {
    json!({
        "competitionId": progress.show.as_str(),
        "vmId": progress.vm.as_str(),
        "file": progress.file,
        "bytes": progress.bytes,
        "totalBytes": progress.total_bytes,
        "files": progress.files,
        "totalFiles": progress.total_files,
        "seq": seq.0,
    })
}

fn start_result(vm: &VmId, result: &Result<(), String>) -> Value {
    match result {
        Ok(()) => json!({"vmId": vm.as_str(), "success": true}),
        Err(error) => json!({"vmId": vm.as_str(), "success": false, "error": error}),
    }
}

fn alert_created(alert: &Alert, seq: Seq, number: u64) -> Told {
    let level = level_word(alert.level);
    let auto_resolve = alert.level != Level::Info;
    let competition = alert.show.as_ref().map_or("_pool", ShowId::as_str);
    let vm = alert.vm.as_ref().map(VmId::as_str);
    let mut record = json!({
        "id": format!("alert_{}_{number}", alert.at.0),
        "competitionId": competition,
        "level": level,
        "category": if alert.source.starts_with("obs-") { "obs" } else { "vm" },
        "title": alert.title,
        "message": alert.message,
        "createdAt": Iso(alert.at).to_string(),
        "timestamp": alert.at.0,
        "sourceId": alert.source,
        "metadata": {},
        "acknowledged": false,
        "resolved": false,
        "autoResolved": false,
        "autoResolve": auto_resolve,
    });
    if let Some(vm) = vm {
        record["vmId"] = vm.into();
        record["metadata"]["vmId"] = vm.into();
    }
    let to = alert.show.clone().map_or(Audience::Everybody, Audience::Show);
    let payload = json!({"competitionId": competition, "alert": record, "seq": seq.0});
    Told {
        name: "alertCreated",
        to,
        payload,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::actors::context::AddressKind;
    use crate::domain::time::Timestamp;
    use crate::domain::vm::Health;

    fn vm(name: &str) -> VmId {
        VmId::new(name).unwrap()
    }

    fn finals() -> ShowId {
        ShowId::new("finals").unwrap()
    }

    fn told(item: &Item) -> Told {
        let reach = Reach {
            address: AddressKind::Private,
            server: 3003,
            obs: 4455,
            no_machine: 4000,
        };
        event_of(item, Seq(9), &Board::default(), reach, 3).unwrap()
    }

    #[test]
    fn how_far_an_archive_is_is_told() {
        let item = &Item::Archiving(Progress {
            show: finals(),
            vm: vm("vm-a"),
            file: Some("a.mkv".into()),
            bytes: 5,
            total_bytes: 9,
            files: 1,
            total_files: 2,
        });
        let archiving = told(item);
        let expected = json!({
            "competitionId": "finals", "vmId": "vm-a", "file": "a.mkv", "bytes": 5, "totalBytes": 9, "files": 1, "totalFiles": 2,
            "seq": 9,
        });
        assert_eq!(
            (archiving.name, &archiving.payload),
            ("archiveProgress", &expected)
        );
    }

    #[test]
    fn a_check_a_replenishment_and_an_alert_are_told() {
        let checked = told(&Item::Checked {
            vm: vm("vm-a"),
            health: Health::Degraded,
            reading: crate::domain::health::Reading {
                node: Some(true),
                obs: Some(false),
                ssh: None,
            },
            response_time: Some(Duration::from_millis(7)),
            at: Timestamp(5),
        });
        assert_eq!(checked.name, "vmHealthUpdate");
        assert_eq!(checked.payload["healthStatus"], "degraded");
        assert_eq!(checked.payload["services"]["obs"], false);
        assert_eq!(
            (&checked.payload["responseTime"], &checked.payload["seq"]),
            (&json!(7), &json!(9))
        );

        let results = vec![(vm("vm-b"), Ok(())), (vm("vm-c"), Err("no capacity".to_owned()))];
        let kept = told(&Item::Replenished {
            warm_before: 0,
            warm_target: 2,
            results,
        });
        let expected = json!({
            "warmVMsBefore": 0, "warmVMsTarget": 2, "startedCount": 1, "seq": 9,
            "results": [
                {"vmId": "vm-b", "success": true},
                {"vmId": "vm-c", "success": false, "error": "no capacity"},
            ],
        });
        assert_eq!((kept.name, &kept.payload), ("vmPoolMaintenance", &expected));

        let mut alert = Alert {
            level: Level::Critical,
            source: "vm-failover-finals".into(),
            title: "Failover".into(),
            message: "finals is being moved".into(),
            show: Some(finals()),
            vm: Some(vm("vm-a")),
            at: Timestamp(5),
        };
        let raised = told(&Item::Alert(alert.clone()));
        assert_eq!(
            (raised.name, raised.to),
            ("alertCreated", Audience::Show(finals()))
        );
        let record = &raised.payload["alert"];
        assert_eq!(
            (&record["id"], &record["level"]),
            (&json!("alert_5_3"), &json!("critical"))
        );
        assert_eq!(
            (&record["vmId"], &record["metadata"]["vmId"]),
            (&json!("vm-a"), &json!("vm-a"))
        );
        (alert.show, alert.vm) = (None, None);
        let raised = told(&Item::Alert(alert));
        assert_eq!(
            (raised.to, &raised.payload["competitionId"]),
            (Audience::Everybody, &json!("_pool"))
        );
        assert_eq!(raised.payload["alert"].get("vmId"), None);
    }
}
