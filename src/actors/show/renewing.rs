//! A stream that is silent and has nowhere else to go: it is stopped and started again where it is, while a spare is sought.

use std::sync::Arc;
use std::time::Duration;

use super::effects::{self, within};
use super::{State, Task};
use crate::domain::failover::{Cause, Failover};

/// Between two tries.
const RENEW_EVERY: Duration = Duration::from_secs(30);

impl State {
    /// Its studio answers and sends nothing, and no VM is free: a new connection is all that can be tried, and nothing is
    /// lost by it. Once bytes rise the move is over.
    pub(super) fn renew(&mut self, failover: &Failover) {
        let now = self.ctx.now();
        let is_silent = failover.cause == Cause::OutputSilent && self.is_untouched(failover);
        let is_due = self.renewed_at.is_none_or(|at| now.since(at) >= RENEW_EVERY);
        if !(is_silent && is_due && failover.publish) {
            return;
        }
        self.renewed_at = Some(now);
        tracing::warn!(show = %self.id, vm = %failover.from, "no spare: starting the silent stream anew where it is");
        let (ctx, show, vm) = (Arc::clone(&self.ctx), self.id.clone(), failover.from.clone());
        self.renewing = Some(Task::spawn(async move {
            let limit = ctx.options.failover.verify_deadline;
            let renewed = within(
                limit,
                "starting its stream anew",
                effects::restart_stream(&ctx, &vm),
            )
            .await;
            if let Err(error) = renewed {
                tracing::warn!(%show, %vm, error, "the silent stream was not started anew; trying again later");
            }
        }));
    }

    /// Its VM must not be fenced meanwhile: the stream would be started after that.
    pub(super) fn is_renewing(&self) -> bool {
        self.renewing.as_ref().is_some_and(Task::is_running)
    }
}
