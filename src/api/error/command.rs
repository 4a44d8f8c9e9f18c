//! Which status and body a refused command gets.

use http::StatusCode;

use super::{ApiError, not_assigned, unknown_vm};
use crate::actors::coordinator::CommandError;
use crate::actors::executions::transfer::FileError;
use crate::api::project;
use crate::domain::operation::{InvalidCommand, Refused};
use crate::domain::pool::Denied;
use crate::domain::state::State;

impl ApiError {
    /// Translates a refused command. `state` supplies what the error does not carry, such as an address.
    #[expect(clippy::too_many_lines, reason = "a table: one entry per error")]
    #[must_use]
    pub fn from_command(error: CommandError, state: &State) -> Self {
        let text = error.to_string();
        match error {
            CommandError::UnknownVm(vm) => unknown_vm(vm.as_str()),
            CommandError::AlreadyAssigned { show, vm } => {
                let public_ip = state.vm(&vm).and_then(|vm| project::public_ip(&vm.instance));
                Self::new(StatusCode::BAD_REQUEST, text)
                    .code("ALREADY_ASSIGNED")
                    .with("competitionId", show.as_str())
                    .with("vmId", vm.as_str())
                    .with("publicIp", public_ip)
            }
            CommandError::NotAssigned(show) => not_assigned(show.as_str()),
            CommandError::WrongPhase { show, phase, .. } => Self::new(StatusCode::CONFLICT, text)
                .code("WRONG_PHASE")
                .with("competitionId", show.as_str())
                .with("phase", phase),
            CommandError::Denied(denied) => from_denied(denied, text),
            CommandError::WrongStatus { vm, status, .. } => Self::new(StatusCode::CONFLICT, text)
                .code("WRONG_STATUS")
                .with("vmId", vm.as_str())
                .with("status", status.as_str()),
            CommandError::Occupied { vm, show } => Self::new(StatusCode::CONFLICT, text)
                .code("OCCUPIED")
                .with("vmId", vm.as_str())
                .with("assignedTo", show.as_str()),
            CommandError::PoolFull { total, max } => Self::new(StatusCode::CONFLICT, text)
                .code("POOL_FULL")
                .with("total", total)
                .with("maxInstances", max),
            CommandError::KeyReused => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, text).code("IDEMPOTENCY_KEY_REUSED")
            }
            CommandError::Invalid { field, message } => Self::field(field, message),
            CommandError::Stopping => Self::new(StatusCode::CONFLICT, text).code("STOPPING"),
            CommandError::Cloud { vm, code, message } => {
                let error = Self::new(StatusCode::BAD_GATEWAY, format!("the cloud refused: {message}"))
                    .code("CLOUD_FAILED")
                    .with("awsCode", code);
                match vm {
                    Some(vm) => error.with("vmId", vm.as_str()),
                    None => error,
                }
            }
            CommandError::Studio { vm, .. } => Self::new(StatusCode::BAD_GATEWAY, text)
                .code("STUDIO_FAILED")
                .with("vmId", vm.as_str()),
            CommandError::NotSilent { vm, .. } => Self::new(StatusCode::SERVICE_UNAVAILABLE, text)
                .code("NOT_SILENT")
                .with("vmId", vm.as_str())
                .retry_after(5),
            CommandError::Restarting { .. } => Self::new(StatusCode::SERVICE_UNAVAILABLE, text)
                .code("RESTARTING")
                .retry_after(1),
            CommandError::TimedOut { limit, .. } => Self::new(StatusCode::GATEWAY_TIMEOUT, text)
                .code("TIMED_OUT")
                .with("limitMs", crate::domain::time::millis(limit)),
            CommandError::Busy => Self::new(StatusCode::SERVICE_UNAVAILABLE, text)
                .code("BUSY")
                .retry_after(1),
            CommandError::Ledger(_) => Self::new(StatusCode::SERVICE_UNAVAILABLE, text).code("LEDGER"),
            CommandError::Refused(_) => Self::new(StatusCode::CONFLICT, text).code("REFUSED"),
            CommandError::Operation(refused) => from_operation(&refused),
            CommandError::Command(invalid) => {
                let field = match invalid {
                    InvalidCommand::Timeout => "timeout",
                    InvalidCommand::Empty | InvalidCommand::TooLong | InvalidCommand::Nul => "command",
                };
                Self::field(field, text).code("INVALID_COMMAND")
            }
            CommandError::FreeCommandsForbidden => {
                Self::new(StatusCode::FORBIDDEN, text).code("FREE_COMMANDS_FORBIDDEN")
            }
            CommandError::NoArchive => Self::new(StatusCode::CONFLICT, text).code("ARCHIVE_NOT_CONFIGURED"),
            CommandError::NothingToArchive(vm) => Self::new(StatusCode::CONFLICT, text)
                .code("NOTHING_TO_ARCHIVE")
                .with("vmId", vm.as_str()),
            CommandError::NoSsh => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, text).code("SSH_NOT_CONFIGURED")
            }
            CommandError::Ssh { vm, .. } => Self::new(StatusCode::BAD_GATEWAY, text)
                .code("SSH_FAILED")
                .with("vmId", vm.as_str()),
            CommandError::CommandTimedOut { vm, limit } => Self::new(StatusCode::GATEWAY_TIMEOUT, text)
                .code("COMMAND_TIMED_OUT")
                .with("vmId", vm.as_str())
                .with("timeout", crate::domain::time::millis(limit)),
            CommandError::TooManyExecutions { .. } => Self::new(StatusCode::SERVICE_UNAVAILABLE, text)
                .code("BUSY")
                .retry_after(1),
            CommandError::NotRunning(id) => Self::new(StatusCode::CONFLICT, text)
                .code("NOT_RUNNING")
                .with("executionId", id.to_string()),
            CommandError::File(error) => from_file(&error, text),
        }
    }

    /// As [`ApiError::from_command`], for a termination: existing clients know 400 and a `message` for a VM
    /// that is assigned.
    #[must_use]
    pub fn from_terminate(error: CommandError, state: &State) -> Self {
        let occupied = matches!(error, CommandError::Occupied { .. });
        let mut translated = Self::from_command(error, state);
        if occupied {
            translated.status = StatusCode::BAD_REQUEST;
            translated = translated.with("message", "Release the VM from its competition first");
        }
        translated
    }
}

fn from_operation(refused: &Refused) -> ApiError {
    let field = match refused {
        Refused::UnknownOperation(_) => "operation".to_owned(),
        Refused::UnknownParameter { name, .. }
        | Refused::MissingParameter { name, .. }
        | Refused::Parameter { name, .. } => format!("parameters.{name}"),
    };
    ApiError::field(field, refused.to_string()).code("INVALID_OPERATION")
}

fn from_denied(denied: Denied, text: String) -> ApiError {
    match denied {
        Denied::PreferredUnknown(vm) => unknown_vm(vm.as_str()),
        Denied::PreferredBusy { vm, status } => ApiError::new(StatusCode::CONFLICT, text)
            .code("PREFERRED_BUSY")
            .with("vmId", vm.as_str())
            .with("status", status.as_str()),
        Denied::Exhausted => ApiError::new(StatusCode::CONFLICT, text).code("POOL_EXHAUSTED"),
        Denied::MaxConcurrent { limit } => ApiError::new(StatusCode::CONFLICT, text)
            .code("MAX_CONCURRENT")
            .with("maxConcurrent", limit),
    }
}

fn from_file(error: &FileError, text: String) -> ApiError {
    let (status, code) = match error {
        FileError::OutsideRoots { .. } | FileError::LeadsOut { .. } => {
            (StatusCode::FORBIDDEN, "FILE_FORBIDDEN")
        }
        FileError::NotFound { .. } => (StatusCode::NOT_FOUND, "FILE_NOT_FOUND"),
        FileError::WrongKind { .. } | FileError::IsFolder { .. } => (StatusCode::CONFLICT, "WRONG_KIND"),
        FileError::PastTheEnd { .. } => (StatusCode::RANGE_NOT_SATISFIABLE, "PAST_THE_END"),
        FileError::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "TOO_LARGE"),
        FileError::BrokeOff { .. } => (StatusCode::BAD_REQUEST, "BROKE_OFF"),
        FileError::Stalled { .. } => (StatusCode::GATEWAY_TIMEOUT, "STALLED"),
        FileError::Cancelled { .. } => (StatusCode::CONFLICT, "CANCELLED"),
        FileError::Machine { .. } => (StatusCode::BAD_GATEWAY, "FILE_FAILED"),
        FileError::Lost { .. } => (StatusCode::BAD_GATEWAY, "SSH_FAILED"),
        FileError::Busy { .. } => (StatusCode::SERVICE_UNAVAILABLE, "BUSY"),
    };
    let mut answer = ApiError::new(status, text).code(code);
    if let FileError::PastTheEnd { bytes, .. } = error {
        answer.range_of = Some(*bytes);
    }
    if matches!(error, FileError::Busy { .. }) {
        answer = answer.retry_after(1);
    }
    answer
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::response::IntoResponse;
    use http::header;
    use serde_json::Value;

    use super::*;
    use crate::domain::execution::ExecutionId;
    use crate::domain::ids::{ShowId, VmId};
    use crate::domain::vm::Status;

    fn vm() -> VmId {
        VmId::new("vm-a").unwrap()
    }

    fn show() -> ShowId {
        ShowId::new("finals").unwrap()
    }

    /// One of each, with the status and code it must get.
    #[expect(clippy::too_many_lines, reason = "a table: one entry per error")]
    fn table() -> Vec<(CommandError, u16, &'static str)> {
        let exhausted = CommandError::Denied(Denied::Exhausted);
        let unknown = CommandError::Denied(Denied::PreferredUnknown(vm()));
        let busy = Denied::PreferredBusy {
            vm: vm(),
            status: Status::Error,
        };
        let timed_out = CommandError::TimedOut {
            what: "it",
            limit: Duration::from_secs(5),
        };
        let cloud = CommandError::Cloud {
            vm: Some(vm()),
            code: Some("X".into()),
            message: "m".into(),
        };
        let message = "m".to_owned();
        let not_silent = CommandError::NotSilent { vm: vm(), message };
        let wrong_phase = CommandError::WrongPhase {
            show: show(),
            phase: "idle",
            advice: "a",
        };
        let wrong_status = CommandError::WrongStatus {
            vm: vm(),
            status: Status::Stopped,
            advice: "a",
        };
        vec![
            (CommandError::UnknownVm(vm()), 404, "VM_NOT_FOUND"),
            (
                CommandError::AlreadyAssigned {
                    show: show(),
                    vm: vm(),
                },
                400,
                "ALREADY_ASSIGNED",
            ),
            (CommandError::NotAssigned(show()), 404, "NOT_ASSIGNED"),
            (wrong_phase, 409, "WRONG_PHASE"),
            (unknown, 404, "VM_NOT_FOUND"),
            (CommandError::Denied(busy), 409, "PREFERRED_BUSY"),
            (exhausted, 409, "POOL_EXHAUSTED"),
            (
                CommandError::Denied(Denied::MaxConcurrent { limit: 4 }),
                409,
                "MAX_CONCURRENT",
            ),
            (wrong_status, 409, "WRONG_STATUS"),
            (not_silent, 503, "NOT_SILENT"),
            (
                CommandError::Occupied {
                    vm: vm(),
                    show: show(),
                },
                409,
                "OCCUPIED",
            ),
            (CommandError::PoolFull { total: 5, max: 5 }, 409, "POOL_FULL"),
            (CommandError::KeyReused, 422, "IDEMPOTENCY_KEY_REUSED"),
            (CommandError::Stopping, 409, "STOPPING"),
            (cloud, 502, "CLOUD_FAILED"),
            (
                CommandError::Studio {
                    vm: vm(),
                    message: "m".into(),
                },
                502,
                "STUDIO_FAILED",
            ),
            (
                CommandError::Restarting { subject: "x".into() },
                503,
                "RESTARTING",
            ),
            (timed_out, 504, "TIMED_OUT"),
            (CommandError::Busy, 503, "BUSY"),
            (CommandError::Ledger("disk full".into()), 503, "LEDGER"),
            (CommandError::Refused("no".into()), 409, "REFUSED"),
            (
                CommandError::Operation(Refused::UnknownOperation("X".into())),
                400,
                "INVALID_OPERATION",
            ),
            (
                CommandError::Command(InvalidCommand::Empty),
                400,
                "INVALID_COMMAND",
            ),
            (
                CommandError::FreeCommandsForbidden,
                403,
                "FREE_COMMANDS_FORBIDDEN",
            ),
            (CommandError::NothingToArchive(vm()), 409, "NOTHING_TO_ARCHIVE"),
            (CommandError::NoSsh, 503, "SSH_NOT_CONFIGURED"),
            (
                CommandError::Ssh {
                    vm: vm(),
                    message: "m".into(),
                },
                502,
                "SSH_FAILED",
            ),
            (
                CommandError::CommandTimedOut {
                    vm: vm(),
                    limit: Duration::from_secs(5),
                },
                504,
                "COMMAND_TIMED_OUT",
            ),
            (
                CommandError::TooManyExecutions {
                    what: "on all VMs".into(),
                    max: 64,
                },
                503,
                "BUSY",
            ),
            (CommandError::NotRunning(ExecutionId(7)), 409, "NOT_RUNNING"),
            (FileError::TooLarge { max: 7 }.into(), 413, "TOO_LARGE"),
            (FileError::Busy { vm: vm() }.into(), 503, "BUSY"),
        ]
    }

    #[test]
    fn every_refused_command_has_a_status_a_code_and_a_sentence() {
        for (error, status, code) in table() {
            let translated = ApiError::from_command(error.clone(), &State::default());
            assert_eq!(translated.status.as_u16(), status, "{error}");
            assert_eq!(translated.body.code, Some(code), "{error}");
            assert!(!translated.body.error.is_empty(), "{error}");
        }
    }

    #[test]
    fn errors_about_a_vm_or_a_show_name_it() {
        let occupied = CommandError::Occupied {
            vm: vm(),
            show: show(),
        };
        let body = ApiError::from_command(occupied.clone(), &State::default()).body;
        assert_eq!(body.fields["vmId"], "vm-a");
        assert_eq!(body.fields["assignedTo"], "finals");

        let terminate = ApiError::from_terminate(occupied, &State::default());
        assert_eq!(terminate.status, StatusCode::BAD_REQUEST);
        assert!(terminate.body.fields.contains_key("message"));

        let already = CommandError::AlreadyAssigned {
            show: show(),
            vm: vm(),
        };
        let body = ApiError::from_command(already, &State::default()).body;
        assert_eq!(body.fields["competitionId"], "finals");
        assert_eq!(body.fields["publicIp"], Value::Null);
    }

    #[test]
    fn what_may_pass_by_itself_says_when_to_try_again() {
        for error in [
            CommandError::Busy,
            CommandError::Restarting { subject: "x".into() },
        ] {
            assert_eq!(
                ApiError::from_command(error, &State::default()).retry_after_s,
                Some(1)
            );
        }
        let limited = ApiError::too_many_requests(7).into_response();
        assert_eq!(limited.headers()[header::RETRY_AFTER], "7");
    }
}
