//! The SSH key from AWS Secrets Manager: moto's, with real OpenSSH servers that take the key or do not.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use tokio::net::TcpListener;

use understudy::domain::studio::Secret;
use understudy::infra::aws::AccessKey;
use understudy::infra::secrets::aws::{Config, StoredSecret};
use understudy::infra::secrets::{Error as SecretError, SecretStore};
use understudy::infra::ssh::{Connector, Error, KeySource, KeyStanding, RusshConnector};

use crate::support::PLENTY;
use crate::support::eventually::eventually;
use crate::support::moto::Moto;
use crate::support::secrets::{StoredSecret as InMoto, answering};
use crate::support::sshd::{Sshd, generate, refusal};

const NEVER: Duration = Duration::from_secs(3_600);

async fn store(arn: &str, endpoint: &str) -> StoredSecret {
    StoredSecret::new(Config {
        arn: arn.to_owned(),
        endpoint_url: Some(endpoint.to_owned()),
        access_key: Some(AccessKey {
            id: "test".to_owned(),
            secret: Secret::new("test"),
        }),
    })
    .await
}

/// Connects to a server with the key that a secret holds, which is read this often.
async fn connector(server: &Sshd, moto: &Moto, arn: &str, interval: Duration) -> RusshConnector {
    let store = Arc::new(store(arn, moto.endpoint()).await);
    let mut config = server.config();
    config.key = KeySource::Stored {
        store,
        refresh: interval,
    };
    RusshConnector::new(config)
}

/// A new key pair; gives the private half.
fn new_key(server: &Sshd, name: &str, arguments: &[&str]) -> String {
    let path = server.path(name);
    generate(&path, &[arguments, &["-N", ""]].concat());
    std::fs::read_to_string(path).unwrap()
}

fn public(server: &Sshd, name: &str) -> std::path::PathBuf {
    Path::new(&server.path(name)).with_extension("pub")
}

#[tokio::test]
async fn a_key_that_is_rotated_while_it_runs_is_used_as_soon_as_the_old_one_is_refused() {
    let (server, moto) = (Sshd::start().await, Moto::start().await);
    let first = new_key(&server, "first", &["-t", "ed25519"]);
    let second = new_key(&server, "second", &["-t", "rsa", "-b", "2048", "-m", "PEM"]);
    let third = new_key(&server, "third", &["-t", "ecdsa"]);
    let secret = InMoto::new(&moto, "vm-ssh-key", &first).await;
    let connector = connector(&server, &moto, &secret.arn, NEVER).await;

    server.authorize(&public(&server, "first"));
    connector.connect(&server.endpoint()).await.unwrap();

    // In base64, and the machines know it before we do.
    secret.rotate(&BASE64.encode(&second)).await;
    server.authorize(&public(&server, "second"));
    connector.connect(&server.endpoint()).await.unwrap();
    assert_eq!(connector.key_standing(), Some(KeyStanding::Current));

    // As bytes.
    secret.rotate_to_bytes(&BASE64.encode(&third)).await;
    server.authorize(&public(&server, "third"));
    let fresh = self::connector(&server, &moto, &secret.arn, NEVER).await;
    fresh.connect(&server.endpoint()).await.unwrap();

    let shown = format!("{connector:?} {fresh:?}");
    for key in [&first, &second, &third] {
        let lines = key.lines().filter(|line| line.len() > 40);
        assert!(lines.clone().count() > 0);
        for line in lines {
            assert!(!shown.contains(line), "{shown}");
        }
    }
}

#[tokio::test]
async fn a_machine_that_has_only_the_key_before_is_let_in_by_also_after_a_restart() {
    let (server, moto) = (Sshd::start().await, Moto::start().await);
    let first = new_key(&server, "first", &["-t", "ed25519"]);
    let second = new_key(&server, "second", &["-t", "ed25519"]);
    let secret = InMoto::new(&moto, "vm-ssh-key", &first).await;
    server.authorize(&public(&server, "first"));
    let connector = connector(&server, &moto, &secret.arn, NEVER).await;
    connector.connect(&server.endpoint()).await.unwrap();
    assert_eq!(connector.key_standing(), Some(KeyStanding::Current));

    secret.rotate(&second).await;
    let fresh = self::connector(&server, &moto, &secret.arn, NEVER).await;
    let session = fresh.connect(&server.endpoint()).await.unwrap();
    assert_eq!(fresh.key_standing(), Some(KeyStanding::Rotating));

    drop(session);
    server.authorize(&public(&server, "second"));
    let session = fresh.connect(&server.endpoint()).await.unwrap();
    assert_eq!(fresh.key_standing(), Some(KeyStanding::Current));
    drop(session);
}

#[tokio::test]
async fn the_last_key_goes_on_being_used_while_secrets_manager_is_away() {
    let (server, moto) = (Sshd::start().await, Moto::start().await);
    let key = new_key(&server, "key", &["-t", "ed25519"]);
    server.authorize(&public(&server, "key"));
    let secret = InMoto::new(&moto, "vm-ssh-key", &key).await;
    let connector = connector(&server, &moto, &secret.arn, Duration::from_millis(100)).await;
    connector.connect(&server.endpoint()).await.unwrap();

    drop(secret);
    drop(moto);
    let is_kept = async || (connector.key_standing() == Some(KeyStanding::Kept)).then_some(());
    eventually("the store is known to be away", PLENTY, is_kept).await;
    connector.connect(&server.endpoint()).await.unwrap();
}

#[tokio::test]
async fn a_secret_that_is_missing_deleted_or_no_key_is_told_with_what_to_do() {
    let (server, moto) = (Sshd::start().await, Moto::start().await);
    let secret = InMoto::new(&moto, "vm-ssh-key", "hush, not a key").await;
    let connect = async |arn: &str| {
        let connector = connector(&server, &moto, arn, NEVER).await;
        refusal(connector.connect(&server.endpoint()).await)
    };
    match connect(&secret.arn).await {
        Error::BadKey(why) => assert!(
            why.contains("ssh.key_secret_arn") && why.contains("not a private key") && !why.contains("hush"),
            "{why}"
        ),
        other => panic!("{other:?}"),
    }
    secret.rotate("{\"privateKey\": \"hush\"}").await;
    let why = connect(&secret.arn).await.to_string();
    assert!(
        why.contains("it is JSON: store the key itself") && !why.contains("hush"),
        "{why}"
    );

    let missing = format!("{}-not", secret.arn);
    let why = connect(&missing).await;
    assert!(why.is_retryable(), "{why:?}");
    let why = why.to_string();
    assert!(why.contains("does not exist") && why.contains(&missing), "{why}");

    secret.delete().await;
    let why = connect(&secret.arn).await.to_string();
    assert!(
        why.contains("cannot be used as it is") && why.contains("deleted"),
        "{why}"
    );
}

#[tokio::test]
async fn what_secrets_manager_refuses_is_told_apart() {
    const ARN: &str = "arn:aws:secretsmanager:us-east-1:123456789012:secret:vm-ssh-key";
    for (status, code, expected) in [
        (
            "400 Bad Request",
            "AccessDeniedException",
            "allow the action secretsmanager:GetSecretValue",
        ),
        (
            "400 Bad Request",
            "UnrecognizedClientException",
            "no credentials to read",
        ),
        (
            "400 Bad Request",
            "ExpiredTokenException",
            "no credentials to read",
        ),
        ("400 Bad Request", "DecryptionFailure", "cannot be used as it is"),
        (
            "503 Service Unavailable",
            "InternalServiceError",
            "cannot be read now",
        ),
    ] {
        let endpoint = answering(status, code).await;
        let error = store(ARN, &endpoint).await.read().await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains(expected) && text.contains(ARN), "{code}: {text}");
    }
    let closed = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let error = store(ARN, &format!("http://{closed}"))
        .await
        .read()
        .await
        .unwrap_err();
    assert!(matches!(error, SecretError::Unavailable { .. }), "{error:?}");
}
