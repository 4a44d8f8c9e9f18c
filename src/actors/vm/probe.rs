//! The probe link: asks the VM's show server how it is, at the pace ordered.

use std::net::SocketAddr;

use super::link::{Conversation, Pace, WATCHED_EVERY};
use super::report::Report;

pub async fn run(mut link: Conversation) {
    while let Some((target, pace)) = link.target().await {
        let options = &link.ctx.options.probe;
        let (deadline, interval) = match pace {
            Pace::Idle => (options.deadline, link.ctx.settings().health_check_interval),
            Pace::Watched => (options.deadline, WATCHED_EVERY),
            Pace::OnAir => (options.deadline_on_air, options.interval_on_air),
        };
        let began = link.ctx.now();
        let server = SocketAddr::new(target.ip, target.service_port);
        let result = link.ctx.world.probe.status(server, deadline).await;
        link.report(Report::Probed { began, result });
        let spent = link.ctx.now().since(began);
        link.pause(interval.saturating_sub(spent)).await;
    }
}
