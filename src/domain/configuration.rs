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
