//! What is told while scenarios are played: bars on a terminal, lines for a program, else nothing.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::cli::terminal::Terminal;
use crate::rehearsal::play::{Audience, Happening};

/// Often enough for a spinner that looks alive.
const TICK: Duration = Duration::from_millis(120);
/// For a bar that shows seconds.
const SECOND: Duration = Duration::from_secs(1);

/// A line of JSON for each thing that happens, on standard error.
pub struct Lines;

impl Audience for Lines {
    fn told(&self, happening: Happening) {
        let Ok(mut line) = serde_json::to_string(&happening) else {
            return;
        };
        line.push('\n');
        // Whoever does not read it has gone, and ends this by that.
        let _ = std::io::stderr().lock().write_all(line.as_bytes());
    }
}

/// Two bars on standard error: the scenarios, and the steps of the one that is played. indicatif draws them only where
/// that is a terminal; elsewhere each verdict has a line.
pub struct Progress {
    scenarios: ProgressBar,
    steps: ProgressBar,
    has_lines: bool,
}

impl Progress {
    #[must_use]
    pub fn new(scenarios: usize, terminal: &Terminal) -> Self {
        if terminal.json {
            return Self {
                scenarios: ProgressBar::hidden(),
                steps: ProgressBar::hidden(),
                has_lines: false,
            };
        }
        let bars = MultiProgress::new();
        let bar = |length: usize, template: &str| {
            let bar = bars.add(ProgressBar::new(length as u64));
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style.progress_chars("━╸─"));
            }
            bar
        };
        Self {
            scenarios: bar(scenarios, "{bar:20} {pos}/{len} scenarios {elapsed} {msg}"),
            steps: bar(0, "{spinner} {pos}/{len} steps {msg}"),
            has_lines: !std::io::stderr().is_terminal(),
        }
    }

    /// Takes the bars away.
    pub fn end(&self) {
        self.steps.finish_and_clear();
        self.scenarios.finish_and_clear();
    }
}

impl Audience for Progress {
    fn told(&self, happening: Happening) {
        match happening {
            Happening::SettingUp { scenario, shows } => {
                // Not before: somebody may still have to be asked, and what is drawn wipes the question away.
                self.steps.enable_steady_tick(TICK);
                self.scenarios.enable_steady_tick(SECOND);
                self.scenarios.set_message(scenario);
                self.steps.set_position(0);
                self.steps.set_length(0);
                self.steps.set_message(format!("putting {shows} shows on air"));
            }
            Happening::Began { cues, .. } => {
                self.steps.set_length(cues as u64);
                self.steps.set_message("all shows are on air");
            }
            Happening::Struck { what, .. } => {
                self.steps.inc(1);
                self.steps.set_message(what);
            }
            Happening::Mended { what, .. } => self.steps.set_message(format!("mended: {what}")),
            Happening::Settling { .. } => self.steps.set_message("waiting for everything to be as expected"),
            Happening::Judged { scenario, passed } => {
                self.scenarios.inc(1);
                if self.has_lines {
                    let verdict = if passed { "passed" } else { "FAILED" };
                    let done = (
                        self.scenarios.position(),
                        self.scenarios.length().unwrap_or_default(),
                    );
                    // Whoever does not read it will see the table.
                    let _ = writeln!(
                        std::io::stderr().lock(),
                        "{scenario} {verdict} ({} of {})",
                        done.0,
                        done.1
                    );
                }
            }
        }
    }
}
