//! What a scene collection is made of: identifiers, inputs, scenes, items, transitions.

use std::fmt;

use serde_json::{Map, Value};

use super::kinds::InputKind;
use crate::domain::studio::Monitor;

/// Identity of a source, as obs-websocket prints it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid(pub u128);

impl Uuid {
    /// Reads the hyphenated form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 36 {
            return None;
        }
        let mut value = 0_u128;
        for (at, byte) in text.bytes().enumerate() {
            if matches!(at, 8 | 13 | 18 | 23) {
                if byte != b'-' {
                    return None;
                }
                continue;
            }
            let digit = char::from(byte).to_digit(16)?;
            value = value << 4 | u128::from(digit);
        }
        Some(Self(value))
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let v = self.0;
        write!(
            f,
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            v >> 96,
            v >> 80 & 0xffff,
            v >> 64 & 0xffff,
            v >> 48 & 0xffff,
            v & 0xffff_ffff_ffff
        )
    }
}

/// Makes version 4 identifiers from a seed (SplitMix64), so that a world is the same for the same seed.
#[derive(Debug, Clone)]
pub(super) struct Identifiers(pub u64);

impl Identifiers {
    pub(super) fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub(super) fn next(&mut self) -> Uuid {
        let random = u128::from(self.word()) << 64 | u128::from(self.word());
        let versioned = random & !(0xf << 76) | 0x4 << 76;
        Uuid(versioned & !(0b11 << 62) | 0b10 << 62)
    }
}

#[derive(Debug, Clone)]
pub struct Input {
    pub uuid: Uuid,
    pub name: String,
    pub kind: &'static InputKind,
    /// Without the kind's defaults.
    pub settings: Map<String, Value>,
    pub volume_mul: f32,
    pub muted: bool,
    /// 0.0 is left, 1.0 is right.
    pub balance: f32,
    pub sync_offset_ms: i64,
    pub monitor: Monitor,
    pub tracks: [bool; 6],
    pub filters: Vec<Filter>,
}

impl Input {
    /// As OBS makes one.
    pub(super) fn new(
        uuid: Uuid,
        name: &str,
        kind: &'static InputKind,
        settings: Map<String, Value>,
    ) -> Self {
        // What has to be heard to be controlled is monitored from the start (`OBS_SOURCE_MONITOR_BY_DEFAULT`).
        let monitor = if kind.monitored {
            Monitor::Only
        } else {
            Monitor::Off
        };
        Self {
            uuid,
            name: name.to_owned(),
            kind,
            settings,
            volume_mul: 1.0,
            muted: false,
            balance: 0.5,
            sync_offset_ms: 0,
            monitor,
            tracks: [true; 6],
            filters: Vec::new(),
        }
    }

    /// Volume in decibels, -100 for silence, as obs-websocket reports it.
    #[must_use]
    pub fn volume_db(&self) -> f32 {
        if self.volume_mul <= 0.0 {
            -100.0
        } else {
            (20.0 * self.volume_mul.log10()).max(-100.0)
        }
    }
}

/// A filter of an input, a scene or a group.
#[derive(Debug, Clone)]
pub struct Filter {
    pub name: String,
    pub kind: &'static str,
    /// Without the kind's defaults.
    pub settings: Map<String, Value>,
    pub enabled: bool,
}

impl Filter {
    /// Whether it changes the picture.
    #[must_use]
    pub fn is_drawn(&self) -> bool {
        !super::kinds::SOUND_FILTER_KINDS.contains(&self.kind)
    }
}

/// What is used on the way to a scene instead of the current transition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TransitionOverride {
    pub name: Option<String>,
    pub duration_ms: Option<u32>,
}

/// A scene, or a group.
#[derive(Debug, Clone)]
pub struct Scene {
    pub uuid: Uuid,
    pub name: String,
    /// From back to front, as `sceneItemIndex` counts.
    pub items: Vec<Item>,
    pub filters: Vec<Filter>,
    pub transition_override: TransitionOverride,
    pub(super) next_item_id: u64,
}

impl Scene {
    pub(super) fn new(uuid: Uuid, name: &str) -> Self {
        Self {
            uuid,
            name: name.to_owned(),
            items: Vec::new(),
            filters: Vec::new(),
            transition_override: TransitionOverride::default(),
            next_item_id: 1,
        }
    }
}

/// A source shown in a scene.
#[derive(Debug, Clone)]
pub struct Item {
    pub id: u64,
    pub source: Uuid,
    pub enabled: bool,
    pub locked: bool,
    pub transform: Transform,
}

/// Where an item is drawn. Single precision, as in libobs.
#[derive(Debug, Clone, PartialEq)]
pub struct Transform {
    pub position: (f32, f32),
    pub rotation: f32,
    pub scale: (f32, f32),
    pub alignment: u32,
    pub bounds_type: Bounds,
    pub bounds_alignment: u32,
    pub bounds: (f32, f32),
    pub crop_left: u32,
    pub crop_right: u32,
    pub crop_top: u32,
    pub crop_bottom: u32,
    pub crop_to_bounds: bool,
}

impl Default for Transform {
    fn default() -> Self {
        Self {
            position: (0.0, 0.0),
            rotation: 0.0,
            scale: (1.0, 1.0),
            // Left and top.
            alignment: 5,
            bounds_type: Bounds::None,
            bounds_alignment: 0,
            bounds: (0.0, 0.0),
            crop_left: 0,
            crop_right: 0,
            crop_top: 0,
            crop_bottom: 0,
            crop_to_bounds: false,
        }
    }
}

/// `obs_bounds_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bounds {
    None,
    Stretch,
    ScaleInner,
    ScaleOuter,
    ScaleToWidth,
    ScaleToHeight,
    MaxOnly,
}

impl Bounds {
    pub(super) const ALL: [Self; 7] = [
        Self::None,
        Self::Stretch,
        Self::ScaleInner,
        Self::ScaleOuter,
        Self::ScaleToWidth,
        Self::ScaleToHeight,
        Self::MaxOnly,
    ];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "OBS_BOUNDS_NONE",
            Self::Stretch => "OBS_BOUNDS_STRETCH",
            Self::ScaleInner => "OBS_BOUNDS_SCALE_INNER",
            Self::ScaleOuter => "OBS_BOUNDS_SCALE_OUTER",
            Self::ScaleToWidth => "OBS_BOUNDS_SCALE_TO_WIDTH",
            Self::ScaleToHeight => "OBS_BOUNDS_SCALE_TO_HEIGHT",
            Self::MaxOnly => "OBS_BOUNDS_MAX_ONLY",
        }
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|bounds| bounds.as_str() == text)
    }
}

#[derive(Debug, Clone)]
pub struct Transition {
    pub uuid: Uuid,
    pub name: String,
    pub kind: &'static str,
    /// Its duration cannot be set.
    pub fixed: bool,
    pub configurable: bool,
    pub settings: Map<String, Value>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_version_4_and_read_back() {
        let mut identifiers = Identifiers(7);
        let (a, b) = (identifiers.next(), identifiers.next());
        assert_ne!(a, b);
        let text = a.to_string();
        assert_eq!(Uuid::parse(&text), Some(a));
        assert_eq!(&text[14..15], "4");
        assert!("89ab".contains(&text[19..20]));
        assert_eq!(Uuid::parse("not-a-uuid"), None);
    }
}
