//! The EC2 adapter against moto, an EC2 API that nobody here wrote, and against servers that misbehave to order.

#![cfg(feature = "ec2")]

mod faults;
mod pool;
#[path = "../support/mod.rs"]
mod support;

use understudy::domain::ids::InstanceId;
use understudy::infra::cloud::ec2::{Config, Credentials};

const PROJECT: &str = "understudy-test";

/// Settings for an endpoint on loopback. With a key given, nothing looks for one in the environment or asks the
/// network for it.
fn config(endpoint: &str) -> Config {
    Config {
        endpoint_url: Some(endpoint.to_owned()),
        credentials: Credentials::Static {
            access_key_id: "test".to_owned(),
            secret_access_key: "test".to_owned(),
            session_token: None,
        },
        ..Config::new("us-east-1", PROJECT)
    }
}

fn instance_id(text: &str) -> InstanceId {
    InstanceId::new(text).unwrap()
}
