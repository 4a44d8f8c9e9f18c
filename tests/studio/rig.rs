//! Everything that a test needs around the coordinator, set up and checked at the end.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::LIMIT;
use super::coordinator::{Coordinator, text};
use super::fleet::Fleet;
use super::ingest::Ingest;
use super::network::{self, CIDR};
use super::producer::{OBS_PASSWORD, build_studio, read_studio};
use super::program::{installed, ours, run};
use super::support::bucket::Bucket;
use super::support::eventually::eventually;
use super::support::moto::{IMAGE, Moto, NewInstance};
use super::support::sshd::generate_key;

/// Of the coordinator, in the folder of the test.
const KEY_FILE: &str = "key";
const PROJECT: &str = "understudy-studio";
/// Where the coordinator serves. On loopback everybody may call it.
const COORDINATOR: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 3000);

pub struct Rig {
    pub moto: Arc<Moto>,
    /// Where recordings are archived.
    pub bucket: Bucket,
    pub fleet: Fleet,
    pub ingest: Ingest,
    pub coordinator: Coordinator,
    /// The pool's instances: all of them run.
    pub instances: Vec<String>,
    folder: TempDir,
}

impl Rig {
    /// That many machines run and are available; none is launched or kept warm beside them.
    pub async fn start(machines: usize) -> Self {
        network::make_bridge().await;
        let folder = tempfile::tempdir().unwrap();
        let ingest = Ingest::start(folder.path()).await;
        let moto = Arc::new(Moto::start().await);
        let subnet = moto.subnet(CIDR).await;
        let mut instances = Vec::new();
        for number in 0..machines {
            let name = format!("vm {number}");
            let new = NewInstance {
                subnet_id: Some(&subnet),
                ..NewInstance::of_pool(PROJECT, &name)
            };
            instances.push(moto.run(&new).await);
        }
        let image = folder.path().join("image");
        let key = folder.path().join(KEY_FILE);
        generate_key(&key, "ed25519");
        let public_key = folder.path().join("key.pub");
        let words = [
            &installed("root"),
            &installed("moving.mkv"),
            &public_key.display().to_string(),
            &image.display().to_string(),
        ];
        run(&ours("machine/make-image"), &words).await;
        let fleet = Fleet::start(Arc::clone(&moto), image, folder.path().to_owned()).await;
        let bucket = Bucket::create(Arc::clone(&moto)).await;
        let environment = configure(machines, &moto, &bucket, &subnet, &key, folder.path());
        let coordinator = Coordinator::start(COORDINATOR, environment, folder.path().join("log")).await;
        coordinator.until_available(machines).await;
        Self {
            moto,
            bucket,
            fleet,
            ingest,
            coordinator,
            instances,
            folder,
        }
    }

    /// A folder of the test's, outside of every machine.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The private key that the coordinator logs in with.
    pub fn key_file(&self) -> PathBuf {
        self.folder.path().join(KEY_FILE)
    }

    /// The VM of an instance.
    pub async fn vm(&self, instance: &str) -> String {
        let pool = self.coordinator.pool().await;
        pool.id(instance).expect("it is in the pool")
    }

    /// Where the machine of an instance is.
    pub async fn address(&self, instance: &str) -> Ipv4Addr {
        self.fleet.machines().await[instance].address()
    }

    /// The studio of the machine of an instance, as another client than ours reads it.
    pub async fn studio(&self, instance: &str) -> Value {
        read_studio(&self.fleet.machines().await[instance]).await
    }

    /// Makes a studio at the machine of this instance, gives it to the show, and goes on air.
    pub async fn go_on_air(&self, show: &str, instance: &str) {
        build_studio(
            &self.fleet.machines().await[instance],
            &Ingest::server_url(),
            &key(show),
        )
        .await;
        let vm = self.vm(instance).await;
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
        let address = self.address(instance).await;
        self.ingest.until_published_by(address).await;
    }

    /// Waits until the show is on air on another instance than this, by the coordinator's word and the ingest's, and
    /// gives that instance.
    pub async fn until_moved(&self, show: &str, from: &str) -> String {
        let to = eventually(&format!("{show} is on air elsewhere"), LIMIT, async || {
            let view = self.coordinator.vm_of(show).await.expect(200);
            let on = text(&view["instanceId"]);
            (view["phase"] == "on_air" && on != from).then_some(on)
        })
        .await;
        let address = self.address(&to).await;
        self.ingest.until_published_by(address).await;
        to
    }

    /// Ends the coordinator, and checks what must hold after every test: it ended well, and no show had two
    /// publishers.
    pub async fn end(mut self) {
        self.fleet.check();
        let ended = self.coordinator.terminate().await;
        assert!(ended.success(), "{ended}");
        assert_eq!(self.ingest.overlaps(), Vec::<String>::new());
    }
}

/// The stream key of a show.
pub fn key(show: &str) -> String {
    format!("key-{show}")
}

/// Writes the coordinator's configuration, and gives its environment.
fn configure(
    machines: usize,
    moto: &Moto,
    bucket: &Bucket,
    subnet: &str,
    key: &Path,
    folder: &Path,
) -> Vec<(String, String)> {
    let (endpoint, region) = (moto.endpoint(), moto.region());
    let (archive_endpoint, archive) = (bucket.endpoint(), bucket.name());
    let (key, folder_path) = (key.display(), folder.display());
    let text = format!(
        r#"
[server]
listen = "{COORDINATOR}"

[ledger]
path = "{folder_path}/ledger.db"

[pool]
project = "{PROJECT}"
warm_count = 0
max_instances = {machines}
max_concurrent = {machines}
health_check_interval = "5s"
idle_timeout_minutes = 0

[cloud]
region = "{region}"
endpoint_url = "{endpoint}"
address = "private"
ami_id = "{IMAGE}"
subnet_id = "{subnet}"

[archive]
bucket = "{archive}"
endpoint_url = "{archive_endpoint}"
path_style = true
# The least that S3 takes: a few seconds of recording are two parts.
part_bytes = 5242880

[ssh]
key_path = "{key}"
user = "ubuntu"
allow_free_commands = true
pins_path = "{folder_path}/host_keys"

[log]
filter = "understudy=debug,understudy::api::front=info,warn"
"#
    );
    let path = folder.join("understudy.toml");
    std::fs::write(&path, text).unwrap();
    // moto checks no key. Whatever else the SDK may find on this machine, it must not look for it.
    [
        ("UNDERSTUDY_CONFIG", path.to_str().expect("made here")),
        ("OBS_WEBSOCKET_PASSWORD", OBS_PASSWORD),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("AWS_CONFIG_FILE", "/dev/null"),
        ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec()
}
