//! Alerts for who does not listen on Socket.IO.

use axum::extract::{Query, State};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::auth::{Admin, Granted};
use crate::api::error::{ApiError, ErrorBody};
use crate::api::gateway::Gateway;
use crate::api::openapi::Refusals;
use crate::api::reply::Reply;
use crate::api::types::Ms;
use crate::api::types::alert::{AlertView, AlertsReply};

pub fn routes() -> OpenApiRouter<Gateway> {
    OpenApiRouter::new().routes(routes!(alerts))
}

/// Which alerts.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct AlertsQuery {
    /// Only those with a number above this one: `next` of the answer before.
    #[param(value_type = Option<u64>, minimum = 0)]
    after: Option<String>,
}

/// The latest alerts since the coordinator was started, at most 1024.
#[utoipa::path(
    get, path = "/api/admin/alerts", tag = "coordinator",
    params(AlertsQuery),
    responses(
        (status = 200, body = AlertsReply),
        (status = 400, body = ErrorBody, description = "Not a number; `field` names what"),
        Refusals
    )
)]
async fn alerts(
    _: Granted<Admin>,
    State(gateway): State<Gateway>,
    query: Result<Query<AlertsQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Reply<AlertsReply>, ApiError> {
    let wrong = || {
        ApiError::field(
            "after",
            "after must be a whole number, the next of an earlier answer",
        )
    };
    let Query(query) = query.map_err(|_| wrong())?;
    let after = match query.after.as_deref() {
        None => 0,
        Some(text) => text.parse().map_err(|_| wrong())?,
    };
    let coordinator = gateway.coordinator();
    let alerts = coordinator.alerts_after(after);
    Ok(Reply(AlertsReply {
        next: alerts.last().map_or(after, |(number, _)| *number),
        alerts: alerts
            .into_iter()
            .map(|(number, alert)| AlertView::of(number, alert))
            .collect(),
        started_at: Ms::from(coordinator.started_at()),
        now: Ms::from(coordinator.now()),
    }))
}
