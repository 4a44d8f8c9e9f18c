//! What happened to one show, moment by moment, in words.

use std::fmt::{self, Write as _};

use super::{Account, At, Plain, lanes};
use crate::rehearsal::report::{FailoverReport, Gap, ScenarioReport, ShowReport};

pub(super) fn list(
    page: &mut String,
    scenario: &ScenarioReport,
    show: &ShowReport,
    account: Account,
) -> fmt::Result {
    let mut moments = struck(scenario, show);
    for failover in lanes::of(scenario, show) {
        moments.extend(moved(failover));
    }
    for gap in &show.gaps {
        moments.extend(silent(show, gap, account));
    }
    if moments.is_empty() {
        return Ok(());
    }
    moments.sort_by_key(|(at_ms, _)| *at_ms);
    page.write_str("<details open><summary>Moment by moment</summary><div class=\"scroll\"><table><tbody>")?;
    for (at_ms, what) in moments {
        write!(
            page,
            "<tr><td class=\"n\">{}</td><td>{}</td></tr>",
            At(at_ms),
            Plain(&what)
        )?;
    }
    page.write_str("</tbody></table></div></details>")
}

/// How a gap begins and ends, as far as somebody saw it: at the beginning nothing may have been there yet, and at the end
/// nothing may have come back.
fn silent(show: &ShowReport, gap: &Gap, account: Account) -> Vec<(u64, String)> {
    let (gone, again) = match account {
        Account::Ingest => (
            "the last bytes reached the ingest",
            "bytes reach the ingest again",
        ),
        Account::Coordinator => (
            "off air, by the coordinator's account",
            "on air again, by the coordinator's account",
        ),
    };
    let end_ms = gap.at_ms + gap.ms;
    let before = show
        .published
        .iter()
        .any(|published| published.until_ms <= gap.at_ms);
    let after = show.published.iter().any(|published| published.at_ms >= end_ms);
    let gone = before.then(|| (gap.at_ms, gone.to_owned()));
    let again = after.then(|| (end_ms, format!("{again}, {} ms later", gap.ms)));
    gone.into_iter().chain(again).collect()
}

fn struck(scenario: &ScenarioReport, show: &ShowReport) -> Vec<(u64, String)> {
    let about = |about: &Option<String>| about.as_deref().is_none_or(|about| about == show.show);
    let strikes = scenario.strikes.iter().filter(|strike| about(&strike.show));
    strikes
        .flat_map(|strike| {
            let mended = strike
                .until_ms
                .map(|at_ms| (at_ms, format!("over: {}", strike.what)));
            [Some((strike.at_ms, strike.what.clone())), mended]
        })
        .flatten()
        .collect()
}

fn moved(failover: &FailoverReport) -> Vec<(u64, String)> {
    let (from, to) = (&failover.from, failover.to.as_deref().unwrap_or("no other VM"));
    let step = |at_ms: Option<u64>, what: String| at_ms.map(|at_ms| (at_ms, what));
    let ending = match failover.ending.as_str() {
        "on-air" => format!(
            "on air on {to}, by the coordinator's account after {} ms",
            failover.off_air_ms.unwrap_or_default()
        ),
        other => format!("the move ended: {other}"),
    };
    [
        step(
            Some(failover.suspected_at_ms),
            format!("in doubt since then: {from}"),
        ),
        step(
            Some(failover.decided_at_ms),
            format!("noticed: {}; to {to}", failover.cause),
        ),
        step(failover.fenced_at_ms, format!("fenced: {from} publishes no more")),
        step(failover.restored_at_ms, format!("restored: the studio of {to}")),
        step(Some(failover.ended_at_ms), ending),
    ]
    .into_iter()
    .flatten()
    .collect()
}
