//! What requests carry, checked: ids in paths, JSON bodies, the idempotency key.
//!
//! Each extractor answers what is wrong in the one error shape; none of axum's plain-text rejections leave.

use std::time::Duration;

use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::error::Category;

use super::error::ApiError;
use super::gateway::Gateway;
use super::uploads::{Unread, Upload};
use crate::domain::ids::{RequestKey, ShowId, VmId};

/// Words that are routes under `…/vm-pool/` and therefore never VM ids.
pub const RESERVED_VM_IDS: [&str; 4] = ["config", "launch", "health-check", "ready"];

/// Longest time that an assign request may be held open.
pub const WAIT_MAX: Duration = Duration::from_secs(300);

const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// Checks a VM id that a client supplied.
///
/// # Errors
/// 400 that names `field`.
pub fn vm_id(text: &str, field: &'static str) -> Result<VmId, ApiError> {
    if RESERVED_VM_IDS.contains(&text) {
        return Err(ApiError::field(
            field,
            format!("{text:?} is reserved and never a VM id"),
        ));
    }
    VmId::new(text).map_err(|error| ApiError::field(field, error.to_string()))
}

/// Checks a competition id that a client supplied.
///
/// # Errors
/// 400 that names `field`.
pub fn show_id(text: &str, field: &'static str) -> Result<ShowId, ApiError> {
    if text.starts_with('_') {
        return Err(ApiError::field(
            field,
            "competition ids that start with _ are reserved",
        ));
    }
    ShowId::new(text).map_err(|error| ApiError::field(field, error.to_string()))
}

/// The `{vmId}` of a path.
pub struct VmPath(pub VmId);

impl FromRequestParts<Gateway> for VmPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, gateway: &Gateway) -> Result<Self, ApiError> {
        vm_id(&path_text(parts, gateway, "vmId").await?, "vmId").map(Self)
    }
}

/// The `{compId}` of a path.
pub struct ShowPath(pub ShowId);

impl FromRequestParts<Gateway> for ShowPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, gateway: &Gateway) -> Result<Self, ApiError> {
        show_id(&path_text(parts, gateway, "compId").await?, "compId").map(Self)
    }
}

async fn path_text(parts: &mut Parts, gateway: &Gateway, field: &'static str) -> Result<String, ApiError> {
    match Path::<String>::from_request_parts(parts, gateway).await {
        Ok(Path(text)) => Ok(text),
        Err(_) => Err(ApiError::field(
            field,
            "the id in the path is not valid percent-encoded UTF-8",
        )),
    }
}

/// The `Idempotency-Key` header.
pub struct Key(pub Option<RequestKey>);

impl FromRequestParts<Gateway> for Key {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Gateway) -> Result<Self, ApiError> {
        let mut values = parts.headers.get_all(IDEMPOTENCY_KEY).iter();
        let Some(value) = values.next() else {
            return Ok(Self(None));
        };
        if values.next().is_some() {
            return Err(ApiError::field(
                "Idempotency-Key",
                "the header is there more than once",
            ));
        }
        let text = value
            .to_str()
            .map_err(|_| ApiError::field("Idempotency-Key", "the key must be visible ASCII"))?;
        RequestKey::new(text)
            .map(|key| Self(Some(key)))
            .map_err(|error| ApiError::field("Idempotency-Key", error.to_string()))
    }
}

/// `?wait=SECONDS`.
#[derive(Debug, Default, Deserialize)]
struct WaitQuery {
    wait: Option<String>,
}

/// How long the request may be held open.
pub struct Wait(pub Option<Duration>);

impl FromRequestParts<Gateway> for Wait {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, gateway: &Gateway) -> Result<Self, ApiError> {
        if parts.uri.query().is_none() {
            return Ok(Self(None));
        }
        let query = Query::<WaitQuery>::from_request_parts(parts, gateway)
            .await
            .map_err(|_| ApiError::field("wait", "the query string cannot be read"))?;
        query.0.wait.map(|text| wait(&text)).transpose().map(Self)
    }
}

fn wait(text: &str) -> Result<Duration, ApiError> {
    match text.parse::<u64>() {
        Ok(seconds) if seconds <= WAIT_MAX.as_secs() => Ok(Duration::from_secs(seconds)),
        Ok(_) | Err(_) => Err(ApiError::field(
            "wait",
            format!(
                "wait must be a whole number of seconds from 0 to {}",
                WAIT_MAX.as_secs()
            ),
        )),
    }
}

/// A JSON object as a body. An absent or empty one, and `null`, equal `{}`.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned> FromRequest<Gateway> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, gateway: &Gateway) -> Result<Self, ApiError> {
        let Text(bytes) = Text::from_request(request, gateway).await?;
        let given: &[u8] = if bytes.trim_ascii() == b"null" {
            &EMPTY
        } else {
            &bytes
        };
        parse(given, "the body").map(Self)
    }
}

/// A body as it came: JSON by its content type, `{}` if there was none. It was read before the request was let
/// in ([`super::uploads`]).
pub struct Text(pub Bytes);

impl FromRequest<Gateway> for Text {
    type Rejection = ApiError;

    async fn from_request(request: Request, gateway: &Gateway) -> Result<Self, ApiError> {
        let (mut parts, _) = request.into_parts();
        let Some(Upload(read)) = parts.extensions.remove() else {
            return Ok(Self(EMPTY));
        };
        let bytes = read.map_err(|why| unread(why, gateway.options().body_bytes_max))?;
        if bytes.trim_ascii().is_empty() {
            return Ok(Self(EMPTY));
        }
        require_json(&parts.headers)?;
        Ok(Self(bytes))
    }
}

/// What a client is told whose body was not read.
pub fn unread(why: Unread, limit: usize) -> ApiError {
    match why {
        Unread::TooLarge => too_large(limit),
        Unread::Broken => ApiError::new(StatusCode::BAD_REQUEST, "the body could not be read to its end"),
        Unread::Late => ApiError::new(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time"),
        Unread::GivenUp => ApiError::busy("too many bodies are being sent, and this one took too long"),
    }
}

const EMPTY: Bytes = Bytes::from_static(b"{}");

fn too_large(limit: usize) -> ApiError {
    ApiError::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        format!("the body is larger than {limit} bytes"),
    )
    .code("PAYLOAD_TOO_LARGE")
    .with("limitBytes", limit)
}

/// A body without a content type is taken for JSON: some clients send none.
fn require_json(headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return Ok(());
    };
    let essence = value
        .to_str()
        .ok()
        .and_then(|text| text.split(';').next())
        .unwrap_or_default();
    let essence = essence.trim().to_ascii_lowercase();
    if essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json")) {
        return Ok(());
    }
    Err(ApiError::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "the body must be application/json",
    )
    .code("UNSUPPORTED_MEDIA_TYPE"))
}

/// Reads a JSON object as `T`, naming the field that does not fit.
///
/// # Errors
/// 400.
pub fn parse<T: DeserializeOwned>(bytes: &[u8], what: &str) -> Result<T, ApiError> {
    // Serde would take an array for a struct.
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        serde_json::from_slice::<serde::de::IgnoredAny>(bytes).map_err(|error| malformed(what, &error))?;
        return Err(not_an_object(what));
    }
    serde_json::from_slice(bytes).map_err(|error| match error.classify() {
        Category::Data => {
            let mut again = serde_json::Deserializer::from_slice(bytes);
            misfit(serde_path_to_error::deserialize::<_, T>(&mut again).err(), &error)
        }
        Category::Io | Category::Syntax | Category::Eof => malformed(what, &error),
    })
}

/// As [`parse`], for a value that has been read already.
///
/// # Errors
/// 400.
pub fn parse_value<T: DeserializeOwned>(value: &Value, what: &str) -> Result<T, ApiError> {
    if !value.is_object() {
        return Err(not_an_object(what));
    }
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        refuse_field(Some(path), &error.inner().to_string())
    })
}

fn not_an_object(what: &str) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, format!("{what} must be a JSON object"))
}

fn malformed(what: &str, error: &serde_json::Error) -> ApiError {
    ApiError::new(
        StatusCode::BAD_REQUEST,
        format!("{what} is not valid JSON: {error}"),
    )
    .code("MALFORMED_JSON")
}

fn misfit(at: Option<serde_path_to_error::Error<serde_json::Error>>, error: &serde_json::Error) -> ApiError {
    // Where in the text it stands says nothing to whoever has a program write the JSON; the field does.
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let sentence = text.strip_suffix(&place).unwrap_or(&text);
    refuse_field(at.map(|at| at.path().to_string()), sentence)
}

/// A field that is missing is named by the sentence alone: there is nothing to point at.
fn refuse_field(path: Option<String>, text: &str) -> ApiError {
    let missing = text
        .strip_prefix("missing field `")
        .and_then(|rest| rest.split('`').next());
    let parent = path.filter(|path| path != ".");
    match (parent, missing) {
        (None, Some(field)) => ApiError::field(field, text),
        (Some(path), Some(field)) => ApiError::field(format!("{path}.{field}"), text),
        (Some(path), None) => ApiError::field(path, text),
        (None, None) => ApiError::new(StatusCode::BAD_REQUEST, text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Ask {
        preferred_vm_id: Option<String>,
        wait: bool,
    }

    #[test]
    fn reserved_words_are_never_ids() {
        for word in RESERVED_VM_IDS {
            assert_eq!(
                vm_id(word, "vmId").unwrap_err().status,
                StatusCode::BAD_REQUEST,
                "{word}"
            );
        }
        assert!(show_id("_pool", "compId").is_err());
        assert!(show_id("local", "compId").is_ok());
        assert!(vm_id("vm-0a1b2c3d", "vmId").is_ok());
    }

    #[test]
    fn ids_must_be_legal_database_keys() {
        for illegal in [
            "",
            "a/b",
            "a.b",
            "a#b",
            "a$b",
            "a[b",
            "a]b",
            "a\nb",
            &"x".repeat(129),
        ] {
            assert_eq!(
                vm_id(illegal, "vmId").unwrap_err().body.fields["field"],
                "vmId",
                "{illegal:?}"
            );
            assert!(show_id(illegal, "compId").is_err(), "{illegal:?}");
        }
    }

    #[test]
    fn the_field_that_does_not_fit_is_named() {
        let error = parse::<Ask>(br#"{"wait": "yes"}"#, "the body").unwrap_err();
        assert_eq!(error.status, StatusCode::BAD_REQUEST);
        assert_eq!(error.body.fields["field"], "wait");
        let error = parse_value::<Ask>(&serde_json::json!({"preferredVmId": 7}), "the payload").unwrap_err();
        assert_eq!(error.body.fields["field"], "preferredVmId");
    }

    #[test]
    fn a_field_that_is_missing_is_named_too() {
        #[derive(Debug, Deserialize)]
        struct Hold {
            #[expect(dead_code, reason = "only whether it can be read is of interest")]
            held: bool,
        }
        assert_eq!(
            parse::<Hold>(b"{}", "the body").unwrap_err().body.fields["field"],
            "held"
        );
        assert_eq!(
            parse_value::<Hold>(&serde_json::json!({}), "x")
                .unwrap_err()
                .body
                .fields["field"],
            "held"
        );
    }

    #[test]
    fn only_objects_are_taken() {
        for text in ["[]", "[null,true]", "7", "\"x\"", "true"] {
            let error = parse::<Ask>(text.as_bytes(), "the body").unwrap_err();
            assert_eq!(error.body.error, "the body must be a JSON object", "{text}");
        }
        for text in ["{", "{\"wait\":}", "nope", "{} {}"] {
            let error = parse::<Ask>(text.as_bytes(), "the body").unwrap_err();
            assert_eq!(error.body.code, Some("MALFORMED_JSON"), "{text}");
        }
        assert_eq!(
            parse::<Ask>(b" {\"unknown\": 1} ", "the body").unwrap(),
            Ask::default()
        );
        assert!(parse_value::<Ask>(&Value::Null, "the payload").is_err());
    }

    #[test]
    fn a_wait_is_bounded() {
        assert_eq!(wait("0").unwrap(), Duration::ZERO);
        assert_eq!(wait("300").unwrap(), WAIT_MAX);
        for bad in ["301", "-1", "1.5", "", "soon"] {
            assert!(wait(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_content_type_must_be_json_if_there_is_one() {
        let verdict = |value: Option<&str>| {
            let mut headers = HeaderMap::new();
            if let Some(value) = value {
                headers.insert(header::CONTENT_TYPE, value.parse().unwrap());
            }
            require_json(&headers).is_ok()
        };
        assert!(verdict(None));
        assert!(verdict(Some("application/json")));
        assert!(verdict(Some("Application/JSON; charset=utf-8")));
        assert!(verdict(Some("application/problem+json")));
        assert!(!verdict(Some("text/plain")));
        assert!(!verdict(Some("application/x-www-form-urlencoded")));
    }
}
