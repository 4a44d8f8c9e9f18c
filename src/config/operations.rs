//! The catalogue of operations: the one that comes with the program, and the operator's file over it.
//!
//! `config/operations.toml` says what such a file looks like. Every error names the file, the line and the key.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use super::Config;
use super::span;
use crate::domain::operation::{
    Catalogue, Operation, OperationId, Parameter, Pattern, Run, STEPS_MAX, Step, TIMEOUT_MAX, Template,
};
use crate::domain::unix::AbsolutePath;

/// What comes with the program.
pub const OPERATIONS: &str = include_str!("../../config/operations.toml");
const OWN_FILE: &str = "(built in) operations.toml";
/// Largest file of operations, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Longest name and description, in characters.
const NAME_CHARS_MAX: usize = 100;
const DESCRIPTION_CHARS_MAX: usize = 500;
const WORDS_MAX: usize = 64;

/// Why there is no catalogue.
#[derive(Debug, thiserror::Error)]
pub enum OperationsError {
    #[error("the file of operations {} cannot be read (ssh.operations_path)", .path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the file of operations {} has more than {FILE_BYTES_MAX} bytes", .path.display())]
    TooLarge { path: PathBuf },
    #[error("{}:{line}: {key}{message}", .path.display())]
    Invalid {
        path: PathBuf,
        line: usize,
        /// The key with a colon, or nothing where the whole line is meant.
        key: String,
        message: String,
    },
    #[error("vm.checkout_path with pool.project filled in is {path:?}: {source}")]
    Checkout {
        path: String,
        source: crate::domain::unix::InvalidPath,
    },
}

/// What a word of an operation may name.
type Settings = BTreeMap<&'static str, String>;

/// The built-in operations, and those of `ssh.operations_path` over them. Reads that file.
///
/// # Errors
/// [`OperationsError`].
pub fn load(config: &Config) -> Result<Catalogue, OperationsError> {
    match &config.ssh.operations_path {
        Some(path) => parse(config, path, &read(path)?),
        None => parse(config, Path::new(OWN_FILE), ""),
    }
}

/// The built-in operations, and those of a file whose text is at hand over them. `path` is only named in errors.
///
/// # Errors
/// As [`load`], without [`OperationsError::Read`] and [`OperationsError::TooLarge`].
pub fn parse(config: &Config, path: &Path, text: &str) -> Result<Catalogue, OperationsError> {
    let settings = settings(config)?;
    let mut catalogue = Catalogue::default();
    merge(&mut catalogue, Path::new(OWN_FILE), OPERATIONS, &settings)?;
    merge(&mut catalogue, path, text, &settings)?;
    Ok(catalogue)
}

fn read(path: &Path) -> Result<String, OperationsError> {
    use std::io::Read as _;
    let failed = |source| OperationsError::Read {
        path: path.to_owned(),
        source,
    };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut text = String::new();
    file.take(FILE_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(failed)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(OperationsError::TooLarge {
            path: path.to_owned(),
        });
    }
    Ok(text)
}

fn settings(config: &Config) -> Result<Settings, OperationsError> {
    let vm = &config.vm;
    let checkout = vm.checkout_path.replace("{project}", &config.pool.project);
    let checkout = AbsolutePath::new(&checkout).map_err(|source| OperationsError::Checkout {
        path: checkout.clone(),
        source,
    })?;
    Ok(BTreeMap::from([
        ("project", config.pool.project.clone()),
        ("user", config.ssh.user.clone()),
        ("display_unit", vm.display_unit.to_string()),
        ("obs_unit", vm.obs_unit.to_string()),
        ("show_server_unit", vm.show_server_unit.to_string()),
        ("nimble_unit", vm.nimble_unit.to_string()),
        ("pm2_process", vm.pm2_process.clone()),
        ("checkout_path", checkout.as_str().to_owned()),
        ("obs_config_path", vm.obs_config_path.clone()),
        ("obs_template_path", vm.obs_template_path.clone()),
        ("recordings_path", vm.recordings_path.clone()),
    ]))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    operation: BTreeMap<Spanned<String>, Written>,
    #[serde(default)]
    remove: Vec<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: Spanned<String>,
    #[serde(default)]
    description: Option<Spanned<String>>,
    timeout: Spanned<String>,
    #[serde(default)]
    sudo: bool,
    #[serde(default)]
    refused_on_air: bool,
    steps: Spanned<Vec<Spanned<WrittenStep>>>,
    #[serde(default)]
    parameters: BTreeMap<Spanned<String>, Spanned<WrittenParameter>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenStep {
    run: Option<Spanned<Vec<Spanned<String>>>>,
    #[serde(rename = "if")]
    condition: Option<Spanned<Vec<Spanned<String>>>>,
    #[serde(rename = "else")]
    otherwise: Option<Spanned<Vec<Spanned<String>>>>,
    sudo: Option<bool>,
    #[serde(default)]
    always: bool,
    pause: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenParameter {
    description: String,
    pattern: WrittenPattern,
    default: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenPattern {
    whole: Option<[u64; 2]>,
    choice: Option<Vec<String>>,
    word: Option<String>,
    chars_max: Option<usize>,
    unit: Option<bool>,
    path: Option<bool>,
}

/// One file on its way into the catalogue: what an error is located by.
struct Source<'a> {
    path: &'a Path,
    text: &'a str,
    settings: &'a Settings,
}

fn merge(
    catalogue: &mut Catalogue,
    path: &Path,
    text: &str,
    settings: &Settings,
) -> Result<(), OperationsError> {
    let source = Source { path, text, settings };
    let file: File = toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        source.wrong(at, "", error.message())
    })?;
    for id in &file.remove {
        if !catalogue.remove(id.get_ref()) {
            let message = format!("there is no operation {:?} to remove", id.get_ref());
            return Err(source.wrong(id.span().start, "remove", &message));
        }
    }
    for (id, written) in file.operation {
        catalogue.put(source.operation(&id, written)?);
    }
    Ok(())
}

impl Source<'_> {
    fn wrong(&self, byte: usize, key: &str, message: &str) -> OperationsError {
        let before = self.text.get(..byte).unwrap_or(self.text);
        OperationsError::Invalid {
            path: self.path.to_owned(),
            line: 1 + before.bytes().filter(|b| *b == b'\n').count(),
            key: if key.is_empty() {
                String::new()
            } else {
                format!("{key}: ")
            },
            // The library's own messages may have several lines.
            message: message.replace('\n', " "),
        }
    }

    fn operation(&self, id: &Spanned<String>, written: Written) -> Result<Operation, OperationsError> {
        let key = format!("operation.{}", id.get_ref());
        let at = id.span().start;
        let parsed =
            OperationId::new(id.get_ref()).map_err(|error| self.wrong(at, &key, &error.to_string()))?;
        let name = self.sentence(&written.name, NAME_CHARS_MAX, &format!("{key}.name"))?;
        let description = match &written.description {
            Some(text) => self.sentence(text, DESCRIPTION_CHARS_MAX, &format!("{key}.description"))?,
            None => String::new(),
        };
        let timeout = self.span(&written.timeout, &format!("{key}.timeout"))?;
        let mut parameters = BTreeMap::new();
        for (name, parameter) in &written.parameters {
            let key = format!("{key}.parameters.{}", name.get_ref());
            let parameter = self.parameter(name, parameter, &key)?;
            parameters.insert(name.get_ref().clone(), parameter);
        }
        let names: Vec<&str> = parameters.keys().map(String::as_str).collect();
        let steps_key = format!("{key}.steps");
        let written_steps = written.steps.get_ref();
        if written_steps.is_empty() || written_steps.len() > STEPS_MAX {
            let message = format!("it must have 1 to {STEPS_MAX} steps");
            return Err(self.wrong(written.steps.span().start, &steps_key, &message));
        }
        let steps = written_steps
            .iter()
            .map(|step| self.step(step, &names, &steps_key))
            .collect::<Result<Vec<Step>, OperationsError>>()?;
        if let Some(unused) = names
            .iter()
            .find(|name| !steps.iter().any(|step| uses(step, name)))
        {
            let message = format!("no step uses the parameter {unused}");
            return Err(self.wrong(at, &format!("{key}.parameters.{unused}"), &message));
        }
        Ok(Operation {
            id: parsed,
            name,
            description,
            timeout,
            sudo: written.sudo,
            refused_on_air: written.refused_on_air,
            parameters,
            steps,
        })
    }

    fn sentence(
        &self,
        text: &Spanned<String>,
        chars_max: usize,
        key: &str,
    ) -> Result<String, OperationsError> {
        let (value, at) = (text.get_ref(), text.span().start);
        if value.trim().is_empty() || value.chars().count() > chars_max || value.chars().any(char::is_control)
        {
            let message = format!("it must be one line of 1 to {chars_max} characters");
            return Err(self.wrong(at, key, &message));
        }
        Ok(value.clone())
    }

    fn span(&self, text: &Spanned<String>, key: &str) -> Result<Duration, OperationsError> {
        let fits = |span: &Duration| !span.is_zero() && *span <= TIMEOUT_MAX;
        span::parse(text.get_ref()).filter(fits).ok_or_else(|| {
            let most = TIMEOUT_MAX.as_secs();
            let message = format!(
                "{:?} must be a duration of at most {most}s, such as \"30s\"",
                text.get_ref()
            );
            self.wrong(text.span().start, key, &message)
        })
    }

    fn step(
        &self,
        step: &Spanned<WrittenStep>,
        parameters: &[&str],
        key: &str,
    ) -> Result<Step, OperationsError> {
        let at = step.span().start;
        let step = step.get_ref();
        match (&step.run, &step.pause) {
            (Some(run), None) => {
                let words = |words: &Spanned<Vec<Spanned<String>>>| self.words(words, parameters, key);
                if step.otherwise.is_some() && step.condition.is_none() {
                    return Err(self.wrong(at, key, "`else` needs an `if`"));
                }
                Ok(Step::Run(Run {
                    condition: step.condition.as_ref().map(words).transpose()?,
                    argv: words(run)?,
                    otherwise: step.otherwise.as_ref().map(words).transpose()?,
                    sudo: step.sudo,
                    always: step.always,
                }))
            }
            (None, Some(pause)) => {
                let alone = step.condition.is_none() && step.otherwise.is_none() && step.sudo.is_none();
                if !alone || step.always {
                    return Err(self.wrong(at, key, "a pause has nothing beside it"));
                }
                Ok(Step::Pause(self.span(pause, key)?))
            }
            (Some(_), Some(_)) | (None, None) => {
                Err(self.wrong(at, key, "a step has either `run` or `pause`"))
            }
        }
    }

    fn words(
        &self,
        words: &Spanned<Vec<Spanned<String>>>,
        parameters: &[&str],
        key: &str,
    ) -> Result<Vec<Template>, OperationsError> {
        let count = words.get_ref().len();
        let first = words.get_ref().first().map(Spanned::get_ref);
        if count > WORDS_MAX || first.is_none_or(|name| name.is_empty() || name.starts_with(['-', '{'])) {
            let message = format!("a command has 1 to {WORDS_MAX} words, and the first names a program");
            return Err(self.wrong(words.span().start, key, &message));
        }
        let parse = |word: &Spanned<String>| {
            Template::parse(word.get_ref(), self.settings, parameters)
                .map_err(|error| self.wrong(word.span().start, key, &error.to_string()))
        };
        words.get_ref().iter().map(parse).collect()
    }

    fn parameter(
        &self,
        name: &Spanned<String>,
        parameter: &Spanned<WrittenParameter>,
        key: &str,
    ) -> Result<Parameter, OperationsError> {
        let at = parameter.span().start;
        let text = name.get_ref();
        let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        if text.is_empty() || text.len() > NAME_CHARS_MAX || !text.bytes().all(legal) {
            let message = "a parameter's name is of a-z, 0-9 and _";
            return Err(self.wrong(name.span().start, key, message));
        }
        if self.settings.contains_key(text.as_str()) {
            let message = "a setting has this name already";
            return Err(self.wrong(name.span().start, key, message));
        }
        let written = parameter.get_ref();
        let pattern = pattern(&written.pattern).ok_or_else(|| {
            self.wrong(
                at,
                &format!("{key}.pattern"),
                "it must be one of { whole = [least, most] }, { choice = [\"...\"] }, { unit = true }, { path = true }, \
                 { word = \"characters\", chars_max = 40 }",
            )
        })?;
        if let Some(default) = &written.default {
            pattern.admit(default).map_err(|misfit| {
                let message = format!("{default:?} {misfit}");
                self.wrong(at, &format!("{key}.default"), &message)
            })?;
        }
        Ok(Parameter {
            description: written.description.clone(),
            pattern,
            default: written.default.clone(),
        })
    }
}

fn pattern(written: &WrittenPattern) -> Option<Pattern> {
    match written {
        WrittenPattern {
            whole: Some([min, max]),
            choice: None,
            word: None,
            chars_max: None,
            unit: None,
            path: None,
        } if min <= max => Some(Pattern::Whole { min: *min, max: *max }),
        WrittenPattern {
            whole: None,
            choice: Some(values),
            word: None,
            chars_max: None,
            unit: None,
            path: None,
        } if !values.is_empty() => Some(Pattern::Choice {
            values: values.clone(),
        }),
        WrittenPattern {
            whole: None,
            choice: None,
            word: Some(also),
            chars_max: Some(chars_max),
            unit: None,
            path: None,
        } if *chars_max > 0 => Some(Pattern::Word {
            also: also.clone(),
            chars_max: *chars_max,
        }),
        WrittenPattern {
            whole: None,
            choice: None,
            word: None,
            chars_max: None,
            unit: Some(true),
            path: None,
        } => Some(Pattern::Unit),
        WrittenPattern {
            whole: None,
            choice: None,
            word: None,
            chars_max: None,
            unit: None,
            path: Some(true),
        } => Some(Pattern::Path),
        WrittenPattern { .. } => None,
    }
}

fn uses(step: &Step, parameter: &str) -> bool {
    match step {
        Step::Pause(_) => false,
        Step::Run(run) => [Some(&run.argv), run.condition.as_ref(), run.otherwise.as_ref()]
            .into_iter()
            .flatten()
            .flatten()
            .any(|word| word.parameters().any(|name| name == parameter)),
    }
}
