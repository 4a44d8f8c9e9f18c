//! The machine over SSH, with a real client.

use std::sync::Arc;
use std::time::Duration;

use russh::client::{self, Handle};
use russh::keys::{PrivateKeyWithHashAlg, PublicKey, PublicKeyOrCertificate, load_secret_key};
use russh::{ChannelMsg, Disconnect};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use understudy::domain::instance::InstanceState;
use understudy::sim::wire::MachineHandle;
use understudy::sim::world::{World, WorldConfig};

use super::support::{DEADLINE, eventually, ssh_at, warm};

/// Notes the server's key.
pub struct Client(Arc<std::sync::Mutex<Option<PublicKey>>>);

impl client::Handler for Client {
    type Error = russh::Error;

    async fn check_server_key(&mut self, key: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        let PublicKeyOrCertificate::PublicKey { key, .. } = key else {
            return Ok(false);
        };
        *self.0.lock().unwrap() = Some(key.clone());
        Ok(true)
    }
}

struct Session {
    handle: Handle<Client>,
    host_key: PublicKey,
}

#[derive(Debug, PartialEq, Eq)]
struct Finished {
    stdout: String,
    stderr: String,
    status: u32,
}

async fn connect(machine: &MachineHandle) -> (Handle<Client>, PublicKey) {
    let seen = Arc::default();
    let config = Arc::new(client::Config::default());
    let connecting = client::connect(config, ssh_at(machine), Client(Arc::clone(&seen)));
    let handle = timeout(DEADLINE, connecting).await.unwrap().unwrap();
    let key = seen.lock().unwrap().clone().unwrap();
    (handle, key)
}

/// A connection with the key that may log in, and the server's key.
pub async fn log_in(world: &World, machine: &MachineHandle) -> (Handle<Client>, PublicKey) {
    let (mut handle, host_key) = connect(machine).await;
    let key = load_secret_key(world.ssh_key_file().unwrap(), None).unwrap();
    let key = PrivateKeyWithHashAlg::new(Arc::new(key), None);
    let outcome = handle.authenticate_publickey("ubuntu", key).await;
    assert!(outcome.unwrap().success());
    (handle, host_key)
}

impl Session {
    async fn open(world: &World, machine: &MachineHandle) -> Self {
        let (handle, host_key) = log_in(world, machine).await;
        Self { handle, host_key }
    }

    async fn run(&self, line: &str) -> Finished {
        let mut channel = self.handle.channel_open_session().await.unwrap();
        channel.exec(true, line).await.unwrap();
        let mut finished = Finished {
            stdout: String::new(),
            stderr: String::new(),
            status: u32::MAX,
        };
        let drain = async {
            while let Some(message) = channel.wait().await {
                match message {
                    ChannelMsg::Data { data } => finished.stdout += &String::from_utf8_lossy(&data),
                    ChannelMsg::ExtendedData { data, .. } => {
                        finished.stderr += &String::from_utf8_lossy(&data);
                    }
                    ChannelMsg::ExitStatus { exit_status } => finished.status = exit_status,
                    _ => {}
                }
            }
        };
        timeout(DEADLINE, drain).await.expect("an end");
        finished
    }
}

async fn world_with_key() -> (World, MachineHandle, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let config = WorldConfig {
        ssh_key_dir: Some(dir.path().to_owned()),
        ..WorldConfig::for_test(1, 0)
    };
    let world = World::start(config).await.unwrap();
    let machine = world.machine(&warm(&world)[0]).unwrap();
    (world, machine, dir)
}

#[tokio::test]
async fn the_key_file_is_private_and_only_its_key_is_accepted() {
    use std::os::unix::fs::PermissionsExt;
    let (world, machine, _dir) = world_with_key().await;
    let mode = std::fs::metadata(world.ssh_key_file().unwrap())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let session = Session::open(&world, &machine).await;
    assert_eq!(session.host_key, machine.host_key().await.unwrap());

    let (mut handle, _) = connect(&machine).await;
    let stranger =
        russh::keys::PrivateKey::random(&mut rand::rng(), russh::keys::Algorithm::Ed25519).unwrap();
    let stranger = PrivateKeyWithHashAlg::new(Arc::new(stranger), None);
    assert!(
        !handle
            .authenticate_publickey("ubuntu", stranger)
            .await
            .unwrap()
            .success()
    );
    let key = load_secret_key(world.ssh_key_file().unwrap(), None).unwrap();
    let key = PrivateKeyWithHashAlg::new(Arc::new(key), None);
    assert!(
        !handle
            .authenticate_publickey("root", key)
            .await
            .unwrap()
            .success()
    );
}

#[tokio::test]
async fn a_command_has_its_own_output_error_and_status() {
    let (world, machine, _dir) = world_with_key().await;
    let session = Session::open(&world, &machine).await;
    let finished = |stdout: &str, stderr: &str, status| Finished {
        stdout: stdout.to_owned(),
        stderr: stderr.to_owned(),
        status,
    };
    assert_eq!(session.run("true").await, finished("", "", 0));
    assert_eq!(session.run("echo 'a  b' c").await, finished("a  b c\n", "", 0));
    assert_eq!(
        session.run("reboot -f").await,
        finished("", "sh: 1: reboot: not found\n", 127)
    );
    let injected = session.run("echo a; reboot").await;
    assert_eq!((injected.stdout.as_str(), injected.status), ("", 2));
    assert!(session.run("uptime").await.stdout.contains("load average"));
    assert_eq!(
        session.run("systemctl is-active obs-headless").await,
        finished("active\n", "", 0)
    );
    assert_eq!(session.run("systemctl is-active no-such-unit").await.status, 4);
    assert_eq!(
        session.run("sudo -n systemctl start no-such-unit").await.status,
        5
    );
    assert_eq!(session.run("pgrep -x obs").await.status, 0);
}

#[tokio::test]
async fn a_hung_studio_can_be_killed_and_started_again() {
    use understudy::sim::model::fault::Fault;
    let (world, machine, _dir) = world_with_key().await;
    let session = Session::open(&world, &machine).await;
    machine.fault(Fault::StudioHang);
    assert_eq!(
        session.run("systemctl is-active obs-headless").await.stdout,
        "active\n"
    );
    assert_eq!(
        session
            .run("sudo systemctl kill --signal=SIGKILL obs-headless")
            .await
            .status,
        0
    );
    assert_eq!(
        session.run("systemctl is-active obs-headless").await.stdout,
        "failed\n"
    );
    assert_eq!(session.run("pgrep -x obs").await.status, 1);
    assert_eq!(session.run("sudo systemctl start obs-headless").await.status, 0);
    machine
        .until(DEADLINE, |view| view.studio_answers)
        .await
        .expect("a studio");

    assert_eq!(session.run("sudo systemctl restart show-server").await.status, 0);
    assert_eq!(session.run("sudo systemctl stop obs-headless").await.status, 0);
    assert_eq!(
        session.run("systemctl is-active obs-headless").await.stdout,
        "inactive\n"
    );
}

#[tokio::test]
async fn a_connection_can_be_tried_from_the_machine() {
    let (world, machine, _dir) = world_with_key().await;
    let session = Session::open(&world, &machine).await;
    let ingest = world.ingest().address();
    let probe = |port: u16| {
        format!(
            r#"timeout 3 bash -c 'exec 3<>/dev/tcp/"$0"/"$1"' {} {port}"#,
            ingest.ip()
        )
    };
    assert_eq!(session.run(&probe(ingest.port())).await.status, 0);
    world.ingest().take_down().await;
    let refused = session.run(&probe(ingest.port())).await;
    assert_eq!(refused.status, 1);
    assert!(refused.stderr.contains("Connection refused"), "{refused:?}");
    let elsewhere = r#"timeout 3 bash -c 'exec 3<>/dev/tcp/"$0"/"$1"' 192.0.2.1 80"#;
    assert!(session.run(elsewhere).await.stderr.contains("unreachable"));
}

#[tokio::test]
async fn a_port_of_the_machine_can_be_forwarded() {
    let (world, machine, _dir) = world_with_key().await;
    let session = Session::open(&world, &machine).await;
    let channel = session
        .handle
        .channel_open_direct_tcpip("127.0.0.1", 3003, "127.0.0.1", 1)
        .await
        .unwrap();
    let mut stream = channel.into_stream();
    stream
        .write_all(b"GET /api/status HTTP/1.1\r\nhost: vm\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    timeout(DEADLINE, stream.read_to_string(&mut answer))
        .await
        .unwrap()
        .unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let elsewhere = session
        .handle
        .channel_open_direct_tcpip("192.0.2.1", 80, "127.0.0.1", 1)
        .await;
    assert!(elsewhere.is_err());
}

#[tokio::test]
async fn a_keep_alive_is_answered() {
    let (world, machine, _dir) = world_with_key().await;
    let session = Session::open(&world, &machine).await;
    timeout(DEADLINE, session.handle.send_ping())
        .await
        .expect("in time")
        .expect("an answer");
    session
        .handle
        .disconnect(Disconnect::ByApplication, "", "en")
        .await
        .unwrap();
}

#[tokio::test]
async fn the_host_key_outlives_a_stop_and_differs_between_instances() {
    let dir = tempfile::tempdir().unwrap();
    let config = WorldConfig {
        ssh_key_dir: Some(dir.path().to_owned()),
        ..WorldConfig::for_test(2, 0)
    };
    let world = World::start(config).await.unwrap();
    let ids = warm(&world);
    let (first, second) = (world.machine(&ids[0]).unwrap(), world.machine(&ids[1]).unwrap());
    let before = Session::open(&world, &first).await.host_key;
    assert_ne!(before, Session::open(&world, &second).await.host_key);
    world.stop_instance(&ids[0]).unwrap();
    eventually("stopped", async || {
        world.instance(&ids[0]).unwrap().state == InstanceState::Stopped
    })
    .await;
    world
        .change(&ids[0], understudy::domain::instance::PowerChange::Start)
        .unwrap();
    eventually("ssh is back", async || {
        super::support::attempt(ssh_at(&first), Duration::from_millis(200)).await
            == super::support::Attempt::Connected
    })
    .await;
    assert_eq!(Session::open(&world, &first).await.host_key, before);
}
