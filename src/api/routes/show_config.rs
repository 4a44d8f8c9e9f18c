//! What competitions are made from: the templates of their studios.

use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::auth::{Granted, Pool};
use crate::api::gateway::Gateway;
use crate::api::openapi::Refusals;
use crate::api::reply::Reply;
use crate::api::types::template::{TemplateView, TemplatesReply};

pub fn routes() -> OpenApiRouter<Gateway> {
    OpenApiRouter::new().routes(routes!(templates))
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
