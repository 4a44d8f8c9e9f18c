//! What competitions are made from: the templates of their studios, and what each competition says to one.

use axum::extract::State;
use http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::auth::{self, Granted, Operate, Pool};
use crate::api::error::{ApiError, ErrorBody};
use crate::api::extract::{Body, ShowPath};
use crate::api::gateway::Gateway;
use crate::api::openapi::{BodyRefusals, CompIdParam, Refusals};
use crate::api::reply::Reply;
use crate::api::types::configuration::{ConfigurationView, ConfigureBody};
use crate::api::types::template::{TemplateView, TemplatesReply};
use crate::domain::ids::ShowId;

pub fn routes() -> OpenApiRouter<Gateway> {
    OpenApiRouter::new()
        .routes(routes!(templates))
        .routes(routes!(view, configure))
}

/// The templates that a competition's studio can be made from, with what each can be told.
#[utoipa::path(
    get, path = "/api/show-templates", tag = "shows",
    responses((status = 200, body = TemplatesReply), Refusals)
)]
async fn templates(_: Granted<Pool>, State(gateway): State<Gateway>) -> Reply<TemplatesReply> {
    let templates = gateway.coordinator().templates().iter().map(TemplateView::from);
    Reply(TemplatesReply {
        templates: templates.collect(),
    })
}

/// What the competition's studio is made from, and how making it went. The stream key is not told.
#[utoipa::path(
    get, path = "/api/competitions/{compId}/show/config", tag = "shows",
    params(CompIdParam),
    responses(
        (status = 200, body = ConfigurationView),
        (status = 400, body = ErrorBody, description = "Not a legal id"),
        (status = 404, body = ErrorBody, description = "It is not configured"),
        Refusals
    )
)]
async fn view(
    _: Granted<auth::Show>,
    State(gateway): State<Gateway>,
    ShowPath(id): ShowPath,
) -> Result<Reply<ConfigurationView>, ApiError> {
    gateway.require_initialized()?;
    told(&gateway, &id)
}

/// Takes down what the competition's studio is to be made from, and makes it: on the VM that it has, or on the next it
/// is given. Repeating it changes nothing.
#[utoipa::path(
    put, path = "/api/competitions/{compId}/show/config", tag = "shows",
    params(CompIdParam),
    request_body = ConfigureBody,
    responses(
        (status = 200, body = ConfigurationView),
        (status = 404, body = ErrorBody, description = "It was forgotten meanwhile"),
        (status = 409, body = ErrorBody, description = "It is on air, being moved, or being released"),
        BodyRefusals, Refusals
    )
)]
async fn configure(
    granted: Granted<Operate>,
    State(gateway): State<Gateway>,
    ShowPath(show): ShowPath,
    Body(body): Body<ConfigureBody>,
) -> Result<Reply<ConfigurationView>, ApiError> {
    gateway.require_initialized()?;
    tracing::info!(%show, template = body.template, by = granted.caller.name(), "configure");
    gateway
        .coordinator()
        .set_up_show(show.clone(), body.into())
        .await
        .map_err(|error| gateway.refuse(error))?;
    told(&gateway, &show)
}

fn told(gateway: &Gateway, id: &ShowId) -> Result<Reply<ConfigurationView>, ApiError> {
    let state = gateway.state();
    let known = state.show(id);
    let configured = known.and_then(|show| Some(ConfigurationView::new(show, show.configuration.as_ref()?)));
    configured.map(Reply).ok_or_else(|| {
        ApiError::new(
            StatusCode::NOT_FOUND,
            format!("competition {id} is not configured"),
        )
        .code("NOT_CONFIGURED")
        .with("competitionId", id.as_str())
    })
}
