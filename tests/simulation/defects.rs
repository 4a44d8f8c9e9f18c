//! That the rules can be broken: worlds that lie, in one way each, and what the simulation makes of that.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::mpsc;
use understudy::domain::ids::InstanceId;
use understudy::domain::instance::{Instance, InstanceState, Launch, PowerChange};
use understudy::domain::studio::{Output, Studio};
use understudy::infra::cloud::{Cloud, Error as CloudError, StateChange};
use understudy::infra::obs::{
    Connector, Endpoint, Error, Frame, Means, Notice, Outputs, Restored, Scenes, Session,
};
use understudy::rehearsal::simulation::plan::{Act, Button, Change, Event, Order, SetUp};
use understudy::rehearsal::simulation::report::Failure;
use understudy::rehearsal::simulation::rules::{LIVENESS, PUBLISHER};
use understudy::rehearsal::simulation::{Plan, Size, run, run_over};
use understudy::sim::direct::Parts;

/// One show that is moved, among things that do not matter.
fn plan(size: Size) -> Plan {
    let acts = [
        (1_000, Act::WarmTarget { vms: 1 }),
        (
            5_000,
            Act::Produce {
                show: 0,
                how: SetUp::ByHand,
            },
        ),
        (6_000, Act::World(Change::IngestUp)),
        (
            50_000,
            Act::Press {
                vm: 0,
                button: Button::Start,
            },
        ),
        (
            60_000,
            Act::Order {
                show: 0,
                order: Order::Failover,
            },
        ),
        (65_000, Act::World(Change::MendCloud)),
    ];
    let numbered = acts.into_iter().enumerate();
    let events = numbered.map(|(number, (at_ms, act))| Event { number, at_ms, act });
    Plan {
        seed: 1,
        size,
        events: events.collect(),
        is_whole: true,
    }
}

const WARM: Size = Size {
    warm: 2,
    cold: 0,
    shows: 1,
    troubles: 0,
};
const COLD: Size = Size {
    warm: 0,
    cold: 2,
    ..WARM
};

/// What the plan comes to over a world that lies: the rule that is broken first, and the numbers of the events that it takes.
fn broken(plan: &Plan, over: fn(Parts) -> Parts) -> (Option<&'static str>, Vec<usize>) {
    let play = |plan: &Plan| run_over(plan, over);
    let first = play(plan).expect("it can be played");
    let failure = Failure::investigate(plan, first, play, |_| ());
    let rule = failure.run.violations.first().map(|violation| violation.rule);
    (rule, failure.plan.numbers())
}

#[test]
fn where_nobody_lies_no_rule_is_broken() {
    for size in [WARM, COLD] {
        assert_eq!(run(&plan(size)).expect("it can be played").violations, []);
    }
}

#[test]
fn a_stream_that_goes_on_after_it_was_said_to_have_stopped_is_seen_at_the_ingest() {
    let lying = |mut parts: Parts| {
        parts.obs = Arc::new(Unstoppable(parts.obs));
        parts
    };
    assert_eq!(broken(&plan(WARM), lying), (Some(PUBLISHER), vec![1, 4]));
}

#[test]
fn a_start_that_never_comes_to_pass_leaves_a_show_without_its_vm() {
    let lying = |mut parts: Parts| {
        parts.cloud = Arc::new(Idle(parts.cloud));
        parts
    };
    assert_eq!(broken(&plan(COLD), lying), (Some(LIVENESS), vec![1]));
}

/// Connects to studios that say that their stream has stopped when they are told to, and go on.
struct Unstoppable(Arc<dyn Connector>);

struct GoingOn(Arc<dyn Session>);

#[async_trait]
impl Connector for Unstoppable {
    async fn connect(
        &self,
        endpoint: &Endpoint,
    ) -> Result<(Arc<dyn Session>, mpsc::Receiver<Notice>), Error> {
        let (session, notices) = self.0.connect(endpoint).await?;
        Ok((Arc::new(GoingOn(session)), notices))
    }
}

#[async_trait]
impl Scenes for GoingOn {
    async fn capture(&self) -> Result<Studio, Error> {
        self.0.capture().await
    }

    async fn restore(&self, studio: &Studio, means: &Means) -> Result<Restored, Error> {
        self.0.restore(studio, means).await
    }

    async fn check_frame(&self, may_edit: bool) -> Result<Frame, Error> {
        self.0.check_frame(may_edit).await
    }
}

#[async_trait]
impl Outputs for GoingOn {
    async fn output(&self) -> Result<Output, Error> {
        self.0.output().await
    }

    async fn start_stream(&self) -> Result<(), Error> {
        self.0.start_stream().await
    }

    async fn stop_stream(&self) -> Result<(), Error> {
        Ok(())
    }

    async fn stop_recording(&self) -> Result<(), Error> {
        self.0.stop_recording().await
    }
}

/// A cloud that accepts starts and does nothing.
struct Idle(Arc<dyn Cloud>);

#[async_trait]
impl Cloud for Idle {
    async fn list(&self) -> Result<Vec<Instance>, CloudError> {
        self.0.list().await
    }

    async fn describe(&self, instance: &InstanceId) -> Result<Option<Instance>, CloudError> {
        self.0.describe(instance).await
    }

    async fn launch(&self, launch: &Launch) -> Result<Instance, CloudError> {
        self.0.launch(launch).await
    }

    async fn change(&self, instance: &InstanceId, change: PowerChange) -> Result<StateChange, CloudError> {
        if change != PowerChange::Start {
            return self.0.change(instance, change).await;
        }
        Ok(StateChange {
            previous: InstanceState::Stopped,
            current: InstanceState::Pending,
        })
    }

    async fn tag(&self, instance: &InstanceId, tags: &[(String, String)]) -> Result<(), CloudError> {
        self.0.tag(instance, tags).await
    }
}
