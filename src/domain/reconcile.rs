//! What a look at the cloud means for a VM: the difference between what we believe and what is.
//!
//! | cloud says | we believe | it means |
//! |---|---|---|
//! | pending | stopped | somebody started it: starting |
//! | pending | booting, ready | it was stopped and started: starting again |
//! | running | stopped, starting | booting |
//! | stopping | anything up, free | stopping |
//! | stopped | starting, for long | the start failed: stopped, with a fault |
//! | stopped | booting, ready, stopping | stopped |
//! | shutting-down, terminated, missing | free | gone |
//! | shutting-down, terminated, missing | held by a show | stopped; it goes when the show has left it |
//!
//! A look that began before our belief last changed proves nothing and changes no power. The status is not all
//! of that belief: a VM in maintenance, or with a fault, keeps its status when it stops.

use std::time::Duration;

use super::instance::{Instance, InstanceState};
use super::time::Timestamp;
use super::vm::{Event, Power, Vm};

/// How long the cloud may go on saying `stopped` after it accepted a start; EC2 is eventually consistent and
/// answers `pending` within seconds.
pub const START_VISIBLE_WITHIN: Duration = Duration::from_secs(15);

/// Events that make the VM what the cloud says it is. `seen` is `None` if the cloud no longer lists it;
/// `looked_at` is when the look began.
#[must_use]
pub fn reconcile(vm: &Vm, seen: Option<&Instance>, looked_at: Timestamp) -> Vec<Event> {
    let mut events = Vec::new();
    if let Some(instance) = seen
        && *instance != vm.instance
    {
        events.push(Event::Described {
            instance: instance.clone(),
        });
    }
    let believed_since = [Some(vm.last_state_change), vm.last_started_at, vm.last_stopped_at];
    if Some(looked_at) >= believed_since.into_iter().max().flatten() {
        events.extend(power_events(vm, seen.map(|instance| instance.state), looked_at));
    }
    events
}

fn power_events(vm: &Vm, state: Option<InstanceState>, looked_at: Timestamp) -> Vec<Event> {
    let held = vm.occupancy.tenant().is_some();
    match state {
        Some(InstanceState::Pending) => match vm.power {
            Power::Stopped => vec![Event::Starting {
                attempt: vm.attempts.next(),
            }],
            Power::Booting | Power::Ready => {
                vec![
                    Event::Stopped,
                    Event::Starting {
                        attempt: vm.attempts.next(),
                    },
                ]
            }
            Power::Starting { .. } | Power::Stopping { .. } => Vec::new(),
        },
        Some(InstanceState::Running) => match vm.power {
            Power::Stopped | Power::Starting { .. } => vec![Event::Booting],
            Power::Booting | Power::Ready | Power::Stopping { .. } => Vec::new(),
        },
        Some(InstanceState::Stopping) => match vm.power {
            Power::Starting { .. } | Power::Booting | Power::Ready if !held => {
                vec![Event::Stopping {
                    attempt: vm.attempts.next(),
                }]
            }
            Power::Starting { .. }
            | Power::Booting
            | Power::Ready
            | Power::Stopped
            | Power::Stopping { .. } => Vec::new(),
        },
        Some(InstanceState::Stopped) => match vm.power {
            Power::Starting { .. } => {
                let since = looked_at.since(vm.last_started_at.unwrap_or_default());
                if since < START_VISIBLE_WITHIN {
                    return Vec::new();
                }
                let reason = "the cloud says stopped although a start was accepted".to_owned();
                vec![Event::Stopped, Event::Faulted { reason }]
            }
            Power::Booting | Power::Ready | Power::Stopping { .. } => vec![Event::Stopped],
            Power::Stopped => Vec::new(),
        },
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
