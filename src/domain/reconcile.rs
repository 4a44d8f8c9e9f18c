//! What a look at the cloud means for a VM: the difference between what we believe and what is.
//!
//! | cloud says | we believe | it means |
//! |---|---|---|
//! | pending | stopped | somebody started it: starting |
//! | pending | booting, ready | it was stopped and started: starting again |
//! | running | stopped, starting | booting |
//! | stopping | anything up, free | stopping |
//! | stopped | starting, accepted long ago or overdue | the start failed: stopped, with a fault |
//! | stopped | booting, ready, stopping | stopped |
//! | shutting-down | free, and publishes nothing | gone |
//! | terminated, not found | free | gone |
//! | terminated, not found | held by a show | stopped; it goes when the show has left it |
//! | there, without our tags | free, and publishes nothing | gone: it is not ours any more |
//! | there, without our tags | held by a show | what its state means; it stays as long as the show holds it |
//!
//! Only a machine that is off for certain is `stopped` here, since a show is put elsewhere on the strength of it:
//! one that is stopping or shutting down still runs, and one that its studio contradicts (it answered after the
//! cloud was asked) is there whatever the cloud finds. Absence from a list never comes here ([`Sighting`]).
//!
//! A look that began before our belief last changed proves nothing and changes no power. The status is not all
//! of that belief: a VM in maintenance, or with a fault, keeps its status when it stops.

use std::time::Duration;

use super::failover::verdict::CloudSign;
use super::instance::{Instance, InstanceState, Sighting};
use super::time::Timestamp;
use super::vm::{Event, Power, Vm};

/// How long the cloud may go on saying `stopped` after it accepted a start; EC2 is eventually consistent and
/// answers `pending` within seconds.
pub const START_VISIBLE_WITHIN: Duration = Duration::from_secs(15);

/// One look at one machine, and what else is known of it.
#[derive(Debug, Clone, Copy)]
pub struct Look<'a> {
    pub sighting: &'a Sighting,
    /// When the cloud was asked.
    pub began: Timestamp,
    /// When the cloud accepted the start that is under way; `None` while it has not, or if none is.
    pub start_accepted_at: Option<Timestamp>,
    /// When its studio last answered.
    pub answered_at: Option<Timestamp>,
    /// Its studio was last seen to stream.
    pub publishes: bool,
}

/// Events that make the VM what the cloud says it is.
#[must_use]
pub fn reconcile(vm: &Vm, look: &Look<'_>) -> Vec<Event> {
    let mut events = Vec::new();
    if let Some(instance) = described(vm, look.sighting)
        && instance != vm.instance
    {
        events.push(Event::Described { instance });
    }
    let believed_since = [Some(vm.last_state_change), vm.last_started_at, vm.last_stopped_at];
    if Some(look.began) >= believed_since.into_iter().max().flatten() {
        events.extend(power_events(vm, look));
    }
    events
}

/// Without the pool's tags it keeps those it had: by them it is known that they are missing.
fn described(vm: &Vm, sighting: &Sighting) -> Option<Instance> {
    match sighting {
        Sighting::Listed(instance) => Some(instance.clone()),
        Sighting::Untagged(instance) => Some(Instance {
            tags: vm.instance.tags.clone(),
            ..instance.clone()
        }),
        Sighting::NotFound => None,
    }
}

/// What the cloud's word is to the show that holds the VM. A VM that nobody holds is off because nobody needs it,
/// and `stopped` says nothing of one whose start is under way.
#[must_use]
pub fn cloud_sign(vm: &Vm, before: CloudSign, look: &Look<'_>, now: Timestamp) -> CloudSign {
    let state = look.sighting.state();
    let starting = matches!(vm.power, Power::Starting { .. }) || vm.awaits_start();
    match state {
        Some(InstanceState::Pending | InstanceState::Running) => return CloudSign::Running,
        _ if vm.occupancy.tenant().is_none() => return CloudSign::Unknown,
        Some(InstanceState::Stopped) if starting => return CloudSign::Unknown,
        Some(
            InstanceState::Stopping
            | InstanceState::Stopped
            | InstanceState::ShuttingDown
            | InstanceState::Terminated,
        )
        | None => {}
    }
    match before {
        CloudSign::Down { since, .. } => CloudSign::Down { since, state },
        // An older look than the start says nothing.
        CloudSign::Unknown | CloudSign::Running if vm.last_started_at.is_some_and(|at| look.began < at) => {
            before
        }
        CloudSign::Unknown | CloudSign::Running => CloudSign::Down { since: now, state },
    }
}

fn power_events(vm: &Vm, look: &Look<'_>) -> Vec<Event> {
    let held = vm.occupancy.tenant().is_some();
    let attempt = vm.attempts.next();
    match look.sighting.state() {
        Some(_) if matches!(look.sighting, Sighting::Untagged(_)) && !held && !look.publishes => {
            vec![Event::Gone]
        }
        Some(InstanceState::Pending) => match vm.power {
            Power::Stopped => vec![Event::Starting { attempt }],
            Power::Booting | Power::Ready => vec![Event::Stopped, Event::Starting { attempt }],
            Power::Starting { .. } | Power::Stopping { .. } => Vec::new(),
        },
        Some(InstanceState::Running) => match vm.power {
            Power::Stopped | Power::Starting { .. } => vec![Event::Booting],
            Power::Booting | Power::Ready | Power::Stopping { .. } => Vec::new(),
        },
        Some(InstanceState::Stopping) => match vm.power {
            Power::Starting { .. } | Power::Booting | Power::Ready if !held => {
                vec![Event::Stopping { attempt }]
            }
            Power::Starting { .. }
            | Power::Booting
            | Power::Ready
            | Power::Stopped
            | Power::Stopping { .. } => Vec::new(),
        },
        Some(InstanceState::Stopped) => stopped(vm, look),
        Some(InstanceState::ShuttingDown) if held || look.publishes => Vec::new(),
        None if look.answered_at.is_some_and(|at| at >= look.began) => Vec::new(),
        Some(InstanceState::ShuttingDown | InstanceState::Terminated) | None => {
            if !held {
                vec![Event::Gone]
            } else if vm.power == Power::Stopped {
                Vec::new()
            } else {
                vec![Event::Stopped]
            }
        }
    }
}

fn stopped(vm: &Vm, look: &Look<'_>) -> Vec<Event> {
    match vm.power {
        // Overdue: its fault says so already.
        Power::Starting { .. } if vm.fault.is_some() => vec![Event::Stopped],
        Power::Starting { .. } => match look.start_accepted_at {
            Some(at) if look.began.since(at) >= START_VISIBLE_WITHIN => {
                let reason = "the cloud says stopped although a start was accepted".to_owned();
                vec![Event::Stopped, Event::Faulted { reason }]
            }
            Some(_) | None => Vec::new(),
        },
        Power::Booting | Power::Ready | Power::Stopping { .. } => vec![Event::Stopped],
        Power::Stopped => Vec::new(),
    }
}
