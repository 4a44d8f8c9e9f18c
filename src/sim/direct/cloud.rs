//! The cloud that owns the machines, and its API.
//!
//! The API's faults are the model's ([`crate::sim::model::cloud::Faults`]), with the effect that they have on
//! [`crate::infra::cloud::rest::RestCloud`], whose patience this has too.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout, timeout_at};

use super::dice::{Dice, Span};
use super::machines::Machines;
use super::process::Process;
use crate::domain::ids::InstanceId;
use crate::domain::instance::{Instance, Launch, PowerChange};
use crate::domain::time::Timestamp;
use crate::infra::cloud::{
    self, Error, ErrorKind, MANAGED_BY, StateChange, TAG_MANAGED_BY, TAG_PROJECT, rest,
};
use crate::infra::watch;
use crate::sim::clock::Clock;
use crate::sim::model::cloud::{Cloud, Faults, LaunchRequest, Refusal};
use crate::sim::model::fault::CloudFault;

/// All instances, and the machines that they power.
pub(super) struct Account {
    clock: Clock,
    dice: Arc<Dice>,
    machines: Arc<Machines>,
    cloud: Mutex<Cloud>,
    wake: Notify,
    closed: watch::Sender<bool>,
}

impl Account {
    /// Must be called within a runtime.
    pub(super) fn start(cloud: Cloud, machines: Arc<Machines>) -> Arc<Self> {
        let surroundings = machines.surroundings();
        let account = Arc::new(Self {
            clock: surroundings.clock,
            dice: Arc::clone(&surroundings.dice),
            machines,
            cloud: Mutex::new(cloud),
            wake: Notify::new(),
            closed: watch::Sender::new(false),
        });
        tokio::spawn(pass_time(Arc::downgrade(&account), account.closed.subscribe()));
        account
    }

    /// Lets the cloud act, after everything that was due. Effects happen in order: the lock is held until they
    /// have.
    pub(super) fn act<T>(&self, act: impl FnOnce(&mut Cloud, Timestamp) -> T) -> T {
        let now = self.clock.now();
        let mut cloud = self.cloud();
        let mut effects = cloud.advance(now);
        let result = act(&mut cloud, now);
        effects.extend(cloud.advance(now));
        for effect in effects {
            self.machines.apply(effect);
        }
        drop(cloud);
        self.wake.notify_one();
        result
    }

    /// Looks at the cloud.
    pub(super) fn inspect<T>(&self, look: impl FnOnce(&Cloud) -> T) -> T {
        look(&self.cloud())
    }

    pub(super) fn fault(&self, fault: CloudFault) {
        self.act(|cloud, _| cloud.fault(fault));
    }

    /// Mends everything that is wrong with the API.
    pub(super) fn heal(&self) {
        self.act(|cloud, _| cloud.heal());
    }

    pub(super) fn close(&self) {
        self.closed.send_replace(true);
    }

    fn cloud(&self) -> MutexGuard<'_, Cloud> {
        self.cloud.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes what is due happen, and says when the next thing is.
    fn pass(&self) -> Option<Timestamp> {
        let now = self.clock.now();
        let mut cloud = self.cloud();
        for effect in cloud.advance(now) {
            self.machines.apply(effect);
        }
        cloud.next_deadline()
    }
}

/// Makes happen what is due without anybody asking.
async fn pass_time(account: Weak<Account>, mut closed: watch::Receiver<bool>) {
    loop {
        let Some(account) = account.upgrade() else { return };
        let deadline = account.pass().map(|at| account.clock.instant(at));
        let woken = async {
            match deadline {
                Some(deadline) => {
                    // Woken early or on time, both are a reason to look.
                    let _ = timeout_at(deadline, account.wake.notified()).await;
                }
                None => account.wake.notified().await,
            }
        };
        tokio::select! {
            biased;
            _ = closed.wait_for(|closed| *closed) => return,
            () = woken => {}
        }
    }
}

/// The account's API, for one project.
pub(super) struct Api {
    account: Arc<Account>,
    process: Process,
    project: String,
    /// The wire's, so that both wait and repeat alike.
    patience: rest::Config,
}

impl Api {
    /// As `process` uses it.
    pub(super) fn new(account: Arc<Account>, process: Process, project: &str) -> Self {
        Self {
            account,
            process,
            project: project.to_owned(),
            patience: rest::Config::new("", project),
        }
    }

    /// Calls, again if that can help. All calls can be repeated without harm.
    async fn call<T>(
        &self,
        call: &'static str,
        is_change: bool,
        act: impl Fn(&mut Cloud, Timestamp) -> Result<T, Refusal>,
    ) -> Result<T, Error> {
        self.process.alive(self.attempts(call, is_change, act)).await
    }

    async fn attempts<T>(
        &self,
        call: &'static str,
        is_change: bool,
        act: impl Fn(&mut Cloud, Timestamp) -> Result<T, Refusal>,
    ) -> Result<T, Error> {
        let mut pause = self.patience.retry_delay;
        for _ in 0..self.patience.retries {
            match self.attempt(call, is_change, &act).await {
                Err(error) if error.kind.is_retryable() && error.kind != ErrorKind::NoCapacity => {
                    let jitter = Span {
                        min: Duration::ZERO,
                        max: pause,
                    };
                    sleep(pause + self.account.dice.draw(jitter)).await;
                    pause *= 2;
                }
                outcome => return outcome,
            }
        }
        self.attempt(call, is_change, &act).await
    }

    async fn attempt<T>(
        &self,
        call: &'static str,
        is_change: bool,
        act: impl Fn(&mut Cloud, Timestamp) -> Result<T, Refusal>,
    ) -> Result<T, Error> {
        let limit = self.patience.read_timeout;
        let answered = timeout(limit, self.answer(call, is_change, act)).await;
        answered.unwrap_or_else(|_| {
            let what = "operation timed out";
            Err(failure(call, ErrorKind::TimedOut, what))
        })
    }

    /// What comes of one request. What is wrong when it arrives is wrong with its answer.
    async fn answer<T>(
        &self,
        call: &'static str,
        is_change: bool,
        act: impl Fn(&mut Cloud, Timestamp) -> Result<T, Refusal>,
    ) -> Result<T, Error> {
        let faults: Faults = self.account.inspect(Cloud::faults);
        if faults.down {
            self.account.dice.trip().await;
            return Err(failure(call, ErrorKind::Unreachable, "connection refused"));
        }
        sleep(self.account.dice.cloud_call() + faults.delay).await;
        let outcome = if faults.throttled {
            let code = "RequestLimitExceeded";
            Err(refused(
                call,
                ErrorKind::Throttled,
                code,
                "request limit exceeded",
            ))
        } else if faults.denied && is_change {
            let (code, why) = (
                "UnauthorizedOperation",
                "you are not authorized to perform this operation",
            );
            Err(refused(call, ErrorKind::Denied, code, why))
        } else {
            let done = self.account.act(|cloud, now| act(cloud, now));
            done.map_err(|refusal| complaint(call, &refusal))
        };
        if faults.answers_lost && is_change {
            let what = "connection closed before message completed";
            return Err(failure(call, ErrorKind::Unreachable, what));
        }
        outcome
    }

    fn pool_tags(&self) -> BTreeMap<String, String> {
        BTreeMap::from([
            (TAG_PROJECT.to_owned(), self.project.clone()),
            (TAG_MANAGED_BY.to_owned(), MANAGED_BY.to_owned()),
        ])
    }
}

fn failure(call: &'static str, kind: ErrorKind, detail: &str) -> Error {
    Error {
        call,
        kind,
        code: None,
        detail: Some(detail.to_owned()),
    }
}

fn refused(call: &'static str, kind: ErrorKind, code: &str, detail: &str) -> Error {
    Error {
        code: Some(code.to_owned()),
        ..failure(call, kind, detail)
    }
}

fn complaint(call: &'static str, refusal: &Refusal) -> Error {
    let (kind, code) = match refusal {
        Refusal::NotFound(_) => (ErrorKind::NotFound, "InvalidInstanceID.NotFound"),
        Refusal::WrongState { .. } => (ErrorKind::WrongState, "IncorrectInstanceState"),
        Refusal::NoCapacity => (ErrorKind::NoCapacity, "InsufficientInstanceCapacity"),
        Refusal::NoAddress => (ErrorKind::NoCapacity, "InsufficientFreeAddressesInSubnet"),
    };
    refused(call, kind, code, &refusal.to_string())
}

#[async_trait]
impl cloud::Cloud for Api {
    async fn list(&self) -> Result<Vec<Instance>, Error> {
        let tags = self.pool_tags();
        self.call("ListInstances", false, |cloud, _| {
            Ok(cloud.list(&tags, None, usize::MAX))
        })
        .await
    }

    async fn describe(&self, instance: &InstanceId) -> Result<Option<Instance>, Error> {
        self.call("DescribeInstance", false, |cloud, _| {
            Ok(cloud
                .describe(instance)
                .filter(|_| !cloud.faults().mislaid)
                .cloned())
        })
        .await
    }

    async fn launch(&self, launch: &Launch) -> Result<Instance, Error> {
        let mut tags = launch.tags.clone();
        tags.extend(self.pool_tags());
        tags.insert("Name".to_owned(), launch.name.clone());
        let request = LaunchRequest {
            token: (!launch.token.is_empty()).then(|| launch.token.clone()),
            instance_type: launch.instance_type.clone(),
            tags,
        };
        self.call("LaunchInstance", true, |cloud, now| {
            cloud.launch(request.clone(), now)
        })
        .await
    }

    async fn change(&self, instance: &InstanceId, change: PowerChange) -> Result<StateChange, Error> {
        let call = match change {
            PowerChange::Start => "StartInstance",
            PowerChange::Stop | PowerChange::ForceStop => "StopInstance",
            PowerChange::Reboot => "RebootInstance",
            PowerChange::Terminate => "TerminateInstance",
        };
        let changed = self.call(call, true, |cloud, now| cloud.change(instance, change, now));
        let (previous, current) = changed.await?;
        Ok(StateChange { previous, current })
    }

    async fn tag(&self, instance: &InstanceId, tags: &[(String, String)]) -> Result<(), Error> {
        let tags: BTreeMap<String, String> = tags.iter().cloned().collect();
        self.call("TagInstance", true, |cloud, _| cloud.tag(instance, tags.clone()))
            .await
    }
}
