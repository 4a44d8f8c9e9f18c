//! The SSH servers: commands, executions, files, passages, and how sessions end.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;
use understudy::domain::ids::InstanceId;
use understudy::domain::instance::{InstanceState, PowerChange};
use understudy::infra::obs::{self, Folder, Route};
use understudy::infra::ssh::files::{Error as FilesError, Kind};
use understudy::infra::ssh::{Error, Exec, Execution, Exit, Finished, Piece, Session, Start, Stream};
use understudy::sim::model::fault::{Fault, FaultKind};
use understudy::sim::model::machine::disk::OBS_CONFIG;

use crate::ground::Ground;
use crate::on_both_fronts;
use crate::support::eventually::eventually;
use crate::support::{BRIEF, PLENTY, contract};

on_both_fronts! {
    a_command_says_what_it_prints_and_how_it_ends(shape(1, 0));
    a_command_that_takes_too_long_is_not_waited_for(shape(1, 0));
    units_are_looked_at_stopped_and_killed(shape(1, 0));
    a_port_is_tried_from_the_machine(shape(1, 0));
    an_execution_tells_what_it_prints_and_can_be_cancelled(shape(1, 0));
    few_executions_fit_beside_each_other(shape(1, 0));
    a_machine_that_is_silent_is_noticed_and_comes_back(shape(1, 0));
    a_session_with_a_silent_machine_is_given_up_in_time(shape(1, 0).asking_every_ms(100));
    a_server_that_goes_takes_its_sessions_along(shape(1, 0));
    a_server_can_go_in_the_middle_of_a_job(shape(1, 0));
    a_machine_that_starts_again_knows_no_old_sessions(shape(1, 0));
    a_session_that_was_closed_answers_nothing(shape(1, 0));
    files_are_written_read_listed_and_removed(shape(1, 0));
    what_is_not_there_or_not_ours_is_told_as_such(shape(1, 0));
    an_upload_that_is_given_up_leaves_nothing(shape(1, 0));
    files_are_lost_with_their_connection(shape(1, 0));
    a_studio_is_reached_through_the_shell_and_ends_with_it(shape(1, 0));
    a_studio_that_is_down_is_told_from_a_way_that_is_cut(shape(1, 0));
    what_is_captured_can_be_restored_from_files(shape(1, 0));
}

async fn shell(ground: &Ground) -> (InstanceId, Arc<dyn Session>) {
    let id = ground.first(InstanceState::Running);
    let shell = ground.log_in(&id).await.unwrap();
    (id, shell)
}

fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

async fn exec_for(shell: &dyn Session, line: &str, deadline: Duration) -> Result<Finished, Error> {
    let exec = Exec {
        argv: words(line),
        deadline,
        output_bytes_max: 1_000,
    };
    shell.exec(&exec).await
}

/// Standard output and the status.
async fn exec(shell: &dyn Session, line: &str) -> (String, Exit) {
    let finished = exec_for(shell, line, PLENTY).await.unwrap();
    (String::from_utf8(finished.stdout).unwrap(), finished.exit)
}

async fn a_command_says_what_it_prints_and_how_it_ends(ground: &Ground) {
    let (id, shell) = shell(ground).await;
    let name = format!("ip-{}\n", ground.address(&id).to_string().replace('.', "-"));
    assert_eq!(exec(&*shell, "hostname").await, (name, Exit::Status(0)));
    let quoted = Exec {
        argv: ["echo", "a 'quoted' word"].map(str::to_owned).to_vec(),
        deadline: PLENTY,
        output_bytes_max: 8,
    };
    let cut = shell.exec(&quoted).await.unwrap();
    assert_eq!((cut.stdout.as_slice(), cut.truncated), (&b"a 'quote"[..], true));
    let missing = exec_for(&*shell, "no-such-command", PLENTY).await.unwrap();
    assert_eq!(missing.exit, Exit::Status(127));
    assert_eq!(missing.stderr, b"sh: 1: no-such-command: not found\n");
    let nothing = Exec {
        argv: Vec::new(),
        ..quoted
    };
    assert!(matches!(shell.exec(&nothing).await, Err(Error::BadCommand(_))));
    let sum = exec(&*shell, "sha256sum /home/ubuntu/none").await;
    assert_eq!(sum.1, Exit::Status(1));
}

async fn a_command_that_takes_too_long_is_not_waited_for(ground: &Ground) {
    let (_, shell) = shell(ground).await;
    let late = exec_for(&*shell, "sleep 100", BRIEF).await;
    assert_eq!(late, Err(Error::TimedOut(BRIEF)));
    assert_eq!(exec(&*shell, "true").await.1, Exit::Status(0));
}

async fn units_are_looked_at_stopped_and_killed(ground: &Ground) {
    let (id, shell) = shell(ground).await;
    let is_active = "systemctl is-active obs-headless";
    assert_eq!(
        exec(&*shell, is_active).await,
        ("active\n".to_owned(), Exit::Status(0))
    );
    ground.fault(&id, Fault::StudioHang).await;
    // A process that hangs is active.
    assert_eq!(exec(&*shell, is_active).await.1, Exit::Status(0));
    let kill = "sudo systemctl kill --signal=SIGKILL obs-headless";
    assert_eq!(exec(&*shell, kill).await.1, Exit::Status(0));
    assert_eq!(exec(&*shell, is_active).await.0, "failed\n");
    assert!(!ground.view(&id).studio_alive);
    assert_eq!(
        exec(&*shell, "sudo systemctl start obs-headless").await.1,
        Exit::Status(0)
    );
    ground
        .until_seen(&id, PLENTY, |view| view.studio_answers)
        .await
        .expect("a studio");
    assert_eq!(
        exec(&*shell, "sudo systemctl stop obs-headless").await.1,
        Exit::Status(0)
    );
    // systemd answers when the process is gone.
    assert!(!ground.view(&id).studio_alive);
    assert_eq!(
        exec(&*shell, "systemctl is-active nonsense").await.1,
        Exit::Status(4)
    );
}

async fn a_port_is_tried_from_the_machine(ground: &Ground) {
    let (id, shell) = shell(ground).await;
    let try_port = async |address: String, port: u16| {
        let script = "exec 3<>/dev/tcp/\"$0\"/\"$1\"".to_owned();
        let (timeout, limit, bash, c) = ("timeout", "1", "bash", "-c");
        let argv = [timeout, limit, bash, c].map(str::to_owned);
        let exec = Exec {
            argv: argv
                .into_iter()
                .chain([script, address, port.to_string()])
                .collect(),
            deadline: PLENTY,
            output_bytes_max: 1_000,
        };
        shell.exec(&exec).await.unwrap().exit
    };
    let ingest = ground.ingest_address();
    assert_eq!(
        try_port(ingest.ip().to_string(), ingest.port()).await,
        Exit::Status(0)
    );
    ground.take_ingest_down().await;
    assert_eq!(
        try_port(ingest.ip().to_string(), ingest.port()).await,
        Exit::Status(1)
    );
    let own = ground.address(&id).to_string();
    assert_eq!(try_port(own.clone(), 4455).await, Exit::Status(0));
    assert_eq!(try_port(own, 4456).await, Exit::Status(1));
}

fn start(line: &str, deadline: Duration) -> Start {
    Start {
        argv: Some(words(line)),
        pty: None,
        deadline,
    }
}

/// What was printed on standard output, and how it ended.
async fn to_its_end(mut execution: Execution) -> (Vec<u8>, Result<Exit, Error>) {
    let mut printed = Vec::new();
    loop {
        let piece = timeout(PLENTY, execution.pieces.recv()).await;
        match piece.expect("a piece in time").expect("an end") {
            Piece::Output {
                stream: Stream::Stdout,
                bytes,
            } => printed.extend_from_slice(&bytes),
            Piece::Output { .. } | Piece::Skipped { .. } => {}
            Piece::Ended(ended) => return (printed, ended),
        }
    }
}

async fn an_execution_tells_what_it_prints_and_can_be_cancelled(ground: &Ground) {
    let (_, shell) = shell(ground).await;
    let running = shell.start(&start("echo hello", PLENTY)).await.unwrap();
    let ended = to_its_end(running).await;
    assert_eq!(ended, (b"hello\n".to_vec(), Ok(Exit::Status(0))));
    let running = shell.start(&start("sleep 100", PLENTY)).await.unwrap();
    running.control.cancel();
    assert_eq!(to_its_end(running).await.1, Ok(Exit::Signal("TERM".to_owned())));
    let running = shell.start(&start("sleep 100", BRIEF)).await.unwrap();
    assert_eq!(to_its_end(running).await.1, Err(Error::TimedOut(BRIEF)));
}

async fn few_executions_fit_beside_each_other(ground: &Ground) {
    let (_, shell) = shell(ground).await;
    let mut running = Vec::new();
    for _ in 0..3 {
        running.push(shell.start(&start("sleep 100", PLENTY)).await.unwrap());
    }
    let refused = shell.start(&start("true", PLENTY)).await;
    assert_eq!(refused.map(drop), Err(Error::Busy));
    // What must be done at once has places of its own.
    assert_eq!(exec(&*shell, "true").await.1, Exit::Status(0));
    running.clear();
    eventually("a place", PLENTY, async || {
        shell.start(&start("true", PLENTY)).await.ok()
    })
    .await;
}

async fn a_machine_that_is_silent_is_noticed_and_comes_back(ground: &Ground) {
    let (id, shell) = shell(ground).await;
    shell.ping(PLENTY).await.unwrap();
    ground.fault(&id, Fault::Blackhole).await;
    assert_eq!(shell.ping(BRIEF).await, Err(Error::TimedOut(BRIEF)));
    let late = exec_for(&*shell, "true", BRIEF).await;
    assert_eq!(late, Err(Error::TimedOut(BRIEF)));
    assert_eq!(
        ground.log_in_within(&id, BRIEF).await.map(drop),
        Err(Error::TimedOut(BRIEF))
    );
    ground.heal(&id, FaultKind::Blackhole).await;
    shell.ping(PLENTY).await.unwrap();
}

async fn a_session_with_a_silent_machine_is_given_up_in_time(ground: &Ground) {
    let (id, shell) = shell(ground).await;
    // A machine that answers is not.
    let early = timeout(Duration::from_secs(1), shell.closed()).await;
    assert!(early.is_err());
    ground.fault(&id, Fault::Blackhole).await;
    let ended = timeout(PLENTY, shell.closed()).await;
    assert_eq!(ended, Ok(Error::TimedOut(Duration::from_millis(500))));
    assert_eq!(shell.ping(PLENTY).await, Err(Error::Closed));
}

async fn is_over(shell: &dyn Session) {
    let ended = timeout(PLENTY, shell.closed()).await;
    assert_eq!(ended, Ok(Error::Closed));
    assert_eq!(shell.ping(PLENTY).await, Err(Error::Closed));
    let late = exec_for(shell, "true", PLENTY).await;
    assert_eq!(late, Err(Error::Closed));
    assert_eq!(
        shell.start(&start("true", PLENTY)).await.map(drop),
        Err(Error::Closed)
    );
}

async fn a_server_that_goes_takes_its_sessions_along(ground: &Ground) {
    let (id, shell) = shell(ground).await;
    let running = shell.start(&start("sleep 100", PLENTY)).await.unwrap();
    ground.fault(&id, Fault::SshDown).await;
    is_over(&*shell).await;
    assert_eq!(to_its_end(running).await.1, Err(Error::Closed));
    assert_eq!(ground.log_in(&id).await.map(drop), Err(Error::Refused));
    // The rest of the machine goes on.
    assert!(ground.view(&id).studio_answers);
    ground.heal(&id, FaultKind::SshDown).await;
    eventually("a session", PLENTY, async || ground.log_in(&id).await.ok()).await;
}

async fn a_server_can_go_in_the_middle_of_a_job(ground: &Ground) {
    let (id, shell) = shell(ground).await;
    ground.fault(&id, Fault::SshDownAt { word: "pkill" }).await;
    assert_eq!(exec(&*shell, "echo before").await.1, Exit::Status(0));
    let lost = exec_for(&*shell, "pkill -9 -x obs", PLENTY).await;
    assert_eq!(lost, Err(Error::Closed));
    is_over(&*shell).await;
    assert!(ground.view(&id).studio_alive, "it was not run");
}

async fn a_machine_that_starts_again_knows_no_old_sessions(ground: &Ground) {
    let (id, shell) = shell(ground).await;
    ground.change(&id, PowerChange::ForceStop);
    ground.until(&id, InstanceState::Stopped).await;
    // Nobody said goodbye.
    assert_eq!(shell.ping(BRIEF).await, Err(Error::TimedOut(BRIEF)));
    ground.change(&id, PowerChange::Start);
    is_over(&*shell).await;
    eventually("another session", PLENTY, async || ground.log_in(&id).await.ok()).await;
}

async fn a_session_that_was_closed_answers_nothing(ground: &Ground) {
    let (_, shell) = shell(ground).await;
    shell.close().await;
    is_over(&*shell).await;
}

async fn files_are_written_read_listed_and_removed(ground: &Ground) {
    let (_, shell) = shell(ground).await;
    let files = shell.files().await.unwrap();
    files.make_folder("work", 0o755).await.unwrap();
    // One that is there is fine.
    files.make_folder("work", 0o755).await.unwrap();
    let content = Bytes::from_iter((0..100_000_u32).map(|n| n.to_le_bytes()[1]));
    let mut upload = Arc::clone(&files).write("work/file", 0o644).await.unwrap();
    upload.write(content.slice(..60_000)).await.unwrap();
    upload.write(content.slice(60_000..)).await.unwrap();
    assert_eq!(upload.finish().await, Ok(100_000));
    let listed = files.list("work").await.unwrap();
    let seen: Vec<_> = listed
        .iter()
        .map(|entry| (entry.name.as_str(), entry.kind, entry.bytes))
        .collect();
    assert_eq!(seen, [("file", Kind::File, 100_000)]);
    assert!(listed[0].modified.is_some());
    assert_eq!(files.stat("work").await.unwrap().kind, Kind::Folder);
    let real = files.real_path("work/../work/./file").await.unwrap();
    assert_eq!(real, "/home/ubuntu/work/file");
    let mut download = Arc::clone(&files).read("work/file", 10).await.unwrap();
    assert_eq!(download.bytes, 100_000);
    let mut read = Vec::new();
    while let Some(piece) = download.next().await {
        read.extend_from_slice(&piece.unwrap());
    }
    assert!(read == content[10..]);
    assert!(
        exec(&*shell, "sha256sum work/file")
            .await
            .0
            .ends_with("  work/file\n")
    );
    files.remove("work/file").await.unwrap();
    files.remove_folder("work").await.unwrap();
    assert!(matches!(
        files.stat("work").await,
        Err(FilesError::NotFound { .. })
    ));
}

async fn what_is_not_there_or_not_ours_is_told_as_such(ground: &Ground) {
    let (_, shell) = shell(ground).await;
    let files = shell.files().await.unwrap();
    let missing = Arc::clone(&files).read("none", 0).await.map(drop);
    assert!(matches!(missing, Err(FilesError::NotFound { .. })));
    assert!(matches!(
        files.remove("none").await,
        Err(FilesError::NotFound { .. })
    ));
    assert!(matches!(
        files.list("none").await,
        Err(FilesError::NotFound { .. })
    ));
    let root = files.make_folder("/etc/ours", 0o755).await;
    assert!(matches!(root, Err(FilesError::Denied { .. })), "{root:?}");
    assert!(matches!(files.stat("").await, Err(FilesError::Failed { .. })));
    files.make_folder("full", 0o755).await.unwrap();
    let mut upload = Arc::clone(&files).write("full/file", 0o644).await.unwrap();
    upload.write(Bytes::from_static(b"x")).await.unwrap();
    upload.finish().await.unwrap();
    let kept = files.remove_folder("full").await;
    assert!(matches!(kept, Err(FilesError::Failed { .. })), "{kept:?}");
}

async fn an_upload_that_is_given_up_leaves_nothing(ground: &Ground) {
    let (_, shell) = shell(ground).await;
    let files = shell.files().await.unwrap();
    files.make_folder("work", 0o755).await.unwrap();
    let mut upload = Arc::clone(&files).write("work/file", 0o644).await.unwrap();
    upload.write(Bytes::from_static(b"half of it")).await.unwrap();
    assert_eq!(files.list("work").await.unwrap().len(), 1);
    drop(upload);
    eventually("nothing of it", PLENTY, async || {
        files.list("work").await.unwrap().is_empty().then_some(())
    })
    .await;
}

async fn files_are_lost_with_their_connection(ground: &Ground) {
    let (id, shell) = shell(ground).await;
    let files = shell.files().await.unwrap();
    assert!(files.are_usable());
    ground.fault(&id, Fault::SshDown).await;
    is_over(&*shell).await;
    assert!(matches!(files.stat(".").await, Err(FilesError::Lost { .. })));
    assert!(!files.are_usable());
    assert_eq!(shell.files().await.map(drop), Err(Error::Closed));
}

fn through(ground: &Ground, id: &InstanceId, shell: &Arc<dyn Session>) -> obs::Endpoint {
    obs::Endpoint {
        route: Route::Shell(Arc::clone(shell)),
        ..ground.obs_endpoint(id)
    }
}

async fn a_studio_is_reached_through_the_shell_and_ends_with_it(ground: &Ground) {
    let (id, shell) = shell(ground).await;
    ground.load_example_studio(&id, "k");
    let endpoint = through(ground, &id, &shell);
    let (studio, mut notices) = ground.obs.connect(&endpoint).await.unwrap();
    assert_eq!(studio.capture().await.unwrap().program_scene, "Camera 2 - Vault");
    ground.fault(&id, Fault::SshDown).await;
    let ended = async { while notices.recv().await.is_some() {} };
    timeout(PLENTY, ended).await.expect("the notices end");
    assert_eq!(studio.output().await.map(drop), Err(obs::Error::Closed));
    // The studio itself is there.
    ground.connect(&id).await;
}

async fn a_studio_that_is_down_is_told_from_a_way_that_is_cut(ground: &Ground) {
    let (id, shell) = shell(ground).await;
    let endpoint = through(ground, &id, &shell);
    ground.fault(&id, Fault::StudioCrash).await;
    assert_eq!(ground.refusal(&endpoint).await, obs::Error::Refused);
    ground.fault(&id, Fault::SshDown).await;
    is_over(&*shell).await;
    assert_eq!(ground.refusal(&endpoint).await, obs::Error::Cut(Error::Closed));
    let cut = obs::Endpoint {
        route: Route::Cut,
        ..endpoint
    };
    assert_eq!(ground.refusal(&cut).await, obs::Error::Cut(Error::Closed));
}

async fn what_is_captured_can_be_restored_from_files(ground: &Ground) {
    let (id, shell) = shell(ground).await;
    let folder = Folder::new(shell, OBS_CONFIG);
    let endpoint = ground.obs_endpoint(&id);
    contract::holds(&*ground.obs, &endpoint, Some(&folder)).await;
    // Twice: the second time everything is there already.
    contract::holds(&*ground.obs, &endpoint, Some(&folder)).await;
}
