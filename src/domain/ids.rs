//! Names of things: VMs, cloud instances, shows; and the counters that order them.
//!
//! The two ids that clients supply ([`VmId`], [`ShowId`]) are also keys of the browsers' database, so they
//! are checked against its rules once, here, and are legal everywhere after that.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Longest id accepted, in characters.
pub const ID_CHARS_MAX: usize = 128;

/// Why a text cannot be an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    #[error("an id must not be empty")]
    Empty,
    #[error("an id has at most {ID_CHARS_MAX} characters, this one has {0}")]
    TooLong(usize),
    #[error("an id must not contain {0:?}; not allowed are . # $ [ ] / and control characters")]
    IllegalCharacter(char),
}

fn check(text: &str) -> Result<(), InvalidId> {
    let chars = text.chars().count();
    if chars == 0 {
        return Err(InvalidId::Empty);
    }
    if chars > ID_CHARS_MAX {
        return Err(InvalidId::TooLong(chars));
    }
    match text.chars().find(|c| c.is_control() || ".#$[]/".contains(*c)) {
        Some(illegal) => Err(InvalidId::IllegalCharacter(illegal)),
        None => Ok(()),
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks `text` and makes it an id.
            ///
            /// # Errors
            /// [`InvalidId`] says which rule of the browsers' database keys it breaks.
            pub fn new(text: impl Into<Arc<str>>) -> Result<Self, InvalidId> {
                let text = text.into();
                check(&text)?;
                Ok(Self(text))
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0.as_ref().to_owned()
            }
        }

        impl std::str::FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id! {
    /// A VM of the pool, as people and clients name it: `vm-0a1b2c3d`.
    VmId
}

id! {
    /// A show. On the wire it is a *competition* and this is its `compId`.
    ShowId
}

id! {
    /// The cloud's own name of a machine: `i-0a1b2c3d4e5f60718`.
    InstanceId
}

id! {
    /// What a client sent as `Idempotency-Key`.
    RequestKey
}

impl VmId {
    /// The id of a newly found instance: `vm-` and the last `suffix_chars` characters of the instance id.
    /// Eight is the form existing clients know; a longer suffix settles a collision.
    ///
    /// # Errors
    /// [`InvalidId`] if the result is not a legal id.
    pub fn for_instance(instance: &InstanceId, suffix_chars: usize) -> Result<Self, InvalidId> {
        let chars: Vec<char> = instance.as_str().chars().collect();
        let start = chars.len().saturating_sub(suffix_chars);
        let suffix: String = chars[start..].iter().collect();
        Self::new(format!("vm-{suffix}"))
    }
}

macro_rules! counter {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// The one after this.
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

counter! {
    /// How often a show has been given a VM. It rises by one on every move and is the fencing token: an
    /// effect started for an older epoch is refused.
    Epoch
}

counter! {
    /// Position in the ledger's journal. Every commit has one, and everything published from it carries it.
    Seq
}

counter! {
    /// Numbers the tries of one slow effect, so that the completion of an abandoned try is recognised.
    Attempt
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_legal_database_key() {
        assert!(VmId::new("vm-0a1b2c3d").is_ok());
        assert!(ShowId::new("État 2026 — finale").is_ok());
        assert_eq!(ShowId::new(""), Err(InvalidId::Empty));
        assert_eq!(ShowId::new("a".repeat(129)), Err(InvalidId::TooLong(129)));
        for illegal in ['.', '#', '$', '[', ']', '/', '\n', '\u{7f}'] {
            assert_eq!(
                ShowId::new(format!("a{illegal}b")),
                Err(InvalidId::IllegalCharacter(illegal))
            );
        }
    }

    #[test]
    fn a_vm_is_named_after_the_end_of_its_instance_id() {
        let instance = InstanceId::new("i-0a1b2c3d4e5f60718").unwrap();
        assert_eq!(VmId::for_instance(&instance, 8).unwrap().as_str(), "vm-e5f60718");
        assert_eq!(
            VmId::for_instance(&instance, 99).unwrap().as_str(),
            "vm-i-0a1b2c3d4e5f60718"
        );
    }
}
