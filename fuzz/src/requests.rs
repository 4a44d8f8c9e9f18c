//! HTTP requests of an operator, one after the other, to a coordinator with a pool.
//!
//! A request is a line `METHOD path`, lines `name: value`, and after an empty line its body; a line `===` ends it. `VM-1`
//! to `VM-5` are the pool's VMs.

use axum::body::Body;
use http::{Request, StatusCode};

use super::stage::{judge, play};

/// More say nothing new.
const REQUESTS_MAX: usize = 8;

fn request(text: &str) -> Option<Request<Body>> {
    let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
    let mut lines = head.lines();
    let (method, path) = lines.next()?.split_once(' ')?;
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        request = request.header(name, value);
    }
    request.body(Body::from(body.to_owned())).ok()
}

/// engine.io answers in its own words what is not its protocol.
fn is_engine_io(path: &str) -> bool {
    let rest = path.strip_prefix("/socket.io");
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The answers, to those that are HTTP at all.
pub fn run(text: &str) -> Vec<(StatusCode, String)> {
    let texts = text.split("\n===\n").take(REQUESTS_MAX);
    if !texts.clone().any(|text| request(text).is_some()) {
        return Vec::new();
    }
    play(async |stage| {
        let mut answers = Vec::new();
        for text in texts {
            let text = stage.named(text);
            if let Some(request) = request(&text) {
                let is_engine_io = is_engine_io(request.uri().path());
                let (status, body) = stage.ask(request).await;
                if status.is_server_error() || !is_engine_io {
                    judge(&text, status, &body);
                }
                answers.push((status, String::from_utf8_lossy(&body).into_owned()));
            }
        }
        answers
    })
}
