//! Templates of shows on the wire.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::actors::coordinator::{Kind, Template, Variable};
use crate::domain::studio::shown;

/// Every template.
#[derive(Debug, Serialize, ToSchema)]
pub struct TemplatesReply {
    /// By name.
    pub templates: Vec<TemplateView>,
}

/// One template.
#[derive(Debug, Serialize, ToSchema)]
pub struct TemplateView {
    #[schema(example = "multi-camera")]
    pub name: String,
    pub description: String,
    pub variables: BTreeMap<String, VariableView>,
}

/// What a template can be told.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct VariableView {
    /// `text url number flag list`
    pub kind: &'static str,
    pub about: String,
    pub required: bool,
    #[schema(value_type = Option<Object>)]
    pub default: Option<Value>,
    /// Least and greatest number.
    pub min: Option<f64>,
    pub max: Option<f64>,
    pub items_min: Option<usize>,
    pub items_max: Option<usize>,
    /// Of the items of a list.
    #[schema(no_recursion)]
    pub fields: BTreeMap<String, VariableView>,
}

impl From<&Template> for TemplateView {
    fn from(template: &Template) -> Self {
        Self {
            name: template.name().to_owned(),
            description: template.description().to_owned(),
            variables: views(template.variables()),
        }
    }
}

fn views(variables: &BTreeMap<String, Variable>) -> BTreeMap<String, VariableView> {
    let view = |(name, variable): (&String, &Variable)| (name.clone(), VariableView::new(name, variable));
    variables.iter().map(view).collect()
}

impl VariableView {
    fn new(name: &str, variable: &Variable) -> Self {
        Self {
            kind: match variable.kind {
                Kind::Text => "text",
                Kind::Url => "url",
                Kind::Number => "number",
                Kind::Flag => "flag",
                Kind::List => "list",
            },
            about: variable.about.clone(),
            required: variable.default.is_none(),
            default: variable.default.as_ref().map(|default| shown(name, default)),
            min: variable.min,
            max: variable.max,
            items_min: variable.items_min,
            items_max: variable.items_max,
            fields: views(&variable.fields),
        }
    }
}
