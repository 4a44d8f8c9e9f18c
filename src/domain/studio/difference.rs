//! In what two studios differ, as far as it can be seen or heard.
//!
//! What means nothing is no difference: the order of inputs, scenes, groups and transitions, the order of filters of
//! the sound to those of the picture, numbers that single precision cannot tell apart, bounds that are not used, the
//! sound of inputs of which none is said, and settings of the stream service that are off.
//! Secrets are compared and not shown.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::redact::{HIDDEN, shown, without_secrets};
use super::{Audio, Filter, Input, Json, Scene, SceneItem, StreamService, Studio, Transform};

/// Longest value shown, in characters.
const SHOWN_MAX: usize = 120;

/// What a difference is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    Studio,
    Input(String),
    Scene(String),
    Group(String),
    /// The `nth` item of `source` in a scene or a group, counted from 1 at the back.
    Item {
        scene: String,
        source: String,
        nth: usize,
    },
    Filter {
        source: String,
        filter: String,
    },
    Transition(String),
    StreamService,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Studio => f.write_str("the studio"),
            Self::Input(name) => write!(f, "input {name:?}"),
            Self::Scene(name) => write!(f, "scene {name:?}"),
            Self::Group(name) => write!(f, "group {name:?}"),
            Self::Item {
                scene,
                source,
                nth: 1,
            } => write!(f, "item {source:?} of {scene:?}"),
            Self::Item { scene, source, nth } => write!(f, "item {source:?} (no. {nth}) of {scene:?}"),
            Self::Filter { source, filter } => write!(f, "filter {filter:?} of {source:?}"),
            Self::Transition(name) => write!(f, "transition {name:?}"),
            Self::StreamService => f.write_str("the stream service"),
        }
    }
}

/// One thing that is not as wanted. Its `Display` is a sentence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    pub subject: Subject,
    /// Which part of it; empty if it is about being there at all.
    pub aspect: String,
    /// `None` if there should be none.
    pub want: Option<String>,
    /// `None` if there is none.
    pub found: Option<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            subject,
            aspect,
            want,
            found,
        } = self;
        if aspect.is_empty() {
            let how = if want.is_some() {
                "is missing"
            } else {
                "is not wanted"
            };
            return write!(f, "{subject} {how}");
        }
        let side = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
        write!(
            f,
            "{aspect} of {subject}: wanted {}, found {}",
            side(want),
            side(found)
        )
    }
}

/// Everything in which `found` is not as `want`. Empty if they look and sound the same.
#[must_use]
pub fn difference(want: &Studio, found: &Studio) -> Vec<Difference> {
    let mut notes = Notes::default();
    notes.studio(want, found);
    notes.inputs(&want.inputs, &found.inputs);
    notes.scenes(&want.scenes, &found.scenes, Subject::Scene);
    notes.scenes(&want.groups, &found.groups, Subject::Group);
    notes.transitions(want, found);
    notes.stream(want.stream.as_ref(), found.stream.as_ref());
    notes.0
}

#[derive(Default)]
struct Notes(Vec<Difference>);

impl Notes {
    fn note(&mut self, subject: &Subject, aspect: &str, want: Option<String>, found: Option<String>) {
        self.0.push(Difference {
            subject: subject.clone(),
            aspect: aspect.to_owned(),
            want,
            found,
        });
    }

    fn compare<T: PartialEq>(
        &mut self,
        subject: &Subject,
        aspect: &str,
        (want, found): (T, T),
        show: impl Fn(T) -> Option<String>,
    ) {
        if want != found {
            let (want, found) = (show(want), show(found));
            self.note(subject, aspect, want, found);
        }
    }

    fn number(&mut self, subject: &Subject, aspect: &str, want: f64, found: f64) {
        if !same_number(want, found) {
            self.note(subject, aspect, Some(want.to_string()), Some(found.to_string()));
        }
    }

    /// Pairs of equal names; what only one side has is noted.
    fn pairs<'a, T>(
        &mut self,
        want: &'a [T],
        found: &'a [T],
        name: impl Fn(&T) -> String,
        subject: impl Fn(String) -> Subject,
    ) -> Vec<(&'a T, &'a T)> {
        let find = |list: &'a [T], wanted: &T| list.iter().find(|there| name(there) == name(wanted));
        for extra in found.iter().filter(|found| find(want, found).is_none()) {
            self.note(&subject(name(extra)), "", None, Some("there".to_owned()));
        }
        let mut pairs = Vec::new();
        for wanted in want {
            match find(found, wanted) {
                Some(there) => pairs.push((wanted, there)),
                None => self.note(&subject(name(wanted)), "", Some("there".to_owned()), None),
            }
        }
        pairs
    }

    fn studio(&mut self, want: &Studio, found: &Studio) {
        let quoted = |name: &String| Some(format!("{name:?}"));
        let collections = (&want.scene_collection, &found.scene_collection);
        self.compare(&Subject::Studio, "scene collection", collections, quoted);
        let programs = (&want.program_scene, &found.program_scene);
        self.compare(&Subject::Studio, "program scene", programs, quoted);
        let previews = (want.preview_scene.as_ref(), found.preview_scene.as_ref());
        self.compare(&Subject::Studio, "preview scene", previews, |name| {
            name.and_then(quoted)
        });
        let recording = (want.recording, found.recording);
        self.compare(&Subject::Studio, "recording", recording, |is| {
            Some(is.as_str().to_owned())
        });
    }

    fn inputs(&mut self, want: &[Input], found: &[Input]) {
        for (want, found) in self.pairs(want, found, |input| input.name.clone(), Subject::Input) {
            let subject = Subject::Input(want.name.clone());
            self.compare(&subject, "kind", (&want.kind, &found.kind), |kind| {
                Some(kind.clone())
            });
            self.settings(&subject, &want.settings, &found.settings);
            match (want.audio, found.audio) {
                (Some(want), Some(found)) => self.sound(&subject, want, found),
                (Some(_), None) => self.note(&subject, "sound", Some("some".to_owned()), None),
                // Whether there is any depends on the kind, and how OBS makes it does too.
                (None, _) => {}
            }
            self.filters(&want.name, &want.filters, &found.filters);
        }
    }

    fn sound(&mut self, subject: &Subject, want: Audio, found: Audio) {
        let yes_no = |yes: bool| Some(if yes { "yes" } else { "no" }.to_owned());
        self.number(subject, "volume", want.volume_mul, found.volume_mul);
        self.compare(subject, "mute", (want.muted, found.muted), yes_no);
        self.number(subject, "balance", want.balance, found.balance);
        let offsets = (want.sync_offset_ms, found.sync_offset_ms);
        self.compare(subject, "sync offset", offsets, |ms| Some(format!("{ms} ms")));
        let monitors = (want.monitor, found.monitor);
        self.compare(subject, "monitoring", monitors, |is| Some(is.as_str().to_owned()));
        self.compare(subject, "tracks", (want.tracks, found.tracks), |tracks| {
            let used = tracks.into_iter().zip(1..).filter(|(used, _)| *used);
            let used: Vec<String> = used.map(|(_, track): (bool, u32)| track.to_string()).collect();
            (!used.is_empty()).then(|| used.join(", "))
        });
    }

    fn filters(&mut self, source: &str, want: &[Filter], found: &[Filter]) {
        let subject = |filter: String| Subject::Filter {
            source: source.to_owned(),
            filter,
        };
        let pairs = self.pairs(want, found, |filter| filter.name.clone(), subject);
        let mut same = true;
        for (want, found) in &pairs {
            let subject = subject(want.name.clone());
            self.compare(&subject, "kind", (&want.kind, &found.kind), |kind| {
                Some(kind.clone())
            });
            self.settings(&subject, &want.settings, &found.settings);
            self.compare(&subject, "use", (want.enabled, found.enabled), |on| {
                Some(if on { "on" } else { "off" }.to_owned())
            });
            same &= want.kind == found.kind;
        }
        if !same || pairs.len() != want.len() || pairs.len() != found.len() {
            return;
        }
        let chains = |filters: &[Filter]| {
            let mut names: Vec<(bool, String)> = filters
                .iter()
                .map(|filter| (filter.is_drawn(), filter.name.clone()))
                .collect();
            names.sort_by_key(|(is_drawn, _)| *is_drawn);
            names
                .into_iter()
                .map(|(_, name)| name)
                .collect::<Vec<_>>()
                .join(", ")
        };
        let whole = Subject::Filter {
            source: source.to_owned(),
            filter: "*".to_owned(),
        };
        self.compare(&whole, "order", (chains(want), chains(found)), Some);
    }

    fn scenes(&mut self, want: &[Scene], found: &[Scene], subject: fn(String) -> Subject) {
        for (want, found) in self.pairs(want, found, |scene| scene.name.clone(), subject) {
            self.items(want, found, &subject(want.name.clone()));
            self.filters(&want.name, &want.filters, &found.filters);
            let overrides = (
                want.transition_override.as_ref(),
                found.transition_override.as_ref(),
            );
            self.compare(
                &subject(want.name.clone()),
                "transition override",
                overrides,
                |instead| {
                    let instead = instead?;
                    let name = instead.name.as_deref().unwrap_or("the current one");
                    let time = instead.duration_ms.map(|ms| format!(" in {ms} ms"));
                    Some(format!("{name}{}", time.unwrap_or_default()))
                },
            );
        }
    }

    fn items(&mut self, want: &Scene, found: &Scene, scene: &Subject) {
        let (wanted, there) = (numbered(&want.items), numbered(&found.items));
        let name = |item: &Numbered<'_>| format!("{} {}", item.nth, item.item.source);
        let subject = |item: &Numbered<'_>| Subject::Item {
            scene: want.name.clone(),
            source: item.item.source.clone(),
            nth: item.nth,
        };
        let mut pairs = 0;
        for one in &wanted {
            match there.iter().find(|other| name(other) == name(one)) {
                Some(other) => {
                    self.item(&subject(one), one.item, other.item);
                    pairs += 1;
                }
                None => self.note(&subject(one), "", Some("there".to_owned()), None),
            }
        }
        for other in &there {
            if !wanted.iter().any(|one| name(one) == name(other)) {
                self.note(&subject(other), "", None, Some("there".to_owned()));
            }
        }
        if pairs == wanted.len() && pairs == there.len() {
            let order = |items: &[SceneItem]| {
                let names: Vec<&str> = items.iter().map(|item| item.source.as_str()).collect();
                names.join(", ")
            };
            let orders = (order(&want.items), order(&found.items));
            self.compare(scene, "order of the items", orders, |order| Some(cut(&order)));
        }
    }

    fn item(&mut self, subject: &Subject, want: &SceneItem, found: &SceneItem) {
        self.compare(subject, "visibility", (want.enabled, found.enabled), |shown| {
            Some(if shown { "shown" } else { "hidden" }.to_owned())
        });
        self.compare(subject, "lock", (want.locked, found.locked), |locked| {
            Some(if locked { "locked" } else { "open" }.to_owned())
        });
        self.place(subject, &want.transform, &found.transform);
    }

    fn place(&mut self, subject: &Subject, want: &Transform, found: &Transform) {
        self.number(subject, "x", want.position_x, found.position_x);
        self.number(subject, "y", want.position_y, found.position_y);
        self.number(subject, "rotation", want.rotation, found.rotation);
        self.number(subject, "scale x", want.scale_x, found.scale_x);
        self.number(subject, "scale y", want.scale_y, found.scale_y);
        let mut count = |aspect: &str, want: u32, found: u32| {
            self.compare(subject, aspect, (want, found), |count| Some(count.to_string()));
        };
        count("alignment", want.alignment.into(), found.alignment.into());
        count("left crop", want.crop_left, found.crop_left);
        count("right crop", want.crop_right, found.crop_right);
        count("top crop", want.crop_top, found.crop_top);
        count("bottom crop", want.crop_bottom, found.crop_bottom);
        let types = (&want.bounds_type, &found.bounds_type);
        self.compare(subject, "bounds", types, |bounds| Some(bounds.clone()));
        // OBS keeps the size of bounds that are not used, and takes none back.
        if want.bounds_type == found.bounds_type && want.bounds_type != Transform::default().bounds_type {
            let alignments = (want.bounds_alignment, found.bounds_alignment);
            self.compare(subject, "bounds alignment", alignments, |bits| {
                Some(bits.to_string())
            });
            self.number(subject, "bounds width", want.bounds_width, found.bounds_width);
            self.number(subject, "bounds height", want.bounds_height, found.bounds_height);
        }
    }

    fn transitions(&mut self, want: &Studio, found: &Studio) {
        let name = |studio: &Studio| studio.transition.as_ref().map(|used| used.name.clone());
        let names = (name(want), name(found));
        let same = names.0 == names.1;
        self.compare(&Subject::Studio, "transition", names, |name| name);
        if let (true, Some(want), Some(found)) = (same, &want.transition, &found.transition) {
            let durations = (want.duration_ms, found.duration_ms);
            let subject = Subject::Transition(want.name.clone());
            self.compare(&subject, "duration", durations, |ms| {
                ms.map(|ms| format!("{ms} ms"))
            });
        }
        // Where they were not read, nothing is known of them.
        if want.transitions.is_empty() || found.transitions.is_empty() {
            return;
        }
        let pairs = self.pairs(
            &want.transitions,
            &found.transitions,
            |source| source.name.clone(),
            Subject::Transition,
        );
        for (want, found) in pairs {
            let subject = Subject::Transition(want.name.clone());
            self.compare(&subject, "kind", (&want.kind, &found.kind), |kind| {
                Some(kind.clone())
            });
            if let (Some(want), Some(found)) = (&want.settings, &found.settings) {
                self.settings(&subject, want, found);
            }
        }
    }

    fn stream(&mut self, want: Option<&StreamService>, found: Option<&StreamService>) {
        let (Some(want), Some(found)) = (want, found) else {
            return;
        };
        let subject = Subject::StreamService;
        self.compare(&subject, "kind", (&want.kind, &found.kind), |kind| {
            Some(kind.clone())
        });
        let servers = (want.server.as_deref(), found.server.as_deref());
        self.compare(&subject, "server", servers, |server| server.map(without_secrets));
        let keys = (want.key.as_ref(), found.key.as_ref());
        self.compare(&subject, "stream key", keys, |key| key.map(|_| HIDDEN.to_owned()));
        self.settings(&subject, &telling(&want.other), &telling(&found.other));
    }

    fn settings(&mut self, subject: &Subject, want: &Json, found: &Json) {
        let read = |json: &Json| serde_json::from_str::<Value>(&json.0).ok();
        let (Some(Value::Object(want)), Some(Value::Object(found))) = (read(want), read(found)) else {
            let texts = (&want.0, &found.0);
            return self.compare(subject, "settings", texts, |_| Some("not an object".to_owned()));
        };
        let names: BTreeSet<&String> = want.keys().chain(found.keys()).collect();
        for name in names {
            let (want, found) = (want.get(name), found.get(name));
            let same = match (want, found) {
                (Some(want), Some(found)) => same_value(want, found),
                (want, found) => want.is_none() && found.is_none(),
            };
            if !same {
                let side = |value: Option<&Value>| value.map(|value| cut(&shown(name, value).to_string()));
                self.note(subject, &format!("setting {name:?}"), side(want), side(found));
            }
        }
    }
}

/// Whether a setting is anything but off, empty or zero. OBS adds such to every stream service.
#[must_use]
pub fn says_something(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(yes) => *yes,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(_) | Value::Object(_) => true,
    }
}

/// Without the settings that say nothing.
fn telling(settings: &Json) -> Json {
    match serde_json::from_str(&settings.0) {
        Ok(Value::Object(mut fields)) => {
            fields.retain(|_, value| says_something(value));
            Json(Value::Object(fields).to_string())
        }
        Ok(_) | Err(_) => settings.clone(),
    }
}

/// An item and the how-manieth of its source it is.
struct Numbered<'a> {
    nth: usize,
    item: &'a SceneItem,
}

fn numbered(items: &[SceneItem]) -> Vec<Numbered<'_>> {
    let number = |(at, item): (usize, &SceneItem)| {
        items[..at]
            .iter()
            .filter(|before| before.source == item.source)
            .count()
            + 1
    };
    items
        .iter()
        .enumerate()
        .map(|(at, item)| Numbered {
            nth: number((at, item)),
            item,
        })
        .collect()
}

/// OBS keeps single precision, and computes with it: seven digits.
fn same_number(one: f64, other: f64) -> bool {
    let scale = one.abs().max(other.abs()).max(1.0);
    (one - other).abs() <= 1e-6 * scale
}

fn same_value(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) if one.is_f64() || other.is_f64() => {
            match (one.as_f64(), other.as_f64()) {
                (Some(one), Some(other)) => same_number(one, other),
                _ => one == other,
            }
        }
        (Value::Array(ones), Value::Array(others)) => {
            ones.len() == others.len() && ones.iter().zip(others).all(|(one, other)| same_value(one, other))
        }
        (Value::Object(ones), Value::Object(others)) => {
            ones.len() == others.len()
                && ones
                    .iter()
                    .all(|(name, one)| others.get(name).is_some_and(|other| same_value(one, other)))
        }
        _ => one == other,
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
