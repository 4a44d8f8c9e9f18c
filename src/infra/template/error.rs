//! What can be wrong with a template, and with what it is told.

use std::io;
use std::path::PathBuf;

/// A template that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("the show template {}: {source}", .path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("the show template {} has more than {limit} bytes", .path.display())]
    TooLarge { path: PathBuf, limit: u64 },
    #[error("{}: more than {limit} show templates", .path.display())]
    TooMany { path: PathBuf, limit: usize },
    #[error(
        "{}: a show template is named by its file, with up to 64 lower-case letters, digits and hyphens", .path.display()
    )]
    Name { path: PathBuf },
    #[error("{}, line {line}: {problem}", .path.display())]
    Invalid {
        path: PathBuf,
        line: usize,
        problem: String,
    },
    #[error("{}: its [example] cannot be rendered: {source}", .path.display())]
    Example { path: PathBuf, source: RenderError },
}

/// A studio that a template does not give.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// The caller's mistake.
    #[error("{variable}: {problem}")]
    Variable {
        /// For example `variables.cameras[2].port`.
        variable: String,
        problem: String,
    },
    /// The template's mistake, or a variable's that the template cannot cope with.
    #[error("{}, line {line}: {problem}", .file.display())]
    Template {
        file: PathBuf,
        line: usize,
        problem: String,
    },
}

/// A problem on a line of a template.
#[derive(Debug)]
pub(super) struct At {
    pub line: usize,
    pub problem: String,
}
