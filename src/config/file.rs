//! The TOML file as flat entries, each with its line.

use std::borrow::Cow;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::Error;
use super::given::{Entries, Given, Raw};
use super::source::Source;

/// Reads TOML into one entry per leaf, keyed `section.key`. An empty table is kept as an entry, so that a
/// misspelt section without keys is noticed too.
pub(super) fn parse(path: &Path, text: &str) -> Result<Entries, Error> {
    let table = DeTable::parse(text).map_err(|error| Error::Syntax {
        path: path.to_owned(),
        line: error.span().map_or(1, |span| line_of(text, span.start)),
        message: error.message().to_owned(),
    })?;
    let mut entries = Entries::new();
    flatten(path, text, "", table.get_ref(), &mut entries);
    Ok(entries)
}

fn line_of(text: &str, byte: usize) -> usize {
    1 + text.bytes().take(byte).filter(|b| *b == b'\n').count()
}

/// Tables nest as deep as the parser allows, which is bounded.
fn flatten(path: &Path, text: &str, prefix: &str, table: &DeTable<'_>, entries: &mut Entries) {
    for (name, value) in table {
        let key = if prefix.is_empty() {
            name.get_ref().to_string()
        } else {
            format!("{prefix}.{}", name.get_ref())
        };
        match value.get_ref() {
            DeValue::Table(inner) if !inner.is_empty() => flatten(path, text, &key, inner, entries),
            other => {
                let line = Some(line_of(text, name.span().start));
                let source = Source::File {
                    path: path.to_owned(),
                    line,
                };
                entries.insert(
                    key,
                    Given {
                        raw: raw(other),
                        source,
                    },
                );
            }
        }
    }
}

fn raw(value: &DeValue<'_>) -> Raw {
    match value {
        DeValue::String(text) => Raw::Text(Cow::clone(text).into_owned()),
        DeValue::Integer(digits) => match i64::from_str_radix(digits.as_str(), digits.radix()) {
            Ok(number) => Raw::Whole(number),
            Err(_) => Raw::Other(digits.to_string()),
        },
        DeValue::Float(digits) => match digits.as_str().parse() {
            Ok(number) => Raw::Number(number),
            Err(_) => Raw::Other(digits.to_string()),
        },
        DeValue::Boolean(flag) => Raw::Flag(*flag),
        DeValue::Datetime(time) => Raw::Other(time.to_string()),
        DeValue::Array(items) => Raw::List(items.iter().map(Spanned::get_ref).map(raw).collect()),
        DeValue::Table(inner) if inner.is_empty() => Raw::EmptyTable,
        DeValue::Table(_) => Raw::Other("a table".to_owned()),
    }
}
