//! Names on a VM that end up in a command: systemd units and absolute paths, checked once, here.
//!
//! Commands are lists of words and no shell reads them, so quoting is not what these are checked for. They are
//! checked so that a word cannot be taken for an option, leave the folder it is meant for, or deface a log.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Longest unit name, in bytes (systemd.unit(5)).
pub const UNIT_BYTES_MAX: usize = 255;
/// Longest path, in bytes; Linux takes 4095 (`PATH_MAX` in limits.h), and nothing here comes near.
pub const PATH_BYTES_MAX: usize = 1_024;

/// Why a text is no unit name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUnit {
    #[error("a unit name has 1 to {UNIT_BYTES_MAX} characters")]
    Length,
    #[error("a unit name must not start with {0:?}")]
    Start(char),
    #[error("a unit name must not contain {0:?}; allowed are letters, digits and : _ . @ -")]
    Character(char),
}

/// Name of a systemd unit, with or without its suffix: the characters of systemd.unit(5), without the backslash
/// that only escaped paths need, and never an option.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UnitName(Cow<'static, str>);

impl UnitName {
    /// A name that the program itself knows, not checked.
    #[must_use]
    pub const fn known(text: &'static str) -> Self {
        Self(Cow::Borrowed(text))
    }

    /// # Errors
    /// [`InvalidUnit`].
    pub fn new(text: &str) -> Result<Self, InvalidUnit> {
        if text.is_empty() || text.len() > UNIT_BYTES_MAX {
            return Err(InvalidUnit::Length);
        }
        if let Some(start) = text.chars().next().filter(|c| matches!(c, '-' | '.')) {
            return Err(InvalidUnit::Start(start));
        }
        let legal = |c: char| c.is_ascii_alphanumeric() || ":_.@-".contains(c);
        match text.chars().find(|c| !legal(*c)) {
            Some(illegal) => Err(InvalidUnit::Character(illegal)),
            None => Ok(Self(Cow::Owned(text.to_owned()))),
        }
    }
}

/// Why a text is no path on a VM.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPath {
    #[error("a path on a VM has 1 to {PATH_BYTES_MAX} bytes")]
    Length,
    #[error("a path on a VM must be absolute: it starts with /")]
    Relative,
    #[error("a path on a VM must not contain `..`")]
    Parent,
    #[error("a path on a VM must not contain control characters")]
    Control,
}

/// An absolute path on a VM that nowhere goes up. Where its links lead is not known here.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AbsolutePath(Arc<str>);

impl AbsolutePath {
    /// Checks `text` and makes it a path, without a slash at its end.
    ///
    /// # Errors
    /// [`InvalidPath`].
    pub fn new(text: &str) -> Result<Self, InvalidPath> {
        if text.is_empty() || text.len() > PATH_BYTES_MAX {
            return Err(InvalidPath::Length);
        }
        if !text.starts_with('/') {
            return Err(InvalidPath::Relative);
        }
        if text.split('/').any(|part| part == "..") {
            return Err(InvalidPath::Parent);
        }
        if text.chars().any(char::is_control) {
            return Err(InvalidPath::Control);
        }
        let trimmed = text.trim_end_matches('/');
        Ok(Self(if trimmed.is_empty() { "/" } else { trimmed }.into()))
    }

    /// Whether this is `root` or below it, name for name.
    #[must_use]
    pub fn is_within(&self, root: &Self) -> bool {
        let names = |path: &Self| -> Vec<String> {
            let names = path.as_str().split('/');
            names
                .filter(|name| !matches!(*name, "" | "."))
                .map(str::to_owned)
                .collect()
        };
        names(self).starts_with(&names(root))
    }

    /// What stands after the last slash; `None` for `/` and for a path that ends in `.`.
    #[must_use]
    pub fn file_name(&self) -> Option<&str> {
        let name = self.0.rsplit('/').next()?;
        (!matches!(name, "" | ".")).then_some(name)
    }

    /// The folder that this is in; `None` for `/`.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        let (parent, name) = self.0.rsplit_once('/')?;
        match (parent, name) {
            ("", "") => None,
            ("", _) => Some(Self("/".into())),
            (parent, _) => Some(Self(parent.into())),
        }
    }
}

macro_rules! text {
    ($name:ident, $error:ident) => {
        impl $name {
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.as_ref().to_owned()
            }
        }

        impl TryFrom<String> for $name {
            type Error = $error;

            fn try_from(text: String) -> Result<Self, $error> {
                Self::new(text.as_str())
            }
        }
    };
}

text!(UnitName, InvalidUnit);
text!(AbsolutePath, InvalidPath);

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> AbsolutePath {
        AbsolutePath::new(text).unwrap()
    }

    #[test]
    fn unit_names_are_those_of_systemd_and_never_an_option() {
        for unit in [
            "obs-headless",
            "show-server.service",
            "getty@tty1.service",
            "a:b_c",
        ] {
            assert_eq!(UnitName::new(unit).unwrap().as_str(), unit);
        }
        for bad in [
            "",
            "-u",
            ".hidden",
            "a b",
            "a;b",
            "a/b",
            "a\\b",
            "é",
            "a\n",
            &"x".repeat(256),
        ] {
            assert!(UnitName::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn paths_are_absolute_and_go_nowhere_up() {
        assert_eq!(path("/home/ubuntu/").as_str(), "/home/ubuntu");
        assert_eq!(path("/").as_str(), "/");
        assert_eq!(path("/a/..b/c..").as_str(), "/a/..b/c..");
        for (bad, why) in [
            ("", InvalidPath::Length),
            ("home", InvalidPath::Relative),
            ("~/x", InvalidPath::Relative),
            ("/a/../b", InvalidPath::Parent),
            ("/..", InvalidPath::Parent),
            ("/a\0b", InvalidPath::Control),
            ("/a\nb", InvalidPath::Control),
            (&format!("/{}", "x".repeat(1_024)), InvalidPath::Length),
        ] {
            assert_eq!(AbsolutePath::new(bad), Err(why), "{bad:?}");
        }
    }

    #[test]
    fn a_path_is_within_a_folder_by_whole_names() {
        let root = path("/home/ubuntu/recordings");
        assert!(path("/home/ubuntu/recordings").is_within(&root));
        assert!(path("/home/ubuntu/recordings/a.mp4").is_within(&root));
        assert!(path("/home//ubuntu/./recordings/a").is_within(&root));
        assert!(!path("/home/ubuntu/recordings-old/a").is_within(&root));
        assert!(!path("/home/ubuntu").is_within(&root));
        assert!(path("/anything").is_within(&path("/")));
    }

    #[test]
    fn a_path_knows_its_folder_and_its_last_name() {
        assert_eq!(path("/a/b").parent(), Some(path("/a")));
        assert_eq!(path("/a").parent(), Some(path("/")));
        assert_eq!(path("/").parent(), None);
        assert_eq!(path("/a/b.mp4").file_name(), Some("b.mp4"));
        assert_eq!(path("/").file_name(), None);
    }
}
