//! What can be wrong with a configuration, said so that it can be mended without reading code.

use std::fmt;
use std::path::PathBuf;

use super::source::{Setting, Source};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the configuration file {} cannot be read", .path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// The file is not TOML. The text of the line is not shown: it may hold a secret.
    #[error("{}:{line}: not valid TOML: {message}", .path.display())]
    Syntax {
        path: PathBuf,
        line: usize,
        message: String,
    },
    #[error("the configuration is not valid:{}", Listed(.problems))]
    Invalid {
        /// At least one: wrong values in the order of the reference, then unknown keys.
        problems: Vec<Problem>,
    },
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("{origin}: there is no key {key}{}", suggestion(.nearest.as_deref(), .valid))]
    UnknownKey {
        origin: Source,
        key: String,
        /// The valid key most like it, in the spelling of where it was given.
        nearest: Option<String>,
        /// What is valid there, when nothing is like it.
        valid: Vec<String>,
    },
    #[error("{origin}: {key} = {given} is not allowed: it must be {allowed}")]
    Value {
        origin: Source,
        key: String,
        /// As it was written; never a secret's.
        given: String,
        allowed: String,
    },
    #[error(
        "{origin}: {key} is a secret and must not stand in a configuration file; set {variable}{otherwise}"
    )]
    SecretInFile {
        origin: Source,
        key: String,
        variable: &'static str,
        /// Where else it may be.
        otherwise: String,
    },
    #[error("{origin}: the secret named by {key}_file cannot be read from {}: {reason}", .path.display())]
    SecretFile {
        origin: Source,
        key: String,
        path: PathBuf,
        reason: String,
    },
    /// Two values contradict each other.
    #[error("{message}{}", places(.origins))]
    Conflict {
        message: String,
        /// The keys that take part and where their values came from.
        origins: Vec<(String, Source)>,
    },
}

/// A contradiction as [`super::checks`] finds it: it knows the keys, not yet their sources.
pub(super) struct Conflict {
    pub keys: Vec<&'static str>,
    pub message: String,
}

impl Conflict {
    pub(super) fn located(self, settings: &[Setting]) -> Problem {
        let origins = self
            .keys
            .iter()
            .filter_map(|key| settings.iter().find(|setting| setting.key == *key))
            .map(|setting| (setting.key.clone(), setting.source.clone()))
            .collect();
        Problem::Conflict {
            message: self.message,
            origins,
        }
    }
}

fn suggestion(nearest: Option<&str>, valid: &[String]) -> String {
    match nearest {
        Some(nearest) => format!("; did you mean {nearest}?"),
        None => format!("; there are {}", valid.join(", ")),
    }
}

fn places(origins: &[(String, Source)]) -> String {
    if origins.is_empty() {
        return String::new();
    }
    let each: Vec<String> = origins
        .iter()
        .map(|(key, source)| format!("{key}: {source}"))
        .collect();
    format!(" ({})", each.join("; "))
}

struct Listed<'p>(&'p [Problem]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

/// The candidate most like `key`, both dotted. What counts is the last part; the section breaks ties, so
/// that a key in the wrong section finds its place.
pub(crate) fn nearest<'c>(key: &str, candidates: impl Iterator<Item = &'c str>) -> Option<&'c str> {
    /// Below this, a suggestion is noise: one letter in two is different.
    const LIKENESS_MIN: f64 = 0.6;
    let (section, leaf) = key.rsplit_once('.').unwrap_or(("", key));
    candidates
        .map(|candidate| {
            let (its_section, its_leaf) = candidate.rsplit_once('.').unwrap_or(("", candidate));
            let likeness = 0.8 * strsim::normalized_damerau_levenshtein(leaf, its_leaf)
                + 0.2 * strsim::normalized_damerau_levenshtein(section, its_section);
            (likeness, candidate)
        })
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}
