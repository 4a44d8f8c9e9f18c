//! Cleaning: what a show leaves on a VM, and the report of how that was removed.
//!
//! ```text
//! a show leaves a VM ──► leftover ──► [cleaned, with a report] ──► none
//!                           ▲                    │
//!       the VM comes up,    └──── forgiven ◄─────┘ best effort
//!       or is left again
//! ```
//!
//! A [`Leftover`] is a durable fact of the VM: however the show went (released, moved away, given another VM), and
//! whoever died since, the VM is not given to the next one before what was left is gone. How that is done is not
//! decided here.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::ids::ShowId;
use super::sealed::Sealed;
use super::show::Show;
use super::time::Timestamp;
use super::vm::Vm;

/// Stream keys remembered of the shows that left one VM.
pub const KEYS_MAX: usize = 8;
/// Longest sentence of a finding, in characters.
pub const FOUND_CHARS_MAX: usize = 300;

/// What shows have left on a VM, not removed yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leftover {
    /// The one that left last.
    pub show: ShowId,
    /// Stream keys that must not be found afterwards.
    pub keys: Vec<Sealed>,
    /// It was found and forgiven ([`Policy::BestEffort`]): the VM is used all the same. It is tried again when the VM
    /// comes up anew, or the next show leaves it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forgiven: bool,
}

impl Leftover {
    /// What this show leaves on a VM that it had.
    #[must_use]
    pub fn of(show: &Show) -> Self {
        let captured = show.studio.as_ref().and_then(|studio| studio.stream.as_ref());
        let captured = captured.and_then(|stream| stream.key.as_ref());
        let configured = show.configuration.as_ref();
        let configured = configured.and_then(|configuration| configuration.stream_key.as_ref());
        let mut keys: Vec<Sealed> = captured.cloned().into_iter().collect();
        keys.extend(configured.filter(|key| captured != Some(*key)).cloned());
        Self {
            show: show.id.clone(),
            keys,
            forgiven: false,
        }
    }

    /// With what shows before left, which was not removed either. Of too many keys the oldest are forgotten.
    #[must_use]
    pub fn and(mut self, before: Option<&Self>) -> Self {
        let older = before.map_or(&[][..], |before| &before.keys);
        let more: Vec<Sealed> = older
            .iter()
            .filter(|key| !self.keys.contains(key))
            .cloned()
            .collect();
        self.keys.extend(more);
        self.keys.truncate(KEYS_MAX);
        self
    }
}

/// What becomes of a VM that is not proven clean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// It goes to `error`, and is cleaned again before it is used.
    Strict,
    /// It is available all the same, if it works; the report says what was found.
    BestEffort,
}

/// How it was cleaned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// OBS's configuration was replaced by the template directory's, over SSH.
    Template,
    /// The studio was emptied through OBS: there is no SSH, or no template on the machine.
    Studio,
    /// Neither OBS nor SSH is configured: nothing was put there that could be removed.
    Nothing,
}

impl Way {
    /// As it is written down.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Template => "template",
            Self::Studio => "studio",
            Self::Nothing => "nothing",
        }
    }
}

/// What was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// The removal itself.
    Reset,
    /// Whether OBS answers and draws.
    Obs,
    Stream,
    Recording,
    /// Scene collections with scenes and inputs.
    Scenes,
    /// In OBS's stream service.
    StreamKey,
    /// The files of OBS's configuration.
    Files,
    TemporaryFiles,
}

impl Subject {
    /// As it is written down.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reset => "reset",
            Self::Obs => "obs",
            Self::Stream => "stream",
            Self::Recording => "recording",
            Self::Scenes => "scenes",
            Self::StreamKey => "stream_key",
            Self::Files => "files",
            Self::TemporaryFiles => "temporary_files",
        }
    }
}

/// What was found of one of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub subject: Subject,
    /// Nothing of the show is there, or it was removed.
    pub clean: bool,
    /// One sentence.
    pub found: String,
}

impl Finding {
    #[must_use]
    pub fn new(subject: Subject, clean: bool, found: &str) -> Self {
        Self {
            subject,
            clean,
            found: found.chars().take(FOUND_CHARS_MAX).collect(),
        }
    }
}

/// What was done to clean a VM, and what was found afterwards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Whose leftover it was.
    pub show: ShowId,
    pub way: Way,
    pub began_at: Timestamp,
    pub ended_at: Timestamp,
    /// In the order in which they were found.
    pub findings: Vec<Finding>,
    /// Recordings that stay on the machine; `None` if they were not counted.
    pub recordings: Option<u32>,
}

impl Report {
    /// Of a VM that nothing can have been put on.
    #[must_use]
    pub fn nothing(show: ShowId, at: Timestamp) -> Self {
        Self {
            show,
            way: Way::Nothing,
            began_at: at,
            ended_at: at,
            findings: Vec::new(),
            recordings: None,
        }
    }

    /// Everything that was looked at is clean.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.findings.iter().all(|finding| finding.clean)
    }

    /// Whether the VM may be used as it was found. What is left on it may be forgiven, not that it does not work: where
    /// there is a connection to OBS, it has answered and drawn since, and else something of the machine was seen.
    #[must_use]
    pub fn is_accepted(&self, policy: Policy, has_obs: bool) -> bool {
        let works = |finding: &Finding| finding.clean && (finding.subject == Subject::Obs || !has_obs);
        match policy {
            Policy::Strict => self.is_clean(),
            Policy::BestEffort => self.is_clean() || self.findings.iter().any(works),
        }
    }

    /// Everything that is not, in one sentence.
    #[must_use]
    pub fn faults(&self) -> String {
        let unclean = self.findings.iter().filter(|finding| !finding.clean);
        let sentences: Vec<&str> = unclean.map(|finding| finding.found.as_str()).collect();
        sentences.join("; ")
    }
}

impl Vm {
    /// It must not be used before what shows have left on it is removed.
    #[must_use]
    pub fn is_to_be_cleaned(&self) -> bool {
        self.leftover.as_ref().is_some_and(|left| !left.forgiven)
    }

    /// What is on it now is its show's, and is not to be cleaned away while that has it.
    pub(super) fn overlay(&mut self) {
        self.leftover = self.leftover.take().filter(|left| left.forgiven);
    }

    /// What was forgiven of a VM is tried again when it comes up anew, unless a show has it.
    pub(super) fn look_again(&mut self) {
        if self.occupancy.tenant().is_none() {
            self.set_forgiven(false);
        }
    }

    fn set_forgiven(&mut self, forgiven: bool) {
        if let Some(left) = &mut self.leftover {
            Arc::make_mut(left).forgiven = forgiven;
        }
    }

    /// It was cleaned, or that was tried. `accepted`: it may be used as it was found.
    pub(super) fn cleaned(&mut self, report: &Arc<Report>, accepted: bool) {
        self.cleaning = Some(Arc::clone(report));
        match (accepted, report.is_clean()) {
            (true, true) => self.leftover = None,
            (true, false) => self.set_forgiven(true),
            (false, _) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::studio::Secret;

    fn leftover(show: &str, keys: &[&str]) -> Leftover {
        let sealed = |key: &&str| Sealed::Plain(Secret::new(*key));
        Leftover {
            show: ShowId::new(show).unwrap(),
            keys: keys.iter().map(sealed).collect(),
            forgiven: false,
        }
    }

    #[test]
    fn keys_of_shows_before_are_looked_for_as_well_the_latest_first() {
        let before = leftover("heats", &["a", "b"]);
        let both = leftover("finals", &["c", "a"]).and(Some(&before));
        assert_eq!(both, leftover("finals", &["c", "a", "b"]));
        let many: Vec<String> = (0..20).map(|n| n.to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let bounded = leftover("finals", &["c"]).and(Some(&leftover("heats", &many)));
        assert_eq!(bounded.keys.len(), KEYS_MAX);
        assert_eq!(bounded.keys[0], leftover("finals", &["c"]).keys[0]);
    }

    #[test]
    fn a_report_is_clean_if_all_is_and_else_says_what_is_not() {
        let mut report = Report::nothing(ShowId::new("finals").unwrap(), Timestamp(5));
        assert!(report.is_clean());
        report
            .findings
            .push(Finding::new(Subject::Stream, true, "no stream"));
        report
            .findings
            .push(Finding::new(Subject::Recording, false, "it records"));
        report
            .findings
            .push(Finding::new(Subject::Files, false, &"x".repeat(1_000)));
        assert!(!report.is_clean());
        assert_eq!(
            report.faults(),
            format!("it records; {}", "x".repeat(FOUND_CHARS_MAX))
        );
    }

    #[test]
    fn best_effort_forgives_what_is_left_on_a_vm_that_works() {
        let report = |findings: &[(Subject, bool)]| {
            let mut report = Report::nothing(ShowId::new("finals").unwrap(), Timestamp(5));
            let finding = |(subject, clean): &(Subject, bool)| Finding::new(*subject, *clean, "seen");
            report.findings = findings.iter().map(finding).collect();
            report
        };
        let clean = report(&[(Subject::Reset, true), (Subject::Obs, true)]);
        let left = report(&[(Subject::Reset, false), (Subject::Obs, true)]);
        let off = report(&[(Subject::Reset, false), (Subject::TemporaryFiles, true)]);
        let black = report(&[(Subject::Reset, true), (Subject::Obs, false)]);
        let unreached = report(&[(Subject::Reset, false)]);
        for (name, report, with_obs, without) in [
            ("clean", &clean, true, true),
            ("left", &left, true, true),
            ("off", &off, false, true),
            ("black", &black, false, true),
            ("unreached", &unreached, false, false),
        ] {
            assert_eq!(report.is_accepted(Policy::BestEffort, true), with_obs, "{name}");
            assert_eq!(report.is_accepted(Policy::BestEffort, false), without, "{name}");
            assert_eq!(report.is_accepted(Policy::Strict, true), name == "clean");
        }
    }
}
