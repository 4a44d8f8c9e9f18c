//! The cloud that owns the machines.
//!
//! Deliberately small: what the pool needs of EC2 and nothing else. Discovery is by tags and lists only
//! instances that carry both pool tags, so a stranger's machine can never be named by the pool.

#[cfg(feature = "ec2")]
pub mod ec2;
pub mod guarded;
pub mod rest;
pub mod traced;

use async_trait::async_trait;

use crate::domain::ids::InstanceId;
use crate::domain::instance::{Instance, InstanceState, Launch, PowerChange};

/// Tag that says which project a pool instance belongs to.
pub const TAG_PROJECT: &str = "Project";
/// Tag that says who manages an instance; its value is [`MANAGED_BY`].
pub const TAG_MANAGED_BY: &str = "ManagedBy";
/// Value of [`TAG_MANAGED_BY`] on pool instances.
pub const MANAGED_BY: &str = "vm-pool-manager";

#[async_trait]
pub trait Cloud: Send + Sync + 'static {
    /// Every instance that carries both pool tags, in any state, all pages.
    async fn list(&self) -> Result<Vec<Instance>, Error>;

    /// One instance, now. `None` if the cloud no longer knows it.
    async fn describe(&self, instance: &InstanceId) -> Result<Option<Instance>, Error>;

    /// Launches one instance with the pool's tags. Repeating a request with the same token is safe where the
    /// cloud honours tokens.
    async fn launch(&self, launch: &Launch) -> Result<Instance, Error>;

    /// Asks for a power change and returns the states before and after, as the cloud reports them at once.
    async fn change(&self, instance: &InstanceId, change: PowerChange) -> Result<StateChange, Error>;

    /// Sets tags; existing ones with the same key are replaced.
    async fn tag(&self, instance: &InstanceId, tags: &[(String, String)]) -> Result<(), Error>;
}

/// The cloud's immediate answer to a power change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateChange {
    pub previous: InstanceState,
    pub current: InstanceState,
}

/// Whose credentials are used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub account: String,
    /// As the cloud names a user or a role.
    pub arn: String,
}

/// Whether a call would be allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permission {
    /// As the cloud names it: `StartInstances`.
    pub call: &'static str,
    pub allowance: Allowance,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allowance {
    Allowed,
    Denied(Error),
    /// It would fail, or nothing is known, for another reason.
    Unclear(Error),
    /// The endpoint does not know dry runs.
    Ignored,
    /// Why not.
    NotAsked(&'static str),
}

/// A call to the cloud that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{call} failed: {kind}{}", .detail.as_deref().map(|d| format!(" ({d})")).unwrap_or_default())]
pub struct Error {
    /// The API call, as the cloud names it: `StartInstances`.
    pub call: &'static str,
    pub kind: ErrorKind,
    /// The cloud's own code: `InsufficientInstanceCapacity`.
    pub code: Option<String>,
    /// The cloud's message, without secrets.
    pub detail: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ErrorKind {
    #[error("the cloud is throttling requests")]
    Throttled,
    #[error("the cloud has no capacity for this instance type now")]
    NoCapacity,
    #[error("the cloud does not know this instance")]
    NotFound,
    #[error("the instance is in a state that does not allow this")]
    WrongState,
    #[error("no usable credentials")]
    NoCredentials,
    #[error("these credentials are not allowed to do this")]
    Denied,
    #[error("the request is not valid")]
    Invalid,
    #[error("the cloud cannot be reached")]
    Unreachable,
    #[error("the cloud did not answer in time")]
    TimedOut,
    #[error("the cloud reports an internal error")]
    Internal,
}

impl ErrorKind {
    /// Whether the same call may succeed later without anything being mended by hand.
    #[must_use]
    pub fn is_retryable(self) -> bool {
        match self {
            Self::Throttled | Self::NoCapacity | Self::Unreachable | Self::TimedOut | Self::Internal => true,
            Self::NotFound | Self::WrongState | Self::NoCredentials | Self::Denied | Self::Invalid => false,
        }
    }
}
