//! What came of comparing a studio that was made with what it was to be.

use serde::{Deserialize, Serialize};

use super::Difference;
use crate::domain::time::Timestamp;

/// Differences that are written down one by one. A studio of which nothing could be made has thousands; more than a
/// person reads help nobody, and all of them stay in the journal for ever.
pub const DIFFERENCES_MAX: usize = 100;

/// A studio that was made has been read again, and compared with what it was to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comparison {
    /// When it had been read.
    pub at: Timestamp,
    /// In what it is not the same, one sentence each; empty if it is.
    pub differences: Vec<String>,
}

/// One sentence each, without secrets; past [`DIFFERENCES_MAX`] the last says how many more there are.
#[must_use]
pub fn sentences(differences: &[Difference]) -> Vec<String> {
    let told = differences.iter().take(DIFFERENCES_MAX);
    let mut sentences: Vec<String> = told.map(ToString::to_string).collect();
    let left = differences.len() - sentences.len();
    if left > 0 {
        sentences.push(format!("and {left} more differences"));
    }
    sentences
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::studio::Subject;

    fn missing(inputs: usize) -> Vec<Difference> {
        let missing = |n: usize| Difference {
            subject: Subject::Input(format!("in {n}")),
            aspect: String::new(),
            want: Some("there".to_owned()),
            found: None,
        };
        (0..inputs).map(missing).collect()
    }

    #[test]
    fn what_is_not_written_down_is_counted() {
        assert_eq!(sentences(&[]), Vec::<String>::new());
        assert_eq!(sentences(&missing(1)), ["input \"in 0\" is missing"]);
        assert_eq!(sentences(&missing(DIFFERENCES_MAX)).len(), DIFFERENCES_MAX);
        let many = sentences(&missing(DIFFERENCES_MAX + 7));
        assert_eq!(many.len(), DIFFERENCES_MAX + 1);
        assert_eq!(many.last().unwrap(), "and 7 more differences");
    }
}
