//! Working on a VM over SSH: `/api/admin/vm-pool/{vmId}/ssh`, the catalogue of operations, and what was done.

use axum::body::Body as HttpBody;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, header};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::actors::coordinator::Work;
use crate::api::auth::{Admin, Granted};
use crate::api::error::{ApiError, ErrorBody};
use crate::api::extract::{self, Body, VmPath};
use crate::api::gateway::Gateway;
use crate::api::narrator::Narrator;
use crate::api::openapi::{BodyRefusals, Refusals, VmIdParam};
use crate::api::reply::Reply;
use crate::api::types::execution::{CancelReply, ExecutionPage, ExecutionView};
use crate::api::types::machine::{RestartBody, RestartReply, ServiceView, ServicesReply, SystemInfoReply};
use crate::api::types::operation::{OperationList, OperationView};
use crate::api::types::ssh::{ExecBody, ExecReply, LogsReply, OutputEvent};
use crate::api::work::{self, Started};
use crate::domain::execution::ExecutionId;
use crate::domain::service::Service;
use crate::domain::unix::UnitName;

/// A streamed answer: one JSON object per line.
const LINES: &str = "application/x-ndjson";
const LOG_LINES_DEFAULT: u32 = 50;
const LOG_LINES_MAX: u32 = 1_000;
const PAGE_DEFAULT: usize = 100;
const PAGE_MAX: usize = 500;

pub fn routes() -> OpenApiRouter<Gateway> {
    OpenApiRouter::new()
        .routes(routes!(operations))
        .routes(routes!(exec))
        .routes(routes!(logs))
        .routes(routes!(restart_service))
        .routes(routes!(services))
        .routes(routes!(system_info))
        .routes(routes!(executions))
        .routes(routes!(cancel))
}

/// The catalogue of operations.
#[utoipa::path(
    get, path = "/api/admin/vm-pool/ssh/operations", tag = "ssh",
    responses((status = 200, body = OperationList), Refusals)
)]
async fn operations(_: Granted<Admin>, State(gateway): State<Gateway>) -> Reply<OperationList> {
    let operations = gateway.coordinator().operations().iter();
    Reply(OperationList {
        operations: operations.map(OperationView::from).collect(),
    })
}

/// Runs an operation, or a command line where that is allowed, and answers when it has ended.
///
/// With `Accept: application/x-ndjson` the answer is a line of JSON (an `OutputEvent`) for each piece of output as it
/// comes, the first without output, the last with `done`. What is cut off by hanging up runs on; it is ended by
/// `POST /api/admin/executions/{executionId}/cancel`.
#[utoipa::path(
    post, path = "/api/admin/vm-pool/{vmId}/ssh/exec", tag = "ssh",
    params(VmIdParam),
    request_body = ExecBody,
    responses(
        (status = 200, description = "It has ended, or begun to print", content(
            (ExecReply = "application/json"), (OutputEvent = "application/x-ndjson")
        )),
        (status = 404, body = ErrorBody, description = "No such VM"),
        (status = 409, body = ErrorBody, description = "The VM does not run, or is on air"),
        (status = 502, body = ErrorBody, description = "The VM could not be reached over SSH"),
        BodyRefusals, Refusals
    )
)]
async fn exec(
    granted: Granted<Admin>,
    State(gateway): State<Gateway>,
    VmPath(vm): VmPath,
    headers: HeaderMap,
    Body(body): Body<ExecBody>,
) -> Result<Response, ApiError> {
    let started = work::start(&gateway, granted.caller, vm, body).await?;
    let wants_lines = headers
        .get(header::ACCEPT)
        .is_some_and(|value| value.as_bytes().starts_with(LINES.as_bytes()));
    if wants_lines {
        return Ok(as_lines(started));
    }
    let reply = work::finish(&gateway, started).await?;
    Ok(Reply(reply).into_response())
}

/// What is told of an execution, line by line as it comes.
fn as_lines(started: Started) -> Response {
    struct Telling {
        narrator: Narrator,
        started: Started,
        is_first: bool,
        is_over: bool,
    }
    let telling = Telling {
        narrator: Narrator::new(started.vm.clone(), started.running.id),
        started,
        is_first: true,
        is_over: false,
    };
    let lines = stream::unfold(telling, async |mut telling| {
        if telling.is_over {
            return None;
        }
        if std::mem::take(&mut telling.is_first) {
            let line = line(&telling.narrator.blank());
            return Some((line, telling));
        }
        loop {
            let event = match telling.started.running.updates.recv().await {
                Some(update) => telling.narrator.tell(&update),
                None => Some(telling.narrator.unknown_end()),
            };
            if let Some(event) = event {
                telling.is_over = event.done;
                return Some((line(&event), telling));
            }
        }
    });
    let mut response = Response::new(HttpBody::from_stream(lines));
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(LINES));
    response
}

fn line(event: &OutputEvent) -> Result<Bytes, serde_json::Error> {
    let mut bytes = serde_json::to_vec(event)?;
    bytes.push(b'\n');
    Ok(Bytes::from(bytes))
}

/// Which log, and how much of it.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct LogsQuery {
    /// A systemd unit; else the show server's.
    #[param(example = "show-server", max_length = 255)]
    unit: Option<String>,
    /// So many of the latest lines.
    #[param(minimum = 1, maximum = 1000, value_type = Option<u32>)]
    lines: Option<String>,
}

/// The latest lines of a log: of a systemd unit, for the show server else of PM2.
#[utoipa::path(
    get, path = "/api/admin/vm-pool/{vmId}/ssh/logs", tag = "ssh",
    params(VmIdParam, LogsQuery),
    responses(
        (status = 200, body = LogsReply),
        (status = 400, body = ErrorBody, description = "Not a legal id, unit or number of lines"),
        (status = 404, body = ErrorBody, description = "No such VM"),
        (status = 409, body = ErrorBody, description = "The VM does not run"),
        (status = 502, body = ErrorBody, description = "The VM could not be reached over SSH, or has no such log"),
        Refusals
    )
)]
async fn logs(
    granted: Granted<Admin>,
    State(gateway): State<Gateway>,
    VmPath(vm): VmPath,
    query: Result<Query<LogsQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Reply<LogsReply>, ApiError> {
    let Query(query) = query.map_err(|_| ApiError::field("unit", "the query string cannot be read"))?;
    let lines = match query.lines.as_deref().map(str::parse::<u32>) {
        None => LOG_LINES_DEFAULT,
        Some(Ok(lines @ 1..=LOG_LINES_MAX)) => lines,
        Some(_) => {
            let error = format!("lines must be a whole number from 1 to {LOG_LINES_MAX}");
            return Err(ApiError::field("lines", error));
        }
    };
    let units = gateway.coordinator().units();
    let asked = query
        .unit
        .unwrap_or_else(|| Service::ShowServer.as_str().to_owned());
    let unit = match units.find(&asked) {
        Some(service) => units.of(service).clone(),
        None => UnitName::new(&asked).map_err(|error| ApiError::field("unit", error.to_string()))?,
    };
    let mut parameters = std::collections::BTreeMap::from([("lines".to_owned(), lines.to_string())]);
    let id = if unit == units.show_server {
        "VIEW_LOGS"
    } else {
        parameters.insert("unit".to_owned(), unit.to_string());
        "VIEW_UNIT_LOGS"
    };
    let work = Work::Operation {
        id: id.to_owned(),
        parameters,
        timeout: None,
    };
    gateway.require_initialized()?;
    let running = gateway
        .coordinator()
        .execute(vm.clone(), work, granted.caller.name().to_owned())
        .await
        .map_err(|error| gateway.refuse(error))?;
    let (operation, vm_id) = (Some(id.to_owned()), vm.to_string());
    let reply = work::finish(
        &gateway,
        Started {
            vm,
            operation,
            running,
        },
    )
    .await?;
    if !reply.success {
        return Err(no_log(reply));
    }
    Ok(Reply(LogsReply {
        vm_id,
        unit: asked,
        lines: reply.stdout.lines().map(str::to_owned).collect(),
        stdout: reply.stdout,
    }))
}

fn no_log(reply: ExecReply) -> ApiError {
    let why = reply
        .stderr
        .lines()
        .last()
        .unwrap_or("no reason given")
        .to_owned();
    ApiError::new(
        http::StatusCode::BAD_GATEWAY,
        format!("the log could not be read (exit status {}): {why}", reply.code),
    )
    .code("COMMAND_FAILED")
    .with("vmId", reply.vm_id)
    .with("exitStatus", reply.code)
}

/// Restarts a service of a VM and says how it is then.
#[utoipa::path(
    post, path = "/api/admin/vm-pool/{vmId}/ssh/restart-service", tag = "ssh",
    params(VmIdParam),
    request_body = RestartBody,
    responses(
        (status = 200, body = RestartReply),
        (status = 404, body = ErrorBody, description = "No such VM"),
        (status = 409, body = ErrorBody, description = "The VM does not run, or is on air"),
        (status = 502, body = ErrorBody, description = "The VM could not be reached over SSH"),
        BodyRefusals, Refusals
    )
)]
async fn restart_service(
    granted: Granted<Admin>,
    State(gateway): State<Gateway>,
    VmPath(vm): VmPath,
    Body(body): Body<RestartBody>,
) -> Result<Reply<RestartReply>, ApiError> {
    let coordinator = gateway.coordinator();
    let Some(service) = coordinator.units().find(&body.service) else {
        let names = Service::ALL.map(Service::as_str).join(", ");
        return Err(ApiError::field(
            "service",
            format!("service must be one of {names}"),
        ));
    };
    gateway.require_initialized()?;
    let restarted = coordinator
        .restart_service(vm.clone(), service, granted.caller.name().to_owned())
        .await
        .map_err(|error| gateway.refuse(error))?;
    let operation = service.restart_operation().to_owned();
    let result = ExecReply::new(vm.to_string(), Some(operation), &restarted.printed);
    Ok(Reply(RestartReply::new(
        result,
        service.as_str(),
        restarted.standing,
    )))
}

/// How the services of a VM are.
#[utoipa::path(
    get, path = "/api/admin/vm-pool/{vmId}/ssh/services", tag = "ssh",
    params(VmIdParam),
    responses(
        (status = 200, body = ServicesReply),
        (status = 400, body = ErrorBody, description = "Not a legal id"),
        (status = 404, body = ErrorBody, description = "No such VM"),
        (status = 409, body = ErrorBody, description = "The VM does not run"),
        (status = 502, body = ErrorBody, description = "The VM could not be reached over SSH"),
        Refusals
    )
)]
async fn services(
    granted: Granted<Admin>,
    State(gateway): State<Gateway>,
    VmPath(vm): VmPath,
) -> Result<Reply<ServicesReply>, ApiError> {
    gateway.require_initialized()?;
    let coordinator = gateway.coordinator();
    let standings = coordinator
        .services(vm.clone(), granted.caller.name().to_owned(), &Service::ALL)
        .await
        .map_err(|error| gateway.refuse(error))?;
    let services = Service::ALL.into_iter().zip(standings);
    let services = services.map(|(service, standing)| ServiceView {
        service: service.as_str(),
        unit: coordinator.units().of(service).to_string(),
        active: standing.active,
        status: standing.status,
        pid: standing.pid,
    });
    Ok(Reply(ServicesReply {
        vm_id: vm.to_string(),
        services: services.collect(),
    }))
}

/// How a VM's machine is: name, uptime, memory, disk, processor.
#[utoipa::path(
    get, path = "/api/admin/vm-pool/{vmId}/system-info", tag = "ssh",
    params(VmIdParam),
    responses(
        (status = 200, body = SystemInfoReply),
        (status = 400, body = ErrorBody, description = "Not a legal id"),
        (status = 404, body = ErrorBody, description = "No such VM"),
        (status = 409, body = ErrorBody, description = "The VM does not run"),
        (status = 502, body = ErrorBody, description = "The VM could not be reached over SSH"),
        Refusals
    )
)]
async fn system_info(
    granted: Granted<Admin>,
    State(gateway): State<Gateway>,
    VmPath(vm): VmPath,
) -> Result<Reply<SystemInfoReply>, ApiError> {
    gateway.require_initialized()?;
    let info = gateway
        .coordinator()
        .system_info(vm.clone(), granted.caller.name().to_owned())
        .await
        .map_err(|error| gateway.refuse(error))?;
    Ok(Reply(SystemInfoReply::new(vm.to_string(), info)))
}

/// Which part of the audit.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ExecutionsQuery {
    /// At most so many.
    #[param(minimum = 1, maximum = 500, value_type = Option<u32>)]
    limit: Option<String>,
    /// Only those before this one: `next` of the page before.
    #[param(example = "exec-17")]
    before: Option<String>,
    /// Only those on this VM.
    #[param(rename = "vmId")]
    #[serde(rename = "vmId")]
    vm_id: Option<String>,
}

/// What was done on VMs over SSH, by whom, and how it ended: the latest first. The latest thousand are remembered.
#[utoipa::path(
    get, path = "/api/admin/executions", tag = "ssh",
    params(ExecutionsQuery),
    responses(
        (status = 200, body = ExecutionPage),
        (status = 400, body = ErrorBody, description = "Not a legal id or number"),
        Refusals
    )
)]
async fn executions(
    _: Granted<Admin>,
    State(gateway): State<Gateway>,
    query: Result<Query<ExecutionsQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Reply<ExecutionPage>, ApiError> {
    let Query(query) = query.map_err(|_| ApiError::field("limit", "the query string cannot be read"))?;
    let limit = match query.limit.as_deref().map(str::parse::<usize>) {
        None => PAGE_DEFAULT,
        Some(Ok(limit @ 1..=PAGE_MAX)) => limit,
        Some(_) => {
            let error = format!("limit must be a whole number from 1 to {PAGE_MAX}");
            return Err(ApiError::field("limit", error));
        }
    };
    let before = query
        .before
        .as_deref()
        .map(|id| execution_id(id, "before"))
        .transpose()?;
    let vm = query
        .vm_id
        .as_deref()
        .map(|id| extract::vm_id(id, "vmId"))
        .transpose()?;
    let state = gateway.state();
    let before = before.unwrap_or(ExecutionId(u64::MAX));
    let mut wanted = state
        .executions()
        .before(before)
        .filter(|execution| vm.as_ref().is_none_or(|vm| execution.vm == *vm));
    let executions: Vec<ExecutionView> = wanted
        .by_ref()
        .take(limit)
        .map(|known| (&**known).into())
        .collect();
    let more = wanted.next().is_some();
    let last = executions.last().map(|execution| execution.execution_id.clone());
    Ok(Reply(ExecutionPage {
        next: last.filter(|_| more),
        executions,
    }))
}

/// Ends something that runs on a VM.
#[utoipa::path(
    post, path = "/api/admin/executions/{executionId}/cancel", tag = "ssh",
    params(("executionId" = String, Path, pattern = "^exec-[0-9]+$", example = "exec-17")),
    responses(
        (status = 200, body = CancelReply),
        (status = 400, body = ErrorBody, description = "Not a legal id"),
        (status = 409, body = ErrorBody, description = "It is not running"),
        Refusals
    )
)]
async fn cancel(
    granted: Granted<Admin>,
    State(gateway): State<Gateway>,
    path: Result<Path<String>, axum::extract::rejection::PathRejection>,
) -> Result<Reply<CancelReply>, ApiError> {
    let Path(text) = path.map_err(|_| ApiError::field("executionId", "the id in the path cannot be read"))?;
    let id = execution_id(&text, "executionId")?;
    gateway
        .coordinator()
        .cancel(id, granted.caller.name().to_owned())
        .await
        .map_err(|error| gateway.refuse(error))?;
    Ok(Reply(CancelReply {
        success: true,
        execution_id: id.to_string(),
    }))
}

fn execution_id(text: &str, field: &'static str) -> Result<ExecutionId, ApiError> {
    text.parse()
        .map_err(|error: crate::domain::execution::InvalidExecutionId| {
            ApiError::field(field, error.to_string())
        })
}
