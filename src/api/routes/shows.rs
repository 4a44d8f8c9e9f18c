//! Competitions on air: all of them, and of each its stream, its moves, and holding it where it is.
//!
//! All of them are at `/api/shows`: what lies right under `/api/competitions` belongs to the show server, which may
//! answer on the same origin.

use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::actors::coordinator::StreamTurned;
use crate::api::auth::{self, Granted, Operate, Pool};
use crate::api::error::{ApiError, ErrorBody};
use crate::api::extract::{self, Body, ShowPath};
use crate::api::gateway::Gateway;
use crate::api::openapi::{BodyRefusals, CompIdParam, Refusals};
use crate::api::page::{ShowPage, ShowPageParam};
use crate::api::reply::Reply;
use crate::api::types::show::{
    FailoverBody, FailoverReply, FailoverView, FailoversReply, HoldBody, HoldReply, ShowView, ShowsReply,
    StreamReply,
};

pub fn routes() -> OpenApiRouter<Gateway> {
    OpenApiRouter::new()
        .routes(routes!(shows))
        .routes(routes!(failovers))
        .routes(routes!(failover))
        .routes(routes!(hold))
        .routes(routes!(start))
        .routes(routes!(stop))
}

/// Competitions that are remembered, with or without a VM, by id. From the ledger alone: answered also while
/// the cloud cannot be reached.
#[utoipa::path(
    get, path = "/api/shows", tag = "shows",
    params(ShowPageParam),
    responses(
        (status = 200, body = ShowsReply),
        (status = 400, body = ErrorBody, description = "Not a page; `field` names what"),
        Refusals
    )
)]
async fn shows(_: Granted<Pool>, State(gateway): State<Gateway>, page: ShowPage) -> Reply<ShowsReply> {
    let state = gateway.state();
    let mut rest = state
        .shows()
        .skip_while(|show| page.after.as_ref().is_some_and(|after| show.id <= *after));
    let shows: Vec<ShowView> = rest
        .by_ref()
        .take(page.limit)
        .map(|show| ShowView::from(show.as_ref()))
        .collect();
    let last = shows.last().map(|show| show.competition_id.clone());
    Reply(ShowsReply {
        next: rest.next().and(last),
        shows,
        seq: state.seq.0,
    })
}

/// Every move of the competition that is remembered, newest first.
#[utoipa::path(
    get, path = "/api/competitions/{compId}/failovers", tag = "shows",
    params(CompIdParam),
    responses(
        (status = 200, body = FailoversReply),
        (status = 400, body = ErrorBody, description = "Not a legal id"),
        Refusals
    )
)]
async fn failovers(
    _: Granted<auth::Show>,
    State(gateway): State<Gateway>,
    ShowPath(id): ShowPath,
) -> Result<Reply<FailoversReply>, ApiError> {
    gateway.require_initialized()?;
    let state = gateway.state();
    let show = state.show(&id);
    Ok(Reply(FailoversReply {
        competition_id: id.to_string(),
        current: show.and_then(|show| show.failover()).map(FailoverView::from),
        failovers: show
            .into_iter()
            .flat_map(|show| show.records.iter().rev())
            .map(FailoverView::from)
            .collect(),
    }))
}

/// Moves the competition to another VM now. Decided and durable when this answers; it goes on by itself.
#[utoipa::path(
    post, path = "/api/competitions/{compId}/vm/failover", tag = "shows",
    params(CompIdParam),
    request_body = Option<FailoverBody>,
    responses(
        (status = 200, body = FailoverReply),
        (status = 404, body = ErrorBody, description = "It has no VM, or there is no such target"),
        (status = 409, body = ErrorBody, description = "It is being moved already, or the target is not available"),
        (status = 502, body = ErrorBody, description = "The cloud or the studio refused"),
        BodyRefusals, Refusals
    )
)]
async fn failover(
    granted: Granted<Operate>,
    State(gateway): State<Gateway>,
    ShowPath(show): ShowPath,
    Body(body): Body<FailoverBody>,
) -> Result<Reply<FailoverReply>, ApiError> {
    let to = body.to.map(|id| extract::vm_id(&id, "to")).transpose()?;
    gateway.require_initialized()?;
    let by = Some(granted.caller.name().to_owned());
    let moving = gateway
        .coordinator()
        .failover(show, to, by)
        .await
        .map_err(|error| gateway.refuse(error))?;
    Ok(Reply(FailoverReply {
        success: true,
        competition_id: moving.show.to_string(),
        epoch: moving.epoch.0,
        from_vm_id: moving.from.to_string(),
        to_vm_id: moving.to.map(|vm| vm.to_string()),
    }))
}

/// Forbids automatic failover of the competition, or allows it again.
#[utoipa::path(
    post, path = "/api/competitions/{compId}/vm/hold", tag = "shows",
    params(CompIdParam),
    request_body = HoldBody,
    responses(
        (status = 200, body = HoldReply),
        (status = 404, body = ErrorBody, description = "It has no VM"),
        (status = 409, body = ErrorBody, description = "Not in this phase"),
        BodyRefusals, Refusals
    )
)]
async fn hold(
    granted: Granted<Operate>,
    State(gateway): State<Gateway>,
    ShowPath(show): ShowPath,
    Body(body): Body<HoldBody>,
) -> Result<Reply<HoldReply>, ApiError> {
    gateway.require_initialized()?;
    let by = Some(granted.caller.name().to_owned());
    let competition_id = show.to_string();
    gateway
        .coordinator()
        .hold(show, body.held, by)
        .await
        .map_err(|error| gateway.refuse(error))?;
    Ok(Reply(HoldReply {
        success: true,
        competition_id,
        held: body.held,
    }))
}

/// Starts the competition's stream; answers when output is seen to leave.
#[utoipa::path(
    post, path = "/api/competitions/{compId}/show/start", tag = "shows",
    params(CompIdParam),
    responses(
        (status = 200, body = StreamReply),
        (status = 400, body = ErrorBody, description = "Not a legal id"),
        (status = 404, body = ErrorBody, description = "It has no VM"),
        (status = 409, body = ErrorBody, description = "Not in this phase"),
        (status = 502, body = ErrorBody, description = "The studio refused"),
        Refusals
    )
)]
async fn start(
    granted: Granted<Operate>,
    State(gateway): State<Gateway>,
    ShowPath(show): ShowPath,
) -> Result<Reply<StreamReply>, ApiError> {
    gateway.require_initialized()?;
    let by = Some(granted.caller.name().to_owned());
    let turned = gateway
        .coordinator()
        .start_show(show, by)
        .await
        .map_err(|error| gateway.refuse(error))?;
    Ok(Reply(stream_reply(&turned)))
}

/// Stops the competition's stream.
#[utoipa::path(
    post, path = "/api/competitions/{compId}/show/stop", tag = "shows",
    params(CompIdParam),
    responses(
        (status = 200, body = StreamReply),
        (status = 400, body = ErrorBody, description = "Not a legal id"),
        (status = 404, body = ErrorBody, description = "It has no VM"),
        (status = 409, body = ErrorBody, description = "Not in this phase"),
        (status = 502, body = ErrorBody, description = "The studio refused"),
        Refusals
    )
)]
async fn stop(
    granted: Granted<Operate>,
    State(gateway): State<Gateway>,
    ShowPath(show): ShowPath,
) -> Result<Reply<StreamReply>, ApiError> {
    gateway.require_initialized()?;
    let by = Some(granted.caller.name().to_owned());
    let turned = gateway
        .coordinator()
        .stop_show(show, by)
        .await
        .map_err(|error| gateway.refuse(error))?;
    Ok(Reply(stream_reply(&turned)))
}

fn stream_reply(turned: &StreamTurned) -> StreamReply {
    StreamReply {
        success: true,
        competition_id: turned.show.to_string(),
        vm_id: turned.vm.to_string(),
        on_air: turned.on_air,
    }
}
