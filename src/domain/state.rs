//! The fold of the journal: every durable fact about every VM and show, at one moment.
//!
//! A `State` is immutable in use: it is cloned (cheaply, its maps share structure), the clone takes the next
//! events, and then it replaces its predecessor. [`State::apply`] is the only way to change it and refuses
//! what cannot happen, so a VM held by two shows cannot even be written down. Indexes are derived, never
//! stored.

use std::sync::Arc;
use std::time::Duration;

use imbl::{OrdMap, OrdSet, Vector};
use serde::{Deserialize, Serialize};

use super::candidates::Candidates;
use super::event::Event;
use super::execution::{self, Execution, Executions};
use super::ids::{Epoch, InstanceId, RequestKey, Seq, ShowId, VmId};
use super::pool::Settings;
use super::show::{self, Phase, Show};
use super::time::Timestamp;
use super::vm::{self, Status, Vm};

/// Shows without a VM that are remembered for their epoch and failover records.
pub const IDLE_SHOWS_MAX: usize = 10_000;
/// Idempotency keys that are remembered.
pub const KEYS_MAX: usize = 10_000;

/// Measured starts that the estimate rests on.
pub const STARTS_MAX: usize = 31;

/// What a keyed request did, or has begun to do, so that its repetition gets the same answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    pub request: Request,
    pub show: ShowId,
    pub vm: VmId,
    pub at: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    Assign,
    Release,
}

/// An event that this state refuses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    #[error(transparent)]
    Vm(#[from] vm::Rejected),
    #[error(transparent)]
    Show(#[from] show::Rejected),
    #[error(transparent)]
    Execution(#[from] execution::Rejected),
    #[error("{0} is not in the pool")]
    UnknownVm(VmId),
    #[error("{0} is in the pool already")]
    DuplicateVm(VmId),
    #[error("instance {instance} is in the pool already, as {vm}")]
    DuplicateInstance { instance: InstanceId, vm: VmId },
    #[error("the idempotency key was used before")]
    KeyUsed,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct State {
    /// The last event folded in.
    pub seq: Seq,
    /// When it happened.
    pub at: Timestamp,
    /// Settings changed at run time; `None` until somebody does.
    pub settings: Option<Settings>,
    pub(super) vms: OrdMap<VmId, Arc<Vm>>,
    pub(super) shows: OrdMap<ShowId, Arc<Show>>,
    keys: OrdMap<RequestKey, Done>,
    keys_by_age: OrdSet<(Timestamp, RequestKey)>,
    idle_shows: OrdSet<(Timestamp, ShowId)>,
    by_instance: OrdMap<InstanceId, VmId>,
    by_status: OrdMap<Status, OrdSet<VmId>>,
    candidates: Candidates,
    /// Shows that have a VM, and the availability zone of that one: while moving, of the one they are moved to.
    placed: OrdMap<ShowId, Option<Arc<str>>>,
    /// How many of them each zone has.
    zones: OrdMap<Arc<str>, usize>,
    /// How long the latest starts took, from asking to ready.
    starts: Vector<Duration>,
    executions: Executions,
}

impl State {
    #[must_use]
    pub fn vm(&self, id: &VmId) -> Option<&Arc<Vm>> {
        self.vms.get(id)
    }

    #[must_use]
    pub fn show(&self, id: &ShowId) -> Option<&Arc<Show>> {
        self.shows.get(id)
    }

    pub fn vms(&self) -> impl Iterator<Item = &Arc<Vm>> {
        self.vms.values()
    }

    /// Every show that is remembered, with or without a VM.
    pub fn shows(&self) -> impl Iterator<Item = &Arc<Show>> {
        self.shows.values()
    }

    /// Shows that have a VM or are being moved.
    pub fn placed_shows(&self) -> impl Iterator<Item = &Arc<Show>> {
        self.placed.keys().filter_map(|id| self.shows.get(id))
    }

    #[must_use]
    pub fn placed_count(&self) -> usize {
        self.placed.len()
    }

    #[must_use]
    pub fn vm_count(&self) -> usize {
        self.vms.len()
    }

    #[must_use]
    pub fn count(&self, status: Status) -> usize {
        self.by_status.get(&status).map_or(0, OrdSet::len)
    }

    pub fn with_status(&self, status: Status) -> impl Iterator<Item = &Arc<Vm>> {
        self.by_status
            .get(&status)
            .into_iter()
            .flat_map(OrdSet::iter)
            .filter_map(|id| self.vms.get(id))
    }

    #[must_use]
    pub fn vm_of_instance(&self, instance: &InstanceId) -> Option<&Arc<Vm>> {
        self.by_instance.get(instance).and_then(|id| self.vms.get(id))
    }

    /// The VM that serves the show now. While failing over: the old one, until the failover has ended.
    #[must_use]
    pub fn vm_of_show(&self, show: &ShowId) -> Option<&Arc<Vm>> {
        self.vms.get(self.shows.get(show)?.vm.as_ref()?)
    }

    /// The VMs that could be given to a show.
    #[must_use]
    pub fn candidates(&self) -> &Candidates {
        &self.candidates
    }

    /// Shows whose VM is in this availability zone. A show that is being moved counts where it is going: when a whole
    /// zone fails, its shows must not all land in one other.
    #[must_use]
    pub fn shows_in_zone(&self, zone: &str) -> usize {
        self.zones.get(zone).copied().unwrap_or(0)
    }

    /// What the request with this key did, if it is remembered.
    #[must_use]
    pub fn done(&self, key: &RequestKey) -> Option<&Done> {
        self.keys.get(key)
    }

    /// What was done on VMs over SSH.
    #[must_use]
    pub fn executions(&self) -> &Executions {
        &self.executions
    }

    /// The epoch that the show's next VM gets.
    #[must_use]
    pub fn next_epoch(&self, show: &ShowId) -> Epoch {
        self.shows.get(show).map_or(Epoch(0), |show| show.epoch).next()
    }

    /// Folds one event.
    ///
    /// # Errors
    /// [`Rejected`] if it cannot happen now; this state is unchanged then. If the event was part of a group,
    /// the state must be thrown away, since earlier events of the group are in it: [`State::with`] does that.
    pub fn apply(&mut self, event: &Event, at: Timestamp) -> Result<(), Rejected> {
        match event {
            Event::Vm { vm, event } => self.apply_vm(vm, event, at)?,
            Event::Show { show, event } => self.apply_show(show, event, at)?,
            Event::Execution { execution, event } => {
                if let execution::Event::Began { vm, .. } = event
                    && !self.vms.contains_key(vm)
                {
                    return Err(Rejected::UnknownVm(vm.clone()));
                }
                self.executions.apply(*execution, event, at)?;
            }
            Event::PoolConfigured { settings } => self.settings = Some(settings.clone()),
        }
        self.seq = self.seq.next();
        self.at = self.at.max(at);
        Ok(())
    }

    /// This state after a group of events, all or nothing.
    ///
    /// # Errors
    /// The first [`Rejected`]; `self` is as before.
    pub fn with(&self, events: &[Event], at: Timestamp) -> Result<Self, Rejected> {
        let mut next = self.clone();
        events.iter().try_for_each(|event| next.apply(event, at))?;
        Ok(next)
    }

    fn apply_vm(&mut self, id: &VmId, event: &vm::Event, at: Timestamp) -> Result<(), Rejected> {
        if let vm::Event::Adopted { instance } = event {
            return self.adopt(Vm::adopted(id.clone(), instance.clone(), at));
        }
        let mut vm = self.vm_clone(id)?;
        let started = vm.last_started_at.filter(|at| *at == vm.last_state_change);
        if matches!(event, vm::Event::Stopping { .. }) {
            self.require_stoppable(&vm)?;
        }
        vm.apply(event, at)?;
        if let (vm::Event::Ready, Some(started)) = (event, started) {
            self.measure_start(at.since(started));
        }
        if *event == vm::Event::Gone {
            vm.require_untenanted()?;
            self.remove_vm(id);
        } else {
            let tenant = vm.occupancy.tenant().map(|(show, _)| show.clone());
            self.put_vm(vm);
            if let (vm::Event::Described { .. }, Some(show)) = (event, &tenant) {
                self.place(show);
            }
            if let (vm::Event::Ready, Some(show)) = (event, tenant) {
                self.note_ready(&show);
            }
        }
        Ok(())
    }

    fn measure_start(&mut self, took: Duration) {
        self.starts.push_back(took);
        if self.starts.len() > STARTS_MAX {
            self.starts.pop_front();
        }
    }

    /// The median of the latest starts, from asking to ready; `None` until there are any.
    #[must_use]
    pub fn median_start(&self) -> Option<Duration> {
        let mut starts: Vec<Duration> = self.starts.iter().copied().collect();
        starts.sort_unstable();
        starts.get(starts.len() / 2).copied()
    }

    /// A VM that serves a show is stopped only as part of that show's own procedure: to fence it off, or
    /// after its release.
    fn require_stoppable(&self, vm: &Vm) -> Result<(), Rejected> {
        let Some((show, _)) = vm.occupancy.tenant() else {
            return Ok(());
        };
        match self.shows.get(show).map(|show| &show.phase) {
            Some(Phase::FailingOver(failover)) if failover.from == vm.id => Ok(()),
            Some(Phase::Releasing { .. }) | None => Ok(()),
            Some(Phase::Idle | Phase::OffAir | Phase::OnAir | Phase::FailingOver(_)) => {
                Ok(vm.require_free()?)
            }
        }
    }

    fn adopt(&mut self, vm: Vm) -> Result<(), Rejected> {
        if self.vms.contains_key(&vm.id) {
            return Err(Rejected::DuplicateVm(vm.id));
        }
        if let Some(known) = self.by_instance.get(vm.instance_id()) {
            return Err(Rejected::DuplicateInstance {
                instance: vm.instance_id().clone(),
                vm: known.clone(),
            });
        }
        self.put_vm(vm);
        Ok(())
    }

    pub(super) fn vm_clone(&self, id: &VmId) -> Result<Vm, Rejected> {
        self.vms
            .get(id)
            .map(|vm| Vm::clone(vm))
            .ok_or_else(|| Rejected::UnknownVm(id.clone()))
    }

    pub(super) fn put_vm(&mut self, vm: Vm) {
        let status = vm.status();
        let id = vm.id.clone();
        let old = self.vms.get(&id).cloned();
        self.candidates.note(old.as_deref(), Some(&vm));
        // Most events change neither; an index that is right already is left shared with the state before.
        let before = old.as_ref().map(|old| old.status());
        if before != Some(status) {
            if let Some(before) = before {
                self.unindex_status(before, &id);
            }
            self.by_status.entry(status).or_default().insert(id.clone());
        }
        let instance = old.as_ref().map(|old| old.instance_id());
        if instance != Some(vm.instance_id()) {
            if let Some(instance) = instance {
                self.by_instance.remove(instance);
            }
            self.by_instance.insert(vm.instance_id().clone(), id.clone());
        }
        self.vms.insert(id, Arc::new(vm));
    }

    fn remove_vm(&mut self, id: &VmId) {
        if let Some(vm) = self.vms.remove(id) {
            self.candidates.note(Some(&vm), None);
            self.unindex_status(vm.status(), id);
            self.by_instance.remove(vm.instance_id());
        }
    }

    fn unindex_status(&mut self, status: Status, id: &VmId) {
        if let Some(set) = self.by_status.get_mut(&status) {
            set.remove(id);
            // An empty set would make this state differ from the same facts read from a snapshot.
            if set.is_empty() {
                self.by_status.remove(&status);
            }
        }
    }

    pub(super) fn put_show(&mut self, show: Show) {
        if let Some(since) = self.shows.get(&show.id).and_then(|old| old.idle_since) {
            self.idle_shows.remove(&(since, show.id.clone()));
        }
        if let Some(since) = show.idle_since {
            self.idle_shows.insert((since, show.id.clone()));
        }
        let id = show.id.clone();
        self.shows.insert(id.clone(), Arc::new(show));
        self.place(&id);
        while self.idle_shows.len() > IDLE_SHOWS_MAX {
            if let Some((_, oldest)) = self.idle_shows.remove_min() {
                self.shows.remove(&oldest);
            }
        }
    }

    /// Counts a show where it is, or is going.
    fn place(&mut self, id: &ShowId) {
        let Some(show) = self.shows.get(id) else {
            return;
        };
        let target = show.failover().and_then(|failover| failover.to.as_ref());
        let vm = target.or(show.vm.as_ref()).and_then(|vm| self.vms.get(vm));
        let zone = vm.and_then(|vm| vm.instance.availability_zone.as_deref());
        let is_placed = show.vm.is_some();
        let before = self.placed.get(id);
        if is_placed == before.is_some() && before.is_none_or(|before| before.as_deref() == zone) {
            return;
        }
        let zone: Option<Arc<str>> = zone.filter(|_| is_placed).map(Arc::from);
        let before = if is_placed {
            self.placed.insert(id.clone(), zone.clone()).flatten()
        } else {
            self.placed.remove(id).flatten()
        };
        if let Some(before) = before {
            match self.zones.get(&before) {
                Some(count) if *count > 1 => self.zones.insert(before, count - 1),
                Some(_) | None => self.zones.remove(&before),
            };
        }
        if let Some(zone) = zone {
            *self.zones.entry(zone).or_default() += 1;
        }
    }

    pub(super) fn require_unused(&self, key: Option<&RequestKey>) -> Result<(), Rejected> {
        match key {
            Some(key) if self.keys.contains_key(key) => Err(Rejected::KeyUsed),
            Some(_) | None => Ok(()),
        }
    }

    pub(super) fn remember(&mut self, key: &RequestKey, done: Done) {
        self.keys_by_age.insert((done.at, key.clone()));
        self.keys.insert(key.clone(), done);
        while self.keys.len() > KEYS_MAX {
            match self.keys_by_age.remove_min() {
                Some((_, oldest)) => self.keys.remove(&oldest),
                None => break,
            };
        }
    }
}

/// A state as it is stored: facts without indexes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    pub seq: Seq,
    pub at: Timestamp,
    pub settings: Option<Settings>,
    pub vms: Vec<Arc<Vm>>,
    pub shows: Vec<Arc<Show>>,
    pub keys: Vec<(RequestKey, Done)>,
    #[serde(default)]
    pub starts: Vec<Duration>,
    #[serde(default)]
    pub executions: Vec<Arc<Execution>>,
}

impl From<&State> for Snapshot {
    fn from(state: &State) -> Self {
        Self {
            seq: state.seq,
            at: state.at,
            settings: state.settings.clone(),
            vms: state.vms.values().cloned().collect(),
            shows: state.shows.values().cloned().collect(),
            keys: state
                .keys
                .iter()
                .map(|(key, done)| (key.clone(), done.clone()))
                .collect(),
            starts: state.starts.iter().copied().collect(),
            executions: state.executions.iter().cloned().collect(),
        }
    }
}

impl From<Snapshot> for State {
    fn from(snapshot: Snapshot) -> Self {
        let mut state = Self::default();
        for vm in snapshot.vms {
            state.put_vm(Arc::unwrap_or_clone(vm));
        }
        for show in snapshot.shows {
            state.put_show(Arc::unwrap_or_clone(show));
        }
        for (key, done) in snapshot.keys {
            state.keys_by_age.insert((done.at, key.clone()));
            state.keys.insert(key, done);
        }
        state.seq = snapshot.seq;
        state.at = snapshot.at;
        state.settings = snapshot.settings;
        state.starts = snapshot.starts.into_iter().collect();
        state.executions = snapshot.executions.into_iter().collect();
        state
    }
}
