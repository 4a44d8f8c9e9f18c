//! `sha256sum`, a piece at a time: a recording is larger than anybody should wait for in one go.

use std::collections::VecDeque;
use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use super::files::Report;
use super::{Host, Output};

/// Bytes that are summed at a time, before others have their turn.
const SUMMED_BYTES: usize = 256 * 1024;

/// Files that are being summed.
#[derive(Debug)]
pub struct Sum {
    left: VecDeque<String>,
    present: Sha256,
    /// Bytes of the first one that is left which have been summed.
    offset: u64,
    report: Report,
}

impl Sum {
    pub(super) fn of(paths: &[&str]) -> Self {
        Self {
            left: paths.iter().map(|path| (*path).to_owned()).collect(),
            present: Sha256::new(),
            offset: 0,
            report: Report::new("sha256sum"),
        }
    }

    /// Sums the next piece; gives what was printed once all is done.
    pub fn step(&mut self, host: &mut Host<'_>) -> Option<Output> {
        let Some(path) = self.left.front() else {
            return Some(std::mem::take(&mut self.report.output));
        };
        let disk = host.model.disk(host.now);
        let read = self.report.note(path, disk.read(path, self.offset, SUMMED_BYTES));
        if let Some(piece) = read.as_ref().filter(|piece| !piece.is_empty()) {
            self.present.update(piece);
            self.offset += piece.len() as u64;
            return None;
        }
        let sum = std::mem::take(&mut self.present).finalize();
        if read.is_some() {
            let mut line = String::new();
            for byte in sum {
                // Writing to a string does not fail.
                let _ = write!(line, "{byte:02x}");
            }
            let line = format!("{line}  {path}\n");
            self.report.output.stdout.extend_from_slice(line.as_bytes());
        }
        self.offset = 0;
        self.left.pop_front();
        None
    }
}
