//! What of a studio may be shown to people: everything but its secrets.
//!
//! Settings are what OBS plug-ins made of them, so a secret is known by the name it goes by: as a key of the
//! settings, as a parameter of an address or of options (`passphrase=…`), as the password before a host, and as the
//! part of an RTMP address that names the stream. A name that tells nothing cannot be seen through.

use serde_json::Value;

use super::{Filter, Input, Json, Scene, Studio};

/// What is shown in place of a secret.
pub const HIDDEN: &str = "(secret)";

/// How names of secrets end, without separators and in lower case.
const SECRET_NAMES: [&str; 16] = [
    "key",
    "password",
    "passphrase",
    "passwd",
    "pwd",
    "pass",
    "token",
    "secret",
    "streamid",
    "credentials",
    "authorization",
    "signature",
    "bearer",
    "auth",
    "jwt",
    "sig",
];

impl Studio {
    /// Without the stream key, and with [`HIDDEN`] for every secret in settings and addresses.
    #[must_use]
    pub fn redacted(&self) -> Self {
        let mut studio = self.clone();
        for Input {
            settings, filters, ..
        } in &mut studio.inputs
        {
            hide(settings);
            hide_in(filters);
        }
        for Scene { filters, .. } in studio.scenes.iter_mut().chain(&mut studio.groups) {
            hide_in(filters);
        }
        for settings in studio
            .transitions
            .iter_mut()
            .filter_map(|source| source.settings.as_mut())
        {
            hide(settings);
        }
        if let Some(stream) = &mut studio.stream {
            stream.key = None;
            hide(&mut stream.other);
            stream.server = stream.server.as_deref().map(without_secrets);
        }
        studio
    }
}

fn hide_in(filters: &mut [Filter]) {
    for filter in filters {
        hide(&mut filter.settings);
    }
}

fn hide(settings: &mut Json) {
    settings.0 = settings.redacted().to_string();
}

impl Json {
    /// With [`HIDDEN`] for every secret.
    #[must_use]
    pub fn redacted(&self) -> Value {
        match serde_json::from_str(&self.0) {
            Ok(value) => shown("", &value),
            // Nobody can tell what is in it.
            Err(_) => Value::from(HIDDEN),
        }
    }
}

/// Whether it has something in it that was shown in place of a secret: whoever sends it back does not know the secret.
#[must_use]
pub fn is_redacted(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains(HIDDEN),
        Value::Array(values) => values.iter().any(is_redacted),
        Value::Object(fields) => fields.values().any(is_redacted),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// A setting as it may be shown. `name` is its own, or empty.
#[must_use]
pub fn shown(name: &str, value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields
                .iter()
                .map(|(name, value)| (name.clone(), shown(name, value)));
            Value::Object(fields.collect())
        }
        Value::Array(values) => Value::Array(values.iter().map(|value| shown(name, value)).collect()),
        Value::String(text) if text.is_empty() => value.clone(),
        Value::String(_) | Value::Number(_) if is_secret(name) => HIDDEN.into(),
        Value::String(text) => without_secrets(text).into(),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

fn is_secret(name: &str) -> bool {
    let letters = name.chars().filter(char::is_ascii_alphanumeric);
    let plain: String = letters.map(|letter| letter.to_ascii_lowercase()).collect();
    SECRET_NAMES.iter().any(|secret| plain.ends_with(secret))
}

/// An address, or options, without secrets.
#[must_use]
pub fn without_secrets(text: &str) -> String {
    let text = without_stream_name(&without_password(text));
    let mut shown = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(equals) = rest.find('=') {
        let (before, value) = (&rest[..equals], &rest[equals + 1..]);
        let begins = |c: char| c.is_whitespace() || "?&;,\"'{(".contains(c);
        let name = before.rsplit(begins).next().unwrap_or(before);
        shown.push_str(before);
        shown.push('=');
        rest = value;
        if is_secret(name) {
            let ends = |c: char| c.is_whitespace() || "&\"'".contains(c);
            rest = &value[value.find(ends).unwrap_or(value.len())..];
            shown.push_str(HIDDEN);
        }
    }
    shown + rest
}

/// `scheme://user:password@host` without what stands before the host.
fn without_password(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let end = rest.find(['/', '?', ' ']).unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        Some(at) => format!("{scheme}://{HIDDEN}@{}", &rest[at + 1..]),
        None => text.to_owned(),
    }
}

/// `rtmp://host/app/stream` without the stream: whoever knows it can publish.
fn without_stream_name(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let mut parts = rest.splitn(3, '/');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(host), Some(app), Some(stream)) if scheme.starts_with("rtmp") && !stream.is_empty() => {
            format!("{scheme}://{host}/{app}/{HIDDEN}")
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn secrets_in_addresses_and_options_are_hidden_and_nothing_else() {
        let table = [
            (
                "srt://10.0.0.1:9001?mode=listener",
                "srt://10.0.0.1:9001?mode=listener",
            ),
            (
                "srt://10.0.0.1:9001?streamid=#!::r=a,u=b&mode=caller",
                "srt://10.0.0.1:9001?streamid=(secret)&mode=caller",
            ),
            (
                "srt://h:1?mode=caller&passphrase=hush",
                "srt://h:1?mode=caller&passphrase=(secret)",
            ),
            ("rtsp://user:hush@camera/1", "rtsp://(secret)@camera/1"),
            ("rtmp://venue/live/hush?x=1", "rtmp://venue/live/(secret)"),
            ("rtmp://venue/live", "rtmp://venue/live"),
            (
                "https://graphics/?gameKey=hush",
                "https://graphics/?gameKey=(secret)",
            ),
            (
                "transport=tcp passphrase=hush x=1",
                "transport=tcp passphrase=(secret) x=1",
            ),
            ("Tea = milk", "Tea = milk"),
        ];
        for (given, expected) in table {
            assert_eq!(without_secrets(given), expected);
        }
    }

    #[test]
    fn settings_keep_what_only_sounds_like_a_secret() {
        let settings: Value = serde_json::from_str(
            r#"{"key_color_type":"green","use_auth":true,"password":"","api_token":"hush","pin":{"Stream Key":7}}"#,
        )
        .unwrap();
        let expected: Value = serde_json::from_str(
            r#"{"key_color_type":"green","use_auth":true,"password":"","api_token":"(secret)",
                "pin":{"Stream Key":"(secret)"}}"#,
        )
        .unwrap();
        assert_eq!(shown("", &settings), expected);
        let mut broken = Json("{\"password\":\"hush".to_owned());
        assert!(!format!("{broken:?}").contains("hush"));
        hide(&mut broken);
        assert!(!broken.0.contains("hush"));
        let told = Json(settings.to_string()).redacted();
        assert!(is_redacted(&told) && !is_redacted(&settings));
    }

    proptest! {
        #[test]
        fn a_secret_does_not_survive_whatever_surrounds_it(
            secret in "zq[a-z0-9/=:,#!.]{3,20}zq", before in "[a-z?&=:/ ]{0,20}", after in "(&[a-z=]{0,9})?",
            at in 0..SECRET_NAMES.len(),
        ) {
            let text = format!("{before}&{}={secret}{after}", SECRET_NAMES[at]);
            prop_assert!(!without_secrets(&text).contains(&secret), "{}", without_secrets(&text));
            let value = serde_json::Value::from(secret.clone());
            let shown = shown(SECRET_NAMES[at], &value).to_string();
            prop_assert!(!shown.contains(&secret));
        }
    }
}
