//! Scenario files: what they may hold, and what is said of one that cannot be played.

use std::path::Path;
use std::time::Duration;

use understudy::rehearsal::scenario::{
    Act, CastError, Ends, Machines, Number, Scenario, ScenarioError, Shows, Which, all, built_in, load, parse,
};

const ABOUT: &str = "about = \"a test\"\n";

fn read(text: &str) -> Result<Scenario, ScenarioError> {
    parse(Path::new("drill.toml"), "drill", &format!("{ABOUT}{text}"))
}

/// The complaints about a file without its heading, one line each.
fn complaints(text: &str) -> Vec<String> {
    let told = read(text).unwrap_err().to_string();
    let lines = told.lines().skip(1);
    lines.map(|line| line.trim().to_owned()).collect()
}

fn only_complaint(text: &str) -> String {
    let complaints = complaints(text);
    assert_eq!(complaints.len(), 1, "{complaints:#?}");
    complaints.into_iter().next().unwrap()
}

#[test]
fn every_built_in_scenario_can_be_read_and_played_and_says_what_it_is_about() {
    let scenarios = all().unwrap();
    assert!(scenarios.len() >= 16, "{}", scenarios.len());
    for scenario in &scenarios {
        assert!(!scenario.parts(None).unwrap().is_empty(), "{}", scenario.name);
        assert!(!scenario.steps.is_empty(), "{}", scenario.name);
        assert_eq!(&built_in(&scenario.name).unwrap(), scenario);
    }
}

#[test]
fn every_file_in_the_folder_of_scenarios_is_built_in() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/rehearsals");
    let known: Vec<String> = all().unwrap().into_iter().map(|scenario| scenario.name).collect();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        assert!(known.iter().any(|known| known == name), "{name} is not listed");
        let read = load(path.to_str().unwrap()).unwrap();
        assert_eq!(read, built_in(name).unwrap());
    }
}

#[test]
fn every_key_of_a_scenario_is_documented() {
    let docs =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/rehearsals.md")).unwrap();
    for (place, misspelt) in [
        ("", "zz = 1\n"),
        ("pool", "[pool]\nzz = 1\n"),
        ("objective", "[objective]\nzz = 1\n"),
        ("show", "[[show]]\nname = \"a\"\nzz = 1\n"),
        (
            "step",
            "[[step]]\ntarget = \"ingest\"\nfault = \"away\"\nzz = 1\n",
        ),
    ] {
        let told = only_complaint(misspelt);
        let (_, keys) = told.split_once("; there are ").unwrap();
        for key in keys.split(", ") {
            let bare = key.rsplit('.').next().unwrap();
            assert!(
                docs.contains(&format!("`{bare}`")) || docs.contains(&format!("[{bare}]")),
                "{place}: {key} is not in docs/rehearsals.md"
            );
        }
    }
}

#[test]
fn what_a_file_does_not_say_has_its_default() {
    let scenario = read("").unwrap();
    assert_eq!(scenario.shows, Shows::Count(2));
    assert_eq!(scenario.machines(2), (4, 1));
    assert_eq!(scenario.pool.zones.len(), 3);
    let part = &scenario.parts(None).unwrap()[0];
    assert_eq!(
        (part.moves, part.ends, part.max_off_air),
        (Some(0), Ends::OnAir, None)
    );
    assert_eq!(scenario.objective.within, Duration::from_secs(30));
}

#[test]
fn a_step_says_when_what_and_whom() {
    let scenario = read(
        "[pool]\nspares = \"2 per show\"\ncold = 0\nzones = [\"east\"]\n\
         [[show]]\nname = \"finals\"\nmoves = \"any\"\nends = \"released\"\nmax_off_air = \"1s\"\n\
         [[step]]\nat = \"1m 2s\"\nspread = \"300ms\"\nwhen = \"failing-over\"\ntarget = \"show:finals\"\nfault = \"blackhole\"\nfor = \"4s\"\n\
         [[step]]\ntarget = \"zone:east\"\nfault = \"ssh-down\"\n",
    )
    .unwrap();
    assert_eq!(scenario.pool.spares, Number::PerShow(2));
    assert_eq!(scenario.machines(1), (3, 0));
    let step = &scenario.steps[0];
    assert_eq!(step.at, Duration::from_secs(62));
    assert_eq!(step.act.lasts(), Some(Duration::from_secs(4)));
    assert!(matches!(step.act.which(), Some(Which::One(show)) if show.as_str() == "finals"));
    assert!(matches!(
        &scenario.steps[1].act,
        Act::Machine { target: Machines::Zone(zone), .. } if zone == "east"
    ));
    let part = &scenario.parts(None).unwrap()[0];
    assert_eq!((part.moves, part.ends), (None, Ends::Released));
    // With what is watched after it, since the show may be moved or not.
    assert_eq!(scenario.length(), Duration::from_millis(66_300 + 6_000));
}

#[test]
fn a_misspelt_key_is_told_with_its_line_and_the_one_that_was_meant() {
    assert_eq!(
        only_complaint("[[step]]\ntraget = \"ingest\"\ntarget = \"ingest\"\nfault = \"away\"\n"),
        "drill.toml:3: there is no key step.traget; did you mean step.target?"
    );
    assert_eq!(
        only_complaint("[objektive]\nwithin = \"1s\"\n"),
        "drill.toml:2: there is no key objektive; did you mean objective?"
    );
    assert_eq!(
        only_complaint("[objective]\nmax_offair = \"1s\"\n"),
        "drill.toml:3: there is no key objective.max_offair; did you mean objective.max_off_air?"
    );
}

#[test]
fn a_wrong_value_is_told_with_what_is_allowed() {
    for (text, told) in [
        (
            "shows = 0\n",
            "drill.toml:2: shows = 0 is not allowed: it must be a whole number from 1 to 100",
        ),
        ("shows = \"two\"\n", "it must be a whole number from 1 to 100"),
        (
            "[pool]\nspares = \"many\"\n",
            "pool.spares = \"many\" is not allowed: it must be a whole number from 0 to 240, or such as \"1 per show\"",
        ),
        ("[pool]\nzones = [1]\n", "pool.zones = a list is not allowed"),
        ("[objective]\nwithin = \"soon\"\n", "a duration from 100ms to 1h"),
        ("[objective]\nmoves = -1\n", "objective.moves = -1 is not allowed"),
        ("[objective]\nmoves = \"some\"\n", "or \"any\""),
        (
            "[objective]\nends = \"well\"\n",
            "one of \"on-air\", \"off-air\", \"released\", \"waiting\"",
        ),
        (
            "[[step]]\ntarget = \"ingest\"\nfault = \"studio-crash\"\n",
            "step.fault = \"studio-crash\" is not allowed: it must be \"away\"",
        ),
        (
            "[[step]]\ntarget = \"cloud\"\nfault = \"blackhole\"\n",
            "one of \"api-down\"",
        ),
        (
            "[[step]]\ntarget = \"show:*\"\nfault = \"on-fire\"\n",
            "one of \"studio-crash\"",
        ),
        (
            "[[step]]\ntarget = \"show:finals\"\nfault = \"blackhole\"\n",
            "step.target = \"show:finals\" is not allowed: without [[show]] no show has a name: it must be \"show:*\"",
        ),
        (
            "[[show]]\nname = \"finals\"\n[[step]]\ntarget = \"show:final\"\nfault = \"blackhole\"\n",
            "there is no show \"final\"; did you mean show:finals?",
        ),
        (
            "[[show]]\nname = \"finals\"\n[[step]]\ntarget = \"vm-actor:other\"\nfault = \"kill\"\n",
            "there is no show \"other\"; there are finals",
        ),
        (
            "[[show]]\nname = \"a\"\n[[step]]\ntarget = \"zone-of:*\"\nfault = \"blackhole\"\n",
            "it must be the zone of one show",
        ),
        (
            "[[step]]\ntarget = \"zone:nowhere\"\nfault = \"blackhole\"\n",
            "step.target = \"zone:nowhere\" is not allowed: there is no zone \"nowhere\"; there are sim-1a",
        ),
        (
            "[[step]]\ntarget = \"vm:7\"\nfault = \"blackhole\"\n",
            "step.target = \"vm:7\" is not allowed",
        ),
        (
            "[[step]]\nfault = \"blackhole\"\n",
            "drill.toml:2: step.target is missing",
        ),
        ("[[step]]\ntarget = \"show:*\"\n", "step.fault is missing"),
        ("[[show]]\nname = \"a/b\"\n", "show.name = \"a/b\" is not allowed"),
        (
            "show = 3\n",
            "show = 3 is not allowed: it must be written as [[show]]",
        ),
        (
            "pool = 3\n",
            "pool = 3 is not allowed: it must be written as [pool]",
        ),
    ] {
        let complaint = only_complaint(text);
        assert!(complaint.contains(told), "{text}: {complaint}");
    }
}

#[test]
fn what_does_not_go_together_is_refused() {
    for (text, told) in [
        (
            "shows = 2\n[[show]]\nname = \"a\"\n",
            "either shows or [[show]], not both",
        ),
        (
            "[[show]]\nname = \"a\"\n[[show]]\nname = \"a\"\n",
            "show a is there twice",
        ),
        (
            "[[step]]\ntarget = \"ingest\"\nfault = \"away\"\nrepeat = 2\n",
            "repeat needs every",
        ),
        (
            "[[step]]\ntarget = \"ingest\"\nfault = \"away\"\nwhen = \"failing-over\"\n",
            "when needs a target that is a show or an actor",
        ),
        (
            "[[step]]\ntarget = \"ingest\"\nfault = \"away\"\nup = \"1s\"\n",
            "up goes with the fault \"status-flap\" alone",
        ),
        (
            "[[step]]\ntarget = \"cloud\"\nfault = \"denied\"\ndelay = \"1s\"\n",
            "delay goes with the fault \"slow\" alone",
        ),
        (
            "[[step]]\ntarget = \"show-actor:*\"\nfault = \"kill\"\nfor = \"1s\"\n",
            "for goes with what can be mended",
        ),
        (
            "[[step]]\ntarget = \"ingest\"\ncommand = \"release\"\n",
            "a command needs a target that is a show",
        ),
        (
            "[[step]]\ntarget = \"show:*\"\ncommand = \"stop\"\nfault = \"blackhole\"\n",
            "neither fault nor for",
        ),
        (
            "[[step]]\ntarget = \"coordinator\"\nfault = \"kill\"\n[[step]]\ntarget = \"vm-actor:*\"\nfault = \"kill\"\n",
            "either actors or the coordinator",
        ),
    ] {
        let complaint = only_complaint(text);
        assert!(complaint.contains(told), "{text}: {complaint}");
    }
}

#[test]
fn every_mistake_is_told_at_once_in_the_order_of_lines() {
    let found = complaints(
        "[objective]\nwithin = 3\n[pool]\ncoold = 1\n[[step]]\nat = \"x\"\ntarget = \"ingest\"\nfault = \"away\"\n",
    );
    let lines: Vec<&str> = found.iter().map(|told| told.split(':').nth(1).unwrap()).collect();
    assert_eq!(lines, ["3", "5", "7"], "{found:#?}");
}

#[test]
fn a_file_that_is_not_toml_and_one_that_is_not_there_are_told_with_their_names() {
    let error = read("[[step]\n").unwrap_err();
    assert!(
        error.to_string().starts_with("drill.toml:2: not valid TOML: "),
        "{error}"
    );
    let error = load("nowhere/drill.toml").unwrap_err();
    assert!(
        matches!(&error, ScenarioError::Read { path, .. } if path == Path::new("nowhere/drill.toml")),
        "{error}"
    );
    let missing = parse(Path::new("drill.toml"), "drill", "")
        .unwrap_err()
        .to_string();
    assert!(missing.contains("about is missing"), "{missing}");
}

#[test]
fn a_name_that_is_none_is_told_with_the_nearest() {
    let error = load("studio-crahs").unwrap_err().to_string();
    assert!(error.contains("did you mean studio-crash?"), "{error}");
}

#[test]
fn a_file_that_is_too_large_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.toml");
    std::fs::write(&path, "#".repeat((256 << 10) + 1)).unwrap();
    let error = load(path.to_str().unwrap()).unwrap_err();
    assert!(matches!(error, ScenarioError::TooLarge { .. }), "{error}");
}

#[test]
fn another_number_of_shows_is_for_scenarios_that_only_count_them() {
    let counted = read("[pool]\nspares = \"1 per show\"\n").unwrap();
    assert_eq!(counted.parts(Some(5)).unwrap().len(), 5);
    let too_large = CastError::TooLarge {
        scenario: "drill".to_owned(),
        shows: 100,
        vms: 301,
    };
    let wide = read("[pool]\nspares = \"2 per show\"\n").unwrap();
    assert_eq!(wide.parts(Some(100)), Err(too_large));
    let too_many = CastError::TooMany {
        scenario: "drill".to_owned(),
        shows: 101,
    };
    assert_eq!(counted.parts(Some(101)), Err(too_many));
    let often =
        read("[[step]]\nrepeat = 1000\nevery = \"1s\"\ntarget = \"vm-actor:*\"\nfault = \"kill\"\n").unwrap();
    assert!(often.parts(Some(20)).is_ok());
    let too_long = CastError::TooLong {
        scenario: "drill".to_owned(),
        shows: 21,
        cues: 21_000,
    };
    assert_eq!(often.parts(Some(21)), Err(too_long));
    let named = read("[[show]]\nname = \"a\"\n").unwrap();
    assert!(named.parts(Some(1)).is_ok());
    assert!(matches!(named.parts(Some(2)), Err(CastError::Named { .. })));
}
