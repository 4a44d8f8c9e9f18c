//! What a caller may fill into an operation, and what it must look like.

use serde::{Deserialize, Serialize};

use crate::domain::unix::{AbsolutePath, UnitName};

/// Longest value of a parameter, in bytes.
pub const VALUE_BYTES_MAX: usize = 1_024;

/// A blank that a caller fills in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parameter {
    pub description: String,
    pub pattern: Pattern,
    /// Without one the caller must give a value.
    pub default: Option<String>,
}

/// What a value must look like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pattern {
    /// A whole number in this range.
    Whole { min: u64, max: u64 },
    /// One of these words.
    Choice { values: Vec<String> },
    /// ASCII letters, digits, and these characters; it does not start with a hyphen.
    Word { also: String, chars_max: usize },
    /// The name of a systemd unit.
    Unit,
    /// An absolute path on the VM.
    Path,
}

/// Why a value does not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    #[error("must be a whole number from {min} to {max}")]
    Whole { min: u64, max: u64 },
    #[error("must be one of {}", .0.join(", "))]
    Choice(Vec<String>),
    #[error("must be 1 to {chars_max} letters, digits or any of {also:?}, and must not start with a hyphen")]
    Word { also: String, chars_max: usize },
    #[error(transparent)]
    Unit(#[from] crate::domain::unix::InvalidUnit),
    #[error(transparent)]
    Path(#[from] crate::domain::unix::InvalidPath),
    #[error("must not be longer than {VALUE_BYTES_MAX} bytes")]
    TooLong,
}

impl Pattern {
    /// The value as it is filled in.
    ///
    /// # Errors
    /// [`Misfit`] says what it must be.
    pub fn admit(&self, value: &str) -> Result<String, Misfit> {
        if value.len() > VALUE_BYTES_MAX {
            return Err(Misfit::TooLong);
        }
        match self {
            Self::Whole { min, max } => value
                .parse::<u64>()
                .ok()
                .filter(|number| (*min..=*max).contains(number) && value.bytes().all(|b| b.is_ascii_digit()))
                .map(|number| number.to_string())
                .ok_or(Misfit::Whole { min: *min, max: *max }),
            Self::Choice { values } if values.iter().any(|known| known == value) => Ok(value.to_owned()),
            Self::Choice { values } => Err(Misfit::Choice(values.clone())),
            Self::Word { also, chars_max } => {
                let legal = |c: char| c.is_ascii_alphanumeric() || also.contains(c);
                let fits = (1..=*chars_max).contains(&value.chars().count())
                    && !value.starts_with('-')
                    && value.chars().all(|c| legal(c) && !c.is_control());
                fits.then(|| value.to_owned()).ok_or_else(|| Misfit::Word {
                    also: also.clone(),
                    chars_max: *chars_max,
                })
            }
            Self::Unit => Ok(UnitName::new(value)?.as_str().to_owned()),
            Self::Path => Ok(AbsolutePath::new(value)?.as_str().to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_number_is_in_its_range_and_nothing_else() {
        let lines = Pattern::Whole { min: 1, max: 1_000 };
        assert_eq!(lines.admit("0050").as_deref(), Ok("50"));
        for bad in ["0", "1001", "-1", "+5", "5 ", "", "5;id", "99999999999999999999"] {
            assert!(lines.admit(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_choice_is_one_of_its_words() {
        let values = vec!["main".to_owned(), "next".to_owned()];
        let branch = Pattern::Choice {
            values: values.clone(),
        };
        assert_eq!(branch.admit("next").as_deref(), Ok("next"));
        assert_eq!(branch.admit("other"), Err(Misfit::Choice(values)));
    }

    #[test]
    fn units_and_paths_are_checked_as_such() {
        assert!(Pattern::Unit.admit("nginx").is_ok());
        assert!(Pattern::Unit.admit("--all").is_err());
        assert!(Pattern::Path.admit("/var/log/boot.log").is_ok());
        assert!(Pattern::Path.admit("/var/log/../../etc/shadow").is_err());
        assert_eq!(Pattern::Path.admit(&"/".repeat(2_000)), Err(Misfit::TooLong));
    }

    proptest! {
        #[test]
        fn a_word_is_never_an_option_and_has_nothing_a_shell_knows(value in "\\PC{0,40}") {
            let word = Pattern::Word { also: "._/-".to_owned(), chars_max: 30 };
            if let Ok(admitted) = word.admit(&value) {
                prop_assert!(!admitted.starts_with('-') && !admitted.is_empty());
                let special = admitted.contains(|c: char| "$`'\"\\;&|<>(){}*?! \n".contains(c));
                prop_assert!(!special, "{}", admitted);
            }
        }
    }
}
