//! `docs/metrics.md` has every metric there is.

use std::fmt::Write;
use std::path::Path;

use understudy::infra::metrics::catalogue::{ALL, Kind};

const BEGIN: &str = "<!-- Written by tests/metrics/documented.rs -->\n";
const END: &str = "<!-- End of what is written by the test -->\n";

/// Groups in the order of the page: heading, and how the names in it begin.
const GROUPS: &[(&str, &[&str])] = &[
    (
        "The coordinator",
        &["understudy_build_", "understudy_ready", "process_"],
    ),
    (
        "The pool",
        &[
            "understudy_pool_",
            "understudy_assign",
            "understudy_reassignments",
            "understudy_release_",
            "understudy_cold_",
            "understudy_vm_start_",
        ],
    ),
    ("Shows", &["understudy_show_", "understudy_failover"]),
    ("VMs", &["understudy_vm_", "understudy_probe_"]),
    ("Actors", &["understudy_actor_", "understudy_alerts_"]),
    ("The ledger", &["understudy_ledger_"]),
    ("The cloud", &["understudy_cloud_"]),
    ("HTTP and Socket.IO", &["understudy_http_", "understudy_socket"]),
    (
        "Work on VMs and the archive",
        &["understudy_execution", "understudy_archive"],
    ),
];

fn group_of(name: &str) -> usize {
    let group = GROUPS
        .iter()
        .position(|(_, beginnings)| beginnings.iter().any(|b| name.starts_with(b)));
    group.unwrap_or_else(|| panic!("{name} has no group in docs/metrics.md"))
}

fn tables() -> String {
    let mut page = String::new();
    for (at, (heading, _)) in GROUPS.iter().enumerate() {
        write!(
            page,
            "\n### {heading}\n\n| metric | kind | labels | |\n|---|---|---|---|\n"
        )
        .unwrap();
        for definition in ALL.iter().filter(|definition| group_of(definition.name) == at) {
            let labels: Vec<String> = definition
                .labels
                .iter()
                .map(|label| format!("`{label}`"))
                .collect();
            let mut help = definition.help.to_owned();
            if let Kind::Histogram(bounds) = definition.kind {
                let bounds: Vec<String> = bounds.iter().map(ToString::to_string).collect();
                write!(help, " Buckets: {}.", bounds.join(", ")).unwrap();
            }
            let (name, kind) = (definition.name, definition.kind.as_str());
            writeln!(page, "| `{name}` | {kind} | {} | {help} |", labels.join(", ")).unwrap();
        }
    }
    page.push('\n');
    page
}

#[test]
fn the_page_has_every_metric_there_is() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).expect("the beginning is marked");
    let (_, after) = rest.split_once(END).expect("the end is marked");
    let expected = format!("{before}{BEGIN}{}{END}{after}", tables());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &expected).unwrap();
    } else {
        assert!(
            page == expected,
            "docs/metrics.md is out of date: run again with UPDATE_DOCS=1"
        );
    }
}
