//! The supervision matrix: kind of child x way to die, budgets, back-off, isolation. The cases are those that
//! Erlang/OTP and Elixir test their supervisors with, as far as they apply to one-for-one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, SpawnErr};
use tokio::sync::mpsc;
use understudy::actors::clock::Clock;
use understudy::actors::mailbox;
use understudy::actors::supervisor::{self, Arguments, Message, Spec};
use understudy::domain::restart::{Policy, Restart};

use crate::support::PLENTY;

/// Dies the way it is told.
struct Mortal;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Die {
    ByPanic,
    ByError,
    InPeace,
}

/// How a child dies in a test; a kill comes from outside.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    Panic,
    Error,
    Stop,
    Kill,
}

type Births = mpsc::UnboundedSender<(&'static str, ActorRef<Die>)>;

impl Actor for Mortal {
    type Msg = Die;
    type State = ();
    type Arguments = (&'static str, Births);

    async fn pre_start(
        &self,
        me: ActorRef<Die>,
        (name, births): (&'static str, Births),
    ) -> Result<(), ActorProcessingErr> {
        births.send((name, me)).map_err(|_| "the test is over")?;
        Ok(())
    }

    async fn handle(&self, me: ActorRef<Die>, die: Die, (): &mut ()) -> Result<(), ActorProcessingErr> {
        match die {
            Die::ByPanic => panic!("told to panic"),
            Die::ByError => Err("told to fail".into()),
            Die::InPeace => {
                me.stop(None);
                Ok(())
            }
        }
    }
}

struct Family {
    supervisor: mailbox::ActorRef<Message<&'static str>>,
    births: mpsc::UnboundedReceiver<(&'static str, ActorRef<Die>)>,
    /// Keeps the channel open when the last child is gone for good.
    _sender: Births,
    given_up: Arc<AtomicU32>,
}

fn policy() -> Policy {
    Policy {
        restarts_max: 3,
        window: Duration::from_secs(10),
        backoff_initial: Duration::from_millis(50),
        backoff_max: Duration::from_secs(1),
        cooldown: Duration::from_secs(60),
    }
}

impl Family {
    async fn of(children: &[(&'static str, Restart)]) -> Self {
        let (sender, births) = mpsc::unbounded_channel();
        let given_up = Arc::new(AtomicU32::new(0));
        let children = children
            .iter()
            .map(|(name, restart)| (*name, spec(name, *restart, sender.clone(), &given_up)))
            .collect();
        let arguments = Arguments {
            policy: policy(),
            clock: Clock::system(),
            children,
        };
        let supervisor = supervisor::spawn(arguments, None).await.unwrap();
        Self {
            supervisor,
            births,
            _sender: sender,
            given_up,
        }
    }

    /// The next child to be born, within a virtual hour.
    async fn born(&mut self) -> (&'static str, ActorRef<Die>) {
        let birth = tokio::time::timeout(Duration::from_secs(3600), self.births.recv());
        birth
            .await
            .expect("nobody was born within an hour")
            .expect("the family is gone")
    }

    async fn nobody_is_born(&mut self, within: Duration) {
        let birth = tokio::time::timeout(within, self.births.recv()).await;
        assert!(
            birth.is_err(),
            "somebody was born: {:?}",
            birth.unwrap().map(|(name, _)| name)
        );
    }
}

fn spec(name: &'static str, restart: Restart, births: Births, given_up: &Arc<AtomicU32>) -> Spec {
    let given_up = Arc::clone(given_up);
    Spec {
        restart,
        start: Arc::new(move |supervisor| {
            let births = births.clone();
            Box::pin(async move {
                let (actor, _) = Actor::spawn_linked(None, Mortal, (name, births), supervisor).await?;
                Ok(actor.get_cell())
            })
        }),
        tally: None,
        on_give_up: Some(Arc::new(move |_| {
            given_up.fetch_add(1, Ordering::SeqCst);
        })),
    }
}

fn end(child: &ActorRef<Die>, way: Way) {
    match way {
        Way::Panic => child.cast(Die::ByPanic).unwrap(),
        Way::Error => child.cast(Die::ByError).unwrap(),
        Way::Stop => child.cast(Die::InPeace).unwrap(),
        Way::Kill => child.kill(),
    }
}

async fn until_running(child: &ActorRef<Die>) {
    let running = async {
        while child.get_status() != ractor::ActorStatus::Running {
            tokio::task::yield_now().await;
        }
        // Running is set before the first message is waited for.
        tokio::task::yield_now().await;
    };
    tokio::time::timeout(PLENTY, running)
        .await
        .expect("the child does not run");
}

#[tokio::test(start_paused = true)]
async fn the_kind_of_child_and_its_way_to_die_decide_whether_it_comes_back() {
    use Restart::{Permanent, Temporary, Transient};
    use Way::{Error, Kill, Panic, Stop};
    let matrix = [
        (Permanent, Panic, true),
        (Permanent, Error, true),
        (Permanent, Stop, true),
        (Permanent, Kill, true),
        (Transient, Panic, true),
        (Transient, Error, true),
        (Transient, Stop, false),
        (Transient, Kill, true),
        (Temporary, Panic, false),
        (Temporary, Error, false),
        (Temporary, Stop, false),
        (Temporary, Kill, false),
    ];
    for (restart, way, comes_back) in matrix {
        let mut family = Family::of(&[("child", restart)]).await;
        let (_, child) = family.born().await;
        // A kill looks different from outside when it hits an actor that waits and one that starts.
        until_running(&child).await;
        end(&child, way);
        if comes_back {
            let (_, again) = family.born().await;
            assert_ne!(again.get_id(), child.get_id(), "{restart:?} {way:?}");
        } else {
            family.nobody_is_born(Duration::from_secs(600)).await;
        }
        assert_eq!(family.given_up.load(Ordering::SeqCst), 0, "{restart:?} {way:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_death_of_one_child_touches_no_other() {
    let mut family = Family::of(&[("a", Restart::Permanent), ("b", Restart::Permanent)]).await;
    let (_, a) = family.born().await;
    let (_, b) = family.born().await;
    let mut current = a;
    for way in [Way::Panic, Way::Error, Way::Kill] {
        end(&current, way);
        let (name, again) = family.born().await;
        assert_eq!(name, "a");
        current = again;
    }
    family.nobody_is_born(Duration::from_secs(600)).await;
    assert_eq!(b.get_status(), ractor::ActorStatus::Running);
}

#[tokio::test(start_paused = true)]
async fn the_first_restart_is_immediate_and_later_ones_wait_longer_each_time() {
    let mut family = Family::of(&[("child", Restart::Permanent)]).await;
    let (_, mut child) = family.born().await;
    for expected_ms in [0, 50, 100] {
        let died = tokio::time::Instant::now();
        end(&child, Way::Error);
        (_, child) = family.born().await;
        let waited = died.elapsed().as_millis();
        assert!(
            (expected_ms..expected_ms + 5).contains(&waited),
            "waited {waited} ms, not {expected_ms}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_restart_is_immediate_again_once_the_window_has_passed() {
    let mut family = Family::of(&[("child", Restart::Permanent)]).await;
    let (_, mut child) = family.born().await;
    for _ in 0..2 {
        end(&child, Way::Error);
        (_, child) = family.born().await;
    }
    tokio::time::sleep(policy().window).await;
    let died = tokio::time::Instant::now();
    end(&child, Way::Error);
    family.born().await;
    assert!(died.elapsed() < Duration::from_millis(5), "{:?}", died.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_crash_loop_is_given_up_reported_once_and_tried_afresh_after_the_cool_down() {
    let mut family = Family::of(&[("bad", Restart::Permanent), ("good", Restart::Permanent)]).await;
    let (_, mut bad) = family.born().await;
    let (_, good) = family.born().await;
    for _ in 0..policy().restarts_max {
        end(&bad, Way::Panic);
        (_, bad) = family.born().await;
    }
    assert_eq!(family.given_up.load(Ordering::SeqCst), 0);
    end(&bad, Way::Panic);
    family
        .nobody_is_born(policy().cooldown - Duration::from_secs(1))
        .await;
    assert_eq!(family.given_up.load(Ordering::SeqCst), 1);
    let (name, _) = family.born().await;
    assert_eq!(name, "bad");
    assert_eq!(good.get_status(), ractor::ActorStatus::Running);
    assert_eq!(family.supervisor.get_status(), ractor::ActorStatus::Running);
}

#[tokio::test(start_paused = true)]
async fn deaths_far_apart_never_use_up_the_budget() {
    let mut family = Family::of(&[("child", Restart::Permanent)]).await;
    let (_, mut child) = family.born().await;
    for _ in 0..50 {
        tokio::time::sleep(policy().window).await;
        end(&child, Way::Kill);
        (_, child) = family.born().await;
    }
    assert_eq!(family.given_up.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn a_child_that_fails_to_start_counts_as_dead_and_is_tried_again() {
    let tries = Arc::new(AtomicU32::new(0));
    let (sender, mut births) = mpsc::unbounded_channel();
    let counted = Arc::clone(&tries);
    let spec = Spec {
        restart: Restart::Permanent,
        start: Arc::new(move |supervisor| {
            let (births, try_number) = (sender.clone(), counted.fetch_add(1, Ordering::SeqCst));
            Box::pin(async move {
                if try_number < 2 {
                    return Err(SpawnErr::StartupFailed("not yet".into()));
                }
                let (actor, _) = Actor::spawn_linked(None, Mortal, ("late", births), supervisor).await?;
                Ok(actor.get_cell())
            })
        }),
        on_give_up: None,
        tally: None,
    };
    let arguments = Arguments {
        policy: policy(),
        clock: Clock::system(),
        children: vec![("late", spec)],
    };
    let supervisor = supervisor::spawn(arguments, None).await.unwrap();
    let born = tokio::time::timeout(Duration::from_secs(60), births.recv()).await;
    assert_eq!(born.unwrap().unwrap().0, "late");
    assert_eq!(tries.load(Ordering::SeqCst), 3);
    assert_eq!(supervisor.get_status(), ractor::ActorStatus::Running);
}

#[tokio::test(start_paused = true)]
async fn a_stopped_child_stays_down_even_if_its_restart_was_due() {
    let mut family = Family::of(&[("child", Restart::Permanent)]).await;
    let (_, child) = family.born().await;
    end(&child, Way::Error);
    let (_, child) = family.born().await;
    end(&child, Way::Error);
    // The second restart is not immediate.
    family.nobody_is_born(policy().backoff_initial / 2).await;
    family.supervisor.cast(Message::Stop { key: "child" }).unwrap();
    family.nobody_is_born(Duration::from_secs(600)).await;
}

/// Says at its birth how many of its kind there are, itself included.
struct Only;

/// One more or one fewer.
struct Counted(Arc<AtomicU32>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

type Census = mpsc::UnboundedSender<(u32, ActorRef<Die>)>;

impl Actor for Only {
    type Msg = Die;
    type State = Counted;
    type Arguments = (Arc<AtomicU32>, Census);

    async fn pre_start(
        &self,
        me: ActorRef<Die>,
        (alive, census): (Arc<AtomicU32>, Census),
    ) -> Result<Counted, ActorProcessingErr> {
        let count = alive.fetch_add(1, Ordering::SeqCst) + 1;
        census.send((count, me)).map_err(|_| "the test is over")?;
        Ok(Counted(alive))
    }
}

#[tokio::test(start_paused = true)]
async fn a_predecessors_state_is_gone_before_its_successor_starts() {
    let (sender, mut census) = mpsc::unbounded_channel();
    let alive = Arc::new(AtomicU32::new(0));
    let spec = Spec {
        restart: Restart::Permanent,
        start: Arc::new(move |supervisor| {
            let arguments = (Arc::clone(&alive), sender.clone());
            Box::pin(async move {
                let (actor, _) = Actor::spawn_linked(None, Only, arguments, supervisor).await?;
                Ok(actor.get_cell())
            })
        }),
        on_give_up: None,
        tally: None,
    };
    let arguments = Arguments {
        policy: policy(),
        clock: Clock::system(),
        children: vec![("only", spec)],
    };
    let _supervisor = supervisor::spawn(arguments, None).await.unwrap();
    for _ in 0..3 {
        let born = tokio::time::timeout(Duration::from_secs(60), census.recv()).await;
        let (count, child) = born.unwrap().unwrap();
        assert_eq!(count, 1);
        until_running(&child).await;
        // Killed while it waits, it hands its state back with the news of its death.
        end(&child, Way::Kill);
    }
}

#[tokio::test(start_paused = true)]
async fn starting_a_key_that_is_there_already_changes_nothing() {
    let mut family = Family::of(&[("child", Restart::Permanent)]).await;
    let (_, child) = family.born().await;
    let (sender, _unused) = mpsc::unbounded_channel();
    let spec = spec("child", Restart::Permanent, sender, &family.given_up);
    family
        .supervisor
        .cast(Message::Start {
            key: "child",
            spec,
            reply: None,
        })
        .unwrap();
    family.nobody_is_born(Duration::from_secs(60)).await;
    assert_eq!(child.get_status(), ractor::ActorStatus::Running);
}

#[tokio::test(start_paused = true)]
async fn a_dying_supervisor_takes_its_children_with_it() {
    let mut family = Family::of(&[("child", Restart::Permanent)]).await;
    let (_, child) = family.born().await;
    family.supervisor.kill();
    let gone = async {
        while child.get_status() != ractor::ActorStatus::Stopped {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PLENTY, gone)
        .await
        .expect("the child outlived its supervisor");
}
