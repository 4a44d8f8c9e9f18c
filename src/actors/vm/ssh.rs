//! The SSH link: one connection, kept alive, replaced when it is lost.

use std::sync::Arc;
use std::time::Duration;

use super::link::{Conversation, Pace, Target};
use super::load;
use super::report::Report;
use crate::domain::time::Timestamp;
use crate::infra::ssh::{Error, Liveness};

/// Longest pause between two tries to connect.
const RECONNECT_MAX: Duration = Duration::from_secs(10);
/// Saying good-bye takes a moment, or nothing.
const CLOSE: Duration = Duration::from_secs(1);

pub async fn run(mut link: Conversation) {
    let Some(connector) = link.ctx.world.ssh.clone() else {
        return;
    };
    let first = link.ctx.options.obs.reconnect_initial;
    let mut backoff = first;
    while let Some((target, _)) = link.target().await {
        let began = link.ctx.now();
        let endpoint = link.ctx.ssh_endpoint(target.ip, &target.instance);
        let deadline = endpoint.connect_deadline;
        let connected = link.in_time("connecting over SSH", deadline, connector.connect(&endpoint));
        let Some(connected) = connected.await else {
            return link.shell_hangs(began, deadline).await;
        };
        match connected {
            Ok(session) => {
                backoff = first;
                link.report(Report::ShellUp {
                    session: Arc::clone(&session),
                })
                .await;
                let loads = load::watch(Arc::clone(&link.ctx), link.reports.clone(), Arc::clone(&session));
                let kept = tokio::select! {
                    biased;
                    kept = converse(&mut link, &target, session.as_ref()) => kept,
                    never = loads => match never {},
                };
                let closed = link.in_time("closing an SSH session", CLOSE, session.close());
                if closed.await.is_none() || kept.is_none() {
                    return;
                }
            }
            Err(error) => {
                link.report(Report::ShellDown { since: began, error }).await;
                link.pause(backoff).await;
                backoff = (backoff * 2).min(RECONNECT_MAX);
            }
        }
    }
}

impl Conversation {
    /// Nothing is known of the machine's SSH from now on.
    async fn shell_hangs(&self, since: Timestamp, deadline: Duration) {
        let error = Error::TimedOut(deadline);
        self.report(Report::ShellDown { since, error }).await;
    }
}

/// Pings until the connection is lost or the machine is another one. `None`: the adapter did not keep its deadline.
async fn converse(link: &mut Conversation, target: &Target, session: &dyn Liveness) -> Option<()> {
    let mut heard_at: Option<Timestamp> = None;
    loop {
        let (now_target, pace) = link.target().await?;
        if !now_target.is_same_machine(target) {
            return Some(());
        }
        let options = &link.ctx.options.ssh;
        let interval = match pace {
            Pace::Idle => options.keepalive,
            Pace::Watched | Pace::OnAir => options.keepalive_on_air,
        };
        let deadline = options.keepalive_deadline;
        let began = link.ctx.now();
        let Some(answer) = link
            .in_time("asking over SSH", deadline, session.ping(deadline))
            .await
        else {
            link.shell_hangs(began, deadline).await;
            return None;
        };
        if let Err(error) = answer {
            // Asked at this pace all the time, it was silent from its last answer on.
            let since = heard_at
                .filter(|at| began.since(*at) <= interval * 2)
                .unwrap_or(began);
            link.report(Report::ShellDown { since, error }).await;
            return Some(());
        }
        heard_at = Some(link.ctx.now());
        link.report(Report::ShellAnswered).await;
        tokio::select! {
            // A loss first: the next ping would only say it later.
            biased;
            error = session.closed() => {
                let since = link.ctx.now();
                link.report(Report::ShellDown { since, error }).await;
                return Some(());
            }
            () = link.pause(interval) => {}
        }
    }
}
