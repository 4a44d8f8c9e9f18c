//! Everything that a test needs around the coordinator, set up and checked at the end.

use std::net::Ipv4Addr;
use std::sync::Arc;

use serde_json::json;
use tempfile::TempDir;
use understudy::domain::studio::Secret;
use understudy::infra::cloud::{MANAGED_BY, TAG_MANAGED_BY, TAG_PROJECT};
use understudy::sim::wire::{Clock, Ingest, MachineConfig, MachineHandle};

use super::LIMIT;
use super::block::Block;
use super::coordinator::{Coordinator, text};
use super::fleet::{Fleet, PORTS, SSH_PORT};
use super::shell::Shell;
use super::support::eventually::eventually;
use super::support::moto::{Described, IMAGE, Moto, NewInstance};
use super::support::sshd::user;

pub const PROJECT: &str = "understudy-test";
const OBS_PASSWORD: &str = "correct horse";

/// What the pool starts from, and what it is told to keep.
#[derive(Debug, Clone, Copy)]
pub struct Cast {
    pub running: usize,
    pub stopped: usize,
    pub warm_count: usize,
    pub max_instances: usize,
}

pub struct Scene {
    pub moto: Arc<Moto>,
    pub fleet: Fleet,
    pub ingest: Ingest,
    pub coordinator: Coordinator,
    /// The pool's instances: first the ones that ran at the beginning, then the stopped ones.
    pub instances: Vec<String>,
    /// Instances that are not the pool's, as they were.
    strangers: Vec<Described>,
    subnet: String,
    _folder: TempDir,
    _block: Block,
}

impl Scene {
    /// Ready when the coordinator has looked at the cloud once. Which VMs are available is another matter.
    pub async fn set(cast: Cast) -> Self {
        Self::set_with(cast, async |_| Vec::new()).await
    }

    /// The same with further settings, made when moto is there.
    pub async fn set_with(cast: Cast, more: impl AsyncFnOnce(Arc<Moto>) -> Vec<(String, String)>) -> Self {
        let block = Block::claim();
        let moto = Arc::new(Moto::region_of_its_own().await);
        let subnet = moto.subnet(&block.cidr()).await;
        let clock = Clock::start();
        let ingest = Ingest::start(block.ingest(), clock).unwrap();

        let mut instances = Vec::new();
        for number in 0..cast.running + cast.stopped {
            let name = format!("vm {number}");
            let new = NewInstance::of_pool(PROJECT, &name);
            instances.push(run(&moto, &subnet, new).await);
        }
        for instance in &instances[cast.running..] {
            moto.stop_instance(instance).await;
        }
        let strangers = strangers(&moto, &subnet).await;
        let template = MachineConfig {
            obs_password: Some(Secret::new(OBS_PASSWORD)),
            ingest_url: ingest.server_url(),
            ..MachineConfig::new(clock)
        };
        let shell = Shell::start(block.shell()).await;
        let fleet = Fleet::start(Arc::clone(&moto), template, shell).await;

        let folder = tempfile::tempdir().unwrap();
        let mut environment = environment(&cast, &block, &moto, &subnet, &fleet, &folder);
        let more = more(Arc::clone(&moto)).await.into_iter();
        environment.extend(more.map(|(name, value)| (format!("UNDERSTUDY__{name}"), value)));
        let log = folder.path().join("log");
        let coordinator = Coordinator::start(block.coordinator(), environment, log).await;
        Self {
            moto,
            fleet,
            ingest,
            coordinator,
            instances,
            strangers,
            subnet,
            _folder: folder,
            _block: block,
        }
    }

    /// Set, and as many VMs available as ran or are to be kept warm, whichever is more.
    pub async fn warm(cast: Cast) -> Self {
        let scene = Self::set(cast).await;
        scene
            .coordinator
            .until_available(cast.running.max(cast.warm_count))
            .await;
        scene
    }

    /// Somebody runs another instance with the pool's tags.
    pub async fn run_one(&self, name: &str) -> String {
        run(&self.moto, &self.subnet, NewInstance::of_pool(PROJECT, name)).await
    }

    /// Instances of the pool that run now, by moto's word.
    pub async fn running_count(&self) -> usize {
        let all = self.moto.instances().await;
        let ours = all
            .iter()
            .filter(|one| self.strangers.iter().all(|s| s.instance_id != one.instance_id));
        ours.filter(|one| one.state == "running").count()
    }

    /// Gives the show the VM of this instance, with a studio as a producer leaves it, and goes on air.
    pub async fn go_on_air(&self, show: &str, instance: &str) -> MachineHandle {
        let machine = self.fleet.machine(instance).await;
        machine.load_example_studio(&key(show)).unwrap();
        let pool = self.coordinator.pool().await;
        let vm = pool.id(instance).expect("the instance is in the pool");
        let assign = format!("/api/competitions/{show}/vm/assign");
        let assigned = self
            .coordinator
            .post(&assign, json!({"preferredVmId": vm}))
            .await
            .expect(200);
        assert_eq!(assigned["instanceId"], instance);
        eventually("the studio is captured", LIMIT, async || {
            let view = self.coordinator.vm_of(show).await.expect(200);
            view["studioCaptured"].as_bool()?.then_some(())
        })
        .await;
        let start = format!("/api/competitions/{show}/show/start");
        let started = self.coordinator.post(&start, json!({})).await.expect(200);
        assert_eq!(started["onAir"], true);
        assert_eq!(self.ingest.publishers(&key(show)), [machine.address()]);
        machine
    }

    /// Waits until the show is on air on another instance than this, and gives that one's id and machine.
    pub async fn until_moved(&self, show: &str, from: &str) -> (String, MachineHandle) {
        let what = format!("{show} is on air elsewhere");
        let to = eventually(&what, LIMIT, async || {
            let view = self.coordinator.vm_of(show).await.expect(200);
            let on = text(&view["instanceId"]);
            (view["phase"] == "on_air" && on != from).then_some(on)
        })
        .await;
        let machine = self.fleet.machine(&to).await;
        self.until_published_by(show, machine.address()).await;
        (to, machine)
    }

    /// Waits until the ingest gets the show from there, and from nowhere else.
    pub async fn until_published_by(&self, show: &str, address: Ipv4Addr) {
        let key = key(show);
        let seen = self
            .ingest
            .until(LIMIT, |ingest| ingest.publishers(&key) == [address])
            .await;
        let publishers = self.ingest.publishers(&key);
        assert!(seen, "{show} is published by {publishers:?} and not by {address}");
    }

    /// Ends the coordinator, and checks what must hold after every test: it ended well, no show had two
    /// publishers, and nothing was done to what is not the pool's.
    pub async fn end(mut self) {
        self.fleet.check();
        let now = self.moto.instances().await;
        for before in &self.strangers {
            let after = now.iter().find(|one| one.instance_id == before.instance_id);
            assert_eq!(after, Some(before), "a stranger's instance was touched");
            if before.state == "running" {
                let machine = self.fleet.machine(&before.instance_id).await;
                assert_eq!(machine.view().obs_clients, 0, "a stranger's studio was called");
            }
        }
        let ended = self.coordinator.terminate().await;
        assert!(ended.success(), "{ended}");
        assert_eq!(self.ingest.overlaps(), []);
    }
}

/// The stream key of a show's example studio.
pub fn key(show: &str) -> String {
    format!("key-{show}")
}

async fn run(moto: &Moto, subnet: &str, new: NewInstance<'_>) -> String {
    let new = NewInstance {
        subnet_id: Some(subnet),
        ..new
    };
    moto.run(&new).await
}

/// Instances in the same network that lack a tag or have another's: running ones and stopped ones.
async fn strangers(moto: &Moto, subnet: &str) -> Vec<Described> {
    let tags: [&[(&str, &str)]; 4] = [
        &[],
        &[(TAG_PROJECT, PROJECT)],
        &[(TAG_MANAGED_BY, MANAGED_BY)],
        &[(TAG_PROJECT, "another"), (TAG_MANAGED_BY, MANAGED_BY)],
    ];
    let mut ids = Vec::new();
    for (number, tags) in tags.iter().enumerate() {
        let new = NewInstance {
            tags: tags.to_vec(),
            ..NewInstance::default()
        };
        let id = run(moto, subnet, new).await;
        if number % 2 == 1 {
            moto.stop_instance(&id).await;
        }
        ids.push(id);
    }
    let mut all = moto.instances().await;
    all.retain(|one| ids.contains(&one.instance_id));
    all
}

/// The whole environment of the program.
fn environment(
    cast: &Cast,
    block: &Block,
    moto: &Moto,
    subnet: &str,
    fleet: &Fleet,
    folder: &TempDir,
) -> Vec<(String, String)> {
    let path = |name: &str| folder.path().join(name).display().to_string();
    let ours = [
        ("SERVER__LISTEN", block.coordinator().to_string()),
        ("LEDGER__PATH", path("ledger.db")),
        ("POOL__PROJECT", PROJECT.to_owned()),
        ("POOL__WARM_COUNT", cast.warm_count.to_string()),
        ("POOL__MAX_INSTANCES", cast.max_instances.to_string()),
        ("POOL__MAX_CONCURRENT", cast.max_instances.to_string()),
        ("POOL__HEALTH_CHECK_INTERVAL", "2s".to_owned()),
        ("PROBE__DEADLINE", "2s".to_owned()),
        ("POOL__IDLE_TIMEOUT_MINUTES", "0".to_owned()),
        ("CLOUD__PROVIDER", "ec2".to_owned()),
        ("CLOUD__REGION", moto.region().to_owned()),
        ("CLOUD__ENDPOINT_URL", moto.endpoint().to_owned()),
        ("CLOUD__ADDRESS", "private".to_owned()),
        ("CLOUD__SWEEP_INTERVAL", "500ms".to_owned()),
        ("CLOUD__AMI_ID", IMAGE.to_owned()),
        ("CLOUD__SUBNET_ID", subnet.to_owned()),
        ("VM__SERVICE_PORT", PORTS.status.to_string()),
        ("VM__OBS_PORT", PORTS.obs.to_string()),
        ("VM__SSH_PORT", SSH_PORT.to_string()),
        ("OBS__PASSWORD", OBS_PASSWORD.to_owned()),
        // The machines share one loopback device: each has an address of its own on it.
        ("OBS__TUNNEL_ADDRESS", "vm".to_owned()),
        ("SSH__KEY_PATH", fleet.key().display().to_string()),
        ("SSH__USER", user()),
        ("SSH__PINS_PATH", path("host_keys")),
        (
            "LOG__FILTER",
            "understudy=debug,understudy::api::front=info,warn".to_owned(),
        ),
    ];
    // moto checks no key. Whatever else the SDK may find on this machine, it must not look for it.
    let sdk = [
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("AWS_CONFIG_FILE", "/dev/null"),
        ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
    ];
    let ours = ours.map(|(name, value)| (format!("UNDERSTUDY__{name}"), value));
    let sdk = sdk.map(|(name, value)| (name.to_owned(), value.to_owned()));
    ours.into_iter().chain(sdk).collect()
}
