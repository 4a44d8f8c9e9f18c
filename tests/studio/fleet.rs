//! The machines behind moto's instances: on while the instance runs, off otherwise.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard};
use tokio::task::JoinHandle;

use super::machine::Machine;
use super::support::moto::{Described, Moto};

/// Pause between two looks at moto.
const LOOK_EVERY: Duration = Duration::from_millis(100);

type Machines = BTreeMap<String, Machine>;

struct Shared {
    moto: Arc<Moto>,
    image: PathBuf,
    folder: PathBuf,
    /// Held from a look at moto until the machines are as it says, so that nobody acts on an old look.
    machines: Mutex<Machines>,
}

/// Every machine, and the task that follows moto.
pub struct Fleet {
    shared: Arc<Shared>,
    watcher: JoinHandle<()>,
}

impl Fleet {
    /// Follows moto from now on; when this returns, every running instance's machine boots.
    pub async fn start(moto: Arc<Moto>, image: PathBuf, folder: PathBuf) -> Self {
        let shared = Arc::new(Shared {
            moto,
            image,
            folder,
            machines: Mutex::default(),
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

    /// All of them, by instance. Meanwhile nobody follows moto.
    pub async fn machines(&self) -> MutexGuard<'_, Machines> {
        self.shared.machines.lock().await
    }

    /// Fails if following moto has.
    pub fn check(&self) {
        assert!(
            !self.watcher.is_finished(),
            "nobody boots the machines any more; see the panic above"
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
        let mut machines = self.machines.lock().await;
        for instance in self.moto.instances().await {
            let id = &instance.instance_id;
            if matches!(instance.state.as_str(), "pending" | "running") {
                if !machines.contains_key(id) {
                    let machine = self.build(&instance, machines.len()).await;
                    machines.insert(id.clone(), machine);
                }
                let machine = machines.get_mut(id).expect("built above");
                if !machine.is_on() {
                    machine.boot();
                }
            } else if let Some(machine) = machines.get_mut(id) {
                // moto knows no "stopping": who reads "stopped" from it may rely on the machine being off.
                machine.unplug().await;
            }
        }
    }

    async fn build(&self, instance: &Described, number: usize) -> Machine {
        let address = instance.private_ip.expect("a running instance has an address");
        Machine::build(&format!("vm{number}"), address, &self.image, &self.folder).await
    }
}
