//! The machine's files: over SFTP and from the command line, which see the same.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use understudy::domain::instance::{InstanceState, PowerChange};
use understudy::domain::studio::Secret;
use understudy::infra::ssh::files::{Error, Files, Kind};
use understudy::infra::ssh::{
    Connector, Endpoint, Exec, Exit, Finished, Piece, RusshConnector, Session, Start,
};
use understudy::sim::model::machine::disk;
use understudy::sim::model::studio::Studio;
use understudy::sim::wire::MachineHandle;
use understudy::sim::world::{World, WorldConfig};

use super::login::pinning;
use super::support::{DEADLINE, eventually, ssh_at, warm};

const RECORDINGS: &str = "/home/ubuntu/recordings";

/// A machine, and its coordinator's way in.
pub struct Rig {
    world: World,
    pub machine: MachineHandle,
    pub session: Arc<dyn Session>,
    folder: tempfile::TempDir,
}

pub async fn rig() -> Rig {
    let folder = tempfile::tempdir().unwrap();
    let config = WorldConfig {
        ssh_key_dir: Some(folder.path().to_owned()),
        ..WorldConfig::for_test(1, 0)
    };
    let world = World::start(config).await.unwrap();
    let machine = world.machine(&warm(&world)[0]).unwrap();
    let session = connect(&world, &machine, &folder).await;
    Rig {
        world,
        machine,
        session,
        folder,
    }
}

async fn connect(world: &World, machine: &MachineHandle, folder: &tempfile::TempDir) -> Arc<dyn Session> {
    let connector = RusshConnector::new(pinning(
        "ubuntu",
        world.ssh_key_file().unwrap().to_owned(),
        folder.path(),
    ));
    let endpoint = Endpoint {
        address: ssh_at(machine),
        host: "i-0123456789abcdef0".to_owned(),
        connect_deadline: DEADLINE,
    };
    connector.connect(&endpoint).await.unwrap()
}

impl Rig {
    async fn run(&self, words: &[&str]) -> Finished {
        let exec = Exec {
            argv: words.iter().map(|word| (*word).to_owned()).collect(),
            deadline: DEADLINE,
            output_bytes_max: 100_000,
        };
        self.session.exec(&exec).await.unwrap()
    }

    /// What a command that must succeed prints.
    async fn printed(&self, words: &[&str]) -> String {
        let finished = self.run(words).await;
        assert_eq!(finished.exit, Exit::Status(0), "{words:?}: {finished:?}");
        String::from_utf8(finished.stdout).unwrap()
    }
}

async fn put(files: &Arc<dyn Files>, path: &str, bytes: &[u8]) -> Result<u64, Error> {
    let mut upload = Arc::clone(files).write(path, 0o640).await?;
    upload.write(Bytes::copy_from_slice(bytes)).await?;
    upload.finish().await
}

async fn get(files: &Arc<dyn Files>, path: &str) -> Result<Vec<u8>, Error> {
    let mut download = Arc::clone(files).read(path, 0).await?;
    let mut all = Vec::new();
    while let Some(piece) = download.next().await {
        all.extend_from_slice(&piece?);
    }
    Ok(all)
}

#[tokio::test]
async fn a_file_goes_there_and_back_and_takes_another_ones_place() {
    let rig = rig().await;
    let files = rig.session.files().await.unwrap();
    let path = "/tmp/a file 'with' spaces";
    for size in [0, 1, 32 * 1024 + 1, 3_000_000] {
        let sent: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
        assert_eq!(put(&files, path, &sent).await, Ok(size as u64));
        assert!(get(&files, path).await.unwrap() == sent, "{size} bytes");
    }
    assert_eq!(
        rig.printed(&["stat", "-c", "%s %F", path]).await,
        "3000000 regular file\n"
    );
    assert_eq!(rig.printed(&["ls", "/tmp"]).await, "a file 'with' spaces\n");

    files.make_folder("/tmp/folder", 0o755).await.unwrap();
    files.make_folder("/tmp/folder", 0o755).await.unwrap();
    let listed = files.list("/tmp").await.unwrap();
    let kinds: Vec<(&str, Kind)> = listed
        .iter()
        .map(|entry| (entry.name.as_str(), entry.kind))
        .collect();
    assert_eq!(kinds.last(), Some(&("folder", Kind::Folder)), "{kinds:?}");
    files.remove(path).await.unwrap();
    files.remove_folder("/tmp/folder").await.unwrap();
    assert_eq!(rig.printed(&["ls", "/tmp"]).await, "");
}

#[tokio::test]
async fn what_cannot_be_done_with_a_path_is_told_apart() {
    let rig = rig().await;
    let files = rig.session.files().await.unwrap();
    let at = |path: &str| path.to_owned();
    assert_eq!(
        files.stat("/tmp/none").await,
        Err(Error::NotFound {
            path: at("/tmp/none")
        })
    );
    assert_eq!(
        put(&files, "/etc/passwd", b"me")
            .await
            .map_err(|error| match error {
                Error::Denied { .. } => "denied",
                _ => "something else",
            }),
        Err("denied")
    );
    assert!(matches!(
        files.remove("/tmp").await,
        Err(Error::Failed { .. } | Error::Denied { .. })
    ));
    let too_much = vec![0; disk::BYTES_MAX + 1];
    assert!(matches!(
        put(&files, "/tmp/big", &too_much).await,
        Err(Error::Failed { .. })
    ));
    // Nothing of it is left.
    eventually("the part is removed", async || {
        files.list("/tmp").await.unwrap().is_empty()
    })
    .await;
}

#[tokio::test]
async fn another_client_finds_its_way_about() {
    let rig = rig().await;
    let (handle, _) = super::ssh::log_in(&rig.world, &rig.machine).await;
    let channel = handle.channel_open_session().await.unwrap();
    channel.request_subsystem(true, "sftp").await.unwrap();
    let sftp = russh_sftp::client::SftpSession::new(channel.into_stream())
        .await
        .unwrap();
    assert_eq!(sftp.canonicalize(".").await.unwrap(), "/home/ubuntu");
    assert_eq!(sftp.canonicalize("../../tmp/./x").await.unwrap(), "/tmp/x");
    sftp.create("one").await.unwrap();
    sftp.create("two").await.unwrap();
    assert!(sftp.rename("one", "two").await.is_err());
    sftp.rename("one", "three").await.unwrap();
    assert!(sftp.try_exists("/home/ubuntu/three").await.unwrap());
    assert!(!sftp.try_exists("one").await.unwrap());
    for number in 0..250 {
        sftp.create_dir(format!("/tmp/{number}")).await.unwrap();
    }
    assert_eq!(sftp.read_dir("/tmp").await.unwrap().count(), 250);
    assert!(sftp.symlink("/tmp/link", "/etc").await.is_err());
}

#[tokio::test]
async fn commands_and_sftp_work_on_the_same_files() {
    let rig = rig().await;
    let files = rig.session.files().await.unwrap();
    let template = format!("{}/basic/scenes/Finals.json", disk::OBS_TEMPLATE);
    rig.printed(&["mkdir", "-p", &format!("{}/basic/scenes", disk::OBS_TEMPLATE)])
        .await;
    put(&files, &template, b"{}").await.unwrap();
    rig.printed(&[
        "cp",
        "-R",
        &format!("{}/.", disk::OBS_TEMPLATE),
        &format!("{}/", disk::OBS_CONFIG),
    ])
    .await;
    let copied = format!("{}/basic/scenes/Finals.json", disk::OBS_CONFIG);
    assert_eq!(get(&files, &copied).await.unwrap(), b"{}");
    assert_eq!(rig.printed(&["cat", &copied]).await, "{}");

    for name in ["1.mp4", "2.mp4", "notes.txt"] {
        put(&files, &format!("{RECORDINGS}/{name}"), b"x").await.unwrap();
    }
    let clear = [
        "find",
        RECORDINGS,
        "-maxdepth",
        "1",
        "-type",
        "f",
        "-name",
        "*.mp4",
        "-print",
        "-delete",
    ];
    let printed = rig.printed(&clear).await;
    assert_eq!(printed, format!("{RECORDINGS}/2.mp4\n{RECORDINGS}/1.mp4\n"));
    assert_eq!(rig.printed(&["ls", RECORDINGS]).await, "notes.txt\n");

    rig.printed(&["mkdir", "-p", "/tmp/competition-1/inner"]).await;
    let sweep = [
        "find",
        "/tmp",
        "-maxdepth",
        "1",
        "-name",
        "competition-*",
        "-print",
    ];
    let printed = rig
        .printed(&[&sweep[..], &["-exec", "rm", "-rf", "--", "{}", "+"]].concat())
        .await;
    assert_eq!(printed, "/tmp/competition-1\n");
    assert_eq!(rig.printed(&["ls", "/tmp"]).await, "");

    rig.printed(&["rm", "-rf", RECORDINGS, "/tmp/none"]).await;
    assert!(matches!(
        files.stat(RECORDINGS).await,
        Err(Error::NotFound { .. })
    ));
    let denied = rig.run(&["rm", "-rf", "/etc"]).await;
    assert_eq!(denied.exit, Exit::Status(1));
    assert_eq!(denied.stderr, b"rm: cannot remove '/etc': Permission denied\n");
    rig.printed(&["sudo", "-n", "rm", "-rf", "/etc"]).await;
    assert_eq!(rig.run(&["test", "-e", "/etc"]).await.exit, Exit::Status(1));
}

#[tokio::test]
async fn a_recording_grows_while_it_is_made_and_stays() {
    let rig = rig().await;
    let files = rig.session.files().await.unwrap();
    rig.machine.operate(Studio::start_record).unwrap();
    let entry = files.list(RECORDINGS).await.unwrap().remove(0);
    let path = format!("{RECORDINGS}/{}", entry.name);
    assert!(path.ends_with(".mp4"), "{path}");
    eventually("it grows", async || {
        files.stat(&path).await.unwrap().bytes > entry.bytes + 50_000
    })
    .await;
    let name = rig.machine.operate(Studio::stop_record).unwrap();
    assert_eq!(format!("{RECORDINGS}/{name}"), path);
    let whole = get(&files, &path).await.unwrap();
    assert_eq!(whole.len() as u64, files.stat(&path).await.unwrap().bytes);

    let sum = rig.printed(&["sha256sum", "--", &path]).await;
    let ours: String = <sha2::Sha256 as sha2::Digest>::digest(&whole)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(sum, format!("{ours}  {path}\n"));

    // What is removed while it is recorded does not come back.
    rig.machine.operate(Studio::start_record).unwrap();
    let clear = ["find", RECORDINGS, "-type", "f", "-delete"];
    rig.printed(&clear).await;
    rig.machine.operate(Studio::stop_record).unwrap();
    assert_eq!(files.list(RECORDINGS).await.unwrap(), []);
}

#[tokio::test]
async fn files_outlive_a_power_cut_except_in_tmp() {
    let rig = rig().await;
    let files = rig.session.files().await.unwrap();
    for path in ["kept", "/tmp/lost"] {
        put(&files, path, b"x").await.unwrap();
    }
    let id = &warm(&rig.world)[0];
    rig.world.stop_instance(id).unwrap();
    eventually("it is off", async || {
        rig.world.instance(id).unwrap().state == InstanceState::Stopped
    })
    .await;
    rig.world.change(id, PowerChange::Start).unwrap();
    eventually("it is back", async || {
        let attempt = super::support::attempt(ssh_at(&rig.machine), Duration::from_millis(200));
        attempt.await == super::support::Attempt::Connected
    })
    .await;
    assert!(!files.are_usable());
    let session = connect(&rig.world, &rig.machine, &rig.folder).await;
    let files = session.files().await.unwrap();
    assert_eq!(get(&files, "/home/ubuntu/kept").await.unwrap(), b"x");
    assert!(matches!(
        files.stat("/tmp/lost").await,
        Err(Error::NotFound { .. })
    ));
}

#[tokio::test]
async fn obs_is_what_its_files_say_when_it_starts() {
    let rig = rig().await;
    rig.machine.load_example_studio("hush").unwrap();
    let service = format!("{}/basic/profiles/Untitled/service.json", disk::OBS_CONFIG);
    assert!(rig.printed(&["cat", &service]).await.contains("hush"));
    let basic = format!("{}/basic", disk::OBS_CONFIG);
    let (template, config) = (
        format!("{}/.", disk::OBS_TEMPLATE),
        format!("{}/", disk::OBS_CONFIG),
    );
    for step in [
        &["sudo", "-n", "systemctl", "stop", "obs-headless"][..],
        &["rm", "-rf", "--", &basic],
        &["cp", "-R", &template, &config],
        &["sudo", "-n", "systemctl", "start", "obs-headless"],
    ] {
        rig.printed(step).await;
    }
    rig.machine
        .until(DEADLINE, |view| view.studio_answers)
        .await
        .expect("a studio");
    let view = rig.machine.view();
    assert_eq!(view.scene_collection, "Untitled");
    assert_eq!(view.stream_key.as_ref().map(Secret::expose), Some(""));
    assert!(!rig.printed(&["cat", &service]).await.contains("hush"));
    let client = super::support::obws(&rig.machine).await;
    let scenes = client.scenes().list().await.unwrap().scenes;
    assert_eq!(scenes.len(), 1);
}

#[tokio::test]
async fn a_command_that_is_cancelled_ends_by_a_signal() {
    let rig = rig().await;
    let start = Start {
        argv: Some(["sleep", "600"].map(str::to_owned).to_vec()),
        pty: None,
        deadline: DEADLINE,
    };
    let mut execution = rig.session.start(&start).await.unwrap();
    execution.control.cancel();
    let last = tokio::time::timeout(DEADLINE, execution.pieces.recv())
        .await
        .unwrap();
    assert_eq!(last, Some(Piece::Ended(Ok(Exit::Signal("TERM".to_owned())))));
}
