//! What a check has found, and how it is told.

use serde::Serialize;
use serde_json::{Value, json};

use crate::cli::style::Tone;
use crate::cli::table::{Cell, Column, Table};
use crate::cli::terminal::Terminal;

/// How serious it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Pass,
    /// It works, and may not for ever.
    Warn,
    Fail,
    /// It could not be looked at, or there is nothing to look at.
    Skipped,
}

impl Verdict {
    fn look(self) -> (&'static str, Tone) {
        match self {
            Self::Pass => ("pass", Tone::Good),
            Self::Warn => ("warn", Tone::Busy),
            Self::Fail => ("fail", Tone::Bad),
            Self::Skipped => ("skipped", Tone::Dim),
        }
    }
}

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at: `ssh i-0abc (studio-1)`.
    pub check: String,
    pub verdict: Verdict,
    /// What was seen, or why nothing was.
    pub detail: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

impl Finding {
    fn new(verdict: Verdict, check: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            check: check.into(),
            verdict,
            detail: detail.into(),
            advice: None,
        }
    }

    #[must_use]
    pub fn pass(check: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(Verdict::Pass, check, detail)
    }

    #[must_use]
    pub fn warn(check: impl Into<String>, detail: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::new(Verdict::Warn, check, detail).advice(advice)
    }

    #[must_use]
    pub fn fail(check: impl Into<String>, detail: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::new(Verdict::Fail, check, detail).advice(advice)
    }

    #[must_use]
    pub fn skipped(check: impl Into<String>, why: impl Into<String>) -> Self {
        Self::new(Verdict::Skipped, check, why)
    }

    fn advice(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }
}

fn count(findings: &[Finding], verdict: Verdict) -> usize {
    findings
        .iter()
        .filter(|finding| finding.verdict == verdict)
        .count()
}

/// Whether nothing has to be mended.
#[must_use]
pub fn is_well(findings: &[Finding]) -> bool {
    count(findings, Verdict::Fail) == 0
}

/// For programs.
#[must_use]
pub fn object(findings: &[Finding]) -> Value {
    json!({
        "ok": is_well(findings),
        "passed": count(findings, Verdict::Pass),
        "warnings": count(findings, Verdict::Warn),
        "failed": count(findings, Verdict::Fail),
        "skipped": count(findings, Verdict::Skipped),
        "findings": findings,
    })
}

/// For people: a table, and below it what to do.
#[must_use]
pub fn table(findings: &[Finding], terminal: &Terminal) -> String {
    let mut table = Table::new([
        Column::new("RESULT"),
        Column::new("CHECK"),
        Column::new("FOUND").flexible(),
    ])
    .wrapping();
    for finding in findings {
        let (word, tone) = finding.verdict.look();
        table.row([
            Cell::new(word).tone(tone),
            Cell::new(&finding.check),
            Cell::new(on_one_line(&finding.detail)),
        ]);
    }
    let mut text = table.render(terminal);
    let advised = findings.iter().filter_map(|finding| {
        let advice = finding.advice.as_deref()?;
        Some((finding, advice))
    });
    for (number, (finding, advice)) in advised.enumerate() {
        if number == 0 {
            text.push_str(&format!("\n{}\n", terminal.paint(Tone::Strong, "What to mend")));
        }
        let advice = crate::cli::style::tame(advice);
        text.push_str(&format!(
            "  {}: {advice}\n",
            crate::cli::style::tame(&finding.check)
        ));
    }
    text
}

/// A cell of a table has one line, which is wrapped.
fn on_one_line(text: &str) -> String {
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    match lines.split_first() {
        Some((first, rest)) if !rest.is_empty() => format!("{first} {}", rest.join("; ")),
        Some(_) | None => text.trim().to_owned(),
    }
}

/// One line that says it all.
#[must_use]
pub fn summary(findings: &[Finding]) -> String {
    format!(
        "{} passed, {} warnings, {} failed, {} skipped",
        count(findings, Verdict::Pass),
        count(findings, Verdict::Warn),
        count(findings, Verdict::Fail),
        count(findings, Verdict::Skipped)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_failure_is_a_failure_and_advice_stands_below_the_table() {
        let mut findings = vec![
            Finding::pass("disk", "fast"),
            Finding::warn("clock", "7 s ahead", "run chrony"),
            Finding::skipped("archive", "no bucket"),
        ];
        assert!(is_well(&findings));
        let text = table(&findings, &Terminal::plain());
        let (above, below) = text.split_once("What to mend").unwrap();
        assert!(above.contains("7 s ahead") && !above.contains("chrony"), "{text}");
        assert_eq!(below, "\n  clock: run chrony\n");
        findings.push(Finding::fail("ssh", "refused", "start sshd"));
        assert!(!is_well(&findings));
        assert_eq!(summary(&findings), "1 passed, 1 warnings, 1 failed, 1 skipped");
        assert_eq!(object(&findings)["findings"][3]["verdict"], "fail");
    }
}
