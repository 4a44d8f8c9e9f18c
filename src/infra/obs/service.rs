//! The part of a restore that says where the stream goes.

use serde_json::{Map, Value};

use super::Error;
use super::capture::{Now, output};
use super::link::Lane;
use super::restore::Work;
use super::wire::stream_settings;
use crate::domain::studio::{Studio, says_something};

/// Two stream services: changing to the other one and back leaves no old settings behind.
const SERVICE_KINDS: [&str; 2] = ["rtmp_custom", "rtmp_common"];

/// Leaves a running stream alone: OBS would not take the change anyway.
pub(super) async fn restore(work: &Work<'_>, want: &Studio, now: &Now) -> Result<(), Error> {
    let Some(want) = &want.stream else { return Ok(()) };
    let vault = work.link.vault();
    let settings = match stream_settings(want, vault) {
        Ok(settings) => settings,
        Err(unusable) => {
            work.differs(format!("stream service: left as it is, {unusable}"));
            return Ok(());
        }
    };
    let there = stream_settings(&now.stream, vault).unwrap_or_default();
    let same_kind = now.stream.kind == want.kind;
    if same_kind && covers(&there, &settings) && left_over(&there, &settings).is_none() {
        return Ok(());
    }
    if output(work.link).await?.active {
        work.differs("stream service: left as it is while a stream runs".to_owned());
        return Ok(());
    }
    let mut is_forgotten = !drops_key(&there, &settings);
    if same_kind && let Some(key) = left_over(&there, &settings) {
        tracing::debug!(
            key,
            "the stream service has settings that are not wanted: making a new one"
        );
        let other = SERVICE_KINDS
            .into_iter()
            .find(|kind| *kind != want.kind)
            .unwrap_or(SERVICE_KINDS[0]);
        // OBS takes no empty settings.
        let nothing = Map::from_iter([("key".to_owned(), Value::String(String::new()))]);
        set_stream(work, other, &nothing).await?;
        is_forgotten = true;
    }
    set_stream(work, &want.kind, &settings).await?;
    if is_forgotten {
        return Ok(());
    }
    // OBS keeps what it wrote before in `service.json.bak`. Once more, and the key is gone from there too: so it was
    // with OBS 30.2.3.
    set_stream(work, &want.kind, &settings).await
}

async fn set_stream(work: &Work<'_>, kind: &str, settings: &Map<String, Value>) -> Result<(), Error> {
    let what = || "stream service".to_owned();
    let request =
        |client: Lane| async move { client.config().set_stream_service_settings(kind, settings).await };
    work.change("SetStreamServiceSettings", what, request)
        .await
        .map(drop)
}

/// Whether everything wanted is there.
fn covers(there: &Map<String, Value>, want: &Map<String, Value>) -> bool {
    want.iter().all(|(key, value)| there.get(key) == Some(value))
}

/// Whether there is a stream key now that is another one afterwards, or none.
fn drops_key(there: &Map<String, Value>, want: &Map<String, Value>) -> bool {
    let key = there.get("key");
    key.is_some_and(says_something) && key != want.get("key")
}

/// A setting that says something and is not wanted. OBS lays new settings over the old ones of a service of the
/// same kind, so only a new service is rid of it.
fn left_over<'a>(there: &'a Map<String, Value>, want: &Map<String, Value>) -> Option<&'a str> {
    there
        .iter()
        .find(|(key, value)| !want.contains_key(*key) && says_something(value))
        .map(|(key, _)| key.as_str())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn map(value: Value) -> Map<String, Value> {
        match value {
            Value::Object(map) => map,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn settings_left_over_from_an_old_service_are_found() {
        let want = map(json!({"server": "a", "key": "k"}));
        let there = map(json!({"server": "a", "key": "k", "use_auth": true, "password": "p"}));
        assert!(covers(&there, &want));
        assert_eq!(left_over(&there, &want), Some("password"));
        let harmless =
            map(json!({"server": "a", "key": "k", "use_auth": false, "bwtest": 0, "username": ""}));
        assert_eq!(left_over(&harmless, &want), None);
        assert!(!covers(&map(json!({"server": "b", "key": "k"})), &want));
    }
}
