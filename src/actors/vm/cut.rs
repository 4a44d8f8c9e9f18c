//! The fence of last resort: the machine's power is cut, and the cloud asked until it says that it is off.

use std::sync::Arc;
use std::time::Duration;

use ractor::RpcReplyPort;

use super::{Message, State, VmError};
use crate::actors::context::Context;
use crate::actors::mailbox::{ActorRef, answer};
use crate::actors::task;
use crate::domain::failover::verdict::CloudSign;
use crate::domain::ids::InstanceId;
use crate::domain::instance::{InstanceState, PowerChange};
use crate::domain::vm::Power;
use crate::infra::cloud::{Error as CloudError, ErrorKind, StateChange};

/// How often the cloud is asked whether a machine whose power was cut is off.
const OFF_POLL: Duration = Duration::from_millis(100);

impl State {
    /// Idempotent: a stop that is under way is joined. That the ledger has it stopped is not asked: whoever wants
    /// its power cut knows better.
    pub(super) async fn cut_power(
        &mut self,
        me: &ActorRef<Message>,
        reply: RpcReplyPort<Result<(), VmError>>,
    ) {
        let Some(vm) = self.vm() else {
            return answer(reply, Ok(()));
        };
        let attempt = match vm.power {
            Power::Stopped => None,
            Power::Stopping { attempt } => Some(attempt),
            Power::Starting { .. } | Power::Booting | Power::Ready => match self.begin_stop(me, true).await {
                Ok((_, attempt)) => Some(attempt),
                Err(error) => return answer(reply, Err(error)),
            },
        };
        let is_ending = is_ending(self.signals.cloud);
        let (ctx, me) = (Arc::clone(&self.ctx), me.clone());
        task::effect(async move {
            let limit = ctx.options.failover.fence_deadline;
            let result =
                match tokio::time::timeout(limit, switch_off(&ctx, vm.instance_id(), is_ending)).await {
                    Ok(result) => result,
                    Err(_) => Err(CloudError {
                        call: "StopInstances",
                        kind: ErrorKind::TimedOut,
                        code: None,
                        detail: Some("the cloud did not confirm that the machine is off".to_owned()),
                    }),
                };
            if let Some(attempt) = attempt {
                let off = StateChange {
                    previous: InstanceState::Running,
                    current: InstanceState::Stopped,
                };
                let _ = me.cast(Message::PowerCalled {
                    attempt,
                    change: PowerChange::ForceStop,
                    result: result.clone().map(|()| off),
                });
            }
            answer(reply, result.map_err(VmError::Cloud));
        });
    }
}

/// It is being terminated, or is: by the cloud's last word.
fn is_ending(cloud: CloudSign) -> bool {
    matches!(
        cloud,
        CloudSign::Down {
            state: Some(InstanceState::ShuttingDown | InstanceState::Terminated),
            ..
        }
    )
}

/// Stops the machine without ceremony and waits until the cloud says that it is off. One that is starting cannot be
/// stopped: it is asked again, and waited for, in the time there is. One that `is_ending` cannot be stopped either, and
/// will be off: it is only waited for.
async fn switch_off(ctx: &Context, instance: &InstanceId, is_ending: bool) -> Result<(), CloudError> {
    const UNDER_WAY: StateChange = StateChange {
        previous: InstanceState::Running,
        current: InstanceState::Stopping,
    };
    let mut change = if is_ending {
        Ok(UNDER_WAY)
    } else {
        ctx.world.cloud.change(instance, PowerChange::ForceStop).await
    };
    loop {
        let failed = change.is_err();
        match change {
            Ok(change) if change.current.is_off() => return Ok(()),
            Err(error) if is_final(&error) => return Err(error),
            Ok(_) | Err(_) => {}
        }
        tokio::time::sleep(OFF_POLL).await;
        if is_off(ctx, instance).await {
            return Ok(());
        }
        // A request that was never accepted has to be made again.
        change = if failed {
            ctx.world.cloud.change(instance, PowerChange::ForceStop).await
        } else {
            Ok(UNDER_WAY)
        };
    }
}

/// Whether the cloud is certain that it is off. That it knows no such instance counts only if it lists none that runs, either:
/// EC2 may not find by its id what it lists.
async fn is_off(ctx: &Context, instance: &InstanceId) -> bool {
    match ctx.world.cloud.describe(instance).await {
        Ok(Some(seen)) => seen.state.is_off(),
        Ok(None) => {
            let listed = ctx.world.cloud.list().await;
            listed.is_ok_and(|all| {
                all.iter()
                    .all(|seen| seen.instance_id != *instance || seen.state.is_off())
            })
        }
        Err(_) => false,
    }
}

/// Asking again cannot help.
fn is_final(error: &CloudError) -> bool {
    let may_pass = matches!(error.kind, ErrorKind::WrongState | ErrorKind::NotFound);
    !error.kind.is_retryable() && !may_pass
}
