//! Texts with variables in them, in minijinja's language: strict about what is undefined, and bounded.

use std::collections::BTreeMap;

use minijinja::value::ValueKind;
use minijinja::{Environment, ErrorKind, UndefinedBehavior};
use serde_json::Value;

use super::error::At;
use super::tree::{Content, Node};

/// Steps that one text may take.
const FUEL: u64 = 20_000;
/// Longest text that comes out, in bytes.
const TEXT_BYTES_MAX: usize = 16 * 1024;
/// Combinations that one list may have.
const COMBINATIONS_MAX: usize = 100;

/// Where texts are rendered.
pub(super) struct Texts(Environment<'static>);

impl Texts {
    pub fn new() -> Self {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_fuel(Some(FUEL));
        environment.set_debug(true);
        environment.add_filter("combinations", combinations);
        Self(environment)
    }

    /// What a text says. A text that is one expression and nothing else has the expression's type: `"{{ width }}"` is a
    /// number.
    ///
    /// # Errors
    /// What is wrong, naming the variable or the expression.
    pub fn render(&self, text: &str, scope: &BTreeMap<String, Value>) -> Result<Value, String> {
        if !text.contains('{') {
            return Ok(Value::String(text.to_owned()));
        }
        if let Some(expression) = only_expression(text) {
            return self.evaluate(expression, scope);
        }
        let rendered = self
            .0
            .render_str(text, scope)
            .map_err(|error| told(&error, text))?;
        if rendered.len() > TEXT_BYTES_MAX {
            return Err(format!("it becomes longer than {TEXT_BYTES_MAX} bytes"));
        }
        Ok(Value::String(rendered))
    }

    /// The value of an expression.
    ///
    /// # Errors
    /// As [`Texts::render`].
    pub fn evaluate(&self, expression: &str, scope: &BTreeMap<String, Value>) -> Result<Value, String> {
        let compiled = self
            .0
            .compile_expression(expression)
            .map_err(|error| told(&error, expression))?;
        let value = compiled.eval(scope).map_err(|error| told(&error, expression))?;
        if value.kind() == ValueKind::Undefined {
            return Err(format!("{} is not defined", expression.trim()));
        }
        let value =
            serde_json::to_value(&value).map_err(|error| format!("{}: {error}", expression.trim()))?;
        match &value {
            Value::String(text) if text.len() > TEXT_BYTES_MAX => {
                Err(format!("it becomes longer than {TEXT_BYTES_MAX} bytes"))
            }
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_)
            | Value::Object(_) => Ok(value),
        }
    }
}

/// Looks whether every text under a node can be read, without rendering it.
///
/// # Errors
/// The first that cannot.
pub(super) fn check(node: &Node) -> Result<(), At> {
    let texts = Texts::new();
    check_with(&texts, node, false)
}

fn check_with(texts: &Texts, node: &Node, is_expression: bool) -> Result<(), At> {
    match &node.value {
        Content::Text(text) => {
            let expression = if is_expression {
                Some(text.as_str())
            } else {
                only_expression(text)
            };
            let read = match expression {
                Some(expression) => texts.0.compile_expression(expression).map(drop),
                None => texts.0.template_from_str(text).map(drop),
            };
            read.map_err(|error| At {
                line: node.line,
                problem: told(&error, expression.unwrap_or(text)),
            })
        }
        Content::Plain(_) => Ok(()),
        Content::List(items) => items.iter().try_for_each(|item| check_with(texts, item, false)),
        Content::Table(fields) => fields.iter().try_for_each(|(name, node)| {
            let is_expression = matches!(name.as_str(), "for_each" | "when");
            check_with(texts, node, is_expression)
        }),
    }
}

/// What stands between the braces, if the text is that alone.
fn only_expression(text: &str) -> Option<&str> {
    let inner = text.trim().strip_prefix("{{")?.strip_suffix("}}")?;
    let alone = !["{{", "}}", "{%", "{#"].iter().any(|mark| inner.contains(mark));
    alone.then_some(inner)
}

/// An error with the piece of text that it is about.
fn told(error: &minijinja::Error, text: &str) -> String {
    let piece = error.range().and_then(|range| text.get(range)).map(str::trim);
    let piece = piece.filter(|piece| !piece.is_empty()).unwrap_or(text);
    match error.kind() {
        ErrorKind::UndefinedError => format!("{piece} is not defined"),
        ErrorKind::OutOfFuel => format!("{piece:?} takes more than {FUEL} steps"),
        kind => match error.detail() {
            Some(detail) => format!("{piece:?}: {detail}"),
            None => format!("{piece:?}: {kind}"),
        },
    }
}

/// Every choice of `size` of a list's items, in the list's order.
fn combinations(
    items: Vec<minijinja::Value>,
    size: usize,
) -> Result<Vec<Vec<minijinja::Value>>, minijinja::Error> {
    let mut chosen: Vec<Vec<minijinja::Value>> = vec![Vec::new()];
    let mut complete = Vec::new();
    if size == 0 || size > items.len() {
        return Ok(complete);
    }
    // Shorter choices wait in `chosen`, each with the items that may still follow.
    let mut next: Vec<usize> = vec![0];
    while let (Some(choice), Some(from)) = (chosen.pop(), next.pop()) {
        if choice.len() == size {
            complete.push(choice);
            if complete.len() > COMBINATIONS_MAX {
                let detail = format!("there are more than {COMBINATIONS_MAX} combinations");
                return Err(minijinja::Error::new(ErrorKind::InvalidOperation, detail));
            }
            continue;
        }
        let missing = size - choice.len();
        for index in (from..=items.len() - missing).rev() {
            let mut longer = choice.clone();
            longer.extend(items.get(index).cloned());
            chosen.push(longer);
            next.push(index + 1);
        }
    }
    Ok(complete)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rendered(text: &str, scope: Value) -> Result<Value, String> {
        let scope = serde_json::from_value(scope).unwrap();
        Texts::new().render(text, &scope)
    }

    #[test]
    fn a_text_that_is_one_expression_keeps_its_type() {
        let scope = json!({"width": 1920, "on": true, "name": "Floor"});
        assert_eq!(rendered("{{ width }}", scope.clone()), Ok(json!(1920)));
        assert_eq!(rendered("{{ width / 4 }}", scope.clone()), Ok(json!(480.0)));
        assert_eq!(rendered("{{ not on }}", scope.clone()), Ok(json!(false)));
        assert_eq!(
            rendered("{{ width }} px, {{ name }}", scope.clone()),
            Ok(json!("1920 px, Floor"))
        );
        assert_eq!(rendered("no { variables", scope), Ok(json!("no { variables")));
    }

    #[test]
    fn what_is_not_defined_is_named() {
        for text in ["{{ camra }}", "a {{ camra }} b", "{{ camra.name }}"] {
            let error = rendered(text, json!({"camera": {}})).unwrap_err();
            assert!(
                error.contains("camra") && error.contains("is not defined"),
                "{text}: {error}"
            );
        }
        let error = rendered("a {{ camera.prot }}", json!({"camera": {"port": 1}})).unwrap_err();
        assert!(error.contains("camera.prot"), "{error}");
    }

    #[test]
    fn what_a_variable_says_is_not_rendered_again() {
        let scope = json!({"name": "{{ secret }}", "secret": "hush"});
        assert_eq!(rendered("{{ name }}", scope.clone()), Ok(json!("{{ secret }}")));
        assert_eq!(rendered("<{{ name }}>", scope), Ok(json!("<{{ secret }}>")));
    }

    #[test]
    fn a_text_that_does_too_much_is_refused() {
        let long = "{% for a in range(10000) %}{% for b in range(10000) %}x{% endfor %}{% endfor %}";
        assert!(rendered(long, json!({})).unwrap_err().contains("steps"));
        let wide = rendered("{{ name * 20000 }}", json!({"name": "abc"}));
        assert!(wide.unwrap_err().contains("bytes"));
    }

    #[test]
    fn combinations_come_in_the_lists_order() {
        let of = |size: u32| {
            rendered(
                &format!("{{{{ list|combinations({size}) }}}}"),
                json!({"list": [1, 2, 3]}),
            )
        };
        assert_eq!(of(2), Ok(json!([[1, 2], [1, 3], [2, 3]])));
        assert_eq!(of(3), Ok(json!([[1, 2, 3]])));
        assert_eq!(of(4), Ok(json!([])));
        let many: Vec<u32> = (0..30).collect();
        assert!(rendered("{{ list|combinations(4) }}", json!({"list": many})).is_err());
    }
}
