//! The EC2 adapter against moto, an EC2 API that nobody here wrote, and against servers that misbehave to order.

#![cfg(feature = "ec2")]

mod faults;
mod permissions;
mod pool;
#[path = "../support/mod.rs"]
mod support;

use std::time::Duration;

use understudy::domain::ids::InstanceId;
use understudy::domain::studio::Secret;
use understudy::infra::aws::AccessKey;
use understudy::infra::cloud::ec2::{Backoff, Config, Timeouts};

use support::moto::IMAGE;

const PROJECT: &str = "understudy-test";

/// Settings for an endpoint on loopback: time enough on any machine, and short pauses between tries. With a key
/// given, nothing looks for one in the environment or asks the network for it.
fn config(endpoint: &str) -> Config {
    Config {
        endpoint_url: Some(endpoint.to_owned()),
        access_key: Some(AccessKey {
            id: "test".to_owned(),
            secret: Secret::new("test"),
        }),
        timeouts: Timeouts {
            connect: Duration::from_secs(60),
            read: Duration::from_secs(60),
            attempt: Duration::from_secs(60),
            operation: Duration::from_secs(300),
            sweep: Duration::from_secs(300),
        },
        backoff: Backoff {
            initial: Duration::from_millis(50),
            max: Duration::from_millis(100),
        },
        ami_id: Some(IMAGE.to_owned()),
        ..Config::new("us-east-1", PROJECT)
    }
}

fn instance_id(text: &str) -> InstanceId {
    InstanceId::new(text).unwrap()
}
