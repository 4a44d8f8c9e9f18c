//! What no route answers: the web application, if there is a directory with one, else a JSON 404.
//!
//! The application asks functions of its usual host about the coordinator: they are redirected to its routes. Of
//! files, only that directory is served, never a file or folder whose name starts with a dot, and unknown paths of
//! the application lead to its `index.html`.

use std::path::Path;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::{Method, StatusCode};
use tower::ServiceExt;
use tower_http::services::{ServeDir, ServeFile};

use super::error::ApiError;
use super::gateway::Gateway;

pub async fn fallback(State(gateway): State<Gateway>, request: Request) -> Response {
    let path = request.uri().path();
    let is_api = path == "/api" || path.starts_with("/api/");
    let is_read = *request.method() == Method::GET || *request.method() == Method::HEAD;
    match &gateway.options().static_dir {
        Some(_) if let Some(route) = function(request.method(), path) => {
            // 307: the method and the body stay as they are (RFC 9110, 15.4.8).
            Redirect::temporary(route).into_response()
        }
        Some(dir) if is_read && !is_api && !is_hidden(path) => file(dir, request).await,
        Some(_) | None => ApiError::no_such_route().into_response(),
    }
}

pub async fn method_not_allowed() -> ApiError {
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "this path does not take this method",
    )
    .code("METHOD_NOT_ALLOWED")
}

async fn file(dir: &Path, request: Request) -> Response {
    // The error type is uninhabited: what cannot be read is answered with a status.
    let Ok(response) = ServeDir::new(dir)
        .fallback(ServeFile::new(dir.join("index.html")))
        .oneshot(request)
        .await;
    response.into_response()
}

/// Where the function of the application's usual host is to be found on a coordinator that serves it.
fn function(method: &Method, path: &str) -> Option<&'static str> {
    let name = path.strip_prefix("/.netlify/functions/")?;
    match (method.as_str(), name) {
        ("GET", "coordinator-status") => Some("/api/coordinator/status"),
        ("POST", "wake-coordinator") => Some("/api/coordinator/wake"),
        ("POST", "stop-coordinator") => Some("/api/coordinator/stop"),
        _ => None,
    }
}

/// A path that names, or might once decoded name, something that starts with a dot or lies elsewhere.
fn is_hidden(path: &str) -> bool {
    let lower = path.to_ascii_lowercase();
    if ["%2f", "%5c", "%00", "\\"].iter().any(|odd| lower.contains(odd)) {
        return true;
    }
    lower
        .split('/')
        .any(|part| part.replace("%2e", ".").starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dotfiles_and_ways_out_are_hidden() {
        for hidden in [
            "/.env",
            "/%2eenv",
            "/a/.git/config",
            "/../x",
            "/a/%2E%2e/x",
            "/a%2F.env",
            "/a%5cx",
            "/a%00",
        ] {
            assert!(is_hidden(hidden), "{hidden}");
        }
        for plain in ["/", "/index.html", "/assets/app.3f2a.js", "/shows/finals"] {
            assert!(!is_hidden(plain), "{plain}");
        }
    }
}
