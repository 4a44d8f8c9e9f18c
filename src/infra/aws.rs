//! What the adapters of AWS have in common: how a client is set up, and what is told of a call that failed.
//!
//! Which failure means what is for each adapter to know, and so are its time limits and repetitions.

use std::error::Error as StdError;
use std::fmt;

use aws_config::{AppName, BehaviorVersion, ConfigLoader, Region};
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;

use crate::domain::studio::Secret;
use crate::infra::causes::with_causes;

/// Longest detail kept. A denied call comes with kilobytes of encoded policy.
const DETAIL_CHARS_MAX: usize = 300;

/// What precedes that policy in the message.
const ENCODED_POLICY: &str = "Encoded authorization failure message";

/// An access key to use instead of what the SDK's own chain finds: environment, profile and SSO, web identity, container,
/// instance metadata.
#[derive(Clone)]
pub struct AccessKey {
    pub id: String,
    pub secret: Secret,
}

impl fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessKey(redacted)")
    }
}

/// A client's settings, but for retries and time limits. Nobody is contacted: credentials are found at the first call.
/// Without a region or endpoint, the SDK's environment and profile files say which.
pub(super) fn loader(
    region: Option<&str>,
    endpoint_url: Option<&str>,
    access_key: Option<&AccessKey>,
) -> ConfigLoader {
    // Pinned, so that an SDK update does not change retries or time limits behind our back.
    let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12());
    if let Ok(name) = AppName::new("understudy") {
        loader = loader.app_name(name);
    }
    if let Some(region) = region {
        loader = loader.region(Region::new(region.to_owned()));
    }
    if let Some(url) = endpoint_url {
        loader = loader.endpoint_url(url);
    }
    if let Some(AccessKey { id, secret }) = access_key {
        let key = Credentials::new(id, secret.expose(), None, None, "configuration");
        loader = loader.credentials_provider(key);
    }
    loader
}

/// Why there are no credentials, if that is why a call failed: the SDK reports it like a network that is down.
///
/// Its causes must not be told: what a credential program printed may be among them.
pub(super) fn credentials<'a>(failure: &'a (dyn StdError + 'static)) -> Option<&'a CredentialsError> {
    let mut source = Some(failure);
    while let Some(cause) = source {
        if let Some(found) = cause.downcast_ref() {
            return Some(found);
        }
        source = cause.source();
    }
    None
}

/// An error with its causes, [`concise`].
pub(super) fn chain(error: &dyn StdError) -> String {
    concise(&with_causes(error))
}

/// The first line, without the encoded policy, of bounded length.
pub(super) fn concise(message: &str) -> String {
    let first_line = message.trim().lines().next().unwrap_or_default();
    let plain = first_line
        .split(ENCODED_POLICY)
        .next()
        .unwrap_or_default()
        .trim_end();
    match plain.char_indices().nth(DETAIL_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &plain[..end]),
        None => plain.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_encoded_policy_and_further_lines_are_left_out_and_the_rest_is_bounded() {
        let denied =
            "You are not authorized to perform this operation. Encoded authorization failure message: 6KVyHo";
        assert_eq!(
            concise(denied),
            "You are not authorized to perform this operation."
        );
        assert_eq!(
            concise("the signature does not match\n\nThe Canonical String was\nGET"),
            "the signature does not match"
        );
        assert_eq!(
            concise(&"é".repeat(DETAIL_CHARS_MAX + 1)).chars().count(),
            DETAIL_CHARS_MAX + 1
        );
        assert_eq!(concise(""), "");
    }

    #[derive(Debug, thiserror::Error)]
    enum Failure {
        #[error("dispatch failed")]
        Dispatch(#[source] Box<Failure>),
        #[error("no credentials")]
        Credentials(#[source] CredentialsError),
        #[error("refused")]
        Refused,
    }

    #[test]
    fn missing_credentials_are_found_among_the_causes() {
        let missing = Failure::Credentials(CredentialsError::not_loaded("no provider has any"));
        let failure = Failure::Dispatch(Box::new(missing));
        assert!(matches!(
            credentials(&failure),
            Some(CredentialsError::CredentialsNotLoaded(_))
        ));
        assert!(credentials(&Failure::Refused).is_none());
    }

    #[test]
    fn an_access_key_does_not_show_in_debug_output() {
        let key = AccessKey {
            id: "AKIDEXAMPLE".to_owned(),
            secret: Secret::new("wJalrXUtnFEMI"),
        };
        let shown = format!("{key:?}");
        for secret in ["AKIDEXAMPLE", "wJalrXUtnFEMI"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}
