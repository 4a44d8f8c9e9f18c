//! A competition's studio: as it was captured, and in what it differs from what a VM has.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Query, State};
use http::StatusCode;
use http::request::Parts;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::auth::{self, Admin, Granted};
use crate::api::error::{ApiError, ErrorBody, not_assigned};
use crate::api::extract::{ShowPath, vm_id};
use crate::api::gateway::Gateway;
use crate::api::openapi::{CompIdParam, Refusals};
use crate::api::reply::Reply;
use crate::api::types::Iso;
use crate::api::types::studio::{DiffReply, StudioReply, StudioView};
use crate::domain::ids::{ShowId, VmId};
use crate::domain::studio::{Studio, difference};

pub fn routes() -> OpenApiRouter<Gateway> {
    OpenApiRouter::new().routes(routes!(studio)).routes(routes!(diff))
}

/// The studio as it was last captured, without its secrets.
#[utoipa::path(
    get, path = "/api/competitions/{compId}/studio", tag = "shows",
    params(CompIdParam),
    responses(
        (status = 200, body = StudioReply),
        (status = 400, body = ErrorBody, description = "Not a legal id"),
        (status = 404, body = ErrorBody, description = "Nothing was captured for it"),
        Refusals
    )
)]
async fn studio(
    _: Granted<auth::Show>,
    State(gateway): State<Gateway>,
    ShowPath(id): ShowPath,
) -> Result<Reply<StudioReply>, ApiError> {
    let state = gateway.state();
    let show = state.show(&id).ok_or_else(|| not_captured(&id))?;
    let studio = show.studio.as_ref().ok_or_else(|| not_captured(&id))?;
    Ok(Reply(StudioReply {
        competition_id: id.to_string(),
        vm_id: show.vm.as_ref().map(ToString::to_string),
        captured_at: show.captured_at.map(Iso),
        studio: StudioView::new(studio),
    }))
}

/// Which two studios are compared: the capture, or what is on a VM now.
struct Sides {
    left: Option<VmId>,
    right: Option<VmId>,
}

/// Which two studios are compared, as the document describes it.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct SidesQuery {
    /// A VM, or the capture if it is absent.
    #[param(max_length = 128, example = "vm-0a1b2c3d")]
    left: Option<String>,
    /// A VM, or the competition's own if it is absent.
    #[param(max_length = 128, example = "vm-0a1b2c3d")]
    right: Option<String>,
}

impl FromRequestParts<Gateway> for Sides {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, gateway: &Gateway) -> Result<Self, ApiError> {
        let Query(query) = Query::<SidesQuery>::from_request_parts(parts, gateway)
            .await
            .map_err(|_| ApiError::field("left", "the query string cannot be read"))?;
        let side = |text: Option<String>, field| text.map(|text| vm_id(&text, field)).transpose();
        Ok(Self {
            left: side(query.left, "left")?,
            right: side(query.right, "right")?,
        })
    }
}

/// In what a VM's studio differs from the capture, or from another VM's. Studios are read now, which takes some tens of
/// milliseconds and changes nothing.
#[utoipa::path(
    get, path = "/api/competitions/{compId}/studio/diff", tag = "shows",
    params(CompIdParam, SidesQuery),
    responses(
        (status = 200, body = DiffReply),
        (status = 400, body = ErrorBody, description = "Not a legal id; `field` names which"),
        (status = 404, body = ErrorBody, description = "Nothing was captured, it has no VM, or no such VM"),
        (status = 502, body = ErrorBody, description = "A studio could not be read"),
        Refusals
    )
)]
async fn diff(
    _: Granted<Admin>,
    State(gateway): State<Gateway>,
    ShowPath(id): ShowPath,
    sides: Sides,
) -> Result<Reply<DiffReply>, ApiError> {
    gateway.require_initialized()?;
    let state = gateway.state();
    let show = state.show(&id);
    let own = || {
        show.and_then(|show| show.vm.clone())
            .ok_or_else(|| not_assigned(id.as_str()))
    };
    let right = match sides.right {
        Some(vm) => vm,
        None => own()?,
    };
    let left_name = sides
        .left
        .as_ref()
        .map_or("capture".to_owned(), ToString::to_string);
    let left: Arc<Studio> = match sides.left {
        Some(vm) => Arc::new(read(&gateway, vm).await?),
        None => show
            .and_then(|show| show.studio.clone())
            .ok_or_else(|| not_captured(&id))?,
    };
    let found = read(&gateway, right.clone()).await?;
    let differences = difference(&left, &found);
    Ok(Reply(DiffReply {
        competition_id: id.to_string(),
        left: left_name,
        right: right.to_string(),
        same: differences.is_empty(),
        differences: differences.into_iter().map(Into::into).collect(),
    }))
}

async fn read(gateway: &Gateway, vm: VmId) -> Result<Studio, ApiError> {
    let read = gateway.coordinator().read_studio(vm).await;
    read.map_err(|error| gateway.refuse(error))
}

fn not_captured(show: &ShowId) -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "Nothing was captured for this competition")
        .code("NOT_CAPTURED")
        .with("competitionId", show.as_str())
}
