//! The studio that the fence of a move has killed: it is started again, where the move has lost its only spare.
//!
//! A VM whose systemd restarts OBS after a failure does that by itself. One that does not would wait for a spare although
//! nothing is wrong with it but what was done to it here. A studio that has crashed is left to its VM, and to people.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::effects::{self, within};
use super::{State, Task};
use crate::actors::context::Context;
use crate::actors::executions::Begin;
use crate::actors::executions::run;
use crate::domain::failover::verdict::{CloudSign, Sign};
use crate::domain::failover::{Ending, Failover, Fence};
use crate::domain::ids::VmId;
use crate::domain::vm::Power;
use crate::infra::ssh::Exit;

/// Between two tries, and what each may take.
const REVIVE_EVERY: Duration = Duration::from_secs(30);
/// How a studio is started.
const OPERATION: &str = "START_OBS";

impl State {
    /// Nothing is done to a studio that merely does not answer: it may be streaming. One that answers again is returned to.
    pub(super) fn revive(&mut self, failover: &Failover) {
        let state = self.ctx.state();
        let old = state.vm(&failover.from);
        let was_killed = !self.is_untouched(failover) || self.was_killed_before(failover);
        let Some(old) = old.filter(|_| was_killed) else {
            return;
        };
        let signals = self.ctx.board.latest(&old.id).signals;
        let is_going = matches!(signals.cloud, CloudSign::Down { .. });
        let is_lost = matches!(signals.obs, Sign::Bad { .. }) && !signals.ssh.is_silent();
        let now = self.ctx.now();
        let is_due = self.revived_at.is_none_or(|at| now.since(at) >= REVIVE_EVERY);
        if old.power != Power::Ready || is_going || !is_lost || !is_due {
            return;
        }
        self.revived_at = Some(now);
        let (ctx, show, vm) = (Arc::clone(&self.ctx), self.id.clone(), old.id.clone());
        self.reviving = Some(Task::spawn(async move {
            match within(REVIVE_EVERY, "starting its studio", start_studio(&ctx, &vm)).await {
                Ok(true) => tracing::warn!(%show, %vm, "its studio had gone and was started"),
                Ok(false) => tracing::debug!(%show, %vm, "its studio does not answer, and has not gone"),
                Err(error) => {
                    tracing::warn!(%show, %vm, error, "its studio has gone and was not started; trying again later");
                }
            }
        }));
    }

    /// By a move before, which an operator ended while it waited, as any since.
    fn was_killed_before(&self, failover: &Failover) -> bool {
        let show = self.show();
        let latest = show.records.iter().rev();
        let mut abandoned = latest
            .take_while(|record| record.ending == Ending::Abandoned && record.failover.from == failover.from);
        abandoned.any(|record| matches!(record.failover.fenced, Some((Fence::StudioKilled, _))))
    }
}

/// Whether it had gone, and is started now.
async fn start_studio(ctx: &Arc<Context>, vm: &VmId) -> Result<bool, String> {
    let shell = effects::shell(ctx, vm).await.ok_or("there is no SSH session")?;
    if effects::find_studio(shell.as_ref(), REVIVE_EVERY).await? != Exit::Status(1) {
        return Ok(false);
    }
    let planned = ctx.options.operations.plan(OPERATION, &BTreeMap::new());
    let (operation, plan) = planned.map_err(|error| error.to_string())?;
    let ticket = ctx
        .executions
        .begin(Begin::own(vm, operation, &plan))
        .await
        .map_err(|error| error.to_string())?;
    let outcome = run::start(ctx, vm.clone(), shell, ticket, plan).outcome().await;
    match outcome.failure() {
        None => Ok(true),
        Some(why) => Err(format!("{OPERATION} {why}")),
    }
}
