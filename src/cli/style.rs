//! What colours and signs mean on the terminal, in one place: a status looks the same in every table.
//!
//! Every sign also differs by shape, so that nothing depends on seeing colours. This writes nothing; whether
//! there are colours at all is the terminal's to say.

/// What a piece of text expresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tone {
    #[default]
    Plain,
    /// As it should be.
    Good,
    /// On its way somewhere, or worth a look.
    Busy,
    /// Broken.
    Bad,
    /// On air.
    Live,
    /// Taken, but not on air.
    Taken,
    /// Of no importance now.
    Dim,
    /// A heading, or what matters most in a line.
    Strong,
}

impl Tone {
    /// The terminal's code for it: the 16 colours that follow the user's own palette.
    fn code(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Good => Some("32"),
            Self::Busy => Some("33"),
            Self::Bad => Some("31"),
            Self::Live => Some("35"),
            Self::Taken => Some("34"),
            Self::Dim => Some("2"),
            Self::Strong => Some("1"),
        }
    }

    /// `text` in this tone, if there are colours.
    #[must_use]
    pub fn paint(self, text: &str, color: bool) -> String {
        match self.code().filter(|_| color && !text.is_empty()) {
            Some(code) => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
            None => text.to_owned(),
        }
    }
}

/// A sign, the word beside it, and their tone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    pub sign: &'static str,
    pub word: &'static str,
    pub tone: Tone,
}

const fn look(sign: &'static str, word: &'static str, tone: Tone) -> Look {
    Look { sign, word, tone }
}

impl Look {
    /// Sign and word.
    #[must_use]
    pub fn text(self) -> String {
        format!("{} {}", self.sign, self.word)
    }
}

/// How the status of a VM is shown. `None` for a word that this version does not know.
#[must_use]
pub fn of_status(status: &str) -> Option<Look> {
    Some(match status {
        "available" => look("●", "available", Tone::Good),
        "assigned" => look("●", "assigned", Tone::Taken),
        "in_use" => look("▶", "in use", Tone::Live),
        "releasing" => look("◑", "releasing", Tone::Busy),
        "starting" => look("◐", "starting", Tone::Busy),
        "stopping" => look("◑", "stopping", Tone::Busy),
        "stopped" => look("○", "stopped", Tone::Dim),
        "error" => look("✗", "error", Tone::Bad),
        "maintenance" => look("◌", "maintenance", Tone::Busy),
        _ => return None,
    })
}

/// How the phase of a show is shown. `None` for a word that this version does not know.
#[must_use]
pub fn of_phase(phase: &str) -> Option<Look> {
    Some(match phase {
        "on_air" => look("▶", "on air", Tone::Live),
        "off_air" => look("○", "off air", Tone::Plain),
        "failing_over" => look("⇄", "failing over", Tone::Busy),
        "releasing" => look("◑", "releasing", Tone::Busy),
        "idle" => look("○", "idle", Tone::Dim),
        _ => return None,
    })
}

/// How a VM's health is shown.
#[must_use]
pub fn of_health(health: &str) -> Tone {
    match health {
        "healthy" => Tone::Good,
        "degraded" => Tone::Busy,
        "unhealthy" => Tone::Bad,
        _ => Tone::Dim,
    }
}

/// How the way a move ended is shown.
#[must_use]
pub fn of_ending(ending: &str) -> Tone {
    match ending {
        "on-air" => Tone::Good,
        "abandoned" => Tone::Bad,
        _ => Tone::Plain,
    }
}

/// The dot of one service: up, down, or not known.
#[must_use]
pub fn dot(up: Option<bool>) -> (&'static str, Tone) {
    match up {
        Some(true) => ("●", Tone::Good),
        Some(false) => ("✗", Tone::Bad),
        None => ("·", Tone::Dim),
    }
}

/// `text` without what could move the cursor or change colours: names come from tags that others write.
#[must_use]
pub fn tame(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

/// Each line as [`tame`] makes it; what ends a line in `lines` itself is not trusted.
#[must_use]
pub fn tame_lines(lines: &[String]) -> String {
    let lines: Vec<String> = lines.iter().map(|line| tame(line)).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::vm::Status;

    #[test]
    fn every_status_of_the_domain_has_a_look() {
        for status in Status::ALL {
            let look = of_status(status.as_str()).unwrap_or_else(|| panic!("{status} has no look"));
            assert_eq!(look.word.replace(' ', "_"), status.as_str());
        }
    }

    #[test]
    fn without_colours_the_text_stays_as_it_is() {
        assert_eq!(Tone::Bad.paint("down", false), "down");
        assert_eq!(Tone::Bad.paint("down", true), "\u{1b}[31mdown\u{1b}[0m");
        assert_eq!(Tone::Plain.paint("text", true), "text");
    }

    #[test]
    fn up_down_and_unknown_differ_without_colours() {
        let signs = [dot(Some(true)).0, dot(Some(false)).0, dot(None).0];
        assert!(signs[0] != signs[1] && signs[1] != signs[2] && signs[0] != signs[2]);
    }

    #[test]
    fn a_name_cannot_drive_the_terminal() {
        assert_eq!(tame("cam\u{1b}[2J\u{7}1\n"), "cam\u{fffd}[2J\u{fffd}1\u{fffd}");
        assert_eq!(tame("État 2026 — finale"), "État 2026 — finale");
        let lines = ["one".to_owned(), "two\nthree".to_owned()];
        assert_eq!(tame_lines(&lines), "one\ntwo\u{fffd}three");
    }
}
