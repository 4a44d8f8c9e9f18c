//! The machines of a world, by instance and by address.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::machine::{MachineHandle, Shared, Surroundings};
use crate::domain::ids::InstanceId;
use crate::sim::model::cloud::Effect;

#[derive(Default)]
struct Register {
    by_instance: BTreeMap<InstanceId, MachineHandle>,
    by_address: BTreeMap<Ipv4Addr, InstanceId>,
    /// Machines of terminated instances: they end with the world.
    vanished: Vec<MachineHandle>,
}

/// The machines, shared with the cloud that powers them.
pub(super) struct Machines {
    surroundings: Surroundings,
    seed: u64,
    register: Mutex<Register>,
}

impl Machines {
    pub(super) fn new(surroundings: Surroundings, seed: u64) -> Self {
        Self {
            surroundings,
            seed,
            register: Mutex::default(),
        }
    }

    pub(super) fn surroundings(&self) -> &Surroundings {
        &self.surroundings
    }

    fn register(&self) -> MutexGuard<'_, Register> {
        self.register.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, instance: &InstanceId) -> Option<MachineHandle> {
        self.register().by_instance.get(instance).cloned()
    }

    /// Whose address this is now.
    pub(super) fn at(&self, address: Ipv4Addr) -> Option<Arc<Shared>> {
        let register = self.register();
        let instance = register.by_address.get(&address)?;
        register
            .by_instance
            .get(instance)
            .map(|machine| Arc::clone(machine.shared()))
    }

    /// The instance's machine, made when it is first needed.
    pub(super) fn get_or_make(&self, instance: &InstanceId, address: Ipv4Addr) -> MachineHandle {
        let mut register = self.register();
        if let Some(machine) = register.by_instance.get(instance) {
            return machine.clone();
        }
        let seed = self.seed ^ fnv1a(instance.as_str());
        let machine = MachineHandle::start(address, seed, self.surroundings.clone());
        register.by_instance.insert(instance.clone(), machine.clone());
        register.by_address.insert(address, instance.clone());
        machine
    }

    pub(super) fn apply(&self, effect: Effect) {
        match effect {
            Effect::PowerOn { instance, address } => {
                let machine = self.get_or_make(&instance, address);
                self.move_to(&instance, &machine, address);
                machine.power_on();
            }
            Effect::ShutDown { instance } => self.with(&instance, MachineHandle::shut_down),
            Effect::PowerOff { instance } => self.with(&instance, MachineHandle::power_off),
            Effect::Reboot { instance } => self.with(&instance, MachineHandle::reboot),
            Effect::Destroy { instance } => self.destroy(&instance),
        }
    }

    fn move_to(&self, instance: &InstanceId, machine: &MachineHandle, address: Ipv4Addr) {
        let mut register = self.register();
        register.by_address.retain(|_, owner| owner != instance);
        register.by_address.insert(address, instance.clone());
        machine.set_address(address);
    }

    fn destroy(&self, instance: &InstanceId) {
        let mut register = self.register();
        register.by_address.retain(|_, owner| owner != instance);
        if let Some(machine) = register.by_instance.remove(instance) {
            machine.vanish();
            register.vanished.push(machine);
        }
    }

    fn with(&self, instance: &InstanceId, act: impl FnOnce(&MachineHandle)) {
        if let Some(machine) = self.get(instance) {
            act(&machine);
        }
    }

    /// Ends all of them: connections are reset.
    pub(super) fn close(&self) {
        let register = self.register();
        for machine in register.by_instance.values().chain(&register.vanished) {
            machine.close();
        }
    }
}

/// FNV-1a, to give every instance a seed of its own.
fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
