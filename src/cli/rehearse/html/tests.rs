use super::*;
use crate::cli::rehearse::sample;

#[test]
fn the_page_says_when_and_by_what_it_was_made() {
    let page = page(&sample::report(None));
    assert!(page.contains("<time>2026-03-01T18:04:05Z</time>"), "{page}");
    assert!(page.contains("on simulated machines"), "{page}");
    let version = format!("by understudy {}", env!("CARGO_PKG_VERSION"));
    assert!(page.contains(&version), "{page}");
    assert!(page.contains("Seed 7"), "{page}");
}

#[test]
fn a_live_page_claims_nothing_that_only_the_ingest_could_know() {
    let mut report = sample::report(Some("https://shows.example.org"));
    report.scenarios[0].invariants.checked = 0;
    let page = page(&report);
    assert!(
        page.contains("on the pool of https://shows.example.org"),
        "{page}"
    );
    assert!(page.contains("Not checked: the invariants"), "{page}");
    assert!(page.contains("coordinator&#39;s account"), "{page}");
    for claim in [
        "reached the ingest</td>",
        "reach the ingest",
        "0 checks",
        "nothing at the ingest",
    ] {
        assert!(!page.contains(claim), "{claim} is in {page}");
    }
}

#[test]
fn with_a_witness_it_says_what_the_ingest_saw() {
    let page = page(&sample::report(None));
    assert!(page.contains("the last bytes reached the ingest"), "{page}");
    assert!(
        page.contains("bytes reach the ingest again, 2800 ms later"),
        "{page}"
    );
    assert!(
        page.contains("22 checks of the invariants, 0 violations"),
        "{page}"
    );
}

#[test]
fn a_gap_that_did_not_end_has_no_bytes_after_it() {
    let mut report = sample::report(None);
    report.scenarios[0].on_stage[0].published.truncate(1);
    let page = page(&report);
    assert!(page.contains("the last bytes reached the ingest"), "{page}");
    assert!(!page.contains("reach the ingest again"), "{page}");
}

#[test]
fn what_has_no_verdict_is_named_with_why() {
    let mut report = sample::report(None);
    report.unplayed = vec!["zone-lost".to_owned(), "status-flap".to_owned()];
    report.error = Some("it was ended <early>".to_owned());
    let page = page(&report);
    assert!(page.contains("1 of 3 scenarios went as they must"), "{page}");
    assert!(
        page.contains("it was ended &lt;early&gt;. Without a verdict: zone-lost, status-flap."),
        "{page}"
    );
    assert!(page.contains("<title>Rehearsal: failed"), "{page}");
}

#[test]
fn a_show_that_was_never_on_air_has_no_gap_of_nothing() {
    let mut report = sample::report(None);
    let scenario = &mut report.scenarios[0];
    scenario.worst_gap_ms = 0;
    let show = &mut scenario.on_stage[0];
    (show.worst_gap_ms, show.gaps, show.published) = (0, Vec::new(), Vec::new());
    let page = page(&report);
    assert!(page.contains("never on air"), "{page}");
    assert!(!page.contains("gap 0 ms"), "{page}");
    assert!(!page.contains(">0 ms"), "{page}");
}

/// The attributes of the figure above the show's only gap.
fn label(gap: crate::rehearsal::report::Gap) -> String {
    let mut report = sample::report(None);
    report.scenarios[0].on_stage[0].gaps = vec![gap];
    let page = page(&report);
    let (_, rest) = page.split_once("<text class=\"ms\"").expect("a label");
    rest.split_once('>').expect("its end").0.to_owned()
}

#[test]
fn the_figure_of_a_gap_stands_over_it_and_within_the_drawing() {
    let gap = |at_ms, ms| crate::rehearsal::report::Gap { at_ms, ms };
    // In the middle of 1 s to 3.8 s of 8.4 s.
    let middle = label(gap(1_000, 2_800));
    assert!(middle.contains("anchor=\"middle\" x=\"28.57%\""), "{middle}");
    let first = label(gap(0, 300));
    assert!(first.contains("anchor=\"start\" x=\"0.00%\""), "{first}");
    let last = label(gap(7_900, 100));
    assert!(last.contains("anchor=\"end\""), "{last}");
}

#[test]
fn the_drawing_goes_on_after_the_last_event_for_who_is_on_air() {
    let mut report = sample::report(None);
    let ended = page(&report);
    assert!(ended.contains("class=\"air1 after\""), "{ended}");
    report.scenarios[0].on_stage[0].on_air = false;
    let silent = page(&report);
    assert!(!silent.contains("after\""), "{silent}");
}
