//! A coordinator whose show has failed over, and on whose VM a command was run.

use std::time::Duration;

use understudy::config::Config;
use understudy::domain::ids::{InstanceId, ShowId};
use understudy::rehearsal::stage::{Setting, Stage, stream_key};
use understudy::sim::model::fault::Fault;
use understudy::sim::world::WorldConfig;

use crate::served::{Served, open};

/// Every part has had something to do. The show that is on air is called `finals`.
pub async fn played() -> Served {
    let mut base = Config::default();
    base.pool.warm_count = 0;
    base.pool.max_instances = 10;
    base.pool.health_check_interval = Duration::from_secs(1);
    base.cloud.sweep_interval = Duration::from_secs(1);
    base.metrics.vm_interval = Duration::from_secs(1);
    let world = WorldConfig::for_test(3, 1);
    let stage = Stage::set(Setting { world, base }).await.unwrap();
    let served = Served::over(stage, open()).await;
    served.until_available(3).await;
    let show = ShowId::new("finals").unwrap();
    let assigned = served
        .post("/api/competitions/finals/vm/assign?wait=30")
        .await
        .is(200);
    let instance = InstanceId::new(assigned["instanceId"].as_str().unwrap()).unwrap();
    let machine = served.stage.machine(&instance).unwrap();
    machine.load_example_studio(&stream_key(&show)).unwrap();
    served
        .until("the studio is captured", |state| {
            state.show(&show)?.studio.clone()
        })
        .await;
    served.post("/api/competitions/finals/show/start").await.is(200);

    served.stage.world.fault(&instance, Fault::StudioCrash).unwrap();
    let vm = served
        .until("the show is on air again", |state| {
            let show = state.show(&show)?;
            (show.records.len() == 1).then(|| show.vm.clone())?
        })
        .await;
    let path = format!("/api/admin/vm-pool/{vm}/system-info");
    served.get(&path).await.is(200);
    served.post("/api/competitions/trial/vm/assign").await.is(200);
    served.post("/api/competitions/trial/vm/release").await.is(200);
    served.get("/no/such/route").await.is(404);
    served
        .until("it is known how busy its machine is", |_| {
            let seen = served.coordinator.board().latest(&vm);
            seen.load.as_ref().and_then(|(load, _)| load.processor)
        })
        .await;
    served
}

/// What is served at `/metrics` now.
pub async fn text(served: &Served) -> String {
    let request = served.request(reqwest::Method::GET, "/metrics");
    let response = request.send().await.unwrap().error_for_status().unwrap();
    response.text().await.unwrap()
}
