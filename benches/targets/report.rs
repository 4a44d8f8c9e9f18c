//! The table: what was measured, what was to be reached, whether it was, and how busy the machine was.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::Scale;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Met,
    Missed,
    /// Told for what it explains; there is no target.
    Beside,
}

impl Verdict {
    pub fn of(met: bool) -> Self {
        if met { Self::Met } else { Self::Missed }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::Missed => "**missed**",
            Self::Beside => "",
        }
    }
}

/// One row.
#[derive(Debug, Clone)]
pub struct Row {
    /// As in the list of targets.
    pub target: &'static str,
    pub what: String,
    pub figure: String,
    pub goal: String,
    /// Measured against the target: what must not exceed it is met up to 1, what must reach it from 1 on.
    pub ratio: Option<f64>,
    pub verdict: Verdict,
}

pub struct Report {
    scale: &'static str,
    rows: Vec<(Row, String)>,
}

impl Report {
    pub fn new(scale: &Scale) -> Self {
        Self {
            scale: scale.name,
            rows: Vec::new(),
        }
    }

    /// Takes a row in, with the load average of this moment, and prints it.
    pub fn add(&mut self, row: Row) {
        let load = load_average();
        println!(
            "{:<4} {}: {}  [{}] {} (load {load})",
            row.target,
            row.what,
            row.figure,
            row.goal,
            row.verdict.as_str()
        );
        self.rows.push((row, load));
    }

    pub fn markdown(&self) -> String {
        let mut text = String::from(
            "| # | what | measured | target | ratio | verdict | load average, 1 min |\n|---|---|---|---|---|---|---|\n",
        );
        for (row, load) in &self.rows {
            let Row {
                target,
                what,
                figure,
                goal,
                ratio,
                verdict,
            } = row;
            let ratio = ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"));
            let verdict = verdict.as_str();
            // Writing to a string does not fail.
            let _ = writeln!(
                text,
                "| {target} | {what} | {figure} | {goal} | {ratio} | {verdict} | {load} |"
            );
        }
        text
    }

    pub fn write(&self) -> Result<PathBuf> {
        let folder = crate::output_folder();
        std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        let path = folder.join("report.md");
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let text = format!(
            "# Targets, measured\n\nunderstudy {}, {} samples, {cores} cores.\n\n{}",
            env!("CARGO_PKG_VERSION"),
            self.scale,
            self.markdown()
        );
        std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        Ok(path)
    }
}

/// Runnable threads over the last minute: beyond the number of cores, others were waiting too.
fn load_average() -> String {
    std::fs::read_to_string("/proc/loadavg")
        .ok()
        .and_then(|text| text.split_whitespace().next().map(str::to_owned))
        .unwrap_or_else(|| "unknown".to_owned())
}
