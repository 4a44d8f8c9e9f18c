//! The inputs that fuzzing begins with (fuzz/corpus), played by every test run without a fuzzer: what was found once stays
//! mended, and what is to lead somewhere still does.

use std::fs;
use std::path::{Path, PathBuf};

#[path = "../fuzz/src/lib.rs"]
mod fuzz;

use http::StatusCode;

fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target)
}

fn input(target: &str, name: &str) -> String {
    let path = folder(target).join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Plays the whole corpus of a target.
fn play<T>(target: &str, run: impl Fn(&str) -> T) {
    let mut played = 0;
    for entry in fs::read_dir(folder(target)).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        // As libFuzzer's targets get it: up to what is no text.
        let text = bytes.utf8_chunks().next().map_or("", |chunk| chunk.valid());
        println!("{}", path.display());
        run(text);
        played += 1;
    }
    assert!(played > 1, "the corpus of {target} is empty");
}

/// The status of each answer.
fn statuses(name: &str) -> Vec<u16> {
    let answers = fuzz::requests::run(&input("requests", name));
    answers.iter().map(|(status, _)| status.as_u16()).collect()
}

#[test]
fn files_of_configuration_and_operations_are_read_or_refused() {
    play("configuration", fuzz::configuration::run);
    play("operations", fuzz::operations::run);
    let read = |name| fuzz::configuration::run(&input("configuration", name));
    assert_eq!(read("variables").unwrap().config.pool.warm_count, 3);
    assert!(read("every-key").is_ok());
    let own = fuzz::operations::run(&input("operations", "one")).unwrap();
    assert!(own.get("SAY").is_some() && own.get("UPDATE_CODE").is_none());
    assert!(fuzz::operations::run(&input("operations", "mistakes")).is_err());
}

#[test]
fn templates_are_rendered_or_refused() {
    play("template", fuzz::template::run);
    let studio = fuzz::template::run(&input("template", "small")).unwrap().unwrap();
    assert_eq!((studio.inputs.len(), studio.scenes.len()), (2, 1));
}

#[test]
fn what_machines_print_is_read_or_unknown() {
    play("machine_output", fuzz::machine_output::run);
    let (info, ..) = fuzz::machine_output::run(&input("machine_output", "a-machine"));
    assert!(info.memory.is_some() && info.disk.is_some() && info.uptime.is_some() && info.load.is_some());
    assert_eq!(info.cpu_percent, Some(75.0));
    let (_, units, _) = fuzz::machine_output::run(&input("machine_output", "systemd"));
    assert_eq!(units.iter().filter(|unit| unit.active).count(), 1);
    let (.., process) = fuzz::machine_output::run(&input("machine_output", "pm2"));
    assert!(process.is_some());
}

#[test]
fn journals_are_replayed_or_refused() {
    play("journal", fuzz::journal::run);
    let state = fuzz::journal::run(&input("journal", "a-failover")).unwrap();
    assert_eq!((state.vms().count(), state.shows().count()), (5, 2));
}

#[test]
fn show_servers_are_understood_or_refused() {
    play("show_server", |text| fuzz::show_server::run(text.as_bytes()));
    for name in ["ok", "chunked", "close"] {
        let status = fuzz::show_server::run(input("show_server", name).as_bytes()).unwrap();
        assert_eq!(status.obs_scene.as_deref(), Some("Intro"), "{name}");
    }
}

#[test]
fn studios_are_captured_or_refused() {
    play("studio", fuzz::studio::run);
    let run = |name| fuzz::studio::run(&input("studio", name));
    for name in ["nothing", "events"] {
        let (studio, requests) = run(name).unwrap();
        assert!(studio.scenes.len() > 3, "{name}");
        assert_eq!(requests, 0, "{name}: a studio is unlike itself");
    }
    assert_eq!(run("GetSceneList").unwrap().0.scenes.len(), 2);
    assert!(run("GetRecordStatus").is_ok() && run("everything").is_ok());
}

#[test]
fn requests_are_answered() {
    play("requests", fuzz::requests::run);
    assert_eq!(
        statuses("assign-and-release"),
        [200, 200, 200, 200, 200, 200, 200]
    );
    assert_eq!(statuses("a-show"), [200, 200, 200, 200, 200, 200, 200, 200]);
    assert_eq!(statuses("files"), [200, 206, 200, 403, 409]);
    assert_eq!(statuses("who-asks"), [401, 401, 204, 200]);
    assert_eq!(statuses("not-json"), [400, 400, 400]);
    assert_eq!(statuses("not-engine-io"), [400, 200, 404]);
    let twice = [0, 1].map(|_| fuzz::requests::run(&input("requests", "reads")));
    let [first, second] = twice.map(|answers| answers.into_iter().take(2).collect::<Vec<_>>());
    assert_eq!(first, second, "the same input is answered otherwise");
    assert!(first.iter().all(|(status, _)| *status == StatusCode::OK));
}

#[test]
fn packets_are_answered() {
    play("packets", fuzz::packets::run);
    for (name, what) in [
        ("assign", "vmReleaseResult"),
        ("power", "vmStopResult"),
        ("commands", "request 2 answered"),
        ("terminal", "NO_SUCH_TERMINAL"),
        ("identify", "vmPoolStatus"),
    ] {
        let told = fuzz::packets::run(&input("packets", name));
        assert!(told.iter().any(|told| told.contains(what)), "{name}: {told:#?}");
    }
}

#[test]
fn lines_change_places_within_their_room() {
    let text = b"one\ntwo\nthree\n";
    let changed = |seed| {
        let mut room = [text.as_slice(), &[0; 8]].concat();
        let length = fuzz::lines::shuffle(&mut room, text.len(), 20, seed)?;
        Some(String::from_utf8(room[..length].to_vec()).unwrap())
    };
    assert_eq!(changed(0).as_deref(), Some("two\nthree\n"));
    assert_eq!(changed(2 + 4).as_deref(), Some("two\none\nthree\n"));
    assert_eq!(changed(3 + 4).as_deref(), Some("one\n"));
    assert_eq!(changed(1 + 4 * 2).as_deref(), Some("three\none\ntwo\nthree\n"));
    assert_eq!(fuzz::lines::shuffle(&mut b"one".to_vec(), 3, 3, 0), None);
}
