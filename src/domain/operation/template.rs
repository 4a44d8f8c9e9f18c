//! A word with blanks: `{name}` stands for a setting of the coordinator or a parameter of the caller.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Longest word of a template, in bytes.
pub const WORD_BYTES_MAX: usize = 4_096;

/// One word of a command. What is filled in stays part of this one word, whatever is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Part {
    Text(String),
    Parameter(String),
}

/// Why a word is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTemplate {
    #[error("{{{name}}} is neither a setting nor a parameter of this operation; there are {}", .known.join(", "))]
    UnknownName { name: String, known: Vec<String> },
    #[error("a brace is not closed; a brace itself is written {{{{ or }}}}")]
    Unbalanced,
    #[error("a word must not contain control characters")]
    Control,
    #[error("a word has at most {WORD_BYTES_MAX} bytes")]
    TooLong,
}

impl Template {
    /// Reads a word. Names of `settings` are replaced at once; those of parameters stay blanks.
    ///
    /// # Errors
    /// [`InvalidTemplate`].
    pub fn parse(
        word: &str,
        settings: &BTreeMap<&'static str, String>,
        parameters: &[&str],
    ) -> Result<Self, InvalidTemplate> {
        if word.len() > WORD_BYTES_MAX {
            return Err(InvalidTemplate::TooLong);
        }
        if word.chars().any(char::is_control) {
            return Err(InvalidTemplate::Control);
        }
        let mut parts: Vec<Part> = Vec::new();
        let mut text = String::new();
        let mut chars = word.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '{' | '}' if chars.peek() == Some(&c) => {
                    chars.next();
                    text.push(c);
                }
                '}' => return Err(InvalidTemplate::Unbalanced),
                '{' => {
                    let mut name = String::new();
                    loop {
                        match chars.next() {
                            Some('}') => break,
                            Some(c) if c != '{' => name.push(c),
                            Some(_) | None => return Err(InvalidTemplate::Unbalanced),
                        }
                    }
                    if parameters.contains(&name.as_str()) {
                        parts.push(Part::Text(std::mem::take(&mut text)));
                        parts.push(Part::Parameter(name));
                    } else if let Some(setting) = settings.get(name.as_str()) {
                        text.push_str(setting);
                    } else {
                        let known = settings.keys().copied().chain(parameters.iter().copied());
                        return Err(InvalidTemplate::UnknownName {
                            name,
                            known: known.map(str::to_owned).collect(),
                        });
                    }
                }
                plain => text.push(plain),
            }
        }
        parts.push(Part::Text(text));
        Ok(Self(parts))
    }

    /// Names of the parameters in it.
    pub fn parameters(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Parameter(name) => Some(name.as_str()),
            Part::Text(_) => None,
        })
    }

    /// The word with its blanks filled in. A blank without a value stays empty; [`super::Operation`] sees to it
    /// that there is none.
    pub(super) fn fill(&self, values: &BTreeMap<&str, String>) -> String {
        self.0
            .iter()
            .map(|part| match part {
                Part::Text(text) => text.as_str(),
                Part::Parameter(name) => values.get(name.as_str()).map_or("", String::as_str),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> BTreeMap<&'static str, String> {
        BTreeMap::from([("recordings", "/rec".to_owned())])
    }

    #[test]
    fn blanks_are_filled_within_their_word() {
        let template = Template::parse("--from={recordings}/{name}.mp4", &settings(), &["name"]).unwrap();
        assert_eq!(template.parameters().collect::<Vec<_>>(), ["name"]);
        let values = BTreeMap::from([("name", "a b; rm -rf {recordings} $(id)".to_owned())]);
        assert_eq!(
            template.fill(&values),
            "--from=/rec/a b; rm -rf {recordings} $(id).mp4"
        );
    }

    #[test]
    fn doubled_braces_are_braces() {
        let template = Template::parse("{{{recordings}}}", &settings(), &[]).unwrap();
        assert_eq!(template.fill(&BTreeMap::new()), "{/rec}");
    }

    #[test]
    fn what_cannot_be_filled_in_is_refused() {
        let parse = |word| Template::parse(word, &settings(), &["name"]).unwrap_err();
        let known = vec!["recordings".to_owned(), "name".to_owned()];
        assert_eq!(
            parse("{nmae}"),
            InvalidTemplate::UnknownName {
                name: "nmae".into(),
                known
            }
        );
        for bad in ["{name", "name}", "{na{me}", "{"] {
            assert_eq!(parse(bad), InvalidTemplate::Unbalanced, "{bad}");
        }
        assert_eq!(parse("a\nb"), InvalidTemplate::Control);
        assert_eq!(parse(&"x".repeat(5_000)), InvalidTemplate::TooLong);
    }
}
