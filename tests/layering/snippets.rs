//! The checker itself, on code that is wrong and code that is right: a check that cannot fail is none.

use std::collections::BTreeSet;

use crate::order::selects_by_lot;
use crate::paths::{File, mark_test_files};
use crate::{crates, rules};

fn judged(file: &str, text: &str) -> Vec<String> {
    let crates: BTreeSet<String> = crates();
    rules::violations(&File::read(file, text), &crates)
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[track_caller]
fn refused(file: &str, text: &str, line: usize, sentence: &str) {
    let found = judged(file, text);
    let expected = format!("{file}:{line}: {sentence}");
    assert!(
        found.iter().any(|found| found.starts_with(&expected)),
        "{text}\nexpected {expected}\nfound {found:?}"
    );
}

#[track_caller]
fn accepted(file: &str, text: &str) {
    assert_eq!(judged(file, text), Vec::<String>::new(), "{text}");
}

#[test]
fn domain_may_use_neither_runtime_nor_clock_nor_input_and_output() {
    for (text, named) in [
        ("use tokio::time::sleep;", "tokio::time::sleep"),
        ("use std::time::Instant;", "std::time::Instant"),
        ("use std::time::{Duration, SystemTime};", "std::time::SystemTime"),
        ("use std::time;", "std::time"),
        ("use std::time::*;", "std::time::*"),
        ("use ::std::fs;", "std::fs"),
        ("use core::cell::RefCell;", "core::cell::RefCell"),
        (
            "fn f() { let now = std::time::Instant::now(); }",
            "std::time::Instant::now",
        ),
        ("fn f() -> std::io::Result<()> { Ok(()) }", "std::io::Result"),
        ("use std::sync::{Arc, Mutex};", "std::sync::Mutex"),
        ("use std::net::TcpStream;", "std::net::TcpStream"),
        ("use std::net::{self, IpAddr};", "std::net"),
        ("use std::thread;", "std::thread"),
        ("use std::env;", "std::env"),
        (
            "use std::collections::{BTreeMap, HashMap};",
            "std::collections::HashMap",
        ),
        ("use std::hash::RandomState;", "std::hash::RandomState"),
        ("use imbl::{OrdMap, HashMap};", "imbl::HashMap"),
        ("use rand::Rng;", "rand::Rng"),
        ("use tracing as log;", "tracing"),
        ("extern crate tokio;", "tokio"),
        ("#[tracing::instrument] fn f() {}", "tracing::instrument"),
        (
            "#[derive(serde::Serialize, utoipa::ToSchema)] struct S;",
            "utoipa::ToSchema",
        ),
        ("fn f() { vec![tokio::spawn(async {})]; }", "tokio::spawn"),
        (
            "fn f<'a>() -> impl Sized + use<'a> { tokio::spawn(async {}) }",
            "tokio::spawn",
        ),
        (
            "macro_rules! m { () => { tokio::spawn(async {}) } }",
            "tokio::spawn",
        ),
        (
            "#[cfg(test)] mod tests { #[tokio::test] async fn t() {} }",
            "tokio::test",
        ),
        ("impl From<jiff::Timestamp> for T {}", "jiff::Timestamp"),
    ] {
        refused(
            "src/domain/vm.rs",
            text,
            1,
            &format!("domain must not name {named}:"),
        );
    }
}

#[test]
fn domain_may_use_data() {
    accepted(
        "src/domain/vm.rs",
        r#"
            //! Mentions tokio::spawn and std::fs in words only.
            use std::collections::{BTreeMap, VecDeque, btree_map::Entry};
            use std::{fmt, net::IpAddr, sync::Arc, time::Duration};
            use imbl::{OrdMap, ordmap};
            use serde::{Deserialize, Serialize, de::Error as _};
            use super::ids::VmId;
            use crate::domain::{self, time::Timestamp};
            /* axum::Router */
            #[derive(Debug, thiserror::Error)]
            #[error("tokio::spawn")]
            struct E;
            fn f(tokio: u64, clock: Clock) -> u64 { let s = "std::fs::read"; tokio.max(Clock::ZERO.0) + u64::MAX }
            #[cfg(test)]
            mod tests { use proptest::prelude::*; use super::super::time; fn t() { serde_json::json!({}); } }
        "#,
    );
}

/// File, what stands in it, and what is said of it.
const AGAINST_THE_FLOW: &[(&str, &str, &str)] = &[
    (
        "src/domain/vm.rs",
        "use crate::infra::ssh;",
        "domain must not name crate::infra::ssh:",
    ),
    (
        "src/domain/vm.rs",
        "use super::super::actors::Handle;",
        "domain must not name crate::actors::Handle:",
    ),
    (
        "src/domain/vm/mod.rs",
        "use super::{super::api, ids};",
        "domain must not name crate::api:",
    ),
    (
        "src/domain/vm.rs",
        "mod inner { use super::super::super::sim::World; }",
        "domain must not name crate::sim",
    ),
    (
        "src/domain/vm.rs",
        "#[cfg(test)] mod tests { use crate::sim::World; }",
        "domain must not name crate::sim",
    ),
    (
        "src/actors/show.rs",
        "use crate::{api::error, domain::ids};",
        "actors must not name crate::api::error:",
    ),
    (
        "src/actors/show.rs",
        "fn f() { crate::sim::world(); }",
        "actors must not name crate::sim::world:",
    ),
    (
        "src/actors/vm/probe.rs",
        "use crate::cli::demo;",
        "actors must not name crate::cli::demo:",
    ),
    (
        "src/infra/ssh.rs",
        "use crate::config::Ssh;",
        "infra must not name crate::config::Ssh:",
    ),
    (
        "src/infra/ssh.rs",
        "use crate::actors::board::Board;",
        "infra must not name crate::actors",
    ),
    (
        "src/api/http.rs",
        "use crate::infra::cloud::Error;",
        "api must not name crate::infra",
    ),
    (
        "src/api/http.rs",
        "use crate::sim;",
        "api must not name crate::sim:",
    ),
    (
        "src/sim/wire/obs.rs",
        "use crate::actors;",
        "sim must not name crate::actors:",
    ),
    (
        "src/sim/wire/obs.rs",
        "use crate::api;",
        "sim must not name crate::api:",
    ),
    (
        "src/config/mod.rs",
        "use crate::infra::ssh;",
        "config must not name crate::infra",
    ),
    (
        "src/config/mod.rs",
        "use understudy::infra::ssh;",
        "config must not name crate::infra",
    ),
];

#[test]
fn data_flows_one_way() {
    for (file, text, sentence) in AGAINST_THE_FLOW {
        refused(file, text, 1, sentence);
    }
}

#[test]
fn a_library_stays_in_its_place() {
    for (file, text, sentence) in [
        (
            "src/actors/show.rs",
            "use axum::Router;",
            "axum::Router belongs in src/api/ alone:",
        ),
        (
            "src/infra/probe.rs",
            "use tower_http::cors;",
            "tower_http::cors belongs in src/api/ alone:",
        ),
        (
            "src/cli/serve.rs",
            "use socketioxide::SocketIo;",
            "socketioxide::SocketIo belongs in src/api/ alone:",
        ),
        (
            "src/actors/vm.rs",
            "#[derive(utoipa::ToSchema)] struct S;",
            "utoipa::ToSchema belongs in src/api/ alone:",
        ),
        (
            "src/api/http.rs",
            "use ractor::ActorRef;",
            "ractor::ActorRef belongs in src/actors/ alone:",
        ),
        (
            "src/infra/cloud/mod.rs",
            "use aws_sdk_ec2::Client;",
            "aws_sdk_ec2::Client belongs in src/infra/cloud/ec2",
        ),
        (
            "src/cli/serve.rs",
            "aws_config::load_defaults();",
            "aws_config::load_defaults belongs in",
        ),
        (
            "src/actors/vm/ssh.rs",
            "use russh::client;",
            "russh::client belongs in src/infra/ssh and src/sim/wire alone",
        ),
        (
            "src/sim/direct/ssh.rs",
            "use russh::server;",
            "russh::server belongs in",
        ),
        (
            "src/actors/vm/obs.rs",
            "use obws::Client;",
            "obws::Client belongs in src/infra/obs alone:",
        ),
        (
            "src/actors/ledger.rs",
            "use rusqlite::Connection;",
            "rusqlite::Connection belongs in src/infra/ledger alone",
        ),
        (
            "src/api/proxy.rs",
            "reqwest::get(url);",
            "reqwest::get belongs in src/infra/ and src/cli/ alone:",
        ),
        (
            "src/infra/obs.rs",
            "fn f() -> anyhow::Result<()> {}",
            "anyhow::Result belongs in",
        ),
        (
            "src/infra/obs.rs",
            "use tempfile::TempDir;",
            "tempfile::TempDir belongs in src/rehearsal/ and src/cli/ alone:",
        ),
    ] {
        refused(file, text, 1, sentence);
    }
}

#[test]
fn everything_has_a_place_where_it_is_right() {
    for (file, text) in [
        (
            "src/api/http.rs",
            "use axum::Router; use crate::actors::Handle; use crate::domain::ids;",
        ),
        (
            "src/actors/pool.rs",
            "use ractor::Actor; use tokio::sync::mpsc; use crate::infra::cloud::Cloud;",
        ),
        (
            "src/infra/cloud/ec2.rs",
            "use aws_sdk_ec2::Client; use aws_config::BehaviorVersion;",
        ),
        (
            "src/infra/cloud/ec2/error.rs",
            "use aws_sdk_ec2::error::SdkError;",
        ),
        ("src/infra/ssh/host_keys.rs", "use russh::keys;"),
        ("src/sim/wire/ssh.rs", "use russh::server; use crate::infra::ssh;"),
        (
            "src/infra/ledger/writer.rs",
            "use rusqlite::Connection; use std::thread;",
        ),
        (
            "src/cli/serve.rs",
            "use anyhow::Context; use crate::{actors, api, config, domain, infra, sim};",
        ),
        (
            "src/main.rs",
            "use understudy::cli; fn main() -> anyhow::Result<()> {}",
        ),
        ("src/lib.rs", "pub mod actors; pub mod domain;"),
    ] {
        accepted(file, text);
    }
}

#[test]
fn tests_may_use_what_they_need() {
    accepted(
        "src/actors/show.rs",
        "#[cfg(test)] mod tests { use crate::sim::World; use anyhow::Result; }
         #[cfg(test)] use tempfile::TempDir;
         #[cfg(test)] fn world() -> crate::sim::World { crate::sim::World::new() }",
    );
    refused(
        "src/actors/show.rs",
        "#[cfg(test)]\nfn world() { crate::sim::a(); }\nfn live() { crate::sim::b(); }",
        3,
        "actors must not name crate::sim::b",
    );
    refused(
        "src/actors/show.rs",
        "#[cfg(test)] mod tests {}\nuse crate::sim;",
        2,
        "actors must not name crate::sim",
    );
    refused(
        "src/actors/show.rs",
        "#[cfg(not(test))]\nuse crate::sim;",
        2,
        "actors must not name crate::sim",
    );
}

#[test]
fn a_file_declared_for_tests_is_one() {
    let parent = File::read("src/actors/show/mod.rs", "#[cfg(test)] mod tests; mod live;");
    let tests = File::read("src/actors/show/tests.rs", "use crate::sim::World;");
    let live = File::read("src/actors/show/live.rs", "use crate::sim::World;");
    let files = mark_test_files(vec![parent, tests, live]);
    let found: Vec<usize> = files
        .iter()
        .map(|file| rules::violations(file, &crates()).len())
        .collect();
    assert_eq!(found, [0, 0, 1]);
}

#[test]
fn a_sentence_names_the_line() {
    refused(
        "src/domain/vm.rs",
        "//! Doc.\n\nuse std::fmt;\n\nfn f() {\n    let s = \"x\n y\";\n    std::fs::read(s);\n}\n",
        8,
        "domain must not name std::fs::read:",
    );
    refused(
        "src/domain/vm.rs",
        "use std::{\n    fmt,\n    fs,\n};",
        3,
        "domain must not name std::fs:",
    );
}

#[test]
fn a_new_folder_needs_a_place_in_the_layers() {
    refused(
        "src/telemetry/mod.rs",
        "",
        1,
        "telemetry is in no layer: say in tests/layering/rules.rs",
    );
}

#[test]
#[should_panic(expected = "src/domain/vm.rs is not Rust")]
fn a_file_that_cannot_be_read_is_not_passed_over() {
    judged("src/domain/vm.rs", "fn f( {");
}

#[test]
fn actors_may_not_depend_on_hash_order_wall_time_or_dice() {
    for named in [
        "std::collections::HashMap",
        "std::collections::HashSet",
        "std::time::Instant",
        "std::time::SystemTime",
        "std::thread::spawn",
        "rand::random",
    ] {
        refused(
            "src/actors/pool.rs",
            &format!("use {named};"),
            1,
            &format!("{named} must not be named in src/actors:"),
        );
    }
    for file in [
        "src/actors/pool.rs",
        "src/sim/direct/world.rs",
        "src/infra/ledger/mod.rs",
    ] {
        refused(
            file,
            "use tokio::sync::{mpsc, watch};",
            1,
            "tokio::sync::watch wakes in an order",
        );
    }
    accepted("src/sim/wire/cloud.rs", "use tokio::sync::watch;");
    accepted("src/actors/clock.rs", "use std::time::SystemTime;");
    accepted(
        "src/actors/pool.rs",
        "use tokio::time::Instant; use std::collections::BTreeMap; use std::time::Duration;",
    );
    accepted(
        "src/actors/pool.rs",
        "#[cfg(test)] mod tests { use std::collections::HashSet; }",
    );
    accepted("src/infra/obs/room.rs", "use std::collections::HashSet;");
}

#[test]
fn a_select_is_in_order_or_found() {
    let text = "async fn f() {\n select! { a => 1, b => 2 }\n if x { tokio::select! {\n biased;\n a => select! { c => 3 } } } }";
    assert_eq!(selects_by_lot("src/actors/pool.rs", text), [2, 5]);
}
