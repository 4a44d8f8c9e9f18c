//! What every request passes first and every answer last: request id, preflight, its body, bounds, deadline,
//! panics, CORS, and JSON where somebody else answered an error without it.

use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use hyper::body::Body as _;
use tracing::{Instrument as _, Span};

use super::connection::Cutter;
use super::counted::Counted;
use super::error::{ApiError, ErrorBody, naming};
use super::extract::{WAIT_MAX, unread};
use super::gateway::Gateway;
use super::lingering::Lingering;
use super::request_id::{self, RequestId};
use super::uploads::{Unread, Upload};
use crate::domain::operation::TIMEOUT_MAX;

/// Most of a path that is written down.
const LOGGED_PATH_CHARS_MAX: usize = 200;
const METHODS: HeaderValue = HeaderValue::from_static("GET,HEAD,PUT,PATCH,POST,DELETE");
const EXPOSED: HeaderValue = HeaderValue::from_static("X-Request-Id,Retry-After");
const ANY: HeaderValue = HeaderValue::from_static("*");

/// Longest time that a file may take on its way, however steadily it moves.
const TRANSFER_MAX: Duration = Duration::from_secs(6 * 60 * 60);

/// Path of the Socket.IO transport.
pub const SOCKET_PATH: &str = "/socket.io";

pub async fn front(State(gateway): State<Gateway>, request: Request, next: Next) -> Response {
    let id = RequestId::of(request.headers());
    let origin = request.headers().get(header::ORIGIN).cloned();
    let response = if request.method() == Method::OPTIONS {
        preflight(request.headers())
    } else if is_socket(request.uri().path()) {
        // It outlives its request, so each event in it has a span and an id of its own.
        transport(&gateway, request, next).await
    } else {
        let span = span(&request, &id);
        answer(&gateway, request, next).instrument(span).await
    };
    let mut response = naming(&id, response);
    allow_origin(&gateway, origin.as_ref(), response.headers_mut());
    response
        .headers_mut()
        .extend(id.header().map(|id| (request_id::HEADER, id)));
    response
}

/// What belongs to a request. At the level of errors, so that whatever line passes the filter names its request.
fn span(request: &Request, id: &RequestId) -> Span {
    let path = request.uri().path();
    let logged = path.get(..LOGGED_PATH_CHARS_MAX).unwrap_or(path);
    tracing::error_span!("request", request_id = %id, method = %request.method(), path = logged)
}

async fn answer(gateway: &Gateway, request: Request, next: Next) -> Response {
    let counted = Counted::begin(gateway, &request);
    let response = within_bounds(gateway, request, next).await;
    counted.answered(&response);
    response
}

async fn within_bounds(gateway: &Gateway, request: Request, next: Next) -> Response {
    let request = match with_body_read(gateway, request).await {
        Ok(request) => request,
        Err(error) => return error.into_response(),
    };
    let path = request.uri().path();
    if counts_as_activity(request.method(), path) {
        gateway.touch();
    }
    // What shows how an overloaded coordinator does is answered all the same; scrapes have a bound of their own.
    let is_check = matches!(path, "/healthz" | "/readyz" | "/metrics");
    let Ok(_place) = gateway.requests().try_acquire() else {
        if is_check {
            return next.run(request).await;
        }
        return ApiError::busy("too many requests are being answered").into_response();
    };
    let limit = deadline(gateway, path);
    let began = Instant::now();
    let response = within(limit, next.run(request)).await;
    log_answer(&response, began.elapsed());
    if response.status().is_client_error() || response.status().is_server_error() {
        return as_json(response);
    }
    response
}

/// What went wrong here or further on is logged with its reason, under the request's own id: whatever did the work may have
/// begun it for another one. That it cannot be done at present (503) is told to whoever asks, again and again.
fn log_answer(response: &Response, took: Duration) {
    let status = response.status();
    if status.is_server_error() && status != StatusCode::SERVICE_UNAVAILABLE {
        let told = response.extensions().get::<ErrorBody>();
        let error = told.map(|told| told.error.as_str());
        let code = told.and_then(|told| told.code);
        tracing::warn!(status = status.as_u16(), error, code, ?took, "answered");
    } else {
        tracing::debug!(status = status.as_u16(), ?took, "answered");
    }
}

/// Reads the body, if there is one, before the request takes a place that others wait for. Routes find it as an
/// [`Upload`]: what is wrong with it is told by those alone that want one, and after who is asking is known.
async fn with_body_read(gateway: &Gateway, request: Request) -> Result<Request, ApiError> {
    if request.body().is_end_stream() {
        return Ok(request);
    }
    if streams_its_body(request.method(), request.uri().path()) {
        return Ok(request.map(|body| Body::new(Lingering::new(body))));
    }
    let (mut parts, body) = request.into_parts();
    let options = gateway.options();
    let bytes_max = options.body_bytes_max;
    let read = gateway
        .uploads()
        .read(body, bytes_max, options.body_timeout)
        .await;
    if read == Err(Unread::GivenUp) {
        return Err(unread(Unread::GivenUp, bytes_max));
    }
    parts.extensions.insert(Upload(read));
    Ok(Request::from_parts(parts, Body::empty()))
}

/// A file is passed on as it comes, within bounds of its own.
fn streams_its_body(method: &Method, path: &str) -> bool {
    *method == Method::PUT && moves_a_file(path)
}

fn moves_a_file(path: &str) -> bool {
    path.starts_with("/api/admin/vm-pool/") && path.ends_with("/ssh/files")
}

/// The Socket.IO transport: long polls and WebSockets have bounds of their own.
async fn transport(gateway: &Gateway, request: Request, next: Next) -> Response {
    let cutter = request.extensions().get::<Cutter>().cloned();
    let session = session_of(request.uri().query().unwrap_or_default()).map(str::to_owned);
    let is_full =
        || gateway.sockets() >= gateway.options().sockets_max || gateway.handshakes().take().is_err();
    if session.is_none() && is_full() {
        return ApiError::busy("too many clients are connected").into_response();
    }
    let response = next.run(request).await;
    if let (StatusCode::SWITCHING_PROTOCOLS, Some(session), Some(cutter)) =
        (response.status(), session, cutter)
    {
        gateway.transports().note(&session, &cutter);
    }
    response
}

fn session_of(query: &str) -> Option<&str> {
    query.split('&').find_map(|pair| pair.strip_prefix("sid="))
}

/// Runs a route within its deadline and survives its panic.
async fn within(limit: Duration, run: impl Future<Output = Response>) -> Response {
    let run = AssertUnwindSafe(run).catch_unwind();
    match tokio::time::timeout(limit, run).await {
        Ok(Ok(response)) => response,
        Ok(Err(panic)) => {
            tracing::error!(panic = panic_text(panic.as_ref()), "a route panicked");
            ApiError::internal().into_response()
        }
        Err(_) => {
            tracing::warn!(?limit, "a request was not answered in time");
            ApiError::new(
                StatusCode::GATEWAY_TIMEOUT,
                "not answered in time; it may still happen",
            )
            .code("TIMED_OUT")
            .into_response()
        }
    }
}

/// What a panic said, for the log.
#[must_use]
pub fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

fn deadline(gateway: &Gateway, path: &str) -> Duration {
    let limit = gateway.options().request_timeout;
    if path.ends_with("/vm/assign") {
        limit + WAIT_MAX
    } else if path.ends_with("/vm/release") {
        limit + gateway.coordinator().release_wait(true)
    } else if path.ends_with("/ssh/exec") {
        limit + TIMEOUT_MAX
    } else if moves_a_file(path) {
        TRANSFER_MAX
    } else {
        limit
    }
}

/// An error that came without JSON gets the one error shape.
fn as_json(response: Response) -> Response {
    let has_json = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/json"));
    if has_json {
        return response;
    }
    let status = response.status();
    let text = match status {
        StatusCode::NOT_FOUND => return ApiError::no_such_route().into_response(),
        StatusCode::METHOD_NOT_ALLOWED => "this path does not take this method",
        _ => status.canonical_reason().unwrap_or("the request was refused"),
    };
    let mut replaced = ApiError::new(status, text).into_response();
    for kept in [header::ALLOW, header::RETRY_AFTER] {
        if let Some(value) = response.headers().get(&kept) {
            replaced.headers_mut().insert(kept, value.clone());
        }
    }
    replaced
}

fn preflight(asked: &HeaderMap) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    if let Some(names) = asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
    }
    headers.append(
        header::VARY,
        HeaderValue::from_static("Access-Control-Request-Headers"),
    );
    response
}

/// Browsers may call from the configured origins, or from anywhere if `*` is among them. Credentials are never
/// allowed, since there are no cookies.
fn allow_origin(gateway: &Gateway, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
    let origins = &gateway.options().cors_origins;
    if origins.iter().any(|allowed| allowed == "*") {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, ANY);
    } else {
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
        let is_listed = |origin: &&HeaderValue| {
            origins
                .iter()
                .any(|allowed| allowed.as_bytes() == origin.as_bytes())
        };
        let Some(origin) = origin.filter(is_listed) else {
            return;
        };
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    }
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
}

/// Whether the path is the Socket.IO transport's.
#[must_use]
pub fn is_socket(path: &str) -> bool {
    path.strip_prefix(SOCKET_PATH)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Looking at how things are is not using them: neither status polls nor static files keep a machine awake.
fn counts_as_activity(method: &Method, path: &str) -> bool {
    let Some(route) = path.strip_prefix("/api/") else {
        return false;
    };
    if *method != Method::GET && *method != Method::HEAD {
        return true;
    }
    let is_look = matches!(
        route,
        "status" | "coordinator/status" | "coordinator/activity" | "coordinator/idle" | "openapi.json"
    );
    let is_vm_status = route.starts_with("vm/") && route.ends_with("/status");
    !(is_look || is_vm_status || route == "docs" || route.starts_with("docs/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looking_is_not_activity_and_doing_is() {
        for look in [
            "/api/status",
            "/api/coordinator/idle",
            "/api/vm/finals/status",
            "/api/docs/",
            "/",
            "/healthz",
        ] {
            assert!(!counts_as_activity(&Method::GET, look), "{look}");
        }
        assert!(counts_as_activity(&Method::GET, "/api/admin/vm-pool"));
        assert!(counts_as_activity(&Method::POST, "/api/coordinator/activity"));
        assert!(counts_as_activity(
            &Method::POST,
            "/api/competitions/finals/vm/assign"
        ));
    }

    #[test]
    fn only_the_transports_own_path_is_the_transports() {
        assert!(is_socket("/socket.io/") && is_socket("/socket.io"));
        assert!(!is_socket("/socket.iox") && !is_socket("/api/socket.io"));
    }

    #[tokio::test]
    async fn a_panic_becomes_a_500_without_its_text() {
        let response = within(Duration::from_secs(1), async { panic!("secret detail") }).await;
        let headers = HeaderMap::from_iter([(request_id::HEADER, HeaderValue::from_static("r1"))]);
        let response = naming(&RequestId::of(&headers), response);
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let body = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
        let text = String::from_utf8(body.to_vec()).unwrap();
        assert!(text.contains("r1") && !text.contains("secret"), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_without_an_answer_is_answered_at_its_deadline() {
        let response = within(Duration::from_secs(1), std::future::pending()).await;
        assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
    }
}
