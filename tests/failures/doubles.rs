//! Adapters with a defect that can be switched on: a call panics, or never ends.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio::time::Instant;
use understudy::domain::ids::{InstanceId, ShowId};
use understudy::domain::instance::{Instance, Launch, PowerChange};
use understudy::domain::studio::{Output, Studio};
use understudy::infra::cloud::{self, Cloud, StateChange};
use understudy::infra::obs::{self, Frame, Means, Notice, Restored};
use understudy::infra::probe::{self, Probe, ServerStatus};
use understudy::infra::ssh::{self, Exec, Execution, Finished, Start, files, tunnel};

/// Notices of a studio that its link has not taken.
pub const NOTICES_MAX: usize = 1;

/// What a call does instead of ending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    Panic,
    Hang,
    /// It ends after [`LATE`].
    Late,
}

/// Shorter than anybody waits for the cloud, and longer than there is between two looks at it.
pub const LATE: Duration = Duration::from_secs(45);

/// Shared by a double and the test that switches its defect on and off.
#[derive(Clone, Default)]
pub struct Switch(Arc<Mutex<Met>>);

#[derive(Default)]
struct Met {
    bug: Option<Struck>,
    /// When calls met the defect, by the machine that was called.
    calls: BTreeMap<Option<IpAddr>, Vec<Instant>>,
    /// How often each call was made, with a defect or without.
    made: BTreeMap<String, usize>,
    /// Ways to the sessions with studios, by machine.
    notices: BTreeMap<IpAddr, mpsc::WeakSender<Notice>>,
}

/// Which calls meet the defect.
#[derive(Clone, Copy)]
struct Struck {
    call: &'static str,
    bug: Bug,
    left: usize,
}

impl Switch {
    /// From now on this call has the defect.
    pub fn on(&self, call: &'static str, bug: Bug) {
        let left = usize::MAX;
        self.0.lock().unwrap().bug = Some(Struck { call, bug, left });
    }

    /// This call has the defect so many times, and then never again.
    pub fn times(&self, left: usize, call: &'static str, bug: Bug) {
        self.0.lock().unwrap().bug = Some(Struck { call, bug, left });
    }

    pub fn off(&self) {
        self.0.lock().unwrap().bug = None;
    }

    /// How many calls have met it.
    pub fn met(&self) -> usize {
        self.0.lock().unwrap().calls.values().map(Vec::len).sum()
    }

    /// How often this was called.
    pub fn made(&self, call: &str) -> usize {
        self.0.lock().unwrap().made.get(call).copied().unwrap_or_default()
    }

    /// What the studio on a machine tells through this is told over the session that there is with it.
    pub fn notices(&self, machine: IpAddr) -> Option<mpsc::Sender<Notice>> {
        self.0.lock().unwrap().notices.get(&machine)?.upgrade()
    }

    /// How long after it first met the defect somebody called the same machine again, and met it again.
    pub fn called_again(&self) -> Option<Duration> {
        let met = self.0.lock().unwrap();
        met.calls
            .values()
            .find_map(|calls| Some(*calls.get(1)? - calls[0]))
    }

    fn opened(&self, machine: IpAddr, notices: &mpsc::Sender<Notice>) {
        let way = notices.downgrade();
        self.0.lock().unwrap().notices.insert(machine, way);
    }

    async fn pass(&self, machine: Option<IpAddr>, call: &str) {
        match self.strike(machine, call) {
            None => {}
            Some(Bug::Panic) => panic!("an adapter with a defect"),
            Some(Bug::Hang) => std::future::pending().await,
            Some(Bug::Late) => tokio::time::sleep(LATE).await,
        }
    }

    fn strike(&self, machine: Option<IpAddr>, call: &str) -> Option<Bug> {
        let mut met = self.0.lock().unwrap();
        *met.made.entry(call.to_owned()).or_default() += 1;
        let struck = met.bug.as_mut().filter(|struck| struck.call == call)?;
        struck.left = struck.left.checked_sub(1)?;
        let bug = struck.bug;
        met.calls.entry(machine).or_default().push(Instant::now());
        Some(bug)
    }
}

/// Anything behind a switch.
pub struct Buggy<T: ?Sized> {
    pub inner: Arc<T>,
    pub switch: Switch,
}

#[async_trait]
impl Cloud for Buggy<dyn Cloud> {
    async fn list(&self) -> Result<Vec<Instance>, cloud::Error> {
        self.switch.pass(None, "list").await;
        self.inner.list().await
    }

    async fn describe(&self, instance: &InstanceId) -> Result<Option<Instance>, cloud::Error> {
        self.switch.pass(None, "describe").await;
        self.inner.describe(instance).await
    }

    async fn launch(&self, launch: &Launch) -> Result<Instance, cloud::Error> {
        self.switch.pass(None, "launch").await;
        self.inner.launch(launch).await
    }

    async fn change(&self, instance: &InstanceId, change: PowerChange) -> Result<StateChange, cloud::Error> {
        self.switch.pass(None, "change").await;
        let changed = self.inner.change(instance, change).await;
        self.switch.pass(None, "answer of a change").await;
        changed
    }

    async fn tag(&self, instance: &InstanceId, tags: &[(String, String)]) -> Result<(), cloud::Error> {
        self.switch.pass(None, "tag").await;
        self.inner.tag(instance, tags).await
    }
}

#[async_trait]
impl Probe for Buggy<dyn Probe> {
    async fn status(
        &self,
        server: SocketAddr,
        deadline: Duration,
        again: Option<Duration>,
    ) -> Result<ServerStatus, probe::Error> {
        self.switch.pass(Some(server.ip()), "status").await;
        self.inner.status(server, deadline, again).await
    }

    async fn activate(
        &self,
        server: SocketAddr,
        show: Option<&ShowId>,
        deadline: Duration,
    ) -> Result<(), probe::Error> {
        self.switch.pass(Some(server.ip()), "activate").await;
        self.inner.activate(server, show, deadline).await
    }
}

#[async_trait]
impl obs::Connector for Buggy<dyn obs::Connector> {
    async fn connect(
        &self,
        endpoint: &obs::Endpoint,
    ) -> Result<(Arc<dyn obs::Session>, mpsc::Receiver<Notice>), obs::Error> {
        self.switch.pass(Some(endpoint.address.ip()), "connect").await;
        let (inner, mut from) = self.inner.connect(endpoint).await?;
        let (sender, notices) = mpsc::channel(NOTICES_MAX);
        self.switch.opened(endpoint.address.ip(), &sender);
        tokio::spawn(async move {
            while let Some(notice) = from.recv().await {
                if sender.send(notice).await.is_err() {
                    return;
                }
            }
        });
        let switch = self.switch.clone();
        Ok((Arc::new(Buggy { inner, switch }), notices))
    }
}

#[async_trait]
impl obs::Scenes for Buggy<dyn obs::Session> {
    async fn capture(&self) -> Result<Studio, obs::Error> {
        self.switch.pass(None, "capture").await;
        self.inner.capture().await
    }

    async fn restore(&self, studio: &Studio, means: &Means) -> Result<Restored, obs::Error> {
        self.switch.pass(None, "restore").await;
        self.inner.restore(studio, means).await
    }

    async fn check_frame(&self, may_edit: bool) -> Result<Frame, obs::Error> {
        self.switch.pass(None, "check_frame").await;
        self.inner.check_frame(may_edit).await
    }
}

#[async_trait]
impl obs::Outputs for Buggy<dyn obs::Session> {
    async fn output(&self) -> Result<Output, obs::Error> {
        self.inner.output().await
    }

    async fn start_stream(&self) -> Result<(), obs::Error> {
        self.inner.start_stream().await
    }

    async fn stop_stream(&self) -> Result<(), obs::Error> {
        self.switch.pass(None, "stop_stream").await;
        self.inner.stop_stream().await
    }

    async fn stop_recording(&self) -> Result<(), obs::Error> {
        self.inner.stop_recording().await
    }
}

#[async_trait]
impl ssh::Connector for Buggy<dyn ssh::Connector> {
    async fn connect(&self, endpoint: &ssh::Endpoint) -> Result<Arc<dyn ssh::Session>, ssh::Error> {
        self.switch.pass(Some(endpoint.address.ip()), "connect").await;
        let (inner, switch) = (self.inner.connect(endpoint).await?, self.switch.clone());
        Ok(Arc::new(Buggy { inner, switch }))
    }
}

#[async_trait]
impl ssh::Commands for Buggy<dyn ssh::Session> {
    async fn exec(&self, exec: &Exec) -> Result<Finished, ssh::Error> {
        // Under the name of what is run.
        self.switch.pass(None, &exec.argv[0]).await;
        self.inner.exec(exec).await
    }

    async fn start(&self, start: &Start) -> Result<Execution, ssh::Error> {
        self.inner.start(start).await
    }
}

#[async_trait]
impl ssh::Passages for Buggy<dyn ssh::Session> {
    async fn tunnel(
        &self,
        to: SocketAddr,
        deadline: Duration,
    ) -> Result<Box<dyn tunnel::Stream>, ssh::Error> {
        self.inner.tunnel(to, deadline).await
    }

    async fn files(&self) -> Result<Arc<dyn files::Files>, ssh::Error> {
        self.switch.pass(None, "files").await;
        self.inner.files().await
    }
}

#[async_trait]
impl ssh::Liveness for Buggy<dyn ssh::Session> {
    async fn ping(&self, deadline: Duration) -> Result<(), ssh::Error> {
        self.inner.ping(deadline).await
    }

    async fn closed(&self) -> ssh::Error {
        self.inner.closed().await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
