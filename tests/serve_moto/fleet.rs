//! The machines behind moto's instances: powered while the instance runs, off otherwise.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tempfile::TempDir;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use understudy::sim::model::fault::Fault;
use understudy::sim::wire::{MachineConfig, MachineHandle, Ports};

use super::shell::Shell;
use super::support::moto::{Described, Moto};
use super::support::sshd::{Sshd, generate_key};

/// Pause between two looks at moto.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Where the machines listen: the simulated ones have an SSH server too, which is out of the way here.
pub const PORTS: Ports = Ports {
    status: 3_003,
    obs: 4_455,
    ssh: 2_223,
};
/// Where OpenSSH listens on each machine.
pub const SSH_PORT: u16 = 2_222;

struct Vm {
    machine: MachineHandle,
    ssh: Option<Sshd>,
    is_on: bool,
    starts: u32,
}

struct Keys {
    folder: TempDir,
}

impl Keys {
    fn private(&self) -> PathBuf {
        self.folder.path().join("key")
    }

    fn public(&self) -> PathBuf {
        self.folder.path().join("key.pub")
    }
}

struct Shared {
    moto: Arc<Moto>,
    template: MachineConfig,
    shell: Shell,
    keys: Keys,
    /// Held from a look at moto until the machines are as it says, so that nobody acts on an old look.
    vms: Mutex<BTreeMap<String, Vm>>,
}

/// Every machine, and the task that follows moto.
pub struct Fleet {
    shared: Arc<Shared>,
    watcher: JoinHandle<()>,
}

impl Fleet {
    /// Follows moto from now on; when this returns, every running instance's machine is powered.
    pub async fn start(moto: Arc<Moto>, template: MachineConfig, shell: Shell) -> Self {
        let keys = Keys {
            folder: tempfile::tempdir().unwrap(),
        };
        generate_key(&keys.private(), "ed25519");
        let shared = Arc::new(Shared {
            moto,
            template: MachineConfig {
                ports: PORTS,
                ..template
            },
            shell,
            keys,
            vms: Mutex::default(),
        });
        shared.follow().await;
        let watcher = tokio::spawn({
            let shared = Arc::clone(&shared);
            async move {
                loop {
                    tokio::time::sleep(LOOK_EVERY).await;
                    shared.follow().await;
                }
            }
        });
        Self { shared, watcher }
    }

    /// The key that lets into every machine.
    pub fn key(&self) -> PathBuf {
        self.shared.keys.private()
    }

    pub fn shell(&self) -> &Shell {
        &self.shared.shell
    }

    /// The machine of an instance that has run.
    pub async fn machine(&self, instance: &str) -> MachineHandle {
        let vms = self.shared.vms.lock().await;
        let vm = vms.get(instance).expect("the instance has a machine");
        vm.machine.clone()
    }

    /// How often the machine of an instance has been powered on.
    pub async fn starts(&self, instance: &str) -> u32 {
        let vms = self.shared.vms.lock().await;
        vms.get(instance).map_or(0, |vm| vm.starts)
    }

    /// Stops an instance as somebody with a console would: the coordinator is not asked. EC2 says `stopped` once
    /// the machine is off, so the machine goes first.
    pub async fn stop_behind_its_back(&self, instance: &str) {
        let mut vms = self.shared.vms.lock().await;
        vms.get_mut(instance)
            .expect("the instance has a machine")
            .power_off();
        self.shared.moto.stop_instance(instance).await;
    }

    /// The same, for good.
    pub async fn terminate_behind_its_back(&self, instance: &str) {
        let mut vms = self.shared.vms.lock().await;
        vms.get_mut(instance)
            .expect("the instance has a machine")
            .power_off();
        self.shared.moto.terminate_instance(instance).await;
    }

    /// Takes the network from the machine of a running instance. It goes on, and moto knows nothing of it.
    pub async fn pull_network(&self, instance: &str) {
        let vms = self.shared.vms.lock().await;
        let vm = vms.get(instance).expect("the instance has a machine");
        vm.machine.fault(Fault::Blackhole);
        if let Some(ssh) = &vm.ssh {
            ssh.pause();
        }
    }

    /// Fails if following moto has.
    pub fn check(&self) {
        assert!(
            !self.watcher.is_finished(),
            "nobody powers the machines any more; see the panic above"
        );
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.watcher.abort();
    }
}

impl Shared {
    /// Makes the machines what moto says.
    async fn follow(&self) {
        let mut vms = self.vms.lock().await;
        let mut wanted_on = Vec::new();
        for instance in self.moto.instances().await {
            match instance.state.as_str() {
                "pending" | "running" => wanted_on.push(instance),
                "terminated" => drop(vms.remove(&instance.instance_id)),
                _ => {
                    if let Some(vm) = vms.get_mut(&instance.instance_id) {
                        vm.power_off();
                    }
                }
            }
        }
        for instance in &wanted_on {
            if !vms.contains_key(&instance.instance_id) {
                vms.insert(instance.instance_id.clone(), self.build(instance));
            }
        }
        let on = |id: &String| wanted_on.iter().any(|instance| instance.instance_id == *id);
        let programs = self.shell.programs();
        let public_key = self.keys.public();
        let starting = vms
            .iter_mut()
            .filter(|(id, vm)| !vm.is_on && on(id))
            .map(|(_, vm)| vm.power_on(&public_key, programs));
        join_all(starting).await;
    }

    fn build(&self, instance: &Described) -> Vm {
        let address = instance.private_ip.expect("a running instance has an address");
        assert!(address.is_loopback(), "{address} belongs to somebody");
        let machine = MachineHandle::start(
            address,
            MachineConfig {
                seed: u64::from(u32::from(address)),
                ..self.template.clone()
            },
        );
        self.shell.lead_to(&machine);
        Vm {
            machine,
            ssh: None,
            is_on: false,
            starts: 0,
        }
    }
}

impl Vm {
    async fn power_on(&mut self, public_key: &Path, programs: &Path) {
        self.is_on = true;
        self.starts += 1;
        self.machine.power_on();
        match &mut self.ssh {
            // The same machine: it keeps its host key.
            Some(ssh) => ssh.restart().await,
            None => {
                let address: Ipv4Addr = self.machine.address();
                let address = SocketAddr::from((address, SSH_PORT));
                self.ssh = Some(Sshd::start_at(address, public_key, programs).await);
            }
        }
    }

    /// As if the plug were pulled: nobody says goodbye, nothing answers.
    fn power_off(&mut self) {
        if std::mem::replace(&mut self.is_on, false) {
            self.machine.power_off();
            if let Some(ssh) = &self.ssh {
                ssh.pause();
            }
        }
    }
}
