//! A competition's configuration on the wire.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::Iso;
use super::show::ComparisonView;
use crate::actors::coordinator::{Apply, Configure};
use crate::domain::configuration::Configuration;
use crate::domain::show::Show;
use crate::domain::studio::{MadeBy, Secret, without_secrets};

/// What a competition's studio is to be made from. It has no `Debug`: there may be a stream key in it.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConfigureBody {
    #[schema(example = "multi-camera")]
    pub template: String,
    /// What the template is told; `GET /api/show-templates` says what it can be told.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub variables: Map<String, Value>,
    #[serde(default)]
    pub stream: StreamBody,
    #[serde(default)]
    pub apply: ApplyWord,
}

/// Where the competition is streamed to.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StreamBody {
    /// Without one: what the template says.
    #[schema(example = "rtmp://ingest.example.org/live")]
    pub server: Option<String>,
    /// The stream key. Absent: the one that is set stays; `null` or empty: none. It is never told again.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, write_only)]
    pub key: Option<Option<String>>,
}

/// Absent is `None`, `null` is `Some(None)`.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::<String>::deserialize(deserializer).map(Some)
}

/// When it is to be carried out.
#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ApplyWord {
    /// At once; refused while the competition is on air.
    #[default]
    OffAir,
    /// At once, on air too.
    Now,
    /// On its next VM.
    Later,
}

impl From<ConfigureBody> for Configure {
    fn from(body: ConfigureBody) -> Self {
        Self {
            template: body.template,
            variables: body.variables,
            stream_server: body.stream.server,
            stream_key: body
                .stream
                .key
                .map(|key| Secret::stream_key(&key.unwrap_or_default())),
            apply: match body.apply {
                ApplyWord::OffAir => Apply::OffAir,
                ApplyWord::Now => Apply::Now,
                ApplyWord::Later => Apply::Later,
            },
        }
    }
}

/// What a competition's studio is made from, and how making it went.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigurationView {
    pub success: bool,
    pub competition_id: String,
    pub template: String,
    /// `(secret)` in place of a secret; a value with that in it is not taken back.
    #[schema(value_type = Object)]
    pub variables: Value,
    pub stream: StreamView,
    /// `waiting`: for a VM. `making`: on the VM it has. `made`. `kept`: the VM it has was set up before this was said, or otherwise.
    #[schema(example = "made")]
    pub state: &'static str,
    /// The VM it has.
    pub vm_id: Option<String>,
    pub configured_at: Option<Iso>,
    /// What could not be made, one sentence each.
    pub differences: Vec<String>,
    /// `requests file`: how it was made, as for a move; `null` until then.
    pub restored_by: Option<&'static str>,
    /// Why it was not made from a file though it should have been.
    pub not_by_file: Option<String>,
    /// What was found when the studio was read again; `null` until then.
    pub comparison: Option<ComparisonView>,
}

/// Where the competition is streamed to.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StreamView {
    /// Without what is secret in an address.
    pub server: Option<String>,
    /// Whether there is a stream key.
    pub key_set: bool,
}

impl ConfigurationView {
    #[must_use]
    pub fn new(show: &Show, configuration: &Configuration) -> Self {
        let state = match (&show.vm, &show.made) {
            (None, _) => "waiting",
            (Some(_), Some(_)) => "made",
            (Some(_), None) if show.unrestored && show.studio.is_none() => "making",
            (Some(_), None) => "kept",
        };
        let made = show.made.as_ref();
        let by = made.and_then(|made| made.by.as_ref());
        Self {
            success: true,
            competition_id: show.id.to_string(),
            template: configuration.template.clone(),
            variables: configuration.variables.redacted(),
            stream: StreamView {
                server: configuration.stream_server.as_deref().map(without_secrets),
                key_set: configuration.stream_key.is_some(),
            },
            state,
            vm_id: show.vm.as_ref().map(ToString::to_string),
            configured_at: made.map(|made| Iso(made.at)),
            differences: made.map(|made| made.differences.clone()).unwrap_or_default(),
            restored_by: by.map(MadeBy::as_str),
            not_by_file: by.and_then(MadeBy::why_not_file).map(str::to_owned),
            comparison: made
                .and_then(|made| made.comparison.as_ref())
                .map(ComparisonView::from),
        }
    }
}
