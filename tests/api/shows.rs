//! A competition on air through the API: stream, hold, failover and what is remembered of it.

use serde_json::{Value, json};
use understudy::domain::ids::{InstanceId, ShowId};
use understudy::domain::show::Phase;
use understudy::domain::studio::Secret;
use understudy::domain::vm::Status;
use understudy::rehearsal::stage::stream_key;

use crate::served::Served;

const SHOW: &str = "/api/competitions/finals";

fn finals() -> ShowId {
    ShowId::new("finals").unwrap()
}

/// Assigns a VM and sets its studio up as a producer would in OBS.
pub async fn set_up(served: &Served) -> String {
    let assigned = served.post(&format!("{SHOW}/vm/assign?wait=30")).await.is(200);
    let instance = InstanceId::new(assigned["instanceId"].as_str().unwrap()).unwrap();
    let key = stream_key(&finals());
    served
        .stage
        .machine(&instance)
        .unwrap()
        .load_example_studio(&key)
        .unwrap();
    let key = Secret::new(key);
    served
        .until("the studio is captured", |_| {
            served.coordinator.streams_under(&finals(), &key).then_some(())
        })
        .await;
    assigned["vmId"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_show_goes_on_air_and_off_again() {
    let served = Served::with(1, 0).await;
    served
        .post(&format!("{SHOW}/show/start"))
        .await
        .refuses(404, "NOT_ASSIGNED");
    let vm = set_up(&served).await;
    let started = served.post(&format!("{SHOW}/show/start")).await.is(200);
    let expected = json!({"success": true, "competitionId": "finals", "vmId": vm, "onAir": true});
    assert_eq!(started, expected);
    let view = served.get(&format!("{SHOW}/vm")).await.is(200);
    assert_eq!(
        (&view["status"], &view["phase"], &view["streamWanted"]),
        (&json!("in_use"), &json!("on_air"), &json!(true))
    );
    let stopped = served.post(&format!("{SHOW}/show/stop")).await.is(200);
    assert_eq!(stopped["onAir"], false);
    served
        .until("it is off air", |state| {
            (state.count(Status::Assigned) == 1).then_some(())
        })
        .await;
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_moves_a_show_and_reads_how_it_went() {
    let served = Served::with(2, 0).await;
    served
        .post(&format!("{SHOW}/vm/failover"))
        .await
        .refuses(404, "NOT_ASSIGNED");
    let nothing = served.get(&format!("{SHOW}/failovers")).await.is(200);
    assert_eq!(
        nothing,
        json!({"competitionId": "finals", "current": null, "failovers": []})
    );
    let from = set_up(&served).await;
    served.post(&format!("{SHOW}/show/start")).await.is(200);
    let to = served.a_vm(Status::Available);

    let unknown = served
        .post_json(&format!("{SHOW}/vm/failover"), &json!({"to": "vm-nowhere"}))
        .await;
    unknown.refuses(404, "VM_NOT_FOUND");
    let illegal = served
        .post_json(&format!("{SHOW}/vm/failover"), &json!({"to": "a/b"}))
        .await
        .is(400);
    assert_eq!(illegal["field"], "to");

    let moving = served
        .post_json(&format!("{SHOW}/vm/failover"), &json!({"to": to}))
        .await
        .is(200);
    assert_eq!(
        (&moving["success"], &moving["fromVmId"], &moving["toVmId"]),
        (&json!(true), &json!(from), &json!(to))
    );
    assert_eq!(moving["epoch"], 2);
    served
        .until("it is on air elsewhere", |state| {
            let show = state.show(&finals())?;
            (show.phase == Phase::OnAir && show.vm.as_ref()?.as_str() == to).then_some(())
        })
        .await;
    let view = served.get(&format!("{SHOW}/vm")).await.is(200);
    assert_eq!(
        (&view["vmId"], &view["status"], &view["epoch"]),
        (&json!(to), &json!("in_use"), &json!(2))
    );

    let told = served.get(&format!("{SHOW}/failovers")).await.is(200);
    assert_eq!(told["current"], Value::Null);
    let record = &told["failovers"][0];
    assert_eq!(
        (&record["cause"], &record["ending"], &record["epoch"]),
        (&json!("forced"), &json!("on-air"), &json!(2))
    );
    assert_eq!(
        (&record["fromVmId"], &record["toVmId"]),
        (&json!(from), &json!(to))
    );
    assert!(record["beganAt"].as_str().unwrap().ends_with('Z'));
    for step in [
        "detectMs",
        "decideMs",
        "fenceMs",
        "restoreMs",
        "verifyMs",
        "offAirMs",
    ] {
        assert!(record["timeline"][step].is_u64(), "{step}: {record:#}");
    }
    served
        .until("its studio compared", |state| {
            state
                .show(&finals())?
                .records
                .last()?
                .comparison
                .as_ref()
                .map(drop)
        })
        .await;
    let told = served.get(&format!("{SHOW}/failovers")).await.is(200);
    let found = &told["failovers"][0]["comparison"];
    assert!(found["at"].as_str().unwrap().ends_with('Z'), "{found}");
    assert!(found["differences"].is_array(), "{found}");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_show_is_held_and_let_go() {
    let served = Served::with(1, 0).await;
    served
        .post_json(&format!("{SHOW}/vm/hold"), &json!({"held": true}))
        .await
        .refuses(404, "NOT_ASSIGNED");
    served.post(&format!("{SHOW}/vm/assign")).await.is(200);
    for held in [true, false] {
        let answer = served
            .post_json(&format!("{SHOW}/vm/hold"), &json!({"held": held}))
            .await
            .is(200);
        assert_eq!(
            answer,
            json!({"success": true, "competitionId": "finals", "held": held})
        );
        assert_eq!(served.get(&format!("{SHOW}/vm")).await.is(200)["held"], held);
    }
    for bad in [json!({}), json!({"held": "yes"}), json!({"held": null})] {
        let refused = served.post_json(&format!("{SHOW}/vm/hold"), &bad).await;
        assert_eq!(refused.body["field"], "held", "{bad}");
        refused.is(400);
    }
    served.stop().await;
}

/// Their ids, in the order in which they are told.
fn ids(page: &Value) -> Vec<&str> {
    let shows = page["shows"].as_array().unwrap();
    shows
        .iter()
        .map(|show| show["competitionId"].as_str().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_show_is_listed_with_what_it_goes_through() {
    let served = Served::with(3, 0).await;
    let none = served.get("/api/shows").await.is(200);
    assert_eq!((&none["shows"], &none["next"]), (&json!([]), &Value::Null));

    let vm = set_up(&served).await;
    served.post(&format!("{SHOW}/show/start")).await.is(200);
    for show in ["heats", "gala"] {
        let path = format!("/api/competitions/{show}/vm/assign");
        served.post(&path).await.is(200);
    }
    let hold = json!({"held": true});
    served
        .post_json("/api/competitions/heats/vm/hold", &hold)
        .await
        .is(200);
    served.post("/api/competitions/gala/vm/release").await.is(200);

    let listed = served.get("/api/shows").await.is(200);
    assert_eq!(ids(&listed), ["finals", "gala", "heats"]);
    assert_eq!(listed["next"], Value::Null);
    assert_eq!(listed["seq"], served.coordinator.state().seq.0);
    let on_air = &listed["shows"][0];
    let record = served.get(&format!("/api/admin/vm-pool/{vm}")).await.is(200);
    let expected = json!({
        "competitionId": "finals", "phase": "on_air", "vmId": vm, "epoch": 1, "streamWanted": true, "held": false,
        "onAir": true, "assignedAt": record["assignedAt"],
    });
    assert_eq!(on_air, &expected);
    let idle = json!({
        "competitionId": "gala", "phase": "idle", "vmId": null, "epoch": 1, "streamWanted": false, "held": false,
        "onAir": false, "assignedAt": null,
    });
    assert_eq!(listed["shows"][1], idle);
    let off_air = &listed["shows"][2];
    assert_eq!(
        (&off_air["phase"], &off_air["held"], &off_air["onAir"]),
        (&json!("off_air"), &json!(true), &json!(false))
    );
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shows_are_listed_by_pages_that_neither_skip_nor_repeat() {
    let served = Served::with(1, 0).await;
    let all = ["a", "b", "c", "d", "e"];
    for show in all {
        let path = format!("/api/competitions/{show}/vm");
        served.post(&format!("{path}/assign")).await.is(200);
        served.post(&format!("{path}/release")).await.is(200);
    }
    let (mut seen, mut path) = (Vec::new(), "/api/shows?limit=2".to_owned());
    let mut sizes = Vec::new();
    loop {
        let page = served.get(&path).await.is(200);
        sizes.push(ids(&page).len());
        seen.extend(ids(&page).into_iter().map(str::to_owned));
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/api/shows?limit=2&after={next}");
    }
    assert_eq!(seen, all);
    assert_eq!(sizes, [2, 2, 1]);
    // A page that ends with the last one is the last one.
    let page = served.get("/api/shows?limit=3&after=b").await.is(200);
    assert_eq!((ids(&page), &page["next"]), (vec!["c", "d", "e"], &Value::Null));
    // What it goes on after need not be there.
    let page = served.get("/api/shows?after=bb").await.is(200);
    assert_eq!(ids(&page), ["c", "d", "e"]);
    let page = served.get("/api/shows?after=z").await.is(200);
    assert_eq!((ids(&page), &page["next"]), (vec![], &Value::Null));
    for (query, field) in [
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("limit=1&limit=2", "limit"),
        ("after=a%2Fb", "after"),
    ] {
        let refused = served.get(&format!("/api/shows?{query}")).await.is(400);
        assert_eq!(refused["field"], field, "{query}");
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_templates_of_shows_are_told_with_what_each_can_be_told() {
    let served = Served::with(0, 0).await;
    let told = served.get("/api/show-templates").await.is(200);
    let template = &told["templates"][0];
    assert_eq!(template["name"], "multi-camera");
    let cameras = &template["variables"]["cameras"];
    assert_eq!(
        (&cameras["kind"], &cameras["required"]),
        (&json!("list"), &json!(true))
    );
    assert_eq!(cameras["fields"]["port"]["max"], 65535.0);
    assert_eq!(template["variables"]["width"]["default"], 1920);
    served.stop().await;
}
