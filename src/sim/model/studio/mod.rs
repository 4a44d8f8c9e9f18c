//! What OBS Studio holds and does, without its wire protocol.
//!
//! Scene collections with scenes, inputs, items, audio and transitions; the stream service; the stream output
//! ([`stream`]). Content survives a crash, as OBS's files do; the output does not. Every change is announced as
//! a [`StudioEvent`], to be fetched with [`Studio::take_events`].
//!
//! Deliberately absent: hotkeys, media control, profiles. Capture and restore do not use
//! them; obs-websocket requests for them are answered "unknown request type".

pub mod collection;
mod collection_file;
mod config_files;
mod desk;
mod edit;
pub mod event;
pub mod example;
mod filter;
mod item;
pub mod kinds;
pub mod picture;
pub mod record;
mod snapshot;
mod sound;
pub mod source;
pub mod stream;

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use self::collection::Collection;
use self::config_files::ConfigFiles;
use self::event::StudioEvent;
pub use self::item::TransformChange;
use self::record::RecordOutput;
use self::source::{Identifiers, Uuid};
use self::stream::StreamOutput;
pub use self::stream::StudioTiming;
use super::earliest;
use crate::domain::time::Timestamp;

/// Name of the scene collection of a fresh installation.
pub const FIRST_COLLECTION: &str = "Untitled";

/// Where the stream goes: OBS's service type and settings.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// `rtmp_custom` or `rtmp_common`.
    pub kind: String,
    pub settings: Map<String, Value>,
}

impl Service {
    /// That of a fresh installation.
    fn first() -> Self {
        Self {
            kind: "rtmp_common".to_owned(),
            settings: service_defaults("rtmp_common"),
        }
    }

    /// A custom server with a stream key.
    #[must_use]
    pub fn custom(server: &str, key: &str) -> Self {
        let mut settings = service_defaults("rtmp_custom");
        settings.insert("server".to_owned(), server.into());
        settings.insert("key".to_owned(), key.into());
        Self {
            kind: "rtmp_custom".to_owned(),
            settings,
        }
    }

    #[must_use]
    pub fn server(&self) -> Option<&str> {
        self.settings.get("server").and_then(Value::as_str)
    }

    #[must_use]
    pub fn key(&self) -> Option<&str> {
        self.settings.get("key").and_then(Value::as_str)
    }

    /// The key under which it publishes, as OBS does: without blanks before and after it. `None` if there is none.
    #[must_use]
    pub fn published_key(&self) -> Option<&str> {
        let key = self.key()?.trim_matches([' ', '\t', '\n', '\r']);
        (!key.is_empty()).then_some(key)
    }
}

fn service_defaults(kind: &str) -> Map<String, Value> {
    let mut settings = Map::new();
    settings.insert("bwtest".to_owned(), false.into());
    settings.insert("key".to_owned(), "".into());
    match kind {
        "rtmp_common" => {
            settings.insert("service".to_owned(), "Twitch".into());
            settings.insert("server".to_owned(), "auto".into());
        }
        _ => {
            settings.insert("server".to_owned(), "".into());
            settings.insert("use_auth".to_owned(), false.into());
        }
    }
    settings
}

/// Why a studio does not do what it was told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StudioError {
    #[error("no source was found by the name of `{0}`")]
    NoSuchSource(String),
    #[error("the source is gone")]
    SourceGone,
    #[error("the specified source is not a scene")]
    NotAScene,
    #[error("the specified source is not a group")]
    NotAGroup,
    #[error("the specified source is not an input")]
    NotAnInput,
    #[error("no scene items were found in scene `{scene}` with the ID `{id}`")]
    NoSuchItem { scene: String, id: u64 },
    #[error("a source already exists by the name `{0}`")]
    NameTaken(String),
    #[error("the input kind `{0}` is not supported by this OBS")]
    NoSuchKind(String),
    #[error("the specified input does not support audio")]
    NoAudio,
    #[error("no filter was found in the source `{source_name}` with the name `{filter}`")]
    NoSuchFilter { source_name: String, filter: String },
    #[error("a filter already exists by the name `{0}`")]
    FilterTaken(String),
    #[error("the filter kind `{0}` is not supported by this OBS")]
    NoSuchFilterKind(String),
    #[error("studio mode is not enabled")]
    NoStudioMode,
    #[error("the last scene of a collection cannot be removed")]
    LastScene,
    #[error("a scene cannot be shown within itself")]
    Recursion,
    #[error("no transition was found by the name of `{0}`")]
    NoSuchTransition(String),
    #[error("the current transition cannot be configured")]
    TransitionNotConfigurable,
    #[error("no scene collection was found by the name of `{0}`")]
    NoSuchCollection(String),
    #[error("a scene collection already exists by the name `{0}`")]
    CollectionTaken(String),
    #[error("{0} is out of range")]
    OutOfRange(&'static str),
    #[error("no stream service is of the type `{0}`")]
    NoSuchService(String),
    #[error("a stream is running")]
    StreamRunning,
    #[error("no stream is running")]
    StreamNotRunning,
    #[error("a recording is running")]
    Recording,
    #[error("no recording is running")]
    NotRecording,
    #[error("no recording is paused")]
    RecordNotPaused,
}

/// One OBS.
#[derive(Debug)]
pub struct Studio {
    timing: StudioTiming,
    identifiers: Identifiers,
    collections: BTreeMap<String, Collection>,
    current: String,
    service: Service,
    output: StreamOutput,
    record: RecordOutput,
    config: ConfigFiles,
    /// The scene in preview, in studio mode.
    preview: Option<Uuid>,
    /// The scene that will be, and when.
    next_preview: Option<(Uuid, Timestamp)>,
    /// Its graphics work.
    draws: bool,
    switching_until: Option<Timestamp>,
    events: Vec<StudioEvent>,
}

impl Studio {
    /// A fresh installation. `seed` makes its identifiers its own.
    #[must_use]
    pub fn new(timing: StudioTiming, seed: u64) -> Self {
        let mut identifiers = Identifiers(seed);
        let first = Collection::new(&mut identifiers);
        let mut studio = Self {
            timing,
            identifiers,
            collections: BTreeMap::from([(FIRST_COLLECTION.to_owned(), first)]),
            current: FIRST_COLLECTION.to_owned(),
            service: Service::first(),
            output: StreamOutput::new(timing),
            record: RecordOutput::default(),
            preview: None,
            next_preview: None,
            draws: true,
            switching_until: None,
            events: Vec::new(),
            config: ConfigFiles::default(),
        };
        studio.save_all();
        studio
    }

    /// The scene collection in use.
    #[must_use]
    pub fn collection(&self) -> &Collection {
        // `current` is always a key: the collection in use is never removed.
        &self.collections[&self.current]
    }

    fn collection_mut(&mut self) -> &mut Collection {
        self.config.collection_changed(&self.current);
        let identifiers = &mut self.identifiers;
        self.collections
            .entry(self.current.clone())
            .or_insert_with(|| Collection::new(identifiers))
    }

    #[must_use]
    pub fn collection_name(&self) -> &str {
        &self.current
    }

    /// Names of all scene collections, sorted.
    #[must_use]
    pub fn collection_names(&self) -> Vec<String> {
        self.collections.keys().cloned().collect()
    }

    #[must_use]
    pub fn service(&self) -> &Service {
        &self.service
    }

    #[must_use]
    pub fn output(&self) -> &StreamOutput {
        &self.output
    }

    /// Whether its graphics work. It answers all the same if they do not.
    #[must_use]
    pub fn draws(&self) -> bool {
        self.draws
    }

    pub fn set_drawing(&mut self, draws: bool) {
        self.draws = draws;
    }

    /// Name of the scene on air.
    #[must_use]
    pub fn program_scene(&self) -> Option<&str> {
        let collection = self.collection();
        collection
            .scene(collection.program)
            .map(|scene| scene.name.as_str())
    }

    /// Until when a change of scene collection keeps the studio busy.
    #[must_use]
    pub fn switching_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.switching_until.filter(|until| *until > now)
    }

    /// What has been announced since the last call, in order.
    pub fn take_events(&mut self) -> Vec<StudioEvent> {
        std::mem::take(&mut self.events)
    }

    // ----- scene collections -----

    /// Creates a collection and makes it current, as OBS does.
    ///
    /// # Errors
    /// [`StudioError::CollectionTaken`].
    pub fn create_collection(&mut self, name: &str, now: Timestamp) -> Result<(), StudioError> {
        if self.collections.contains_key(name) {
            return Err(StudioError::CollectionTaken(name.to_owned()));
        }
        let collection = Collection::new(&mut self.identifiers);
        self.collections.insert(name.to_owned(), collection);
        self.config.collection_changed(name);
        self.config.menu_made();
        self.events
            .push(StudioEvent::CollectionListChanged(self.collection_names()));
        self.switch_collection(name, now)
    }

    /// Makes another collection current. Other requests are not ready until it is loaded. Nothing happens to one that
    /// is not in the menu yet.
    ///
    /// # Errors
    /// [`StudioError::NoSuchCollection`].
    pub fn switch_collection(&mut self, name: &str, now: Timestamp) -> Result<(), StudioError> {
        if !self.collections.contains_key(name) {
            return Err(StudioError::NoSuchCollection(name.to_owned()));
        }
        if self.current == name || !self.config.is_in_menu(name) {
            return Ok(());
        }
        self.events
            .push(StudioEvent::CollectionChanging(self.current.clone()));
        name.clone_into(&mut self.current);
        self.config.current_changed();
        self.preview = self.preview.map(|_| self.collection().program);
        self.next_preview = None;
        self.switching_until = Some(now + self.timing.collection_switch);
        Ok(())
    }

    /// Puts a whole collection in place and makes it current, without announcing anything: content that was
    /// there before anybody connected.
    pub(super) fn install(&mut self, name: &str, build: impl FnOnce(&mut Self)) {
        let collection = Collection::new(&mut self.identifiers);
        self.collections.insert(name.to_owned(), collection);
        name.clone_into(&mut self.current);
        self.config.collection_changed(name);
        self.config.service_changed(&self.service);
        self.config.current_changed();
        build(self);
        self.events.clear();
    }

    // ----- stream -----

    /// Sets where the stream goes. Settings of the same type are laid over the present ones.
    ///
    /// # Errors
    /// [`StudioError::StreamRunning`], [`StudioError::NoSuchService`].
    pub fn set_service(&mut self, kind: &str, settings: Map<String, Value>) -> Result<(), StudioError> {
        if self.output.is_active() {
            return Err(StudioError::StreamRunning);
        }
        if !matches!(kind, "rtmp_custom" | "rtmp_common" | "whip_custom") {
            return Err(StudioError::NoSuchService(kind.to_owned()));
        }
        if self.service.kind != kind {
            self.service = Service {
                kind: kind.to_owned(),
                settings: service_defaults(kind),
            };
        }
        self.service.settings.extend(settings);
        self.config.service_changed(&self.service);
        Ok(())
    }

    /// # Errors
    /// [`StudioError::StreamRunning`].
    pub fn start_stream(&mut self, now: Timestamp) -> Result<(), StudioError> {
        self.on_output(|output, states| output.start(now, states))
            .then_some(())
            .ok_or(StudioError::StreamRunning)
    }

    /// # Errors
    /// [`StudioError::StreamNotRunning`], also while a stream is only starting.
    pub fn stop_stream(&mut self, now: Timestamp) -> Result<(), StudioError> {
        self.on_output(|output, states| output.stop(now, states))
            .then_some(())
            .ok_or(StudioError::StreamNotRunning)
    }

    /// The ingest took the connection of `attempt`.
    pub fn publish_accepted(&mut self, attempt: u64, now: Timestamp) {
        self.on_output(|output, states| output.accepted(attempt, now, states));
    }

    /// The ingest refused or dropped the connection of `attempt`.
    pub fn publish_lost(&mut self, attempt: u64, now: Timestamp) {
        self.on_output(|output, states| output.lost(attempt, now, states));
    }

    pub(super) fn set_silent(&mut self, silent: bool, now: Timestamp) {
        self.output.set_silent(silent, now);
    }

    pub(super) fn set_hung(&mut self, hung: bool, now: Timestamp) {
        self.output.set_hung(hung, now);
        self.record.set_hung(hung, now);
    }

    fn on_output<T>(
        &mut self,
        change: impl FnOnce(&mut StreamOutput, &mut Vec<stream::StreamState>) -> T,
    ) -> T {
        let mut states = Vec::new();
        let result = change(&mut self.output, &mut states);
        self.events.extend(states.into_iter().map(StudioEvent::Stream));
        result
    }

    // ----- the process -----

    /// OBS was asked to exit and says so; its stream ends first.
    pub(super) fn exit_started(&mut self, now: Timestamp) {
        self.events.push(StudioEvent::ExitStarted);
        self.save_all();
        self.on_output(|output, states| output.stop(now, states));
    }

    /// The process is gone. What was on disk stays.
    pub(super) fn process_died(&mut self, now: Timestamp) {
        self.output.process_died();
        self.record.process_died(now);
        self.preview = None;
        self.next_preview = None;
        self.switching_until = None;
        self.events.clear();
    }

    pub(super) fn advance(&mut self, now: Timestamp) {
        self.on_output(|output, states| output.advance(now, states));
        self.advance_preview(now);
        if self.switching_until.is_some_and(|until| until <= now) {
            self.switching_until = None;
            self.events
                .push(StudioEvent::CollectionChanged(self.current.clone()));
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        let preview = self.next_preview.map(|(_, at)| at);
        earliest(
            earliest(self.output.next_deadline(), self.switching_until),
            preview,
        )
    }

    fn scene_name(&self, uuid: Uuid) -> Result<String, StudioError> {
        let scene = self.collection().scene(uuid).ok_or(StudioError::SourceGone)?;
        Ok(scene.name.clone())
    }
}
