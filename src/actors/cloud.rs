//! The cloud actor: one look at every instance feeds every VM.
//!
//! It adopts instances that carry the pool's tags, and tells each VM what the cloud says of it. It starts and stops
//! nothing. A list that leaves a VM out proves nothing: one that a show holds, or that two looks in a row did not
//! list, is asked for by its id, and what the cloud answers to that is passed on. So is one whose studio a show has
//! just lost sight of: if it is being switched off, the cloud knows that long before silence tells.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt as _;
use ractor::{Actor, ActorProcessingErr, RpcReplyPort};

use super::context::Context;
use super::coordinator::{CloudStanding, CommandError, LaunchVm};
use super::mailbox::{ActorRef, Backlog, Directory, Letter, NoAnswer, Waiting, answer};
use super::task;
use super::vm::commit_error;
use crate::domain::ids::{InstanceId, VmId};
use crate::domain::instance::{Instance, InstanceState, Launch, Sighting};
use crate::domain::state::State as LedgerState;
use crate::domain::time::Timestamp;
use crate::domain::vm::Vm;
use crate::infra::cloud::{Error as CloudError, ErrorKind, TAG_MANAGED_BY, TAG_PROJECT};

/// Looks in a row that must miss an instance before it counts as gone: one listing may be incomplete.
const MISSED_MAX: u32 = 2;
/// Instances that are asked for by their ids after one look; the others have their turn after the next.
const ASKED_MAX: usize = 64;
/// Questions of that kind under way at a time.
const ASKED_AT_ONCE: usize = 8;
/// Limit on a launch, retries included.
const LAUNCH: Duration = Duration::from_secs(90);
/// Limit on a look that somebody waits for.
const LOOK: Duration = Duration::from_secs(60);
/// Characters of the instance id that make a VM's id.
const SUFFIX_CHARS: usize = 8;

pub enum Message {
    /// Look now, or as soon as the look under way is over. The port is answered after a look that began later
    /// than this message.
    Look {
        reply: Option<RpcReplyPort<Result<(), CloudError>>>,
    },
    Looked {
        began: Timestamp,
        result: Result<Vec<Instance>, CloudError>,
    },
    /// What the cloud said of a VM that it was asked for by its id.
    Asked {
        vm: VmId,
        why: Why,
        began: Timestamp,
        result: Result<Option<Instance>, CloudError>,
    },
    /// All have been asked for.
    AskedAll,
    /// Ask for this VM by its id.
    Ask {
        vm: VmId,
    },
    Tick,
    Launch {
        ask: LaunchVm,
        reply: RpcReplyPort<Result<(VmId, Instance), CommandError>>,
    },
    Launched {
        result: Result<Instance, CloudError>,
        reply: RpcReplyPort<Result<(VmId, Instance), CommandError>>,
    },
}

/// Why a VM is asked for by its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The list was without it.
    LeftOut,
    /// Its studio cannot be heard. That the cloud does not find it either is no news then: what stands between here and
    /// both may have failed, and a list must have told the same before the VM counts as gone.
    OutOfSight,
}

/// Handle to the cloud actor.
#[derive(Clone, Default)]
pub struct Sweeper(Directory<(), Message>);

impl Sweeper {
    /// What waits for the actor.
    pub(super) fn backlog(&self) -> Backlog {
        self.0.backlog()
    }

    /// Kills the actor, as a bug in it would. For drills.
    pub(super) fn kill(&self) -> bool {
        self.0.get(&()).inspect(|actor| actor.kill()).is_some()
    }

    /// Asks for a look without waiting for it.
    pub fn look_now(&self) {
        self.0.cast(&(), Message::Look { reply: None });
    }

    /// Has the cloud asked for one VM, soon: something is wrong with it, and whether it runs at all is not to wait for
    /// the next look.
    pub fn ask_for(&self, vm: &VmId) {
        self.0.cast(&(), Message::Ask { vm: vm.clone() });
    }

    /// Looks and waits for what was seen to be passed on.
    pub async fn look(&self) -> Result<(), CommandError> {
        match self
            .0
            .ask(&(), LOOK, |reply| Message::Look { reply: Some(reply) })
            .await
        {
            Ok(result) => result.map_err(|error| cloud_error(&error)),
            Err(no_answer) => Err(unanswered(no_answer, "looking at the cloud", LOOK)),
        }
    }

    pub async fn launch(&self, ask: LaunchVm) -> Result<(VmId, Instance), CommandError> {
        match self
            .0
            .ask(&(), LAUNCH, |reply| Message::Launch { ask, reply })
            .await
        {
            Ok(result) => result,
            Err(no_answer) => Err(unanswered(no_answer, "launching an instance", LAUNCH)),
        }
    }
}

fn unanswered(no_answer: NoAnswer, what: &'static str, limit: Duration) -> CommandError {
    match no_answer {
        NoAnswer::Down => CommandError::Restarting {
            subject: "the cloud".to_owned(),
        },
        NoAnswer::TimedOut => CommandError::TimedOut { what, limit },
    }
}

fn cloud_error(error: &CloudError) -> CommandError {
    CommandError::Cloud {
        vm: None,
        code: error.code.clone(),
        message: error.to_string(),
    }
}

#[derive(Default)]
pub(super) struct CloudActor {
    waiting: Waiting,
}

pub(super) struct State {
    ctx: Arc<Context>,
    looking: bool,
    /// Wait for the look that begins next.
    waiting: Vec<RpcReplyPort<Result<(), CloudError>>>,
    /// Wait for the look under way.
    served: Vec<RpcReplyPort<Result<(), CloudError>>>,
    again: bool,
    missed: BTreeMap<InstanceId, u32>,
    /// Some are being asked for by their ids.
    asking: bool,
    /// To be asked for after them.
    to_ask: BTreeMap<VmId, Why>,
    launching: u32,
    /// Launches so far, for their tokens.
    launches: u64,
}

impl Actor for CloudActor {
    type Msg = Letter<Message>;
    type State = State;
    type Arguments = Arc<Context>;

    async fn pre_start(
        &self,
        me: ractor::ActorRef<Self::Msg>,
        ctx: Arc<Context>,
    ) -> Result<State, ActorProcessingErr> {
        let me = ActorRef::new(me, &self.waiting);
        ctx.cloud.0.publish((), me.clone());
        let _ = me.cast(Message::Tick);
        Ok(State {
            ctx,
            looking: false,
            waiting: Vec::new(),
            served: Vec::new(),
            again: false,
            missed: BTreeMap::new(),
            asking: false,
            to_ask: BTreeMap::new(),
            launching: 0,
            launches: 0,
        })
    }

    async fn handle(
        &self,
        me: ractor::ActorRef<Self::Msg>,
        letter: Self::Msg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let (me, message) = (ActorRef::new(me, &self.waiting), letter.open());
        match message {
            Message::Tick => {
                state.look(&me);
                me.send_after(state.ctx.options.sweep_interval, || Message::Tick);
            }
            Message::Look { reply } => {
                state.waiting.extend(reply);
                state.again = state.looking;
                state.look(&me);
            }
            Message::Looked { began, result } => {
                state.looking = false;
                let outcome = result.as_ref().map(|_| ()).map_err(Clone::clone);
                state.looked(&me, began, result).await;
                for port in state.served.drain(..) {
                    answer(port, outcome.clone());
                }
                if std::mem::take(&mut state.again) {
                    state.look(&me);
                }
            }
            Message::Asked {
                vm,
                why,
                began,
                result,
            } => state.asked(&vm, why, began, result),
            Message::AskedAll => {
                state.asking = false;
                state.ask_for_next(&me);
            }
            Message::Ask { vm } => {
                state.to_ask.entry(vm).or_insert(Why::OutOfSight);
                state.ask_for_next(&me);
            }
            Message::Launch { ask, reply } => state.launch(&me, ask, reply),
            Message::Launched { result, reply } => {
                state.launching = state.launching.saturating_sub(1);
                let result = state.launched(result).await;
                answer(reply, result);
            }
        }
        Ok(())
    }
}

impl State {
    fn look(&mut self, me: &ActorRef<Message>) {
        if self.looking {
            return;
        }
        self.looking = true;
        self.served.append(&mut self.waiting);
        let (ctx, me) = (Arc::clone(&self.ctx), me.clone());
        task::effect(async move {
            let began = ctx.now();
            let result = ctx.world.cloud.list().await;
            let _ = me.cast(Message::Looked { began, result });
        });
    }

    async fn looked(
        &mut self,
        me: &ActorRef<Message>,
        began: Timestamp,
        result: Result<Vec<Instance>, CloudError>,
    ) {
        let now = Arc::new(standing(&result, self.ctx.now()));
        let before = self.ctx.standing.swap(Arc::clone(&now));
        let instances = match result {
            Ok(instances) => {
                if !matches!(*before, CloudStanding::Unknown | CloudStanding::Connected { .. }) {
                    tracing::info!("the cloud can be looked at again");
                }
                instances
            }
            // It is looked at every few seconds: what is wrong is told once.
            Err(_) if before == now => return,
            Err(error) => {
                tracing::warn!(%error, "the cloud could not be looked at; going on with what was seen before");
                return;
            }
        };
        let mut seen: BTreeMap<InstanceId, Instance> = instances
            .into_iter()
            .map(|instance| (instance.instance_id.clone(), instance))
            .collect();
        let state = self.ctx.state();
        let mut left_out = 0;
        for vm in state.vms() {
            if let Some(instance) = seen.remove(vm.instance_id()) {
                self.missed.remove(vm.instance_id());
                self.ctx.machines.ensure(&self.ctx, &vm.id);
                self.ctx
                    .machines
                    .sighted(&vm.id, Sighting::Listed(instance), began);
                continue;
            }
            let missed = self.missed.entry(vm.instance_id().clone()).or_default();
            *missed += 1;
            if *missed >= MISSED_MAX || vm.occupancy.tenant().is_some() {
                self.to_ask.insert(vm.id.clone(), Why::LeftOut);
                left_out += 1;
            }
        }
        if left_out > 0 {
            tracing::warn!(
                count = left_out,
                "a look at the cloud left out VMs; asking for them by their ids"
            );
        }
        self.ask_for_next(me);
        self.missed
            .retain(|instance, _| state.vm_of_instance(instance).is_some());
        for instance in seen.into_values() {
            self.adopt_found(instance).await;
        }
        if !self.ctx.initialized.swap(true, Ordering::AcqRel) {
            tracing::info!(
                vms = self.ctx.state().vm_count(),
                "the pool has been looked at for the first time"
            );
        }
        self.ctx.pool.poke();
    }

    /// Asks for those that are to be asked for, unless others are: those that a show depends on first.
    fn ask_for_next(&mut self, me: &ActorRef<Message>) {
        let state = self.ctx.state();
        self.to_ask.retain(|id, _| state.vm(id).is_some());
        if self.asking || self.to_ask.is_empty() {
            return;
        }
        self.asking = true;
        let asked = self.to_ask.iter();
        let mut vms: Vec<(Arc<Vm>, Why)> = asked
            .filter_map(|(id, why)| Some((Arc::clone(state.vm(id)?), *why)))
            .collect();
        vms.sort_by_key(|(vm, _)| vm.occupancy.tenant().is_none());
        vms.truncate(ASKED_MAX);
        for (vm, _) in &vms {
            self.to_ask.remove(&vm.id);
        }
        let (ctx, me) = (Arc::clone(&self.ctx), me.clone());
        task::effect(async move {
            let ask = |(vm, why): (Arc<Vm>, Why)| {
                let (ctx, me) = (Arc::clone(&ctx), me.clone());
                async move {
                    let began = ctx.now();
                    let result = ctx.world.cloud.describe(vm.instance_id()).await;
                    let vm = vm.id.clone();
                    let _ = me.cast(Message::Asked {
                        vm,
                        why,
                        began,
                        result,
                    });
                }
            };
            futures_util::stream::iter(vms)
                .for_each_concurrent(ASKED_AT_ONCE, ask)
                .await;
            let _ = me.cast(Message::AskedAll);
        });
    }

    fn asked(&self, id: &VmId, why: Why, began: Timestamp, result: Result<Option<Instance>, CloudError>) {
        let state = self.ctx.state();
        let Some(vm) = state.vm(id) else { return };
        let sighting = match result {
            Ok(Some(instance)) if same_pool(&vm.instance, &instance) => Sighting::Listed(instance),
            Ok(Some(instance)) => Sighting::Untagged(instance),
            Ok(None) if why == Why::OutOfSight => {
                tracing::warn!(vm = %id, "the cloud was asked for it and does not find it; the next look decides");
                return;
            }
            Ok(None) => Sighting::NotFound,
            Err(error) => {
                tracing::warn!(vm = %id, %error, "the cloud was asked for it and does not say what has become of it");
                return;
            }
        };
        self.ctx.machines.sighted(id, sighting, began);
    }

    async fn adopt_found(&self, instance: Instance) {
        if matches!(
            instance.state,
            InstanceState::ShuttingDown | InstanceState::Terminated
        ) {
            return;
        }
        let id = instance.instance_id.clone();
        match self.adopt(instance).await {
            Ok(vm) => tracing::info!(%vm, instance = %id, "adopted an instance with the pool's tags"),
            Err(error) => tracing::warn!(instance = %id, %error, "could not adopt an instance"),
        }
    }

    async fn adopt(&self, instance: Instance) -> Result<VmId, CommandError> {
        if let Some(vm) = self.ctx.state().vm_of_instance(&instance.instance_id) {
            return Ok(vm.id.clone());
        }
        let id = free_id(&self.ctx.state(), &instance.instance_id)
            .ok_or_else(|| CommandError::Refused(format!("no legal id for {}", instance.instance_id)))?;
        self.ctx
            .machines
            .adopt(&self.ctx, id.clone(), instance)
            .await
            .map_err(commit_error)?;
        Ok(id)
    }

    fn launch(
        &mut self,
        me: &ActorRef<Message>,
        ask: LaunchVm,
        reply: RpcReplyPort<Result<(VmId, Instance), CommandError>>,
    ) {
        let settings = self.ctx.settings();
        let total = self.ctx.state().vm_count() + self.launching as usize;
        if total >= settings.max_instances as usize {
            return answer(
                reply,
                Err(CommandError::PoolFull {
                    total,
                    max: settings.max_instances,
                }),
            );
        }
        self.launching += 1;
        self.launches += 1;
        let now = self.ctx.now();
        let launch = Launch {
            token: format!("understudy-{}-{}", now.0, self.launches),
            name: ask.name.unwrap_or_else(|| format!("gymnastics-vm-{}", now.0)),
            instance_type: ask.instance_type.or(Some(settings.default_instance_type)),
            tags: ask.tags,
        };
        let (ctx, me) = (Arc::clone(&self.ctx), me.clone());
        task::effect(async move {
            let result = ctx.world.cloud.launch(&launch).await;
            let _ = me.cast(Message::Launched { result, reply });
        });
    }

    async fn launched(
        &mut self,
        result: Result<Instance, CloudError>,
    ) -> Result<(VmId, Instance), CommandError> {
        let instance = result.map_err(|error| cloud_error(&error))?;
        let vm = self.adopt(instance.clone()).await?;
        self.ctx.cloud.look_now();
        Ok((vm, instance))
    }
}

/// Whether the tags by which the pool knows its instances are as they were.
fn same_pool(known: &Instance, seen: &Instance) -> bool {
    [TAG_PROJECT, TAG_MANAGED_BY]
        .iter()
        .all(|tag| known.tags.get(*tag) == seen.tags.get(*tag))
}

/// `vm-` and the end of the instance id, as much of it as it takes to be the only one.
fn free_id(state: &LedgerState, instance: &InstanceId) -> Option<VmId> {
    let longest = instance.as_str().chars().count();
    (SUFFIX_CHARS.min(longest)..=longest)
        .filter_map(|chars| VmId::for_instance(instance, chars).ok())
        .find(|id| state.vm(id).is_none())
}

fn standing(result: &Result<Vec<Instance>, CloudError>, now: Timestamp) -> CloudStanding {
    match result {
        Ok(_) => CloudStanding::Connected { at: now },
        Err(error) => {
            let message = error.to_string();
            match error.kind {
                ErrorKind::NoCredentials => CloudStanding::NoCredentials { message },
                ErrorKind::Unreachable | ErrorKind::TimedOut => CloudStanding::Unreachable { message },
                ErrorKind::Throttled
                | ErrorKind::NoCapacity
                | ErrorKind::NotFound
                | ErrorKind::WrongState
                | ErrorKind::Denied
                | ErrorKind::Invalid
                | ErrorKind::Internal => CloudStanding::Error { message },
            }
        }
    }
}
