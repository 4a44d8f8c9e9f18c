//! The disk itself: one append of as much as an event takes, and its sync, for what is durable to be held against.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;

const RECORD: [u8; 512] = [b'x'; 512];

pub struct Disk(File);

impl Disk {
    /// A file beside the journal that is measured.
    pub fn beside(folder: &Path) -> Result<Self> {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(folder.join("append"))?;
        Ok(Self(file))
    }

    /// One append and its fdatasync(2).
    pub fn append(&mut self) -> Result<Duration> {
        let began = Instant::now();
        self.0.write_all(&RECORD)?;
        self.0.sync_data()?;
        Ok(began.elapsed())
    }

    /// One after the other for so long.
    pub fn append_for(&mut self, span: Duration) -> Result<Vec<Duration>> {
        let (began, mut sample) = (Instant::now(), Vec::new());
        while began.elapsed() < span {
            sample.push(self.append()?);
        }
        Ok(sample)
    }
}
