//! Every mistake is named with its place and what would be right.

use std::collections::BTreeSet;
use std::path::Path;

use proptest::prelude::*;
use understudy::config::{Config, Error, Problem};

use super::{complaint, complaints, load, loaded};

#[test]
fn an_unknown_key_is_named_with_its_place_and_the_nearest_valid_one() {
    for (file, expected) in [
        (
            "[pool]\n\nwarm_cuont = 3",
            "test.toml:3: there is no key pool.warm_cuont; did you mean pool.warm_count?",
        ),
        (
            "[pool]\nami_id = \"x\"",
            "test.toml:2: there is no key pool.ami_id; did you mean cloud.ami_id?",
        ),
        (
            "warm_count = 3",
            "test.toml:1: there is no key warm_count; did you mean pool.warm_count?",
        ),
        (
            "[pol]\nwarm_count = 3",
            "test.toml:2: there is no key pol.warm_count; did you mean pool.warm_count?",
        ),
        (
            "[server.listen]\nport = 3",
            "test.toml:2: there is no key server.listen.port; did you mean server.listen?",
        ),
    ] {
        assert_eq!(complaint(file, &[]), expected);
    }
}

#[test]
fn an_unknown_key_like_no_other_comes_with_what_there_is() {
    assert_eq!(
        complaint("[log]\nzzz = 1", &[]),
        "test.toml:2: there is no key log.zzz; there are log.format, log.filter"
    );
    let complaint = complaint("[telemetry]", &[]);
    assert!(
        complaint.starts_with("test.toml:1: there is no key telemetry; there are [server], [ledger]"),
        "{complaint}"
    );
}

#[test]
fn an_unknown_variable_is_answered_in_variables() {
    assert_eq!(
        complaint("", &[("UNDERSTUDY__POOL__WARMCOUNT", "3")]),
        "environment UNDERSTUDY__POOL__WARMCOUNT: there is no key UNDERSTUDY__POOL__WARMCOUNT; \
         did you mean UNDERSTUDY__POOL__WARM_COUNT?"
    );
}

#[test]
fn other_variables_with_a_similar_name_are_none_of_our_business() {
    assert_eq!(
        loaded("", &[("UNDERSTUDY_CACHE", "/x"), ("UNDERSTUDY", "1")]).config,
        Config::default()
    );
}

/// What is written, and how the answer goes on after the place.
const WRONG_VALUES: &[(&str, &str)] = &[
    (
        "[pool]\nwarm_count = \"two\"",
        "pool.warm_count = \"two\" is not allowed: it must be a whole number from 0 to 10000",
    ),
    (
        "[pool]\nwarm_count = -1",
        "pool.warm_count = -1 is not allowed: it must be a whole number from 0 to 10000",
    ),
    (
        "[pool]\nwarm_count = 2.5",
        "pool.warm_count = 2.5 is not allowed: it must be a whole number from 0 to 10000",
    ),
    (
        "[pool]\nwarm_count = 99999999999999999999",
        "pool.warm_count = 99999999999999999999 is not allowed",
    ),
    (
        "[vm]\nssh_port = 65536",
        "vm.ssh_port = 65536 is not allowed: it must be a whole number from 1 to 65535",
    ),
    (
        "[pool]\nidle_timeout_minutes = nan",
        "pool.idle_timeout_minutes = NaN is not allowed: it must be a number from 0 to 525600",
    ),
    (
        "[ssh]\nfile_roots = [\"recordings\"]",
        "ssh.file_roots = [\"recordings\"] is not allowed: it must be a list of absolute paths",
    ),
    (
        "[ssh]\nfile_roots = [\"{obs_config_path}logs\"]",
        "ssh.file_roots = [\"{obs_config_path}logs\"] is not allowed",
    ),
    (
        "[ssh]\nfile_roots = [\"{recordings_path}/../x\"]",
        "ssh.file_roots = [\"{recordings_path}/../x\"] is not allowed",
    ),
    (
        "[failover]\nsilence_limit = 3",
        "failover.silence_limit = 3 is not allowed: it must be a duration from 100ms to 5m, such as \"3s\"",
    ),
    (
        "[failover]\nsilence_limit = \"3\"",
        "failover.silence_limit = \"3\" is not allowed: it must be a duration from",
    ),
    (
        "[failover]\nsilence_limit = \"1ms\"",
        "failover.silence_limit = \"1ms\" is not allowed: it must be a duration from",
    ),
    (
        "[failover]\nenabled = \"yes\"",
        "failover.enabled = \"yes\" is not allowed: it must be true or false",
    ),
    (
        "[failover]\nenabled = 1979-05-27",
        "failover.enabled = 1979-05-27 is not allowed",
    ),
    (
        "[log]\nformat = \"xml\"",
        "log.format = \"xml\" is not allowed: it must be \"human\" or \"json\"",
    ),
    (
        "[log]\nfilter = \"understudy=loud\"",
        "log.filter = \"understudy=loud\" is not allowed: it must be a log filter",
    ),
    (
        "[server]\nlisten = \"localhost\"",
        "server.listen = \"localhost\" is not allowed: it must be an IP address and a port",
    ),
    (
        "[server]\ncors_origins = [1]",
        "server.cors_origins = [1] is not allowed: it must be a list",
    ),
    (
        "[server]\ncors_origins = [\"https://a.example/x\"]",
        "server.cors_origins = [\"https://a.example/x\"] is not allowed",
    ),
    (
        "[cloud]\nendpoint_url = \"ftp://x\"",
        "cloud.endpoint_url = \"ftp://x\" is not allowed: it must be an http or https URL",
    ),
    (
        "[cloud]\nregion = \"\"",
        "cloud.region = \"\" is not allowed: it must be one line of text",
    ),
    (
        "[ledger]\npath = \"\"",
        "ledger.path = \"\" is not allowed: it must be a path",
    ),
    (
        "[pool]\nwarm_count = {}",
        "pool.warm_count = a table is not allowed: it must be a whole number",
    ),
];

#[test]
fn a_wrong_value_is_named_with_its_place_and_what_is_allowed() {
    for (file, expected) in WRONG_VALUES {
        let complaint = complaint(file, &[]);
        assert!(
            complaint.starts_with(&format!("test.toml:2: {expected}")),
            "{complaint}\nexpected {expected}"
        );
    }
}

#[test]
fn an_address_that_nobody_could_call_is_refused() {
    for url in [
        "http://127.0.0.1:99999",
        "http://127.0.0.1:+9000",
        "http://[::1]:0",
        "http://:9000",
        "http://[zz]:1",
        "http://[fe80::1%25lo]:1",
        "http://300.1.1.1:9",
        "http://host:",
    ] {
        let complaint = complaint(&format!("[otlp]\nendpoint = \"{url}\""), &[]);
        let told = format!("otlp.endpoint = \"{url}\" is not allowed: it must be an http or https URL");
        assert!(complaint.contains(&told), "{complaint}");
    }
}

#[test]
fn a_wrong_variable_is_named() {
    for (variable, value, expected) in [
        (
            "UNDERSTUDY__POOL__WARM_COUNT",
            "two",
            "pool.warm_count = \"two\" is not allowed: it must be a whole number",
        ),
        (
            "VM_POOL_MAX_TOTAL",
            "0",
            "pool.max_instances = \"0\" is not allowed: it must be a whole number from 1 to 10000",
        ),
        (
            "VM_POOL_HEALTH_CHECK_INTERVAL_MS",
            "-5",
            "pool.health_check_interval = \"-5\" is not allowed",
        ),
        (
            "PUBLIC_IP",
            "here",
            "server.public_ip = \"here\" is not allowed: it must be an IP address",
        ),
        (
            "COORDINATOR_AUTH",
            "none",
            "server.auth = \"none\" is not allowed: it must be \"open\" or \"compat\" or \"required\"",
        ),
    ] {
        let complaint = complaint("", &[(variable, value)]);
        assert!(
            complaint.starts_with(&format!("environment {variable}: {expected}")),
            "{complaint}"
        );
    }
}

#[test]
fn every_mistake_is_reported_at_once() {
    let file = "[pool]\nwarm_count = \"two\"\ncolour = 1\n[vm]\nssh_port = 0";
    let all = complaints(file, &[("UNDERSTUDY__LOG__FORMAT", "xml")]);
    assert_eq!(all.len(), 4, "{all:#?}");
}

#[test]
fn a_file_that_is_not_toml_is_answered_with_the_line_but_not_its_text() {
    let error = load("[pool]\nwarm_count = 1\n[obs]\npassword = hush hush\n", &[])
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("test.toml:4: not valid TOML: "), "{error}");
    assert!(!error.contains("hush"), "{error}");
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let error = Config::load(Some(Path::new("/nowhere/at/all.toml")), []).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the configuration file /nowhere/at/all.toml cannot be read"
    );
    assert!(std::error::Error::source(&error).is_some());
}

#[test]
fn problems_can_be_told_apart_by_programs() {
    let Err(Error::Invalid { problems }) = load("[pool]\nwarm_cuont = 3\nwarm_count = true", &[]) else {
        panic!("accepted")
    };
    let kinds: BTreeSet<&str> = problems
        .iter()
        .map(|problem| match problem {
            Problem::UnknownKey { .. } => "unknown",
            Problem::Value { .. } => "value",
            Problem::SecretInFile { .. } => "secret in file",
            Problem::SecretFile { .. } => "secret file",
            Problem::Conflict { .. } => "conflict",
        })
        .collect();
    assert_eq!(kinds, BTreeSet::from(["unknown", "value"]));
}

proptest! {
    #[test]
    fn no_text_makes_reading_panic(file in "(\\[?[a-z_.]{0,12}\\]?( = )?[0-9a-z\"{}\\[\\]. ]{0,12}\n){0,6}", value in any::<String>()) {
        for variable in ["PORT", "UNDERSTUDY__POOL__WARM_COUNT", "UNDERSTUDY__FAILOVER__SILENCE_LIMIT", "UNDERSTUDY__", "AWS_ENDPOINT_URL"] {
            let _either = load(&file, &[(variable, &value)]);
        }
    }
}
