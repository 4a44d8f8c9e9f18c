//! Requests as Prometheus is told of them: by the template of their route, never by what is in the path.

use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::response::Response;
use http::Method;

use super::gateway::Gateway;

/// What stands for a path that is no route's: there may be any number of those.
const NO_ROUTE: &str = "none";

/// A request that is being answered.
pub struct Counted {
    gateway: Gateway,
    route: String,
    method: &'static str,
    began: Instant,
}

impl Counted {
    #[must_use]
    pub fn begin(gateway: &Gateway, request: &Request) -> Self {
        let route = request.extensions().get::<MatchedPath>();
        gateway.coordinator().metrics().http_in_flight.rise([]);
        Self {
            gateway: gateway.clone(),
            route: route.map_or(NO_ROUTE, MatchedPath::as_str).to_owned(),
            method: method(request.method()),
            began: Instant::now(),
        }
    }

    pub fn answered(mut self, response: &Response) {
        let values = [
            std::mem::take(&mut self.route),
            self.method.to_owned(),
            class(response.status().as_u16()).to_owned(),
        ];
        let metrics = self.gateway.coordinator().metrics();
        metrics.http_duration.took(values, self.began.elapsed());
    }
}

/// Also if nobody waits for the answer any more.
impl Drop for Counted {
    fn drop(&mut self) {
        self.gateway.coordinator().metrics().http_in_flight.fall([]);
    }
}

/// Clients may make up any number of methods.
fn method(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

fn class(status: u16) -> &'static str {
    match status / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_made_up_method_is_no_label() {
        assert_eq!(method(&Method::PATCH), "PATCH");
        assert_eq!(method(&Method::from_bytes(b"BREW").unwrap()), "other");
    }

    #[test]
    fn a_status_is_counted_by_its_class() {
        for (status, expected) in [
            (101, "1xx"),
            (204, "2xx"),
            (307, "3xx"),
            (499, "4xx"),
            (503, "5xx"),
        ] {
            assert_eq!(class(status), expected);
        }
    }
}
