//! Four words, one direction: `domain` decides, `actors` own, `infra` does, `api` speaks. This holds the
//! source to it: which layer may name which, and which library belongs to which place.
//!
//! It reads tokens, not types: every path that is written anywhere in a file (in `use`, in expressions, in
//! attributes, inside macros) is looked at, and nothing else. Tests inside `src` may use what they need,
//! except in `domain`, which is tested without a runtime, too.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

mod order;
mod paths;
mod rules;
mod snippets;

use paths::File;
use rules::Violation;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Names under which the crates in `Cargo.toml` are written in source.
fn crates() -> BTreeSet<String> {
    let manifest: toml::Table = fs::read_to_string(root().join("Cargo.toml"))
        .unwrap()
        .parse()
        .unwrap();
    ["dependencies", "dev-dependencies", "build-dependencies"]
        .iter()
        .filter_map(|table| manifest.get(*table)?.as_table())
        .flat_map(|table| table.keys().map(|name| name.replace('-', "_")))
        .chain(["std", "core", "alloc"].map(str::to_owned))
        .collect()
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Every file under `src`, read. Those that only exist for tests are marked so by whoever declares them.
fn sources() -> Vec<File> {
    let mut found = Vec::new();
    rust_files(&root().join("src"), &mut found);
    let read = |path: PathBuf| {
        let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
        File::read(&name, &fs::read_to_string(&path).unwrap())
    };
    paths::mark_test_files(found.into_iter().map(read).collect())
}

#[test]
fn every_file_keeps_to_its_layer() {
    let crates = crates();
    let violations: Vec<Violation> = sources()
        .iter()
        .flat_map(|file| rules::violations(file, &crates))
        .collect();
    let sentences: Vec<String> = violations.iter().map(ToString::to_string).collect();
    assert!(sentences.is_empty(), "\n\n{}\n", sentences.join("\n"));
}

#[test]
fn the_files_and_crates_that_the_rules_speak_of_are_found() {
    let files: Vec<String> = sources().into_iter().map(|file| file.name).collect();
    for expected in [
        "src/lib.rs",
        "src/main.rs",
        "src/domain/ids.rs",
        "src/infra/cloud/mod.rs",
    ] {
        assert!(
            files.iter().any(|file| file == expected),
            "{expected} is not among {files:?}"
        );
    }
    let crates = crates();
    for owned in rules::OWNERS.iter().filter(|owned| !owned.library.ends_with('*')) {
        assert!(
            crates.contains(owned.library),
            "{} is not in Cargo.toml: its rule is stale",
            owned.library
        );
    }
}

#[test]
fn no_actor_draws_lots_between_what_is_ready() {
    let mut found = Vec::new();
    rust_files(&root().join("src/actors"), &mut found);
    assert!(!found.is_empty());
    let drawn: Vec<String> = found
        .iter()
        .flat_map(|path| {
            let name = path.display().to_string();
            let lines = order::selects_by_lot(&name, &fs::read_to_string(path).unwrap());
            lines.into_iter().map(move |line| format!("{name}:{line}"))
        })
        .collect();
    assert!(
        drawn.is_empty(),
        "these `select!` draw lots between branches that are ready: begin with `biased;`, and say why in that order\n{}",
        drawn.join("\n")
    );
}
