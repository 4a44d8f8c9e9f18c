//! Rehearsals: begun, looked at and ended by administrators.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::auth::{Admin, Granted};
use crate::api::error::{ApiError, ErrorBody};
use crate::api::extract::Body;
use crate::api::gateway::Gateway;
use crate::api::openapi::{BodyRefusals, Refusals};
use crate::api::rehearsals::{Ask, Refused, Rehearsals};
use crate::api::reply::{Reply, json};
use crate::api::types::rehearsal::{RehearsalBody, RehearsalView, RehearsalsReply, ScenarioView};

pub fn routes() -> OpenApiRouter<Gateway> {
    OpenApiRouter::new()
        .routes(routes!(list, begin))
        .routes(routes!(one))
        .routes(routes!(cancel))
}

/// Who plays, if anybody does.
fn player(gateway: &Gateway) -> Result<&dyn Rehearsals, ApiError> {
    gateway.options().rehearsals.as_deref().ok_or_else(|| {
        let error = "nobody plays rehearsals on this coordinator";
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, error).code("NO_REHEARSALS")
    })
}

fn refusal(refused: &Refused) -> ApiError {
    let error = |status, code| ApiError::new(status, refused.to_string()).code(code);
    match refused {
        Refused::Busy { id } => error(StatusCode::CONFLICT, "REHEARSAL_RUNNING").with("rehearsalId", *id),
        Refused::Scenario { .. } => ApiError::field("scenario", refused.to_string()),
        Refused::Shows { .. } => ApiError::field("shows", refused.to_string()),
        Refused::Unknown { id } => {
            error(StatusCode::NOT_FOUND, "REHEARSAL_NOT_FOUND").with("rehearsalId", *id)
        }
        Refused::Over { id } => error(StatusCode::CONFLICT, "REHEARSAL_OVER").with("rehearsalId", *id),
        Refused::Start { .. } => error(StatusCode::SERVICE_UNAVAILABLE, "REHEARSAL_NOT_STARTED"),
    }
}

fn id(path: Result<Path<String>, PathRejection>) -> Result<u64, ApiError> {
    let text = path.ok().and_then(|Path(text)| text.parse().ok());
    text.ok_or_else(|| ApiError::field("rehearsalId", "a rehearsal's id is a whole number"))
}

/// Rehearsals since this coordinator was started, at most twenty, and the scenarios that can be played.
#[utoipa::path(
    get, path = "/api/admin/rehearsals", tag = "rehearsals",
    responses((status = 200, body = RehearsalsReply), Refusals)
)]
async fn list(_: Granted<Admin>, State(gateway): State<Gateway>) -> Result<Reply<RehearsalsReply>, ApiError> {
    let player = player(&gateway)?;
    Ok(Reply(RehearsalsReply {
        rehearsals: player.list().into_iter().map(RehearsalView::from).collect(),
        scenarios: player.scenarios().into_iter().map(ScenarioView::from).collect(),
    }))
}

/// Plays a rehearsal against a simulated world, in a process of its own: nothing of it touches the pool or a show. One at
/// a time.
#[utoipa::path(
    post, path = "/api/admin/rehearsals", tag = "rehearsals",
    request_body = Option<RehearsalBody>,
    responses(
        (status = 202, body = RehearsalView, description = "It has begun"),
        (status = 409, body = ErrorBody, description = "One is being played; `rehearsalId` says which"),
        BodyRefusals, Refusals
    )
)]
async fn begin(
    granted: Granted<Admin>,
    State(gateway): State<Gateway>,
    Body(body): Body<RehearsalBody>,
) -> Result<Response, ApiError> {
    let ask = Ask {
        scenario: body.scenario,
        shows: body.shows,
        seed: body.seed,
        by: granted.caller.name().to_owned(),
    };
    let begun = player(&gateway)?
        .begin(ask)
        .map_err(|refused| refusal(&refused))?;
    Ok(json(StatusCode::ACCEPTED, &RehearsalView::from(begun)))
}

/// One rehearsal, with its report once it is over.
#[utoipa::path(
    get, path = "/api/admin/rehearsals/{rehearsalId}", tag = "rehearsals",
    params(("rehearsalId" = u64, Path, example = 1)),
    responses(
        (status = 200, body = RehearsalView),
        (status = 400, body = ErrorBody, description = "Not a legal id"),
        (status = 404, body = ErrorBody, description = "No such rehearsal"),
        Refusals
    )
)]
async fn one(
    _: Granted<Admin>,
    State(gateway): State<Gateway>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Reply<RehearsalView>, ApiError> {
    let id = id(path)?;
    let found = player(&gateway)?.get(id);
    let found = found.ok_or_else(|| refusal(&Refused::Unknown { id }))?;
    Ok(Reply(RehearsalView::from(found)))
}

/// Ends a rehearsal; it is over a moment later.
#[utoipa::path(
    post, path = "/api/admin/rehearsals/{rehearsalId}/cancel", tag = "rehearsals",
    params(("rehearsalId" = u64, Path, example = 1)),
    responses(
        (status = 202, body = RehearsalView),
        (status = 400, body = ErrorBody, description = "Not a legal id"),
        (status = 404, body = ErrorBody, description = "No such rehearsal"),
        (status = 409, body = ErrorBody, description = "It is over"),
        Refusals
    )
)]
async fn cancel(
    _: Granted<Admin>,
    State(gateway): State<Gateway>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    let id = id(path)?;
    let ending = player(&gateway)?
        .cancel(id)
        .map_err(|refused| refusal(&refused))?;
    Ok(json(StatusCode::ACCEPTED, &RehearsalView::from(ending)))
}
