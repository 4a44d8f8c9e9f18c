//! The probe link: asks the VM's show server how it is, at the pace ordered.

use std::net::SocketAddr;

use tokio::time::Instant;

use super::link::{Conversation, Pace, WATCHED_EVERY};
use super::report::Report;
use crate::infra::probe::Error;

pub async fn run(mut link: Conversation) {
    // When the next probe is due, unless other orders come first.
    let mut due = None;
    while let Some((target, pace)) = link.target().await {
        let options = &link.ctx.options.probe;
        let (deadline, interval) = match pace {
            Pace::Idle => (options.deadline, link.ctx.settings().health_check_interval),
            Pace::Watched => (options.deadline, WATCHED_EVERY),
            Pace::OnAir => (options.deadline_on_air, options.interval_on_air),
        };
        let metrics = &link.ctx.metrics;
        let sent = Instant::now();
        if let Some(due) = due.filter(|due| *due <= sent) {
            metrics.probe_lateness.took(sent - due);
        }
        let began = link.ctx.now();
        let server = SocketAddr::new(target.ip, target.service_port);
        let asked = link.ctx.world.probe.status(server, deadline);
        let answer = link.in_time("asking the show server", deadline, asked).await;
        let hangs = answer.is_none();
        let result = answer.unwrap_or(Err(Error::TimedOut(deadline)));
        let outcome = if result.is_ok() { "ok" } else { "failed" };
        metrics.probe_duration.took([outcome], sent.elapsed());
        link.report(Report::Probed { began, result }).await;
        if hangs {
            return;
        }
        due = Some(Instant::now().max(sent + interval));
        let spent = link.ctx.now().since(began);
        link.pause(interval.saturating_sub(spent)).await;
    }
}
