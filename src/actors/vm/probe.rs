//! The probe link: asks the VM's show server how it is, at the pace ordered. While a show depends on it, a question that goes
//! unanswered is reported with the time of the answer before it, since that is when the silence began.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::time::Instant;

use super::link::{Conversation, Pace, WATCHED_EVERY};
use super::report::Report;
use crate::domain::time::Timestamp;
use crate::infra::probe::Error;

pub async fn run(mut link: Conversation) {
    let mut due = Due::default();
    let mut heard: Option<(Machine, Timestamp)> = None;
    while let Some((target, pace)) = link.target().await {
        let options = &link.ctx.options.probe;
        let (deadline, interval) = match pace {
            Pace::Idle => (options.deadline, link.ctx.settings().health_check_interval),
            Pace::Watched => (options.deadline, WATCHED_EVERY),
            Pace::OnAir => (options.deadline_on_air, options.interval_on_air),
        };
        let metrics = &link.ctx.metrics;
        let sent = Instant::now();
        let machine = (target.ip, target.generation);
        if let Some(late) = due.late(machine, sent) {
            metrics.probe_lateness.took(late);
        }
        let began = link.ctx.now();
        let server = SocketAddr::new(target.ip, target.service_port);
        let asked = link.ctx.world.probe.status(server, deadline, Some(interval));
        let answer = link.in_time("asking the show server", deadline, asked).await;
        let hangs = answer.is_none();
        let result = answer.unwrap_or(Err(Error::TimedOut(deadline)));
        let outcome = if result.is_ok() { "ok" } else { "failed" };
        metrics.probe_duration.took([outcome], sent.elapsed());
        let before = heard
            .filter(|(of, at)| pace == Pace::OnAir && *of == machine && began.since(*at) <= interval * 2);
        let since = before.map_or(began, |(_, at)| at);
        heard = result.is_ok().then(|| (machine, link.ctx.now()));
        link.report(Report::Probed { began, since, result }).await;
        if hangs {
            return;
        }
        due = Due::of(machine, Instant::now().max(sent + interval));
        let spent = link.ctx.now().since(began);
        link.pause(interval.saturating_sub(spent)).await;
    }
}

/// Which machine it is: its address, and how often it was forgotten.
type Machine = (IpAddr, u64);

/// When the next probe is due, and of which machine. One that was off meanwhile was not to be probed.
#[derive(Debug, Default)]
struct Due(Option<(Machine, Instant)>);

impl Due {
    fn of(machine: Machine, at: Instant) -> Self {
        Self(Some((machine, at)))
    }

    /// By how much a probe that is sent now is late; `None` if none was due.
    fn late(&self, machine: Machine, now: Instant) -> Option<Duration> {
        let (_, at) = self.0.filter(|(due, at)| *due == machine && *at <= now)?;
        Some(now - at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_is_late_only_of_the_machine_that_it_was_due_of() {
        let machine = (IpAddr::from([127, 0, 0, 1]), 3);
        let at = Instant::now();
        let later = at + Duration::from_secs(3_600);
        let due = Due::of(machine, at);
        assert_eq!(due.late(machine, later), Some(Duration::from_secs(3_600)));
        assert_eq!(due.late(machine, at), Some(Duration::ZERO));
        // It was off for an hour, and has come up anew.
        assert_eq!(due.late((machine.0, 4), later), None);
        // Other orders came before it was due; nothing was due before the first.
        assert_eq!(Due::of(machine, later).late(machine, at), None);
        assert_eq!(Due::default().late(machine, at), None);
    }
}
