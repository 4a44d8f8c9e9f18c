//! The id of a request: in the log with everything that is done for it, in the answer, and in every refusal.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};

/// The header in which it comes and goes.
pub const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// The field of acknowledgements in which it goes: Socket.IO has no headers.
pub const FIELD: &str = "requestId";

const CHARS_MAX: usize = 128;

/// Visible ASCII, at most 128 characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(String);

impl RequestId {
    /// A new one: 64 random bits, so that those of several coordinators and of their restarts do not meet in one log.
    #[must_use]
    pub fn new() -> Self {
        Self(format!("{:016x}", rand::random::<u64>()))
    }

    /// The client's own if it is harmless, else a new one.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let given = headers.get(HEADER).and_then(|value| value.to_str().ok());
        given
            .filter(|id| {
                (1..=CHARS_MAX).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
            })
            .map_or_else(Self::new, |id| Self(id.to_owned()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// For the answer.
    #[must_use]
    pub fn header(&self) -> Option<HeaderValue> {
        // Visible ASCII always is one.
        HeaderValue::from_str(&self.0).ok()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_harmless_request_id_is_kept_and_another_is_replaced() {
        let id = |text: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(HEADER, HeaderValue::from_bytes(text).unwrap());
            RequestId::of(&headers)
        };
        assert_eq!(id(b"abc-1").as_str(), "abc-1");
        for bad in [&b""[..], b"a b", b"\xff", &[b'x'; 129]] {
            assert_ne!(id(bad).as_str().as_bytes(), bad);
        }
        assert_ne!(RequestId::of(&HeaderMap::new()), RequestId::of(&HeaderMap::new()));
    }

    #[test]
    fn a_new_id_would_be_kept_if_it_came_back() {
        let id = RequestId::new();
        let mut headers = HeaderMap::new();
        headers.insert(HEADER, id.header().unwrap());
        assert_eq!(RequestId::of(&headers), id);
    }
}
