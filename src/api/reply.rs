//! JSON answers: one way of writing them, with the content type that clients expect.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");

/// A JSON answer with a status.
#[must_use]
pub fn json<T: Serialize + ?Sized>(status: StatusCode, body: &T) -> Response {
    // Answers hold strings, numbers and maps with string keys: serialising them cannot fail. Should it, a
    // client must still get JSON.
    let bytes = serde_json::to_vec(body).map_or_else(
        |error| {
            tracing::error!(%error, "an answer could not be written as JSON");
            Bytes::from_static(br#"{"error":"an internal error; it was logged"}"#)
        },
        Bytes::from,
    );
    json_bytes(status, bytes)
}

/// As [`json`], for a body that is JSON already.
#[must_use]
pub fn json_bytes(status: StatusCode, bytes: Bytes) -> Response {
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    response
}

/// 200 with a JSON body.
pub struct Reply<T>(pub T);

impl<T: Serialize> IntoResponse for Reply<T> {
    fn into_response(self) -> Response {
        json(StatusCode::OK, &self.0)
    }
}
