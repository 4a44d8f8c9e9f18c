//! Durations as text: `3s`, `500ms`, `2m`, `1h 30m`.

use std::time::Duration;

use jiff::SignedDuration;

pub(super) const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub(super) const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub(super) const fn mins(n: u64) -> Duration {
    Duration::from_secs(n * 60)
}

/// Reads a duration. `None` if `text` is none, or a negative one.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    let span: SignedDuration = text.trim().parse().ok()?;
    Duration::try_from(span).ok()
}

/// Writes a duration so that [`parse`] reads it back.
pub(crate) fn show(span: Duration) -> String {
    SignedDuration::try_from(span).map_or_else(|_| format!("{}s", span.as_secs()), |span| format!("{span:#}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, span) in [
            ("3s", secs(3)),
            ("500ms", ms(500)),
            ("2m", mins(2)),
            ("180s", mins(3)),
            ("1h 30m", mins(90)),
            ("1m30s", secs(90)),
            ("1.5s", ms(1500)),
            ("0s", Duration::ZERO),
            (" 3 seconds ", secs(3)),
        ] {
            assert_eq!(parse(text), Some(span), "{text}");
        }
    }

    #[test]
    fn what_has_no_unit_or_no_meaning_is_refused() {
        for text in [
            "",
            "3",
            "-3s",
            "three seconds",
            "3 parsecs",
            "s",
            "3s ago",
            "2 months",
            "1e3s",
            "99999999999999999999s",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_written_reads_back_the_same() {
        for span in [
            Duration::ZERO,
            ms(1),
            ms(250),
            ms(1500),
            secs(30),
            mins(2),
            mins(90),
            mins(60 * 48),
        ] {
            assert_eq!(parse(&show(span)), Some(span), "{}", show(span));
        }
        assert_eq!(show(secs(3)), "3s");
    }
}
