//! Operations: what may be done on a VM over SSH, as data, and what becomes of one when it is asked for.
//!
//! ```text
//! catalogue ── operation + parameters ──► plan: steps, each a list of words ──► (actors run it)
//! free command (sh -c, only where it is allowed) ──┘
//! ```
//!
//! Nothing that a caller sends becomes more than one word, and no word of the catalogue is read by a shell. The
//! one exception is the free command, which is given to the VM's `sh -c` on purpose.
//!
//! This module does not read files (see `config::operations`), run anything, or know who may ask.

mod parameter;
mod template;

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::parameter::{Misfit, Parameter, Pattern, VALUE_BYTES_MAX};
pub use self::template::{InvalidTemplate, Template, WORD_BYTES_MAX};
use super::unix::AbsolutePath;

/// Longest id, in characters.
pub const ID_CHARS_MAX: usize = 64;
/// Steps of one operation.
pub const STEPS_MAX: usize = 32;
/// Longest time that any operation or command may take: what callers may ask for at most.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(600);
/// Longest free command, in bytes. It is kept in the ledger as it was given.
pub const COMMAND_BYTES_MAX: usize = 4_096;

/// Never asks for a password, and takes nothing that follows for an option of its own.
const SUDO: [&str; 3] = ["sudo", "-n", "--"];

/// Why a text is no id of an operation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an operation's id is 1 to {ID_CHARS_MAX} of A-Z, 0-9 and _, starting with a letter")]
pub struct InvalidOperationId;

/// Id of an operation, such as `RESTART_OBS`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct OperationId(Arc<str>);

impl OperationId {
    /// # Errors
    /// [`InvalidOperationId`].
    pub fn new(text: &str) -> Result<Self, InvalidOperationId> {
        let legal = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
        let fits = text.len() <= ID_CHARS_MAX
            && text.starts_with(|c: char| c.is_ascii_uppercase())
            && text.bytes().all(legal);
        if fits {
            Ok(Self(text.into()))
        } else {
            Err(InvalidOperationId)
        }
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for OperationId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl From<OperationId> for String {
    fn from(id: OperationId) -> Self {
        id.as_str().to_owned()
    }
}

impl TryFrom<String> for OperationId {
    type Error = InvalidOperationId;

    fn try_from(text: String) -> Result<Self, InvalidOperationId> {
        Self::new(&text)
    }
}

/// Something that can be done on a VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    pub id: OperationId,
    /// For people.
    pub name: String,
    pub description: String,
    /// Limit on all steps together.
    pub timeout: Duration,
    /// Whether its steps run as root, unless a step says otherwise.
    pub sudo: bool,
    /// Not while the VM is on air.
    pub refused_on_air: bool,
    pub parameters: BTreeMap<String, Parameter>,
    pub steps: Vec<Step>,
}

/// One step of an operation. They run one after the other; one that fails ends the operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Run(Run),
    Pause(Duration),
}

/// A command of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// A command whose status decides; what it prints is dropped.
    pub condition: Option<Vec<Template>>,
    /// Run if there is no condition or it succeeded.
    pub argv: Vec<Template>,
    /// Run if the condition failed; nothing then if there is none.
    pub otherwise: Option<Vec<Template>>,
    /// Another choice than the operation's, for `argv` alone: the condition and the alternative always run as
    /// the user who logs in.
    pub sudo: Option<bool>,
    /// Also after a step before it has failed, such as starting again what was stopped.
    pub always: bool,
}

/// Why a request for an operation is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("there is no operation {0:?}")]
    UnknownOperation(String),
    #[error("{operation} has no parameter {name:?}")]
    UnknownParameter { operation: OperationId, name: String },
    #[error("{operation} needs the parameter {name:?}")]
    MissingParameter { operation: OperationId, name: String },
    #[error("{name} {misfit}")]
    Parameter { name: String, misfit: Misfit },
}

/// What is run on the VM, with every word as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    pub steps: Vec<PlannedStep>,
    /// Limit on all steps together.
    pub timeout: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlannedStep {
    Run {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        condition: Option<Vec<String>>,
        argv: Vec<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        otherwise: Option<Vec<String>>,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        always: bool,
    },
    Pause(Duration),
}

impl PlannedStep {
    /// A command without ifs and buts.
    #[must_use]
    pub fn run<W: Into<String>>(argv: impl IntoIterator<Item = W>) -> Self {
        Self::Run {
            condition: None,
            argv: argv.into_iter().map(Into::into).collect(),
            otherwise: None,
            always: false,
        }
    }
}

impl Operation {
    /// What is to be run for these parameters.
    ///
    /// # Errors
    /// [`Refused`] names the parameter that does not fit.
    pub fn plan(&self, given: &BTreeMap<String, String>) -> Result<Plan, Refused> {
        if let Some(name) = given.keys().find(|name| !self.parameters.contains_key(*name)) {
            return Err(Refused::UnknownParameter {
                operation: self.id.clone(),
                name: name.clone(),
            });
        }
        let mut values = BTreeMap::new();
        for (name, parameter) in &self.parameters {
            let Some(value) = given.get(name).or(parameter.default.as_ref()) else {
                return Err(Refused::MissingParameter {
                    operation: self.id.clone(),
                    name: name.clone(),
                });
            };
            let admitted = parameter
                .pattern
                .admit(value)
                .map_err(|misfit| Refused::Parameter {
                    name: name.clone(),
                    misfit,
                })?;
            values.insert(name.as_str(), admitted);
        }
        let steps = self.steps.iter().map(|step| match step {
            Step::Pause(span) => PlannedStep::Pause(*span),
            Step::Run(run) => self.plan_run(run, &values),
        });
        Ok(Plan {
            steps: steps.collect(),
            timeout: self.timeout,
        })
    }

    fn plan_run(&self, run: &Run, values: &BTreeMap<&str, String>) -> PlannedStep {
        let words = |templates: &Vec<Template>| -> Vec<String> {
            templates.iter().map(|word| word.fill(values)).collect()
        };
        PlannedStep::Run {
            condition: run.condition.as_ref().map(words),
            argv: with_sudo(run.sudo.unwrap_or(self.sudo), words(&run.argv)),
            otherwise: run.otherwise.as_ref().map(words),
            always: run.always,
        }
    }
}

fn with_sudo(sudo: bool, argv: Vec<String>) -> Vec<String> {
    if sudo {
        SUDO.into_iter().map(str::to_owned).chain(argv).collect()
    } else {
        argv
    }
}

/// A command line of the caller's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FreeCommand {
    /// Given to `sh -c` as it is.
    pub line: String,
    /// Folder to run it in; without one the login folder.
    pub cwd: Option<AbsolutePath>,
    pub sudo: bool,
    pub timeout: Duration,
}

/// Why a free command cannot be run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCommand {
    #[error("command must not be empty")]
    Empty,
    #[error("command has at most {COMMAND_BYTES_MAX} bytes")]
    TooLong,
    #[error("command must not contain NUL")]
    Nul,
    #[error("timeout must be from 1 to {} ms", TIMEOUT_MAX.as_millis())]
    Timeout,
}

impl FreeCommand {
    /// # Errors
    /// [`InvalidCommand`].
    pub fn plan(&self) -> Result<Plan, InvalidCommand> {
        if self.line.trim().is_empty() {
            return Err(InvalidCommand::Empty);
        }
        if self.line.len() > COMMAND_BYTES_MAX {
            return Err(InvalidCommand::TooLong);
        }
        if self.line.contains('\0') {
            return Err(InvalidCommand::Nul);
        }
        if self.timeout.is_zero() || self.timeout > TIMEOUT_MAX {
            return Err(InvalidCommand::Timeout);
        }
        let shell = ["sh", "-c", &self.line].map(str::to_owned).to_vec();
        let mut argv = with_sudo(self.sudo, shell);
        if let Some(cwd) = &self.cwd {
            // Before sudo, whose own -D needs to be allowed in sudoers.
            let change = ["env".to_owned(), format!("--chdir={cwd}")];
            argv = change.into_iter().chain(argv).collect();
        }
        Ok(Plan {
            steps: vec![PlannedStep::run(argv)],
            timeout: self.timeout,
        })
    }
}

/// Every operation there is, by id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Catalogue(BTreeMap<OperationId, Operation>);

impl Catalogue {
    pub fn iter(&self) -> impl Iterator<Item = &Operation> {
        self.0.values()
    }

    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Operation> {
        self.0.get(id)
    }

    /// Adds an operation, in place of one with the same id.
    pub fn put(&mut self, operation: Operation) {
        self.0.insert(operation.id.clone(), operation);
    }

    /// Takes one out; whether there was one.
    pub fn remove(&mut self, id: &str) -> bool {
        self.0.remove(id).is_some()
    }

    /// What is to be run for this operation and these parameters.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn plan(&self, id: &str, given: &BTreeMap<String, String>) -> Result<(&Operation, Plan), Refused> {
        let operation = self
            .get(id)
            .ok_or_else(|| Refused::UnknownOperation(id.chars().take(ID_CHARS_MAX).collect()))?;
        Ok((operation, operation.plan(given)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(texts: &[&str], parameters: &[&str]) -> Vec<Template> {
        let settings = BTreeMap::new();
        let parse = |text: &&str| Template::parse(text, &settings, parameters).unwrap();
        texts.iter().map(parse).collect()
    }

    fn logs() -> Operation {
        let lines = Parameter {
            description: "How many".into(),
            pattern: Pattern::Whole { min: 1, max: 1_000 },
            default: Some("50".into()),
        };
        let unit = Parameter {
            description: "Whose".into(),
            pattern: Pattern::Unit,
            default: None,
        };
        let run = Run {
            condition: Some(words(&["systemctl", "cat", "{unit}"], &["unit"])),
            argv: words(&["journalctl", "-u", "{unit}", "-n{lines}"], &["unit", "lines"]),
            otherwise: Some(words(&["pm2", "logs"], &[])),
            sudo: None,
            always: false,
        };
        Operation {
            id: OperationId::new("LOGS").unwrap(),
            name: "Logs".into(),
            description: String::new(),
            timeout: Duration::from_secs(10),
            sudo: true,
            refused_on_air: false,
            parameters: BTreeMap::from([("lines".into(), lines), ("unit".into(), unit)]),
            steps: vec![Step::Run(run), Step::Pause(Duration::from_secs(2))],
        }
    }

    fn given(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect()
    }

    #[test]
    fn a_plan_has_every_word_filled_in_and_sudo_before_what_needs_it() {
        let plan = logs().plan(&given(&[("unit", "nginx")])).unwrap();
        let PlannedStep::Run {
            condition,
            argv,
            otherwise,
            always,
        } = &plan.steps[0]
        else {
            panic!("{plan:?}")
        };
        assert_eq!(condition.as_ref().unwrap(), &["systemctl", "cat", "nginx"]);
        assert_eq!(argv, &["sudo", "-n", "--", "journalctl", "-u", "nginx", "-n50"]);
        assert_eq!(otherwise.as_ref().unwrap(), &["pm2", "logs"]);
        assert!(!always);
        assert_eq!(plan.steps[1], PlannedStep::Pause(Duration::from_secs(2)));
    }

    #[test]
    fn parameters_that_are_unknown_missing_or_wrong_are_named() {
        let refused = |pairs| logs().plan(&given(pairs)).unwrap_err().to_string();
        assert_eq!(refused(&[]), "LOGS needs the parameter \"unit\"");
        assert_eq!(
            refused(&[("unit", "a"), ("line", "5")]),
            "LOGS has no parameter \"line\""
        );
        assert_eq!(
            refused(&[("unit", "a"), ("lines", "5000")]),
            "lines must be a whole number from 1 to 1000"
        );
        assert!(refused(&[("unit", "--help")]).starts_with("unit a unit name must not start"));
        let error = Catalogue::default().plan("NOPE", &given(&[])).unwrap_err();
        assert_eq!(error, Refused::UnknownOperation("NOPE".into()));
    }

    #[test]
    fn a_free_command_is_one_word_to_the_shell_in_its_folder_and_under_sudo() {
        let mut free = FreeCommand {
            line: "ls *.mp4; echo 'done'".into(),
            cwd: Some(AbsolutePath::new("/home/ubuntu/my recordings").unwrap()),
            sudo: true,
            timeout: Duration::from_secs(5),
        };
        let plan = free.plan().unwrap();
        let wanted = [
            "env",
            "--chdir=/home/ubuntu/my recordings",
            "sudo",
            "-n",
            "--",
            "sh",
            "-c",
            "ls *.mp4; echo 'done'",
        ];
        assert_eq!(plan.steps, [PlannedStep::run(wanted)]);
        free.timeout = Duration::from_secs(601);
        assert_eq!(free.plan(), Err(InvalidCommand::Timeout));
        free.timeout = Duration::ZERO;
        assert_eq!(free.plan(), Err(InvalidCommand::Timeout));
        for (line, why) in [
            (" \n", InvalidCommand::Empty),
            ("a\0b", InvalidCommand::Nul),
            (&"x".repeat(5_000), InvalidCommand::TooLong),
        ] {
            free.line = line.to_owned();
            assert_eq!(free.plan(), Err(why));
        }
    }

    #[test]
    fn ids_are_words_in_capitals() {
        assert!(OperationId::new("START_OBS").is_ok());
        for bad in ["", "start", "_A", "1A", "A-B", "A B", &"A".repeat(65)] {
            assert_eq!(OperationId::new(bad), Err(InvalidOperationId), "{bad}");
        }
    }
}
