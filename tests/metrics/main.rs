//! What Prometheus and Grafana get: real metrics of a coordinator that has had something to do, in the hands of the
//! real promtool and the real Prometheus.

mod documented;
#[allow(dead_code, reason = "it belongs to the benches, and this uses a part of it")]
#[path = "../../benches/targets/fleet.rs"]
mod fleet;
mod many;
mod played;
mod prometheus;
mod promtool;
mod scraped;
#[allow(
    dead_code,
    reason = "it belongs to the tests of the API, and this uses a part of it"
)]
#[path = "../api/served.rs"]
mod served;
mod shipped;
#[path = "../support/mod.rs"]
mod support;
