//! Files and tunnels over SSH, against real OpenSSH servers.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use understudy::infra::ssh::files::{Download, Error, Files, Kind};
use understudy::infra::ssh::{Error as Ssh, Exec, Session, tunnel};

use crate::support::eventually::eventually;
use crate::support::memory::{peak_memory_kib, reset_peak_memory};
use crate::support::noise::noise;
use crate::support::sshd::Sshd;
use crate::support::{BRIEF, PLENTY};

async fn all(mut download: Download) -> Result<Vec<u8>, Error> {
    let mut all = Vec::new();
    while let Some(piece) = timeout(PLENTY, download.next()).await.unwrap() {
        all.extend_from_slice(&piece?);
    }
    Ok(all)
}

async fn put(files: &Arc<dyn Files>, path: &str, bytes: &[u8]) -> Result<u64, Error> {
    let mut upload = Arc::clone(files).write(path, 0o640).await?;
    for piece in bytes.chunks(100_000) {
        upload.write(Bytes::copy_from_slice(piece)).await?;
    }
    upload.finish().await
}

async fn echoes(session: &dyn Session) {
    let exec = Exec {
        argv: vec!["echo".to_owned(), "on".to_owned()],
        deadline: PLENTY,
        output_bytes_max: 100,
    };
    assert_eq!(session.exec(&exec).await.unwrap().stdout, b"on\n");
}

#[tokio::test]
async fn a_file_goes_there_and_back_unchanged() {
    let server = Sshd::start().await;
    let session = server.connect().await.unwrap();
    let files = session.files().await.unwrap();
    let path = server.path("a file 'with' spaces");
    for size in [0, 1, 32 * 1024, 32 * 1024 + 1, 5_000_000] {
        let sent = noise("file", size);
        assert_eq!(put(&files, path.to_str().unwrap(), &sent).await, Ok(size as u64));
        assert_eq!(
            Sha256::digest(std::fs::read(&path).unwrap()),
            Sha256::digest(&sent)
        );
        let download = Arc::clone(&files).read(path.to_str().unwrap(), 0).await.unwrap();
        assert_eq!(download.bytes, size as u64);
        assert_eq!(
            Sha256::digest(all(download).await.unwrap()),
            Sha256::digest(&sent)
        );
    }
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);

    // From where a transfer was cut.
    let download = Arc::clone(&files).read(path.to_str().unwrap(), 4_999_000).await;
    assert_eq!(
        all(download.unwrap()).await.unwrap(),
        &noise("file", 5_000_000)[4_999_000..]
    );
    let download = Arc::clone(&files).read(path.to_str().unwrap(), 6_000_000).await;
    assert_eq!(all(download.unwrap()).await.unwrap(), b"");
}

#[tokio::test]
async fn a_file_appears_when_it_is_whole_and_a_broken_off_one_leaves_nothing() {
    let server = Sshd::start().await;
    let session = server.connect().await.unwrap();
    let files = session.files().await.unwrap();
    let folder = server.path("recordings");
    let folder_name = folder.to_str().unwrap();
    files.make_folder(folder_name, 0o755).await.unwrap();
    files.make_folder(folder_name, 0o755).await.unwrap();
    let path = folder.join("show.mkv");
    std::fs::write(&path, "the old one").unwrap();

    let mut upload = Arc::clone(&files)
        .write(path.to_str().unwrap(), 0o644)
        .await
        .unwrap();
    upload.write(Bytes::from(noise("file", 1_000_000))).await.unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"the old one");
    drop(upload);
    eventually("the part is removed", PLENTY, async || {
        (std::fs::read_dir(&folder).unwrap().count() == 1).then_some(())
    })
    .await;
    assert_eq!(std::fs::read(&path).unwrap(), b"the old one");

    put(&files, path.to_str().unwrap(), b"the new one").await.unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"the new one");
    let listed = files.list(folder_name).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(
        (listed[0].name.as_str(), listed[0].kind),
        ("show.mkv", Kind::File)
    );
    assert_eq!(listed[0].bytes, 11);
    assert!(listed[0].modified.is_some());
}

#[tokio::test]
async fn folders_are_listed_and_emptied() {
    let server = Sshd::start().await;
    let session = server.connect().await.unwrap();
    let files = session.files().await.unwrap();
    let folder = server.path("many");
    std::fs::create_dir(&folder).unwrap();
    for n in 0..300 {
        std::fs::write(folder.join(format!("{n}")), "").unwrap();
    }
    std::os::unix::fs::symlink("/", folder.join("link")).unwrap();
    std::fs::create_dir(folder.join("inner")).unwrap();
    let at = |name: &str| folder.join(name).to_str().unwrap().to_owned();

    let listed = files.list(folder.to_str().unwrap()).await.unwrap();
    assert_eq!(listed.len(), 302);
    let kind = |name: &str| listed.iter().find(|entry| entry.name == name).unwrap().kind;
    assert_eq!(
        (kind("7"), kind("link"), kind("inner")),
        (Kind::File, Kind::Link, Kind::Folder)
    );
    assert_eq!(files.stat(&at("link")).await.unwrap().kind, Kind::Folder);

    let full = files.remove_folder(folder.to_str().unwrap()).await;
    assert!(matches!(full, Err(Error::Failed { .. })), "{full:?}");
    files.remove_folder(&at("inner")).await.unwrap();
    for entry in files.list(folder.to_str().unwrap()).await.unwrap() {
        files.remove(&at(&entry.name)).await.unwrap();
    }
    files.remove_folder(folder.to_str().unwrap()).await.unwrap();
    assert!(!folder.exists());
}

#[tokio::test]
async fn what_is_wrong_with_a_path_is_said() {
    let server = Sshd::start_for_an_ordinary_user().await;
    let session = server.connect().await.unwrap();
    let files = session.files().await.unwrap();
    let missing = || Error::NotFound {
        path: "/no/such".to_owned(),
    };
    assert_eq!(files.stat("/no/such").await, Err(missing()));
    assert_eq!(files.list("/no/such").await, Err(missing()));
    assert_eq!(files.remove("/no/such").await, Err(missing()));
    assert_eq!(
        Arc::clone(&files).read("/no/such", 0).await.err(),
        Some(missing())
    );
    assert!(matches!(
        put(&files, "/no/such/file", b"x").await,
        Err(Error::NotFound { .. })
    ));
    let denied = Error::Denied {
        path: "/etc/shadow".to_owned(),
    };
    assert_eq!(
        Arc::clone(&files).read("/etc/shadow", 0).await.err(),
        Some(denied)
    );
    for path in ["", "a\0b"] {
        assert!(matches!(files.remove(path).await, Err(Error::Failed { .. })));
    }
}

#[tokio::test]
async fn a_transfer_takes_little_memory_and_others_go_on() {
    const BYTES: usize = 100_000_000;
    let server = Sshd::start().await;
    let session = server.connect().await.unwrap();
    let files = session.files().await.unwrap();
    let (source, target) = (server.path("source"), server.path("target"));
    std::fs::write(&source, noise("file", BYTES)).unwrap();
    echoes(&*session).await;

    reset_peak_memory();
    let before = peak_memory_kib();
    let began = Instant::now();
    let mut download = Arc::clone(&files)
        .read(source.to_str().unwrap(), 0)
        .await
        .unwrap();
    let mut upload = Arc::clone(&files)
        .write(target.to_str().unwrap(), 0o600)
        .await
        .unwrap();
    let mut carried = 0;
    while let Some(piece) = download.next().await {
        let piece = piece.unwrap();
        carried += piece.len();
        if carried % 10_000_000 < piece.len() {
            echoes(&*session).await;
            session.ping(PLENTY).await.unwrap();
        }
        upload.write(piece).await.unwrap();
    }
    assert_eq!(upload.finish().await, Ok(BYTES as u64));
    let took = began.elapsed();
    let grown = peak_memory_kib() - before;
    println!(
        "{} MB each way in {} ms, {grown} KiB",
        BYTES / 1_000_000,
        took.as_millis()
    );
    assert!(grown < 24 * 1024, "memory grew by {grown} KiB");
    assert_eq!(
        Sha256::digest(std::fs::read(source).unwrap()),
        Sha256::digest(std::fs::read(target).unwrap())
    );
}

/// The server says what it does: how many bytes of a file it has written each time it brings them to its disk, and at the
/// end.
fn written_between_syncs(log: &str) -> Vec<u64> {
    let mut written = vec![0];
    for line in log.lines() {
        if let Some((_, length)) = line.rsplit_once(" len ").filter(|_| line.contains(": write ")) {
            *written.last_mut().unwrap() += length.trim().parse::<u64>().unwrap();
        } else if line.contains(": fsync (") {
            written.push(0);
        }
    }
    written
}

#[tokio::test]
async fn a_large_file_goes_to_the_disk_little_by_little_and_is_there_in_the_end() {
    const BYTES: usize = 80_000_000;
    let mut server = Sshd::start().await;
    let log = server.path("sftp.log");
    let program = "/usr/lib/openssh/sftp-server -e -l DEBUG3";
    server.configure(&format!("Subsystem sftp {program} 2>>{}", log.display()));
    server.restart().await;
    let session = server.connect().await.unwrap();
    let files = session.files().await.unwrap();
    let path = server.path("large");
    put(&files, path.to_str().unwrap(), &vec![7; BYTES])
        .await
        .unwrap();

    let written = written_between_syncs(&std::fs::read_to_string(&log).unwrap());
    println!("{written:?}");
    assert_eq!(written.iter().sum::<u64>(), BYTES as u64);
    assert_eq!(written.last(), Some(&0), "the last bytes are on the disk as well");
    let most = *written.iter().max().unwrap();
    assert!(most <= 33 << 20, "{most} bytes wait for the disk");
}

#[tokio::test]
async fn transfers_beyond_the_bound_are_refused_and_a_forgotten_one_holds_nobody_up() {
    let server = Sshd::start().await;
    let session = server.connect().await.unwrap();
    let files = session.files().await.unwrap();
    let source = server.path("source");
    std::fs::write(&source, noise("file", 20_000_000)).unwrap();
    let path = source.to_str().unwrap();
    let mut idle = Vec::new();
    let refused = loop {
        match Arc::clone(&files).read(path, 0).await {
            Ok(download) => idle.push(download),
            Err(error) => break error,
        }
        assert!(idle.len() < 100, "no end to it");
    };
    assert_eq!(refused, Error::Busy);
    assert!(refused.is_retryable());
    // Nobody reads any of them.
    assert_eq!(files.stat(path).await.unwrap().bytes, 20_000_000);
    echoes(&*session).await;
    drop(idle.pop());
    let freed = eventually("a place is free again", PLENTY, async || {
        Arc::clone(&files).read(path, 0).await.ok()
    })
    .await;
    assert_eq!(all(freed).await.unwrap().len(), 20_000_000);
}

#[tokio::test]
async fn a_lost_connection_ends_a_transfer_and_files_are_shared_until_then() {
    let mut server = Sshd::start().await;
    let session = server.connect().await.unwrap();
    let files = session.files().await.unwrap();
    assert!(Arc::ptr_eq(&files, &session.files().await.unwrap()));
    let source = server.path("source");
    std::fs::write(&source, noise("file", 20_000_000)).unwrap();
    let download = Arc::clone(&files)
        .read(source.to_str().unwrap(), 0)
        .await
        .unwrap();
    server.kill();
    assert!(matches!(all(download).await, Err(Error::Lost { .. })));
    assert!(!files.are_usable());
    assert_eq!(session.files().await.err(), Some(Ssh::Closed));
}

#[tokio::test]
async fn a_server_without_sftp_is_named_and_leaves_the_connection_alone() {
    let mut server = Sshd::start().await;
    server.configure("Subsystem sftp /no/such/program");
    server.restart().await;
    let session = server.connect().await.unwrap();
    let refused = session.files().await.err();
    assert_eq!(refused, Some(Ssh::Protocol("the server has no SFTP".to_owned())));
    echoes(&*session).await;
}

#[tokio::test]
async fn a_tunnel_carries_both_ways_and_ends_with_either_end() {
    let server = Sshd::start().await;
    let session = server.connect().await.unwrap();
    let service = TcpListener::bind("127.44.9.3:0").await.unwrap();
    let to = service.local_addr().unwrap();
    let mut near = session.tunnel(to, PLENTY).await.unwrap();
    let (mut far, _) = service.accept().await.unwrap();
    let sent = noise("file", 3_000_000);
    let (_, back) = tokio::join!(
        async {
            near.write_all(&sent).await.unwrap();
            near.flush().await.unwrap();
        },
        async {
            let mut got = vec![0; sent.len()];
            far.read_exact(&mut got).await.unwrap();
            far.write_all(&got).await.unwrap();
            far.shutdown().await.unwrap();
            got
        }
    );
    assert!(back == sent);
    let mut returned = Vec::new();
    timeout(PLENTY, near.read_to_end(&mut returned))
        .await
        .unwrap()
        .unwrap();
    assert!(returned == sent);

    let near = session.tunnel(to, PLENTY).await.unwrap();
    let (mut far, _) = service.accept().await.unwrap();
    drop(near);
    assert_eq!(timeout(PLENTY, far.read(&mut [0; 1])).await.unwrap().unwrap(), 0);
}

#[tokio::test]
async fn the_reasons_why_there_is_no_tunnel_are_told_apart() {
    let mut server = Sshd::start().await;
    let session = server.connect().await.unwrap();
    let nobody = {
        let listener = TcpListener::bind("127.44.9.3:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let refused = session.tunnel(nobody, PLENTY).await.err();
    assert_eq!(refused, Some(Ssh::NotListening(nobody)));
    server.pause();
    let silent = session.tunnel(nobody, BRIEF).await.err();
    assert_eq!(silent, Some(Ssh::TimedOut(BRIEF)));
    server.resume();
    session.ping(PLENTY).await.unwrap();

    server.configure("AllowTcpForwarding no");
    server.restart().await;
    assert_eq!(session.tunnel(nobody, PLENTY).await.err(), Some(Ssh::Closed));
    let session = server.connect().await.unwrap();
    let forbidden = session.tunnel(nobody, PLENTY).await.err();
    assert_eq!(forbidden, Some(Ssh::ForwardingForbidden(nobody)));
    echoes(&*session).await;
}

#[tokio::test]
async fn a_tunnel_whose_user_does_not_read_is_cut_and_holds_nobody_up() {
    let server = Sshd::start().await;
    let session = server.connect().await.unwrap();
    let service = TcpListener::bind("127.44.9.3:0").await.unwrap();
    let idle = session
        .tunnel(service.local_addr().unwrap(), PLENTY)
        .await
        .unwrap();
    let (mut far, _) = service.accept().await.unwrap();
    let flood = tokio::spawn(async move {
        let block = vec![0; 64 * 1024];
        let mut sent = 0;
        while far.write_all(&block).await.is_ok() {
            sent += block.len();
        }
        sent
    });
    let sent = timeout(PLENTY, flood).await.unwrap().unwrap();
    assert!(sent >= 8 * 1024 * 1024, "{sent}");
    echoes(&*session).await;
    drop(idle);
}

#[tokio::test]
async fn behind_a_loopback_address_a_tunnel_serves_the_first_caller_alone() {
    let server = Sshd::start().await;
    let session = server.connect().await.unwrap();
    let service = TcpListener::bind("127.44.9.3:0").await.unwrap();
    let to = service.local_addr().unwrap();
    let address = tunnel::once(&*session, to, PLENTY).await.unwrap();
    assert!(address.ip().is_loopback());
    let mut caller = TcpStream::connect(address).await.unwrap();
    let (mut far, _) = service.accept().await.unwrap();
    caller.write_all(b"hello").await.unwrap();
    let mut heard = [0; 5];
    far.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"hello");
    eventually("nobody listens there any more", PLENTY, async || {
        TcpStream::connect(address).await.is_err().then_some(())
    })
    .await;
    drop(far);
    assert_eq!(
        timeout(PLENTY, caller.read(&mut heard)).await.unwrap().unwrap(),
        0
    );

    let unused = tunnel::once(&*session, to, BRIEF).await.unwrap();
    let (mut far, _) = service.accept().await.unwrap();
    // Nobody calls.
    assert_eq!(timeout(PLENTY, far.read(&mut heard)).await.unwrap().unwrap(), 0);
    assert!(TcpStream::connect(unused).await.is_err());
}
