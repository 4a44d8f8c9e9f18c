//! What the studio tells without being asked, made into notices, until the session ends.

use std::sync::Arc;

use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;

use crate::infra::obs::{NOTICES_KEPT, Notice, Outbox, Phase};
use crate::infra::ssh::tunnel;
use crate::infra::watch;
use crate::sim::direct::dice::Dice;
use crate::sim::direct::machine::Line;
use crate::sim::direct::network::flowing;
use crate::sim::model::machine::Fate;
use crate::sim::model::studio::event::StudioEvent;
use crate::sim::model::studio::stream::StreamState;

/// What the session and its watcher share.
pub(super) struct Standing {
    pub(super) phase: watch::Sender<Phase>,
    pub(super) ended: watch::Sender<bool>,
}

/// A connection as the watcher follows it.
pub(super) struct Watched {
    pub(super) line: Arc<Line>,
    pub(super) way: Option<Box<dyn tunnel::Stream>>,
    pub(super) events: mpsc::Receiver<StudioEvent>,
    pub(super) dice: Arc<Dice>,
}

/// Follows a connection to its end, and ends the session then.
pub(super) fn watch(watched: Watched) -> (Arc<Standing>, mpsc::Receiver<Notice>) {
    let (notices, receiver) = mpsc::channel(NOTICES_KEPT);
    let standing = Arc::new(Standing {
        phase: watch::Sender::new(Phase::Unknown),
        ended: watch::Sender::new(false),
    });
    let told = Arc::clone(&standing);
    tokio::spawn(async move {
        let mut ended = told.ended.subscribe();
        tokio::select! {
            biased;
            _ = ended.wait_for(|ended| *ended) => {}
            () = follow(watched, &told, Outbox::new(notices)) => {}
        }
        told.ended.send_replace(true);
    });
    (standing, receiver)
}

async fn follow(mut watched: Watched, standing: &Standing, mut outbox: Outbox) {
    let mut fate = watched.line.fate();
    let mut reset = watched.line.fate();
    let mut batch = Vec::new();
    loop {
        tokio::select! {
            // First the end: what had not come by then does not come.
            biased;
            _ = reset.wait_for(|fate| *fate == Fate::Reset) => return,
            () = over(&mut watched.way) => return,
            () = outbox.pay(), if outbox.owes() => continue,
            more = watched.events.recv_many(&mut batch, usize::MAX) => if more == 0 { return },
        }
        // They come one after the other, so none comes before those that are on their way.
        watched.dice.trip().await;
        if flowing(&mut fate).await.is_err() {
            return;
        }
        for event in batch.drain(..) {
            let is_last = matches!(event, StudioEvent::ExitStarted);
            tell(&event, standing, &mut outbox);
            if is_last {
                // The server sends everybody away.
                return;
            }
        }
    }
}

/// Returns when the tunnel on the way is gone. There may be none.
async fn over(way: &mut Option<Box<dyn tunnel::Stream>>) {
    match way {
        // Nothing comes through it: only its end can be read.
        Some(way) => drop(way.read_u8().await),
        None => std::future::pending().await,
    }
}

fn tell(event: &StudioEvent, standing: &Standing, outbox: &mut Outbox) {
    match event {
        StudioEvent::ProgramSceneChanged(scene) => {
            outbox.offer(Notice::ProgramScene(scene.name.clone()));
            outbox.offer(Notice::Changed);
        }
        StudioEvent::Stream(state) => tell_stream(*state, standing, outbox),
        StudioEvent::ExitStarted => outbox.offer(Notice::Exiting),
        StudioEvent::CollectionChanging(_) | StudioEvent::CollectionListChanged(_) => {}
        StudioEvent::CollectionChanged(_)
        | StudioEvent::SceneCreated(_)
        | StudioEvent::SceneRemoved(_)
        | StudioEvent::SceneNameChanged { .. }
        | StudioEvent::SceneListChanged(_)
        | StudioEvent::PreviewSceneChanged(_)
        | StudioEvent::StudioMode(_)
        | StudioEvent::Filter { .. }
        | StudioEvent::Input { .. }
        | StudioEvent::Item { .. }
        | StudioEvent::TransitionChanged(_)
        | StudioEvent::TransitionDurationChanged { .. }
        | StudioEvent::Record { .. } => outbox.offer(Notice::Changed),
    }
}

fn tell_stream(state: StreamState, standing: &Standing, outbox: &mut Outbox) {
    match state {
        StreamState::Starting => {
            standing.phase.send_replace(Phase::Starting);
        }
        StreamState::Started => {
            standing.phase.send_replace(Phase::Settled);
            outbox.offer(Notice::Stream { active: true });
        }
        StreamState::Stopped => {
            standing.phase.send_replace(Phase::Settled);
            outbox.offer(Notice::Stream { active: false });
        }
        // On its way to one of those, or still what it was.
        StreamState::Stopping | StreamState::Reconnecting | StreamState::Reconnected => {}
    }
}
