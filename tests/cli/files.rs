//! A VM's files: what is asked of the server, and what is on this machine afterwards.

use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::program::ask;
use crate::server::{Say, Server};

const GET: &str = "GET /api/admin/vm-pool/vm-1/ssh/files?path=%2Ftmp%2Fa+b";
const PUT: &str = "PUT /api/admin/vm-pool/vm-1/ssh/files?path=%2Ftmp%2Fa+b&mode=600";
const LIST: &str = "GET /api/admin/vm-pool/vm-1/ssh/files/list?path=%2Ftmp";

const WHOLE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\ncontent-length: 7\r\n\
    connection: close\r\n\r\ncontent";
/// Shorter than it says.
const BROKEN: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\ncontent-length: 70\r\n\
    connection: close\r\n\r\ncontent";

#[tokio::test]
async fn an_upload_sends_the_file_with_its_size_and_says_where_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("overlay");
    std::fs::write(&file, "what is in it").unwrap();
    let reply = json!({"success": true, "vmId": "vm-1", "path": "/tmp/a b", "bytes": 13});
    let server = Server::start([(PUT, vec![Say::Json(200, reply)])]).await;
    let file = file.display().to_string();
    let arguments = ["vm", "upload", "vm-1", &file, "/tmp/a b", "--mode", "600"];
    let run = ask(&server, &arguments).await;
    assert_eq!(
        run.answer(),
        format!("{file} is at /tmp/a b on vm-1 (13 bytes)\n")
    );
    let request = server.only(PUT);
    assert_eq!(request.body, "what is in it");
    assert_eq!(request.header("content-length"), Some("13"));
    assert_eq!(request.header("content-type"), Some("application/octet-stream"));

    let missing = ask(&server, &["vm", "upload", "vm-1", "/not/there", "/tmp/a b"]).await;
    assert!(
        missing.failed(1).contains("/not/there cannot be read"),
        "{missing:?}"
    );
}

#[tokio::test]
async fn a_download_is_there_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("here");
    let path = file.display().to_string();
    let server = Server::start([(GET, vec![Say::Raw(BROKEN), Say::Raw(WHOLE)])]).await;
    let arguments = ["vm", "download", "vm-1", "/tmp/a b", &path];

    let broken = ask(&server, &arguments).await;
    assert_ne!(broken.status, Some(0), "{broken:?}");
    assert!(broken.stderr.contains("broke off after 7 bytes"), "{broken:?}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);

    let whole = ask(&server, &arguments).await;
    assert_eq!(whole.answer(), format!("{path} (7 bytes)\n"));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "content");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    // Like any new file here, whatever the umask is.
    let other = folder.path().join("other");
    std::fs::write(&other, "").unwrap();
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&file), mode(&other));

    // Into a folder, under its own name.
    let into = folder.path().display().to_string();
    ask(&server, &["vm", "download", "vm-1", "/tmp/a b", &into])
        .await
        .answer();
    assert_eq!(
        std::fs::read_to_string(folder.path().join("a b")).unwrap(),
        "content"
    );
}

#[tokio::test]
async fn what_the_server_refuses_is_said_in_its_words() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("here").display().to_string();
    let missing = json!({"error": "/tmp/a b does not exist on VM vm-1", "code": "FILE_NOT_FOUND"});
    let forbidden = json!({"error": "/tmp/a b is not below a folder", "code": "FILE_FORBIDDEN"});
    let refusals = vec![Say::Json(404, missing), Say::Json(403, forbidden)];
    let server = Server::start([(GET, refusals)]).await;
    let download = async || ask(&server, &["vm", "download", "vm-1", "/tmp/a b", &path]).await;
    assert_eq!(
        download().await.failed(1),
        "error: /tmp/a b does not exist on VM vm-1\n help: `understudy vm files VM FOLDER` lists what is there\n"
    );
    // No token would help.
    assert_eq!(
        download().await.failed(2),
        "error: /tmp/a b is not below a folder\n"
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);

    let run = ask(&server, &["vm", "download", "vm-1", "/tmp/a b", "/nonexistent/x"]).await;
    assert_eq!(
        run.failed(1),
        "error: /nonexistent/x cannot be written: entity not found\n"
    );
}

#[tokio::test]
async fn a_folder_is_listed() {
    let entries = json!([
        {"name": "shows", "kind": "folder", "bytes": 4096, "modified": "2020-01-01T11:00:00.000Z"},
        {"name": "a b", "kind": "file", "bytes": 7, "modified": null},
    ]);
    let reply = json!({"vmId": "vm-1", "path": "/tmp", "entries": entries});
    let server = Server::start([(LIST, vec![Say::Json(200, reply.clone())])]).await;
    let run = ask(&server, &["vm", "files", "vm-1", "/tmp"]).await;
    let lines: Vec<&str> = run.answer().lines().collect();
    assert!(lines[0].starts_with("NAME") && lines.len() == 4, "{run:?}");
    assert!(
        lines[2].contains("shows") && lines[2].contains("folder"),
        "{run:?}"
    );
    let run = ask(&server, &["--json", "vm", "files", "vm-1", "/tmp"]).await;
    assert_eq!(run.json(), reply);
}
