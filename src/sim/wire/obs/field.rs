//! Reading a request's fields with obs-websocket's rules and complaints.

use serde_json::{Map, Value};

use super::status::{Code, Failure};
use crate::sim::model::studio::collection::Selector;
use crate::sim::model::studio::source::Uuid;

/// `requestData`, if there is any.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a>(Option<&'a Map<String, Value>>);

impl<'a> Fields<'a> {
    pub(super) fn new(data: Option<&'a Value>) -> Self {
        Self(data.and_then(Value::as_object))
    }

    /// Present, if only as null.
    pub(super) fn contains(self, key: &str) -> bool {
        self.0.is_some_and(|fields| fields.contains_key(key))
    }

    /// Present and not null.
    pub(super) fn get(self, key: &str) -> Option<&'a Value> {
        self.0?.get(key).filter(|value| !value.is_null())
    }

    fn required(self, key: &str) -> Result<&'a Value, Failure> {
        if self.0.is_none() {
            let comment = "Your request data is missing or invalid (non-object)";
            return Err(Failure::new(Code::MissingData, comment));
        }
        let missing = || {
            Failure::new(
                Code::MissingField,
                format!("Your request is missing the `{key}` field."),
            )
        };
        self.get(key).ok_or_else(missing)
    }

    pub(super) fn string(self, key: &str) -> Result<&'a str, Failure> {
        string(key, self.required(key)?)
    }

    pub(super) fn string_opt(self, key: &str) -> Result<Option<&'a str>, Failure> {
        self.get(key).map(|value| string(key, value)).transpose()
    }

    pub(super) fn boolean(self, key: &str) -> Result<bool, Failure> {
        boolean(key, self.required(key)?)
    }

    pub(super) fn boolean_opt(self, key: &str) -> Result<Option<bool>, Failure> {
        self.get(key).map(|value| boolean(key, value)).transpose()
    }

    pub(super) fn number(self, key: &str, min: f64, max: f64) -> Result<f64, Failure> {
        number(key, self.required(key)?, min, max)
    }

    pub(super) fn number_opt(self, key: &str, min: f64, max: f64) -> Result<Option<f64>, Failure> {
        self.get(key)
            .map(|value| number(key, value, min, max))
            .transpose()
    }

    pub(super) fn float_opt(self, key: &str, min: f64, max: f64) -> Result<Option<f32>, Failure> {
        // libobs keeps these in single precision.
        Ok(self.number_opt(key, min, max)?.map(|value| value as f32))
    }

    /// A number without its fraction, as a C++ conversion makes it.
    pub(super) fn natural(self, key: &str, max: u32) -> Result<u32, Failure> {
        Ok(truncate(self.number(key, 0.0, f64::from(max))?))
    }

    pub(super) fn natural_opt(self, key: &str, max: u32) -> Result<Option<u32>, Failure> {
        Ok(self.number_opt(key, 0.0, f64::from(max))?.map(truncate))
    }

    pub(super) fn object(self, key: &str, may_be_empty: bool) -> Result<&'a Map<String, Value>, Failure> {
        object(key, self.required(key)?, may_be_empty)
    }

    pub(super) fn object_opt(self, key: &str) -> Result<Option<&'a Map<String, Value>>, Failure> {
        self.get(key).map(|value| object(key, value, true)).transpose()
    }

    /// A source by its UUID, or else by its name.
    pub(super) fn selector(self, name_key: &str, uuid_key: &str) -> Result<Selector<'a>, Failure> {
        if let Ok(text) = self.string(uuid_key) {
            let not_found = || {
                Failure::new(
                    Code::NotFound,
                    format!("No source was found by the UUID of `{text}`."),
                )
            };
            return Uuid::parse(text).map(Selector::Uuid).ok_or_else(not_found);
        }
        let neither = |_| {
            let comment = format!(
                "Your request must contain at least one of the following fields: `{name_key}` or `{uuid_key}`."
            );
            Failure::new(Code::MissingField, comment)
        };
        self.string(name_key).map(Selector::Name).map_err(neither)
    }
}

impl<'a> From<&'a Map<String, Value>> for Fields<'a> {
    fn from(map: &'a Map<String, Value>) -> Self {
        Self(Some(map))
    }
}

fn wrong_type(key: &str, what: &str) -> Failure {
    Failure::new(
        Code::InvalidFieldType,
        format!("The field value of `{key}` must be {what}."),
    )
}

fn empty(key: &str) -> Failure {
    Failure::new(
        Code::FieldEmpty,
        format!("The field value of `{key}` must not be empty."),
    )
}

fn string<'a>(key: &str, value: &'a Value) -> Result<&'a str, Failure> {
    let text = value.as_str().ok_or_else(|| wrong_type(key, "a string"))?;
    if text.is_empty() {
        Err(empty(key))
    } else {
        Ok(text)
    }
}

fn boolean(key: &str, value: &Value) -> Result<bool, Failure> {
    value.as_bool().ok_or_else(|| wrong_type(key, "boolean"))
}

fn number(key: &str, value: &Value, min: f64, max: f64) -> Result<f64, Failure> {
    let number = value.as_f64().ok_or_else(|| wrong_type(key, "a number"))?;
    let out_of_range = |side: &str, bound: f64| {
        let comment = format!("The field value of `{key}` is {side} of `{bound:.6}`");
        Err(Failure::new(Code::FieldOutOfRange, comment))
    };
    if number < min {
        return out_of_range("below the minimum", min);
    }
    if number > max {
        return out_of_range("above the maximum", max);
    }
    Ok(number)
}

fn object<'a>(key: &str, value: &'a Value, may_be_empty: bool) -> Result<&'a Map<String, Value>, Failure> {
    let map = value.as_object().ok_or_else(|| wrong_type(key, "an object"))?;
    if map.is_empty() && !may_be_empty {
        Err(empty(key))
    } else {
        Ok(map)
    }
}

// The range was checked: from zero to at most u32::MAX.
fn truncate(value: f64) -> u32 {
    value as u32
}
