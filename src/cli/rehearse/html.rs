//! A report as one page: no script, nothing from elsewhere, light or dark as the reader likes it.
//!
//! Each show has its timeline: what was struck, who published as the ingest saw it, what the coordinator did, which
//! alerts rang. Widths are in per cent and heights in pixels, so that text stays legible on a narrow screen.

mod lanes;
mod moments;
#[cfg(test)]
mod tests;

use std::fmt::{self, Write as _};

use crate::rehearsal::report::{AlertReport, Rang, Report, ScenarioReport, ShowReport};

const STYLE: &str = include_str!("page.css");

/// Text that cannot be taken for markup.
pub(super) struct Plain<'t>(pub(super) &'t str);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|letter| match letter {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            '\'' => f.write_str("&#39;"),
            other => f.write_char(other),
        })
    }
}

/// Milliseconds as seconds of the timeline.
pub(super) struct At(pub(super) u64);

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03} s", self.0 / 1_000, self.0 % 1_000)
    }
}

/// By whose account something happened: without a witness at the ingest it is the coordinator's alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Account {
    Ingest,
    Coordinator,
}

/// The page.
#[must_use]
pub fn page(report: &Report) -> String {
    let mut page = String::new();
    // Writing to a string cannot fail.
    let _ = write_page(&mut page, report);
    page
}

fn write_page(page: &mut String, report: &Report) -> fmt::Result {
    let (word, class) = verdict(report.passed());
    let asked = report.scenarios.len() + report.unplayed.len();
    let account = match report.pool {
        Some(_) => Account::Coordinator,
        None => Account::Ingest,
    };
    write!(
        page,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>Rehearsal: {word}</title><style>{STYLE}</style></head><body>\n\
         <header class=\"head\"><h1>Rehearsal</h1><span class=\"verdict {class}\">{word}</span></header>\
         <p class=\"quiet\">{} of {asked} scenarios went as they must.</p>",
        report.passed_count(),
    )?;
    origin(page, report)?;
    overview(page, report)?;
    for (number, scenario) in report.scenarios.iter().enumerate() {
        section(page, number, scenario, account)?;
    }
    page.write_str("</body></html>\n")
}

/// When, where and by what it was made, and what is missing in it.
fn origin(page: &mut String, report: &Report) -> fmt::Result {
    if let Some(error) = &report.error {
        let unplayed = report.unplayed.join(", ");
        let (error, unplayed) = (Plain(error), Plain(&unplayed));
        write!(
            page,
            "<p class=\"bad\">{error}. Without a verdict: {unplayed}.</p>"
        )?;
    }
    let place = match &report.pool {
        Some(url) => format!("on the pool of {url}"),
        None => "on simulated machines".to_owned(),
    };
    writeln!(
        page,
        "<p class=\"quiet\">Begun at <time>{}</time> {}, by understudy {}. Seed {} drew what is left to chance.</p>",
        report.began_at,
        Plain(&place),
        Plain(&report.version),
        report.seed,
    )
}

fn verdict(passed: bool) -> (&'static str, &'static str) {
    if passed {
        ("passed", "good")
    } else {
        ("failed", "bad")
    }
}

fn overview(page: &mut String, report: &Report) -> fmt::Result {
    page.write_str(
        "<div class=\"scroll\"><table class=\"wide\"><thead><tr><th>Scenario</th><th>Verdict</th>\
         <th class=\"n\">Moves</th><th class=\"n\">Worst gap</th><th class=\"n narrow-off\">Objective</th>\
         <th class=\"n narrow-off\">On air</th><th class=\"n narrow-off\">Alerts</th></tr></thead><tbody>",
    )?;
    for (number, scenario) in report.scenarios.iter().enumerate() {
        let (word, class) = verdict(scenario.passed);
        let moves: u32 = scenario.on_stage.iter().map(|show| show.moves).sum();
        let objective = scenario
            .objective_ms()
            .map_or_else(|| "–".to_owned(), |ms| format!("≤ {ms} ms"));
        let name = Plain(&scenario.name);
        let gap = match scenario.was_on_air() {
            true => format!("{} ms", scenario.worst_gap_ms),
            false => "–".to_owned(),
        };
        write!(
            page,
            "<tr><td><a href=\"#scenario-{number}\">{name}</a></td><td class=\"verdict {class}\">{word}</td>\
             <td class=\"n\">{moves}</td><td class=\"n\">{gap}</td><td class=\"n narrow-off\">{objective}</td>\
             <td class=\"n narrow-off\">{}/{}</td><td class=\"n narrow-off\">{}</td></tr>",
            scenario.shows_on_air,
            scenario.shows,
            scenario.alerts.len(),
        )?;
    }
    page.write_str("</tbody></table></div>\n")
}

fn section(page: &mut String, number: usize, scenario: &ScenarioReport, account: Account) -> fmt::Result {
    let (word, class) = verdict(scenario.passed);
    let name = Plain(&scenario.name);
    write!(
        page,
        "<section id=\"scenario-{number}\"><div class=\"head\"><h2>{name}</h2><span class=\"verdict {class}\">{word}</span></div>\
         <p>{}</p>",
        Plain(&scenario.about)
    )?;
    let mut complaints = scenario.complaints().peekable();
    if complaints.peek().is_some() {
        page.write_str("<ul class=\"complaints\">")?;
        for complaint in complaints {
            write!(page, "<li>{}</li>", Plain(complaint))?;
        }
        page.write_str("</ul>")?;
    }
    for show in &scenario.on_stage {
        on_stage(page, scenario, show, account)?;
    }
    if !scenario.on_stage.is_empty() {
        lanes::key(page, account)?;
    }
    alerts(page, scenario)?;
    match account {
        Account::Ingest => write!(
            page,
            "<p class=\"quiet\">{} checks of the invariants, {} violations.</p></section>",
            scenario.invariants.checked,
            scenario.invariants.violations.len()
        ),
        Account::Coordinator => page.write_str(
            "<p class=\"quiet\">Not checked: the invariants, and what reached the ingest. That a show was on air, and for \
             how long it was not, is the coordinator's own account.</p></section>",
        ),
    }
}

fn on_stage(
    page: &mut String,
    scenario: &ScenarioReport,
    show: &ShowReport,
    account: Account,
) -> fmt::Result {
    let moves = match show.moves_expected {
        Some(expected) => format!("moves: {}, expected {expected}", show.moves),
        None => format!("moves: {}", show.moves),
    };
    let objective = show
        .max_off_air_ms
        .map(|ms| format!(", objective {ms} ms"))
        .unwrap_or_default();
    let gap = match show.published.is_empty() {
        true => "never on air".to_owned(),
        false => format!("worst gap {} ms{objective}", show.worst_gap_ms),
    };
    write!(
        page,
        "<h3>{}</h3><p class=\"quiet\">{moves}; {gap}; ended {}</p>",
        Plain(&show.show),
        Plain(&show.phase.replace('_', " ")),
    )?;
    lanes::draw(page, scenario, show)?;
    moments::list(page, scenario, show, account)
}

fn alerts(page: &mut String, scenario: &ScenarioReport) -> fmt::Result {
    if scenario.alerts.is_empty() && scenario.alerts_missing.is_empty() {
        return page.write_str("<p class=\"quiet\">No alert rang, and none had to.</p>");
    }
    page.write_str(
        "<h3>Alerts</h3><div class=\"scroll\"><table class=\"wide\"><thead><tr><th class=\"n\">At</th><th>Alert</th>\
         <th class=\"narrow-off\">Level</th><th>Rang</th></tr></thead><tbody>",
    )?;
    for alert in &scenario.alerts {
        let (word, class) = rang(alert);
        write!(
            page,
            "<tr><td class=\"n\">{}</td><td>{}<br><span class=\"quiet\">{}</span></td>\
             <td class=\"narrow-off\">{}</td><td class=\"{class}\">{word}</td></tr>",
            At(alert.at_ms),
            Plain(&alert.title),
            Plain(&alert.message),
            Plain(&alert.level),
        )?;
    }
    for pattern in &scenario.alerts_missing {
        write!(
            page,
            "<tr><td class=\"n\">–</td><td>{}</td><td class=\"narrow-off\"></td><td class=\"bad\">missing</td></tr>",
            Plain(pattern)
        )?;
    }
    page.write_str("</tbody></table></div>")
}

fn rang(alert: &AlertReport) -> (&'static str, &'static str) {
    match alert.verdict {
        Rang::Expected => ("as it must", "good"),
        Rang::Allowed => ("also", "quiet"),
        Rang::Forbidden => ("must not", "bad"),
    }
}
