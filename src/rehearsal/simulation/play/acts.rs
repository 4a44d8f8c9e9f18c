//! Doing what a plan says.

use std::time::Duration;

use super::Play;
use crate::actors::coordinator::{LaunchVm, Victim};
use crate::domain::ids::{InstanceId, ShowId, VmId};
use crate::domain::instance::InstanceState;
use crate::domain::pool::Settings;
use crate::rehearsal::simulation::plan::{Act, Button, Change, Whom};
use crate::rehearsal::simulation::produce::Productions;
use crate::sim::direct;
use crate::sim::model::fault::{Fault, FaultKind};
use crate::sim::model::machine::Service;

impl Play {
    pub(super) fn act(&mut self, act: &Act) {
        match act {
            Act::Schedule { show } => self.with_show(*show, Productions::schedule),
            Act::Produce { show, how } => self.with_show(*show, |all, show| all.begin(show, *how)),
            Act::Release { show, how } => self.with_show(*show, |all, show| all.release(show, *how)),
            Act::Cancel { show } => self.with_show(*show, Productions::cancel),
            Act::Order { show, order } => self.with_show(*show, |all, show| all.order(show, *order)),
            Act::Maintain { vm, enabled } => self.maintain(*vm, *enabled),
            Act::Press { vm, button } => self.press(*vm, *button),
            Act::WarmTarget { vms } => self.warm_target(*vms),
            Act::Launch => self.launch(),
            Act::World(change) => self.change_world(change),
            Act::Kill { whom } => self.kill(*whom),
            Act::KillCoordinator { down_ms } => self.process.kill(Duration::from_millis(*down_ms)),
            Act::DieAtCommit { death, down_ms } => {
                self.process
                    .die_at_next_commit(*death, Duration::from_millis(*down_ms));
            }
            Act::DiskFull { events } => {
                self.record.count("fault disk full".to_owned());
                self.process.journal().leave_room_for(*events);
            }
            Act::SlowDisk { commit_ms } => {
                if *commit_ms > 0 {
                    self.record.count("fault slow disk".to_owned());
                }
                let commit = Duration::from_millis(*commit_ms);
                self.process.journal().slow_down(commit);
            }
        }
    }

    /// The instances of the pool, in the order of ids.
    pub(super) fn pool(&self) -> Vec<InstanceId> {
        let there = self.world.instances().into_iter();
        there
            .filter(|instance| instance.state != InstanceState::Terminated)
            .map(|instance| instance.instance_id)
            .filter(|instance| !self.strangers.contains(instance))
            .collect()
    }

    /// The instance that a plan means.
    fn instance(&self, number: u32) -> Option<InstanceId> {
        let pool = self.pool();
        let place = (number as usize).checked_rem(pool.len())?;
        pool.into_iter().nth(place)
    }

    fn vm(&self, number: u32) -> Option<VmId> {
        let state = self.process.coordinator()?.state();
        let instance = self.instance(number)?;
        state.vm_of_instance(&instance).map(|vm| vm.id.clone())
    }

    fn zone(&self, number: u32) -> String {
        let zones = &self.world.config().zones;
        let place = (number as usize).checked_rem(zones.len()).unwrap_or(0);
        zones.get(place).cloned().unwrap_or_default()
    }

    fn with_show(&mut self, number: u32, act: impl FnOnce(&mut Productions, ShowId)) {
        if let Some(show) = self.shows.get(number as usize) {
            act(&mut self.productions, show.clone());
        }
    }

    fn change_world(&self, change: &Change) {
        let world = &self.world;
        match change {
            Change::Break { vm, fault } => {
                self.record.count(format!("fault {}", named(&fault.kind())));
                if let Some(instance) = self.instance(*vm) {
                    self.tell(world.fault(&instance, *fault));
                }
            }
            Change::Mend { vm, kind } => {
                if let Some(instance) = self.instance(*vm) {
                    self.tell(world.heal(&instance, *kind));
                }
            }
            Change::BreakZone { zone, fault } => {
                self.record.count(format!("fault zone {}", named(&fault.kind())));
                self.tell(world.fault_zone(&self.zone(*zone), *fault));
            }
            Change::MendZone { zone, kind } => self.tell(world.heal_zone(&self.zone(*zone), *kind)),
            Change::BreakCloud { fault } => {
                self.record.count(format!("fault cloud {}", named(fault)));
                world.cloud_fault(*fault);
            }
            Change::MendCloud => world.heal_cloud(),
            Change::BreakArchive { fault } => {
                self.record.count(format!("fault archive {}", named(fault)));
                world.archive().fault(*fault);
            }
            Change::MendArchive => world.archive().heal(),
            Change::IngestDown => {
                self.record.count("fault ingest down".to_owned());
                world.ingest().take_down();
            }
            Change::IngestUp => world.ingest().bring_back(),
            Change::StopInstance { vm } => {
                self.record.count("fault instance stopped".to_owned());
                if let Some(instance) = self.instance(*vm) {
                    self.tell(world.stop_instance(&instance));
                }
            }
        }
    }

    pub(super) fn tell(&self, done: Result<(), direct::WorldError>) {
        if let Err(error) = done {
            self.record.note(&format!("world  {error}"));
        }
    }

    fn kill(&self, whom: Whom) {
        let victim = match whom {
            Whom::Part(part) => Some(Victim::Part(part)),
            Whom::Vm(vm) => self.vm(vm).map(Victim::Vm),
            Whom::Link(vm, link) => self.vm(vm).map(|vm| Victim::Link(vm, link)),
            Whom::Show(show) => self.shows.get(show as usize).cloned().map(Victim::Show),
        };
        if let (Some(coordinator), Some(victim)) = (self.process.coordinator(), victim)
            && coordinator.kill(&victim)
        {
            self.record.count(format!("killed {}", named(&whom)));
        }
    }

    fn maintain(&self, vm: u32, enabled: bool) {
        if let Some(vm) = self.vm(vm) {
            self.desk.ask(format!("maintenance of {vm} {enabled}"), move |coordinator| async move {
                coordinator.maintenance(vm, enabled, None).await.map(|_| ())
            });
        }
    }

    fn press(&self, vm: u32, button: Button) {
        if let Some(vm) = self.vm(vm) {
            self.desk
                .ask(format!("{button:?} {vm}"), move |coordinator| async move {
                    let pressed = match button {
                        Button::Start => coordinator.start_vm(vm).await,
                        Button::Stop => coordinator.stop_vm(vm).await,
                        Button::Reboot => coordinator.reboot_vm(vm, false).await,
                        Button::Terminate => coordinator.terminate_vm(vm).await,
                    };
                    pressed.map(|_| ())
                });
        }
    }

    fn launch(&self) {
        self.desk.ask("launch".to_owned(), |coordinator| async move {
            coordinator.launch(LaunchVm::default()).await.map(|_| ())
        });
    }

    pub(super) fn warm_target(&self, vms: u32) {
        self.desk
            .ask(format!("warm target {vms}"), move |coordinator| async move {
                let settings = Settings {
                    warm_count: vms,
                    ..coordinator.settings()
                };
                coordinator.configure(settings).await.map(|_| ())
            });
    }
}

/// Every kind of fault that can be mended.
pub(super) fn every_kind() -> Vec<FaultKind> {
    let services = [Service::Studio, Service::Status, Service::Ssh];
    let never = services.map(|service| Fault::ServiceNeverStarts(service).kind());
    let others = [
        FaultKind::StudioCrash,
        FaultKind::StudioHang,
        FaultKind::StatusDown,
        FaultKind::StatusHang,
        FaultKind::StatusFlap,
        FaultKind::Blackhole,
        FaultKind::SshDown,
        FaultKind::OutputSilent,
        FaultKind::SlowBoot,
        FaultKind::BootNeverFinishes,
        FaultKind::AddressChanges,
    ];
    never.into_iter().chain(others).collect()
}

/// What kind of thing it is, for counting: its name without its figures, in the words of scenarios.
fn named(of: &impl std::fmt::Debug) -> String {
    let text = format!("{of:?}");
    let end = text.find([' ', '{']).unwrap_or(text.len());
    let name = text.get(..end).unwrap_or(&text);
    let mut words = String::with_capacity(name.len() + 4);
    for letter in name.chars().filter(|letter| !letter.is_ascii_digit()) {
        if letter.is_ascii_uppercase() && words.ends_with(|last: char| last.is_ascii_lowercase()) {
            words.push('-');
        }
        words.push(match letter {
            '(' | ')' | ',' => ' ',
            letter => letter.to_ascii_lowercase(),
        });
    }
    words.trim().to_owned()
}
