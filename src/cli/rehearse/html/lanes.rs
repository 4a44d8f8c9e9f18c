//! The timeline of one show as SVG.

use std::fmt::{self, Write as _};

use super::Plain;
use crate::rehearsal::report::{FailoverReport, ScenarioReport, ShowReport};

/// What the colours mean.
pub(super) const KEY: &str = "<ul class=\"key\">\
    <li><span style=\"background:var(--mark)\"></span>struck, or nothing at the ingest</li>\
    <li><span style=\"background:var(--air)\"></span><span style=\"background:var(--other-air)\"></span>published, by one VM and by the next</li>\
    <li><span style=\"background:var(--quiet)\"></span>noticed to decided</li>\
    <li><span style=\"background:var(--step)\"></span>decided to back on air</li>\
    <li>● an alert</li></ul>";

const HEIGHT: u32 = 96;
const AIR_Y: u32 = 12;
const STEPS_Y: u32 = 42;
const ALERTS_Y: u32 = 66;
const AXIS_Y: u32 = 90;
/// Narrower than this, in per cent, nobody would see it.
const WIDTH_MIN: f64 = 0.3;

/// Where a moment is, in per cent of the width.
struct Scale {
    whole_ms: u64,
}

impl Scale {
    #[expect(
        clippy::cast_precision_loss,
        reason = "milliseconds of a rehearsal are far below 2^52"
    )]
    fn at(&self, ms: u64) -> f64 {
        100.0 * ms.min(self.whole_ms) as f64 / self.whole_ms as f64
    }

    fn width(&self, from_ms: u64, to_ms: u64) -> f64 {
        (self.at(to_ms) - self.at(from_ms)).max(WIDTH_MIN)
    }
}

pub(super) fn draw(page: &mut String, scenario: &ScenarioReport, show: &ShowReport) -> fmt::Result {
    let scale = Scale {
        whole_ms: scenario.duration_ms.max(1),
    };
    write!(
        page,
        "<svg height=\"{HEIGHT}\" role=\"img\" aria-label=\"Timeline of {}: worst gap {} ms\">",
        Plain(&show.show),
        show.worst_gap_ms
    )?;
    axis(page, &scale)?;
    strikes(page, &scale, scenario, show)?;
    on_air(page, &scale, show)?;
    for failover in of(scenario, show) {
        steps(page, &scale, failover)?;
    }
    let about = |about: &Option<String>| about.as_deref().is_none_or(|about| about == show.show);
    for alert in scenario.alerts.iter().filter(|alert| about(&alert.show)) {
        write!(
            page,
            "<circle class=\"{}\" cx=\"{:.2}%\" cy=\"{ALERTS_Y}\" r=\"4\"><title>{}: {}</title></circle>",
            Plain(&alert.level),
            scale.at(alert.at_ms),
            super::At(alert.at_ms),
            Plain(&alert.title),
        )?;
    }
    page.write_str("</svg>")
}

/// The show's moves.
pub(super) fn of<'r>(
    scenario: &'r ScenarioReport,
    show: &'r ShowReport,
) -> impl Iterator<Item = &'r FailoverReport> {
    scenario
        .failovers
        .iter()
        .filter(|failover| failover.show == show.show)
}

/// A line for each of about six round numbers of seconds.
fn axis(page: &mut String, scale: &Scale) -> fmt::Result {
    const STEPS_S: [u64; 10] = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600];
    let wanted_s = scale.whole_ms / 6_000;
    let step_s = STEPS_S
        .iter()
        .find(|step| **step >= wanted_s)
        .copied()
        .unwrap_or(3_600);
    let mut at_ms = 0;
    while at_ms < scale.whole_ms {
        let x = scale.at(at_ms);
        write!(
            page,
            "<line class=\"grid\" x1=\"{x:.2}%\" x2=\"{x:.2}%\" y1=\"0\" y2=\"{HEIGHT}\"/>"
        )?;
        // The last one would be cut off.
        if x < 93.0 {
            write!(
                page,
                "<text x=\"{x:.2}%\" dx=\"3\" y=\"{AXIS_Y}\">{} s</text>",
                at_ms / 1_000
            )?;
        }
        at_ms += step_s * 1_000;
    }
    Ok(())
}

fn strikes(page: &mut String, scale: &Scale, scenario: &ScenarioReport, show: &ShowReport) -> fmt::Result {
    let about = |about: &Option<String>| about.as_deref().is_none_or(|about| about == show.show);
    for strike in scenario.strikes.iter().filter(|strike| about(&strike.show)) {
        let x = scale.at(strike.at_ms);
        if let Some(until_ms) = strike.until_ms {
            let width = scale.width(strike.at_ms, until_ms);
            write!(
                page,
                "<rect class=\"lasts\" x=\"{x:.2}%\" y=\"0\" width=\"{width:.2}%\" height=\"{HEIGHT}\"/>"
            )?;
        }
        write!(
            page,
            "<line class=\"struck\" x1=\"{x:.2}%\" x2=\"{x:.2}%\" y1=\"0\" y2=\"{ALERTS_Y}\"><title>{}: {}</title></line>",
            super::At(strike.at_ms),
            Plain(&strike.what)
        )?;
    }
    Ok(())
}

fn on_air(page: &mut String, scale: &Scale, show: &ShowReport) -> fmt::Result {
    let mut publishers: Vec<&str> = Vec::new();
    for published in &show.published {
        if publishers.last() != Some(&published.by.as_str()) {
            publishers.push(&published.by);
        }
        write!(
            page,
            "<rect class=\"air{}\" x=\"{:.2}%\" y=\"{AIR_Y}\" width=\"{:.2}%\" height=\"20\"><title>{} to {}: {}</title></rect>",
            (publishers.len() + 1) % 2,
            scale.at(published.at_ms),
            scale.width(published.at_ms, published.until_ms),
            super::At(published.at_ms),
            super::At(published.until_ms),
            Plain(&published.by)
        )?;
    }
    for gap in &show.gaps {
        let (x, end) = (scale.at(gap.at_ms), scale.at(gap.at_ms + gap.ms));
        write!(
            page,
            "<rect class=\"gap\" x=\"{x:.2}%\" y=\"{}\" width=\"{:.2}%\" height=\"6\"/>",
            AIR_Y + 7,
            scale.width(gap.at_ms, gap.at_ms + gap.ms)
        )?;
        // Beside the gap, on the side where there is room.
        let (anchor, x, dx) = if end < 80.0 {
            ("start", end, 4)
        } else {
            ("end", x, -4)
        };
        write!(
            page,
            "<text class=\"ms\" text-anchor=\"{anchor}\" x=\"{x:.2}%\" dx=\"{dx}\" y=\"{}\">{} ms</text>",
            STEPS_Y + 12,
            gap.ms
        )?;
    }
    Ok(())
}

fn steps(page: &mut String, scale: &Scale, failover: &FailoverReport) -> fmt::Result {
    let mut bar = |class: &str, from_ms: u64, to_ms: u64| {
        write!(
            page,
            "<rect class=\"{class}\" x=\"{:.2}%\" y=\"{STEPS_Y}\" width=\"{:.2}%\" height=\"6\"/>",
            scale.at(from_ms),
            scale.width(from_ms, to_ms)
        )
    };
    bar("detect", failover.noticed_at_ms, failover.decided_at_ms)?;
    bar("move", failover.decided_at_ms, failover.ended_at_ms)?;
    for at_ms in [failover.fenced_at_ms, failover.restored_at_ms]
        .into_iter()
        .flatten()
    {
        let x = scale.at(at_ms);
        write!(
            page,
            "<line class=\"tick\" x1=\"{x:.2}%\" x2=\"{x:.2}%\" y1=\"{STEPS_Y}\" y2=\"{}\"/>",
            STEPS_Y + 6
        )?;
    }
    Ok(())
}
