//! Secrets as they are carried and kept: readable only with the key they are sealed under.
//!
//! What is durable here is a fact in a journal that is copied, backed up and replayed, so a stream key is never in
//! it in the clear. The domain carries and compares what is sealed; opening it is the vault's (`infra::vault`).
//! Sealing the same text under the same key gives the same result, so a secret that did not change is equal.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::studio::Secret;

/// A secret that only a vault can read.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Sealed {
    Closed {
        /// Names the key that opens it.
        key_id: String,
        /// Base64, as is `text`.
        nonce: String,
        text: String,
    },
    /// Written by a version that did not seal yet. The coordinator seals it when it starts.
    Plain(#[serde(serialize_with = "expose", deserialize_with = "unsealed")] Secret),
}

impl Sealed {
    /// Names the key that opens it; `None` for one that was never sealed.
    #[must_use]
    pub fn key_id(&self) -> Option<&str> {
        match self {
            Self::Closed { key_id, .. } => Some(key_id),
            Self::Plain(_) => None,
        }
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed { key_id, .. } => write!(f, "(sealed under {key_id})"),
            Self::Plain(_) => f.write_str("(secret, not sealed yet)"),
        }
    }
}

fn expose<S: Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose())
}

fn unsealed<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
    String::deserialize(deserializer).map(Secret::new)
}

/// Reads an optional secret. Journals that did not seal have the empty text for none.
///
/// # Errors
/// Whatever the format finds wrong.
pub fn optional<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Sealed>, D::Error> {
    let read = Option::<Sealed>::deserialize(deserializer)?;
    Ok(read.filter(|sealed| !matches!(sealed, Sealed::Plain(secret) if secret.is_empty())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_is_read_as_it_was_written() {
        let sealed = Sealed::Closed {
            key_id: "0a1b".to_owned(),
            nonce: "AAAA".to_owned(),
            text: "BBBB".to_owned(),
        };
        let json = serde_json::to_string(&sealed).unwrap();
        assert_eq!(serde_json::from_str::<Sealed>(&json).unwrap(), sealed);
        assert_eq!(format!("{sealed:?}"), "(sealed under 0a1b)");
    }

    #[test]
    fn a_key_of_an_older_journal_is_known_not_to_be_sealed() {
        let plain: Sealed = serde_json::from_str("\"hush\"").unwrap();
        assert_eq!(plain, Sealed::Plain(Secret::new("hush")));
        assert_eq!(plain.key_id(), None);
        assert!(!format!("{plain:?}").contains("hush"));
        assert_eq!(serde_json::to_string(&plain).unwrap(), "\"hush\"");
    }
}
