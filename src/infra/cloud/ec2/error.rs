//! EC2's many error codes, sorted into the few kinds the pool can do something about.
//!
//! Codes: <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html>.

use std::error::Error as StdError;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_ec2::config::http::HttpResponse;
use aws_sdk_ec2::error::{ConnectorError, ProvideErrorMetadata, SdkError};

use crate::infra::aws::{self, chain, concise};
use crate::infra::cloud::{Error, ErrorKind};

/// An error of ours, not of EC2's: there is no code.
pub(super) fn new(call: &'static str, kind: ErrorKind, detail: impl Into<String>) -> Error {
    Error {
        call,
        kind,
        code: None,
        detail: Some(detail.into()),
    }
}

/// EC2 answered with success, but not with what the call must return.
pub(super) fn unreadable(call: &'static str, what: &str) -> Error {
    new(
        call,
        ErrorKind::Internal,
        format!("the answer cannot be used: {what}"),
    )
}

/// Sorts a failed call.
pub(super) fn from_sdk<E>(call: &'static str, error: &SdkError<E, HttpResponse>) -> Error
where
    E: ProvideErrorMetadata + StdError + 'static,
{
    match error {
        SdkError::ServiceError(answer) => {
            let code = answer.err().code();
            let status = answer.raw().status().as_u16();
            Error {
                call,
                kind: kind_of(code, status),
                code: code.map(str::to_owned),
                detail: Some(match answer.err().message() {
                    Some(message) => concise(message),
                    None => format!("HTTP status {status}, {}", chain(answer.err())),
                }),
            }
        }
        SdkError::TimeoutError(_) => new(call, ErrorKind::TimedOut, chain(error)),
        SdkError::DispatchFailure(failure) => match failure.as_connector_error() {
            Some(connector) => from_connector(call, connector),
            None => new(call, ErrorKind::Unreachable, chain(error)),
        },
        SdkError::ResponseError(answer) => {
            let status = answer.raw().status().as_u16();
            new(call, kind_of_status(status, ErrorKind::Internal), chain(error))
        }
        // The request was never sent: a value in it or in the configuration cannot be used. (The SDK may add
        // further variants; whatever they are, they are not an answer.)
        _ => new(call, ErrorKind::Invalid, chain(error)),
    }
}

/// Connecting and sending, and, before them, finding credentials: the SDK reports all three alike.
fn from_connector(call: &'static str, error: &ConnectorError) -> Error {
    if let Some(credentials) = aws::credentials(error) {
        return from_credentials(call, credentials);
    }
    let kind = if error.is_timeout() {
        ErrorKind::TimedOut
    } else if error.is_user() {
        ErrorKind::Invalid
    } else {
        ErrorKind::Unreachable
    };
    new(call, kind, chain(error))
}

fn from_credentials(call: &'static str, error: &CredentialsError) -> Error {
    match error {
        CredentialsError::ProviderTimedOut(_) => new(call, ErrorKind::TimedOut, chain(error)),
        CredentialsError::CredentialsNotLoaded(_) | CredentialsError::InvalidConfiguration(_) => {
            new(call, ErrorKind::NoCredentials, chain(error))
        }
        // Not the causes: what a credential program printed may be among them.
        other => new(call, ErrorKind::NoCredentials, concise(&other.to_string())),
    }
}

fn kind_of(code: Option<&str>, status: u16) -> ErrorKind {
    let Some(code) = code else {
        return kind_of_status(status, ErrorKind::Invalid);
    };
    // Older endpoints prefix the side at fault.
    let code = code
        .strip_prefix("Server.")
        .or_else(|| code.strip_prefix("Client."))
        .unwrap_or(code);
    match code {
        "RequestLimitExceeded"
        | "Throttling"
        | "ThrottlingException"
        | "ThrottledException"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "EC2ThrottledException"
        | "TooManyRequestsException"
        | "BandwidthLimitExceeded"
        | "SlowDown" => ErrorKind::Throttled,
        capacity if is_capacity(capacity) => ErrorKind::NoCapacity,
        "InvalidInstanceID" | "InvalidInstanceID.NotFound" | "InvalidInstanceID.Malformed" => {
            ErrorKind::NotFound
        }
        "IncorrectInstanceState"
        | "IncorrectState"
        | "InvalidInstanceID.NotLinkable"
        | "IdempotentInstanceTerminated" => ErrorKind::WrongState,
        "AuthFailure"
        | "InvalidClientTokenId"
        | "InvalidAccessKeyId"
        | "UnrecognizedClientException"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "RequestExpired"
        | "SignatureDoesNotMatch"
        | "IncompleteSignature"
        | "MissingAuthenticationToken" => ErrorKind::NoCredentials,
        "UnauthorizedOperation"
        | "AccessDenied"
        | "AccessDeniedException"
        | "OperationNotPermitted"
        | "OptInRequired"
        | "PendingVerification"
        | "Blocked" => ErrorKind::Denied,
        "RequestTimeout" | "RequestTimeoutException" => ErrorKind::TimedOut,
        "InternalError" | "InternalFailure" | "Unavailable" | "ServiceUnavailable" => ErrorKind::Internal,
        _ => kind_of_status(status, ErrorKind::Invalid),
    }
}

/// EC2 has no room for the machine, or the account's quota or the subnet's addresses are used up: in each case
/// the same request may succeed once something else has gone away.
pub(super) fn is_capacity(code: &str) -> bool {
    matches!(
        code,
        "InsufficientInstanceCapacity"
            | "InsufficientCapacity"
            | "InsufficientHostCapacity"
            | "InsufficientReservedInstanceCapacity"
            | "InsufficientFreeAddressesInSubnet"
            | "InstanceLimitExceeded"
            | "VcpuLimitExceeded"
    )
}

fn kind_of_status(status: u16, otherwise: ErrorKind) -> ErrorKind {
    match status {
        // A success or a redirection whose body is not EC2's: somebody else answered.
        ..=399 => ErrorKind::Internal,
        401 | 407 => ErrorKind::NoCredentials,
        403 => ErrorKind::Denied,
        408 | 504 => ErrorKind::TimedOut,
        429 => ErrorKind::Throttled,
        500.. => ErrorKind::Internal,
        _ => otherwise,
    }
}

#[cfg(test)]
mod tests {
    use aws_credential_types::provider::future;
    use aws_sdk_ec2::config::{BehaviorVersion, ProvideCredentials, Region};
    use aws_sdk_ec2::{Client, Config};

    use super::*;

    #[test]
    fn every_code_the_pool_acts_on_has_its_kind() {
        for (code, status, kind) in [
            ("RequestLimitExceeded", 503, ErrorKind::Throttled),
            ("Throttling", 400, ErrorKind::Throttled),
            ("InsufficientInstanceCapacity", 500, ErrorKind::NoCapacity),
            ("Server.InsufficientInstanceCapacity", 500, ErrorKind::NoCapacity),
            ("VcpuLimitExceeded", 400, ErrorKind::NoCapacity),
            ("InvalidInstanceID.NotFound", 400, ErrorKind::NotFound),
            ("InvalidInstanceID.Malformed", 400, ErrorKind::NotFound),
            ("IncorrectInstanceState", 400, ErrorKind::WrongState),
            ("AuthFailure", 401, ErrorKind::NoCredentials),
            ("InvalidClientTokenId", 403, ErrorKind::NoCredentials),
            ("ExpiredToken", 400, ErrorKind::NoCredentials),
            ("UnauthorizedOperation", 403, ErrorKind::Denied),
            ("OperationNotPermitted", 400, ErrorKind::Denied),
            ("InternalError", 500, ErrorKind::Internal),
            ("Unavailable", 503, ErrorKind::Internal),
            ("SomethingNew", 500, ErrorKind::Internal),
            ("SomethingNew", 400, ErrorKind::Invalid),
            ("InvalidAMIID.NotFound", 400, ErrorKind::Invalid),
            ("InvalidSubnetID.NotFound", 400, ErrorKind::Invalid),
        ] {
            assert_eq!(kind_of(Some(code), status), kind, "{code} {status}");
        }
    }

    #[test]
    fn an_answer_without_a_code_is_sorted_by_its_status() {
        for (status, kind) in [
            (200, ErrorKind::Internal),
            (302, ErrorKind::Internal),
            (400, ErrorKind::Invalid),
            (403, ErrorKind::Denied),
            (407, ErrorKind::NoCredentials),
            (429, ErrorKind::Throttled),
            (502, ErrorKind::Internal),
            (504, ErrorKind::TimedOut),
        ] {
            assert_eq!(kind_of(None, status), kind, "{status}");
        }
    }

    #[derive(Debug)]
    struct Failing(fn() -> CredentialsError);

    impl ProvideCredentials for Failing {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            future::ProvideCredentials::ready(Err((self.0)()))
        }
    }

    /// The request of such a client ends before anything is connected to.
    async fn failure_of(provider: fn() -> CredentialsError) -> Error {
        let config = Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new("us-east-1"))
            .endpoint_url("http://127.0.0.1:9")
            .credentials_provider(Failing(provider))
            .build();
        let answer = Client::from_conf(config).describe_instances().send().await;
        from_sdk("DescribeInstances", &answer.unwrap_err())
    }

    #[tokio::test]
    async fn missing_credentials_are_told_from_an_unreachable_cloud() {
        let missing = failure_of(|| CredentialsError::not_loaded("no provider has any")).await;
        assert_eq!(missing.kind, ErrorKind::NoCredentials);
        assert!(missing.to_string().contains("no provider has any"), "{missing}");

        let slow =
            failure_of(|| CredentialsError::provider_timed_out(std::time::Duration::from_secs(1))).await;
        assert_eq!(slow.kind, ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn what_a_credential_program_printed_is_not_repeated() {
        let broken = failure_of(|| CredentialsError::provider_error("stdout was: wJalrXUtnFEMI")).await;
        assert_eq!(broken.kind, ErrorKind::NoCredentials);
        assert!(!broken.to_string().contains("wJalrXUtnFEMI"), "{broken}");
    }
}
