//! What OBS tells without being asked, made into [`Notice`]s on a bounded channel.
//!
//! Events come in faster than anyone needs to act on them: dragging an item is a hundred of them. A change that
//! is told while the same news still waits to be read is not told again, and when the channel is full, all that
//! follows becomes one [`Notice::Changed`], delivered as soon as there is room.

use std::sync::{Arc, Weak};

use futures_util::StreamExt;
use obws::events::{Event, EventStream, OutputState};
use obws::requests::EventSubscription;
use tokio::sync::{mpsc, watch as watch_channel};

use super::Notice;
use super::link::Link;

/// Everything that changes a capture, and what the stream output does.
pub(super) const SUBSCRIPTIONS: EventSubscription = EventSubscription::GENERAL
    .union(EventSubscription::CONFIG)
    .union(EventSubscription::SCENES)
    .union(EventSubscription::INPUTS)
    .union(EventSubscription::TRANSITIONS)
    .union(EventSubscription::FILTERS)
    .union(EventSubscription::UI)
    .union(EventSubscription::OUTPUTS)
    .union(EventSubscription::SCENE_ITEMS)
    .union(EventSubscription::SCENE_ITEM_TRANSFORM_CHANGED);

/// Events kept between the connection and us, allocated for every connection: 180 bytes each. Losing some costs a
/// needless capture, no more.
pub(super) const EVENTS_KEPT: usize = 16;

/// Notices kept for the owner.
pub(crate) const NOTICES_KEPT: usize = 32;

/// Whether a stream is being started: OBS then says that no output is active, and means "not yet".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nothing was told yet, or something was missed: a stream may be connecting since before this session.
    Unknown,
    Starting,
    Settled,
}

/// The phase as far as it is known, set by whoever starts a stream and by what OBS tells.
pub(super) type Phases = Arc<watch_channel::Sender<Phase>>;

/// Follows the events of one of a link's connections until it ends, and then ends the link. Does not keep the
/// link alive.
pub(super) fn watch(link: &Arc<Link>, lane: usize, events: EventStream) -> (Phases, mpsc::Receiver<Notice>) {
    let (notices, receiver) = mpsc::channel(NOTICES_KEPT);
    let phases: Phases = Arc::new(watch_channel::Sender::new(Phase::Unknown));
    let mut watcher = Watcher {
        link: Arc::downgrade(link),
        lane,
        outbox: Outbox::new(notices),
        phases: phases.clone(),
    };
    let ended = link.ended();
    tokio::spawn(async move {
        watcher.run(events, ended).await;
        if let Some(link) = watcher.link.upgrade() {
            link.end();
        }
    });
    (phases, receiver)
}

struct Watcher {
    link: Weak<Link>,
    lane: usize,
    outbox: Outbox,
    phases: Phases,
}

impl Watcher {
    async fn run(&mut self, mut events: EventStream, mut ended: watch_channel::Receiver<bool>) {
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(Event::ServerStopping | Event::ServerStopped) => return,
                    Some(event) => self.tell(event),
                    // Either the end, or some events were lost because we were too slow.
                    None if self.connected() => self.lost_some(),
                    None => return,
                },
                () = self.outbox.pay(), if self.outbox.owes => {}
                _ = ended.wait_for(|ended| *ended) => return,
            }
        }
    }

    fn connected(&self) -> bool {
        self.link
            .upgrade()
            .is_some_and(|link| link.is_connected(self.lane))
    }

    fn lost_some(&mut self) {
        self.phases.send_if_modified(|phase| {
            let was_settled = *phase == Phase::Settled;
            if was_settled {
                *phase = Phase::Unknown;
            }
            was_settled
        });
        self.outbox.offer(Notice::Changed);
    }

    fn tell(&mut self, event: Event) {
        match event {
            Event::CurrentProgramSceneChanged { id } => {
                self.outbox.offer(Notice::ProgramScene(id.name));
                self.outbox.offer(Notice::Changed);
            }
            Event::StreamStateChanged { state, .. } => self.tell_stream(state),
            Event::ExitStarted => self.outbox.offer(Notice::Exiting),
            event if changes_a_capture(&event) => self.outbox.offer(Notice::Changed),
            _ => {}
        }
    }

    fn tell_stream(&mut self, state: OutputState) {
        match state {
            OutputState::Starting => {
                self.phases.send_replace(Phase::Starting);
            }
            OutputState::Started => {
                self.phases.send_replace(Phase::Settled);
                self.outbox.offer(Notice::Stream { active: true });
            }
            OutputState::Stopped => {
                self.phases.send_replace(Phase::Settled);
                self.outbox.offer(Notice::Stream { active: false });
            }
            // On its way to one of those, or still what it was.
            _ => {}
        }
    }
}

fn changes_a_capture(event: &Event) -> bool {
    matches!(
        event,
        Event::CurrentSceneCollectionChanged { .. }
            | Event::CurrentProfileChanged { .. }
            | Event::InputCreated { .. }
            | Event::InputRemoved { .. }
            | Event::InputNameChanged { .. }
            | Event::InputSettingsChanged { .. }
            | Event::InputMuteStateChanged { .. }
            | Event::InputVolumeChanged { .. }
            | Event::InputAudioBalanceChanged { .. }
            | Event::InputAudioSyncOffsetChanged { .. }
            | Event::InputAudioMonitorTypeChanged { .. }
            | Event::InputAudioTracksChanged { .. }
            | Event::SourceFilterCreated { .. }
            | Event::SourceFilterRemoved { .. }
            | Event::SourceFilterNameChanged { .. }
            | Event::SourceFilterListReindexed { .. }
            | Event::SourceFilterSettingsChanged { .. }
            | Event::SourceFilterEnableStateChanged { .. }
            | Event::RecordStateChanged { .. }
            | Event::StudioModeStateChanged { .. }
            | Event::CurrentPreviewSceneChanged { .. }
            | Event::SceneItemCreated { .. }
            | Event::SceneItemRemoved { .. }
            | Event::SceneItemListReindexed { .. }
            | Event::SceneItemEnableStateChanged { .. }
            | Event::SceneItemLockStateChanged { .. }
            | Event::SceneItemTransformChanged { .. }
            | Event::SceneCreated { .. }
            | Event::SceneRemoved { .. }
            | Event::SceneNameChanged { .. }
            | Event::SceneListChanged { .. }
            | Event::CurrentSceneTransitionChanged { .. }
            | Event::CurrentSceneTransitionDurationChanged { .. }
    )
}

/// The sending side of the channel: never waits to accept a notice.
pub(crate) struct Outbox {
    notices: mpsc::Sender<Notice>,
    /// The last notice sent was [`Notice::Changed`].
    told_of_change: bool,
    /// A [`Notice::Changed`] that stands for everything that did not fit.
    owes: bool,
}

impl Outbox {
    pub(crate) fn new(notices: mpsc::Sender<Notice>) -> Self {
        Self {
            notices,
            told_of_change: false,
            owes: false,
        }
    }

    /// Something did not fit: [`Outbox::pay`] is to be waited for.
    pub(crate) fn owes(&self) -> bool {
        self.owes
    }

    pub(crate) fn offer(&mut self, notice: Notice) {
        let is_change = notice == Notice::Changed;
        // Whoever reads the one that waits will look after this change too.
        let all_read = self.notices.capacity() == self.notices.max_capacity();
        if self.owes || (is_change && self.told_of_change && !all_read) {
            return;
        }
        match self.notices.try_send(notice) {
            Ok(()) => self.told_of_change = is_change,
            Err(mpsc::error::TrySendError::Full(_)) => self.owes = true,
            // Nobody listens; the link is still worth watching.
            Err(mpsc::error::TrySendError::Closed(_)) => {}
        }
    }

    /// Waits for room to tell what did not fit.
    pub(crate) async fn pay(&mut self) {
        if let Ok(room) = self.notices.reserve().await {
            room.send(Notice::Changed);
            self.told_of_change = true;
        }
        self.owes = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outbox() -> (Outbox, mpsc::Receiver<Notice>) {
        let (sender, receiver) = mpsc::channel(4);
        (Outbox::new(sender), receiver)
    }

    fn drain(receiver: &mut mpsc::Receiver<Notice>) -> Vec<Notice> {
        std::iter::from_fn(|| receiver.try_recv().ok()).collect()
    }

    #[test]
    fn what_was_missed_may_have_been_the_start_of_a_stream() {
        let mut watcher = Watcher {
            link: Weak::new(),
            lane: 0,
            outbox: outbox().0,
            phases: Arc::new(watch_channel::Sender::new(Phase::Settled)),
        };
        watcher.lost_some();
        assert_eq!(*watcher.phases.borrow(), Phase::Unknown);
        // One that is known to be starting still is, as far as anybody knows.
        watcher.tell_stream(OutputState::Starting);
        watcher.lost_some();
        assert_eq!(*watcher.phases.borrow(), Phase::Starting);
        watcher.tell_stream(OutputState::Stopped);
        assert_eq!(*watcher.phases.borrow(), Phase::Settled);
    }

    #[test]
    fn a_change_that_waits_to_be_read_is_not_told_again() {
        let (mut outbox, mut receiver) = outbox();
        for _ in 0..10 {
            outbox.offer(Notice::Changed);
        }
        assert_eq!(drain(&mut receiver), [Notice::Changed]);
        outbox.offer(Notice::Changed);
        assert_eq!(drain(&mut receiver), [Notice::Changed]);
    }

    #[test]
    fn a_change_after_other_news_is_told() {
        let (mut outbox, mut receiver) = outbox();
        outbox.offer(Notice::Changed);
        outbox.offer(Notice::Exiting);
        outbox.offer(Notice::Changed);
        assert_eq!(
            drain(&mut receiver),
            [Notice::Changed, Notice::Exiting, Notice::Changed]
        );
    }

    #[tokio::test]
    async fn what_does_not_fit_becomes_one_change_delivered_when_there_is_room() {
        let (mut outbox, mut receiver) = outbox();
        for n in 0..10 {
            outbox.offer(Notice::Stream { active: n % 2 == 0 });
        }
        assert!(outbox.owes);
        assert_eq!(drain(&mut receiver).len(), 4);
        outbox.pay().await;
        assert_eq!(drain(&mut receiver), [Notice::Changed]);
        outbox.offer(Notice::Exiting);
        assert_eq!(drain(&mut receiver), [Notice::Exiting]);
    }

    #[tokio::test]
    async fn a_receiver_that_is_gone_stops_nothing() {
        let (mut outbox, receiver) = outbox();
        outbox.owes = true;
        drop(receiver);
        outbox.pay().await;
        outbox.offer(Notice::Changed);
        assert!(!outbox.owes);
    }

    #[test]
    fn moving_an_item_changes_a_capture_and_a_finished_transition_does_not() {
        let event = |json: &str| serde_json::from_str::<Event>(json).unwrap();
        let scene = r#""sceneName":"A","sceneUuid":"6c9ae0a9-5a0b-4dd4-a5f5-7b3c1dd2b5b4""#;
        assert!(changes_a_capture(&event(&format!(
            r#"{{"eventType":"SceneItemLockStateChanged","eventData":{{{scene},"sceneItemId":1,"sceneItemLocked":true}}}}"#
        ))));
        assert!(!changes_a_capture(&event(
            r#"{"eventType":"SceneTransitionEnded","eventData":{"transitionName":"Cut",
                "transitionUuid":"6c9ae0a9-5a0b-4dd4-a5f5-7b3c1dd2b5b4"}}"#
        )));
    }
}
