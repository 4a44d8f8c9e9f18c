//! Files up and down over HTTP, on a real OpenSSH server: whole, bounded, and nothing beside their folders.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::StreamBody;
use hyper::body::Frame;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use understudy::actors::news::Item;
use understudy::config::Config;

use crate::executions::served_with;
use crate::operations::exec;
use crate::served::{Answer, LIMIT, Served, send};
use crate::support::PLENTY;
use crate::support::eventually::eventually;
use crate::support::memory::{peak_memory_kib, reset_peak_memory};
use crate::support::socketio::Script;
use crate::support::sshd::Sshd;

/// One VM whose files may be moved below a folder of the test's.
async fn served(sshd: &Sshd, change: impl FnOnce(&mut Config)) -> (Served, String) {
    std::fs::create_dir(sshd.path("root")).unwrap();
    let root = sshd.path("root").display().to_string();
    served_with(sshd, |config| {
        config.ssh.file_roots = vec![root, "/not/on/this/machine".to_owned()];
        change(config);
    })
    .await
}

fn at(vm: &str, path: &Path) -> String {
    let path = path.display().to_string();
    let path = path
        .replace('%', "%25")
        .replace(' ', "%20")
        .replace('ü', "%C3%BC");
    format!("/api/admin/vm-pool/{vm}/ssh/files?path={path}")
}

async fn put(served: &Served, vm: &str, path: &Path, body: impl Into<reqwest::Body>) -> Answer {
    send(served.request(Method::PUT, &at(vm, path)).body(body)).await
}

async fn get(served: &Served, vm: &str, path: &Path) -> Answer {
    served.get(&at(vm, path)).await
}

/// Bytes that are not the same everywhere.
fn content(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| ((at * 31) ^ (at >> 11)) as u8).collect()
}

/// What the record says of the execution of this kind and number, counted from 1, once it has ended.
async fn ended(served: &Served, kind: &str, number: usize) -> Value {
    let look = async || {
        let page = served.get("/api/admin/executions").await.is(200);
        let executions = page["executions"].as_array().unwrap();
        let mut of_kind = executions
            .iter()
            .rev()
            .filter(|execution| execution["kind"] == kind);
        let execution = of_kind.nth(number - 1)?;
        (execution["state"] != "running").then(|| execution.clone())
    };
    eventually(&format!("{kind} {number} has ended"), LIMIT, look).await
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_goes_up_and_comes_down_as_it_was_and_that_is_written_down() {
    let sshd = Sshd::start().await;
    let (served, vm) = served(&sshd, |_| {}).await;
    let mut news = served.coordinator.news();
    let path = sshd.path("root").join("tast über 100%.bin");
    let sent = content(5_000_001);

    let request = served.request(Method::PUT, &format!("{}&mode=750", at(&vm, &path)));
    let reply = send(request.body(sent.clone())).await.is(200);
    assert_eq!(
        (&reply["success"], &reply["bytes"], &reply["vmId"]),
        (&json!(true), &json!(sent.len()), &json!(vm))
    );
    assert_eq!(std::fs::read(&path).unwrap(), sent);
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o750);

    let response = served.request(Method::GET, &at(&vm, &path)).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("content-length"), sent.len().to_string());
    assert!(header("content-disposition").ends_with("tast%20%C3%BCber%20100%25.bin"));
    assert!(header("x-execution-id").starts_with("exec-"));
    assert!(response.bytes().await.unwrap() == sent);

    let rest = served.request(Method::GET, &at(&vm, &path));
    let rest = rest.header("Range", "bytes=5000000-").send().await.unwrap();
    assert_eq!(rest.status(), 206);
    assert_eq!(rest.headers()["content-range"], "bytes 5000000-5000000/5000001");
    assert!(rest.bytes().await.unwrap() == sent[5_000_000..]);
    for first in ["5000001", "18446744073709551615"] {
        let nothing = served.request(Method::GET, &at(&vm, &path));
        let nothing = nothing.header("Range", format!("bytes={first}-"));
        let nothing = nothing.send().await.unwrap();
        assert_eq!(nothing.status(), 416);
        assert_eq!(nothing.headers()["content-range"], "bytes */5000001");
        let said: Value = nothing.json().await.unwrap();
        assert_eq!(said["code"], "PAST_THE_END");
    }

    let folder = format!(
        "/api/admin/vm-pool/{vm}/ssh/files/list?path={}",
        sshd.path("root").display()
    );
    let listed = served.get(&folder).await.is(200);
    let entry = &listed["entries"][0];
    assert_eq!(
        (&entry["name"], &entry["kind"], &entry["bytes"]),
        (&json!("tast über 100%.bin"), &json!("file"), &json!(sent.len()))
    );

    let upload = ended(&served, "upload", 1).await;
    assert_eq!(
        (&upload["bytes"], &upload["path"]),
        (&json!(sent.len()), &json!(path.display().to_string()))
    );
    assert_eq!(upload["state"], "closed");
    let download = ended(&served, "download", 1).await;
    assert_eq!(
        (&download["state"], &download["bytes"], &download["fromByte"]),
        (&json!("closed"), &json!(sent.len()), &Value::Null)
    );
    // The record says which bytes were sent.
    let rest = ended(&served, "download", 2).await;
    assert_eq!(
        (&rest["bytes"], &rest["fromByte"]),
        (&json!(1), &json!(5_000_000))
    );
    let nothing = ended(&served, "download", 3).await;
    assert_eq!(
        (&nothing["state"], &nothing["bytes"], &nothing["fromByte"]),
        (&json!("notStarted"), &json!(0), &json!(5_000_001))
    );
    assert_eq!(ended(&served, "list", 1).await["state"], "closed");
    let mut last = None;
    while let Ok(item) = news.try_recv() {
        if let Item::Transferred(far) = item
            && far.is_upload
        {
            assert_eq!(far.bytes_total, Some(sent.len() as u64));
            last = Some((far.bytes, far.done));
        }
    }
    assert_eq!(last, Some((sent.len() as u64, true)));
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_hears_how_far_a_file_is() {
    let sshd = Sshd::start().await;
    let (served, vm) = served(&sshd, |_| {}).await;
    let mut client = Script::connected(&served.url(""), &json!({})).await;
    let path = sshd.path("root").join("file");
    let reply = put(&served, &vm, &path, content(300_000)).await.is(200);
    let told = client
        .event_with("fileProgress", |event| event["done"] == true)
        .await;
    let expected = json!({
        "id": reply["executionId"], "vmId": vm, "path": path.display().to_string(), "direction": "upload",
        "bytes": 300_000, "totalBytes": 300_000, "done": true,
    });
    assert_eq!(told, expected);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_outside_the_folders_is_touched_not_even_through_a_link() {
    let sshd = Sshd::start().await;
    let (served, vm) = served(&sshd, |_| {}).await;
    let root = sshd.path("root");
    let secret = sshd.path("secret");
    std::fs::write(&secret, "hush").unwrap();
    std::os::unix::fs::symlink(&secret, root.join("link")).unwrap();
    std::os::unix::fs::symlink(sshd.path(""), root.join("out")).unwrap();
    std::fs::create_dir(root.join("folder")).unwrap();
    let beside = sshd.path("root-beside");
    for path in [&secret, &beside, &root.join("link"), &root.join("out/secret")] {
        get(&served, &vm, path).await.refuses(403, "FILE_FORBIDDEN");
    }
    for path in [&secret, &beside, &root.join("out/new")] {
        put(&served, &vm, path, "x").await.refuses(403, "FILE_FORBIDDEN");
    }
    let list = |path: &Path| format!("/api/admin/vm-pool/{vm}/ssh/files/list?path={}", path.display());
    for path in [&sshd.path(""), &root.join("out")] {
        served.get(&list(path)).await.refuses(403, "FILE_FORBIDDEN");
    }
    for (path, field) in [
        ("root/file".to_owned(), "path"),
        (format!("{}/../secret", root.display()), "path"),
    ] {
        let refused = get(&served, &vm, Path::new(&path)).await.is(400);
        assert_eq!(refused["field"], field);
    }
    get(&served, &vm, &root.join("missing"))
        .await
        .refuses(404, "FILE_NOT_FOUND");
    let nowhere = put(&served, &vm, &root.join("missing/new"), "x").await;
    let nowhere = nowhere.refuses(404, "FILE_NOT_FOUND");
    let folder = root.join("missing").display().to_string();
    assert_eq!(nowhere["error"], format!("{folder} does not exist on VM {vm}"));
    std::fs::write(root.join("file"), "x").unwrap();
    let below = put(&served, &vm, &root.join("file/new"), "x").await;
    let listed = served.get(&list(&root.join("file"))).await;
    for refused in [below, listed] {
        let said = refused.refuses(409, "WRONG_KIND")["error"].clone();
        let file = root.join("file").display().to_string();
        assert_eq!(said, format!("{file} on VM {vm} is not a folder"));
    }
    for path in [root.display().to_string(), format!("{}/", root.display())] {
        let said = put(&served, &vm, Path::new(&path), "x").await;
        let said = said.refuses(409, "WRONG_KIND")["error"].clone();
        let root = root.display();
        assert_eq!(
            said,
            format!("{root} is a folder on VM {vm}; say the file's name too")
        );
    }
    get(&served, &vm, &root.join("folder"))
        .await
        .refuses(409, "WRONG_KIND");
    put(&served, &vm, &root.join("folder"), "x")
        .await
        .refuses(409, "WRONG_KIND");

    // What is put where a link is takes the link's place, and what it led to stays as it was.
    put(&served, &vm, &root.join("link"), "new").await.is(200);
    assert_eq!(std::fs::read_to_string(&secret).unwrap(), "hush");
    assert_eq!(std::fs::read_to_string(root.join("link")).unwrap(), "new");
    assert!(!std::fs::symlink_metadata(root.join("link")).unwrap().is_symlink());
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_upload_has_its_answer_however_much_is_on_its_way() {
    const TRIES: usize = 60;
    let sshd = Sshd::start().await;
    let (served, vm) = served(&sshd, |_| {}).await;
    let bytes = content(64 * 1024);
    for attempt in 0..TRIES {
        let piece = Bytes::from(bytes.clone());
        let pieces = (0..512).map(move |_| Ok::<_, std::io::Error>(Frame::data(piece.clone())));
        let body = reqwest::Body::wrap(StreamBody::new(stream::iter(pieces)));
        // Refused by the coordinator, or for what it asks for: before anything of the body was read.
        let (path, status) = [("/etc/x", 403), ("etc/x", 400)][attempt % 2];
        put(&served, &vm, Path::new(path), body).await.is(status);
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_breaks_off_stalls_or_is_too_large_leaves_what_was_there() {
    let sshd = Sshd::start().await;
    let (served, vm) = served(&sshd, |config| {
        config.ssh.upload_bytes_max = 100_000;
        config.ssh.transfer_stall = Duration::from_millis(700);
    })
    .await;
    let path = sshd.path("root").join("file");
    std::fs::write(&path, "before").unwrap();
    let unharmed = async || {
        let alone = async || (names(&sshd.path("root")) == ["file"]).then_some(());
        eventually("nothing else is there", PLENTY, alone).await;
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "before");
    };

    // Its size is known at once, or only as it comes.
    put(&served, &vm, &path, content(100_001))
        .await
        .refuses(413, "TOO_LARGE");
    let pieces = (0..20).map(|_| Ok::<_, std::io::Error>(Frame::data(Bytes::from(content(10_000)))));
    let unsized_body = reqwest::Body::wrap(StreamBody::new(stream::iter(pieces)));
    put(&served, &vm, &path, unsized_body)
        .await
        .refuses(413, "TOO_LARGE");
    unharmed().await;

    let head = format!(
        "PUT {} HTTP/1.1\r\nhost: x\r\ncontent-length: 50000\r\n\r\n",
        at(&vm, &path)
    );
    let half = [head.as_bytes(), &content(25_000)].concat();
    let mut broken = TcpStream::connect(served.address).await.unwrap();
    broken.write_all(&half).await.unwrap();
    drop(broken);
    let record = ended(&served, "upload", 2).await;
    assert_eq!(record["state"], "closed", "{record}");
    assert!(
        record["reason"].as_str().unwrap().contains("broke off"),
        "{record}"
    );
    unharmed().await;

    let mut stalled = TcpStream::connect(served.address).await.unwrap();
    stalled.write_all(&half).await.unwrap();
    let mut answer = vec![0; 4096];
    let read = tokio::time::timeout(LIMIT, stalled.read(&mut answer))
        .await
        .unwrap();
    let answer = String::from_utf8_lossy(&answer[..read.unwrap()]).into_owned();
    assert!(
        answer.starts_with("HTTP/1.1 504") && answer.contains("STALLED"),
        "{answer}"
    );
    let record = ended(&served, "upload", 3).await;
    assert!(
        record["reason"].as_str().unwrap().contains("nothing moved"),
        "{record}"
    );
    unharmed().await;
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_stops_fills_no_memory_and_holds_up_nobody() {
    const BYTES: usize = 96 << 20;
    let sshd = Sshd::start().await;
    let (served, vm) = served(&sshd, |config| config.ssh.transfer_stall = Duration::from_secs(3)).await;
    let path = sshd.path("root").join("large");
    std::fs::File::create(&path)
        .unwrap()
        .set_len(BYTES as u64)
        .unwrap();

    reset_peak_memory();
    let before = peak_memory_kib();
    let mut response = served.request(Method::GET, &at(&vm, &path)).send().await.unwrap();
    assert_eq!(response.headers()["content-length"], BYTES.to_string());
    response.chunk().await.unwrap().unwrap();
    // Meanwhile the same connection does something else.
    let reply = exec(&served, &vm, json!({"command": "echo there"})).await.is(200);
    assert_eq!(reply["stdout"], "there\n");
    let record = ended(&served, "download", 1).await;
    assert!(
        record["reason"].as_str().unwrap().contains("nothing moved"),
        "{record}"
    );
    let grown_kib = peak_memory_kib() - before;
    assert!(grown_kib < 48 << 10, "{grown_kib} KiB");
    // What comes then is not the whole file, and does not look like it.
    let rest = tokio::time::timeout(LIMIT, response.bytes()).await.unwrap();
    assert!(rest.is_err());
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_is_cancelled_like_anything_else_that_runs() {
    let sshd = Sshd::start().await;
    let (served, vm) = served(&sshd, |_| {}).await;
    let path = sshd.path("root").join("large");
    std::fs::File::create(&path).unwrap().set_len(96 << 20).unwrap();
    let response = served.request(Method::GET, &at(&vm, &path)).send().await.unwrap();
    let id = response.headers()["x-execution-id"].to_str().unwrap().to_owned();
    served
        .post(&format!("/api/admin/executions/{id}/cancel"))
        .await
        .is(200);
    let record = ended(&served, "download", 1).await;
    assert_eq!(record["state"], "cancelled", "{record}");
    assert!(response.bytes().await.is_err());
    served.stop().await;
}
