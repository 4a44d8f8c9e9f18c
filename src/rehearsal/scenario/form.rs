//! One table of a scenario file: takes its keys one by one, checks each, and collects every mistake.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{Mistake, Problem};
use crate::config::{nearest, span};

/// Of a value that is not allowed so much is told.
const SHOWN_MAX: usize = 200;

/// A file on its way to a scenario, and what is wrong with it so far.
pub(super) struct Source {
    /// Where lines end.
    ends: Vec<usize>,
    problems: Vec<Problem>,
}

impl Source {
    pub(super) fn new(text: &str) -> Self {
        Self {
            ends: text.match_indices('\n').map(|(at, _)| at).collect(),
            problems: Vec::new(),
        }
    }

    pub(super) fn line_of(&self, byte: usize) -> usize {
        1 + self.ends.partition_point(|end| *end < byte)
    }

    pub(super) fn wrong(&mut self, line: usize, mistake: Mistake) {
        self.problems.push(Problem { line, mistake });
    }

    /// Everything that is wrong, in the order of lines.
    pub(super) fn finish(mut self) -> Vec<Problem> {
        self.problems.sort_by_key(|problem| problem.line);
        self.problems
    }
}

/// One value, and the line where its key stands.
pub(super) struct Given<'t> {
    pub(super) line: usize,
    value: &'t DeValue<'t>,
}

impl<'t> Given<'t> {
    pub(super) fn text(&self) -> Option<&'t str> {
        self.value.as_str()
    }

    fn whole(&self) -> Option<u32> {
        let digits = self.value.as_integer()?;
        u32::from_str_radix(digits.as_str(), digits.radix()).ok()
    }

    fn list(&self) -> Option<Vec<&'t str>> {
        let items = self.value.as_array()?;
        items.iter().map(|item| item.get_ref().as_str()).collect()
    }

    /// As it was written, nearly.
    pub(super) fn show(&self) -> String {
        match self.value {
            DeValue::String(text) if text.chars().count() > SHOWN_MAX => {
                let start: String = text.chars().take(SHOWN_MAX).collect();
                format!("{start:?} and more")
            }
            DeValue::String(text) => format!("{text:?}"),
            DeValue::Integer(digits) => digits.to_string(),
            DeValue::Float(digits) => digits.to_string(),
            DeValue::Boolean(flag) => flag.to_string(),
            DeValue::Datetime(time) => time.to_string(),
            DeValue::Array(_) => "a list".to_owned(),
            DeValue::Table(_) => "a table".to_owned(),
        }
    }
}

/// One table, with those of its keys that nobody has asked for yet.
pub(super) struct Form<'t> {
    /// What its keys are called by in messages: `pool`, `step`, or nothing for the file itself.
    name: &'static str,
    pub(super) line: usize,
    entries: BTreeMap<String, Given<'t>>,
    asked: Vec<&'static str>,
}

impl<'t> Form<'t> {
    pub(super) fn new(name: &'static str, line: usize, table: &'t DeTable<'t>, source: &Source) -> Self {
        let given = |(key, value): (&'t Spanned<_>, &'t Spanned<DeValue<'t>>)| {
            let key: &Spanned<std::borrow::Cow<'t, str>> = key;
            let line = source.line_of(key.span().start);
            let value = value.get_ref();
            (key.get_ref().to_string(), Given { line, value })
        };
        Self {
            name,
            line,
            entries: table.iter().map(given).collect(),
            asked: Vec::new(),
        }
    }

    /// A table that the file does not have: nothing is in it.
    pub(super) fn absent(name: &'static str) -> Self {
        Self {
            name,
            line: 1,
            entries: BTreeMap::new(),
            asked: Vec::new(),
        }
    }

    pub(super) fn key(&self, name: &str) -> String {
        if self.name.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.name)
        }
    }

    pub(super) fn take(&mut self, name: &'static str) -> Option<Given<'t>> {
        self.asked.push(name);
        self.entries.remove(name)
    }

    /// Whether a key is not there.
    pub(super) fn lacks(&self, name: &str) -> bool {
        !self.entries.contains_key(name)
    }

    /// Reads a value if it is there; `None` also if it is not as it must be, which is noted.
    pub(super) fn read<T>(
        &mut self,
        source: &mut Source,
        name: &'static str,
        allowed: &str,
        parse: impl FnOnce(&Given<'t>) -> Option<T>,
    ) -> Option<T> {
        let given = self.take(name)?;
        let parsed = parse(&given);
        if parsed.is_none() {
            let mistake = Mistake::Value {
                key: self.key(name),
                given: given.show(),
                allowed: allowed.to_owned(),
            };
            source.wrong(given.line, mistake);
        }
        parsed
    }

    /// The same for a key that must be there.
    pub(super) fn need<T>(
        &mut self,
        source: &mut Source,
        name: &'static str,
        allowed: &str,
        parse: impl FnOnce(&Given<'t>) -> Option<T>,
    ) -> Option<T> {
        if !self.entries.contains_key(name) {
            self.asked.push(name);
            let (key, allowed) = (self.key(name), allowed.to_owned());
            source.wrong(self.line, Mistake::Missing { key, allowed });
            return None;
        }
        self.read(source, name, allowed, parse)
    }

    pub(super) fn whole(
        &mut self,
        source: &mut Source,
        name: &'static str,
        range: RangeInclusive<u32>,
    ) -> Option<u32> {
        let allowed = format!("a whole number from {} to {}", range.start(), range.end());
        self.read(source, name, &allowed, |given| {
            given.whole().filter(|number| range.contains(number))
        })
    }

    pub(super) fn span(
        &mut self,
        source: &mut Source,
        name: &'static str,
        range: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        let (least, most) = (span::show(*range.start()), span::show(*range.end()));
        let allowed = format!("a duration from {least} to {most}, such as \"2s\"");
        self.read(source, name, &allowed, |given| {
            given
                .text()
                .and_then(span::parse)
                .filter(|span| range.contains(span))
        })
    }

    pub(super) fn word<T: Copy>(
        &mut self,
        source: &mut Source,
        name: &'static str,
        table: &[(&'static str, T)],
    ) -> Option<T> {
        self.read(source, name, &one_of(table), |given| {
            let text = given.text()?;
            table
                .iter()
                .find(|(word, _)| *word == text)
                .map(|(_, value)| *value)
        })
    }

    /// Texts of 1 to 100 characters, at most 32 of them.
    pub(super) fn texts(&mut self, source: &mut Source, name: &'static str) -> Option<Vec<String>> {
        let allowed = "a list of at most 32 texts of 1 to 100 characters";
        self.read(source, name, allowed, |given| {
            let list = given.list()?;
            let fits = |text: &&str| (1..=100).contains(&text.chars().count());
            (list.len() <= 32 && list.iter().all(fits)).then(|| list.into_iter().map(str::to_owned).collect())
        })
    }

    /// The tables of `[[name]]`.
    pub(super) fn tables(&mut self, source: &mut Source, name: &'static str) -> Vec<Form<'t>> {
        let allowed = format!("written as [[{name}]]");
        let found = self.read(source, name, &allowed, |given| {
            let items = given.value.as_array()?;
            let table =
                |item: &'t Spanned<DeValue<'t>>| Some((item.span().start, item.get_ref().as_table()?));
            items.iter().map(table).collect::<Option<Vec<_>>>()
        });
        let found = found.unwrap_or_default().into_iter();
        found
            .map(|(at, table)| Form::new(name, source.line_of(at), table, source))
            .collect()
    }

    /// The table `[name]`; an empty one if there is none.
    pub(super) fn table(&mut self, source: &mut Source, name: &'static str) -> Form<'t> {
        let allowed = format!("written as [{name}]");
        let mut line = 1;
        let found = self.read(source, name, &allowed, |given| {
            line = given.line;
            given.value.as_table()
        });
        found.map_or_else(
            || Form::absent(name),
            |table| Form::new(name, line, table, source),
        )
    }

    /// Whatever nobody asked for does not exist.
    pub(super) fn finish(self, source: &mut Source) {
        for (key, given) in &self.entries {
            let valid: Vec<String> = self.asked.iter().map(|name| self.key(name)).collect();
            let nearest = nearest(key, self.asked.iter().copied()).map(|name| self.key(name));
            let key = self.key(key);
            source.wrong(given.line, Mistake::UnknownKey { key, nearest, valid });
        }
    }
}

/// The words of a table, for people.
pub(super) fn one_of<T>(table: &[(&'static str, T)]) -> String {
    let words: Vec<String> = table.iter().map(|(word, _)| format!("{word:?}")).collect();
    format!("one of {}", words.join(", "))
}
