//! What never reaches the log, however much is asked of it.

use std::collections::BTreeSet;
use std::fs::File;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::json;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use understudy::config::Config;
use understudy::domain::ids::InstanceId;
use understudy::domain::studio::Secret;
use understudy::rehearsal::stage::{Setting, Stage};
use understudy::sim::world::WorldConfig;

use crate::live::interrupt;
use crate::program::DEADLINE;
use crate::real::Theatre;

/// Everything, and once more by name: a directive for a module goes before one for its crate.
const LOUDEST: &str = "trace,obws=trace,obws::client=trace,tungstenite=trace,tungstenite::protocol=trace,\
                       tungstenite::protocol::frame=trace,russh=trace,russh::client=trace,reqwest=trace,hyper=trace,\
                       hyper_util=trace";
const KEY: &str = "stream-key-9f27c1";
const PASSPHRASE: &str = "srt-passphrase-d41d8c";
const PASSWORD: &str = "obs-password-51be08";
const TOKEN: &str = "admin-token-c0ffee-77";

/// As text, and as libraries print bytes.
fn spellings(secret: &str) -> [String; 3] {
    let bytes: Vec<u8> = secret.bytes().collect();
    let hex = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    [
        secret.to_owned(),
        hex,
        format!("{bytes:?}").trim_matches(['[', ']']).to_owned(),
    ]
}

/// Connects as a browser does that has a token.
async fn sign_in(theatre: &Theatre) {
    let address = theatre.url.trim_start_matches("http://");
    let stream = TcpStream::connect(address).await.unwrap();
    let url = format!("ws://{address}/socket.io/?EIO=4&transport=websocket");
    let (mut socket, _) = tokio_tungstenite::client_async(url, stream).await.unwrap();
    let signed_in = async {
        socket.next().await.unwrap().unwrap();
        let connect = Message::text(format!("40{}", json!({"token": TOKEN})));
        socket.send(connect).await.unwrap();
        // Pings come in between.
        while !socket
            .next()
            .await
            .unwrap()
            .unwrap()
            .to_text()
            .unwrap()
            .starts_with("40")
        {}
    };
    tokio::time::timeout(DEADLINE, signed_in)
        .await
        .expect("no answer in time");
}

#[tokio::test]
async fn no_key_password_or_token_reaches_the_log_however_much_is_asked_of_it() {
    let world = WorldConfig {
        obs_password: Some(Secret::new(PASSWORD)),
        ..WorldConfig::for_test(2, 0)
    };
    let mut base = Config::default();
    base.pool.warm_count = 1;
    base.cloud.sweep_interval = Duration::from_secs(1);
    let stage = Stage::set(Setting { world, base }).await.unwrap();
    let path = stage.dir().join("log");
    let environment = [
        ("UNDERSTUDY__LOG__FILTER", LOUDEST),
        ("COORDINATOR_ADMIN_TOKEN", TOKEN),
    ];
    let log = File::create(&path).unwrap();
    let mut theatre = Theatre::on(stage, &environment, &[], log.into());
    theatre
        .until("two VMs are there", &["status"], "● 2 available")
        .await;
    sign_in(&theatre).await;
    let token = ["--token", TOKEN];
    let assigned = theatre
        .ask(&[&["assign", "finals", "--wait", "60", "--json"][..], &token].concat())
        .await
        .json();
    let instance = InstanceId::new(assigned["instanceId"].as_str().unwrap()).unwrap();
    let machine = theatre.stage.machine(&instance).unwrap();
    machine.load_example_studio(KEY).unwrap();
    machine.operate(|studio, _| {
        let scene = studio.collection().program;
        let url = format!("srt://camera:9001?passphrase={PASSPHRASE}");
        let settings = serde_json::Map::from_iter([("input".to_owned(), json!(url))]);
        studio
            .create_input(scene, "Remote", "ffmpeg_source", settings, true)
            .unwrap();
    });
    theatre.ask(&["show", "start", "finals"]).await.answer();
    // The key is read from one studio and written to another.
    theatre.ask(&["failover", "finals"]).await.answer();
    theatre
        .until("finals was moved", &["failovers", "finals"], "on air")
        .await;
    assert!(!theatre.stage.world.ingest().publishers(KEY).is_empty());

    interrupt(&theatre.coordinator).await;
    let ended = tokio::time::timeout(Duration::from_secs(60), theatre.coordinator.wait());
    assert!(ended.await.expect("it does not stop").unwrap().success());
    let log = std::fs::read_to_string(&path).unwrap();
    // The second is a library's, and comes by another way than ours.
    for told in [
        "DEBUG",
        "reqwest::connect",
        "understudy::api::front",
        "/api/competitions/finals/vm/assign",
    ] {
        assert!(log.contains(told), "this log says little: {told} is missing");
    }
    let mut leaks = BTreeSet::new();
    for secret in [KEY, PASSPHRASE, PASSWORD, TOKEN] {
        for spelling in spellings(secret) {
            let told = log.lines().filter(|line| line.contains(&spelling));
            // Who told it.
            leaks.extend(told.map(|line| (secret, line.split_whitespace().nth(2).unwrap_or(line))));
        }
    }
    assert_eq!(leaks, BTreeSet::new());
}
