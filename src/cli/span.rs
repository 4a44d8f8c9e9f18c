//! Spans and instants as people write and read them.

use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// Reads `20s`, `1m 30s`, `500ms`, or a plain number of seconds.
///
/// # Errors
/// A sentence that says what is understood.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let whole = text.parse::<u64>().ok().map(Duration::from_secs);
    let written = || -> Option<Duration> {
        let span: SignedDuration = text.parse().ok()?;
        Duration::try_from(span).ok()
    };
    whole
        .or_else(written)
        .ok_or_else(|| "a time is seconds, or a number with a unit: 20s, 500ms, 2m, 1m 30s".to_owned())
}

/// As [`parse`], for a span that must not be zero.
///
/// # Errors
/// As [`parse`].
pub(super) fn parse_positive(text: &str) -> Result<Duration, String> {
    let span = parse(text)?;
    if span.is_zero() {
        return Err("the time must be longer than zero".to_owned());
    }
    Ok(span)
}

/// A long span in its two greatest units: `2 h 13 min`, `4 d 1 h`, `12 s`.
#[must_use]
pub fn long(span: Duration) -> String {
    let seconds = span.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    let pair = |great: u64, unit: &str, small: u64, small_unit: &str| match small {
        0 => format!("{great} {unit}"),
        small => format!("{great} {unit} {small} {small_unit}"),
    };
    if days > 0 {
        pair(days, "d", hours, "h")
    } else if hours > 0 {
        pair(hours, "h", minutes, "min")
    } else if minutes > 0 {
        pair(minutes, "min", seconds % 60, "s")
    } else {
        format!("{seconds} s")
    }
}

/// As [`long`], without the seconds of what is longer than a minute.
#[must_use]
pub fn coarse(span: Duration) -> String {
    match span.as_secs() {
        0..60 => long(span),
        seconds => long(Duration::from_secs(seconds - seconds % 60)),
    }
}

/// A span of a step, with three digits: `12 ms`, `0.82 s`, `4.1 s`, `1 min 5 s`.
#[must_use]
pub fn step(ms: u64) -> String {
    match ms {
        0..100 => format!("{ms} ms"),
        // Hundredths of a second, cut off.
        100..10_000 => format!("{}.{:02} s", ms / 1000, ms % 1000 / 10),
        10_000..60_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        _ => long(Duration::from_millis(ms)),
    }
}

/// How long ago `then` was: `now`, `5 s ago`. What lies ahead by a clock that differs is `now`.
#[must_use]
pub fn ago(then: Timestamp, now: Timestamp) -> String {
    let span = Duration::try_from(now.duration_since(then)).unwrap_or_default();
    if span < Duration::from_secs(1) {
        return "now".to_owned();
    }
    format!("{} ago", coarse(span))
}

/// The time of day where the reader is: `18:03:12`.
#[must_use]
pub fn clock(at: Timestamp) -> String {
    at.to_zoned(TimeZone::system()).strftime("%H:%M:%S").to_string()
}

/// Date and time where the reader is: `2026-11-20 18:03:12`.
#[must_use]
pub fn date(at: Timestamp) -> String {
    at.to_zoned(TimeZone::system())
        .strftime("%Y-%m-%d %H:%M:%S")
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_with_and_without_a_unit() {
        for (text, ms) in [
            ("20s", 20_000),
            ("20", 20_000),
            ("500ms", 500),
            ("1m 30s", 90_000),
            ("0", 0),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "-3s", "-3", "soon", "3 parsecs", "99999999999999999999"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse_positive("0s").is_err());
    }

    #[test]
    fn long_spans_have_two_units_at_most() {
        for (seconds, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (65, "1 min 5 s"),
            (7980, "2 h 13 min"),
            (86_400 * 4 + 3600, "4 d 1 h"),
        ] {
            assert_eq!(long(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn steps_keep_the_digits_that_matter() {
        for (ms, text) in [
            (0, "0 ms"),
            (99, "99 ms"),
            (100, "0.10 s"),
            (829, "0.82 s"),
            (9_999, "9.99 s"),
            (10_000, "10.0 s"),
            (59_999, "59.9 s"),
            (65_000, "1 min 5 s"),
        ] {
            assert_eq!(step(ms), text, "{ms}");
        }
    }

    #[test]
    fn an_age_is_coarse_and_never_negative() {
        let at = |s: i64| Timestamp::from_second(s).unwrap();
        assert_eq!(ago(at(100), at(100)), "now");
        assert_eq!(ago(at(100), at(50)), "now");
        assert_eq!(ago(at(100), at(105)), "5 s ago");
        assert_eq!(ago(at(100), at(100 + 250)), "4 min ago");
    }
}
