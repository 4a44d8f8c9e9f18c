//! S3's many error codes, sorted into the few kinds that somebody can do something about.
//!
//! Codes: <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>.

use std::error::Error as StdError;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

use crate::infra::archive::Error;
use crate::infra::aws::{self, chain, concise};

/// S3 answered with success, but not with what the call must return.
pub(super) fn unreadable(call: &'static str, what: &str) -> Error {
    Error::Unavailable {
        call,
        detail: format!("the answer cannot be used: {what}"),
    }
}

/// Sorts a failed call.
pub(super) fn sort<E>(
    call: &'static str,
    bucket: &str,
    key: &str,
    failure: &SdkError<E, HttpResponse>,
) -> Error
where
    E: ProvideErrorMetadata + StdError + 'static,
{
    match failure {
        SdkError::ServiceError(answer) => {
            let status = answer.raw().status().as_u16();
            let code = answer.err().code();
            let detail = match (code, answer.err().message()) {
                (Some(code), Some(message)) => concise(&format!("{code}: {message}")),
                (Some(code), None) => code.to_owned(),
                (None, _) => format!("HTTP status {status}, {}", chain(answer.err())),
            };
            by_code(call, bucket, key, code.unwrap_or_default(), status, detail)
        }
        // The request was never sent: something in it or in the configuration cannot be used.
        SdkError::ConstructionFailure(_) => Error::Refused {
            call,
            detail: chain(failure),
        },
        // (The SDK may add further variants; whatever they are, they are not an answer.)
        _ => match aws::credentials(failure) {
            Some(error) => Error::Credentials {
                // Not the causes: what a credential program printed may be among them.
                detail: concise(&error.to_string()),
            },
            None => Error::Unavailable {
                call,
                detail: chain(failure),
            },
        },
    }
}

fn by_code(call: &'static str, bucket: &str, key: &str, code: &str, status: u16, detail: String) -> Error {
    let bucket = bucket.to_owned();
    match code {
        "NoSuchBucket" => Error::NoBucket { bucket },
        "NoSuchUpload" => Error::NoSuchUpload { key: key.to_owned() },
        "PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException" => {
            Error::WrongRegion { bucket, detail }
        }
        "ExpiredToken"
        | "InvalidAccessKeyId"
        | "InvalidToken"
        | "SignatureDoesNotMatch"
        | "TokenRefreshRequired" => Error::Credentials { detail },
        "BadDigest" | "InvalidDigest" | "XAmzContentSHA256Mismatch" | "XAmzContentChecksumMismatch" => {
            Error::Corrupt {
                what: key.to_owned(),
                expected: "the one that was sent".to_owned(),
                got: detail,
            }
        }
        "InvalidPart" | "InvalidPartOrder" => Error::Corrupt {
            what: key.to_owned(),
            expected: "the parts that were sent".to_owned(),
            got: detail,
        },
        "SlowDown"
        | "RequestTimeout"
        | "ServiceUnavailable"
        | "InternalError"
        | "OperationAborted"
        | "Throttling"
        | "RequestTimeTooSkewed" => Error::Unavailable { call, detail },
        _ => match status {
            // A success whose body is not S3's: somebody else answered.
            ..=299 => Error::Unavailable { call, detail },
            301 | 307 => Error::WrongRegion { bucket, detail },
            401 => Error::Credentials { detail },
            403 => Error::Denied { call, bucket, detail },
            408 | 429 | 500.. => Error::Unavailable { call, detail },
            _ => Error::Refused { call, detail },
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(code: &str, status: u16) -> Error {
        by_code("UploadPart", "shows", "a.mkv", code, status, "detail".to_owned())
    }

    #[test]
    fn every_code_says_who_has_to_do_what() {
        for (code, status, said) in [
            ("NoSuchBucket", 404, "bucket shows does not exist: create it"),
            ("NoSuchUpload", 404, "knows no such upload of a.mkv"),
            ("AccessDenied", 403, "need s3:PutObject"),
            ("ExpiredToken", 400, "renew those"),
            ("InvalidAccessKeyId", 403, "renew those"),
            ("PermanentRedirect", 301, "set archive.region"),
            ("BadDigest", 400, "a.mkv has the checksum"),
            ("EntityTooLarge", 400, "S3 refused UploadPart"),
        ] {
            let error = sorted(code, status);
            assert!(error.to_string().contains(said), "{code}: {error}");
        }
    }

    #[test]
    fn what_passes_by_itself_is_tried_again_and_the_rest_is_not() {
        for (code, status) in [
            ("SlowDown", 503),
            ("InternalError", 500),
            ("", 502),
            ("BadDigest", 400),
        ] {
            assert!(sorted(code, status).is_retryable(), "{code} {status}");
        }
        for (code, status) in [
            ("AccessDenied", 403),
            ("NoSuchBucket", 404),
            ("ExpiredToken", 400),
            ("", 400),
        ] {
            assert!(!sorted(code, status).is_retryable(), "{code} {status}");
        }
    }
}
