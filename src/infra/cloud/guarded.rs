//! A cloud whose every call ends: in time, and without taking its caller along.
//!
//! Adapters have deadlines of their own. One that does not keep them, or panics, has a bug; whoever waits for it would
//! wait for ever, and the pool would go on with what it saw last without anybody noticing. Behind this, such a call is
//! one that failed, like any other that the cloud did not answer.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use tokio::time::timeout;

use super::{Cloud, Error, ErrorKind, StateChange};
use crate::domain::ids::InstanceId;
use crate::domain::instance::{Instance, Launch, PowerChange};

/// Any cloud, and how long one of its calls may take.
pub struct Guarded {
    cloud: Arc<dyn Cloud>,
    limit: Duration,
}

impl Guarded {
    /// `limit` is longer than any deadline within the adapter.
    #[must_use]
    pub fn new(cloud: Arc<dyn Cloud>, limit: Duration) -> Self {
        Self { cloud, limit }
    }

    async fn ended<T>(
        &self,
        call: &'static str,
        work: impl Future<Output = Result<T, Error>> + Send,
    ) -> Result<T, Error> {
        let failed = |kind, detail: &str| {
            tracing::error!(call, detail, "a call to the cloud did not end as it should");
            Error {
                call,
                kind,
                code: None,
                detail: Some(detail.to_owned()),
            }
        };
        match timeout(self.limit, AssertUnwindSafe(work).catch_unwind()).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(failed(ErrorKind::Internal, "its adapter panicked")),
            Err(_) => Err(failed(
                ErrorKind::TimedOut,
                "its adapter did not keep its own deadline",
            )),
        }
    }
}

#[async_trait]
impl Cloud for Guarded {
    async fn list(&self) -> Result<Vec<Instance>, Error> {
        self.ended("DescribeInstances", self.cloud.list()).await
    }

    async fn describe(&self, instance: &InstanceId) -> Result<Option<Instance>, Error> {
        self.ended("DescribeInstances", self.cloud.describe(instance))
            .await
    }

    async fn launch(&self, launch: &Launch) -> Result<Instance, Error> {
        self.ended("RunInstances", self.cloud.launch(launch)).await
    }

    async fn change(&self, instance: &InstanceId, change: PowerChange) -> Result<StateChange, Error> {
        let call = match change {
            PowerChange::Start => "StartInstances",
            PowerChange::Stop | PowerChange::ForceStop => "StopInstances",
            PowerChange::Reboot => "RebootInstances",
            PowerChange::Terminate => "TerminateInstances",
        };
        self.ended(call, self.cloud.change(instance, change)).await
    }

    async fn tag(&self, instance: &InstanceId, tags: &[(String, String)]) -> Result<(), Error> {
        self.ended("CreateTags", self.cloud.tag(instance, tags)).await
    }
}
