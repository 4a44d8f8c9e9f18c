//! The record output: a file that grows while it records.
//!
//! The file is not here but on the machine, which asks for it ([`Studio::recorded`]). Its name is OBS's default, the
//! second at which it was begun (`%CCYY-%MM-%DD %hh-%mm-%ss`), and it stays when the process dies.

use std::time::Duration;

use super::event::StudioEvent;
use super::{Studio, StudioError};
use crate::domain::studio::Recording;
use crate::domain::time::{Timestamp, millis};

/// 2500 kbit/s of video and 160 kbit/s of audio: OBS's defaults for simple output.
const BYTES_PER_S: u64 = 332_500;
/// Recordings that ended since the machine last asked; there are never more unless it does not ask.
const ENDED_MAX: usize = 64;

/// A file that was recorded or still is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedFile {
    /// Without its folder.
    pub name: String,
    /// Decides what is in it.
    pub seed: u64,
    pub bytes: u64,
}

#[derive(Debug, Default)]
pub(super) struct RecordOutput {
    present: Option<Present>,
    ended: Vec<RecordedFile>,
    /// The name of the last file without its number and suffix, and that number.
    last: (String, u32),
}

#[derive(Debug)]
struct Present {
    name: String,
    seed: u64,
    /// How long it has recorded before `since`.
    before: Duration,
    /// `None` while it is paused, or the process stopped.
    since: Option<Timestamp>,
    paused: bool,
}

impl Present {
    fn duration(&self, now: Timestamp) -> Duration {
        self.before + self.since.map_or(Duration::ZERO, |since| now.since(since))
    }

    fn file(&self, now: Timestamp) -> RecordedFile {
        RecordedFile {
            name: self.name.clone(),
            seed: self.seed,
            bytes: millis(self.duration(now)) * BYTES_PER_S / 1_000,
        }
    }

    fn rest(&mut self, now: Timestamp) {
        self.before = self.duration(now);
        self.since = None;
    }
}

impl RecordOutput {
    fn state(&self) -> Recording {
        match &self.present {
            None => Recording::Off,
            Some(present) if present.paused => Recording::Paused,
            Some(_) => Recording::Active,
        }
    }

    fn end(&mut self, now: Timestamp) -> Option<String> {
        let file = self.present.take()?.file(now);
        let name = file.name.clone();
        if self.ended.len() < ENDED_MAX {
            self.ended.push(file);
        }
        Some(name)
    }

    /// A second recording within a second gets a number, as OBS gives it.
    fn name(&mut self, now: Timestamp) -> String {
        let at = i64::try_from(now.0).ok();
        let at = at.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
        let stem = at.unwrap_or_default().strftime("%Y-%m-%d %H-%M-%S").to_string();
        let number = if self.last.0 == stem { self.last.1 + 1 } else { 1 };
        self.last = (stem.clone(), number);
        if number == 1 {
            format!("{stem}.mp4")
        } else {
            format!("{stem} ({number}).mp4")
        }
    }

    pub(super) fn set_hung(&mut self, hung: bool, now: Timestamp) {
        if let Some(present) = &mut self.present {
            present.rest(now);
            present.since = (!hung && !present.paused).then_some(now);
        }
    }

    /// The process is gone; what it wrote is there.
    pub(super) fn process_died(&mut self, now: Timestamp) {
        self.end(now);
    }
}

impl Studio {
    #[must_use]
    pub fn recording(&self) -> Recording {
        self.record.state()
    }

    /// How long it has recorded, pauses left out.
    #[must_use]
    pub fn record_duration(&self, now: Timestamp) -> Duration {
        let present = self.record.present.as_ref();
        present.map_or(Duration::ZERO, |present| present.duration(now))
    }

    /// The file that is recorded now.
    #[must_use]
    pub fn record_file(&self, now: Timestamp) -> Option<RecordedFile> {
        self.record.present.as_ref().map(|present| present.file(now))
    }

    /// The files that have ended since the last call.
    pub(in crate::sim::model) fn recorded(&mut self) -> Vec<RecordedFile> {
        std::mem::take(&mut self.record.ended)
    }

    /// # Errors
    /// [`StudioError::Recording`] if it records already.
    pub fn start_record(&mut self, now: Timestamp) -> Result<(), StudioError> {
        if self.record.present.is_some() {
            return Err(StudioError::Recording);
        }
        let name = self.record.name(now);
        self.record.present = Some(Present {
            name: name.clone(),
            seed: self.identifiers.word(),
            before: Duration::ZERO,
            since: Some(now),
            paused: false,
        });
        self.announce_record(Recording::Off, name);
        Ok(())
    }

    /// Gives the name of the file.
    ///
    /// # Errors
    /// [`StudioError::NotRecording`].
    pub fn stop_record(&mut self, now: Timestamp) -> Result<String, StudioError> {
        let was = self.recording();
        let name = self.record.end(now).ok_or(StudioError::NotRecording)?;
        self.announce_record(was, name.clone());
        Ok(name)
    }

    /// # Errors
    /// [`StudioError::NotRecording`], also while it is paused already.
    pub fn pause_record(&mut self, now: Timestamp) -> Result<(), StudioError> {
        let present = self.record.present.as_mut().filter(|present| !present.paused);
        let present = present.ok_or(StudioError::NotRecording)?;
        present.rest(now);
        present.paused = true;
        let name = present.name.clone();
        self.announce_record(Recording::Active, name);
        Ok(())
    }

    /// # Errors
    /// [`StudioError::RecordNotPaused`].
    pub fn resume_record(&mut self, now: Timestamp) -> Result<(), StudioError> {
        let present = self.record.present.as_mut().filter(|present| present.paused);
        let present = present.ok_or(StudioError::RecordNotPaused)?;
        present.paused = false;
        present.since = Some(now);
        let name = present.name.clone();
        self.announce_record(Recording::Paused, name);
        Ok(())
    }

    fn announce_record(&mut self, was: Recording, file: String) {
        let is = self.recording();
        self.events.push(StudioEvent::Record { was, is, file });
    }
}

#[cfg(test)]
mod tests {
    use super::super::StudioTiming;
    use super::*;

    const T0: Timestamp = Timestamp(1_795_284_000_000);

    fn at(s: u64) -> Timestamp {
        T0 + Duration::from_secs(s)
    }

    #[test]
    fn a_file_grows_while_it_is_recorded_and_not_in_a_pause() {
        let mut studio = Studio::new(StudioTiming::default(), 1);
        assert_eq!(studio.stop_record(at(0)), Err(StudioError::NotRecording));
        studio.start_record(at(0)).unwrap();
        assert_eq!(studio.start_record(at(1)), Err(StudioError::Recording));
        let bytes = |studio: &Studio, s| studio.record_file(at(s)).unwrap().bytes;
        assert_eq!(bytes(&studio, 10), 10 * BYTES_PER_S);
        studio.pause_record(at(10)).unwrap();
        assert_eq!(studio.pause_record(at(11)), Err(StudioError::NotRecording));
        assert_eq!(bytes(&studio, 60), 10 * BYTES_PER_S);
        studio.resume_record(at(60)).unwrap();
        assert_eq!(studio.resume_record(at(60)), Err(StudioError::RecordNotPaused));
        assert_eq!(studio.stop_record(at(65)).unwrap(), "2026-11-21 18-00-00.mp4");
        let ended = studio.recorded();
        assert_eq!((ended.len(), ended[0].bytes), (1, 15 * BYTES_PER_S));
        assert_eq!(studio.recorded(), []);
    }

    #[test]
    fn a_recording_outlives_the_process_and_two_of_a_second_have_two_names() {
        let mut studio = Studio::new(StudioTiming::default(), 1);
        studio.start_record(at(0)).unwrap();
        studio.stop_record(at(0)).unwrap();
        studio.start_record(at(0)).unwrap();
        studio.set_hung(true, at(3));
        studio.process_died(at(9));
        assert_eq!(studio.recording(), Recording::Off);
        let ended = studio.recorded();
        assert_eq!(ended[1].name, "2026-11-21 18-00-00 (2).mp4");
        assert_eq!(ended[1].bytes, 3 * BYTES_PER_S);
        assert_ne!(ended[0].seed, ended[1].seed);
    }
}
