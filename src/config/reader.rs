//! Takes entries key by key, checks each, remembers where it came from, and collects every mistake.

use std::fmt::{Debug, Display};
use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::domain::studio::Secret;
use crate::domain::unix::UnitName;

use super::error::{Problem, nearest};
use super::given::{Entries, Given, Raw};
use super::source::{Setting, Source};
use super::span;
use super::variables;

/// Longest text value, in characters: EC2 allows a tag value that many, and nothing here needs more.
const TEXT_CHARS_MAX: usize = 256;
/// Largest file that can hold a secret, in bytes.
const SECRET_BYTES_MAX: u64 = 4096;
/// What a line of text must be.
const LINE: &str = "one line of text of 1 to 256 characters";
/// What a path must be.
const PATH: &str = "a path";
/// Shown for what is not set.
const NONE: &str = "(none)";

/// A closed set of words.
pub(super) trait Choice: Copy + PartialEq + 'static {
    const ALL: &'static [(&'static str, Self)];

    fn word(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(_, choice)| *choice == self)
            .map_or("", |(word, _)| word)
    }
}

#[derive(Debug, Default)]
pub(super) struct Reader {
    pub entries: Entries,
    settings: Vec<Setting>,
    problems: Vec<Problem>,
    sections: Vec<&'static str>,
}

/// The keys of one section.
pub(super) struct Section<'r> {
    reader: &'r mut Reader,
    name: &'static str,
}

impl Reader {
    pub(super) fn section(&mut self, name: &'static str) -> Section<'_> {
        self.sections.push(name);
        Section { reader: self, name }
    }

    /// What was set, and everything wrong with it: whatever no section asked for does not exist.
    pub(super) fn finish(mut self) -> (Vec<Setting>, Vec<Problem>) {
        for (key, given) in std::mem::take(&mut self.entries) {
            let is_section_without_keys =
                matches!(given.raw, Raw::EmptyTable) && self.sections.contains(&key.as_str());
            if !is_section_without_keys {
                let problem = self.unknown(key, given);
                self.problems.push(problem);
            }
        }
        (self.settings, self.problems)
    }

    fn unknown(&self, key: String, given: Given) -> Problem {
        let spelling = |key: &str| match given.source {
            Source::Environment { .. } => variables::variable(key),
            Source::Default | Source::File { .. } => key.to_owned(),
        };
        let keys = || self.settings.iter().map(|setting| setting.key.as_str());
        let prefix = key.split_once('.').map_or("", |(section, _)| section);
        let in_section: Vec<String> = keys()
            .filter(|known| {
                known
                    .split_once('.')
                    .is_some_and(|(section, _)| section == prefix)
            })
            .map(spelling)
            .collect();
        let valid = if in_section.is_empty() {
            self.sections
                .iter()
                .map(|section| format!("[{section}]"))
                .collect()
        } else {
            in_section
        };
        // `[server.listen]` with keys in it: the table itself is the mistake.
        let in_key_of_its_own =
            keys().find(|known| key.strip_prefix(known).is_some_and(|rest| rest.starts_with('.')));
        Problem::UnknownKey {
            nearest: in_key_of_its_own.or_else(|| nearest(&key, keys())).map(spelling),
            key: spelling(&key),
            valid,
            origin: given.source,
        }
    }
}

impl Section<'_> {
    /// Takes one key: its value, its row in the settings, or its problem. `parse` says of a wrong value what
    /// it must be; the default then stands in for it.
    fn take<T>(
        &mut self,
        name: &str,
        default: T,
        show: impl Fn(&T) -> String,
        parse: impl FnOnce(&Given) -> Result<T, String>,
    ) -> T {
        let key = format!("{}.{name}", self.name);
        let mut source = Source::Default;
        let mut value = default;
        if let Some(given) = self.reader.entries.remove(&key) {
            match parse(&given) {
                Ok(parsed) => (value, source) = (parsed, given.source),
                Err(allowed) => self.reader.problems.push(Problem::Value {
                    key: key.clone(),
                    given: given.raw.show(),
                    allowed,
                    origin: given.source,
                }),
            }
        }
        self.reader.settings.push(Setting {
            key,
            value: show(&value),
            source,
        });
        value
    }

    fn optional<T: Debug>(
        &mut self,
        name: &str,
        allowed: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let show = |value: &Option<T>| {
            value
                .as_ref()
                .map_or_else(|| NONE.to_owned(), |value| format!("{value:?}"))
        };
        self.take(name, None, show, |given| match given.text() {
            Some("") => Ok(None),
            text => text
                .and_then(parse)
                .map(Some)
                .ok_or_else(|| format!("{allowed}, or \"\" for none")),
        })
    }

    /// A whole number within `range`.
    pub(super) fn whole<T>(&mut self, name: &str, default: T, range: RangeInclusive<T>) -> T
    where
        T: Copy + Display + PartialOrd + TryFrom<i64>,
    {
        self.take(name, default, ToString::to_string, |given| {
            given
                .whole()
                .and_then(|number| T::try_from(number).ok())
                .filter(|number| range.contains(number))
                .ok_or_else(|| format!("a whole number from {} to {}", range.start(), range.end()))
        })
    }

    /// A number, with or without a fraction, within `range`.
    pub(super) fn number(&mut self, name: &str, default: f64, range: RangeInclusive<f64>) -> f64 {
        self.take(name, default, ToString::to_string, |given| {
            given
                .number()
                .filter(|number| range.contains(number))
                .ok_or_else(|| format!("a number from {} to {}", range.start(), range.end()))
        })
    }

    pub(super) fn flag(&mut self, name: &str, default: bool) -> bool {
        self.take(name, default, ToString::to_string, |given| {
            given.flag().ok_or_else(|| "true or false".to_owned())
        })
    }

    /// A duration within `range`.
    pub(super) fn span(
        &mut self,
        name: &str,
        default: Duration,
        range: RangeInclusive<Duration>,
    ) -> Duration {
        self.take(
            name,
            default,
            |value| format!("{:?}", span::show(*value)),
            |given| {
                given
                    .text()
                    .and_then(span::parse)
                    .filter(|value| range.contains(value))
                    .ok_or_else(|| {
                        let (least, most) = (span::show(*range.start()), span::show(*range.end()));
                        format!(
                            "a duration from {least} to {most}, such as \"{}\"",
                            span::show(default)
                        )
                    })
            },
        )
    }

    pub(super) fn choice<T: Choice>(&mut self, name: &str, default: T) -> T {
        self.take(
            name,
            default,
            |value| format!("{:?}", value.word()),
            |given| {
                let text = given.text().unwrap_or_default();
                let found = T::ALL
                    .iter()
                    .find(|(word, _)| *word == text)
                    .map(|(_, choice)| *choice);
                found.ok_or_else(|| {
                    let words: Vec<String> = T::ALL.iter().map(|(word, _)| format!("{word:?}")).collect();
                    words.join(" or ")
                })
            },
        )
    }

    /// One line of text, not empty, that `check` accepts or else says what it must be.
    pub(super) fn text(
        &mut self,
        name: &str,
        default: &str,
        check: fn(&str) -> Result<(), String>,
    ) -> String {
        self.take(
            name,
            default.to_owned(),
            |value| format!("{value:?}"),
            |given| {
                let text = given.text().and_then(line).ok_or_else(|| LINE.to_owned())?;
                check(&text).map(|()| text)
            },
        )
    }

    /// The name of a systemd unit on a VM.
    pub(super) fn unit(&mut self, name: &str, default: &'static str) -> UnitName {
        let show = |value: &UnitName| format!("{value:?}");
        self.take(name, UnitName::known(default), show, |given| {
            UnitName::new(given.text().unwrap_or_default())
                .map_err(|error| format!("a name of a systemd unit: {error}"))
        })
    }

    /// One line of text, or nothing: the empty text means not set.
    pub(super) fn text_opt(&mut self, name: &str) -> Option<String> {
        self.optional(name, LINE, line)
    }

    pub(super) fn path(&mut self, name: &str, default: &str) -> PathBuf {
        let show = |value: &PathBuf| format!("{:?}", value.display().to_string());
        self.take(name, PathBuf::from(default), show, |given| {
            given.text().and_then(path).ok_or_else(|| PATH.to_owned())
        })
    }

    pub(super) fn path_opt(&mut self, name: &str) -> Option<PathBuf> {
        self.optional(name, PATH, path)
    }

    /// The ARN of a secret in AWS Secrets Manager.
    pub(super) fn secret_arn_opt(&mut self, name: &str) -> Option<String> {
        let allowed =
            "the ARN of a secret, such as arn:aws:secretsmanager:us-east-1:123456789012:secret:name";
        self.optional(name, allowed, secret_arn)
    }

    pub(super) fn ip_opt(&mut self, name: &str) -> Option<IpAddr> {
        self.optional(name, "an IP address", |text| text.parse().ok())
    }

    /// An `http` or `https` URL without user, query or fragment.
    pub(super) fn url_opt(&mut self, name: &str) -> Option<String> {
        self.optional(name, "an http or https URL without user name and query", url)
    }

    pub(super) fn socket(&mut self, name: &str, default: SocketAddr) -> SocketAddr {
        self.take(
            name,
            default,
            |value| format!("\"{value}\""),
            |given| {
                let parsed = given.text().and_then(|text| text.parse().ok());
                parsed.ok_or_else(|| format!("an IP address and a port, such as \"{default}\""))
            },
        )
    }

    /// A list of texts, each of which `valid` accepts.
    pub(super) fn texts(
        &mut self,
        name: &str,
        default: &[&str],
        allowed: &str,
        valid: fn(&str) -> bool,
    ) -> Vec<String> {
        self.take(
            name,
            default.iter().map(|&item| item.to_owned()).collect(),
            |value| format!("{value:?}"),
            |given| {
                let items = given.texts().filter(|items| items.iter().all(|item| valid(item)));
                items.ok_or_else(|| allowed.to_owned())
            },
        )
    }

    /// A secret: from the environment, else from the file that `{name}_file` names, never from the
    /// configuration file. Returns it with the path of its file.
    pub(super) fn secret(
        &mut self,
        name: &str,
        variable: &'static str,
        allowed: &'static str,
        valid: fn(&str) -> bool,
    ) -> (Option<Secret>, Option<PathBuf>) {
        let key = format!("{}.{name}", self.name);
        let said = self.reader.entries.remove(&key);
        let row = self.reader.settings.len();
        let file = self.path_opt(&format!("{name}_file"));

        let named = file
            .as_deref()
            .map(|path| (path, self.reader.settings[row].source.clone()));
        let otherwise = format!(", or name a file that holds it in {key}_file");
        let text = secret_text(&key, variable, said, named, otherwise);
        let secret = self.take_secret(row, key, text, allowed, valid);
        (secret, file)
    }

    /// A secret from the environment alone.
    pub(super) fn secret_variable(
        &mut self,
        name: &str,
        variable: &'static str,
        allowed: &'static str,
        valid: fn(&str) -> bool,
    ) -> Option<Secret> {
        let key = format!("{}.{name}", self.name);
        let said = self.reader.entries.remove(&key);
        let text = secret_text(&key, variable, said, None, String::new());
        self.take_secret(self.reader.settings.len(), key, text, allowed, valid)
    }

    /// Enters a secret as this row of the settings, without its text.
    fn take_secret(
        &mut self,
        row: usize,
        key: String,
        text: Result<(String, Source), Problem>,
        allowed: &'static str,
        valid: fn(&str) -> bool,
    ) -> Option<Secret> {
        let (text, source) = text.unwrap_or_else(|problem| {
            self.reader.problems.push(problem);
            (String::new(), Source::Default)
        });
        if !text.is_empty() && !valid(&text) {
            self.reader.problems.push(Problem::Value {
                origin: source.clone(),
                key: key.clone(),
                given: "(secret)".to_owned(),
                allowed: allowed.to_owned(),
            });
        }
        let secret = Some(text).filter(|text| !text.is_empty()).map(Secret::new);
        let value = if secret.is_some() { "(secret)" } else { NONE }.to_owned();
        self.reader.settings.insert(row, Setting { key, value, source });
        secret
    }
}

fn line(text: &str) -> Option<String> {
    let fits =
        !text.is_empty() && text.chars().count() <= TEXT_CHARS_MAX && !text.chars().any(char::is_control);
    fits.then(|| text.to_owned())
}

/// <https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_iam-permissions.html#iam-resources>.
fn secret_arn(text: &str) -> Option<String> {
    let text = line(text)?;
    let parts: Vec<&str> = text.split(':').collect();
    let [
        "arn",
        partition,
        "secretsmanager",
        region,
        account,
        "secret",
        name,
    ] = parts[..]
    else {
        return None;
    };
    let is_whole = [partition, region, account, name]
        .iter()
        .all(|part| !part.is_empty());
    is_whole.then(|| text.clone())
}

fn path(text: &str) -> Option<PathBuf> {
    (!text.is_empty() && !text.chars().any(char::is_control)).then(|| PathBuf::from(text))
}

fn url(text: &str) -> Option<String> {
    let uri: http::Uri = text.parse().ok()?;
    let authority = uri.authority()?;
    let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
    let plain = uri.query().is_none() && !text.contains('#') && !authority.as_str().contains('@');
    (is_http && plain && is_address(authority)).then(|| text.trim_end_matches('/').to_owned())
}

/// A host, and a port if there is more: the library takes whatever has the right letters.
fn is_address(authority: &http::uri::Authority) -> bool {
    let host = authority.host();
    let is_host = match host.strip_prefix('[') {
        Some(ip) => ip.trim_end_matches(']').parse::<Ipv6Addr>().is_ok(),
        // What ends in a number is an address (WHATWG's URL standard, 3.5).
        None if host.ends_with(|last: char| last.is_ascii_digit() || last == '.')
            && !host.contains(char::is_alphabetic) =>
        {
            host.parse::<Ipv4Addr>().is_ok()
        }
        None => !host.is_empty(),
    };
    let port = authority.as_str().strip_prefix(host).unwrap_or_default();
    let is_port = |digits: &str| {
        digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.parse::<u16>().is_ok_and(|port| port > 0)
    };
    is_host && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port))
}

/// A secret's text, empty if there is none, and where it came from. `said` is what stands at its key, `file`
/// the file named for it and who named that, `otherwise` what is advised beside the variable.
fn secret_text(
    key: &str,
    variable: &'static str,
    said: Option<Given>,
    file: Option<(&Path, Source)>,
    otherwise: String,
) -> Result<(String, Source), Problem> {
    if let Some(given) = said {
        return if given.is_from_environment() {
            Ok((given.exact_text().unwrap_or_default().to_owned(), given.source))
        } else {
            Err(Problem::SecretInFile {
                origin: given.source,
                key: key.to_owned(),
                variable,
                otherwise,
            })
        };
    }
    let Some((path, origin)) = file else {
        return Ok((String::new(), Source::Default));
    };
    match read_secret(path) {
        Ok(text) => Ok((
            text,
            Source::File {
                path: path.to_owned(),
                line: None,
            },
        )),
        Err(reason) => Err(Problem::SecretFile {
            origin,
            key: key.to_owned(),
            path: path.to_owned(),
            reason,
        }),
    }
}

/// The content of a small file without the line end that editors leave.
fn read_secret(path: &Path) -> Result<String, String> {
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let mut text = String::new();
    file.take(SECRET_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(|error| error.to_string())?;
    if text.len() as u64 > SECRET_BYTES_MAX {
        return Err(format!("it has more than {SECRET_BYTES_MAX} bytes"));
    }
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err("it is empty".to_owned()),
        text => Ok(text.to_owned()),
    }
}
