//! From the tree of a template to plain values: texts are rendered, lists repeated and thinned out.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::error::At;
use super::text::Texts;
use super::tree::{Content, Node};

/// Values that come out at most.
const VALUES_MAX: usize = 50_000;

/// Lines of the template by where in the result their value stands: `scenes[3].items[0]`.
#[derive(Default)]
pub(super) struct Lines(BTreeMap<String, usize>);

impl Lines {
    /// The line of this value, or of the nearest that it is in.
    pub fn nearest(&self, path: &str) -> usize {
        let mut path = path;
        loop {
            if let Some(line) = self.0.get(path) {
                return *line;
            }
            match path.rfind(['.', '[']) {
                Some(end) => path = path.get(..end).unwrap_or_default(),
                None => return self.0.get("").copied().unwrap_or(1),
            }
        }
    }
}

pub(super) fn expand(node: &Node, scope: &BTreeMap<String, Value>) -> Result<(Value, Lines), At> {
    let mut expansion = Expansion {
        texts: Texts::new(),
        lines: Lines::default(),
        values: 0,
    };
    let value = expansion.node(node, scope, "")?;
    Ok((value, expansion.lines))
}

struct Expansion {
    texts: Texts,
    lines: Lines,
    values: usize,
}

impl Expansion {
    fn node(&mut self, node: &Node, scope: &BTreeMap<String, Value>, path: &str) -> Result<Value, At> {
        self.values += 1;
        if self.values > VALUES_MAX {
            let problem = format!("the template becomes larger than {VALUES_MAX} values");
            return Err(At {
                line: node.line,
                problem,
            });
        }
        self.lines.0.insert(path.to_owned(), node.line);
        match &node.value {
            Content::Text(text) => {
                let rendered = self.texts.render(text, scope);
                rendered.map_err(|problem| At {
                    line: node.line,
                    problem,
                })
            }
            Content::Plain(value) => Ok(value.clone()),
            Content::List(items) => {
                let mut list = Vec::new();
                for item in items {
                    self.item(item, scope, path, &mut list)?;
                }
                Ok(Value::Array(list))
            }
            Content::Table(fields) => {
                let mut table = Map::new();
                for (name, node) in fields {
                    if !is_direction(name) {
                        let path = if path.is_empty() {
                            name.clone()
                        } else {
                            format!("{path}.{name}")
                        };
                        table.insert(name.clone(), self.node(node, scope, &path)?);
                    }
                }
                Ok(Value::Object(table))
            }
        }
    }

    /// An item of a list: once, as often as it says, or not at all.
    fn item(
        &mut self,
        item: &Node,
        scope: &BTreeMap<String, Value>,
        path: &str,
        list: &mut Vec<Value>,
    ) -> Result<(), At> {
        let Content::Table(fields) = &item.value else {
            let path = format!("{path}[{}]", list.len());
            list.push(self.node(item, scope, &path)?);
            return Ok(());
        };
        let Some((every, line)) = direction(fields, "for_each")? else {
            return self.once(item, fields, scope, path, list);
        };
        let at = |problem: String| At { line, problem };
        let Some((name, _)) = direction(fields, "as")? else {
            return Err(at("for_each needs `as`: the name of each item".to_owned()));
        };
        let values = match self.texts.evaluate(every, scope).map_err(at)? {
            Value::Array(values) => values,
            other => return Err(at(format!("for_each = {every:?} is not a list but {other}"))),
        };
        let length = values.len();
        for (index, value) in values.into_iter().enumerate() {
            let mut inner = scope.clone();
            let turn = json!({
                "index": index + 1, "index0": index, "length": length, "first": index == 0, "last": index + 1 == length
            });
            inner.insert("loop".to_owned(), turn);
            inner.insert(name.to_owned(), value);
            self.once(item, fields, &inner, path, list)?;
        }
        Ok(())
    }

    fn once(
        &mut self,
        item: &Node,
        fields: &[(String, Node)],
        scope: &BTreeMap<String, Value>,
        path: &str,
        list: &mut Vec<Value>,
    ) -> Result<(), At> {
        if let Some((when, line)) = direction(fields, "when")? {
            let at = |problem: String| At { line, problem };
            match self.texts.evaluate(when, scope).map_err(at)? {
                Value::Bool(true) => {}
                Value::Bool(false) => return Ok(()),
                other => {
                    return Err(at(format!(
                        "when = {when:?} is neither true nor false but {other}"
                    )));
                }
            }
        }
        let path = format!("{path}[{}]", list.len());
        list.push(self.node(item, scope, &path)?);
        Ok(())
    }
}

fn is_direction(name: &str) -> bool {
    matches!(name, "for_each" | "as" | "when")
}

/// A direction on how a table is to be expanded, and its line.
fn direction<'a>(fields: &'a [(String, Node)], name: &str) -> Result<Option<(&'a str, usize)>, At> {
    let Some((_, node)) = fields.iter().find(|(field, _)| field == name) else {
        return Ok(None);
    };
    match &node.value {
        Content::Text(text) => Ok(Some((text, node.line))),
        Content::Plain(_) | Content::List(_) | Content::Table(_) => Err(At {
            line: node.line,
            problem: format!("{name}: a text is expected"),
        }),
    }
}
