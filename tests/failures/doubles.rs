//! Adapters with a bug that can be switched on: a call panics, or never ends.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio::time::Instant;
use understudy::domain::ids::ShowId;
use understudy::infra::obs::{self, Notice};
use understudy::infra::probe::{self, Probe, ServerStatus};
use understudy::infra::ssh;

/// What a call does instead of ending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    Panic,
    Hang,
}

/// Shared by a double and the test that switches its bug on and off.
#[derive(Clone, Default)]
pub struct Switch(Arc<Mutex<Met>>);

#[derive(Default)]
struct Met {
    bug: Option<Bug>,
    /// When calls met the bug, by the machine that was called.
    calls: BTreeMap<IpAddr, Vec<Instant>>,
}

impl Switch {
    pub fn set(&self, bug: Option<Bug>) {
        self.0.lock().unwrap().bug = bug;
    }

    /// How long after it first met the bug somebody called the same machine again, and met it again.
    pub fn called_again(&self) -> Option<Duration> {
        let met = self.0.lock().unwrap();
        met.calls
            .values()
            .find_map(|calls| Some(*calls.get(1)? - calls[0]))
    }

    async fn pass(&self, machine: IpAddr) {
        let bug = {
            let mut met = self.0.lock().unwrap();
            if met.bug.is_some() {
                met.calls.entry(machine).or_default().push(Instant::now());
            }
            met.bug
        };
        match bug {
            None => {}
            Some(Bug::Panic) => panic!("an adapter with a bug"),
            Some(Bug::Hang) => std::future::pending().await,
        }
    }
}

/// Anything behind a switch.
pub struct Buggy<T: ?Sized> {
    pub inner: Arc<T>,
    pub switch: Switch,
}

#[async_trait]
impl Probe for Buggy<dyn Probe> {
    async fn status(&self, server: SocketAddr, deadline: Duration) -> Result<ServerStatus, probe::Error> {
        self.switch.pass(server.ip()).await;
        self.inner.status(server, deadline).await
    }

    async fn activate(
        &self,
        server: SocketAddr,
        show: Option<&ShowId>,
        deadline: Duration,
    ) -> Result<(), probe::Error> {
        self.inner.activate(server, show, deadline).await
    }
}

#[async_trait]
impl obs::Connector for Buggy<dyn obs::Connector> {
    async fn connect(
        &self,
        endpoint: &obs::Endpoint,
    ) -> Result<(Arc<dyn obs::Session>, mpsc::Receiver<Notice>), obs::Error> {
        self.switch.pass(endpoint.address.ip()).await;
        self.inner.connect(endpoint).await
    }
}

#[async_trait]
impl ssh::Connector for Buggy<dyn ssh::Connector> {
    async fn connect(&self, endpoint: &ssh::Endpoint) -> Result<Arc<dyn ssh::Session>, ssh::Error> {
        self.switch.pass(endpoint.address.ip()).await;
        self.inner.connect(endpoint).await
    }
}
