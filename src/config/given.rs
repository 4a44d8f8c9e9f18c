//! A value as somebody gave it, before a key says what it must be.

use std::collections::BTreeMap;

use super::source::Source;

/// What was said about each key, by its dotted name.
pub(super) type Entries = BTreeMap<String, Given>;

/// One value as it was given.
#[derive(Debug, Clone)]
pub(super) struct Given {
    pub raw: Raw,
    pub source: Source,
}

/// From the environment everything is [`Raw::Text`]; which type is meant, the key decides. So a password of
/// digits stays a text.
#[derive(Debug, Clone)]
pub(super) enum Raw {
    Text(String),
    Whole(i64),
    Number(f64),
    Flag(bool),
    List(Vec<Raw>),
    EmptyTable,
    /// Something no key can be, as it was written.
    Other(String),
}

impl Raw {
    pub(super) fn show(&self) -> String {
        match self {
            Self::Text(text) => format!("{:?}", without_credentials(text)),
            Self::Whole(number) => number.to_string(),
            Self::Number(number) => format!("{number:?}"),
            Self::Flag(flag) => flag.to_string(),
            Self::List(items) => {
                let items: Vec<String> = items.iter().map(Self::show).collect();
                format!("[{}]", items.join(", "))
            }
            Self::EmptyTable => "a table".to_owned(),
            Self::Other(written) => written.clone(),
        }
    }
}

impl Given {
    pub(super) fn is_from_environment(&self) -> bool {
        match self.source {
            Source::Environment { .. } => true,
            Source::Default | Source::File { .. } => false,
        }
    }

    /// The text without the blanks around it.
    pub(super) fn text(&self) -> Option<&str> {
        self.exact_text().map(str::trim)
    }

    pub(super) fn exact_text(&self) -> Option<&str> {
        match &self.raw {
            Raw::Text(text) => Some(text),
            Raw::Whole(_)
            | Raw::Number(_)
            | Raw::Flag(_)
            | Raw::List(_)
            | Raw::EmptyTable
            | Raw::Other(_) => None,
        }
    }

    /// The text of a variable: there, every value is one.
    fn variable(&self) -> Option<&str> {
        if self.is_from_environment() {
            self.text()
        } else {
            None
        }
    }

    pub(super) fn whole(&self) -> Option<i64> {
        if let Raw::Whole(number) = self.raw {
            Some(number)
        } else {
            self.variable()?.parse().ok()
        }
    }

    pub(super) fn number(&self) -> Option<f64> {
        if let Raw::Whole(number) = self.raw {
            i32::try_from(number).ok().map(f64::from)
        } else if let Raw::Number(number) = self.raw {
            Some(number)
        } else {
            self.variable()?.parse().ok()
        }
    }

    pub(super) fn flag(&self) -> Option<bool> {
        if let Raw::Flag(flag) = self.raw {
            return Some(flag);
        }
        match self.variable()? {
            "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            _ => None,
        }
    }

    /// A list of texts; in a variable, separated by commas.
    pub(super) fn texts(&self) -> Option<Vec<String>> {
        if let Raw::List(items) = &self.raw {
            let text = |item: &Raw| {
                if let Raw::Text(text) = item {
                    Some(text.clone())
                } else {
                    None
                }
            };
            return items.iter().map(text).collect();
        }
        let items = self
            .variable()?
            .split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty());
        Some(items.map(str::to_owned).collect())
    }
}

/// The text, or if it is a URL with a user in it, the text without that: a password may stand there.
fn without_credentials(text: &str) -> String {
    match text.split_once("://") {
        Some((scheme, rest)) => match rest.rsplit_once('@') {
            Some((_, host)) => format!("{scheme}://(hidden)@{host}"),
            None => text.to_owned(),
        },
        None => text.to_owned(),
    }
}
