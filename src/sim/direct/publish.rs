//! The studio's connection to the ingest.
//!
//! One task per connection that the model's output wants. It connects, says which key it publishes, and tells the ingest
//! when bytes flow and when they do not. It reports to the model what came of it; it decides nothing.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep_until, timeout};

use super::ingest::{Connection, Ingest};
use super::machine::{Line, Shared};
use crate::sim::model::machine::{Fate, Service};
use crate::sim::model::studio;

/// Limit on connecting and being accepted: what OBS's RTMP library waits.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);

/// Where a studio's stream settings lead: the key at the world's ingest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    key: String,
}

impl Target {
    /// `None` for what no simulated machine can reach: another server, a named service, no key.
    pub(super) fn of(service: &studio::Service, ingest: &Ingest) -> Option<Self> {
        let key = service.published_key()?;
        let is_there = service.server()?.trim_end_matches('/') == ingest.server_url();
        (is_there && !key.contains(char::is_control)).then(|| Self { key: key.to_owned() })
    }
}

/// Publishes until the connection is lost or the task is aborted.
pub(super) async fn publish(machine: Arc<Shared>, attempt: u64, target: Option<Target>) {
    // Whatever is wrong with the target, finding out takes a way there and back.
    let connected = timeout(CONNECT_DEADLINE, connect(&machine, target)).await;
    if let Ok(Some((line, connection))) = connected {
        machine.change(|model, now| model.studio_mut().publish_accepted(attempt, now));
        send(&machine, &line, &connection).await;
    }
    machine.change(|model, now| model.studio_mut().publish_lost(attempt, now));
}

async fn connect(machine: &Arc<Shared>, target: Option<Target>) -> Option<(Arc<Line>, Connection)> {
    let surroundings = machine.surroundings();
    surroundings.dice.trip().await;
    let line = machine.line(Service::Studio);
    // Nothing comes back to a machine without a network, or to a process that is stopped.
    line.fate().wait_for(|fate| *fate != Fate::Frozen).await.ok()?;
    surroundings.dice.trip().await;
    let connection = surroundings.ingest.connect(&target?.key, machine.address())?;
    (!line.is_reset()).then_some((line, connection))
}

/// Tells the ingest whenever bytes begin or cease to flow, until one of the two ends is gone.
async fn send(machine: &Shared, line: &Line, connection: &Connection) {
    let mut fate = line.fate();
    let mut changes = machine.changes();
    let mut up = connection.up();
    loop {
        let present = *fate.borrow_and_update();
        drop(changes.borrow_and_update());
        if present == Fate::Reset {
            return;
        }
        let now = machine.now();
        let sends_since = machine.inspect(|model, _| model.studio().output().sends_since());
        connection.flow(present == Fate::Flowing && sends_since.is_some_and(|since| since <= now));
        let begins = sends_since.filter(|since| *since > now);
        let begin = async {
            match begins {
                Some(at) => sleep_until(machine.surroundings().clock.instant(at)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // In this order for the sake of determinism; whichever it is, everything is looked at again.
            biased;
            // That the ingest is gone is not heard without a network.
            _ = up.wait_for(|up| !up), if present == Fate::Flowing => return,
            _ = fate.changed() => {}
            _ = changes.changed() => {}
            () = begin => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::Timestamp;
    use crate::sim::clock::Clock;
    use crate::sim::model::studio::Service;

    #[tokio::test(start_paused = true)]
    async fn only_the_ingest_of_the_world_is_reachable_and_only_with_a_key() {
        let ingest = Ingest::new(Clock::starting_at(Timestamp(0)), 6_000_000);
        let of = |server: &str, key: &str| Target::of(&Service::custom(server, key), &ingest);
        let target = Some(Target { key: "k".to_owned() });
        assert_eq!(of(&ingest.server_url(), "k"), target);
        assert_eq!(of(&ingest.server_url(), ""), None);
        assert_eq!(of("rtmp://192.0.2.1/live", "k"), None);
        assert_eq!(of("auto", "k"), None);
    }
}
