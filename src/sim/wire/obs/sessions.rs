//! The clients of one studio, and what each wants to hear.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::event;
use crate::sim::model::machine::Fate;
use crate::sim::model::studio::event::StudioEvent;
use crate::sim::wire::gate::Gate;

/// Messages that may wait for one client. One that lets more pile up is dropped.
pub(super) const OUTGOING_MAX: usize = 512;
/// `EventSubscription::All`: every category that is not high-volume.
pub(super) const INTENTS_ALL: u32 = (1 << 11) - 1;

/// RFC 6455: the server is going away.
const GOING_AWAY: u16 = 1001;

/// What the studio has for a client that did not ask.
#[derive(Debug)]
pub(super) enum Outgoing {
    Text(Utf8Bytes),
    Close { code: u16, reason: &'static str },
}

struct Slot {
    id: u64,
    gate: Arc<Gate>,
    outgoing: mpsc::Sender<Outgoing>,
    /// `None` until the client has identified itself.
    intents: Option<u32>,
}

/// All clients of one studio.
#[derive(Default)]
pub(in crate::sim::wire) struct Sessions {
    opened: u64,
    slots: Vec<Slot>,
}

impl Sessions {
    pub(super) fn open(&mut self, gate: Arc<Gate>) -> (u64, mpsc::Receiver<Outgoing>) {
        let (outgoing, receiver) = mpsc::channel(OUTGOING_MAX);
        self.opened += 1;
        self.slots.push(Slot {
            id: self.opened,
            gate,
            outgoing,
            intents: None,
        });
        (self.opened, receiver)
    }

    /// From now on the client hears of `intents`: by default everything that is not high-volume; on a repeated
    /// call, by default what it heard before.
    pub(super) fn subscribe(&mut self, id: u64, intents: Option<u32>) {
        if let Some(slot) = self.slots.iter_mut().find(|slot| slot.id == id) {
            slot.intents = Some(intents.or(slot.intents).unwrap_or(INTENTS_ALL));
        }
    }

    pub(super) fn close(&mut self, id: u64) {
        self.slots.retain(|slot| slot.id != id);
    }

    /// How many clients are identified.
    pub(in crate::sim::wire) fn identified(&self) -> usize {
        self.slots.iter().filter(|slot| slot.intents.is_some()).count()
    }

    /// Tells every client what it subscribed to. After the exit was announced, all are sent away.
    pub(in crate::sim::wire) fn announce(&mut self, events: &[StudioEvent]) {
        for event in events {
            let intent = event::intent(event);
            let mut text: Option<Utf8Bytes> = None;
            for slot in &self.slots {
                if slot.intents.is_some_and(|intents| intents & intent != 0) {
                    let text = text.get_or_insert_with(|| event::message(event).to_string().into());
                    slot.queue(Outgoing::Text(text.clone()));
                }
            }
        }
        if events
            .iter()
            .any(|event| matches!(event, StudioEvent::ExitStarted))
        {
            for slot in &self.slots {
                slot.queue(Outgoing::Close {
                    code: GOING_AWAY,
                    reason: "Server stopping.",
                });
            }
        }
    }
}

impl Slot {
    fn queue(&self, outgoing: Outgoing) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.outgoing.try_send(outgoing) {
            tracing::debug!(
                session = self.id,
                "a client of a simulated studio does not read; dropped"
            );
            self.gate.set(Fate::Reset);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::model::studio::stream::StreamState;

    #[test]
    fn a_client_hears_only_what_it_subscribed_to() {
        let mut sessions = Sessions::default();
        let (outputs, mut hears_outputs) = sessions.open(Arc::default());
        let (scenes, mut hears_scenes) = sessions.open(Arc::default());
        let (_silent, mut hears_nothing) = sessions.open(Arc::default());
        sessions.subscribe(outputs, Some(1 << 6));
        sessions.subscribe(scenes, Some(1 << 2));
        sessions.announce(&[StudioEvent::Stream(StreamState::Started)]);
        assert!(matches!(hears_outputs.try_recv(), Ok(Outgoing::Text(_))));
        assert!(hears_scenes.try_recv().is_err());
        assert!(hears_nothing.try_recv().is_err());
        assert_eq!(sessions.identified(), 2);
    }
}
