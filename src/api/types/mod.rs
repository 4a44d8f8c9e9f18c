//! What goes over the wire, resource by resource. Names here are wire names; how they are made from the
//! domain is in [`super::project`].

pub mod alert;
pub mod archive;
pub mod assignment;
pub mod cleaning;
pub mod configuration;
pub mod coordinator;
pub mod execution;
pub mod files;
pub mod machine;
pub mod operation;
pub mod pool;
pub mod rehearsal;
pub mod show;
pub mod ssh;
pub mod studio;
pub mod template;
pub mod vm;

use std::fmt;

use serde::{Serialize, Serializer};
use utoipa::openapi::{ObjectBuilder, RefOr, Schema, SchemaFormat, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::domain::time::Timestamp;

/// A time as ISO 8601 text in UTC with milliseconds: `2026-11-20T18:00:00.000Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Iso(pub Timestamp);

impl fmt::Display for Iso {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = i64::try_from(self.0.0).unwrap_or(i64::MAX);
        let at = jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::MAX);
        write!(f, "{at:.3}")
    }
}

impl Serialize for Iso {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl PartialSchema for Iso {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(
                utoipa::openapi::KnownFormat::DateTime,
            )))
            .into()
    }
}

impl ToSchema for Iso {}

/// A time as whole milliseconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(transparent)]
pub struct Ms(pub u64);

impl From<Timestamp> for Ms {
    fn from(at: Timestamp) -> Self {
        Self(at.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_milliseconds_and_a_z() {
        let text = |ms| Iso(Timestamp(ms)).to_string();
        assert_eq!(text(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(text(1_763_649_296_007), "2025-11-20T14:34:56.007Z");
        assert_eq!(
            serde_json::to_string(&Iso(Timestamp(5))).unwrap(),
            "\"1970-01-01T00:00:00.005Z\""
        );
        assert_eq!(serde_json::to_string(&Ms(5)).unwrap(), "5");
    }

    #[test]
    fn a_time_beyond_the_calendar_is_its_end() {
        assert!(Iso(Timestamp(u64::MAX)).to_string().starts_with("9999-12-"));
    }
}
