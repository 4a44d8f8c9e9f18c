//! A cloud whose calls are counted.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::time::Instant;

use super::Metrics;
use crate::domain::ids::InstanceId;
use crate::domain::instance::{Instance, Launch, PowerChange};
use crate::infra::cloud::{Cloud, Error, ErrorKind, StateChange};

/// The calls there are, as their trait names them.
pub(super) const CALLS: &[[&str; 1]] = &[
    ["list"],
    ["describe"],
    ["launch"],
    ["start"],
    ["stop"],
    ["force_stop"],
    ["reboot"],
    ["terminate"],
    ["tag"],
];

/// Passes every call on, and counts how it ended and how long it took.
pub struct CountedCloud {
    cloud: Arc<dyn Cloud>,
    metrics: Metrics,
}

impl CountedCloud {
    #[must_use]
    pub fn new(cloud: Arc<dyn Cloud>, metrics: Metrics) -> Self {
        Self { cloud, metrics }
    }

    async fn counted<T>(
        &self,
        call: &'static str,
        answer: impl Future<Output = Result<T, Error>> + Send,
    ) -> Result<T, Error> {
        let began = Instant::now();
        let answer = answer.await;
        let outcome = match &answer {
            Ok(_) => "ok",
            Err(error) => word(error.kind),
        };
        self.metrics
            .cloud_call_duration
            .took([call, outcome], began.elapsed());
        if matches!(&answer, Err(error) if error.kind == ErrorKind::Throttled) {
            self.metrics.cloud_throttles.count([call]);
        }
        answer
    }
}

#[async_trait]
impl Cloud for CountedCloud {
    async fn list(&self) -> Result<Vec<Instance>, Error> {
        self.counted("list", self.cloud.list()).await
    }

    async fn describe(&self, instance: &InstanceId) -> Result<Option<Instance>, Error> {
        self.counted("describe", self.cloud.describe(instance)).await
    }

    async fn launch(&self, launch: &Launch) -> Result<Instance, Error> {
        self.counted("launch", self.cloud.launch(launch)).await
    }

    async fn change(&self, instance: &InstanceId, change: PowerChange) -> Result<StateChange, Error> {
        let call = match change {
            PowerChange::Start => "start",
            PowerChange::Stop => "stop",
            PowerChange::ForceStop => "force_stop",
            PowerChange::Reboot => "reboot",
            PowerChange::Terminate => "terminate",
        };
        self.counted(call, self.cloud.change(instance, change)).await
    }

    async fn tag(&self, instance: &InstanceId, tags: &[(String, String)]) -> Result<(), Error> {
        self.counted("tag", self.cloud.tag(instance, tags)).await
    }
}

fn word(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Throttled => "throttled",
        ErrorKind::NoCapacity => "no_capacity",
        ErrorKind::NotFound => "not_found",
        ErrorKind::WrongState => "wrong_state",
        ErrorKind::NoCredentials => "no_credentials",
        ErrorKind::Denied => "denied",
        ErrorKind::Invalid => "invalid",
        ErrorKind::Unreachable => "unreachable",
        ErrorKind::TimedOut => "timed_out",
        ErrorKind::Internal => "internal",
    }
}
