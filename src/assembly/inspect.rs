//! The outside world for somebody who only looks: the adapters as the coordinator would have them, and what they can say
//! of the credentials.

use std::path::PathBuf;
use std::sync::Arc;

use super::connector;
use crate::config::{self, Config};
use crate::domain::ids::InstanceId;
use crate::infra::archive::Store;
use crate::infra::cloud::{Cloud, Error, Identity, Permission};
use crate::infra::ssh;

/// The cloud, and who it takes us for.
pub struct Inspected {
    pub cloud: Arc<dyn Cloud>,
    #[cfg(feature = "ec2")]
    ec2: Option<Arc<crate::infra::cloud::ec2::Ec2Cloud>>,
}

impl Inspected {
    /// Sets the adapter up; nobody is contacted.
    ///
    /// # Errors
    /// Why there is none with this configuration, or in this build.
    pub async fn open(config: &Config) -> anyhow::Result<Self> {
        #[cfg(feature = "ec2")]
        if config.cloud.provider == config::Provider::Ec2 {
            let ec2 = Arc::new(Box::pin(super::ec2_cloud(config)).await?);
            return Ok(Self {
                cloud: Arc::clone(&ec2) as Arc<dyn Cloud>,
                ec2: Some(ec2),
            });
        }
        Ok(Self {
            cloud: super::cloud(config).await?,
            #[cfg(feature = "ec2")]
            ec2: None,
        })
    }

    /// Whose credentials are used; `None` if this cloud has no such question.
    ///
    /// # Errors
    /// [`Error`], as the cloud has it.
    #[cfg_attr(
        not(feature = "ec2"),
        expect(clippy::unused_async, reason = "with the adapter it does ask")
    )]
    pub async fn identity(&self) -> Option<Result<Identity, Error>> {
        #[cfg(feature = "ec2")]
        if let Some(ec2) = &self.ec2 {
            return Some(Box::pin(ec2.identity()).await);
        }
        None
    }

    /// What these credentials may do, asked without doing it; `None` if this cloud has no such question.
    #[cfg_attr(
        not(feature = "ec2"),
        expect(clippy::unused_async, reason = "with the adapter it does ask")
    )]
    #[cfg_attr(
        not(feature = "ec2"),
        expect(unused_variables, reason = "with the adapter it is asked about")
    )]
    pub async fn permissions(&self, instance: Option<&InstanceId>) -> Option<Vec<Permission>> {
        #[cfg(feature = "ec2")]
        if let Some(ec2) = &self.ec2 {
            return Some(Box::pin(ec2.permissions(instance)).await);
        }
        None
    }
}

/// The archive, if one is configured.
///
/// # Errors
/// If this build has none.
pub async fn store(config: &Config) -> anyhow::Result<Option<Arc<dyn Store>>> {
    super::archive(config).await
}

/// What logs in to machines, with pins of its own: what a machine shows here for the first time is not remembered there.
/// `None` if SSH is switched off.
///
/// # Errors
/// What is missing in the configuration or in this build.
pub async fn shell(config: &config::Ssh, pins_path: PathBuf) -> anyhow::Result<Option<ssh::RusshConnector>> {
    let config = config::Ssh {
        pins_path,
        ..config.clone()
    };
    connector(&config).await
}

/// Why traces are not sent.
pub const WITHOUT_OTLP: &str = "otlp.endpoint is set, and this understudy was built without OTLP; build it with \
                                `cargo build --features otlp`, or unset otlp.endpoint";

/// What the configuration asks for that this build does not have.
#[must_use]
pub fn left_out(config: &Config) -> Vec<String> {
    let wanted = [
        (
            config.cloud.provider == config::Provider::Ec2 && cfg!(not(feature = "ec2")),
            super::WITHOUT_EC2,
        ),
        (
            config.archive.bucket.is_some() && cfg!(not(feature = "s3")),
            super::WITHOUT_S3,
        ),
        (
            config.ssh.enabled
                && config.ssh.key_secret_arn.is_some()
                && cfg!(not(feature = "secrets-manager")),
            super::WITHOUT_SECRETS_MANAGER,
        ),
        (
            config.otlp.endpoint.is_some() && cfg!(not(feature = "otlp")),
            WITHOUT_OTLP,
        ),
    ];
    wanted
        .into_iter()
        .filter(|(is_left_out, _)| *is_left_out)
        .map(|(_, why)| why.to_owned())
        .collect()
}
