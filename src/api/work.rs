//! Work on a VM, on one path for HTTP and Socket.IO: what was asked for, checked, and started.

use std::time::Duration;

use super::auth::Caller;
use super::error::ApiError;
use super::gateway::Gateway;
use super::types::ssh::{ExecBody, ExecReply};
use crate::actors::coordinator::Work;
use crate::actors::executions::run::Running;
use crate::domain::ids::VmId;
use crate::domain::operation::{FreeCommand, TIMEOUT_MAX};
use crate::domain::unix::AbsolutePath;

/// Limit on a command line for which none was asked.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);

/// Something that was started, and what it is if it is an operation.
pub struct Started {
    pub vm: VmId,
    pub operation: Option<String>,
    pub running: Running,
}

/// Starts what was asked for.
///
/// # Errors
/// What the contract lists for `ssh/exec`.
pub async fn start(gateway: &Gateway, caller: Caller, vm: VmId, body: ExecBody) -> Result<Started, ApiError> {
    let work = work(body)?;
    gateway.require_initialized()?;
    let operation = match &work {
        Work::Operation { id, .. } => Some(id.clone()),
        Work::Command(_) => None,
    };
    let running = gateway
        .coordinator()
        .execute(vm.clone(), work, caller.name().to_owned())
        .await
        .map_err(|error| gateway.refuse(error))?;
    Ok(Started {
        vm,
        operation,
        running,
    })
}

/// Waits for the end of what was started.
///
/// # Errors
/// 502 if the connection failed, 504 if it took too long.
pub async fn finish(gateway: &Gateway, started: Started) -> Result<ExecReply, ApiError> {
    let printed = gateway
        .coordinator()
        .collect(&started.vm, started.running)
        .await
        .map_err(|error| gateway.refuse(error))?;
    Ok(ExecReply::new(
        started.vm.to_string(),
        started.operation,
        &printed,
    ))
}

fn work(body: ExecBody) -> Result<Work, ApiError> {
    let timeout = body.timeout.map(Duration::from_millis);
    if timeout.is_some_and(|timeout| timeout.is_zero() || timeout > TIMEOUT_MAX) {
        let most = TIMEOUT_MAX.as_millis();
        return Err(ApiError::field(
            "timeout",
            format!("timeout must be from 1 to {most} ms"),
        ));
    }
    match (body.operation, body.command) {
        (Some(id), None) => {
            if body.sudo || body.cwd.is_some() {
                let field = if body.sudo { "sudo" } else { "cwd" };
                let error = format!("{field} goes with command; an operation has its own");
                return Err(ApiError::field(field, error));
            }
            Ok(Work::Operation {
                id,
                parameters: body
                    .parameters
                    .into_iter()
                    .map(|(name, value)| (name, value.into()))
                    .collect(),
                timeout,
            })
        }
        (None, Some(line)) => {
            let cwd = body.cwd.map(|cwd| AbsolutePath::new(&cwd)).transpose();
            Ok(Work::Command(FreeCommand {
                line,
                cwd: cwd.map_err(|error| ApiError::field("cwd", error.to_string()))?,
                sudo: body.sudo,
                timeout: timeout.unwrap_or(COMMAND_TIMEOUT),
            }))
        }
        (Some(_), Some(_)) => Err(ApiError::field(
            "command",
            "either operation or command, not both",
        )),
        (None, None) => Err(ApiError::field("operation", "operation is missing (or command)")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(body: Value) -> Result<Work, ApiError> {
        work(serde_json::from_value(body).unwrap())
    }

    #[test]
    fn either_an_operation_or_a_command_is_asked_for() {
        let operation =
            read(json!({"operation": "VIEW_LOGS", "parameters": {"lines": 5}, "timeout": 100})).unwrap();
        let Work::Operation {
            id,
            parameters,
            timeout,
        } = operation
        else {
            panic!()
        };
        assert_eq!((id.as_str(), parameters["lines"].as_str()), ("VIEW_LOGS", "5"));
        assert_eq!(timeout, Some(Duration::from_millis(100)));
        let command = read(json!({"command": "ls", "cwd": "/tmp", "sudo": true})).unwrap();
        let Work::Command(command) = command else { panic!() };
        assert_eq!((command.timeout, command.sudo), (COMMAND_TIMEOUT, true));
    }

    #[test]
    fn the_field_that_does_not_fit_is_named() {
        for (body, field) in [
            (json!({}), "operation"),
            (json!({"operation": "X", "command": "ls"}), "command"),
            (json!({"operation": "X", "sudo": true}), "sudo"),
            (json!({"operation": "X", "cwd": "/tmp"}), "cwd"),
            (json!({"command": "ls", "cwd": "tmp"}), "cwd"),
            (json!({"command": "ls", "timeout": 0}), "timeout"),
            (json!({"command": "ls", "timeout": 600_001}), "timeout"),
        ] {
            let error = read(body.clone()).unwrap_err();
            assert_eq!(error.status.as_u16(), 400, "{body}");
            assert_eq!(error.body.fields["field"], field, "{body}");
        }
    }
}
