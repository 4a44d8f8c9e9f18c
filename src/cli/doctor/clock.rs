//! Clocks: how far two of them are apart, and what that does.

use std::time::{Duration, SystemTime};

use super::finding::Finding;

/// What is measured is this exact at best: a date in an answer has whole seconds.
const NOTICED: Duration = Duration::from_secs(2);
/// AWS refuses requests that are five minutes off
/// (<https://docs.aws.amazon.com/AmazonS3/latest/API/RESTAuthentication.html>, fifteen for S3); some are left for drift.
const REFUSED: Duration = Duration::from_secs(240);

/// Whose clock is to be set.
#[derive(Debug, Clone, Copy)]
pub enum Whose {
    Here,
    Theirs,
}

/// How far a clock is ahead of ours, in seconds. It was read between `before` and `took` later.
#[must_use]
pub fn ahead(theirs: SystemTime, before: SystemTime, took: Duration) -> f64 {
    let ours = before + took / 2;
    match theirs.duration_since(ours) {
        Ok(ahead) => ahead.as_secs_f64(),
        Err(behind) => -behind.duration().as_secs_f64(),
    }
}

/// What follows from another clock being so far ahead of ours.
#[must_use]
pub fn judge(check: impl Into<String>, whose: Whose, ahead_s: f64) -> Finding {
    let way = if ahead_s < 0.0 { "behind" } else { "ahead of" };
    let apart = Duration::try_from_secs_f64(ahead_s.abs()).unwrap_or(Duration::MAX);
    let detail = format!("{:.1} s {way} this machine's", ahead_s.abs());
    let advice = match whose {
        Whose::Here => {
            "set this machine's clock: run chrony or systemd-timesyncd, and see with `timedatectl`"
        }
        Whose::Theirs => "set its clock: run chrony or systemd-timesyncd on it, and see with `timedatectl`",
    };
    if apart >= REFUSED {
        Finding::fail(
            check,
            detail,
            format!("{advice}; requests that are minutes off are refused"),
        )
    } else if apart >= NOTICED {
        Finding::warn(
            check,
            detail,
            format!("{advice}; times in logs cannot be compared meanwhile"),
        )
    } else {
        Finding::pass(check, detail)
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;

    #[test]
    fn a_clock_is_compared_with_the_middle_of_the_question() {
        let before = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        let took = Duration::from_secs(2);
        assert!((ahead(before + Duration::from_secs(4), before, took) - 3.0).abs() < 0.001);
        assert!((ahead(before, before, took) + 1.0).abs() < 0.001);
    }

    #[test]
    fn what_is_off_by_minutes_fails_in_either_direction() {
        for (ahead_s, verdict) in [
            (0.9, Verdict::Pass),
            (-1.9, Verdict::Pass),
            (7.0, Verdict::Warn),
            (-7.0, Verdict::Warn),
            (300.0, Verdict::Fail),
            (-300.0, Verdict::Fail),
        ] {
            assert_eq!(judge("clock", Whose::Here, ahead_s).verdict, verdict, "{ahead_s}");
        }
    }
}
