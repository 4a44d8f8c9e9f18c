//! The catalogue of operations, as clients read it.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::operation::{Operation, Parameter, Pattern};
use crate::domain::time::millis;

/// Everything that may be done on a VM over SSH.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OperationList {
    pub operations: Vec<OperationView>,
}

/// One operation.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OperationView {
    #[schema(example = "RESTART_OBS")]
    pub id: String,
    /// For people.
    pub name: String,
    pub description: String,
    /// Limit on all of it, in milliseconds.
    pub timeout: u64,
    /// Whether it runs as root.
    pub sudo: bool,
    /// Whether it is refused while the VM is on air.
    pub refused_on_air: bool,
    /// What a caller may fill in, by name.
    pub parameters: BTreeMap<String, ParameterView>,
}

/// A blank that a caller fills in.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ParameterView {
    pub description: String,
    #[serde(flatten)]
    pub pattern: PatternView,
    /// Without one a value must be given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
}

/// What a value must look like.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", tag = "type")]
pub enum PatternView {
    /// A whole number in this range.
    Whole { minimum: u64, maximum: u64 },
    /// One of these.
    Choice { values: Vec<String> },
    /// Letters, digits and these characters, not starting with a hyphen.
    #[serde(rename_all = "camelCase")]
    Word { also: String, max_length: usize },
    /// The name of a systemd unit.
    Unit,
    /// An absolute path on the VM.
    Path,
}

impl From<&Operation> for OperationView {
    fn from(operation: &Operation) -> Self {
        let parameters = operation.parameters.iter();
        Self {
            id: operation.id.to_string(),
            name: operation.name.clone(),
            description: operation.description.clone(),
            timeout: millis(operation.timeout),
            sudo: operation.sudo,
            refused_on_air: operation.refused_on_air,
            parameters: parameters
                .map(|(name, parameter)| (name.clone(), parameter.into()))
                .collect(),
        }
    }
}

impl From<&Parameter> for ParameterView {
    fn from(parameter: &Parameter) -> Self {
        Self {
            description: parameter.description.clone(),
            pattern: match &parameter.pattern {
                Pattern::Whole { min, max } => PatternView::Whole {
                    minimum: *min,
                    maximum: *max,
                },
                Pattern::Choice { values } => PatternView::Choice {
                    values: values.clone(),
                },
                Pattern::Word { also, chars_max } => PatternView::Word {
                    also: also.clone(),
                    max_length: *chars_max,
                },
                Pattern::Unit => PatternView::Unit,
                Pattern::Path => PatternView::Path,
            },
            default: parameter.default.clone(),
        }
    }
}
