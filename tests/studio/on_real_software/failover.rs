//! What a show is on air from fails, in every way there is. It is on air from the spare with the studio that it had,
//! and never from both.

use serde_json::Value;

use crate::report;
use crate::rig::Rig;

/// A show on air on the first of two machines.
async fn on_air() -> (Rig, Value) {
    let rig = Rig::start(2).await;
    rig.go_on_air("finals", &rig.instances[0]).await;
    let studio = rig.studio(&rig.instances[0]).await;
    (rig, studio)
}

/// The show is on the spare with the studio that it had. Gives the cause of the move and how the old VM was fenced.
async fn moved(rig: Rig, fault: &str, studio: Value) -> (String, String) {
    let from = rig.instances[0].clone();
    let to = rig.until_moved("finals", &from).await;
    assert_eq!(to, rig.instances[1]);
    let failovers = rig.coordinator.failovers("finals").await;
    let [failover] = <[Value; 1]>::try_from(failovers).expect("one failover");
    assert_eq!(failover["ending"], "on-air", "{failover}");
    report::failover(&rig, fault, &from, &to, &failover).await;
    let restored = rig.studio(&to).await;
    assert_eq!(restored["program"], studio["program"]);
    for part in ["scenes", "inputs", "stream"] {
        assert_eq!(restored[part], studio[part], "{part}");
    }
    assert_eq!(
        failover["differences"].as_array().map(Vec::len),
        Some(0),
        "{failover}"
    );
    rig.end().await;
    let word = |name: &str| failover[name].as_str().unwrap_or_default().to_owned();
    (word("cause"), word("fence"))
}

fn pair(cause: &str, fence: &str) -> (String, String) {
    (cause.to_owned(), fence.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_show_is_on_air_from_the_spare_after_its_obs_is_killed() {
    let (rig, studio) = on_air().await;
    rig.fleet.machines().await[&rig.instances[0]]
        .signal_obs("-KILL")
        .await;
    let why = moved(rig, "obs-killed", studio).await;
    assert_eq!(why, pair("studio-lost", "studio-killed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_show_is_on_air_from_the_spare_after_its_obs_freezes() {
    let (rig, studio) = on_air().await;
    rig.fleet.machines().await[&rig.instances[0]]
        .signal_obs("-STOP")
        .await;
    let why = moved(rig, "obs-frozen", studio).await;
    assert_eq!(why, pair("studio-lost", "studio-killed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_show_is_on_air_from_the_spare_after_its_machine_is_cut_off() {
    let (rig, studio) = on_air().await;
    rig.fleet.machines().await[&rig.instances[0]].partition().await;
    let why = moved(rig, "machine-cut-off", studio).await;
    assert_eq!(why, pair("machine-lost", "machine-off"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_show_is_on_air_from_the_spare_after_its_instance_is_stopped() {
    let (rig, studio) = on_air().await;
    rig.moto.stop_instance(&rig.instances[0]).await;
    // Whether the silence of the studio is noticed first, or the cloud's word, is chance.
    let (_, fence) = moved(rig, "instance-stopped", studio).await;
    assert_eq!(fence, "machine-off");
}
