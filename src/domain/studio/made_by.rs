//! By which way a studio was made.

use serde::{Deserialize, Serialize};

/// How a studio was made equal to what it was to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MadeBy {
    /// Request by request.
    Requests,
    /// From a scene collection's file; requests made up what was missing.
    File,
    /// Request by request, since making it from a file failed.
    RequestsInstead {
        /// In one sentence.
        why: String,
    },
}

impl MadeBy {
    /// As it is written down.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Requests | Self::RequestsInstead { .. } => "requests",
            Self::File => "file",
        }
    }

    /// Why it was not made from a file though it should have been.
    #[must_use]
    pub fn why_not_file(&self) -> Option<&str> {
        match self {
            Self::RequestsInstead { why } => Some(why),
            Self::Requests | Self::File => None,
        }
    }
}
