//! A stage to perform on: the simulated world and a coordinator that knows it only through the wire.
//!
//! The demonstration, the rehearsals and the tests all stand on it. What the coordinator runs with is an
//! ordinary configuration; nothing in it says that the machines are simulated.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

use crate::actors::coordinator::{Assign, Coordinator};
use crate::actors::root::Node;
use crate::actors::supervisor::Spec;
use crate::assembly;
use crate::config::{self, Config};
use crate::domain::ids::{InstanceId, ShowId, VmId};
use crate::domain::show::Phase;
use crate::domain::state::State;
use crate::domain::studio::Secret;
use crate::domain::vm::Status;
use crate::rehearsal::scratch::Scratch;
use crate::sim::wire::machine::MachineHandle;
use crate::sim::world::{World, WorldConfig};

/// Looks at a state that is awaited are this far apart; between them nothing is missed, since states stay.
const LOOK: Duration = Duration::from_millis(10);

/// How the stage is set.
#[derive(Debug, Clone)]
pub struct Setting {
    pub world: WorldConfig,
    /// What the coordinator runs with, apart from where the world is and where its files go.
    pub base: Config,
}

/// A simulated world with a directory for whatever its coordinator writes.
pub struct Stage {
    pub world: World,
    pub config: Config,
    dir: Scratch,
}

impl Stage {
    /// Starts the world and writes down how a coordinator finds it.
    ///
    /// # Errors
    /// When an address of the world is in use or the directory cannot be made.
    pub async fn set(setting: Setting) -> anyhow::Result<Self> {
        let dir = Scratch::new()?;
        let world_config = WorldConfig {
            ssh_key_dir: Some(dir.path().to_owned()),
            ..setting.world
        };
        let world = World::start(world_config).await?;
        let config = coordinator_config(setting.base, &world, dir.path());
        Ok(Self { world, config, dir })
    }

    /// Where the coordinator keeps its files.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Starts a coordinator in this process.
    ///
    /// # Errors
    /// What could not be opened or started.
    pub async fn coordinator(
        &self,
        gateway: impl FnOnce(Coordinator) -> Option<Spec>,
    ) -> anyhow::Result<Node> {
        assembly::node(&self.config, gateway).await
    }

    /// The environment in which `understudy serve` coordinates this stage from a process of its own.
    #[must_use]
    pub fn environment(&self, listen: SocketAddr) -> Vec<(String, String)> {
        let config = &self.config;
        let path = |path: &Path| path.display().to_string();
        let seconds = |span: Duration| format!("{}ms", span.as_millis());
        let mut variables = vec![
            ("SERVER__LISTEN", listen.to_string()),
            ("LEDGER__PATH", path(&config.ledger.path)),
            ("POOL__PROJECT", config.pool.project.clone()),
            ("POOL__WARM_COUNT", config.pool.warm_count.to_string()),
            ("POOL__MAX_INSTANCES", config.pool.max_instances.to_string()),
            ("POOL__MAX_CONCURRENT", config.pool.max_concurrent.to_string()),
            (
                "POOL__HEALTH_CHECK_INTERVAL",
                seconds(config.pool.health_check_interval),
            ),
            ("POOL__WARMUP_TIME", seconds(config.pool.warmup_time)),
            ("CLOUD__PROVIDER", "rest".to_owned()),
            ("CLOUD__ENDPOINT_URL", self.world.cloud_url()),
            ("CLOUD__ADDRESS", "private".to_owned()),
            ("CLOUD__SWEEP_INTERVAL", seconds(config.cloud.sweep_interval)),
            ("VM__SERVICE_PORT", config.vm.service_port.to_string()),
            ("VM__OBS_PORT", config.vm.obs_port.to_string()),
            ("VM__SSH_PORT", config.vm.ssh_port.to_string()),
            ("SSH__USER", config.ssh.user.clone()),
            ("SSH__PINS_PATH", path(&config.ssh.pins_path)),
        ];
        if let Some(key) = &config.ssh.key_path {
            variables.push(("SSH__KEY_PATH", path(key)));
        }
        if let Some(password) = &config.obs.password {
            variables.push(("OBS__PASSWORD", password.expose().to_owned()));
        }
        variables
            .into_iter()
            .map(|(name, value)| (format!("UNDERSTUDY__{name}"), value))
            .collect()
    }

    /// The machine behind an instance.
    ///
    /// # Errors
    /// If the world has no such machine.
    pub fn machine(&self, instance: &InstanceId) -> anyhow::Result<MachineHandle> {
        self.world
            .machine(instance)
            .with_context(|| format!("instance {instance} has no machine"))
    }
}

fn coordinator_config(base: Config, world: &World, dir: &Path) -> Config {
    let sim = world.config();
    let mut config = base;
    config.ledger.path = dir.join("ledger.db");
    config.pool.project.clone_from(&sim.project);
    config.cloud.provider = config::Provider::Rest;
    config.cloud.endpoint_url = Some(world.cloud_url());
    config.cloud.address = config::Address::Private;
    config.vm.service_port = sim.ports.status;
    config.vm.obs_port = sim.ports.obs;
    config.vm.ssh_port = sim.ports.ssh;
    config.obs.password.clone_from(&sim.obs_password);
    config.ssh.enabled = world.ssh_key_file().is_some();
    config.ssh.key_path = world.ssh_key_file().map(Path::to_owned);
    config.ssh.user.clone_from(&sim.ssh_user);
    config.ssh.pins_path = dir.join("host_keys");
    config
}

/// A producer who sets up shows through the coordinator's handle.
pub struct Producer {
    pub coordinator: Coordinator,
}

impl Producer {
    /// Waits until the state is as wanted.
    ///
    /// # Errors
    /// Says what was not reached within `limit`.
    pub async fn until<T>(
        &self,
        what: &str,
        limit: Duration,
        mut look: impl FnMut(&State) -> Option<T>,
    ) -> anyhow::Result<T> {
        let wait = async {
            loop {
                if let Some(found) = look(&self.coordinator.state()) {
                    return found;
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        let found = tokio::time::timeout(limit, wait).await;
        found.with_context(|| format!("not within {} s: {what}", limit.as_secs()))
    }

    /// Waits until the VM's actor answers, which it does when it has looked at its machine.
    ///
    /// # Errors
    /// If that takes longer than `limit`, or there is no such VM.
    pub async fn until_answered_by(&self, vm: &VmId, limit: Duration) -> anyhow::Result<()> {
        let answered = async {
            while self.coordinator.check(Some(vm.clone()), false).await?.is_empty() {
                tokio::time::sleep(LOOK).await;
            }
            anyhow::Ok(())
        };
        let in_time = tokio::time::timeout(limit, answered).await;
        in_time.with_context(|| format!("the actor of {vm} did not answer within {} s", limit.as_secs()))?
    }

    /// Waits until so many VMs are available.
    ///
    /// # Errors
    /// If that takes longer than `limit`.
    pub async fn until_available(&self, count: usize, limit: Duration) -> anyhow::Result<()> {
        let what = format!("{count} VMs available");
        self.until(&what, limit, |state| {
            (state.count(Status::Available) >= count).then_some(())
        })
        .await
    }

    /// Gives the show a VM, sets its studio up as a producer would in OBS, and goes on air with this key.
    ///
    /// # Errors
    /// Whatever went wrong on the way.
    pub async fn go_on_air(&self, stage: &Stage, show: &ShowId, limit: Duration) -> anyhow::Result<VmId> {
        let assigned = self.coordinator.assign(show.clone(), Assign::default()).await?;
        if !assigned.ready {
            self.coordinator.await_ready(show, limit).await?;
        }
        let instance = self.instance_of(&assigned.vm)?;
        let key = stream_key(show);
        stage.machine(&instance)?.load_example_studio(&key)?;
        let what = format!("the studio of show {show} captured");
        let key = Secret::new(key);
        self.until(&what, limit, |_| {
            self.coordinator.streams_under(show, &key).then_some(())
        })
        .await?;
        self.coordinator
            .start_show(show.clone(), Some("rehearsal".to_owned()))
            .await?;
        let what = format!("show {show} on air");
        self.until(&what, limit, |state| {
            (state.show(show)?.phase == Phase::OnAir).then_some(())
        })
        .await?;
        Ok(assigned.vm)
    }

    /// The cloud's name of a VM.
    ///
    /// # Errors
    /// If the VM is not in the pool.
    pub fn instance_of(&self, vm: &VmId) -> anyhow::Result<InstanceId> {
        let state = self.coordinator.state();
        let vm = state.vm(vm).with_context(|| format!("{vm} is not in the pool"))?;
        Ok(vm.instance_id().clone())
    }
}

/// The stream key that a rehearsed show publishes with.
#[must_use]
pub fn stream_key(show: &ShowId) -> String {
    format!("key-{show}")
}
