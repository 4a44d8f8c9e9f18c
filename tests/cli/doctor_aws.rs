//! `doctor` and what is in AWS beside the machines: the archive's bucket and the secret with the SSH key, in moto.

use std::sync::Arc;

use understudy::rehearsal::stage::Stage;

use crate::doctor::{doctor, environment, findings, says, the};
use crate::real::Theatre;
use crate::support::bucket::{Bucket, Spoil};
use crate::support::moto::Moto;
use crate::support::secrets::{StoredSecret, answering};

const KEY_PATH: &str = "UNDERSTUDY__SSH__KEY_PATH";
/// moto checks no key. Whatever else the SDK may find on this machine, it must not look for it.
const SDK: [(&str, &str); 5] = [
    ("AWS_ACCESS_KEY_ID", "test"),
    ("AWS_SECRET_ACCESS_KEY", "test"),
    ("AWS_EC2_METADATA_DISABLED", "true"),
    ("AWS_CONFIG_FILE", "/dev/null"),
    ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
];

fn with(stage: &Stage, others: &[(&str, &str)]) -> Vec<(String, String)> {
    environment(stage, "127.0.0.1:1", &[&SDK[..], others].concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_is_there_one_that_is_not_and_one_that_is_closed_are_told_apart() {
    let stage = Theatre::stage().await;
    let moto = Arc::new(Moto::start().await);
    let bucket = Bucket::create(Arc::clone(&moto)).await;
    let archive = async |name: &str| {
        let variables = [
            ("UNDERSTUDY__ARCHIVE__BUCKET", name),
            ("UNDERSTUDY__ARCHIVE__REGION", moto.region()),
            ("UNDERSTUDY__ARCHIVE__ENDPOINT_URL", bucket.endpoint()),
            ("UNDERSTUDY__ARCHIVE__PATH_STYLE", "true"),
        ];
        let checked = doctor(&with(&stage, &variables), &["--json"]).await;
        (checked.status, findings(&checked, "archive"))
    };
    let (status, found) = archive(bucket.name()).await;
    assert_eq!(status, Some(0), "{found:#?}");
    says(
        the(&found, "pass"),
        "detail",
        &format!("bucket {} answers", bucket.name()),
    );
    let (status, found) = archive("shows-of-nobody").await;
    assert_eq!(status, Some(1));
    says(
        the(&found, "fail"),
        "detail",
        "bucket shows-of-nobody does not exist: create it",
    );
    says(the(&found, "fail"), "advice", "docs/recordings.md");
    bucket.spoil(Spoil::Refuse(403, "AccessDenied"));
    let (status, found) = archive(bucket.name()).await;
    assert_eq!(status, Some(1));
    says(the(&found, "fail"), "detail", "s3:ListMultipartUploadParts");

    bucket.spoil(Spoil::Nothing);
    assert_eq!(
        (bucket.keys().await.len(), bucket.open_uploads().await),
        (0, 0),
        "it left something there"
    );
}

#[tokio::test]
async fn a_key_in_a_secret_that_is_there_one_that_is_not_and_one_that_is_closed_are_told_apart() {
    let stage = Theatre::stage().await;
    let moto = Moto::start().await;
    let of_stage = environment(&stage, "127.0.0.1:1", &[]);
    let (_, path) = of_stage.iter().find(|(name, _)| name == KEY_PATH).unwrap();
    let key = std::fs::read_to_string(path).unwrap();
    let secret = StoredSecret::new(&moto, "vm-ssh-key", &key).await;
    let look = async |arn: &str, endpoint: &str| {
        let variables = [
            ("UNDERSTUDY__SSH__KEY_SECRET_ARN", arn),
            ("AWS_ENDPOINT_URL_SECRETS_MANAGER", endpoint),
        ];
        let mut environment = with(&stage, &variables);
        environment.retain(|(name, _)| name != KEY_PATH);
        doctor(&environment, &["--json"]).await
    };
    let checked = look(&secret.arn, moto.endpoint()).await;
    assert_eq!(checked.status, Some(0), "{checked:#?}");
    let found = findings(&checked, "ssh key");
    says(the(&found, "pass"), "detail", "SHA256:");
    says(the(&found, "pass"), "detail", &secret.arn);
    for login in findings(&checked, "login to ") {
        assert_eq!(login["verdict"], "pass", "{login:#}");
    }

    let missing = format!("{}-not", secret.arn);
    let closed = answering("400 Bad Request", "AccessDeniedException").await;
    for (arn, endpoint, told) in [
        (&missing, moto.endpoint(), "does not exist in its region"),
        (
            &secret.arn,
            closed.as_str(),
            "allow the action secretsmanager:GetSecretValue",
        ),
    ] {
        let checked = look(arn, endpoint).await;
        assert_eq!(checked.status, Some(1), "{checked:#?}");
        let found = findings(&checked, "ssh key");
        says(the(&found, "fail"), "detail", told);
        says(the(&found, "fail"), "advice", arn);
        says(the(&found, "fail"), "advice", "role may read it");
    }
    assert!(!format!("{checked:?}").contains(key.lines().nth(1).unwrap()));
}
