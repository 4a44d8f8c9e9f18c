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
    suite.add_property(("seed", report.seed.to_string().as_str()));
    suite.add_test_cases(report.scenarios.iter().map(case));
    suites.add_test_suite(suite);
    Ok(suites.to_string()?)
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
