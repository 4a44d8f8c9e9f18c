//! The far side of a fleet: a simulated world in a process of its own, whose machines speak the real protocols.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};
use understudy::config::{self, Config};
use understudy::domain::studio::Secret;
use understudy::sim::wire::Ports;
use understudy::sim::world::{Addresses, World, WorldConfig};

use crate::fleet;
use crate::worker::{self, Worker};

const PASSWORD: &str = "measured";
/// The first of the five ports of a world; each process has its own below the kernel's ephemeral ones.
const PORTS: u16 = 20_000;
const PORTS_STEP: u16 = 5;

/// How a coordinator finds it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Far {
    pub cloud_url: String,
    pub project: String,
    pub status: u16,
    pub obs: u16,
    pub ssh: u16,
    pub ssh_user: String,
    pub ssh_key: Option<PathBuf>,
    pub vms: usize,
}

impl Far {
    /// Starts the process: so many machines run, so many are off. With a folder for a key, they have SSH servers.
    pub async fn start(warm: usize, cold: usize, ssh: Option<&Path>) -> Result<(Worker, Self)> {
        let (warm, cold) = (warm.to_string(), cold.to_string());
        let folder = ssh.map(|folder| folder.display().to_string());
        let mut words = vec!["world", &warm, &cold];
        words.extend(folder.as_deref());
        Worker::start(&words).await
    }

    /// What a coordinator of these machines runs with: the usual, and where they are.
    pub fn config(&self, folder: &Path) -> Result<Config> {
        let mut config = fleet::config(self.vms)?;
        config.pool.project.clone_from(&self.project);
        config.cloud.provider = config::Provider::Rest;
        config.cloud.endpoint_url = Some(self.cloud_url.clone());
        config.vm.service_port = self.status;
        config.vm.obs_port = self.obs;
        config.vm.ssh_port = self.ssh;
        config.obs.password = Some(Secret::new(PASSWORD));
        config.ledger.path = folder.join("ledger.db");
        config.ssh.enabled = self.ssh_key.is_some();
        config.ssh.key_path.clone_from(&self.ssh_key);
        config.ssh.user.clone_from(&self.ssh_user);
        config.ssh.pins_path = folder.join("host_keys");
        Ok(config)
    }

    /// The same for `understudy serve`, which listens at this address.
    pub fn environment(&self, folder: &Path, listen: SocketAddr) -> Vec<(String, String)> {
        let path = |name: &str| folder.join(name).display().to_string();
        let mut variables = vec![
            ("SERVER__LISTEN", listen.to_string()),
            ("LEDGER__PATH", path("ledger.db")),
            ("POOL__PROJECT", self.project.clone()),
            ("POOL__MAX_INSTANCES", self.vms.to_string()),
            ("POOL__IDLE_TIMEOUT_MINUTES", "0".to_owned()),
            ("CLOUD__PROVIDER", "rest".to_owned()),
            ("CLOUD__ENDPOINT_URL", self.cloud_url.clone()),
            ("CLOUD__ADDRESS", "private".to_owned()),
            ("VM__SERVICE_PORT", self.status.to_string()),
            ("VM__OBS_PORT", self.obs.to_string()),
            ("VM__SSH_PORT", self.ssh.to_string()),
            ("OBS__PASSWORD", PASSWORD.to_owned()),
            ("SSH__USER", self.ssh_user.clone()),
            ("SSH__PINS_PATH", path("host_keys")),
        ];
        if let Some(key) = &self.ssh_key {
            variables.push(("SSH__KEY_PATH", key.display().to_string()));
        }
        let named = variables.into_iter();
        named
            .map(|(name, value)| (format!("UNDERSTUDY__{name}"), value))
            .collect()
    }
}

/// The child's side: `world WARM COLD [FOLDER]`. Asked anything, it tells how many studios have a client.
pub async fn run(words: &[String]) -> Result<()> {
    ensure!((2..=3).contains(&words.len()), "world WARM COLD [FOLDER]");
    let (warm, cold): (u32, u32) = (words[0].parse()?, words[1].parse()?);
    let world = World::start(world_config(warm, cold, words.get(2).map(PathBuf::from))).await?;
    let config = world.config();
    worker::tell(&Far {
        cloud_url: world.cloud_url(),
        project: config.project.clone(),
        status: config.ports.status,
        obs: config.ports.obs,
        ssh: config.ports.ssh,
        ssh_user: config.ssh_user.clone(),
        ssh_key: world.ssh_key_file().map(Path::to_owned),
        vms: usize::try_from(warm + cold)?,
    })?;
    let mut questions = worker::questions();
    while questions.recv().await.is_some() {
        let machines = world.instances();
        let machines = machines
            .iter()
            .filter_map(|instance| world.machine(&instance.instance_id));
        worker::tell(&machines.filter(|machine| machine.view().obs_clients > 0).count())?;
    }
    Ok(())
}

fn world_config(warm: u32, cold: u32, key: Option<PathBuf>) -> WorldConfig {
    let places = (u32::from(u16::MAX / 2) - u32::from(PORTS)) / u32::from(PORTS_STEP);
    let place = u16::try_from(std::process::id() % places).unwrap_or_default();
    let port = |number| PORTS + place * PORTS_STEP + number;
    WorldConfig {
        warm,
        cold,
        project: "understudy-bench".to_owned(),
        addresses: Addresses::Given {
            first: Ipv4Addr::new(127, 90, 0, 1),
            last: Ipv4Addr::new(127, 90, 254, 254),
            ingest: SocketAddr::from(([127, 90, 255, 1], port(3))),
            cloud: SocketAddr::from(([127, 90, 255, 2], port(4))),
        },
        ports: Ports {
            status: port(0),
            obs: port(1),
            ssh: port(2),
        },
        obs_password: Some(Secret::new(PASSWORD)),
        ssh_key_dir: key,
        // What is off is not there at all: nobody calls it.
        dark_when_off: false,
        shared_ports: true,
        ..WorldConfig::default()
    }
}
