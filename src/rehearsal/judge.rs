//! The verdict: what was expected of shows and alerts, held against what happened. Pure.

use super::control::Alert;
use super::report::{AlertReport, FailoverReport, Rang, ShowReport};
use super::scenario::Objective;
use crate::domain::time::Timestamp;

/// Everything that did not go as it must, one sentence each.
#[must_use]
pub fn failures(shows: &[ShowReport], failovers: &[FailoverReport], objective: &Judged) -> Vec<String> {
    let mut failures = Vec::new();
    for show in shows {
        of_show(show, &mut failures);
    }
    for failover in failovers {
        let seen = failover.found.iter().flatten();
        let lacks: Vec<&str> = failover
            .differences
            .iter()
            .chain(seen)
            .map(String::as_str)
            .collect();
        if !lacks.is_empty() {
            let lacks = lacks.join("; ");
            failures.push(format!("the new studio of show {} lacks: {lacks}", failover.show));
        }
    }
    for pattern in &objective.missing {
        failures.push(format!("no alert rang that is {pattern:?}"));
    }
    for alert in objective
        .alerts
        .iter()
        .filter(|alert| alert.verdict == Rang::Forbidden)
    {
        failures.push(format!(
            "an alert rang that must not, {}: {}: {}",
            alert.source, alert.title, alert.message
        ));
    }
    failures
}

fn of_show(show: &ShowReport, failures: &mut Vec<String>) {
    let name = &show.show;
    if let Some(expected) = show.moves_expected.filter(|expected| *expected != show.moves) {
        let (moves, expected) = (times(show.moves), times(expected));
        failures.push(format!("show {name} was moved {moves} instead of {expected}"));
    }
    if let Some(most) = show.max_off_air_ms.filter(|most| show.worst_gap_ms > *most) {
        failures.push(format!(
            "the viewers of show {name} had nothing for {} ms; the objective is {most} ms",
            show.worst_gap_ms
        ));
    }
    let as_expected = match show.ends.as_str() {
        "on-air" => show.phase == "on_air" && show.on_air,
        "off-air" => show.phase == "off_air" && !show.on_air,
        "released" => show.phase == "idle" && !show.on_air,
        _ => show.phase == "failing_over" && !show.on_air,
    };
    if !as_expected {
        let air = if show.on_air { "on" } else { "off" };
        failures.push(format!(
            "show {name} should have ended {}; the coordinator says {}, and it is {air} the air",
            show.ends, show.phase
        ));
    }
}

fn times(count: u32) -> String {
    match count {
        0 => "never".to_owned(),
        1 => "once".to_owned(),
        more => format!("{more} times"),
    }
}

/// The alerts that rang, each with its verdict, and those that should have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    pub alerts: Vec<AlertReport>,
    /// Patterns that must ring and did not.
    pub missing: Vec<String>,
}

/// Judges alerts: those that rang before the beginning do not count.
#[must_use]
pub fn alerts(rang: &[Alert], objective: &Objective, begin: Timestamp) -> Judged {
    let rang: Vec<&Alert> = rang.iter().filter(|alert| alert.at >= begin).collect();
    let any = |patterns: &[String], alert: &Alert| patterns.iter().any(|pattern| is_it(pattern, alert));
    let judged = rang.iter().map(|alert| {
        let verdict = if any(&objective.must_not_ring, alert) {
            Rang::Forbidden
        } else if any(&objective.must_ring, alert) {
            Rang::Expected
        } else {
            Rang::Allowed
        };
        AlertReport::of(alert, verdict, begin)
    });
    let silent = |pattern: &&String| !rang.iter().any(|alert| is_it(pattern, alert));
    Judged {
        alerts: judged.collect(),
        missing: objective.must_ring.iter().filter(silent).cloned().collect(),
    }
}

/// A pattern is an alert's source, or `source: title`; a `*` stands for anything.
fn is_it(pattern: &str, alert: &Alert) -> bool {
    if pattern.contains(": ") {
        matches(pattern, &format!("{}: {}", alert.source, alert.title))
    } else {
        matches(pattern, &alert.source)
    }
}

fn matches(pattern: &str, text: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(rest) = text.strip_prefix(before) else {
        return false;
    };
    let mut starts = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
    starts.any(|at| matches(after, &rest[at..]))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::rehearsal::scenario::{Ends, Expected};

    fn alert(source: &str, title: &str, at: u64) -> Alert {
        Alert {
            level: "critical".to_owned(),
            source: source.to_owned(),
            title: title.to_owned(),
            message: String::new(),
            show: None,
            vm: None,
            at: Timestamp(at),
        }
    }

    fn objective(must: &[&str], must_not: &[&str]) -> Objective {
        let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        Objective {
            max_off_air: None,
            within: Duration::ZERO,
            watch: Duration::ZERO,
            must_ring: texts(must),
            must_not_ring: texts(must_not),
            part: Expected {
                moves: Some(0),
                ends: Ends::OnAir,
            },
        }
    }

    fn show(ends: &str, phase: &str, on_air: bool) -> ShowReport {
        ShowReport {
            show: "finals".to_owned(),
            moves_expected: Some(1),
            moves: 1,
            ends: ends.to_owned(),
            phase: phase.to_owned(),
            on_air,
            max_off_air_ms: Some(5_000),
            worst_gap_ms: 4_000,
            gaps: Vec::new(),
            published: Vec::new(),
        }
    }

    fn complaints(show: &ShowReport) -> Vec<String> {
        let mut failures = Vec::new();
        of_show(show, &mut failures);
        failures
    }

    #[test]
    fn a_pattern_is_a_source_or_a_source_and_a_title_with_stars_for_anything() {
        let started = alert("vm-failover-finals", "Failover started", 0);
        for pattern in [
            "vm-failover-finals",
            "vm-failover-*",
            "*",
            "*-finals",
            "vm-*-finals",
            "vm-failover-*: Failover started",
            "*: *started",
        ] {
            assert!(is_it(pattern, &started), "{pattern}");
        }
        for pattern in ["vm-failover", "finals", "vm-failover-*: Failover done", "", "*x"] {
            assert!(!is_it(pattern, &started), "{pattern}");
        }
    }

    #[test]
    fn alerts_are_expected_allowed_or_forbidden_and_what_did_not_ring_is_missing() {
        let rang = [
            alert("vm-failover-a", "Failover started", 10),
            alert("ssh-failed-vm-1", "SSH lost", 11),
            alert("vm-failover-b", "Failover started", 12),
            alert("vm-not-clean-vm-9", "VM is not clean", 5),
        ];
        let objective = objective(&["vm-failover-a", "vm-not-clean-*"], &["*-b"]);
        let judged = alerts(&rang, &objective, Timestamp(10));
        let verdicts: Vec<Rang> = judged.alerts.iter().map(|alert| alert.verdict).collect();
        assert_eq!(verdicts, [Rang::Expected, Rang::Allowed, Rang::Forbidden]);
        assert_eq!(judged.missing, ["vm-not-clean-*"]);
        let failures = failures(&[], &[], &judged);
        assert_eq!(failures.len(), 2, "{failures:?}");
    }

    #[test]
    fn each_ending_is_held_against_the_coordinators_word_and_the_ingests() {
        for (ends, phase, on_air) in [
            ("on-air", "on_air", true),
            ("off-air", "off_air", false),
            ("released", "idle", false),
            ("waiting", "failing_over", false),
        ] {
            assert_eq!(complaints(&show(ends, phase, on_air)), [] as [String; 0]);
            assert_eq!(complaints(&show(ends, phase, !on_air)).len(), 1, "{ends}");
            assert_eq!(complaints(&show(ends, "releasing", on_air)).len(), 1, "{ends}");
        }
    }

    #[test]
    fn a_gap_beyond_the_objective_and_a_move_too_many_are_failures() {
        let mut one = show("on-air", "on_air", true);
        one.worst_gap_ms = 5_001;
        assert!(complaints(&one)[0].contains("5001 ms"), "{:?}", complaints(&one));
        one.max_off_air_ms = None;
        one.moves = 2;
        assert_eq!(
            complaints(&one),
            ["show finals was moved 2 times instead of once"]
        );
        one.moves_expected = None;
        assert_eq!(complaints(&one), [] as [String; 0]);
    }
}
