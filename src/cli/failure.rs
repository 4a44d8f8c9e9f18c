//! How a command ends, and what is said if it ends badly: what went wrong, what to do about it, and an exit
//! status that a script can tell apart.

use std::fmt;
use std::process::ExitCode;

use serde_json::{Map, Value, json};

use crate::config;
use crate::infra::causes::with_causes;

/// The detail that names a request as the server's log does.
pub(super) const REQUEST_ID: &str = "requestId";

/// What every subcommand's `run` gives back.
pub type Outcome = anyhow::Result<Exit>;

/// The exit status. `understudy --help` lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Exit {
    Done,
    /// It was tried and went wrong, or what was looked at is not as it should be.
    Failed,
    /// The command line, the configuration or the request is not valid: repeating it cannot help.
    Usage,
    /// No answer that can be understood: unreachable, lost on the way, too late, or from something else.
    Unreachable,
    /// The server asks for a token, or for another one.
    Denied,
    /// There is no such VM, or the show has none.
    Unknown,
    /// Something is in the way at present, such as an occupied VM.
    Conflict,
    /// The server cannot do it now; trying again later may help.
    Unavailable,
    /// Of a command on a VM, passed on.
    Remote(u8),
}

impl Exit {
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Unreachable => 3,
            Self::Denied => 4,
            Self::Unknown => 5,
            Self::Conflict => 6,
            Self::Unavailable => 7,
            Self::Remote(status) => status,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a command did not do what it was asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    pub exit: Exit,
    /// What went wrong. From a server, its own words.
    pub message: String,
    /// What to do about it.
    pub advice: Option<String>,
    /// The server's code for programs, in UPPER_SNAKE.
    pub code: Option<String>,
    /// Of the server's answer.
    pub http_status: Option<u16>,
    /// Further fields of the server's answer, or whatever else a program wants to know.
    pub details: Map<String, Value>,
}

impl Failure {
    #[must_use]
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            advice: None,
            code: None,
            http_status: None,
            details: Map::new(),
        }
    }

    #[must_use]
    pub fn advice(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    #[must_use]
    pub fn detail(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.details.insert(name.to_owned(), value.into());
        self
    }

    /// The request to look for in the server's log, where that may say more than the server did.
    #[must_use]
    pub(super) fn logged_request(&self) -> Option<&str> {
        let is_told_in_full = match self.exit {
            Exit::Failed | Exit::Unreachable | Exit::Unavailable => false,
            Exit::Done | Exit::Usage | Exit::Denied | Exit::Unknown | Exit::Conflict | Exit::Remote(_) => {
                true
            }
        };
        let id = self.details.get(REQUEST_ID).and_then(Value::as_str);
        id.filter(|_| !is_told_in_full)
    }

    /// For programs: what people read, with the exit status and everything the server said.
    #[must_use]
    pub fn json(&self) -> Value {
        let mut object = self.details.clone();
        object.insert("error".to_owned(), json!(self.message));
        object.insert("exitCode".to_owned(), json!(self.exit.code()));
        let optional = [
            ("advice", self.advice.as_ref().map(|advice| json!(advice))),
            ("code", self.code.as_ref().map(|code| json!(code))),
            ("httpStatus", self.http_status.map(|status| json!(status))),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                object.insert(name.to_owned(), value);
            }
        }
        Value::Object(object)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl From<config::Error> for Failure {
    fn from(error: config::Error) -> Self {
        let problems: Vec<Value> = match &error {
            config::Error::Invalid { problems } => problems
                .iter()
                .map(|problem| json!(problem.to_string()))
                .collect(),
            config::Error::Read { .. } | config::Error::Syntax { .. } => Vec::new(),
        };
        let failure = Self::new(Exit::Usage, with_causes(&error));
        if problems.is_empty() {
            failure
        } else {
            failure.detail("problems", problems)
        }
    }
}

impl From<config::OperationsError> for Failure {
    fn from(error: config::OperationsError) -> Self {
        Self::new(Exit::Usage, with_causes(&error))
    }
}

impl From<anyhow::Error> for Failure {
    /// A [`Failure`] that was passed on as an error is itself again; of anything else the whole chain of causes
    /// is told.
    fn from(error: anyhow::Error) -> Self {
        error
            .downcast::<Failure>()
            .or_else(|error| error.downcast::<config::Error>().map(Self::from))
            .unwrap_or_else(|error| Self::new(Exit::Failed, format!("{error:#}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_survives_being_passed_on_as_an_error() {
        let failure = Failure::new(Exit::Conflict, "taken").advice("release it");
        let passed: anyhow::Error = failure.clone().into();
        assert_eq!(Failure::from(passed), failure);
    }

    #[test]
    fn any_other_error_is_told_with_its_causes() {
        let error = anyhow::anyhow!("the disk is full").context("the ledger cannot be opened");
        let failure = Failure::from(error);
        assert_eq!(failure.exit, Exit::Failed);
        assert_eq!(failure.message, "the ledger cannot be opened: the disk is full");
    }

    #[test]
    fn a_wrong_configuration_is_a_matter_of_usage_and_lists_every_problem() {
        let error = config::Config::parse(
            std::path::Path::new("u.toml"),
            "[pool]\nwarm_cuont = 3\nmax_instances = 0\n",
            [],
        )
        .unwrap_err();
        let failure = Failure::from(anyhow::Error::from(error));
        assert_eq!(failure.exit, Exit::Usage);
        assert_eq!(failure.json()["problems"].as_array().unwrap().len(), 2);
        assert!(failure.message.contains("pool.warm_count"), "{}", failure.message);
    }

    #[test]
    fn the_object_for_programs_has_no_empty_fields() {
        let json = Failure::new(Exit::Unknown, "no such VM")
            .detail("vmId", "vm-a")
            .json();
        assert_eq!(
            json,
            json!({"error": "no such VM", "exitCode": 5, "vmId": "vm-a"})
        );
    }
}
