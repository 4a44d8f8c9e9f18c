//! A key in a store that changes, against real OpenSSH servers: nobody is shut out by a rotation.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;

use understudy::domain::studio::Secret;
use understudy::infra::secrets::{self, SecretStore};
use understudy::infra::ssh::{Connector, Endpoint, Error, KeySource, KeyStanding, RusshConnector};

use crate::support::PLENTY;
use crate::support::eventually::eventually;
use crate::support::sshd::{Sshd, generate, generate_key, refusal};

/// A store of one secret, which a test changes.
#[derive(Debug)]
struct Store(Mutex<Secret>);

impl Store {
    fn with_file(path: &Path) -> Arc<Self> {
        let store = Self(Mutex::new(Secret::default()));
        store.put_file(path);
        Arc::new(store)
    }

    fn put_file(&self, path: &Path) {
        self.put(&std::fs::read_to_string(path).unwrap());
    }

    fn put(&self, text: &str) {
        *self.0.lock().unwrap() = Secret::new(text);
    }
}

#[async_trait]
impl SecretStore for Store {
    async fn read(&self) -> Result<Secret, secrets::Error> {
        Ok(self.0.lock().unwrap().clone())
    }

    async fn read_previous(&self) -> Result<Option<Secret>, secrets::Error> {
        Ok(None)
    }
}

fn connector_with(store: &Arc<Store>, server: &Sshd) -> RusshConnector {
    let mut config = server.config();
    config.key = KeySource::Stored {
        store: store.clone(),
        refresh: OFTEN,
    };
    RusshConnector::new(config)
}

const OFTEN: Duration = Duration::from_millis(20);

async fn until_standing(connector: &RusshConnector, standing: KeyStanding) {
    let what = format!("the key is {standing:?}");
    let is_so = async || (connector.key_standing() == Some(standing)).then_some(());
    eventually(&what, PLENTY, is_so).await;
}

/// The number of keys that a server has refused, from its log.
fn refusals(server: &Sshd) -> usize {
    let log = std::fs::read_to_string(server.path("log")).unwrap();
    log.matches("Failed publickey").count()
}

#[tokio::test]
async fn a_machine_that_has_not_got_the_new_key_yet_is_let_in_by_with_the_one_before() {
    // One attempt for each connection, as a strict server allows it.
    let (behind, ahead) = (
        Sshd::start_with(&["MaxAuthTries 1"]).await,
        Sshd::start_with(&["MaxAuthTries 1"]).await,
    );
    let fresh = ahead.path("fresh");
    generate_key(&fresh, "ed25519");
    ahead.authorize(&fresh.with_extension("pub"));
    let store = Store::with_file(&behind.client_key());
    let connector = connector_with(&store, &behind);
    connector.connect(&behind.endpoint()).await.unwrap();
    let endpoint = Endpoint {
        host: "i-ahead".to_owned(),
        ..ahead.endpoint()
    };

    store.put_file(&fresh);
    eventually("the new key is used", PLENTY, async || {
        connector.connect(&endpoint).await.ok().map(drop)
    })
    .await;
    assert_eq!(connector.key_standing(), Some(KeyStanding::Current));
    let session = connector.connect(&behind.endpoint()).await.unwrap();
    assert_eq!(connector.key_standing(), Some(KeyStanding::Rotating));
    assert!(session.ping(PLENTY).await.is_ok());

    // It gets the new one: the next connection is like any other.
    behind.authorize(&fresh.with_extension("pub"));
    drop(session);
    connector.connect(&behind.endpoint()).await.unwrap();
    until_standing(&connector, KeyStanding::Current).await;

    // Each key is offered once to one that knows neither.
    let stranger = behind.path("stranger");
    generate_key(&stranger, "ed25519");
    behind.authorize(&stranger.with_extension("pub"));
    let before = refusals(&behind);
    let answer = connector.connect(&behind.endpoint()).await;
    assert_eq!(refusal(answer), Error::AuthFailed { user: behind.user() });
    eventually("two refusals", PLENTY, async || {
        (refusals(&behind) >= before + 2).then_some(())
    })
    .await;
    assert_eq!(refusals(&behind), before + 2);
}

#[tokio::test]
async fn what_is_no_key_does_not_replace_the_one_there_is() {
    let server = Sshd::start().await;
    let store = Store::with_file(&server.client_key());
    let connector = connector_with(&store, &server);
    connector.connect(&server.endpoint()).await.unwrap();
    let locked = server.path("locked");
    generate(&locked, &["-t", "ed25519", "-N", "secret phrase"]);
    let locked = std::fs::read_to_string(locked).unwrap();
    for text in ["", "not a key", "{\"privateKey\": \"x\"}", locked.as_str()] {
        store.put(text);
        until_standing(&connector, KeyStanding::Kept).await;
        connector.connect(&server.endpoint()).await.unwrap();
        store.put_file(&server.client_key());
        until_standing(&connector, KeyStanding::Current).await;
    }
    // There is nothing to keep for one that starts with it.
    store.put("not a key");
    let fresh = connector_with(&store, &server);
    match refusal(fresh.connect(&server.endpoint()).await) {
        Error::BadKey(why) => assert!(why.contains("ssh.key_secret_arn"), "{why}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(fresh.key_standing(), Some(KeyStanding::Missing));
}
