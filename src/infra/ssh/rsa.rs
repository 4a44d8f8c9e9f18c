//! RSA keys, signed with by aws-lc.
//!
//! The SSH library would bring another implementation for it, in a version that is not released yet. Signatures are
//! `rsa-sha2-512` and `rsa-sha2-256` (RFC 8332); the older one with SHA-1 is never made.

use std::fmt;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeyPairComponents, PublicKeyComponents};
use aws_lc_rs::signature::{
    KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA512, RSA_PKCS1_SHA256, RSA_PKCS1_SHA512,
    RsaEncoding,
};
use num_bigint::BigUint;
use pkcs8::der::asn1::UintRef;
use pkcs8::der::{self, Decode, Reader, SliceReader};
use russh::Signer;
use russh::keys::agent::AgentIdentity;
use russh::keys::ssh_key::private::RsaKeypair;
use russh::keys::ssh_key::public::{KeyData, RsaPublicKey};
use russh::keys::ssh_key::{Mpint, Signature};
use russh::keys::{Algorithm, HashAlg, PublicKey};

use super::connector::Fault;

/// A private RSA key of 2048 to 8192 bits; aws-lc takes no other.
pub(super) struct RsaKey {
    pair: KeyPair,
    public: PublicKey,
}

impl fmt::Debug for RsaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RsaKey").finish_non_exhaustive()
    }
}

impl RsaKey {
    /// From `RSAPrivateKey` in DER (RFC 8017, appendix A.1.2).
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn from_pkcs1(der: &[u8]) -> Result<Self, String> {
        Self::new(KeyPair::from_der(der).map_err(|why| why.to_string())?)
    }

    /// From `PrivateKeyInfo` in DER (RFC 5958, section 2).
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn from_pkcs8(der: &[u8]) -> Result<Self, String> {
        Self::new(KeyPair::from_pkcs8(der).map_err(|why| why.to_string())?)
    }

    /// From the numbers that OpenSSH's format keeps, which lack two that follow from the others.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(super) fn from_pair(pair: &RsaKeypair) -> Result<Self, String> {
        let (public, private) = (pair.public(), pair.private());
        let bytes = |number: &Mpint| {
            let bytes = number.as_positive_bytes().ok_or("a number in it is negative")?;
            Ok::<_, String>(bytes.to_vec())
        };
        let (d, p, q) = (bytes(private.d())?, bytes(private.p())?, bytes(private.q())?);
        let reduced = |prime: &[u8]| {
            let below = BigUint::from_bytes_be(prime);
            if below <= BigUint::from(1u8) {
                return Err("a prime in it is none".to_owned());
            }
            Ok((BigUint::from_bytes_be(&d) % (below - 1u8)).to_bytes_be())
        };
        let components = KeyPairComponents {
            public_key: PublicKeyComponents {
                n: bytes(public.n())?,
                e: bytes(public.e())?,
            },
            dP: reduced(&p)?,
            dQ: reduced(&q)?,
            qInv: bytes(private.iqmp())?,
            d,
            p,
            q,
        };
        Self::new(KeyPair::from_components(&components).map_err(|why| why.to_string())?)
    }

    fn new(pair: KeyPair) -> Result<Self, String> {
        // `RSAPublicKey` in DER (RFC 8017, appendix A.1.1).
        let numbers = SliceReader::new(pair.public_key().as_ref())
            .and_then(|mut reader| reader.sequence(|numbers| Ok((number(numbers)?, number(numbers)?))));
        let (modulus, exponent) = numbers.map_err(|error: der::Error| error.to_string())?;
        let public = RsaPublicKey::new(exponent, modulus).map_err(|error| error.to_string())?;
        Ok(Self {
            pair,
            public: PublicKey::from(KeyData::Rsa(public)),
        })
    }

    pub(super) fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The signature as it is sent: its algorithm and its bytes (RFC 8332, section 3).
    fn sign(&self, hash: HashAlg, message: &[u8]) -> Option<Vec<u8>> {
        let (name, encoding): (_, &'static dyn RsaEncoding) = match hash {
            HashAlg::Sha256 => ("rsa-sha2-256", &RSA_PKCS1_SHA256),
            HashAlg::Sha512 => ("rsa-sha2-512", &RSA_PKCS1_SHA512),
            _ => return None,
        };
        let mut bytes = vec![0; self.pair.public_modulus_len()];
        let signed = self
            .pair
            .sign(encoding, &SystemRandom::new(), message, &mut bytes);
        signed.ok()?;
        let mut signature = string(name.as_bytes())?;
        signature.extend(string(&bytes)?);
        string(&signature)
    }
}

/// Whether the owner of a key has made this signature, with SHA-2, of this message.
pub(super) fn has_signed(key: &RsaPublicKey, message: &[u8], signature: &Signature) -> bool {
    let parameters = match signature.algorithm() {
        Algorithm::Rsa {
            hash: Some(HashAlg::Sha256),
        } => &RSA_PKCS1_2048_8192_SHA256,
        Algorithm::Rsa {
            hash: Some(HashAlg::Sha512),
        } => &RSA_PKCS1_2048_8192_SHA512,
        _ => return false,
    };
    let (Some(n), Some(e)) = (key.n().as_positive_bytes(), key.e().as_positive_bytes()) else {
        return false;
    };
    let components = PublicKeyComponents { n, e };
    components
        .verify(parameters, message, signature.as_bytes())
        .is_ok()
}

fn number(reader: &mut SliceReader<'_>) -> der::Result<Mpint> {
    Ok(Mpint::from_positive_bytes(UintRef::decode(reader)?.as_bytes()))
}

/// Bytes with their length before them (RFC 4251, section 5).
fn string(bytes: &[u8]) -> Option<Vec<u8>> {
    let length = u32::try_from(bytes.len()).ok()?;
    let mut string = length.to_be_bytes().to_vec();
    string.extend_from_slice(bytes);
    Some(string)
}

/// Signs for one login.
pub(super) struct RsaSigner<'a>(pub(super) &'a RsaKey);

impl Signer for RsaSigner<'_> {
    type Error = Fault;

    /// Answers with the message and its signature behind it.
    async fn auth_sign(
        &mut self,
        _: &AgentIdentity,
        hash: Option<HashAlg>,
        mut message: Vec<u8>,
    ) -> Result<Vec<u8>, Fault> {
        // Without a hash it would be SHA-1. It fails besides only for want of memory or randomness.
        let signature = hash.and_then(|hash| self.0.sign(hash, &message));
        message.extend(signature.ok_or(russh::Error::Inconsistent)?);
        Ok(message)
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rsa::KeySize;
    use russh::keys::ssh_encoding::Decode;

    use super::*;

    #[test]
    fn what_is_signed_is_recognised_and_nothing_else() {
        let key = RsaKey::new(KeyPair::generate(KeySize::Rsa2048).unwrap()).unwrap();
        let KeyData::Rsa(public) = key.public().key_data().clone() else {
            panic!("{:?}", key.public());
        };
        for hash in [HashAlg::Sha256, HashAlg::Sha512] {
            let sent = key.sign(hash, b"message").unwrap();
            // It is sent with its length before it.
            let signature = Signature::decode(&mut &sent[4..]).unwrap();
            assert_eq!(signature.algorithm(), Algorithm::Rsa { hash: Some(hash) });
            assert!(has_signed(&public, b"message", &signature));
            assert!(!has_signed(&public, b"massage", &signature));
        }
    }
}
