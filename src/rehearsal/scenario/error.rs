//! What can be wrong with a scenario file, said so that it can be mended without reading code.

use std::fmt;
use std::path::PathBuf;

use super::read::FILE_BYTES_MAX;

/// Why there is no scenario.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    #[error("there is no scenario {name:?} (a file has a / in it, or ends in .toml){}", suggestion(.nearest.as_deref(), .known))]
    Unknown {
        name: String,
        nearest: Option<String>,
        known: Vec<String>,
    },
    #[error("the scenario {} cannot be read", .path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the scenario {} has more than {FILE_BYTES_MAX} bytes", .path.display())]
    TooLarge { path: PathBuf },
    #[error("{}:{line}: not valid TOML: {message}", .path.display())]
    Syntax {
        path: PathBuf,
        line: usize,
        message: String,
    },
    #[error("the scenario {} is not valid:{}", .path.display(), Listed(.path, .problems))]
    Invalid {
        path: PathBuf,
        /// At least one, in the order of their lines.
        problems: Vec<Problem>,
    },
}

/// One mistake, with the line where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub line: usize,
    pub mistake: Mistake,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mistake {
    #[error("there is no key {key}{}", suggestion(.nearest.as_deref(), .valid))]
    UnknownKey {
        key: String,
        /// The valid key most like it.
        nearest: Option<String>,
        /// What is valid there.
        valid: Vec<String>,
    },
    #[error("{key} = {given} is not allowed: it must be {allowed}")]
    Value {
        key: String,
        given: String,
        allowed: String,
    },
    /// Nobody and nothing is called that.
    #[error("{key} = {given:?} is not allowed: {why}")]
    Target { key: String, given: String, why: String },
    #[error("{key} is missing: it must be {allowed}")]
    Missing { key: String, allowed: String },
    /// Two things that do not go together.
    #[error("{0}")]
    Conflict(String),
}

pub(super) fn suggestion(nearest: Option<&str>, valid: &[String]) -> String {
    match nearest {
        Some(nearest) => format!("; did you mean {nearest}?"),
        None => format!("; there are {}", valid.join(", ")),
    }
}

struct Listed<'p>(&'p PathBuf, &'p [Problem]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.0.display();
        self.1
            .iter()
            .try_for_each(|problem| write!(f, "\n  {path}:{}: {}", problem.line, problem.mistake))
    }
}
