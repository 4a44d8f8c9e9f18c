//! Errors on the wire. Which status and body a refused command gets is decided in [`command`] alone.
//!
//! Every error is a JSON object: `error` is a sentence for people, `code` (where there is one) is for
//! programs, and further fields name what the error is about. Nothing internal is ever in it.

mod command;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::reply::json;
use super::request_id::RequestId;

/// What a client reads when something is refused.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ErrorBody {
    /// A sentence for people.
    pub error: String,
    /// UPPER_SNAKE, for programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
    /// Under which everything that was done for the request is in the log; `X-Request-Id` of the answer.
    #[serde(rename = "requestId", skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// What it is about: `vmId`, `status`, `assignedTo`, `field`, ….
    #[serde(flatten)]
    #[schema(value_type = Object)]
    pub fields: Map<String, Value>,
}

/// A refusal on its way to the client.
#[derive(Debug, Clone, PartialEq)]
pub struct ApiError {
    pub status: StatusCode,
    pub body: ErrorBody,
    /// Seconds after which trying again may help.
    pub retry_after_s: Option<u32>,
    /// Bytes of the file in which a range begins past the end.
    pub range_of: Option<u64>,
}

impl ApiError {
    #[must_use]
    pub fn new(status: StatusCode, error: impl Into<String>) -> Self {
        let body = ErrorBody {
            error: error.into(),
            code: None,
            request_id: None,
            fields: Map::new(),
        };
        Self {
            status,
            body,
            retry_after_s: None,
            range_of: None,
        }
    }

    /// 400 about one field of the request.
    #[must_use]
    pub fn field(field: impl Into<String>, error: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error).with("field", field.into())
    }

    /// 503 while the pool has not been looked at yet.
    #[must_use]
    pub fn not_initialized(reason: Option<String>) -> Self {
        let error = Self::new(StatusCode::SERVICE_UNAVAILABLE, "VM pool manager not initialized")
            .code("NOT_INITIALIZED")
            .retry_after(1);
        match reason {
            Some(reason) => error.with("message", reason),
            None => error,
        }
    }

    /// 503 because a bound is reached.
    #[must_use]
    pub fn busy(what: &str) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("{what}; try again in a moment"),
        )
        .code("BUSY")
        .retry_after(1)
    }

    /// 429 with the time after which it may be tried again.
    #[must_use]
    pub fn too_many_requests(retry_after_s: u32) -> Self {
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too many requests; try again later",
        )
        .code("RATE_LIMITED")
        .with("retryAfterSeconds", retry_after_s)
        .retry_after(retry_after_s)
    }

    /// 404 for a path that leads nowhere.
    #[must_use]
    pub fn no_such_route() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "there is nothing at this path; /api/docs lists what there is",
        )
        .code("NOT_FOUND")
    }

    /// 500 with nothing internal in it.
    #[must_use]
    pub fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "an internal error; it was logged",
        )
        .code("INTERNAL")
    }

    /// Names the request that was refused.
    #[must_use]
    pub fn of(mut self, request: &RequestId) -> Self {
        self.body.request_id = Some(request.to_string());
        self
    }

    #[must_use]
    pub fn code(mut self, code: &'static str) -> Self {
        self.body.code = Some(code);
        self
    }

    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.body.fields.insert(name.to_owned(), value.into());
        self
    }

    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }
}

/// 404 for a VM id that names nothing.
#[must_use]
pub fn unknown_vm(vm: &str) -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "VM not found")
        .code("VM_NOT_FOUND")
        .with("vmId", vm)
}

/// 404 for a competition without a VM, with the nulls that some clients read.
#[must_use]
pub fn not_assigned(show: &str) -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "No VM is assigned to this competition")
        .code("NOT_ASSIGNED")
        .with("competitionId", show)
        .with("vm", Value::Null)
        .with("vmId", Value::Null)
}

/// Writes the id of the request into an answer that is a refusal.
#[must_use]
pub fn naming(request: &RequestId, mut response: Response) -> Response {
    let Some(mut body) = response.extensions_mut().remove::<ErrorBody>() else {
        return response;
    };
    body.request_id = Some(request.to_string());
    // Everything but the body stays as it is.
    *response.body_mut() = json(response.status(), &body).into_body();
    response
}

impl IntoResponse for ApiError {
    /// Whoever answers adds the request's id ([`naming`]), which nobody further in knows.
    fn into_response(self) -> Response {
        let mut response = json(self.status, &self.body);
        response.extensions_mut().insert(self.body);
        if let Some(seconds) = self.retry_after_s {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(bytes) = self.range_of
            && let Ok(range) = HeaderValue::try_from(format!("bytes */{bytes}"))
        {
            // So that whoever asked learns how long it is (RFC 9110, section 14.4).
            response.headers_mut().insert(header::CONTENT_RANGE, range);
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
