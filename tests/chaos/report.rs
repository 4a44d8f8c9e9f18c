//! What `make chaos` reports: one paragraph per experiment, in a file of its own, put together by the make target.

use std::fmt::Write as _;
use std::path::PathBuf;

/// Where paragraphs go; without it, tests are short and report nothing.
const FOLDER: &str = "UNDERSTUDY_CHAOS_REPORT";

/// One experiment: what was done, how often, what was found.
pub struct Report {
    name: &'static str,
    text: String,
}

impl Report {
    pub fn new(name: &'static str, title: &str) -> Self {
        Self {
            name,
            text: format!("## {title}\n\n"),
        }
    }

    pub fn line(&mut self, line: &str) {
        // A string takes whatever is written to it.
        let _ = writeln!(self.text, "- {line}");
        println!("{line}");
    }

    /// To be called when everything that was to hold did: what fails is in the test's own words.
    pub fn passed(self) {
        let Some(folder) = folder() else { return };
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join(format!("{}.md", self.name));
        std::fs::write(path, format!("{}\n", self.text)).unwrap();
    }
}

fn folder() -> Option<PathBuf> {
    std::env::var_os(FOLDER).map(PathBuf::from)
}

/// How often something is done: `short` in a test, `long` for `make chaos`.
pub fn times(short: u64, long: u64) -> u64 {
    if folder().is_some() { long } else { short }
}
