//! Between obs-websocket's forms and ours.

use obws::common::{Alignment, BoundsType};
use obws::requests::scene_items::{Bounds, Crop, Position, Scale, SceneItemTransform as Change};
use obws::responses::scene_items::SceneItemTransform as Read;
use serde_json::{Map, Value};

use super::Error;
use crate::domain::studio::{Json, Secret, StreamService, Transform};
use crate::infra::vault::{Locked, Vault};

/// Least `boundsWidth` and `boundsHeight` that OBS accepts, though it reports 0 where none are set.
const BOUNDS_MIN: f32 = 1.0;

/// OBS keeps single precision and sends it widened. The shortest decimal number that means the same is what
/// was typed in, and is the same wherever a studio is captured.
pub(crate) fn decimal(value: f32) -> f64 {
    value.to_string().parse().unwrap_or_else(|_| f64::from(value))
}

/// What OBS will make of a number.
#[expect(clippy::cast_possible_truncation, reason = "OBS keeps single precision")]
pub(super) fn single(value: f64) -> f32 {
    value as f32
}

/// JSON text with the keys of every object sorted.
pub(crate) fn canonical(value: &Value) -> Json {
    Json(sorted(value).to_string())
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut entries: Vec<_> = fields.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            Value::Object(
                entries
                    .into_iter()
                    .map(|(key, value)| (key.clone(), sorted(value)))
                    .collect(),
            )
        }
        Value::Array(values) => Value::Array(values.iter().map(sorted).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

/// The object in a captured text.
pub(super) fn object(json: &Json) -> Option<Map<String, Value>> {
    serde_json::from_str(&json.0).ok()
}

pub(super) fn transform(read: &Read) -> Transform {
    Transform {
        position_x: decimal(read.position_x),
        position_y: decimal(read.position_y),
        rotation: decimal(read.rotation),
        scale_x: decimal(read.scale_x),
        scale_y: decimal(read.scale_y),
        alignment: read.alignment.bits(),
        bounds_type: bounds_name(read.bounds_type),
        bounds_alignment: read.bounds_alignment.bits(),
        bounds_width: decimal(read.bounds_width),
        bounds_height: decimal(read.bounds_height),
        crop_left: read.crop_left,
        crop_right: read.crop_right,
        crop_top: read.crop_top,
        crop_bottom: read.crop_bottom,
    }
}

fn bounds_name(bounds: BoundsType) -> String {
    match serde_json::to_value(bounds) {
        Ok(Value::String(name)) => name,
        // It serialises as its name.
        Ok(_) | Err(_) => String::new(),
    }
}

/// A change of where an item is drawn, checked and known to be one.
#[derive(Debug)]
pub(super) struct Placing<'a> {
    now: Option<&'a Transform>,
    want: &'a Transform,
    alignment: Alignment,
    bounds_type: BoundsType,
    bounds_alignment: Alignment,
}

impl<'a> Placing<'a> {
    /// From `now`, or from wherever OBS puts a new item, to `want`. `None` if nothing differs.
    ///
    /// # Errors
    /// What in `want` OBS does not have.
    pub(super) fn new(now: Option<&'a Transform>, want: &'a Transform) -> Result<Option<Self>, String> {
        let placing = Self {
            now,
            want,
            alignment: alignment(want.alignment)?,
            bounds_type: bounds_type(&want.bounds_type)?,
            bounds_alignment: alignment(want.bounds_alignment)?,
        };
        let change = placing.request();
        let changes = change.rotation.is_some()
            || change.alignment.is_some()
            || change.position.is_some()
            || change.scale.is_some()
            || change.bounds.is_some()
            || change.crop.is_some();
        Ok(changes.then_some(placing))
    }

    /// The fields that differ, and no others.
    pub(super) fn request(&self) -> Change {
        let position = Position {
            x: self.number(|t| t.position_x),
            y: self.number(|t| t.position_y),
        };
        let scale = Scale {
            x: self.number(|t| t.scale_x),
            y: self.number(|t| t.scale_y),
        };
        let size = |field: fn(&Transform) -> f64| self.number(field).filter(|size| *size >= BOUNDS_MIN);
        let bounds = Bounds {
            r#type: self
                .differs(|t| t.bounds_type.as_str())
                .then_some(self.bounds_type),
            alignment: self
                .differs(|t| t.bounds_alignment)
                .then_some(self.bounds_alignment),
            width: size(|t| t.bounds_width),
            height: size(|t| t.bounds_height),
        };
        let crop = Crop {
            left: self.count(|t| t.crop_left),
            right: self.count(|t| t.crop_right),
            top: self.count(|t| t.crop_top),
            bottom: self.count(|t| t.crop_bottom),
        };
        Change {
            rotation: self.number(|t| t.rotation),
            alignment: self.differs(|t| t.alignment).then_some(self.alignment),
            position: (position.x.is_some() || position.y.is_some()).then_some(position),
            scale: (scale.x.is_some() || scale.y.is_some()).then_some(scale),
            bounds: (bounds.r#type.is_some()
                || bounds.alignment.is_some()
                || bounds.width.is_some()
                || bounds.height.is_some())
            .then_some(bounds),
            crop: (crop.left.is_some()
                || crop.right.is_some()
                || crop.top.is_some()
                || crop.bottom.is_some())
            .then_some(crop),
        }
    }

    fn differs<'t, T: PartialEq>(&'t self, field: impl Fn(&'t Transform) -> T) -> bool {
        self.now.is_none_or(|now| field(now) != field(self.want))
    }

    fn number(&self, field: fn(&Transform) -> f64) -> Option<f32> {
        self.differs(|t| single(field(t)))
            .then(|| single(field(self.want)))
    }

    fn count(&self, field: fn(&Transform) -> u32) -> Option<u32> {
        self.differs(field).then(|| field(self.want))
    }
}

fn bounds_type(name: &str) -> Result<BoundsType, String> {
    serde_json::from_value(Value::String(name.to_owned())).map_err(|_| format!("no bounds type {name:?}"))
}

fn alignment(bits: u8) -> Result<Alignment, String> {
    Alignment::from_bits(bits).ok_or_else(|| format!("no alignment {bits}"))
}

/// Takes the server and the key out of the settings of a stream service, and seals the key.
///
/// # Errors
/// [`Error::Protocol`] if the settings are not an object, or the key is none.
pub(crate) fn stream_service(kind: String, settings: Value, vault: &Vault) -> Result<StreamService, Error> {
    let Value::Object(mut settings) = settings else {
        return Err(Error::Protocol("the stream service has no settings".to_owned()));
    };
    let mut text = |name: &str| match settings.remove(name) {
        Some(Value::String(text)) => Some(text),
        Some(_) | None => None,
    };
    let (server, key) = (text("server"), text("key"));
    let key = vault.seal(&Secret::stream_key(&key.unwrap_or_default()));
    Ok(StreamService {
        kind,
        server,
        key: key.map_err(|error| Error::Protocol(format!("the stream key: {error}")))?,
        other: canonical(&Value::Object(settings)),
    })
}

/// The settings of a stream service as OBS takes them.
///
/// # Errors
/// What is wrong with what was captured, or with the key that it is sealed under.
pub(crate) fn stream_settings(
    service: &StreamService,
    vault: &Vault,
) -> Result<Map<String, Value>, Unusable> {
    let mut settings = object(&service.other).ok_or(Unusable::NotAnObject)?;
    if let Some(server) = &service.server {
        settings.insert("server".to_owned(), Value::String(server.clone()));
    }
    if let Some(key) = &service.key {
        let key = vault.unseal(key)?;
        settings.insert("key".to_owned(), Value::String(key.expose().to_owned()));
    }
    Ok(settings)
}

/// Why the settings of a stream service cannot be given to OBS.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unusable {
    #[error("its settings are not a JSON object")]
    NotAnObject,
    #[error("its key: {0}")]
    Locked(#[from] Locked),
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn sent(now: &Transform, want: &Transform) -> Value {
        match Placing::new(Some(now), want).unwrap() {
            Some(placing) => serde_json::to_value(placing.request()).unwrap(),
            None => Value::Null,
        }
    }

    #[test]
    fn only_what_differs_of_a_transform_is_sent() {
        assert_eq!(sent(&Transform::default(), &Transform::default()), Value::Null);
        let moved = Transform {
            position_x: 12.5,
            crop_top: 3,
            ..Transform::default()
        };
        assert_eq!(
            sent(&Transform::default(), &moved),
            json!({"positionX": 12.5, "cropTop": 3})
        );
        let bound = Transform {
            bounds_type: "OBS_BOUNDS_STRETCH".to_owned(),
            bounds_width: 640.0,
            bounds_height: 360.0,
            ..Transform::default()
        };
        assert_eq!(
            sent(&Transform::default(), &bound),
            json!({"boundsType": "OBS_BOUNDS_STRETCH", "boundsWidth": 640.0, "boundsHeight": 360.0})
        );
    }

    #[test]
    fn bounds_that_obs_reports_but_does_not_accept_are_not_sent() {
        let bound = Transform {
            bounds_type: "OBS_BOUNDS_STRETCH".to_owned(),
            bounds_width: 640.0,
            bounds_height: 360.0,
            ..Transform::default()
        };
        assert_eq!(
            sent(&bound, &Transform::default()),
            json!({"boundsType": "OBS_BOUNDS_NONE"})
        );
    }

    #[test]
    fn a_new_item_is_told_everything_that_obs_accepts() {
        let plain = Transform::default();
        let placing = Placing::new(None, &plain).unwrap().unwrap();
        let sent = serde_json::to_value(placing.request()).unwrap();
        assert_eq!(sent["positionX"], json!(0.0));
        assert_eq!(sent["boundsType"], json!("OBS_BOUNDS_NONE"));
        assert_eq!(sent.get("boundsWidth"), None);
        assert_eq!(sent.as_object().unwrap().len(), 12);
    }

    #[test]
    fn what_obs_cannot_tell_apart_is_no_difference() {
        let precise = Transform {
            rotation: 0.1,
            ..Transform::default()
        };
        let widened = Transform {
            rotation: f64::from(0.1_f32),
            ..Transform::default()
        };
        assert_eq!(sent(&precise, &widened), Value::Null);
    }

    #[test]
    fn what_obs_does_not_have_is_named() {
        let strange = Transform {
            bounds_type: "OBS_BOUNDS_ROUND".to_owned(),
            ..Transform::default()
        };
        assert!(
            Placing::new(None, &strange)
                .unwrap_err()
                .contains("OBS_BOUNDS_ROUND")
        );
        let askew = Transform {
            alignment: 0xf0,
            ..Transform::default()
        };
        assert!(Placing::new(None, &askew).is_err());
    }

    #[test]
    fn equal_settings_are_equal_texts() {
        let one = canonical(&json!({"b": 1, "a": {"d": [{"z": 1, "y": 2}], "c": null}}));
        assert_eq!(one.0, r#"{"a":{"c":null,"d":[{"y":2,"z":1}]},"b":1}"#);
    }

    #[test]
    fn a_stream_service_is_taken_apart_and_put_together_again() {
        let settings = json!({"server": "rtmp://127.0.0.1/live", "key": "hush", "use_auth": false});
        let vault = Vault::ephemeral().unwrap();
        let service = stream_service("rtmp_custom".to_owned(), settings.clone(), &vault).unwrap();
        assert_eq!(service.server.as_deref(), Some("rtmp://127.0.0.1/live"));
        assert_eq!(service.other.0, r#"{"use_auth":false}"#);
        assert!(!format!("{service:?}").contains("hush"));
        let again = stream_settings(&service, &vault).unwrap();
        assert_eq!(Value::Object(again), settings);
        assert!(stream_service("x".to_owned(), json!([]), &vault).is_err());
        let stranger = Vault::ephemeral().unwrap();
        assert!(matches!(
            stream_settings(&service, &stranger),
            Err(Unusable::Locked(_))
        ));
    }

    proptest! {
        #[test]
        fn a_number_survives_the_way_to_obs_and_back(value in any::<f32>().prop_filter("OBS has no NaN", |v| v.is_finite())) {
            let captured = decimal(value);
            prop_assert_eq!(single(captured), value);
            prop_assert_eq!(decimal(single(captured)), captured);
        }
    }
}
