//! What happened to one show, moment by moment, in words.

use std::fmt::{self, Write as _};

use super::{At, Plain, lanes};
use crate::rehearsal::report::{FailoverReport, ScenarioReport, ShowReport};

pub(super) fn list(page: &mut String, scenario: &ScenarioReport, show: &ShowReport) -> fmt::Result {
    let mut moments = struck(scenario, show);
    for failover in lanes::of(scenario, show) {
        moments.extend(moved(failover));
    }
    for gap in &show.gaps {
        moments.push((gap.at_ms, "the last bytes reached the ingest".to_owned()));
        let back = format!("bytes reach the ingest again, {} ms later", gap.ms);
        moments.push((gap.at_ms + gap.ms, back));
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
        step(Some(failover.noticed_at_ms), format!("noticed: {from}")),
        step(
            Some(failover.decided_at_ms),
            format!("decided: {}, to {to}", failover.cause),
        ),
        step(failover.fenced_at_ms, format!("fenced: {from} publishes no more")),
        step(failover.restored_at_ms, format!("restored: the studio of {to}")),
        step(Some(failover.ended_at_ms), ending),
    ]
    .into_iter()
    .flatten()
    .collect()
}
