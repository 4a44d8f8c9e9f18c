//! The collector of traces.

use super::finding::Finding;
use crate::config::Config;

const CHECK: &str = "traces";

pub async fn look(config: &Config) -> Vec<Finding> {
    match &config.otlp.endpoint {
        None => vec![Finding::skipped(
            CHECK,
            "otlp.endpoint is not set: no traces are sent",
        )],
        Some(endpoint) => ask(endpoint, config).await,
    }
}

#[cfg(feature = "otlp")]
async fn ask(endpoint: &str, config: &Config) -> Vec<Finding> {
    use std::time::Duration;

    use super::within;
    use crate::cli::otlp::{self, Unsent};

    // Its own limit ends it first.
    let limit = config.otlp.timeout + Duration::from_secs(1);
    within(CHECK, limit, async {
        let Err(error) = otlp::send_nothing(endpoint, &config.otlp).await else {
            return vec![Finding::pass(CHECK, format!("{endpoint} takes them"))];
        };
        let advice = match &error {
            Unsent::Status(401 | 403) => {
                "set UNDERSTUDY__OTLP__HEADERS to what the collector knows this coordinator by"
            }
            Unsent::Status(404 | 405) => {
                "otlp.endpoint is a collector's address without the /v1/traces that is added to it"
            }
            Unsent::Status(300..=399) => "set otlp.endpoint to where it points: redirects are not followed",
            Unsent::Status(_) => {
                "see the collector's log; traces are dropped meanwhile, and nothing else suffers"
            }
            Unsent::Unreachable(_) => {
                "see that a collector listens there for OTLP over HTTP (port 4318 by custom; 4317 is gRPC's)"
            }
            Unsent::SetUp(_) => "mend otlp.endpoint and UNDERSTUDY__OTLP__HEADERS",
        };
        vec![Finding::warn(CHECK, error.to_string(), advice)]
    })
    .await
}

/// That this build cannot send any is said of the configuration.
#[cfg(not(feature = "otlp"))]
fn ask(_: &str, _: &Config) -> std::future::Ready<Vec<Finding>> {
    std::future::ready(vec![Finding::skipped(CHECK, "this build sends none")])
}
