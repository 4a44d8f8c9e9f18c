//! What a step does: a fault or a command, with the figures that go with it and with its target.

use std::time::Duration;

use super::error::Mistake;
use super::form::{Form, Source, one_of};
use super::read::SPAN_MAX;
use super::target::Target;
use super::words::{CLOUD_FAULTS, MACHINE_FAULTS};
use super::{Act, Command, MachineFault, Machines};
use crate::sim::model::fault::{CloudFault, Fault};

/// Reads `fault`, `for` and a fault's own figures.
pub(super) fn read(
    form: &mut Form<'_>,
    target: Option<Target>,
    command: Option<Command>,
    source: &mut Source,
) -> Option<Act> {
    let line = form.line;
    let lasts = form.span(source, "for", Duration::from_millis(1)..=SPAN_MAX);
    // Asked for whatever the fault is, so that a misspelt key finds them.
    let figures = Figures {
        up: form.span(source, "up", Duration::from_millis(1)..=SPAN_MAX),
        down: form.span(source, "down", Duration::from_millis(1)..=SPAN_MAX),
        extra: form.span(source, "extra", Duration::from_millis(1)..=SPAN_MAX),
        delay: form.span(source, "delay", Duration::from_millis(1)..=SPAN_MAX),
    };
    let mut conflict = |message: &str| {
        source.wrong(line, Mistake::Conflict(message.to_owned()));
        None
    };
    if let Some(command) = command {
        let Some(Target::Machines(Machines::OfShow(show))) = target else {
            form.take("fault");
            return target.and_then(|_| conflict("a command needs a target that is a show: \"show:NAME\""));
        };
        if lasts.is_some() || form.take("fault").is_some() || figures != Figures::default() {
            return conflict("a step with a command has neither fault nor for, nor a fault's figures");
        }
        return Some(Act::Command { command, show });
    }
    let Some(target) = target else {
        // That is wrong enough; what is wrong with the fault depends on it.
        form.take("fault");
        return None;
    };
    if form.lacks("fault") {
        // So that a misspelt key finds it.
        form.take("fault");
        return conflict("step.fault is missing: a step has a fault or a command");
    }
    let act = match target {
        Target::Machines(machines) => {
            let allowed = one_of(&MACHINE_FAULTS);
            let fault = form.need(source, "fault", &allowed, |given| {
                pick(&MACHINE_FAULTS, given.text()?)
            });
            Act::Machine {
                fault: figures.of_machine(fault?),
                target: machines,
                lasts,
            }
        }
        Target::Cloud => {
            let allowed = one_of(&CLOUD_FAULTS);
            let fault = form.need(source, "fault", &allowed, |given| {
                pick(&CLOUD_FAULTS, given.text()?)
            });
            Act::Cloud {
                fault: figures.of_cloud(fault?),
                lasts,
            }
        }
        Target::Ingest => {
            only(form, source, "away")?;
            Act::Ingest { lasts }
        }
        Target::VmActor(which) => {
            only(form, source, "kill")?;
            Act::VmActor(which)
        }
        Target::ShowActor(which) => {
            only(form, source, "kill")?;
            Act::ShowActor(which)
        }
        Target::Coordinator => {
            only(form, source, "kill")?;
            Act::Coordinator {
                dead_for: lasts.unwrap_or_default(),
            }
        }
    };
    check(&act, figures, lasts, line, source);
    Some(act)
}

/// The one thing that can happen to such a target.
fn only(form: &mut Form<'_>, source: &mut Source, word: &'static str) -> Option<()> {
    form.need(source, "fault", &format!("{word:?}"), |given| {
        (given.text()? == word).then_some(())
    })
}

fn pick<T: Copy>(table: &[(&'static str, T)], text: &str) -> Option<T> {
    table
        .iter()
        .find(|(word, _)| *word == text)
        .map(|(_, value)| *value)
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Figures {
    up: Option<Duration>,
    down: Option<Duration>,
    extra: Option<Duration>,
    delay: Option<Duration>,
}

impl Figures {
    fn of_machine(self, fault: MachineFault) -> MachineFault {
        match fault {
            MachineFault::Fault(Fault::StatusFlap { up, down }) => MachineFault::Fault(Fault::StatusFlap {
                up: self.up.unwrap_or(up),
                down: self.down.unwrap_or(down),
            }),
            MachineFault::Fault(Fault::SlowBoot { extra }) => MachineFault::Fault(Fault::SlowBoot {
                extra: self.extra.unwrap_or(extra),
            }),
            other => other,
        }
    }

    fn of_cloud(self, fault: CloudFault) -> CloudFault {
        match fault {
            CloudFault::Slow { delay } => CloudFault::Slow {
                delay: self.delay.unwrap_or(delay),
            },
            other => other,
        }
    }
}

/// A figure that the fault does not have, and a duration of what cannot be mended.
fn check(act: &Act, figures: Figures, lasts: Option<Duration>, line: usize, source: &mut Source) {
    let (mut flaps, mut boots, mut slow) = (false, false, false);
    match act {
        Act::Machine { fault, .. } => {
            flaps = matches!(fault, MachineFault::Fault(Fault::StatusFlap { .. }));
            boots = matches!(fault, MachineFault::Fault(Fault::SlowBoot { .. }));
        }
        Act::Cloud { fault, .. } => slow = matches!(fault, CloudFault::Slow { .. }),
        Act::Ingest { .. }
        | Act::VmActor(_)
        | Act::ShowActor(_)
        | Act::Coordinator { .. }
        | Act::Command { .. } => {}
    }
    let misplaced = [
        ("up", figures.up, flaps, "status-flap"),
        ("down", figures.down, flaps, "status-flap"),
        ("extra", figures.extra, boots, "slow-boot"),
        ("delay", figures.delay, slow, "slow"),
    ];
    for (name, given, belongs, fault) in misplaced {
        if given.is_some() && !belongs {
            let message = format!("{name} goes with the fault {fault:?} alone");
            source.wrong(line, Mistake::Conflict(message));
        }
    }
    let lasting = !matches!(
        act,
        Act::VmActor(_)
            | Act::ShowActor(_)
            | Act::Machine {
                fault: MachineFault::InstanceTerminated | MachineFault::InstanceRebooted,
                ..
            }
    );
    if lasts.is_some() && !lasting {
        let message =
            "for goes with what can be mended: not with an actor, a rebooted or a terminated instance";
        source.wrong(line, Mistake::Conflict(message.to_owned()));
    }
}
