//! How inputs sound, each change announced as OBS announces it.

use super::event::{InputChange, StudioEvent};
use super::source::{Input, Uuid};
use super::{Studio, StudioError};
use crate::domain::studio::Monitor;

impl Studio {
    /// Changes an input that has sound, and announces what the change says.
    fn on_sound(
        &mut self,
        uuid: Uuid,
        change: impl FnOnce(&mut Input) -> Option<InputChange>,
    ) -> Result<(), StudioError> {
        let named = self.named(uuid)?;
        let input = self.input_mut(uuid)?;
        if !input.kind.audio {
            return Err(StudioError::NoAudio);
        }
        if let Some(change) = change(input) {
            self.events.push(StudioEvent::Input { input: named, change });
        }
        Ok(())
    }

    /// # Errors
    /// [`StudioError::NoAudio`], [`StudioError::SourceGone`].
    pub fn set_volume(&mut self, uuid: Uuid, mul: f32) -> Result<(), StudioError> {
        self.on_sound(uuid, |input| {
            input.volume_mul = mul;
            let db = input.volume_db();
            Some(InputChange::Volume { mul, db })
        })
    }

    /// # Errors
    /// [`StudioError::NoAudio`], [`StudioError::SourceGone`].
    pub fn set_muted(&mut self, uuid: Uuid, muted: bool) -> Result<(), StudioError> {
        self.on_sound(uuid, |input| {
            let was = std::mem::replace(&mut input.muted, muted);
            (was != muted).then_some(InputChange::Muted(muted))
        })
    }

    /// # Errors
    /// [`StudioError::NoAudio`], [`StudioError::SourceGone`].
    pub fn set_balance(&mut self, uuid: Uuid, balance: f32) -> Result<(), StudioError> {
        self.on_sound(uuid, |input| {
            input.balance = balance;
            Some(InputChange::Balance(balance))
        })
    }

    /// # Errors
    /// [`StudioError::NoAudio`], [`StudioError::SourceGone`].
    pub fn set_sync_offset(&mut self, uuid: Uuid, offset_ms: i64) -> Result<(), StudioError> {
        self.on_sound(uuid, |input| {
            input.sync_offset_ms = offset_ms;
            Some(InputChange::SyncOffset { offset_ms })
        })
    }

    /// # Errors
    /// [`StudioError::NoAudio`], [`StudioError::SourceGone`].
    pub fn set_monitor(&mut self, uuid: Uuid, monitor: Monitor) -> Result<(), StudioError> {
        self.on_sound(uuid, |input| {
            let was = std::mem::replace(&mut input.monitor, monitor);
            (was != monitor).then_some(InputChange::Monitor(monitor))
        })
    }

    /// What is `None` stays.
    ///
    /// # Errors
    /// [`StudioError::NoAudio`], [`StudioError::SourceGone`].
    pub fn set_tracks(&mut self, uuid: Uuid, tracks: [Option<bool>; 6]) -> Result<(), StudioError> {
        self.on_sound(uuid, |input| {
            let before = input.tracks;
            for (track, wanted) in input.tracks.iter_mut().zip(tracks) {
                *track = wanted.unwrap_or(*track);
            }
            (before != input.tracks).then_some(InputChange::Tracks(input.tracks))
        })
    }
}
