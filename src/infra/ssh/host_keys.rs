//! Whether a server is the one it should be: what key is expected of it, and what to do when it has another.
//!
//! A key that is not the expected one is always refused, also when only its algorithm differs: a machine does
//! not lose its old key by getting a new one, and asking for the expected algorithm first (see
//! [`Expected::algorithms`]) gives it every chance to show it. Host certificates are asked for only where there is an
//! authority to believe; see [`super::host_certificate`].

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use russh::keys::{Algorithm, EcdsaCurve, HashAlg, PublicKey, PublicKeyOrCertificate};

use super::host_certificate::Authorities;
use super::known_hosts::KnownHosts;
use super::pins::PinStore;
use super::{Endpoint, Error};

/// How host keys are trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostKeyPolicy {
    /// The first key that a machine shows is kept in `store` under [`Endpoint::host`], and no other is
    /// accepted for it afterwards. The file is made when it is first needed, and may be edited by hand: taking
    /// a machine's line out makes its next key a first one again.
    PinOnFirstUse { store: PathBuf },
    /// Only keys in this file, in OpenSSH's `known_hosts` format, under [`Endpoint::host`], the address, or
    /// `[address]:port`; and certificates of its `@cert-authority` lines for such names.
    KnownHosts { path: PathBuf },
    /// Only certificates of the authorities in this file: a public key per line, as OpenSSH writes them. A line with
    /// `@revoked` before the key takes back an authority or a machine's key. Read again for each connection.
    Authority { path: PathBuf },
}

/// Host-key algorithms that are asked for, most wanted first.
const ALGORITHMS: [Algorithm; 4] = [
    Algorithm::Ed25519,
    Algorithm::Ecdsa {
        curve: EcdsaCurve::NistP256,
    },
    Algorithm::Ecdsa {
        curve: EcdsaCurve::NistP384,
    },
    Algorithm::Ecdsa {
        curve: EcdsaCurve::NistP521,
    },
];

/// The policy at work. All of it reads files: not for the runtime's own threads.
#[derive(Debug)]
pub(super) enum HostKeys {
    Pins(PinStore),
    KnownHosts(KnownHosts),
    Authority(PathBuf),
}

impl HostKeys {
    pub(super) fn new(policy: HostKeyPolicy) -> Self {
        match policy {
            HostKeyPolicy::PinOnFirstUse { store } => Self::Pins(PinStore::new(store)),
            HostKeyPolicy::KnownHosts { path } => Self::KnownHosts(KnownHosts::new(path)),
            HostKeyPolicy::Authority { path } => Self::Authority(path),
        }
    }

    /// What this endpoint's server must show.
    pub(super) fn expected(&self, endpoint: &Endpoint) -> Result<Expected, Error> {
        let mut expected = Expected {
            host: endpoint.host.clone(),
            keys: Vec::new(),
            authorities: Authorities {
                names: vec![endpoint.host.clone(), endpoint.address.ip().to_string()],
                ..Authorities::default()
            },
            revoked: Vec::new(),
            first_use: false,
        };
        match self {
            Self::Pins(pins) => {
                expected.keys = pins.get(&endpoint.host)?.into_iter().collect();
                expected.first_use = true;
            }
            Self::KnownHosts(file) => {
                let known = file.keys_of(endpoint)?;
                expected.keys = known.trusted;
                expected.authorities.trusted = known.authorities;
                expected.revoked = known.revoked;
            }
            Self::Authority(path) => {
                let (trusted, revoked) = authorities(path)?;
                expected.authorities.trusted = trusted;
                expected.revoked = revoked;
            }
        }
        expected.authorities.revoked.clone_from(&expected.revoked);
        Ok(expected)
    }

    /// Keeps the key that a machine showed first. Another connection may have been quicker with another key.
    pub(super) fn remember(&self, host: &str, key: &PublicKey) -> Result<(), Error> {
        match self {
            Self::Pins(pins) => pins.pin(host, key),
            Self::KnownHosts(_) | Self::Authority(_) => Ok(()),
        }
    }
}

/// The keys that one server may show.
#[derive(Debug, Clone)]
pub(super) struct Expected {
    host: String,
    keys: Vec<PublicKey>,
    authorities: Authorities,
    revoked: Vec<PublicKey>,
    /// Whether a server of which no key is known is accepted.
    first_use: bool,
}

/// Why a key is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trust {
    Known,
    FirstUse,
}

impl Expected {
    /// The algorithms to ask for: those of the expected keys first, so that a server with several keys shows
    /// the one that is known.
    pub(super) fn algorithms(&self) -> Vec<Algorithm> {
        let known = |algorithm: &Algorithm| self.keys.iter().any(|key| key.algorithm() == *algorithm);
        let (mut first, rest): (Vec<_>, Vec<_>) = ALGORITHMS.into_iter().partition(known);
        first.extend(rest);
        first
    }

    /// The algorithms of certificates to ask for: a server that has one shows it instead of a bare key.
    pub(super) fn certificate_algorithms(&self) -> Vec<Algorithm> {
        if self.authorities.trusted.is_empty() {
            Vec::new()
        } else {
            ALGORITHMS.to_vec()
        }
    }

    /// # Errors
    /// [`Error::HostKeyChanged`], [`Error::HostKeyUnknown`] or [`Error::HostCertificate`].
    pub(super) fn check_shown(
        &self,
        shown: &PublicKeyOrCertificate,
        now: SystemTime,
    ) -> Result<Trust, Error> {
        let key = shown.public_key();
        let Some(certificate) = shown.certificate() else {
            return self.check(&key);
        };
        let refused = |why: String| {
            let host = self.host.clone();
            Error::HostCertificate { host, why }
        };
        let believed = self.authorities.check(certificate, now);
        match believed {
            Ok(()) => Ok(Trust::Known),
            // The key may be known by itself.
            Err(why) => match self.check(&key) {
                Ok(Trust::Known) => Ok(Trust::Known),
                Ok(Trust::FirstUse) | Err(_) => Err(refused(why.to_string())),
            },
        }
    }

    /// # Errors
    /// [`Error::HostKeyChanged`], [`Error::HostKeyUnknown`], or [`Error::HostCertificate`] if a certificate was expected.
    fn check(&self, shown: &PublicKey) -> Result<Trust, Error> {
        let among = |keys: &[PublicKey]| keys.iter().any(|key| same(key, shown));
        if among(&self.revoked) {
            return Err(changed(&self.host, "any but this revoked key".to_owned(), shown));
        }
        if among(&self.keys) {
            return Ok(Trust::Known);
        }
        if !self.keys.is_empty() {
            let expected: Vec<String> = self.keys.iter().map(describe).collect();
            return Err(changed(&self.host, expected.join(" or "), shown));
        }
        let host = self.host.clone();
        if self.first_use {
            Ok(Trust::FirstUse)
        } else if self.authorities.trusted.is_empty() {
            Err(Error::HostKeyUnknown { host })
        } else {
            let why = format!("it has none, but shows the bare key {}", describe(shown));
            Err(Error::HostCertificate { host, why })
        }
    }
}

/// The authorities in a file, and what it takes back.
fn authorities(path: &Path) -> Result<(Vec<PublicKey>, Vec<PublicKey>), Error> {
    let unusable = |why: &str| Error::HostKeyStore(format!("{}: {why}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| unusable(&error.to_string()))?;
    let (mut trusted, mut revoked) = (Vec::new(), Vec::new());
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, list) = match line.strip_prefix("@revoked ") {
            Some(key) => (key, &mut revoked),
            None => (line, &mut trusted),
        };
        let key = PublicKey::from_openssh(key.trim());
        list.push(key.map_err(|error| unusable(&format!("line {} is no public key: {error}", number + 1)))?);
    }
    if trusted.is_empty() {
        return Err(unusable("it names no authority"));
    }
    Ok((trusted, revoked))
}

/// Whether two keys are the same, whatever their comments say.
pub(super) fn same(one: &PublicKey, other: &PublicKey) -> bool {
    one.key_data() == other.key_data()
}

/// `ssh-ed25519 SHA256:…`, as OpenSSH's own tools print fingerprints.
pub(super) fn describe(key: &PublicKey) -> String {
    format!("{} {}", key.algorithm(), key.fingerprint(HashAlg::Sha256))
}

pub(super) fn changed(host: &str, expected: String, shown: &PublicKey) -> Error {
    Error::HostKeyChanged {
        host: host.to_owned(),
        expected,
        got: describe(shown),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED25519: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILKgMaEqDHtIje/RYMlpYOeu8AUSIzuKhRrUOcUWAVvU";
    const ED25519_OTHER: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDc36642lRAgPtOBfG+TJLcV3O5dxEjlsxjvnnvhGi6C";

    fn key(line: &str) -> PublicKey {
        PublicKey::from_openssh(line).unwrap()
    }

    fn expected(keys: &[&str], first_use: bool) -> Expected {
        Expected {
            host: "i-1".to_owned(),
            keys: keys.iter().map(|line| key(line)).collect(),
            authorities: Authorities::default(),
            revoked: Vec::new(),
            first_use,
        }
    }

    #[test]
    fn the_expected_key_is_accepted_whatever_its_comment() {
        let shown = key(&format!("{ED25519} root@machine"));
        assert_eq!(expected(&[ED25519], true).check(&shown), Ok(Trust::Known));
    }

    #[test]
    fn another_key_is_a_changed_key_also_on_first_use_policy() {
        let answer = expected(&[ED25519], true).check(&key(ED25519_OTHER));
        assert!(matches!(answer, Err(Error::HostKeyChanged { .. })), "{answer:?}");
    }

    #[test]
    fn an_unseen_machine_is_accepted_only_where_the_first_use_counts() {
        assert_eq!(expected(&[], true).check(&key(ED25519)), Ok(Trust::FirstUse));
        assert_eq!(
            expected(&[], false).check(&key(ED25519)),
            Err(Error::HostKeyUnknown {
                host: "i-1".to_owned()
            })
        );
    }

    #[test]
    fn a_revoked_key_is_refused_even_if_it_is_also_trusted() {
        let mut expected = expected(&[ED25519], false);
        expected.revoked.push(key(ED25519));
        assert!(matches!(
            expected.check(&key(ED25519)),
            Err(Error::HostKeyChanged { .. })
        ));
    }

    #[test]
    fn the_known_algorithm_is_asked_for_first() {
        let ecdsa = PublicKey::from_openssh(
            "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBNg5hDh+6/qfFl8vGdPn1JQun8eo/qJ2x4/TXDLSDCWSBh7a2KIdTyM3Q2dOMhHWfk+KVek5YmL7+9zw0jtNY1I=",
        )
        .unwrap();
        let mut expected = expected(&[], true);
        assert_eq!(expected.algorithms()[0], Algorithm::Ed25519);
        expected.keys.push(ecdsa.clone());
        assert_eq!(expected.algorithms()[0], ecdsa.algorithm());
        assert_eq!(expected.algorithms().len(), ALGORITHMS.len());
    }
}
