//! `check-config`.

use std::path::PathBuf;

use tempfile::TempDir;

use crate::program::run;

fn file(text: &str) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("understudy.toml");
    std::fs::write(&path, text).unwrap();
    (dir, path)
}

/// A cloud that every build can have.
const CLOUD: [(&str, &str); 2] = [
    ("UNDERSTUDY__CLOUD__PROVIDER", "rest"),
    ("UNDERSTUDY__CLOUD__ENDPOINT_URL", "http://127.0.0.1:9"),
];

#[tokio::test]
async fn every_key_is_shown_with_its_value_and_source() {
    let (_dir, path) = file("[pool]\nwarm_count = 3\n");
    let path = path.to_str().unwrap();
    let environment = [CLOUD[0], CLOUD[1], ("PORT", "4000")];
    let shown = run(&environment, &["check-config", path]).await;
    let line = |key: &str| {
        let line = shown
            .answer()
            .lines()
            .find(|line| line.split(' ').next() == Some(key));
        line.unwrap_or_else(|| panic!("no {key}: {shown:?}")).to_owned()
    };
    assert!(line("pool.warm_count").contains(" 3 "));
    assert!(
        line("pool.warm_count").ends_with(&format!("{path}:2")),
        "{}",
        line("pool.warm_count")
    );
    assert!(line("server.listen").contains("127.0.0.1:4000"));
    assert!(line("server.listen").ends_with("environment PORT"));
    assert!(line("failover.cap").ends_with("default"));
    assert!(shown.stderr.contains("valid"), "{shown:?}");

    let changed = run(&environment, &["check-config", path, "--changed"]).await;
    assert_eq!(changed.answer().lines().count(), 6, "{changed:?}");
}

#[tokio::test]
async fn the_reference_file_is_valid() {
    let reference = concat!(env!("CARGO_MANIFEST_DIR"), "/config/understudy.toml");
    let json = run(&[], &["check-config", reference, "--json"]).await.json();
    assert_eq!(json["valid"], true);
    let settings = json["settings"].as_array().unwrap();
    assert!(
        settings.iter().all(|setting| setting["source"] == "default"),
        "{json}"
    );
    let warm = settings
        .iter()
        .find(|setting| setting["key"] == "pool.warm_count")
        .unwrap();
    assert_eq!(warm["value"], "2");
}

#[tokio::test]
async fn what_this_build_cannot_do_is_told_before_it_is_started() {
    for (variables, without, feature) in [
        (&[][..], cfg!(not(feature = "ec2")), "built without EC2"),
        (
            &[
                CLOUD[0],
                CLOUD[1],
                ("ARCHIVE_S3_BUCKET", "recordings"),
                ("UNDERSTUDY__SSH__KEY_PATH", "/etc/understudy/key"),
            ],
            cfg!(not(feature = "s3")),
            "built without S3",
        ),
        (
            &[
                CLOUD[0],
                CLOUD[1],
                ("UNDERSTUDY__SSH__ENABLED", "true"),
                (
                    "UNDERSTUDY__SSH__KEY_SECRET_ARN",
                    "arn:aws:secretsmanager:us-east-1:123456789012:secret:key-AbCdEf",
                ),
            ],
            cfg!(not(feature = "secrets-manager")),
            "built without AWS Secrets Manager",
        ),
        (
            &[
                CLOUD[0],
                CLOUD[1],
                ("UNDERSTUDY__OTLP__ENDPOINT", "http://127.0.0.1:4318"),
            ],
            cfg!(not(feature = "otlp")),
            "built without OTLP",
        ),
    ] {
        let told = run(variables, &["check-config"]).await;
        let json = run(variables, &["check-config", "--json"]).await;
        assert_eq!(told.status, Some(i32::from(without)), "{told:?}");
        assert_eq!(json.status, told.status, "{json:?}");
        assert_eq!(told.stderr.contains(feature), without, "{told:?}");
        assert_eq!(
            json.json()["leftOut"].as_array().unwrap().len(),
            usize::from(without)
        );
    }
}

#[tokio::test]
async fn a_wrong_key_is_told_with_file_line_and_the_nearest_valid_one() {
    let (_dir, path) = file("[pool]\nwarm_cuont = 3\nmax_instances = \"many\"\n");
    let path = path.to_str().unwrap();
    let run_ = run(&[], &["check-config", path]).await;
    let told = run_.failed(2);
    assert!(told.contains(&format!(
        "{path}:2: there is no key pool.warm_cuont; did you mean pool.warm_count?"
    )));
    assert!(told.contains(&format!("{path}:3: pool.max_instances")), "{told}");

    let json = run(&[], &["check-config", path, "--json"]).await;
    assert_eq!(json.status, Some(2));
    assert_eq!(json.json()["problems"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_file_that_is_not_there_or_not_toml_is_told_as_such() {
    let run_ = run(&[], &["check-config", "no/such/file.toml"]).await;
    assert!(
        run_.failed(2)
            .contains("no/such/file.toml cannot be read: No such file"),
        "{run_:?}"
    );
    let (_dir, path) = file("[pool\n");
    let run_ = run(&[], &["check-config", path.to_str().unwrap()]).await;
    assert!(run_.failed(2).contains(":1: not valid TOML"), "{run_:?}");
}

#[tokio::test]
async fn a_secret_is_never_printed() {
    let environment = [
        CLOUD[0],
        CLOUD[1],
        ("COORDINATOR_ADMIN_TOKEN", "hush-hush-hush-hush"),
        ("OBS_WEBSOCKET_PASSWORD", "sesame-sesame"),
    ];
    for arguments in [&["check-config"][..], &["check-config", "--json"]] {
        let run = run(&environment, arguments).await;
        assert!(run.answer().contains("(secret)"), "{run:?}");
        assert!(!format!("{run:?}").contains("hush-hush"), "{run:?}");
        assert!(!format!("{run:?}").contains("sesame"), "{run:?}");
    }
}

#[tokio::test]
async fn what_is_legal_but_probably_not_meant_is_a_warning() {
    let environment = [
        CLOUD[0],
        CLOUD[1],
        ("COORDINATOR_AUTH", "compat"),
        ("FIREBASE_DATABASE_URL", "https://example.org"),
    ];
    let run_ = run(&environment, &["check-config"]).await;
    assert_eq!(run_.status, Some(0));
    assert!(
        run_.stderr.contains("warning: FIREBASE_DATABASE_URL is set"),
        "{run_:?}"
    );
    let json = run(&environment, &["check-config", "--json"]).await.json();
    assert!(json["warnings"].as_array().unwrap().len() >= 2, "{json}");
}

#[tokio::test]
async fn serve_refuses_a_wrong_configuration_before_it_does_anything() {
    let (_dir, path) = file("[pool]\nwarm_cuont = 3\n");
    let path = path.to_str().unwrap();
    let refused = run(&[], &["serve", "--config", path]).await;
    assert!(
        refused.failed(2).contains("did you mean pool.warm_count?"),
        "{refused:?}"
    );
    // Listening beyond loopback takes a token: a rule between two keys, one of them from the command line.
    let refused = run(&[], &["serve", "--listen", "0.0.0.0:0"]).await;
    assert!(refused.failed(2).contains("server.admin_token"), "{refused:?}");
    assert!(refused.stderr.contains("server.listen: --listen"), "{refused:?}");
}

#[tokio::test]
async fn a_show_template_of_ones_own_is_checked_too() {
    let templates = tempfile::tempdir().unwrap();
    let template = templates.path().join("mine.toml");
    let (_dir, path) = file(&format!("[shows]\ntemplates_path = {:?}\n", templates.path()));
    let arguments = ["check-config", path.to_str().unwrap(), "--json"];
    let studio = "[studio]\nscene_collection = \"Show\"\nprogram_scene = \"One\"\n[[studio.scenes]]\nname = ";
    std::fs::write(&template, format!("{studio}\"One\"\n")).unwrap();
    let sound = run(&[], &arguments).await.json();
    assert_eq!(sound["templates"], serde_json::json!(["mine", "multi-camera"]));
    std::fs::write(&template, format!("{studio}\"{{{{ one\"\n")).unwrap();
    let run = run(&[], &arguments[..2]).await;
    let place = format!("{}, line 5", template.display());
    assert!(run.failed(2).contains(&place), "{run:?}");
}
