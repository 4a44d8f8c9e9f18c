//! The private key that we log in with, from any text form of one.
//!
//! Ed25519 and ECDSA keys in OpenSSH's own format and in PEM (PKCS#8, SEC1), RSA keys also in PEM's PKCS#1, which is
//! what EC2 hands out as `.pem`. Protected by a passphrase: OpenSSH's format and PKCS#8. PEM's own older protection
//! (`Proc-Type: 4,ENCRYPTED`) derives its key by one round of MD5 and is refused.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use pkcs8::EncryptedPrivateKeyInfoRef;
use russh::keys::ssh_key::private::KeypairData;
use russh::keys::{PrivateKey, PublicKey, decode_secret_key};

use super::rsa::RsaKey;
use crate::domain::studio::Secret;

/// A key with what it takes to sign with it.
#[derive(Clone)]
pub(super) enum ClientKey {
    /// Ed25519 or ECDSA.
    Curve(Arc<PrivateKey>),
    Rsa(Arc<RsaKey>),
}

/// Says which key it is, and nothing of its private half.
impl fmt::Debug for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientKey({})", self.fingerprint())
    }
}

/// Why a text is not a key that can be used, and what would be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unusable {
    #[error("it is not a private key in PEM or OpenSSH's format")]
    NotAKey,
    #[error("it is JSON: store the key itself, as PEM or as base64 of it")]
    Json,
    #[error(
        "it is protected by a passphrase: name a file with it in ssh.key_passphrase_path, or use a key without one"
    )]
    NeedsPassphrase,
    #[error("its passphrase is not the one in ssh.key_passphrase_path")]
    WrongPassphrase,
    #[error(
        "it is protected by a passphrase in PEM's own old way, which is weak: rewrite it with \
         `ssh-keygen -p -f FILE`"
    )]
    OldProtection,
    #[error(
        "it is an RSA key that cannot be used: {0}; one of 2048 to 8192 bits is needed, or an Ed25519 key"
    )]
    Rsa(String),
    #[error("{0}")]
    Broken(String),
}

/// PEM's mark of a key that is protected in its old way (RFC 1421, section 4.6.1.1).
const OLD_PROTECTION: &str = "Proc-Type: 4,ENCRYPTED";
/// The algorithm of an RSA key in PKCS#8 (RFC 8017, appendix A).
const RSA_ENCRYPTION: &str = "1.2.840.113549.1.1.1";
const BEGIN: &str = "-----BEGIN ";
const PUTTY: &str = "PuTTY-User-Key-File-";

impl ClientKey {
    /// Reads a key. Takes up to a second if it is protected: not for the runtime's own threads.
    pub(super) fn decode(text: &str, passphrase: Option<&Secret>) -> Result<Self, Unusable> {
        if text.contains(OLD_PROTECTION) {
            return Err(Unusable::OldProtection);
        }
        // Whoever pasted it may have left spaces, or carriage returns.
        let text: String = text.lines().flat_map(|line| [line.trim(), "\n"]).collect();
        let passphrase = passphrase.map(Secret::expose);
        if label(&text) == Some("RSA PRIVATE KEY") {
            return Self::rsa(RsaKey::from_pkcs1(&der(&text)?));
        }
        match decode_secret_key(&text, passphrase) {
            Ok(key) => match key.key_data() {
                KeypairData::Rsa(pair) => Self::rsa(RsaKey::from_pair(pair)),
                KeypairData::Ed25519(_) | KeypairData::Ecdsa(_) => Ok(Self::Curve(Arc::new(key))),
                _ => Err(Unusable::Broken(format!(
                    "{} keys are not supported: use an Ed25519 key",
                    key.algorithm()
                ))),
            },
            // Only RSA's own implementation is missing in the library.
            Err(russh::keys::Error::UnknownAlgorithm(oid)) if oid.to_string() == RSA_ENCRYPTION => {
                Self::rsa_pkcs8(&der(&text)?, passphrase)
            }
            Err(error) => Err(unusable(error, label(&text), passphrase.is_some())),
        }
    }

    fn rsa_pkcs8(der: &[u8], passphrase: Option<&str>) -> Result<Self, Unusable> {
        let Some(passphrase) = passphrase else {
            return Self::rsa(RsaKey::from_pkcs8(der));
        };
        match EncryptedPrivateKeyInfoRef::try_from(der) {
            Ok(protected) => match protected.decrypt(passphrase) {
                Ok(open) => Self::rsa(RsaKey::from_pkcs8(open.as_bytes())),
                Err(_) => Err(Unusable::WrongPassphrase),
            },
            Err(_) => Self::rsa(RsaKey::from_pkcs8(der)),
        }
    }

    fn rsa(key: Result<RsaKey, String>) -> Result<Self, Unusable> {
        key.map(|key| Self::Rsa(Arc::new(key))).map_err(Unusable::Rsa)
    }

    /// `ssh-ed25519 SHA256:…`, as OpenSSH's own tools print fingerprints.
    pub(super) fn fingerprint(&self) -> String {
        super::host_keys::describe(self.public())
    }

    pub(super) fn public(&self) -> &PublicKey {
        match self {
            Self::Curve(key) => key.public_key(),
            Self::Rsa(key) => key.public(),
        }
    }
}

/// The text of a key that was handed over as it is or in base64, as where line ends cannot be kept.
pub(super) fn text(given: &str) -> Result<Secret, Unusable> {
    let given = given.trim();
    if is_key(given) {
        return Ok(Secret::new(given));
    }
    if given.starts_with('{') {
        return Err(Unusable::Json);
    }
    let packed: String = given.split_whitespace().collect();
    let unpacked = BASE64.decode(packed).map_err(|_| Unusable::NotAKey)?;
    match String::from_utf8(unpacked) {
        Ok(text) if is_key(text.trim()) => Ok(Secret::new(text)),
        Ok(_) | Err(_) => Err(Unusable::NotAKey),
    }
}

fn is_key(text: &str) -> bool {
    text.contains(BEGIN) || text.starts_with(PUTTY)
}

/// What PEM says that it holds.
fn label(text: &str) -> Option<&str> {
    let line = text.lines().find_map(|line| line.strip_prefix(BEGIN))?;
    line.strip_suffix("-----")
}

fn der(text: &str) -> Result<Vec<u8>, Unusable> {
    let body: String = text
        .lines()
        .skip_while(|line| !line.starts_with(BEGIN))
        .skip(1)
        .take_while(|line| !line.starts_with("-----END"))
        .collect();
    BASE64
        .decode(body)
        .map_err(|error| Unusable::Broken(error.to_string()))
}

fn unusable(error: russh::keys::Error, label: Option<&str>, with_passphrase: bool) -> Unusable {
    let protected = matches!(label, Some("ENCRYPTED PRIVATE KEY"));
    match error {
        russh::keys::Error::KeyIsEncrypted => Unusable::NeedsPassphrase,
        // Without a passphrase the protected key is taken for a plain one, and does not look like one.
        _ if protected && !with_passphrase => Unusable::NeedsPassphrase,
        russh::keys::Error::SshKey(russh::keys::ssh_key::Error::Crypto) if with_passphrase => {
            Unusable::WrongPassphrase
        }
        _ if protected => Unusable::WrongPassphrase,
        russh::keys::Error::CouldNotReadKey => Unusable::NotAKey,
        other => Unusable::Broken(other.to_string()),
    }
}
