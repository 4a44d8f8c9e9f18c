//! A show goes on air, and a picture arrives.

use serde_json::Value;

use crate::ingest::Ingest;
use crate::program::run;
use crate::rig::{Rig, key};

#[tokio::test(flavor = "multi_thread")]
async fn a_show_on_air_is_a_moving_picture_at_the_ingest() {
    let rig = Rig::start(1).await;
    let instance = &rig.instances[0];
    rig.go_on_air("finals", instance).await;
    let address = rig.address(instance).await;
    assert_eq!(rig.ingest.publishers(), [address]);

    let url = Ingest::player_url(&key("finals"), address);
    let stream = probe(&url).await;
    assert_eq!(
        (&stream["width"], &stream["height"]),
        (&320.into(), &180.into()),
        "{stream}"
    );
    let pictures = pictures(&url).await;
    let mut different = pictures.clone();
    different.sort();
    different.dedup();
    assert!(
        different.len() > pictures.len() / 2,
        "it does not move: {pictures:?}"
    );
    rig.end().await;
}

/// What a player finds out about the video.
async fn probe(url: &str) -> Value {
    let words = [
        "-v",
        "error",
        "-select_streams",
        "v",
        "-show_streams",
        "-of",
        "json",
        url,
    ];
    let found: Value = serde_json::from_str(&run("ffprobe", &words).await).unwrap();
    found["streams"][0].clone()
}

/// Check sums of a second and a half of pictures, as a player shows them.
async fn pictures(url: &str) -> Vec<String> {
    let words = [
        "-nostdin",
        "-v",
        "error",
        "-i",
        url,
        "-map",
        "0:v",
        "-frames:v",
        "15",
        "-f",
        "framemd5",
        "-",
    ];
    let sums = run("ffmpeg", &words).await;
    let sums = sums.lines().filter(|line| !line.starts_with('#'));
    sums.map(|line| line.rsplit(' ').next().unwrap_or_default().to_owned())
        .collect()
}
