use std::sync::Mutex;

use async_trait::async_trait;
use russh::keys::PrivateKey;
use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::Ed25519Keypair;

use super::*;

/// A store that answers what it is told to, and counts.
#[derive(Debug, Default)]
struct Told {
    answer: Mutex<Option<String>>,
    before: Mutex<Option<String>>,
    readings: Mutex<u32>,
}

impl Told {
    fn with(answer: &str) -> Arc<Self> {
        let told = Arc::new(Self::default());
        told.set(Some(answer));
        told
    }

    fn set(&self, answer: Option<&str>) {
        *self.answer.lock().unwrap() = answer.map(str::to_owned);
    }

    fn set_before(&self, before: &str) {
        *self.before.lock().unwrap() = Some(before.to_owned());
    }

    fn readings(&self) -> u32 {
        *self.readings.lock().unwrap()
    }
}

#[async_trait]
impl SecretStore for Told {
    async fn read(&self) -> Result<Secret, secrets::Error> {
        *self.readings.lock().unwrap() += 1;
        let answer = self.answer.lock().unwrap().clone();
        answer.map(Secret::new).ok_or_else(away)
    }

    async fn read_previous(&self) -> Result<Option<Secret>, secrets::Error> {
        Ok(self.before.lock().unwrap().clone().map(Secret::new))
    }
}

fn away() -> secrets::Error {
    secrets::Error::Unavailable {
        secret: "key".to_owned(),
        detail: "away".to_owned(),
    }
}

/// A key as OpenSSH writes it, another one for each number.
fn pem(number: u8) -> String {
    let key = PrivateKey::from(Ed25519Keypair::from_seed(&[number; 32]));
    key.to_openssh(LineEnding::LF).unwrap().to_string()
}

fn fingerprint(number: u8) -> String {
    ClientKey::decode(&pem(number), None).unwrap().fingerprint()
}

async fn current(key: &StoredKey) -> String {
    key.current().await.unwrap().fingerprint()
}

/// What is tried after this key was refused, and whether it is the one before.
async fn instead_of(key: &StoredKey, refused: u8) -> Vec<(String, bool)> {
    let refused = ClientKey::decode(&pem(refused), None).unwrap();
    let offers = key.instead_of(&refused).await;
    offers
        .iter()
        .map(|offer| (offer.key.fingerprint(), offer.superseded.is_some()))
        .collect()
}

fn start(store: &Arc<Told>) -> StoredKey {
    StoredKey::start(store.clone(), None, INTERVAL)
}

const INTERVAL: Duration = Duration::from_secs(300);

async fn pass(time: Duration) {
    // One more than the timer, so that what it wakes has run.
    tokio::time::sleep(time + Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_changed_secret_is_known_after_an_interval() {
    let store = Told::with(&pem(1));
    let key = start(&store);
    assert_eq!(current(&key).await, fingerprint(1));
    store.set(Some(&pem(2)));
    assert_eq!(current(&key).await, fingerprint(1));
    pass(INTERVAL).await;
    assert_eq!(current(&key).await, fingerprint(2));
    assert_eq!(store.readings(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_has_it_read_at_once_but_many_do_not_ask_the_store_each() {
    let store = Told::with(&pem(1));
    let key = start(&store);
    key.current().await.unwrap();
    store.set(Some(&pem(2)));
    for _ in 0..50 {
        assert_eq!(instead_of(&key, 1).await, [(fingerprint(2), false)]);
    }
    assert_eq!(store.readings(), 2);
    pass(REFUSED_AGAIN).await;
    instead_of(&key, 1).await;
    assert_eq!(store.readings(), 3);
}

#[tokio::test(start_paused = true)]
async fn the_key_before_is_tried_after_the_present_one_and_forgotten_at_the_next_rotation() {
    let store = Told::with(&pem(1));
    let key = start(&store);
    key.current().await.unwrap();
    assert_eq!(instead_of(&key, 1).await, []);
    for (now, before) in [(2, 1), (3, 2)] {
        store.set(Some(&pem(now)));
        pass(INTERVAL).await;
        assert_eq!(instead_of(&key, now).await, [(fingerprint(before), true)]);
    }
    // The same key written otherwise is no rotation.
    store.set(Some(&pem(3).replace('\n', "\r\n")));
    pass(INTERVAL).await;
    assert_eq!(instead_of(&key, 3).await, [(fingerprint(2), true)]);
    // Both are new to whoever was refused with the first.
    let both = [(fingerprint(3), false), (fingerprint(2), true)];
    assert_eq!(instead_of(&key, 1).await, both);
}

#[tokio::test(start_paused = true)]
async fn one_that_starts_in_the_middle_of_a_rotation_asks_the_store_for_the_key_before() {
    let store = Told::with(&pem(2));
    store.set_before(&pem(1));
    let key = start(&store);
    key.current().await.unwrap();
    assert_eq!(instead_of(&key, 2).await, [(fingerprint(1), true)]);

    let unusable = Told::with(&pem(2));
    unusable.set_before("not a key");
    let key = start(&unusable);
    key.current().await.unwrap();
    assert_eq!(instead_of(&key, 2).await, []);
}

#[tokio::test(start_paused = true)]
async fn it_is_known_for_how_long_the_key_before_is_in_use() {
    let store = Told::with(&pem(1));
    let key = start(&store);
    key.current().await.unwrap();
    store.set(Some(&pem(2)));
    pass(INTERVAL).await;
    let present = key.current().await.unwrap();
    let offers = key.instead_of(&present).await;
    assert_eq!(key.standing(), Some(KeyStanding::Current));
    let session = offers[0].superseded.as_ref().unwrap().upgrade();
    assert!(session.is_some());
    assert_eq!(key.standing(), Some(KeyStanding::Rotating));
    drop(session);
    assert_eq!(key.standing(), Some(KeyStanding::Current));
}

#[tokio::test(start_paused = true)]
async fn the_last_good_key_is_kept_while_the_store_is_away_or_has_none_and_that_is_known() {
    let store = Told::with(&pem(1));
    let key = start(&store);
    key.current().await.unwrap();
    assert_eq!(key.standing(), Some(KeyStanding::Current));
    for trouble in [None, Some("not a key"), Some("{\"key\": \"in JSON\"}")] {
        store.set(trouble);
        pass(INTERVAL).await;
        assert_eq!(key.standing(), Some(KeyStanding::Kept), "{trouble:?}");
        assert_eq!(current(&key).await, fingerprint(1), "{trouble:?}");
        assert_eq!(instead_of(&key, 1).await, [], "{trouble:?}");
    }
    // It is looked for more often now.
    store.set(Some(&pem(2)));
    pass(TROUBLED_AGAIN).await;
    assert_eq!(key.standing(), Some(KeyStanding::Current));
    assert_eq!(current(&key).await, fingerprint(2));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_never_had_a_key_leaves_none_and_says_why() {
    let store = Arc::new(Told::default());
    let key = start(&store);
    let answer = key.current().await;
    assert_eq!(answer.err(), Some(Error::KeyUnavailable(away().to_string())));
    assert_eq!(key.standing(), Some(KeyStanding::Missing));
    store.set(Some("hush"));
    pass(TROUBLED_AGAIN).await;
    assert!(matches!(key.current().await, Err(Error::BadKey(why)) if why.contains(PLACE)));
    assert_eq!(key.standing(), Some(KeyStanding::Missing));
    store.set(Some(&pem(1)));
    pass(TROUBLED_AGAIN).await;
    assert_eq!(current(&key).await, fingerprint(1));
    let shown = format!("{key:?}");
    assert!(pem(1).lines().all(|line| !shown.contains(line)), "{shown}");
}
