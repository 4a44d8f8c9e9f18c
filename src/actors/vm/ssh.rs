//! The SSH link: one connection, kept alive, replaced when it is lost.

use std::sync::Arc;
use std::time::Duration;

use super::link::{Conversation, Pace, Target};
use super::load;
use super::report::Report;
use crate::infra::ssh::Liveness;

/// Longest pause between two tries to connect.
const RECONNECT_MAX: Duration = Duration::from_secs(10);

pub async fn run(mut link: Conversation) {
    let Some(connector) = link.ctx.world.ssh.clone() else {
        return;
    };
    let first = link.ctx.options.obs.reconnect_initial;
    let mut backoff = first;
    while let Some((target, _)) = link.target().await {
        let began = link.ctx.now();
        let endpoint = link.ctx.ssh_endpoint(target.ip, &target.instance);
        match connector.connect(&endpoint).await {
            Ok(session) => {
                backoff = first;
                link.report(Report::ShellUp {
                    session: Arc::clone(&session),
                });
                let loads = load::watch(Arc::clone(&link.ctx), link.vm.clone(), Arc::clone(&session));
                tokio::select! {
                    biased;
                    () = converse(&mut link, &target, session.as_ref()) => {}
                    never = loads => match never {},
                }
                session.close().await;
            }
            Err(error) => {
                link.report(Report::ShellDown { since: began, error });
                link.pause(backoff).await;
                backoff = (backoff * 2).min(RECONNECT_MAX);
            }
        }
    }
}

/// Pings until the connection is lost or the machine is another one.
async fn converse(link: &mut Conversation, target: &Target, session: &dyn Liveness) {
    loop {
        let Some((now_target, pace)) = link.target().await else {
            return;
        };
        if !now_target.is_same_machine(target) {
            return;
        }
        let options = &link.ctx.options.ssh;
        let interval = match pace {
            Pace::Idle => options.keepalive,
            Pace::Watched | Pace::OnAir => options.keepalive_on_air,
        };
        let deadline = options.keepalive_deadline;
        let began = link.ctx.now();
        match session.ping(deadline).await {
            Ok(()) => link.report(Report::ShellAnswered),
            Err(error) => {
                link.report(Report::ShellDown { since: began, error });
                return;
            }
        }
        tokio::select! {
            // A loss first: the next ping would only say it later.
            biased;
            error = session.closed() => {
                let since = link.ctx.now();
                link.report(Report::ShellDown { since, error });
                return;
            }
            () = link.pause(interval) => {}
        }
    }
}
