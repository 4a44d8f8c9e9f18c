//! What `understudy show configure` makes of its file, and of the server's answer.

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::program::{Run, ask};
use crate::server::{Say, Server};

const CONFIGURE: &str = "PUT /api/competitions/finals/show/config";

#[tokio::test]
async fn show_configure_sends_what_its_file_says() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("finals.toml");
    let text = "template = \"multi-camera\"\n[variables]\ntitle = \"Finals\"\n[stream]\nkey = \"hush\"\n";
    std::fs::write(&file, text).unwrap();
    let making = json!({"success": true, "state": "making", "vmId": "vm-33334444", "differences": []});
    let server = Server::start([(CONFIGURE, vec![Say::Json(200, making)])]).await;
    let path = file.to_str().unwrap();
    let run = ask(&server, &["show", "configure", "finals", "--file", path, "--now"]).await;
    assert_eq!(
        run.answer(),
        "finals is configured; its studio is being made on vm-33334444\n"
    );
    let expected = json!({
        "template": "multi-camera", "variables": {"title": "Finals"}, "stream": {"key": "hush"}, "apply": "now",
    });
    assert_eq!(server.only(CONFIGURE).json(), expected);
}

fn file(text: &str) -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("finals.toml");
    std::fs::write(&file, text).unwrap();
    let path = file.to_str().unwrap().to_owned();
    (folder, path)
}

async fn refused(status: u16, answer: Value, exit: i32) -> (Run, String) {
    let (_folder, path) = file("template = \"multi-camera\"\n");
    let server = Server::start([(CONFIGURE, vec![Say::Json(status, answer)])]).await;
    let run = ask(&server, &["show", "configure", "finals", "--file", &path]).await;
    assert_eq!(run.status, Some(exit), "{run:?}");
    (run, path)
}

#[tokio::test]
async fn what_is_kept_for_later_is_told_as_that() {
    let (_folder, path) = file("template = \"multi-camera\"\n");
    let kept = json!({"success": true, "state": "kept", "vmId": "vm-33334444", "differences": []});
    let server = Server::start([(CONFIGURE, vec![Say::Json(200, kept)])]).await;
    let run = ask(
        &server,
        &["show", "configure", "finals", "--file", &path, "--later"],
    )
    .await;
    assert_eq!(
        run.answer(),
        "finals is configured for its next VM; vm-33334444 is left as it is\n"
    );
}

#[tokio::test]
async fn a_mistake_in_the_file_is_told_with_its_line_and_without_the_key() {
    let (_folder, path) = file("template = \"multi-camera\"\n[stream]\nkey = \"hush\n");
    let server = Server::start([]).await;
    let run = ask(&server, &["show", "configure", "finals", "--file", &path]).await;
    assert_eq!(run.status, Some(2), "{run:?}");
    let begins = format!("error: {path}, line 3: ");
    assert!(run.stderr.starts_with(&begins), "{}", run.stderr);
    assert!(!run.stderr.contains("hush"), "{}", run.stderr);
}

#[tokio::test]
async fn a_refusal_names_the_file_and_the_key() {
    for (field, error, said) in [
        ("template", "missing field `template`", "missing field `template`"),
        (
            "stream.server",
            "an address that begins with rtmp://",
            "stream.server: an address that begins with rtmp://",
        ),
    ] {
        let (run, path) = refused(400, json!({"error": error, "field": field}), 2).await;
        assert!(
            run.stderr.starts_with(&format!("error: {path}: {said}\n")),
            "{}",
            run.stderr
        );
    }
}

#[tokio::test]
async fn on_air_the_options_of_the_command_line_are_offered() {
    let answer = json!({
        "error": "show finals is on_air; say `\"apply\": \"now\"` to change it on air", "code": "WRONG_PHASE",
        "competitionId": "finals", "phase": "on_air",
    });
    let (run, _) = refused(409, answer, 6).await;
    assert!(
        run.stderr.starts_with("error: finals is on air\n"),
        "{}",
        run.stderr
    );
    for told in ["--now", "--later"] {
        assert!(run.stderr.contains(told), "{}", run.stderr);
    }
    assert!(!run.stderr.contains("apply"), "{}", run.stderr);
}
