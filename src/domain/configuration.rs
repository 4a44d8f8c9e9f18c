//! What a show's studio is to be made from, and how making it went.

use serde::{Deserialize, Serialize};

use super::ids::Epoch;
use super::sealed::Sealed;
use super::studio::{Comparison, Json, MadeBy};
use super::time::Timestamp;

/// What a show was configured with. It is kept as it was asked for; the template makes a studio of it when one is
/// needed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configuration {
    /// Name of the template.
    pub template: String,
    /// The template's variables, an object.
    pub variables: Json,
    /// Where to stream to: `rtmp://host:port/app`. `None`: what the template says.
    pub stream_server: Option<String>,
    pub stream_key: Option<Sealed>,
}

impl Configuration {
    /// Whether it asks for the same. A key that was sealed anew, under another of the vault's, is taken for the same:
    /// the coordinator does that by itself.
    #[must_use]
    pub fn says_the_same(&self, other: &Self) -> bool {
        let same_key = match (&self.stream_key, &other.stream_key) {
            (Some(key), Some(other)) => key == other || key.key_id() != other.key_id(),
            (key, other) => key.is_none() && other.is_none(),
        };
        same_key
            && self.template == other.template
            && self.variables == other.variables
            && self.stream_server == other.stream_server
    }
}

/// A studio was made from the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    pub at: Timestamp,
    /// Of the VM that it was made on.
    pub epoch: Epoch,
    /// What could not be made, one sentence each.
    pub differences: Vec<String>,
    /// Unknown in older journals.
    #[serde(default)]
    pub by: Option<MadeBy>,
    /// What was found when it was compared with what it was to be; absent until then, and in older journals.
    #[serde(default)]
    pub comparison: Option<Comparison>,
}
