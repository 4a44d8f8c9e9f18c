//! What a template can be told: declared with kind, limits and default, and checked before anything is rendered.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::error::RenderError;

/// Longest text of a variable, in characters.
const TEXT_CHARS_MAX: usize = 500;
/// Most items of a list that says nothing else.
const ITEMS_MAX: usize = 32;
/// Names that a template gets from elsewhere.
const TAKEN: [&str; 2] = ["show", "loop"];
/// The field that every item of a list of tables gets: its place, from 1.
const NUMBER: &str = "number";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// One line.
    Text,
    /// An http or https address, or the empty text.
    Url,
    Number,
    Flag,
    /// Of tables with the fields that are declared.
    List,
}

/// A variable as a template declares it.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Variable {
    pub kind: Kind,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub about: String,
    /// Without one the variable has to be given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
    /// Least and greatest number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items_min: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items_max: Option<usize>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, Variable>,
}

impl Variable {
    /// Whether it is declared in a way that makes sense.
    ///
    /// # Errors
    /// What does not.
    pub(super) fn check(&self, name: &str) -> Result<(), String> {
        let legal = name.starts_with(|c: char| c.is_ascii_lowercase())
            && name
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        if !legal || TAKEN.contains(&name) {
            return Err(
                "a name has lower-case letters, digits and underscores, and is not show or loop".to_owned(),
            );
        }
        if self.kind != Kind::List && !self.fields.is_empty() {
            return Err("only a list has fields".to_owned());
        }
        for (field, variable) in &self.fields {
            if variable.kind == Kind::List || field == NUMBER {
                return Err(format!(
                    "fields.{field}: a field is no list, and {NUMBER} is taken"
                ));
            }
            variable.check(field)?;
        }
        match &self.default {
            Some(default) => self
                .value(name, default)
                .map(drop)
                .map_err(|error| error.to_string()),
            None => Ok(()),
        }
    }

    /// The value in its place, with defaults filled in.
    fn value(&self, path: &str, given: &Value) -> Result<Value, RenderError> {
        let wrong = |problem: String| RenderError::Variable {
            variable: path.to_owned(),
            problem,
        };
        match (self.kind, given) {
            (Kind::Text, Value::String(text)) => {
                let fits = text.chars().count() <= TEXT_CHARS_MAX && !text.chars().any(char::is_control);
                let expected = || {
                    wrong(format!(
                        "one line of at most {TEXT_CHARS_MAX} characters is expected"
                    ))
                };
                fits.then(|| given.clone()).ok_or_else(expected)
            }
            (Kind::Url, Value::String(text)) => {
                let expected = || wrong("an http or https address without spaces is expected".to_owned());
                is_url(text).then(|| given.clone()).ok_or_else(expected)
            }
            (Kind::Number, Value::Number(number)) => {
                let number = number.as_f64().unwrap_or(f64::NAN);
                let (min, max) = (self.min.unwrap_or(f64::MIN), self.max.unwrap_or(f64::MAX));
                let expected = || wrong(format!("a number from {min} to {max} is expected"));
                (min..=max)
                    .contains(&number)
                    .then(|| given.clone())
                    .ok_or_else(expected)
            }
            (Kind::Flag, Value::Bool(_)) => Ok(given.clone()),
            (Kind::List, Value::Array(items)) => self.list(path, items),
            (Kind::Text | Kind::Url | Kind::Number | Kind::Flag | Kind::List, _) => {
                let expected = match self.kind {
                    Kind::Text | Kind::Url => "a text",
                    Kind::Number => "a number",
                    Kind::Flag => "true or false",
                    Kind::List => "a list",
                };
                Err(wrong(format!("{expected} is expected")))
            }
        }
    }

    fn list(&self, path: &str, items: &[Value]) -> Result<Value, RenderError> {
        let wrong = |variable: &str, problem: String| RenderError::Variable {
            variable: variable.to_owned(),
            problem,
        };
        let (least, most) = (self.items_min.unwrap_or(0), self.items_max.unwrap_or(ITEMS_MAX));
        if !(least..=most).contains(&items.len()) {
            let problem = format!("{least} to {most} items are expected, not {}", items.len());
            return Err(wrong(path, problem));
        }
        let mut list = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let path = format!("{path}[{index}]");
            let Value::Object(item) = item else {
                return Err(wrong(&path, "a table is expected".to_owned()));
            };
            let mut fields = filled(&path, &self.fields, item)?;
            fields.insert(NUMBER.to_owned(), Value::from(index + 1));
            list.push(Value::Object(fields.into_iter().collect()));
        }
        Ok(Value::Array(list))
    }
}

/// The values of a template's variables.
///
/// # Errors
/// [`RenderError::Variable`]: one that is missing, unknown or not as declared.
pub(super) fn values(
    template: &str,
    declared: &BTreeMap<String, Variable>,
    given: &Map<String, Value>,
) -> Result<BTreeMap<String, Value>, RenderError> {
    filled("variables", declared, given).map_err(|error| match error {
        RenderError::Variable { variable, problem } => RenderError::Variable {
            variable,
            problem: format!("{problem} (template {template})"),
        },
        other @ RenderError::Template { .. } => other,
    })
}

fn filled(
    path: &str,
    declared: &BTreeMap<String, Variable>,
    given: &Map<String, Value>,
) -> Result<BTreeMap<String, Value>, RenderError> {
    if let Some(unknown) = given.keys().find(|name| !declared.contains_key(*name)) {
        let known: Vec<&str> = declared.keys().map(String::as_str).collect();
        return Err(RenderError::Variable {
            variable: format!("{path}.{unknown}"),
            problem: format!("there is no such variable; there are {}", known.join(", ")),
        });
    }
    let mut values = BTreeMap::new();
    for (name, variable) in declared {
        let path = format!("{path}.{name}");
        let Some(value) = given.get(name).or(variable.default.as_ref()) else {
            let problem = "it has to be given".to_owned();
            return Err(RenderError::Variable {
                variable: path,
                problem,
            });
        };
        values.insert(name.clone(), variable.value(&path, value)?);
    }
    Ok(values)
}

fn is_url(text: &str) -> bool {
    if text.is_empty() {
        return true;
    }
    let host = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    let plain = !text.chars().any(|c| c.is_control() || c.is_whitespace());
    plain
        && text.chars().count() <= TEXT_CHARS_MAX
        && host.is_some_and(|host| !host.starts_with('/') && !host.is_empty())
}
