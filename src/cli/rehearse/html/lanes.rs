//! The timeline of one show as SVG.

use std::fmt::{self, Write as _};

use super::{Account, Plain};
use crate::rehearsal::report::{FailoverReport, Published, ScenarioReport, ShowReport};

const HEIGHT: u32 = 102;
const FIGURES_Y: u32 = 12;
const AIR_Y: u32 = 18;
const STEPS_Y: u32 = 48;
const ALERTS_Y: u32 = 72;
const AXIS_Y: u32 = 96;
/// What a figure takes on a narrow screen, in per cent.
const FIGURE_WIDTH: f64 = 18.0;
/// Narrower than this, in per cent, nobody would see it.
const WIDTH_MIN: f64 = 0.3;

/// What the colours mean.
pub(super) fn key(page: &mut String, account: Account) -> fmt::Result {
    let silent = match account {
        Account::Ingest => "nothing at the ingest",
        Account::Coordinator => "off air by the coordinator's account",
    };
    write!(
        page,
        "<ul class=\"key\">\
         <li><span class=\"swatch mark\"></span>struck, or {silent}</li>\
         <li><span class=\"swatch mark faint\"></span>for as long as the fault lasted</li>\
         <li><span class=\"swatch air\"></span><span class=\"swatch other-air\"></span>published, by one VM and by the next; \
         faint: on air when it ended</li>\
         <li><span class=\"swatch quiet\"></span>in doubt until noticed</li>\
         <li><span class=\"swatch step\"></span>noticed to back on air</li>\
         <li>alerts: <span class=\"dot mark\"></span>critical <span class=\"dot step\"></span>warning \
         <span class=\"dot quiet\"></span>information</li></ul>"
    )
}

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
    // It goes on a moment after the last event, so that one sees who was still on air.
    let scale = Scale {
        whole_ms: (scenario.duration_ms + scenario.duration_ms / 20).max(1),
    };
    let gap = match show.published.is_empty() {
        true => "never on air".to_owned(),
        false => format!("worst gap {} ms", show.worst_gap_ms),
    };
    write!(
        page,
        "<svg height=\"{HEIGHT}\" role=\"img\" aria-label=\"Timeline of {}: {gap}\">",
        Plain(&show.show),
    )?;
    axis(page, &scale)?;
    strikes(page, &scale, scenario, show)?;
    on_air(page, &scale, show)?;
    still_on_air(page, &scale, scenario, show)?;
    gaps(page, &scale, show)?;
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

/// What was published, with the number of its colour: one VM's and the next one's.
fn stripes(show: &ShowReport) -> impl Iterator<Item = (usize, &Published)> {
    let mut before: Option<&str> = None;
    let mut number = 1;
    show.published.iter().map(move |published| {
        if before != Some(&published.by) {
            before = Some(&published.by);
            number = 1 - number;
        }
        (number, published)
    })
}

fn on_air(page: &mut String, scale: &Scale, show: &ShowReport) -> fmt::Result {
    for (number, published) in stripes(show) {
        write!(
            page,
            "<rect class=\"air{number}\" x=\"{:.2}%\" y=\"{AIR_Y}\" width=\"{:.2}%\" height=\"20\"><title>{} to {}: {}</title></rect>",
            scale.at(published.at_ms),
            scale.width(published.at_ms, published.until_ms),
            super::At(published.at_ms),
            super::At(published.until_ms),
            Plain(&published.by)
        )?;
    }
    if show.published.is_empty() {
        let y = AIR_Y + 14;
        write!(
            page,
            "<text class=\"ms\" x=\"0%\" dx=\"4\" y=\"{y}\">never on air</text>"
        )?;
    }
    Ok(())
}

/// Who was on air when it ended: nobody looked any longer, so that it is drawn faintly.
fn still_on_air(
    page: &mut String,
    scale: &Scale,
    scenario: &ScenarioReport,
    show: &ShowReport,
) -> fmt::Result {
    let Some((number, last)) = stripes(show).last().filter(|_| show.on_air) else {
        return Ok(());
    };
    let from_ms = last.until_ms.min(scenario.duration_ms);
    write!(
        page,
        "<rect class=\"air{number} after\" x=\"{:.2}%\" y=\"{AIR_Y}\" width=\"{:.2}%\" height=\"20\"><title>on air when it ended</title></rect>",
        scale.at(from_ms),
        scale.width(from_ms, scale.whole_ms),
    )
}

/// The gaps, and their figures as far as there is room: the longest come first.
fn gaps(page: &mut String, scale: &Scale, show: &ShowReport) -> fmt::Result {
    let mut longest_first: Vec<_> = show.gaps.iter().collect();
    longest_first.sort_by_key(|gap| std::cmp::Reverse(gap.ms));
    let mut taken: Vec<f64> = Vec::new();
    for gap in longest_first {
        let (from, end) = (scale.at(gap.at_ms), scale.at(gap.at_ms + gap.ms));
        write!(
            page,
            "<rect class=\"gap\" x=\"{from:.2}%\" y=\"{}\" width=\"{:.2}%\" height=\"6\"><title>{} ms</title></rect>",
            AIR_Y + 7,
            scale.width(gap.at_ms, gap.at_ms + gap.ms),
            gap.ms
        )?;
        let middle = f64::midpoint(from, end);
        if taken.iter().any(|other| (other - middle).abs() < FIGURE_WIDTH) {
            continue;
        }
        taken.push(middle);
        // Over its middle; at an edge of the drawing inwards from there.
        let (anchor, x, dx) = match middle {
            left if left < FIGURE_WIDTH / 2.0 => ("start", from, 3),
            right if right > 100.0 - FIGURE_WIDTH / 2.0 => ("end", end, -3),
            middle => ("middle", middle, 0),
        };
        write!(
            page,
            "<text class=\"ms\" text-anchor=\"{anchor}\" x=\"{x:.2}%\" dx=\"{dx}\" y=\"{FIGURES_Y}\">{} ms</text>",
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
    bar("detect", failover.suspected_at_ms, failover.decided_at_ms)?;
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
