//! A cloud that says in the log what it is asked and what comes of it, on account of whoever asks.

use std::sync::Arc;

use async_trait::async_trait;
use tracing::{Instrument as _, debug, debug_span};

use super::{Cloud, Error, StateChange};
use crate::domain::ids::InstanceId;
use crate::domain::instance::{Instance, Launch, PowerChange};

/// Any cloud, with every call in a span of its own.
pub struct Traced(Arc<dyn Cloud>);

impl Traced {
    #[must_use]
    pub fn new(cloud: Arc<dyn Cloud>) -> Self {
        Self(cloud)
    }
}

async fn told<T>(call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let result = call.await;
    match &result {
        Ok(_) => debug!("the cloud has answered"),
        Err(error) => debug!(%error, "the cloud has not done it"),
    }
    result
}

#[async_trait]
impl Cloud for Traced {
    async fn list(&self) -> Result<Vec<Instance>, Error> {
        let span = debug_span!("cloud", call = "list");
        told(self.0.list()).instrument(span).await
    }

    async fn describe(&self, instance: &InstanceId) -> Result<Option<Instance>, Error> {
        let span = debug_span!("cloud", call = "describe", %instance);
        told(self.0.describe(instance)).instrument(span).await
    }

    async fn launch(&self, launch: &Launch) -> Result<Instance, Error> {
        let span = debug_span!("cloud", call = "launch", name = launch.name);
        told(self.0.launch(launch)).instrument(span).await
    }

    async fn change(&self, instance: &InstanceId, change: PowerChange) -> Result<StateChange, Error> {
        let span = debug_span!("cloud", call = "change", %instance, ?change);
        told(self.0.change(instance, change)).instrument(span).await
    }

    async fn tag(&self, instance: &InstanceId, tags: &[(String, String)]) -> Result<(), Error> {
        let span = debug_span!("cloud", call = "tag", %instance);
        told(self.0.tag(instance, tags)).instrument(span).await
    }
}
