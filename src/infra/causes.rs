//! An error in one line: what libraries say is often only in the causes.

use std::error::Error;

/// An error's text with the texts of its causes, outermost first. A cause that is repeated by the text before it is left
/// out.
#[must_use]
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Failure {
        #[error("dispatch failed")]
        Dispatch(#[source] Box<Failure>),
        #[error("connecting: refused")]
        Connecting(#[source] Box<Failure>),
        #[error("refused")]
        Refused,
    }

    #[test]
    fn causes_are_told_once_each() {
        let refused = Failure::Connecting(Box::new(Failure::Refused));
        let failure = Failure::Dispatch(Box::new(refused));
        assert_eq!(with_causes(&failure), "dispatch failed: connecting: refused");
    }
}
