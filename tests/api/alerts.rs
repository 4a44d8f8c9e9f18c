//! Alerts that are asked for.

use understudy::domain::ids::InstanceId;
use understudy::sim::model::fault::Fault;

use crate::served::Served;
use crate::shows::set_up;

const ALERTS: &str = "/api/admin/alerts";

#[tokio::test(flavor = "multi_thread")]
async fn alerts_that_have_rung_are_told_once_to_who_asks_for_the_next_ones() {
    let served = Served::with(2, 0).await;
    let quiet = served.get(ALERTS).await.is(200);
    assert_eq!(quiet["alerts"].as_array().unwrap().len(), 0);
    assert!(quiet["startedAt"].as_u64().unwrap() > 0);
    set_up(&served).await;
    served.post("/api/competitions/finals/show/start").await.is(200);
    let view = served.get("/api/competitions/finals/vm").await.is(200);
    let instance = InstanceId::new(view["instanceId"].as_str().unwrap()).unwrap();
    served.stage.world.fault(&instance, Fault::StudioCrash).unwrap();
    served
        .until("the show was moved", |state| {
            state.shows().any(|show| !show.records.is_empty()).then_some(())
        })
        .await;
    let told = served.get(ALERTS).await.is(200);
    let first = &told["alerts"][0];
    assert_eq!(first["title"], "Failover started");
    assert_eq!(first["sourceId"], "vm-failover-finals");
    assert_eq!(
        (&first["level"], &first["number"]),
        (&"critical".into(), &1.into())
    );
    assert_eq!(first["competitionId"], "finals");
    let next = told["next"].as_u64().unwrap();
    let newer = served.get(&format!("{ALERTS}?after={next}")).await.is(200);
    let numbers = newer["alerts"].as_array().unwrap().iter();
    assert!(numbers.clone().all(|alert| alert["number"].as_u64() > Some(next)));
    for bad in ["-1", "x", "1.5", ""] {
        let refused = served.get(&format!("{ALERTS}?after={bad}")).await.is(400);
        assert_eq!(refused["field"], "after", "{bad}");
    }
    served.stop().await;
}
