//! Rehearsals: what is wrong with the command line is said before the first scenario.

use crate::program::run;

#[tokio::test]
async fn a_report_that_has_no_place_is_refused_before_anything_is_rehearsed() {
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("missing/report.json").display().to_string();
    let run = run(
        &[],
        &["rehearse", "--scenario", "studio-crash", "--report", &report],
    )
    .await;
    let told = run.failed(1);
    assert!(
        told.contains(&format!("the report cannot be written to {report}")),
        "{told}"
    );
    assert!(told.contains("No such file or directory"), "{told}");
}
