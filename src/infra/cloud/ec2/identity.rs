//! Who EC2 takes us for. `GetCallerIdentity` needs no permission
//! (<https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html>).

use super::{Config, Ec2Cloud, error, retry};
use crate::infra::aws;
use crate::infra::cloud::{Error, Identity};

const WHO: &str = "GetCallerIdentity";

impl Ec2Cloud {
    /// Whose credentials these are. Asked at the endpoint that is configured for EC2, if there is one, and else at the
    /// region's own.
    ///
    /// # Errors
    /// [`Error`]; of kind [`NoCredentials`](crate::infra::cloud::ErrorKind::NoCredentials) if there are none, or none
    /// that are good.
    pub async fn identity(&self) -> Result<Identity, Error> {
        let Config {
            region,
            endpoint_url,
            access_key,
            ..
        } = &self.config;
        let loader = aws::loader(
            Some(region.as_str()),
            endpoint_url.as_deref(),
            access_key.as_ref(),
        )
        .retry_config(retry::retries(&self.config))
        .timeout_config(retry::timeouts(&self.config));
        let client = aws_sdk_sts::Client::new(&loader.load().await);
        let answer = client.get_caller_identity().send().await;
        let answer = answer.map_err(|failure| error::from_sdk(WHO, &failure))?;
        let (Some(account), Some(arn)) = (answer.account, answer.arn) else {
            return Err(error::unreadable(WHO, "it names nobody"));
        };
        Ok(Identity { account, arn })
    }
}
