//! The vault: seals secrets before they become facts, and opens them for the machine they are meant for.
//!
//! A secret is sealed with AES-256-GCM (NIST SP 800-38D) under a key derived from the first line of the key file.
//! The nonce is not random but HMAC-SHA-256 of the text under a key of its own, shortened to 96 bits: equal texts
//! are equal when sealed, so that a capture of an unchanged studio is no change, and no two texts share a nonce
//! (RFC 8452 says why such a construction is sound). What it gives away is which sealed texts are equal.
//!
//! It holds its keys in memory from start to end. It reads its file once; a key that was put back is known after a
//! restart of the coordinator, during which shows stay on air.

mod file;

use std::fmt;
use std::path::{Path, PathBuf};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::{hkdf, hmac, rand};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

pub use file::OpenError;

use crate::domain::sealed::Sealed;
use crate::domain::studio::Secret;

/// Bytes of a key in the file.
const KEY_BYTES: usize = 32;
/// Keeps what is sealed here from being taken for anything else sealed under the same key.
const CONTEXT: &[u8] = b"understudy secret v1";

/// Seals and opens.
pub struct Vault {
    /// Where the keys came from; `None` for keys of this process alone.
    path: Option<PathBuf>,
    /// The first seals, all open.
    keys: Vec<Key>,
}

/// A sealed text that cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Locked {
    #[error(
        "it is sealed under the key {key_id}, which {keys} does not hold: put the file that holds it back, or add its \
         line below the first, and restart the coordinator (shows stay on air); or set the secret again"
    )]
    UnknownKey { key_id: String, keys: String },
    #[error("it was altered after it was sealed under {key_id}: set the secret again")]
    Altered { key_id: String },
}

impl Locked {
    /// Without what to do.
    #[must_use]
    pub fn in_short(&self) -> String {
        match self {
            Self::UnknownKey { key_id, .. } => format!("it is sealed under the missing key {key_id}"),
            Self::Altered { key_id } => format!("it was altered after it was sealed under {key_id}"),
        }
    }
}

struct Key {
    id: String,
    seal: LessSafeKey,
    nonce: hmac::Key,
}

impl Vault {
    /// Reads the keys from `path`, or makes a file with a new one if there is none, for this user alone. Blocks on
    /// the disk.
    ///
    /// # Errors
    /// [`OpenError`] says what is wrong with the file and what to do.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let keys = file::read_or_create(path)?;
        let keys = keys.iter().map(Key::derive).collect::<Result<_, _>>();
        Ok(Self {
            path: Some(path.to_owned()),
            keys: keys.map_err(|Unspecified| OpenError::NoRandomness)?,
        })
    }

    /// Whether there is a file with keys at `path`, all of which can be used. Makes none. Blocks on the disk.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn look(path: &Path) -> Result<bool, OpenError> {
        file::read_if_there(path).map(|keys| keys.is_some())
    }

    /// A vault with a key of its own that ends with it.
    ///
    /// # Errors
    /// [`OpenError::NoRandomness`].
    pub fn ephemeral() -> Result<Self, OpenError> {
        Self::with_key(&new_key()?)
    }

    /// A vault with a key that somebody else keeps.
    ///
    /// # Errors
    /// [`OpenError::NoRandomness`] if the library does not derive keys.
    pub fn with_key(key: &[u8; KEY_BYTES]) -> Result<Self, OpenError> {
        let key = Key::derive(key).map_err(|Unspecified| OpenError::NoRandomness)?;
        Ok(Self {
            path: None,
            keys: vec![key],
        })
    }

    /// Seals a secret; the empty one is none.
    ///
    /// # Errors
    /// [`Unsealable`] for one that is too long for the cipher, which no settings are.
    pub fn seal(&self, secret: &Secret) -> Result<Option<Sealed>, Unsealable> {
        if secret.is_empty() {
            return Ok(None);
        }
        let key = self.keys.first().ok_or(Unsealable)?;
        key.seal(secret.expose())
            .map(Some)
            .map_err(|Unspecified| Unsealable)
    }

    /// # Errors
    /// [`Locked`] says which key is missing and what to do.
    pub fn unseal(&self, sealed: &Sealed) -> Result<Secret, Locked> {
        let (key_id, nonce, text) = match sealed {
            Sealed::Plain(secret) => return Ok(secret.clone()),
            Sealed::Closed { key_id, nonce, text } => (key_id, nonce, text),
        };
        let Some(key) = self.keys.iter().find(|key| key.id == *key_id) else {
            return Err(Locked::UnknownKey {
                key_id: key_id.clone(),
                keys: self.place(),
            });
        };
        key.open(nonce, text).ok_or_else(|| Locked::Altered {
            key_id: key_id.clone(),
        })
    }

    /// The same secret sealed under the present key, if it is not yet.
    ///
    /// # Errors
    /// [`Locked`] if it cannot be opened for that.
    pub fn renewed(&self, sealed: &Sealed) -> Result<Option<Sealed>, Locked> {
        let current = self.keys.first().map(|key| key.id.as_str());
        if sealed.key_id().is_some_and(|id| Some(id) == current) {
            return Ok(None);
        }
        let secret = self.unseal(sealed)?;
        // What was opened once fits the cipher.
        Ok(self.seal(&secret).unwrap_or(None))
    }

    fn place(&self) -> String {
        match &self.path {
            Some(path) => path.display().to_string(),
            None => "this process".to_owned(),
        }
    }
}

/// A secret that the cipher does not take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the secret could not be sealed")]
pub struct Unsealable;

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<&str> = self.keys.iter().map(|key| key.id.as_str()).collect();
        f.debug_struct("Vault")
            .field("path", &self.path)
            .field("keys", &ids)
            .finish()
    }
}

impl Key {
    /// Every purpose has a key of its own (RFC 5869, section 3.2).
    fn derive(material: &[u8; KEY_BYTES]) -> Result<Self, Unspecified> {
        let extracted = hkdf::Salt::new(hkdf::HKDF_SHA256, CONTEXT).extract(material);
        let expand = |purpose: &[u8], out: &mut [u8]| {
            let purpose = [purpose];
            extracted.expand(&purpose, hkdf::HKDF_SHA256)?.fill(out)
        };
        let (mut seal, mut nonce, mut id) = ([0; KEY_BYTES], [0; KEY_BYTES], [0; KEY_BYTES]);
        expand(b"seal", &mut seal)?;
        expand(b"nonce", &mut nonce)?;
        expand(b"id", &mut id)?;
        Ok(Self {
            id: id.iter().take(4).map(|byte| format!("{byte:02x}")).collect(),
            seal: LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &seal)?),
            nonce: hmac::Key::new(hmac::HMAC_SHA256, &nonce),
        })
    }

    fn seal(&self, text: &str) -> Result<Sealed, Unspecified> {
        let tag = hmac::sign(&self.nonce, text.as_bytes());
        let mut nonce = [0; NONCE_LEN];
        for (to, from) in nonce.iter_mut().zip(tag.as_ref()) {
            *to = *from;
        }
        let mut bytes = text.as_bytes().to_vec();
        let sealing = Nonce::assume_unique_for_key(nonce);
        self.seal
            .seal_in_place_append_tag(sealing, Aad::from(CONTEXT), &mut bytes)?;
        Ok(Sealed::Closed {
            key_id: self.id.clone(),
            nonce: STANDARD.encode(nonce),
            text: STANDARD.encode(bytes),
        })
    }

    fn open(&self, nonce: &str, text: &str) -> Option<Secret> {
        let nonce = Nonce::try_assume_unique_for_key(&STANDARD.decode(nonce).ok()?).ok()?;
        let mut bytes = STANDARD.decode(text).ok()?;
        let plain = self
            .seal
            .open_in_place(nonce, Aad::from(CONTEXT), &mut bytes)
            .ok()?;
        std::str::from_utf8(plain).ok().map(Secret::new)
    }
}

fn new_key() -> Result<[u8; KEY_BYTES], OpenError> {
    let mut key = [0; KEY_BYTES];
    rand::fill(&mut key).map_err(|Unspecified| OpenError::NoRandomness)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(vault: &Vault, text: &str) -> Sealed {
        vault.seal(&Secret::new(text)).unwrap().unwrap()
    }

    #[test]
    fn what_is_sealed_is_opened_again_and_is_not_to_be_read() {
        let vault = Vault::ephemeral().unwrap();
        let closed = sealed(&vault, "live_4711_hush");
        let json = serde_json::to_string(&closed).unwrap();
        assert!(!json.contains("hush") && !json.contains(&STANDARD.encode("live_4711_hush")));
        assert_eq!(vault.unseal(&closed), Ok(Secret::new("live_4711_hush")));
        assert_eq!(vault.seal(&Secret::default()), Ok(None));
    }

    #[test]
    fn equal_secrets_are_equal_when_sealed_and_others_share_nothing() {
        let vault = Vault::ephemeral().unwrap();
        assert_eq!(sealed(&vault, "one"), sealed(&vault, "one"));
        let nonces = ["one", "two"].map(|text| match sealed(&vault, text) {
            Sealed::Closed { nonce, .. } => nonce,
            Sealed::Plain(_) => panic!("not sealed"),
        });
        assert_ne!(nonces[0], nonces[1]);
    }

    #[test]
    fn a_missing_key_is_named_with_what_to_do() {
        let closed = sealed(&Vault::ephemeral().unwrap(), "hush");
        let stranger = Vault::ephemeral().unwrap();
        let error = stranger.unseal(&closed).unwrap_err();
        let key_id = closed.key_id().unwrap().to_owned();
        assert!(matches!(&error, Locked::UnknownKey { key_id: id, .. } if *id == key_id));
        let text = error.to_string();
        assert!(text.contains(&key_id) && text.contains("put the file"), "{text}");
        assert_eq!(stranger.renewed(&closed), Err(error));
    }

    #[test]
    fn an_altered_text_is_refused() {
        let vault = Vault::ephemeral().unwrap();
        let Sealed::Closed { key_id, nonce, .. } = sealed(&vault, "one") else {
            panic!("not sealed");
        };
        let Sealed::Closed { text, .. } = sealed(&vault, "two") else {
            panic!("not sealed");
        };
        for text in [text, String::new(), "no base64".to_owned()] {
            let key_id = key_id.clone();
            let forged = Sealed::Closed {
                key_id: key_id.clone(),
                nonce: nonce.clone(),
                text,
            };
            assert_eq!(vault.unseal(&forged), Err(Locked::Altered { key_id }));
        }
    }

    #[test]
    fn a_secret_of_an_older_journal_is_sealed_when_it_is_renewed() {
        let vault = Vault::ephemeral().unwrap();
        let renewed = vault
            .renewed(&Sealed::Plain(Secret::new("hush")))
            .unwrap()
            .unwrap();
        assert_eq!(renewed, sealed(&vault, "hush"));
        assert_eq!(vault.renewed(&renewed), Ok(None));
    }
}
