//! The whole domain once more, naively: two maps, one rule after the other, no indexes, no sharing. It says which
//! events are accepted and what is then true; it also keeps, for each show, all VMs that may be publishing, where
//! the real state knows of the show's own VM only.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use understudy::domain::archive;
use understudy::domain::event::Event;
use understudy::domain::ids::{InstanceId, RequestKey, ShowId, VmId};
use understudy::domain::instance::{Instance, InstanceState};
use understudy::domain::time::Timestamp;
use understudy::domain::unarchived::UNARCHIVED_MAX;
use understudy::domain::vm::{Event as VmEvent, Health};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On {
    Off,
    Starting,
    Booting,
    Ready,
    Stopping,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Use {
    Free,
    Maintenance,
    Held { show: ShowId, epoch: u64, how: How },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    Assigned,
    OnAir,
    Releasing,
}

#[derive(Debug, Clone)]
pub struct Machine {
    pub instance: InstanceId,
    pub name: Option<String>,
    pub on: On,
    pub used: Use,
    pub health: Health,
    pub fault_since: Option<Timestamp>,
    pub attempts: u64,
    pub started_at: Option<Timestamp>,
    /// When its status last changed.
    pub changed_at: Timestamp,
    /// A show has left something on it.
    pub left: bool,
    /// Recordings of shows that could not be archived: their folder, and whether that is being tried again.
    pub unarchived: Vec<(String, bool)>,
}

impl Machine {
    pub fn status(&self) -> &'static str {
        let releasing = matches!(
            self.used,
            Use::Held {
                how: How::Releasing,
                ..
            }
        );
        if self.used == Use::Maintenance {
            "maintenance"
        } else if self.on == On::Stopping {
            "stopping"
        } else if releasing {
            "releasing"
        } else if self.fault_since.is_some() || (self.on == On::Ready && self.health == Health::Unhealthy) {
            "error"
        } else if self.on == On::Off {
            "stopped"
        } else if self.on != On::Ready {
            "starting"
        } else if self.used == Use::Free && self.left {
            "releasing"
        } else if self.used == Use::Free {
            "available"
        } else if matches!(self.used, Use::Held { how: How::OnAir, .. }) {
            "in_use"
        } else {
            "assigned"
        }
    }

    /// An archive that is being tried, or is not, turns into that; nothing: it is forgotten.
    fn archive(&mut self, folder: &str, from: bool, to: Option<bool>) -> Option<()> {
        let index = self.unarchived.iter().position(|(known, _)| known == folder)?;
        if self.unarchived[index].1 != from {
            return None;
        }
        match to {
            Some(to) => self.unarchived[index].1 = to,
            None => drop(self.unarchived.remove(index)),
        }
        Some(())
    }

    /// Candidates are ends only.
    fn archived(&mut self, folder: &str, event: &archive::Event) -> Option<()> {
        let archive::Event::Ended { ending } = event else {
            return None;
        };
        match ending {
            archive::Ending::Done { .. } => self.archive(folder, true, None),
            archive::Ending::Failed { .. } => self.archive(folder, true, Some(false)),
        }
    }

    pub fn keep(&mut self, folder: String) {
        self.unarchived.push((folder, false));
        let too_many = self.unarchived.len().saturating_sub(UNARCHIVED_MAX);
        self.unarchived.drain(..too_many);
    }

    fn may_be_taken(&self) -> bool {
        self.used == Use::Free
            && match self.on {
                On::Off => true,
                On::Starting | On::Booting => self.fault_since.is_none(),
                On::Ready => self.fault_since.is_none() && self.health != Health::Unhealthy,
                On::Stopping => false,
            }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    Idle,
    OffAir,
    OnAir,
    Moving(Move),
    Releasing,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    pub from: VmId,
    pub to: Option<VmId>,
    pub fenced: bool,
    pub restored: bool,
    pub publishing: bool,
    pub publish: bool,
}

#[derive(Debug, Clone)]
pub struct Played {
    pub epoch: u64,
    pub stage: Stage,
    pub vm: Option<VmId>,
    pub wanted: bool,
    pub held: bool,
    pub captured: bool,
    pub moves: usize,
    /// It was told to stop and is not known to have.
    pub stop_asked: bool,
    /// Its VM has another studio than the one captured or configured.
    pub unrestored: bool,
    /// Its VM was given that studio, and nobody has looked since.
    pub uncompared: bool,
    /// It was configured, at whatever time.
    pub configured: bool,
    /// Its VM was told to stream and has not been silenced since.
    pub loud: bool,
    /// Its recordings were to be kept, and whether that has ended.
    pub archive_ended: Option<bool>,
    /// Where they were to go, if they have not arrived.
    pub unarchived: Option<String>,
    /// VMs that may be sending this show's stream at this moment.
    pub may_publish: BTreeSet<VmId>,
}

impl Played {
    pub fn new() -> Self {
        Self {
            epoch: 0,
            stage: Stage::Idle,
            archive_ended: None,
            unarchived: None,
            vm: None,
            wanted: false,
            held: false,
            captured: false,
            moves: 0,
            stop_asked: false,
            unrestored: false,
            uncompared: false,
            configured: false,
            loud: false,
            may_publish: BTreeSet::new(),
        }
    }
}

#[derive(Debug, Clone, Default)]
pub struct Model {
    pub vms: BTreeMap<VmId, Machine>,
    pub shows: BTreeMap<ShowId, Played>,
    pub keys: BTreeSet<RequestKey>,
    /// How long every start took that nothing came between.
    pub starts: Vec<Duration>,
    pub at: Timestamp,
}

impl Model {
    /// What is true after the event; nothing if it cannot happen.
    pub fn after(&self, event: &Event, at: Timestamp) -> Option<Self> {
        let mut next = self.clone();
        next.at = at;
        match event {
            Event::Vm { vm, event } => next.vm_event(vm, event)?,
            Event::Show { show, event } => next.show_event(show, event)?,
            Event::Execution { .. } | Event::PoolConfigured { .. } => {}
        }
        next.note_publishers();
        for (id, vm) in &mut next.vms {
            if self
                .vms
                .get(id)
                .is_none_or(|before| before.status() != vm.status())
            {
                vm.changed_at = at;
            }
        }
        Some(next)
    }

    fn adopted(&mut self, id: &VmId, instance: &Instance) -> Option<()> {
        let known = self.vms.values().any(|vm| vm.instance == instance.instance_id);
        if known || self.vms.contains_key(id) {
            return None;
        }
        let on = match instance.state {
            InstanceState::Pending => On::Starting,
            InstanceState::Running => On::Booting,
            InstanceState::Stopping => On::Stopping,
            InstanceState::Stopped | InstanceState::ShuttingDown | InstanceState::Terminated => On::Off,
        };
        let vm = Machine {
            instance: instance.instance_id.clone(),
            name: instance.name.clone(),
            on,
            used: Use::Free,
            health: Health::Unknown,
            fault_since: None,
            attempts: 0,
            started_at: None,
            changed_at: self.at,
            left: false,
            unarchived: Vec::new(),
        };
        self.vms.insert(id.clone(), vm);
        Some(())
    }

    fn vm_event(&mut self, id: &VmId, event: &VmEvent) -> Option<()> {
        if let VmEvent::Adopted { instance } = event {
            return self.adopted(id, instance);
        }
        let stoppable = self.may_be_stopped(id);
        let at = self.at;
        let vm = self.vms.get_mut(id)?;
        let held = matches!(vm.used, Use::Held { .. });
        match event {
            VmEvent::Adopted { .. } => return None,
            VmEvent::Described { instance } if instance.instance_id == vm.instance => {
                vm.name.clone_from(&instance.name);
            }
            VmEvent::Starting { attempt } if vm.on == On::Off && attempt.0 > vm.attempts => {
                vm.on = On::Starting;
                vm.started_at = Some(at);
                vm.attempts = attempt.0;
                vm.health = Health::Unknown;
                vm.fault_since = None;
            }
            VmEvent::Booting => {
                if vm.on == On::Off {
                    vm.started_at = Some(at);
                }
                vm.on = On::Booting;
                vm.health = Health::Unknown;
                self.stops_publishing(id);
            }
            VmEvent::Ready if vm.on == On::Booting => {
                self.starts.extend(
                    vm.started_at
                        .filter(|started| *started == vm.changed_at)
                        .map(|started| at.since(started)),
                );
                vm.on = On::Ready;
                vm.health = Health::Healthy;
                vm.fault_since = None;
                vm.left &= !held;
            }
            VmEvent::Stopping { attempt } if vm.on != On::Off && stoppable && attempt.0 > vm.attempts => {
                vm.on = On::Stopping;
                vm.attempts = attempt.0;
            }
            VmEvent::StopFailed { .. } if vm.on == On::Stopping => {
                vm.on = On::Booting;
                vm.fault_since = Some(at);
            }
            VmEvent::Stopped => {
                vm.on = On::Off;
                vm.health = Health::Unknown;
                self.stops_publishing(id);
            }
            VmEvent::Gone if !held => {
                self.vms.remove(id);
            }
            VmEvent::HealthTurned { health } => vm.health = *health,
            VmEvent::Faulted { .. } => vm.fault_since = Some(at),
            VmEvent::FaultCleared => vm.fault_since = None,
            VmEvent::Withheld { .. } if vm.used == Use::Free => vm.fault_since = Some(at),
            VmEvent::Cleaned { accepted, .. } => vm.left &= !*accepted,
            VmEvent::Resealed { .. } if vm.left => {}
            VmEvent::MaintenanceBegan { .. } if vm.used == Use::Free => vm.used = Use::Maintenance,
            VmEvent::MaintenanceEnded if vm.used == Use::Maintenance => vm.used = Use::Free,
            VmEvent::ArchiveResumed { folder } if vm.used == Use::Free => {
                vm.archive(folder, false, Some(true))?;
            }
            VmEvent::Archive { folder, event } => vm.archived(folder, event)?,
            VmEvent::Described { .. }
            | VmEvent::Starting { .. }
            | VmEvent::Ready
            | VmEvent::Stopping { .. }
            | VmEvent::StopFailed { .. }
            | VmEvent::Gone
            | VmEvent::Resealed { .. }
            | VmEvent::MaintenanceBegan { .. }
            | VmEvent::MaintenanceEnded
            | VmEvent::Withheld { .. }
            | VmEvent::ArchiveResumed { .. } => return None,
        }
        Some(())
    }

    /// Not held, or being left by a failover, or being released.
    fn may_be_stopped(&self, id: &VmId) -> bool {
        let users: Vec<_> = self.shows.values().filter(|show| uses(show, id)).collect();
        users.iter().all(|show| match &show.stage {
            Stage::Moving(m) => m.from == *id,
            Stage::Releasing => true,
            Stage::Idle | Stage::OffAir | Stage::OnAir => false,
        })
    }

    fn stops_publishing(&mut self, id: &VmId) {
        for show in self.shows.values_mut() {
            show.may_publish.remove(id);
        }
    }

    pub fn may_be_taken(&self, id: &VmId) -> bool {
        self.vms.get(id).is_some_and(Machine::may_be_taken)
    }

    pub fn hold(&mut self, id: &VmId, show: &ShowId, epoch: u64, how: How) {
        let used = Use::Held {
            show: show.clone(),
            epoch,
            how,
        };
        let vm = self.vms.get_mut(id).unwrap();
        // One that is ready counts as clean when it is given to a show.
        vm.left &= vm.on != On::Ready;
        vm.used = used;
    }

    pub fn let_go(&mut self, id: &VmId) {
        let vm = self.vms.get_mut(id).unwrap();
        vm.used = Use::Free;
        vm.left = true;
    }

    /// A VM that is ready, and whose show wants a stream or has one, may be sending it: the order to start may
    /// have reached it at any moment. While failing over nobody gives the order but the failover itself.
    fn note_publishers(&mut self) {
        for show in self.shows.values_mut() {
            let ordered = show.stage == Stage::OnAir || (show.stage == Stage::OffAir && show.wanted);
            let reached = show.vm.as_ref().is_some_and(|vm| self.vms[vm].on == On::Ready);
            show.loud |= show.stage == Stage::OnAir || (ordered && reached);
            if let Some(vm) = show.vm.as_ref().filter(|_| ordered)
                && (self.vms[vm].on == On::Ready || show.stage == Stage::OnAir && self.vms[vm].on != On::Off)
            {
                show.may_publish.insert(vm.clone());
            }
        }
    }
}

pub fn uses(show: &Played, id: &VmId) -> bool {
    match &show.stage {
        Stage::Idle => false,
        Stage::OffAir | Stage::OnAir | Stage::Releasing => show.vm.as_ref() == Some(id),
        Stage::Moving(m) => m.from == *id || m.to.as_ref() == Some(id),
    }
}
