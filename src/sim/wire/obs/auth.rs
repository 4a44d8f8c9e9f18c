//! obs-websocket's challenge: `base64(sha256(base64(sha256(password + salt)) + challenge))`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rand::RngExt;
use sha2::{Digest, Sha256};

use crate::domain::studio::Secret;

#[derive(Debug)]
pub(super) struct Challenge {
    pub(super) salt: String,
    pub(super) challenge: String,
}

impl Challenge {
    pub(super) fn new() -> Self {
        let mut rng = rand::rng();
        let mut random = || STANDARD.encode(rng.random::<[u8; 32]>());
        Self {
            salt: random(),
            challenge: random(),
        }
    }

    pub(super) fn is_answered_by(&self, proof: &str, password: &Secret) -> bool {
        proof == self.answer(password)
    }

    fn answer(&self, password: &Secret) -> String {
        let secret = STANDARD.encode(Sha256::digest(format!("{}{}", password.expose(), self.salt)));
        STANDARD.encode(Sha256::digest(format!("{secret}{}", self.challenge)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_protocol_document_s_example_is_answered() {
        // Salt and challenge from the document; the answer computed with `printf | openssl sha256 -binary | base64`.
        let challenge = Challenge {
            salt: "lM1GncleQOaCu9lT1yeUZhFYnqhsLLP1G5lAGo3ixaI=".to_owned(),
            challenge: "+IxH4CnCiqpX1rM9scsNynZzbOe4KhDeYcTNS3PDaeY=".to_owned(),
        };
        let password = Secret::new("supersecretpassword");
        assert!(challenge.is_answered_by("1Ct943GAT+6YQUUX47Ia/ncufilbe6+oD6lY+5kaCu4=", &password));
        assert!(!challenge.is_answered_by("", &password));
    }
}
