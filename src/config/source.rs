//! Where a value came from, and what it is.

use std::fmt;
use std::path::PathBuf;

/// Who said that a key has its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    Default,
    /// A configuration file (with line), or a file that holds a secret (without).
    File {
        path: PathBuf,
        line: Option<usize>,
    },
    /// An environment variable, by name.
    Environment {
        variable: String,
    },
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File {
                path,
                line: Some(line),
            } => write!(f, "{}:{line}", path.display()),
            Self::File { path, line: None } => write!(f, "{}", path.display()),
            Self::Environment { variable } => write!(f, "environment {variable}"),
        }
    }
}

/// One key with the value in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Dotted: `pool.warm_count`.
    pub key: String,
    /// As it would stand in the file; `(secret)` or `(none)` for a secret, `(none)` for what is not set.
    pub value: String,
    pub source: Source,
}

/// Legal, but probably not meant. Boot logs these and `check-config` prints them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Warning {
    #[error("{variable} is set, but this version does not use it")]
    Unused { variable: &'static str },
    #[error(
        "server.auth = \"compat\": anyone who reaches {listen} can assign and release VMs; \
         use \"required\" as soon as every client sends a token"
    )]
    Compat { listen: std::net::SocketAddr },
    #[error(
        "no admin token is set: the routes that always need one will refuse everybody; set COORDINATOR_ADMIN_TOKEN"
    )]
    NoAdminToken,
    #[error(
        "ssh is disabled because there is no key (ssh.key_path): liveness and fencing over SSH are not available"
    )]
    NoSsh,
    #[error("cloud.ami_id is not set: the pool can start and stop instances, but not launch any")]
    NoImage,
}
