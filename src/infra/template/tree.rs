//! The file of a template as a tree in which every value knows its line.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{At, LoadError};
use super::text;
use super::variables::Variable;

/// A file, apart.
pub(super) struct Tree {
    pub description: String,
    pub variables: BTreeMap<String, Variable>,
    pub example: Option<Map<String, Value>>,
    pub studio: Node,
}

/// A value and its line.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub line: usize,
    pub value: Content,
}

#[derive(Debug, Clone)]
pub(super) enum Content {
    Text(String),
    /// A number or a truth value: nothing to expand.
    Plain(Value),
    List(Vec<Node>),
    Table(Vec<(String, Node)>),
}

pub(super) fn parse(path: &Path, file: &str) -> Result<Tree, LoadError> {
    let invalid = |At { line, problem }| LoadError::Invalid {
        path: path.to_owned(),
        line,
        problem,
    };
    let table = DeTable::parse(file).map_err(|error| LoadError::Invalid {
        path: path.to_owned(),
        line: error.span().map_or(1, |span| line_of(file, span.start)),
        problem: error.message().to_owned(),
    })?;
    let mut tree = Tree {
        description: String::new(),
        variables: BTreeMap::new(),
        example: None,
        studio: Node {
            line: 1,
            value: Content::Table(Vec::new()),
        },
    };
    let mut has_studio = false;
    for (name, value) in table.get_ref() {
        let line = line_of(file, name.span().start);
        let node = node(file, line, value).map_err(invalid)?;
        let wrong = |problem: String| invalid(At { line, problem });
        match name.get_ref().as_ref() {
            "description" => tree.description = typed(&node).map_err(wrong)?,
            "variables" => tree.variables = declared(&node).map_err(invalid)?,
            "example" => tree.example = Some(typed(&node).map_err(wrong)?),
            "studio" => {
                text::check(&node).map_err(invalid)?;
                tree.studio = node;
                has_studio = true;
            }
            other => {
                let known = "description, variables, example and studio are";
                return Err(wrong(format!("{other:?} is not a part of a template; {known}")));
            }
        }
    }
    if !has_studio {
        let problem = "it has no [studio]".to_owned();
        return Err(invalid(At { line: 1, problem }));
    }
    Ok(tree)
}

fn declared(node: &Node) -> Result<BTreeMap<String, Variable>, At> {
    let Content::Table(fields) = &node.value else {
        let problem = "variables: a table is expected".to_owned();
        return Err(At {
            line: node.line,
            problem,
        });
    };
    let mut variables = BTreeMap::new();
    for (name, node) in fields {
        let at = |problem| At {
            line: node.line,
            problem: format!("variables.{name}: {problem}"),
        };
        let variable: Variable = typed(node).map_err(at)?;
        variable.check(name).map_err(at)?;
        variables.insert(name.clone(), variable);
    }
    Ok(variables)
}

fn typed<T: serde::de::DeserializeOwned>(node: &Node) -> Result<T, String> {
    serde_path_to_error::deserialize(node.plain()).map_err(|error| {
        let path = error.path().to_string();
        match path.as_str() {
            "." => error.inner().to_string(),
            path => format!("{path}: {}", error.inner()),
        }
    })
}

impl Node {
    /// The value as it stands in the file.
    fn plain(&self) -> Value {
        match &self.value {
            Content::Text(text) => Value::String(text.clone()),
            Content::Plain(value) => value.clone(),
            Content::List(items) => Value::Array(items.iter().map(Node::plain).collect()),
            Content::Table(fields) => Value::Object(
                fields
                    .iter()
                    .map(|(name, node)| (name.clone(), node.plain()))
                    .collect(),
            ),
        }
    }
}

/// Nests as deep as the TOML parser allows, which is bounded.
fn node(file: &str, line: usize, value: &Spanned<DeValue<'_>>) -> Result<Node, At> {
    let unreadable = |what: &str| At {
        line,
        problem: format!("{what} cannot be used here"),
    };
    let value = match value.get_ref() {
        DeValue::String(text) => Content::Text(text.to_string()),
        DeValue::Boolean(flag) => Content::Plain(Value::Bool(*flag)),
        DeValue::Integer(digits) => match i64::from_str_radix(digits.as_str(), digits.radix()) {
            Ok(number) => Content::Plain(Value::from(number)),
            Err(_) => return Err(unreadable("a number beyond 64 bits")),
        },
        DeValue::Float(digits) => match digits
            .as_str()
            .parse()
            .ok()
            .and_then(serde_json::Number::from_f64)
        {
            Some(number) => Content::Plain(Value::Number(number)),
            None => return Err(unreadable("a number that is not finite")),
        },
        DeValue::Datetime(_) => return Err(unreadable("a date")),
        DeValue::Array(items) => Content::List(
            items
                .iter()
                .map(|item| node(file, line_of(file, item.span().start), item))
                .collect::<Result<_, _>>()?,
        ),
        DeValue::Table(fields) => Content::Table(
            fields
                .iter()
                .map(|(name, value)| {
                    let line = line_of(file, name.span().start);
                    Ok((name.get_ref().to_string(), node(file, line, value)?))
                })
                .collect::<Result<_, At>>()?,
        ),
    };
    Ok(Node { line, value })
}

fn line_of(text: &str, byte: usize) -> usize {
    1 + text.bytes().take(byte).filter(|b| *b == b'\n').count()
}
