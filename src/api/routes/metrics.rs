//! What Prometheus scrapes. Whoever may list the pool may read it.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::actors::coordinator::MetricsFormat;
use crate::api::auth::{Granted, Pool};
use crate::api::error::ApiError;
use crate::api::gateway::Gateway;
use crate::api::openapi::Refusals;

pub fn routes() -> OpenApiRouter<Gateway> {
    OpenApiRouter::new().routes(routes!(metrics))
}

/// Everything that is measured, for Prometheus: its text format, or OpenMetrics if `Accept` names that.
#[utoipa::path(
    get, path = "/metrics", tag = "coordinator",
    responses((status = 200, body = String, content_type = "text/plain"), Refusals)
)]
async fn metrics(_granted: Granted<Pool>, State(gateway): State<Gateway>, headers: HeaderMap) -> Response {
    let Ok(place) = Arc::clone(gateway.scrapes()).try_acquire_owned() else {
        return ApiError::busy("too many scrapes are being answered").into_response();
    };
    let accept = headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok());
    let format = MetricsFormat::accepted(accept);
    let scrape = gateway.coordinator().scrape();
    // Thousands of VMs are megabytes of text, and the kernel is asked about this process.
    let write = move || {
        // Kept to the end, also if nobody waits for it any more.
        let _place = place;
        scrape.text(format)
    };
    let written = tokio::task::spawn_blocking(write).await;
    match written {
        Ok(Ok(text)) => {
            let mut response = Response::new(Body::from(text));
            let kind = HeaderValue::from_static(format.content_type());
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
            response
        }
        Ok(Err(error)) => unwritten(&error),
        Err(error) => unwritten(&error),
    }
}

fn unwritten(error: &dyn std::error::Error) -> Response {
    tracing::error!(%error, "the metrics could not be written");
    ApiError::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "the metrics could not be written; it was logged",
    )
    .code("INTERNAL")
    .into_response()
}
