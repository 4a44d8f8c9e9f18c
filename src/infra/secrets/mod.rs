//! Secrets that somebody else keeps: in AWS Secrets Manager.

#[cfg(feature = "secrets-manager")]
pub mod aws;

use std::fmt::Debug;

use async_trait::async_trait;

use crate::domain::studio::Secret;

/// One secret in a store.
#[async_trait]
pub trait SecretStore: Debug + Send + Sync + 'static {
    /// The secret as it is now.
    ///
    /// # Errors
    /// In each case the secret as it was read before may still be good.
    async fn read(&self) -> Result<Secret, Error>;

    /// The secret as it was before it was changed last; `None` if it never was, or the store does not say.
    ///
    /// # Errors
    /// As for [`SecretStore::read`].
    async fn read_previous(&self) -> Result<Option<Secret>, Error>;
}

/// Why a secret could not be read, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("{secret} does not exist in its region, or has no current version: {detail}")]
    NotFound { secret: String, detail: String },
    #[error(
        "{secret} may not be read: allow the action secretsmanager:GetSecretValue on it, and kms:Decrypt on its key if \
         that is one of your own: {detail}"
    )]
    Denied { secret: String, detail: String },
    #[error("no credentials to read {secret} with: {detail}")]
    NoCredentials { secret: String, detail: String },
    #[error("{secret} cannot be used as it is: {detail}")]
    Unusable { secret: String, detail: String },
    #[error("{secret} cannot be read now: {detail}")]
    Unavailable { secret: String, detail: String },
}
