//! A report for a build server: JUnit XML, a test case per scenario.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Report as Suites, TestCase, TestCaseStatus, TestSuite};

use crate::rehearsal::report::{Report, ScenarioReport};

/// The report as XML. Characters that XML cannot hold are left out.
///
/// # Errors
/// When it cannot be written as XML.
pub fn xml(report: &Report) -> anyhow::Result<String> {
    let mut suites = Suites::new("understudy rehearse");
    let mut suite = TestSuite::new("rehearsals");
    // Its own type's name would be another dependency.
    suite.timestamp = Some(report.began_at.to_string().parse()?);
    suite.set_time(Duration::from_millis(report.took_ms));
    suite.add_property(("understudy", report.version.as_str()));
    suite.add_property(("seed", report.seed.to_string().as_str()));
    if let Some(pool) = &report.pool {
        suite.add_property(("pool", pool.as_str()));
    }
    suite.add_test_cases(report.scenarios.iter().map(case));
    let error = report.error.as_deref().unwrap_or_default();
    suite.add_test_cases(report.unplayed.iter().map(|name| unplayed(name, error)));
    suites.add_test_suite(suite);
    Ok(suites.to_string()?)
}

/// An error, and not skipped: that would be green.
fn unplayed(name: &str, error: &str) -> TestCase {
    let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
    status.set_message(error);
    let mut case = TestCase::new(name, status);
    case.set_classname("rehearsal");
    case
}

fn case(scenario: &ScenarioReport) -> TestCase {
    let status = if scenario.passed {
        TestCaseStatus::success()
    } else {
        let complaints: Vec<&str> = scenario.complaints().map(String::as_str).collect();
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
        status.set_message(complaints.first().copied().unwrap_or("it did not go as it must"));
        status.set_description(complaints.join("\n"));
        status
    };
    let mut case = TestCase::new(&*scenario.name, status);
    case.set_classname("rehearsal");
    case.set_time(Duration::from_millis(scenario.duration_ms));
    let told = scenario.on_stage.iter().map(|show| {
        format!(
            "{}: {} moves, worst gap {} ms, {}\n",
            show.show, show.moves, show.worst_gap_ms, show.phase
        )
    });
    case.set_system_out(told.collect::<String>());
    case
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::rehearse::sample;

    #[test]
    fn the_suite_says_when_it_was_played_and_where() {
        let xml = xml(&sample::report(Some("http://127.0.0.1:3003"))).unwrap();
        assert!(xml.contains("timestamp=\"2026-03-01T18:04:05"), "{xml}");
        assert!(
            xml.contains("name=\"pool\" value=\"http://127.0.0.1:3003\""),
            "{xml}"
        );
    }

    #[test]
    fn what_has_no_verdict_is_an_error() {
        let mut report = sample::report(None);
        report.unplayed.push("zone-lost".to_owned());
        report.error = Some("it was ended".to_owned());
        let xml = xml(&report).unwrap();
        assert!(
            xml.contains("tests=\"2\"") && xml.contains("errors=\"1\""),
            "{xml}"
        );
        assert!(xml.contains("name=\"zone-lost\""), "{xml}");
    }
}
