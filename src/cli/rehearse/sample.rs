//! A report for the tests of how it looks.

use crate::rehearsal::report::{
    AlertReport, FailoverReport, Gap, Invariants, Published, Rang, Report, ScenarioReport, ShowReport, Strike,
};

/// At a time of its own, with one scenario that went as it must.
pub fn report(pool: Option<&str>) -> Report {
    let began_at = "2026-03-01T18:04:05Z".parse().expect("a time");
    let mut report = Report::begun(began_at, 7, pool.map(str::to_owned));
    report.took_ms = 184_000;
    report.scenarios.push(scenario());
    report
}

/// One show, which was moved once.
pub fn scenario() -> ScenarioReport {
    ScenarioReport {
        name: "studio-crash".to_owned(),
        about: "The studio dies".to_owned(),
        passed: true,
        duration_ms: 8_000,
        shows: 1,
        shows_on_air: 1,
        worst_gap_ms: 2_800,
        strikes: vec![Strike {
            at_ms: 900,
            until_ms: Some(5_000),
            show: Some("show-1".to_owned()),
            what: "studio-crash: vm-1".to_owned(),
        }],
        on_stage: vec![show()],
        failovers: vec![failover()],
        alerts: vec![AlertReport {
            at_ms: 1_200,
            level: "warning".to_owned(),
            source: "vm-failover-show-1".to_owned(),
            title: "Failover started".to_owned(),
            message: String::new(),
            show: Some("show-1".to_owned()),
            verdict: Rang::Allowed,
        }],
        alerts_missing: Vec::new(),
        invariants: Invariants {
            checked: 22,
            violations: Vec::new(),
        },
        failures: Vec::new(),
    }
}

pub fn show() -> ShowReport {
    let published = |at_ms, until_ms, by: &str| Published {
        at_ms,
        until_ms,
        by: by.to_owned(),
    };
    ShowReport {
        show: "show-1".to_owned(),
        moves_expected: Some(1),
        moves: 1,
        ends: "on-air".to_owned(),
        phase: "on_air".to_owned(),
        on_air: true,
        max_off_air_ms: Some(5_000),
        worst_gap_ms: 2_800,
        gaps: vec![Gap {
            at_ms: 1_000,
            ms: 2_800,
        }],
        published: vec![
            published(0, 1_000, "127.78.0.1"),
            published(3_800, 8_000, "127.78.0.2"),
        ],
    }
}

fn failover() -> FailoverReport {
    FailoverReport {
        show: "show-1".to_owned(),
        cause: "studio down".to_owned(),
        epoch: 2,
        from: "vm-1".to_owned(),
        to: Some("vm-2".to_owned()),
        ending: "on-air".to_owned(),
        summary: String::new(),
        suspected_at_ms: 1_000,
        decided_at_ms: 1_200,
        fenced_at_ms: Some(1_400),
        restored_at_ms: Some(3_300),
        ended_at_ms: 4_000,
        detect_ms: 200,
        decide_ms: Some(0),
        fence_ms: Some(200),
        restore_ms: Some(1_900),
        verify_ms: Some(700),
        off_air_ms: Some(3_000),
        ingest_gap_ms: Some(2_800),
        differences: Vec::new(),
        found: None,
    }
}
