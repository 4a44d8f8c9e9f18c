//! Host certificates: a machine's key, vouched for by an authority that is trusted.
//!
//! Format and rules: OpenSSH's PROTOCOL.certkeys. A certificate speaks for the machine if one of its principals is
//! the instance's id or its address, `*` and `?` in it standing for any text and any character as in OpenSSH. One
//! without principals would speak for every machine, and is refused.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use russh::keys::ssh_encoding::Encode;
use russh::keys::ssh_key::certificate::CertType;
use russh::keys::ssh_key::public::KeyData;
use russh::keys::{Certificate, PublicKey};

use super::known_hosts::wildcard_fits;
use super::rsa;

/// What a server's certificate is judged by.
#[derive(Debug, Clone, Default)]
pub(super) struct Authorities {
    pub trusted: Vec<PublicKey>,
    /// What may neither sign a certificate nor be in one.
    pub revoked: Vec<PublicKey>,
    /// What the machine is called.
    pub names: Vec<String>,
}

/// Why a certificate is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("it is signed by {0}, which is not among the trusted authorities")]
    Stranger(String),
    #[error("{0} is revoked")]
    Revoked(String),
    #[error("its signature is wrong")]
    Forged,
    #[error("it is a user's certificate, not a host's")]
    NotAHost,
    #[error("it is valid only from {}", date(*.0))]
    TooEarly(u64),
    #[error("it was valid only until {}", date(*.0))]
    Expired(u64),
    #[error("it is for {principals}, and the machine is {names}")]
    Other { principals: String, names: String },
    #[error("it names no machine, so that it would be good for all")]
    Anybody,
    #[error("it has the critical option {0}, which is not known")]
    Option(String),
}

impl Authorities {
    /// Whether a certificate that a server has shown, and whose key it has, is one for it at this time.
    pub(super) fn check(&self, shown: &Certificate, now: SystemTime) -> Result<(), Refused> {
        let among = |keys: &[PublicKey], key: &KeyData| keys.iter().any(|known| known.key_data() == key);
        for key in [shown.signature_key(), shown.public_key()] {
            if among(&self.revoked, key) {
                return Err(Refused::Revoked(describe(key)));
            }
        }
        if !among(&self.trusted, shown.signature_key()) {
            return Err(Refused::Stranger(describe(shown.signature_key())));
        }
        if !is_signed(shown) {
            return Err(Refused::Forged);
        }
        if shown.cert_type() != CertType::Host {
            return Err(Refused::NotAHost);
        }
        let now = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        if now < shown.valid_after() {
            return Err(Refused::TooEarly(shown.valid_after()));
        }
        if now >= shown.valid_before() {
            return Err(Refused::Expired(shown.valid_before()));
        }
        if let Some((option, _)) = shown.critical_options().iter().next() {
            return Err(Refused::Option(option.clone()));
        }
        self.is_named_in(shown.valid_principals())
    }

    fn is_named_in(&self, principals: &[String]) -> Result<(), Refused> {
        let fits = |principal: &String| {
            let fits = |name: &String| wildcard_fits(principal.as_bytes(), name.as_bytes());
            self.names.iter().any(fits)
        };
        if principals.is_empty() {
            Err(Refused::Anybody)
        } else if principals.iter().any(fits) {
            Ok(())
        } else {
            Err(Refused::Other {
                principals: principals.join(", "),
                names: self.names.join(" or "),
            })
        }
    }
}

/// Whether the authority that a certificate names has signed it.
fn is_signed(certificate: &Certificate) -> bool {
    let KeyData::Rsa(authority) = certificate.signature_key() else {
        return certificate.verify_signature().is_ok();
    };
    // All of it but the signature at its end, which is what is signed.
    let signature = certificate.signature();
    let (Ok(bytes), Ok(signature_bytes)) = (certificate.to_bytes(), signature.encoded_len_prefixed()) else {
        return false;
    };
    let signed = bytes
        .len()
        .checked_sub(signature_bytes)
        .and_then(|end| bytes.get(..end));
    signed.is_some_and(|signed| rsa::has_signed(authority, signed, signature))
}

fn describe(key: &KeyData) -> String {
    super::host_keys::describe(&PublicKey::from(key.clone()))
}

/// As RFC 3339 has it, in UTC.
fn date(unix_seconds: u64) -> String {
    let time = UNIX_EPOCH.checked_add(Duration::from_secs(unix_seconds));
    let date = time.and_then(|time| jiff::Timestamp::try_from(time).ok());
    date.map_or_else(|| "the end of time".to_owned(), |date| date.to_string())
}
