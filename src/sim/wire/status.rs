//! The show server of a VM: what the coordinator probes.
//!
//! `GET /api/status` tells about the studio as the show server knows it ([`StatusPage`]). `POST /api/competitions/{id}/activate` and
//! `POST /api/competitions/deactivate` set the show it serves. Everything else is 404.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};

use super::gate::GatedStream;
use super::machine::Shared;
use crate::domain::ids::ShowId;
use crate::sim::model::machine::{Machine, StatusPage};

/// Limit on a request's headers arriving.
const HEADER_DEADLINE: Duration = Duration::from_secs(10);
const HEADER_BYTES_MAX: usize = 16 * 1_024;

pub(super) async fn serve(machine: Arc<Shared>, stream: GatedStream) {
    let service = service_fn(move |request| {
        let response = answer(&machine, &request);
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_DEADLINE)
        .max_buf_size(HEADER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    // The client went away or spoke nonsense: nothing to tell anybody.
    let _ = connection.await;
}

/// Bodies are not read: hyper discards them.
fn answer(machine: &Shared, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let path: Vec<&str> = request.uri().path().trim_matches('/').split('/').collect();
    match (request.method(), path.as_slice()) {
        (&Method::GET, ["api", "status"]) => {
            json_response(StatusCode::OK, &status(&machine.inspect(Machine::status_page)))
        }
        (&Method::POST, ["api", "competitions", "deactivate"]) => {
            machine.change(|model, _| model.activate(None));
            json_response(StatusCode::OK, &json!({"success": true}))
        }
        (&Method::POST, ["api", "competitions", id, "activate"]) => match decode(id) {
            Some(show) => {
                machine.change(|model, _| model.activate(Some(show.as_str().to_owned())));
                json_response(
                    StatusCode::OK,
                    &json!({"success": true, "competitionId": show.as_str()}),
                )
            }
            None => json_response(StatusCode::BAD_REQUEST, &json!({"error": "not a competition id"})),
        },
        _ => json_response(StatusCode::NOT_FOUND, &json!({"error": "not found"})),
    }
}

fn status(page: &StatusPage) -> Value {
    json!({
        "obsConnected": page.obs_connected,
        "obsIsStreaming": page.obs_streaming,
        "obsIsRecording": page.obs_recording,
        "obsCurrentScene": page.obs_scene,
        "uptime": page.uptime.as_secs_f64(),
        "version": page.version,
        "activeCompetition": page.active_show,
    })
}

fn json_response(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = status;
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

/// A percent-encoded path segment as a show's id.
fn decode(segment: &str) -> Option<ShowId> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit = || rest.next().and_then(|b| char::from(b).to_digit(16));
            let value = digit()? * 16 + digit()?;
            bytes.push(u8::try_from(value).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    ShowId::new(String::from_utf8(bytes).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_segment_is_decoded_and_checked() {
        assert_eq!(decode("State%20Finals").unwrap().as_str(), "State Finals");
        assert_eq!(decode("%C3%89tat").unwrap().as_str(), "État");
        assert_eq!(decode("a%2Fb"), None);
        assert_eq!(decode("a%2"), None);
    }
}
