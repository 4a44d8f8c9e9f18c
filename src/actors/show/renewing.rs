//! A stream that is silent and cannot be moved: it is stopped and started again where it is.

use std::sync::Arc;
use std::time::Duration;

use super::effects::{self, within};
use super::{State, Task};
use crate::domain::failover::verdict::OutputSign;
use crate::domain::failover::{Cause, Failover};
use crate::domain::ids::VmId;
use crate::domain::show::{Phase, Show};

/// Between two tries.
const RENEW_EVERY: Duration = Duration::from_secs(10);

impl State {
    /// Its studio answers and sends nothing, and no VM is free: a new connection is all that can be tried, and nothing is
    /// lost by it. Once bytes rise the move is over.
    pub(super) fn renew(&mut self, failover: &Failover) {
        let is_silent = failover.cause == Cause::OutputSilent && self.is_untouched(failover);
        if is_silent && failover.publish {
            self.start_anew(&failover.from);
        }
    }

    /// Nothing leaves the VM on air, and nobody can say whether that is the ingest's fault. A studio that is connecting again by
    /// itself is left alone: a start that fails would end that.
    pub(super) fn renew_in_doubt(&mut self, show: &Show) {
        let OutputSign::Flat { since } = self.signals.output else {
            return;
        };
        let Some(vm) = show.vm.as_ref().filter(|_| show.phase == Phase::OnAir) else {
            return;
        };
        let output = self.ctx.board.latest(vm).output;
        let is_connecting = output.is_some_and(|output| output.active && output.reconnecting);
        let silence_limit = self.ctx.options.failover.verdict.silence_limit;
        let is_long = self.ctx.now().since(since) >= silence_limit;
        if show.stream_wanted && !show.held && is_long && !is_connecting {
            self.start_anew(vm);
        }
    }

    fn start_anew(&mut self, vm: &VmId) {
        let now = self.ctx.now();
        let is_due = self.renewed_at.is_none_or(|at| now.since(at) >= RENEW_EVERY);
        if self.is_turning() || !is_due {
            return;
        }
        self.renewed_at = Some(now);
        tracing::warn!(show = %self.id, %vm, "starting a silent stream anew where it is");
        let (ctx, show, vm) = (Arc::clone(&self.ctx), self.id.clone(), vm.clone());
        self.renewing = Some(Task::spawn(async move {
            let limit = ctx.options.failover.verify_deadline;
            let renewed = within(
                limit,
                "starting its stream anew",
                effects::restart_stream(&ctx, &vm),
            )
            .await;
            if let Err(error) = renewed {
                tracing::warn!(%show, %vm, error, "a silent stream was not started anew; trying again later");
            }
        }));
    }

    /// Its VM must not be fenced meanwhile: the stream would be started after that.
    pub(super) fn is_renewing(&self) -> bool {
        self.renewing.as_ref().is_some_and(Task::is_running)
    }
}
