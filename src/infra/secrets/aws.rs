//! AWS Secrets Manager.
//!
//! Errors: <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html#API_GetSecretValue_Errors>.

use std::error::Error as StdError;
use std::time::Duration;

use async_trait::async_trait;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::config::http::HttpResponse;
use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};

use super::{Error, SecretStore};
use crate::domain::studio::Secret;
use crate::infra::aws::{self, AccessKey};

const ATTEMPTS: u32 = 2;
const CONNECT: Duration = Duration::from_secs(3);
/// One try, credentials and the body of the answer included. The SDK has no limit of its own.
const ATTEMPT: Duration = Duration::from_secs(5);
/// All tries together.
const OPERATION: Duration = Duration::from_secs(12);

/// Labels of versions that Secrets Manager itself moves when a secret is changed.
/// <https://docs.aws.amazon.com/secretsmanager/latest/userguide/whats-in-a-secret.html#term_version>
const CURRENT: &str = "AWSCURRENT";
const PREVIOUS: &str = "AWSPREVIOUS";

/// Which secret, and how to get at it.
#[derive(Debug, Clone)]
pub struct Config {
    /// `arn:aws:secretsmanager:REGION:account:secret:name`; the region it names is asked.
    pub arn: String,
    /// Where to send requests instead of the region's public endpoint, or of what `AWS_ENDPOINT_URL_SECRETS_MANAGER` and
    /// `AWS_ENDPOINT_URL` say.
    pub endpoint_url: Option<String>,
    /// `None`: what the SDK's own chain finds.
    pub access_key: Option<AccessKey>,
}

/// A secret in AWS Secrets Manager.
#[derive(Debug)]
pub struct StoredSecret {
    client: Client,
    arn: String,
}

impl StoredSecret {
    /// Sets the client up. Reads the SDK's environment and profile files, but contacts nobody: credentials are found
    /// at the first call.
    pub async fn new(config: Config) -> Self {
        let endpoint_url = config.endpoint_url.as_deref();
        let loader = aws::loader(region(&config.arn), endpoint_url, config.access_key.as_ref())
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(CONNECT)
                    .operation_attempt_timeout(ATTEMPT)
                    .operation_timeout(OPERATION)
                    .build(),
            );
        Self {
            client: Client::new(&loader.load().await),
            arn: config.arn,
        }
    }

    fn failed(
        &self,
        failure: &SdkError<impl ProvideErrorMetadata + StdError + 'static, HttpResponse>,
    ) -> Error {
        let secret = self.arn.clone();
        let has_no_credentials = aws::credentials(failure).is_some();
        let detail = aws::concise(&match failure {
            SdkError::ServiceError(answer) => match answer.err().message() {
                Some(message) => message.to_owned(),
                None => format!("HTTP status {}", answer.raw().status().as_u16()),
            },
            // What a credential program printed may be among the causes.
            _ if has_no_credentials => "the default chain of AWS found none".to_owned(),
            other => aws::chain(other),
        });
        let SdkError::ServiceError(answer) = failure else {
            return if has_no_credentials {
                Error::NoCredentials { secret, detail }
            } else {
                Error::Unavailable { secret, detail }
            };
        };
        match (
            answer.err().code().unwrap_or_default(),
            answer.raw().status().as_u16(),
        ) {
            ("ResourceNotFoundException", _) => Error::NotFound { secret, detail },
            ("AccessDeniedException" | "AccessDenied", _) => Error::Denied { secret, detail },
            (
                "UnrecognizedClientException"
                | "InvalidClientTokenId"
                | "InvalidSignatureException"
                | "IncompleteSignature"
                | "MissingAuthenticationToken"
                | "ExpiredTokenException",
                _,
            ) => Error::NoCredentials { secret, detail },
            // Marked for deletion, or its key does not decrypt it.
            ("InvalidRequestException" | "InvalidParameterException" | "DecryptionFailure", _) => {
                Error::Unusable { secret, detail }
            }
            (_, 401) => Error::NoCredentials { secret, detail },
            (_, 403) => Error::Denied { secret, detail },
            _ => Error::Unavailable { secret, detail },
        }
    }
}

#[async_trait]
impl SecretStore for StoredSecret {
    async fn read(&self) -> Result<Secret, Error> {
        self.version(CURRENT).await
    }

    async fn read_previous(&self) -> Result<Option<Secret>, Error> {
        match self.version(PREVIOUS).await {
            Ok(secret) => Ok(Some(secret)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl StoredSecret {
    async fn version(&self, stage: &str) -> Result<Secret, Error> {
        let asked = self.client.get_secret_value().secret_id(&self.arn);
        let answer = asked.version_stage(stage).send().await;
        let answer = answer.map_err(|failure| self.failed(&failure))?;
        if let Some(text) = answer.secret_string() {
            return Ok(Secret::new(text));
        }
        let bytes = answer.secret_binary().map(|bytes| bytes.as_ref().to_vec());
        match bytes.map(String::from_utf8) {
            Some(Ok(text)) => Ok(Secret::new(text)),
            Some(Err(_)) => Err(self.unusable("it is binary, and not text")),
            None => Err(self.unusable("it is empty")),
        }
    }

    fn unusable(&self, detail: &str) -> Error {
        Error::Unusable {
            secret: self.arn.clone(),
            detail: detail.to_owned(),
        }
    }
}

/// `arn:aws:secretsmanager:REGION:account:secret:name`.
fn region(arn: &str) -> Option<&str> {
    arn.split(':').nth(3).filter(|region| !region.is_empty())
}
