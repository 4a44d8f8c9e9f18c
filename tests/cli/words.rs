//! Help, version, completions, and mistakes on the command line.

use serde_json::json;

use crate::program::{finished, program, run};

const COMMANDS: [&str; 16] = [
    "serve",
    "demo",
    "rehearse",
    "status",
    "assign",
    "release",
    "show",
    "failover",
    "failovers",
    "hold",
    "resume",
    "vm",
    "config",
    "check-config",
    "doctor",
    "completions",
];

#[tokio::test]
async fn help_names_every_command_and_every_exit_status() {
    let help = run(&[], &["--help"]).await;
    for command in COMMANDS {
        assert!(
            help.answer().contains(&format!("\n  {command} ")),
            "{command}: {help:?}"
        );
    }
    for status in 0..=7 {
        assert!(
            help.answer().contains(&format!("\n  {status}  ")),
            "{status}: {help:?}"
        );
    }
    assert_eq!(help.stderr, "");
}

#[tokio::test]
async fn every_command_has_a_help_text_that_fits_a_terminal() {
    for command in COMMANDS
        .into_iter()
        .chain(["vm list", "vm maintenance", "show start", "config set"])
    {
        let words: Vec<&str> = command.split(' ').chain(["--help"]).collect();
        let help = run(&[], &words).await;
        assert!(help.answer().contains("Usage: understudy"), "{command}: {help:?}");
        assert!(
            help.answer().lines().all(|line| line.chars().count() <= 100),
            "{command}: {help:?}"
        );
        assert!(!help.answer().contains("TODO"), "{command}");
    }
}

#[tokio::test]
async fn the_token_is_never_shown_in_help() {
    let help = run(&[("UNDERSTUDY_TOKEN", "hush-hush")], &["status", "--help"]).await;
    assert!(help.answer().contains("UNDERSTUDY_TOKEN"));
    assert!(!help.answer().contains("hush-hush"));
}

#[tokio::test]
async fn the_version_is_the_packages() {
    let version = run(&[], &["--version"]).await;
    assert_eq!(
        version.answer(),
        concat!("understudy ", env!("CARGO_PKG_VERSION"), "\n")
    );
}

#[tokio::test]
async fn every_shell_gets_completions_that_name_the_commands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(&[], &["completions", shell]).await;
        for word in ["check-config", "failovers", "idempotency-key"] {
            assert!(script.answer().contains(word), "{shell} {word}");
        }
        let json = run(&[], &["completions", shell, "--json"]).await.json();
        assert_eq!(json["script"], script.stdout, "{shell}");
    }
}

/// Where the shell is there, it says whether it understands its completions.
#[tokio::test]
async fn bash_understands_its_completions() {
    let script = run(&[], &["completions", "bash"]).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("understudy.bash");
    std::fs::write(&file, script.answer()).unwrap();
    // A new bash: sources the script, asks what completes `understudy rel`, and says it.
    let ask = format!(
        "source '{}' && COMP_WORDS=(understudy rel) COMP_CWORD=1 && _understudy understudy rel understudy && \
         echo \"${{COMPREPLY[*]}}\"",
        file.display()
    );
    let output = tokio::process::Command::new("bash")
        .args(["--norc", "--noprofile", "-c", &ask])
        .output()
        .await
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "release\n", "{output:?}");
}

#[tokio::test]
async fn a_mistake_is_told_with_what_was_probably_meant() {
    let run_ = run(&[], &["statsu"]).await;
    assert!(run_.failed(2).contains("'status'"), "{run_:?}");
    let run_ = run(&[], &["assign"]).await;
    assert!(run_.failed(2).contains("<SHOW>"), "{run_:?}");
    let run_ = run(&[], &["assign", "a/b"]).await;
    assert!(run_.failed(2).contains("must not contain '/'"), "{run_:?}");
    let run_ = run(&[], &["assign", "finals", "--fallback"]).await;
    assert!(run_.failed(2).contains("--vm"), "{run_:?}");
    let run_ = run(&[], &["assign", "finals", "--wait", "301"]).await;
    assert!(run_.failed(2).contains("at most 300 s"), "{run_:?}");
}

#[tokio::test]
async fn a_mistake_is_json_where_json_was_asked_for() {
    for words in [&["statsu", "--json"][..], &["--json", "assign"], &["--json"]] {
        let run = run(&[], words).await;
        assert_eq!(run.status, Some(2), "{run:?}");
        let json = run.json();
        assert_eq!(json["exitCode"], 2);
        assert!(
            json["error"].as_str().is_some_and(|error| !error.is_empty()),
            "{json}"
        );
        assert_eq!(run.stderr, "");
    }
}

#[tokio::test]
async fn no_command_at_all_shows_the_help() {
    let run = run(&[], &[]).await;
    assert_eq!(run.status, Some(2));
    assert!(run.stderr.contains("Usage: understudy"), "{run:?}");
    assert_ne!(json!(run.stderr), json!(""));
}

#[tokio::test]
async fn an_output_that_cannot_be_written_is_a_failure() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let child = program(&[], &["completions", "fish"])
        .stdout(full)
        .spawn()
        .unwrap();
    let run = finished(child.wait_with_output().await.unwrap());
    assert!(
        run.failed(1)
            .starts_with("error: standard output cannot be written: No space left"),
        "{run:?}"
    );
}
