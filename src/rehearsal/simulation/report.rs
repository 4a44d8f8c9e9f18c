//! What is told of a run that went wrong: enough to see it again.

use std::fmt;

use super::Run;
use super::plan::Plan;
use super::shrink::shrink;

/// Runs that finding fewer events may take.
const SHRINKING_RUNS_MAX: usize = 120;
/// Lines of the log before the violation.
const TIMELINE_LINES: usize = 80;

/// A plan that fails, as small as it was found, and what happens in it.
#[derive(Debug, Clone)]
pub struct Failure {
    pub plan: Plan,
    pub run: Run,
}

/// How far looking for fewer events is.
#[derive(Debug, Clone, Copy)]
pub struct Shrinking {
    pub runs: usize,
    /// Events of the smallest plan so far.
    pub events: usize,
}

impl Failure {
    /// Looks for fewer events that break the same rule, and tells before each try how far it is. `first` is what came of
    /// `plan` when it was played.
    #[must_use]
    pub fn investigate(
        plan: &Plan,
        first: Run,
        play: impl Fn(&Plan) -> anyhow::Result<Run>,
        mut tell: impl FnMut(Shrinking),
    ) -> Self {
        let rule = first.violations.first().map(|violation| violation.rule);
        let is_broken = |run: &Run| rule.is_some_and(|rule| run.violations.iter().any(|v| v.rule == rule));
        let mut smallest = Self {
            plan: plan.clone(),
            run: first,
        };
        let mut runs = 0;
        shrink(plan, SHRINKING_RUNS_MAX, |part| {
            let events = smallest.plan.events.len();
            tell(Shrinking { runs, events });
            runs += 1;
            match play(part) {
                Ok(run) if is_broken(&run) => {
                    let plan = part.clone();
                    smallest = Self { plan, run };
                    true
                }
                Ok(_) | Err(_) => false,
            }
        });
        smallest
    }

    /// What to type to see it again.
    #[must_use]
    pub fn command(&self) -> String {
        command(&self.plan)
    }
}

/// What to type to see a plan's run.
#[must_use]
pub fn command(plan: &Plan) -> String {
    let size = plan.size;
    let mut command = format!(
        "understudy rehearse --seed {} --warm {} --cold {} --shows {} --troubles {}",
        plan.seed, size.warm, size.cold, size.shows, size.troubles
    );
    if !plan.is_whole {
        let numbers: Vec<String> = plan.numbers().iter().map(ToString::to_string).collect();
        command.push_str(" --only ");
        command.push_str(&numbers.join(","));
    }
    command
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for violation in &self.run.violations {
            writeln!(f, "{violation}")?;
        }
        writeln!(f, "\nsee it again: {}\n\nevents:", self.command())?;
        for event in &self.plan.events {
            writeln!(f, "{event}")?;
        }
        let lines: Vec<&str> = self.run.log.lines().collect();
        writeln!(
            f,
            "\ntimeline (the last {TIMELINE_LINES} of {} lines):",
            lines.len()
        )?;
        for line in lines.iter().skip(lines.len().saturating_sub(TIMELINE_LINES)) {
            writeln!(f, "{line}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::simulation::plan::Size;

    #[test]
    fn the_command_names_the_events_of_a_part_and_nothing_of_a_whole() {
        let whole = Plan::of(9, Size::default());
        assert_eq!(
            command(&whole),
            "understudy rehearse --seed 9 --warm 4 --cold 4 --shows 10 --troubles 40"
        );
        assert!(command(&whole.only(&[2, 30])).ends_with(" --only 2,30"));
    }
}
