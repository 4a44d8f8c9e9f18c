//! What cannot happen to some actors because of how they are written, read from their source.

use std::path::{Path, PathBuf};

/// A function that ractor calls.
struct Callback {
    file: String,
    name: String,
    text: String,
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Those of every actor in the tree.
fn callbacks() -> Vec<Callback> {
    const NAMES: [&str; 5] = [
        "pre_start",
        "post_start",
        "handle",
        "handle_supervisor_evt",
        "post_stop",
    ];
    let actors = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/actors");
    let mut found = Vec::new();
    for path in files(&actors) {
        let source = std::fs::read_to_string(&path).unwrap();
        let source = source.split("#[cfg(test)]").next().unwrap();
        for name in NAMES {
            let Some((_, rest)) = source.split_once(&format!("\n    async fn {name}(")) else {
                continue;
            };
            let (text, _) = rest.split_once("\n    }\n").expect("it ends");
            found.push(Callback {
                file: path.strip_prefix(&actors).unwrap().display().to_string(),
                name: name.to_owned(),
                text: text.to_owned(),
            });
        }
    }
    found
}

#[test]
fn no_actor_but_the_shell_of_a_task_ends_itself_by_an_error() {
    let callbacks = callbacks();
    let handlers = callbacks.iter().filter(|callback| callback.name == "handle");
    assert_eq!(
        handlers.count(),
        7,
        "vm, show, executions, pool, cloud, supervisor, task"
    );
    let fails = |callback: &&Callback| {
        callback.name != "pre_start"
            && ["Err(\"", "Err(error", "?;", "?.", "?)"]
                .iter()
                .any(|way| callback.text.contains(way))
    };
    let failing: Vec<&str> = callbacks
        .iter()
        .filter(fails)
        .map(|callback| callback.file.as_str())
        .collect();
    assert_eq!(failing, ["task.rs"]);
}

/// So none of them can hang, nor whoever waits for their start.
#[test]
fn the_pool_waits_for_nothing_and_neither_does_the_start_of_a_vms_or_a_shows_actor() {
    let waits = |callback: &Callback| callback.text.contains(".await");
    let callbacks = callbacks();
    let waiting = |file: &str, name: &str| {
        let mut these = callbacks
            .iter()
            .filter(|callback| callback.file == file && callback.name == name);
        waits(these.next().expect("it has one"))
    };
    assert!(waiting("executions/mod.rs", "pre_start"), "they are told apart");
    assert!(!waiting("pool.rs", "handle") && !waiting("pool.rs", "pre_start"));
    assert!(!waiting("vm/mod.rs", "pre_start") && !waiting("show/mod.rs", "pre_start"));
}
