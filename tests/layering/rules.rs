//! Who may name what.

use std::collections::BTreeSet;
use std::fmt;

use crate::paths::{File, Mention, Path};

/// Something named where it must not be.
#[derive(Debug, PartialEq, Eq)]
pub struct Violation {
    file: String,
    line: usize,
    sentence: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.sentence)
    }
}

/// A top-level module, the others it may name, and why no more.
struct Layer {
    name: &'static str,
    may_name: &'static [&'static str],
    why: &'static str,
}

const LAYERS: &[Layer] = &[
    Layer {
        name: "domain",
        may_name: &[],
        why: "it decides, and knows nobody who acts",
    },
    Layer {
        name: "config",
        may_name: &["domain"],
        why: "it is read before anything exists",
    },
    Layer {
        name: "infra",
        may_name: &["domain"],
        why: "it does one thing each, in domain words, with settings of its own",
    },
    Layer {
        name: "actors",
        may_name: &["domain", "infra", "config"],
        why: "they own state, and do not know who asks or whether the world is simulated",
    },
    Layer {
        name: "api",
        may_name: &["domain", "actors", "config"],
        why: "it translates for the actors, and acts on nothing itself",
    },
    Layer {
        name: "sim",
        may_name: &["domain", "infra"],
        why: "it is the far side of infra's protocols, and knows nobody on the near side",
    },
    Layer {
        name: "assembly",
        may_name: &["domain", "config", "infra", "actors"],
        why: "it makes a tree from a configuration, and does not know who speaks for it or whether the world is simulated",
    },
    Layer {
        name: "rehearsal",
        may_name: &["domain", "config", "infra", "actors", "assembly", "sim"],
        why: "it plays the tree against the simulated world, and does not know who watches",
    },
    Layer {
        name: "cli",
        may_name: &[
            "domain",
            "config",
            "infra",
            "actors",
            "api",
            "assembly",
            "sim",
            "rehearsal",
        ],
        why: "it puts everything together and speaks to people",
    },
    Layer {
        name: "main",
        may_name: &[
            "domain",
            "config",
            "infra",
            "actors",
            "api",
            "assembly",
            "sim",
            "rehearsal",
            "cli",
        ],
        why: "it is the binary",
    },
];

/// A library and the only places that may name it, as beginnings of file names.
pub struct Owned {
    /// As written in source; a `*` at the end stands for anything.
    pub library: &'static str,
    places: &'static [&'static str],
    why: &'static str,
}

const fn owned(library: &'static str, places: &'static [&'static str], why: &'static str) -> Owned {
    Owned { library, places, why }
}

const SPEAKS: &str = "HTTP and Socket.IO are spoken in api alone";
const TRACES: &str = "everybody says what happens with tracing, and one place sends it";
const COMMAND_LINE: &str = "the terminal is the command line's";

pub const OWNERS: &[Owned] = &[
    owned("axum", &["src/api/"], SPEAKS),
    owned("tower", &["src/api/"], SPEAKS),
    owned("tower_http", &["src/api/"], SPEAKS),
    owned("socketioxide", &["src/api/"], SPEAKS),
    owned("utoipa", &["src/api/"], SPEAKS),
    owned("utoipa_axum", &["src/api/"], SPEAKS),
    owned("utoipa_swagger_ui", &["src/api/"], SPEAKS),
    owned(
        "ractor",
        &["src/actors/"],
        "outsiders hold handles, never an actor",
    ),
    owned(
        "aws_lc_rs",
        &["src/infra/vault", "src/infra/ssh/rsa.rs"],
        "secrets are sealed in one place; besides, SSH signs with RSA keys",
    ),
    owned(
        "aws_*",
        &[
            "src/infra/cloud/ec2",
            "src/infra/secrets/aws.rs",
            "src/infra/archive/s3",
            "src/infra/aws.rs",
        ],
        "AWS's types stay behind the traits of the cloud, the secret store and the archive",
    ),
    owned("obws", &["src/infra/obs"], "OBS stays behind its trait"),
    owned(
        "russh",
        &["src/infra/ssh", "src/sim/wire"],
        "SSH stays behind its trait",
    ),
    owned(
        "minijinja",
        &["src/infra/template"],
        "only a show's template is one",
    ),
    owned("rusqlite", &["src/infra/ledger"], "only the ledger writes"),
    owned(
        "prometheus_client",
        &["src/infra/metrics"],
        "whoever counts holds a figure, not the library",
    ),
    owned(
        "procfs",
        &["src/infra/metrics/process.rs"],
        "only metrics look at our own process",
    ),
    owned(
        "reqwest",
        &["src/infra/", "src/cli/"],
        "outgoing HTTP is infra's, or the client's",
    ),
    owned(
        "tokio_tungstenite",
        &["src/sim/"],
        "it is the simulated studio's server",
    ),
    owned("opentelemetry*", &["src/cli/otlp.rs"], TRACES),
    owned(
        "tracing_opentelemetry",
        &["src/cli/otlp.rs", "src/cli/logging.rs"],
        TRACES,
    ),
    owned("prost", &[], "it is for tests"),
    owned("clap", &["src/cli/", "src/main.rs"], COMMAND_LINE),
    owned("clap_complete", &["src/cli/"], COMMAND_LINE),
    owned("comfy_table", &["src/cli/"], COMMAND_LINE),
    owned("crossterm", &["src/cli/"], COMMAND_LINE),
    owned("indicatif", &["src/cli/"], COMMAND_LINE),
    owned(
        "quick_junit",
        &["src/cli/rehearse/junit.rs"],
        "a build server's format is one way to show a report",
    ),
    owned(
        "anyhow",
        &["src/assembly/", "src/rehearsal/", "src/cli/", "src/main.rs"],
        "a library's errors are typed",
    ),
    owned("proptest", &[], "it is for tests"),
    owned(
        "tempfile",
        &["src/rehearsal/", "src/cli/"],
        "only a stage and tests need a directory that goes away",
    ),
];

/// Whatever takes part in a simulation.
const SIMULATED: &[&str] = &[
    "src/actors/",
    "src/infra/ledger/",
    "src/rehearsal/simulation/",
    "src/sim/direct/",
];

/// What may not be named among the actors, nor where: by its order, its value or its time two runs of one seed would
/// differ.
const BY_CHANCE: &[(&str, &[&str])] = &[
    ("std::collections::HashMap", &[]),
    ("std::collections::HashSet", &[]),
    ("std::hash::RandomState", &[]),
    ("std::thread", &[]),
    ("std::time::Instant", &[]),
    // The one clock reads it once. A file on a machine has a time of that kind.
    (
        "std::time::SystemTime",
        &["src/actors/clock.rs", "src/actors/archive/mod.rs"],
    ),
    ("imbl::HashMap", &[]),
    ("imbl::HashSet", &[]),
    ("rand", &[]),
];

/// What pure code may name of the standard library: no clock, thread, lock, file, socket or process, and no
/// map whose order is random. Whole modules that also hold one of those are not listed.
const PURE_STD: &[&str] = &[
    "array",
    "ascii",
    "borrow",
    "boxed",
    "char",
    "clone",
    "cmp",
    "collections::BTreeMap",
    "collections::BTreeSet",
    "collections::BinaryHeap",
    "collections::VecDeque",
    "collections::binary_heap",
    "collections::btree_map",
    "collections::btree_set",
    "collections::vec_deque",
    "convert",
    "default",
    "error",
    "f64",
    "fmt",
    "hash::Hash",
    "hash::Hasher",
    "i64",
    "iter",
    "marker",
    "mem",
    "net::IpAddr",
    "net::Ipv4Addr",
    "net::Ipv6Addr",
    "num",
    "ops",
    "option",
    "result",
    "slice",
    "str",
    "string",
    "sync::Arc",
    "time::Duration",
    "u32",
    "u64",
    "usize",
    "vec",
];

/// `serde_json` reads and writes text in memory, no more.
const PURE_CRATES: &[&str] = &["serde", "serde_json", "thiserror"];
const PURE_CRATES_IN_TESTS: &[&str] = &["proptest"];

/// Persistent maps are data; the hashed ones have a random order.
const PURE_IMBL: &[&str] = &["OrdMap", "OrdSet", "Vector", "ordmap", "ordset", "vector"];

/// Everything wrong in one file. `crates` are the names that begin a path into another crate.
pub fn violations(file: &File, crates: &BTreeSet<String>) -> Vec<Violation> {
    let violation = |line: usize, sentence: String| Violation {
        file: file.name.clone(),
        line,
        sentence,
    };
    let Some(own) = file.module.first() else {
        return Vec::new(); // lib.rs: the crate map
    };
    let Some(layer) = LAYERS.iter().find(|layer| layer.name == own) else {
        let sentence = format!(
            "{own} is in no layer: say in tests/layering/rules.rs what it may name and who may name it"
        );
        return vec![violation(1, sentence)];
    };
    file.mentions
        .iter()
        .filter_map(|mention| {
            let sentence = match &mention.path {
                Path::Ours(path) => between_layers(layer, path, mention.in_test),
                Path::Other(path) if path.first().is_some_and(|name| crates.contains(name)) => {
                    if layer.name == "domain" {
                        impure(path, mention)
                    } else {
                        out_of_place(&file.name, path, mention.in_test)
                            .or_else(|| by_chance(&file.name, path, mention.in_test))
                    }
                }
                Path::Other(_) => None,
            };
            sentence.map(|sentence| violation(mention.line, sentence))
        })
        .collect()
}

fn between_layers(layer: &Layer, path: &[String], in_test: bool) -> Option<String> {
    let target = path.first()?;
    let known = LAYERS.iter().any(|layer| layer.name == target);
    let allowed = target == layer.name || layer.may_name.contains(&target.as_str());
    if !known || allowed || (in_test && layer.name != "domain") {
        return None;
    }
    Some(format!(
        "{} must not name crate::{}: {}",
        layer.name,
        path.join("::"),
        layer.why
    ))
}

fn impure(path: &[String], mention: &Mention) -> Option<String> {
    let (library, inner) = path.split_first()?;
    let inner = inner.join("::");
    let listed = |list: &[&str]| {
        list.iter().any(|entry| {
            inner
                .strip_prefix(entry)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        })
    };
    let pure = match library.as_str() {
        "std" | "core" | "alloc" => listed(PURE_STD),
        "imbl" => listed(PURE_IMBL),
        other => PURE_CRATES.contains(&other) || (mention.in_test && PURE_CRATES_IN_TESTS.contains(&other)),
    };
    (!pure).then(|| {
        format!(
            "domain must not name {}: it is pure, so of libraries it has serde, serde_json, thiserror and imbl's ordered maps, and \
             of std nothing with a clock, a thread, a lock, I/O or a random order",
            path.join("::")
        )
    })
}

fn by_chance(file: &str, path: &[String], in_test: bool) -> Option<String> {
    let named = path.join("::");
    if named.starts_with("tokio::sync::watch") && SIMULATED.iter().any(|place| file.starts_with(place)) {
        return Some(format!(
            "{named} wakes in an order that it draws, and takes part in simulations here: infra::watch does not"
        ));
    }
    if in_test || !file.starts_with("src/actors/") {
        return None;
    }
    let (what, _) = BY_CHANCE.iter().find(|(what, places)| {
        let rest = named.strip_prefix(what);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::")) && !places.contains(&file)
    })?;
    Some(format!(
        "{named} must not be named in src/actors: with {what} two runs of the simulation from one seed differ; take \
         tokio's time, the context's clock and ordered maps"
    ))
}

fn out_of_place(file: &str, path: &[String], in_test: bool) -> Option<String> {
    let library = path.first()?;
    let owned = OWNERS
        .iter()
        .find(|owned| match owned.library.strip_suffix('*') {
            Some(beginning) => library.starts_with(beginning),
            None => owned.library == library,
        })?;
    if in_test || owned.places.iter().any(|place| file.starts_with(place)) {
        return None;
    }
    let places = if owned.places.is_empty() {
        "tests".to_owned()
    } else {
        owned.places.join(" and ")
    };
    Some(format!(
        "{} belongs in {places} alone: {}",
        path.join("::"),
        owned.why
    ))
}
