//! The pool's settings on the wire: canonical names, their aliases, and what may be changed to what.
//!
//! | canonical | aliases | range |
//! |---|---|---|
//! | `warmCount` | `minWarmVMs`, `minAvailableVMs` | 0..=maxInstances |
//! | `coldCount` | | 0.. |
//! | `maxInstances` | `maxTotalVMs` | 1..=50 |
//! | `maxConcurrent` | | 1..=maxInstances |
//! | `healthCheckIntervalMs` | | 5,000..=600,000 |
//! | `idleTimeoutMinutes` | `autoStopAfterHours` (hours) | 0 (never)..=one year |
//! | `warmupTimeSeconds` | | 30..=900 |
//! | `servicePort` | | 1..=65,535 |
//! | `amiId` | | text |
//! | `defaultInstanceType` | `instanceType` | text |
//! | `region` | `awsRegion` | read-only |
//! | `securityGroupId`, `subnetId`, `keyPairName`, `obsPasswordConfigured`, `sshKeyConfigured` | | read-only |
//!
//! A read-only value may be sent back as it is: clients send the whole object. A canonical name and its alias
//! may both be there if they agree. Secrets are never part of this.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Number, Value};
use utoipa::openapi::schema::{AdditionalProperties, SchemaType};
use utoipa::openapi::{ObjectBuilder, RefOr, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use super::error::ApiError;
use super::options::LaunchFacts;
use crate::domain::pool::Settings;
use crate::domain::time::millis;

/// More than any pool here has; a mistyped figure must not launch a fleet.
const MAX_INSTANCES: u64 = 50;
/// Ranges, both ends included.
const COUNT: (u64, u64) = (0, MAX_INSTANCES);
const COLD_COUNT: (u64, u64) = (0, u32::MAX as u64);
const POOL_SIZE: (u64, u64) = (1, MAX_INSTANCES);
const CHECK_INTERVAL_MS: (u64, u64) = (5_000, 600_000);
const WARMUP_S: (u64, u64) = (30, 900);
const PORT: (u64, u64) = (1, u16::MAX as u64);
/// Longer is "never" said badly.
const IDLE_MINUTES_MAX: f64 = 365.0 * 24.0 * 60.0;
const TEXT_CHARS_MAX: usize = 128;

/// The settings as clients read them.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigView {
    pub warm_count: u32,
    #[serde(rename = "minWarmVMs")]
    pub min_warm_vms: u32,
    #[serde(rename = "minAvailableVMs")]
    pub min_available_vms: u32,
    pub cold_count: u32,
    pub max_instances: u32,
    #[serde(rename = "maxTotalVMs")]
    pub max_total_vms: u32,
    pub max_concurrent: u32,
    pub health_check_interval_ms: u64,
    /// 0 is never.
    #[schema(value_type = f64)]
    pub idle_timeout_minutes: Number,
    #[schema(value_type = f64)]
    pub auto_stop_after_hours: Number,
    pub warmup_time_seconds: u64,
    pub service_port: u16,
    pub region: String,
    pub aws_region: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ami_id: Option<String>,
    pub default_instance_type: String,
    pub instance_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security_group_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subnet_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_pair_name: Option<String>,
    pub obs_password_configured: bool,
    pub ssh_key_configured: bool,
}

impl ConfigView {
    #[must_use]
    pub fn new(settings: &Settings, launch: &LaunchFacts) -> Self {
        let minutes = settings
            .idle_timeout
            .map_or(0.0, |timeout| timeout.as_secs_f64() / 60.0);
        Self {
            warm_count: settings.warm_count,
            min_warm_vms: settings.warm_count,
            min_available_vms: settings.warm_count,
            cold_count: settings.cold_count,
            max_instances: settings.max_instances,
            max_total_vms: settings.max_instances,
            max_concurrent: settings.max_concurrent,
            health_check_interval_ms: millis(settings.health_check_interval),
            idle_timeout_minutes: number(minutes),
            auto_stop_after_hours: number(minutes / 60.0),
            warmup_time_seconds: settings.warmup_time.as_secs(),
            service_port: settings.service_port,
            region: settings.region.clone(),
            aws_region: settings.region.clone(),
            ami_id: settings.ami_id.clone(),
            default_instance_type: settings.default_instance_type.clone(),
            instance_type: settings.default_instance_type.clone(),
            security_group_id: launch.security_group_id.clone(),
            subnet_id: launch.subnet_id.clone(),
            key_pair_name: launch.key_pair_name.clone(),
            obs_password_configured: launch.obs_password_configured,
            ssh_key_configured: launch.ssh_key_configured,
        }
    }
}

/// What may be asked of `PUT …/config`, as the document describes it; [`change`] is what reads it.
pub struct ConfigChange;

impl ToSchema for ConfigChange {}

impl PartialSchema for ConfigChange {
    fn schema() -> RefOr<Schema> {
        let whole = |(min, max): (u64, u64)| {
            ObjectBuilder::new()
                .schema_type(Type::Integer)
                .minimum(Some(min))
                .maximum(Some(max))
        };
        let number = |max: f64| {
            ObjectBuilder::new()
                .schema_type(Type::Number)
                .minimum(Some(0))
                .maximum(Some(max))
        };
        let text = || {
            ObjectBuilder::new()
                .schema_type(Type::String)
                .max_length(Some(TEXT_CHARS_MAX))
                .pattern(Some("^[^\\u0000-\\u001f\\u007f-\\u009f]+$"))
        };
        let mut schema = ObjectBuilder::new()
            .schema_type(Type::Object)
            .additional_properties(Some(AdditionalProperties::FreeForm(false)))
            .property("idleTimeoutMinutes", number(IDLE_MINUTES_MAX))
            .property("autoStopAfterHours", number(IDLE_MINUTES_MAX / 60.0));
        for (names, range) in [
            (&["warmCount", "minWarmVMs", "minAvailableVMs"][..], COUNT),
            (&["coldCount"], COLD_COUNT),
            (&["maxInstances", "maxTotalVMs"], POOL_SIZE),
            (&["maxConcurrent"], POOL_SIZE),
            (&["healthCheckIntervalMs"], CHECK_INTERVAL_MS),
            (&["warmupTimeSeconds"], WARMUP_S),
            (&["servicePort"], PORT),
        ] {
            schema = names
                .iter()
                .fold(schema, |schema, name| schema.property(*name, whole(range)));
        }
        for name in ["defaultInstanceType", "instanceType"] {
            schema = schema.property(name, text());
        }
        let or_none = SchemaType::from_iter([Type::String, Type::Null]);
        schema.property("amiId", text().schema_type(or_none)).into()
    }
}

/// Whole numbers are written without a fraction.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked to be whole and small"
)]
fn number(value: f64) -> Number {
    if value.fract() == 0.0 && (0.0..1e15).contains(&value) {
        return Number::from(value as u64);
    }
    Number::from_f64(value).unwrap_or_else(|| Number::from(0))
}

/// One setting, whatever it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    WarmCount,
    ColdCount,
    MaxInstances,
    MaxConcurrent,
    HealthCheckInterval,
    IdleTimeout,
    WarmupTime,
    ServicePort,
    AmiId,
    DefaultInstanceType,
    ReadOnly,
    Secret,
}

fn key_of(name: &str) -> Option<Key> {
    Some(match name {
        "warmCount" | "minWarmVMs" | "minAvailableVMs" => Key::WarmCount,
        "coldCount" => Key::ColdCount,
        "maxInstances" | "maxTotalVMs" => Key::MaxInstances,
        "maxConcurrent" => Key::MaxConcurrent,
        "healthCheckIntervalMs" => Key::HealthCheckInterval,
        "idleTimeoutMinutes" | "autoStopAfterHours" => Key::IdleTimeout,
        "warmupTimeSeconds" => Key::WarmupTime,
        "servicePort" => Key::ServicePort,
        "amiId" => Key::AmiId,
        "defaultInstanceType" | "instanceType" => Key::DefaultInstanceType,
        "region"
        | "awsRegion"
        | "securityGroupId"
        | "subnetId"
        | "keyPairName"
        | "obsPasswordConfigured"
        | "sshKeyConfigured" => Key::ReadOnly,
        "defaultOBSPassword" | "sshKeyPath" => Key::Secret,
        _ => return None,
    })
}

/// A value that was read and is in range by itself.
#[derive(Debug, Clone, PartialEq)]
enum Given {
    Whole(u64),
    Minutes(f64),
    Text(Option<String>),
}

/// The settings after this change.
///
/// # Errors
/// 400 that names the field.
pub fn change(
    settings: &Settings,
    launch: &LaunchFacts,
    asked: &Map<String, Value>,
) -> Result<Settings, ApiError> {
    let mut given: Vec<(Key, &str, Given)> = Vec::new();
    for (name, value) in asked {
        let key = key_of(name)
            .ok_or_else(|| ApiError::field(name.as_str(), format!("{name} is not a setting of the pool")))?;
        match key {
            Key::Secret => return Err(secret(name)),
            Key::ReadOnly => require_unchanged(settings, launch, name, value)?,
            Key::WarmCount
            | Key::ColdCount
            | Key::MaxInstances
            | Key::MaxConcurrent
            | Key::HealthCheckInterval
            | Key::IdleTimeout
            | Key::WarmupTime
            | Key::ServicePort
            | Key::AmiId
            | Key::DefaultInstanceType => {
                let read = read(key, name, value)?;
                if let Some((_, other, _)) = given.iter().find(|(k, _, v)| *k == key && !agree(v, &read)) {
                    let error = format!("{name} and {other} are the same setting and differ");
                    return Err(ApiError::field(name.as_str(), error));
                }
                given.push((key, name, read));
            }
        }
    }
    let mut changed = settings.clone();
    for (key, _, value) in &given {
        set(&mut changed, *key, value);
    }
    settle(&mut changed, &given)?;
    Ok(changed)
}

fn secret(name: &str) -> ApiError {
    ApiError::field(
        name,
        format!("{name} is a secret; it is set in the coordinator's environment only"),
    )
}

fn require_unchanged(
    settings: &Settings,
    launch: &LaunchFacts,
    name: &str,
    value: &Value,
) -> Result<(), ApiError> {
    let text = |text: &Option<String>| text.clone().map_or(Value::Null, Value::from);
    let current = match name {
        "region" | "awsRegion" => Value::from(settings.region.as_str()),
        "securityGroupId" => text(&launch.security_group_id),
        "subnetId" => text(&launch.subnet_id),
        "keyPairName" => text(&launch.key_pair_name),
        "obsPasswordConfigured" => launch.obs_password_configured.into(),
        _ => launch.ssh_key_configured.into(),
    };
    if *value == current {
        return Ok(());
    }
    Err(ApiError::field(
        name,
        format!("{name} is read-only; it comes from the coordinator's configuration"),
    ))
}

fn read(key: Key, name: &str, value: &Value) -> Result<Given, ApiError> {
    match key {
        Key::WarmCount => whole(name, value, COUNT),
        Key::ColdCount => whole(name, value, COLD_COUNT),
        Key::MaxInstances | Key::MaxConcurrent => whole(name, value, POOL_SIZE),
        Key::HealthCheckInterval => whole(name, value, CHECK_INTERVAL_MS),
        Key::WarmupTime => whole(name, value, WARMUP_S),
        Key::ServicePort => whole(name, value, PORT),
        Key::IdleTimeout => minutes(name, value),
        Key::AmiId if value.is_null() => Ok(Given::Text(None)),
        Key::AmiId | Key::DefaultInstanceType | Key::ReadOnly | Key::Secret => text(name, value),
    }
}

fn whole(name: &str, value: &Value, (min, max): (u64, u64)) -> Result<Given, ApiError> {
    // 2.0 is a whole number to a browser.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be whole and small"
    )]
    let of_float =
        |value: f64| (value.fract() == 0.0 && (0.0..1e15).contains(&value)).then_some(value as u64);
    value
        .as_u64()
        .or_else(|| value.as_f64().and_then(of_float))
        .filter(|value| (min..=max).contains(value))
        .map(Given::Whole)
        .ok_or_else(|| ApiError::field(name, format!("{name} must be a whole number from {min} to {max}")))
}

fn minutes(name: &str, value: &Value) -> Result<Given, ApiError> {
    let scale = if name == "autoStopAfterHours" { 60.0 } else { 1.0 };
    value
        .as_f64()
        .map(|value| value * scale)
        .filter(|minutes| (0.0..=IDLE_MINUTES_MAX).contains(minutes))
        .map(Given::Minutes)
        .ok_or_else(|| {
            let max = IDLE_MINUTES_MAX / scale;
            ApiError::field(name, format!("{name} must be a number from 0 (never) to {max}"))
        })
}

fn text(name: &str, value: &Value) -> Result<Given, ApiError> {
    value
        .as_str()
        .filter(|text| {
            !text.is_empty() && text.chars().count() <= TEXT_CHARS_MAX && !text.chars().any(char::is_control)
        })
        .map(|text| Given::Text(Some(text.to_owned())))
        .ok_or_else(|| {
            ApiError::field(
                name,
                format!("{name} must be a text of 1 to {TEXT_CHARS_MAX} characters"),
            )
        })
}

/// Hours and minutes agree when they are equal to the millisecond.
fn agree(one: &Given, other: &Given) -> bool {
    match (one, other) {
        (Given::Minutes(one), Given::Minutes(other)) => (one - other).abs() < 1.0 / 60_000.0,
        (Given::Whole(_) | Given::Minutes(_) | Given::Text(_), _) => one == other,
    }
}

fn set(settings: &mut Settings, key: Key, value: &Given) {
    let int = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    match (key, value) {
        (Key::WarmCount, Given::Whole(value)) => settings.warm_count = int(*value),
        (Key::ColdCount, Given::Whole(value)) => settings.cold_count = int(*value),
        (Key::MaxInstances, Given::Whole(value)) => settings.max_instances = int(*value),
        (Key::MaxConcurrent, Given::Whole(value)) => settings.max_concurrent = int(*value),
        (Key::HealthCheckInterval, Given::Whole(value)) => {
            settings.health_check_interval = Duration::from_millis(*value);
        }
        (Key::WarmupTime, Given::Whole(value)) => settings.warmup_time = Duration::from_secs(*value),
        (Key::ServicePort, Given::Whole(value)) => {
            settings.service_port = u16::try_from(*value).unwrap_or(u16::MAX);
        }
        (Key::IdleTimeout, Given::Minutes(minutes)) => {
            let timeout = Duration::from_secs_f64(minutes * 60.0);
            // Kept in whole milliseconds, as the ledger keeps every span.
            let timeout = Duration::from_millis(millis(timeout + Duration::from_micros(500)));
            settings.idle_timeout = (!timeout.is_zero()).then_some(timeout);
        }
        (Key::AmiId, Given::Text(text)) => settings.ami_id.clone_from(text),
        (Key::DefaultInstanceType, Given::Text(Some(text))) => {
            settings.default_instance_type.clone_from(text);
        }
        (
            Key::WarmCount
            | Key::ColdCount
            | Key::MaxInstances
            | Key::MaxConcurrent
            | Key::HealthCheckInterval
            | Key::WarmupTime
            | Key::ServicePort
            | Key::IdleTimeout
            | Key::AmiId
            | Key::DefaultInstanceType
            | Key::ReadOnly
            | Key::Secret,
            Given::Whole(_) | Given::Minutes(_) | Given::Text(_),
        ) => {}
    }
}

/// The ranges that depend on one another. A limit of concurrent shows above the pool's size means nothing, so
/// it follows the size down unless it was given.
fn settle(settings: &mut Settings, given: &[(Key, &str, Given)]) -> Result<(), ApiError> {
    let named = |key: Key| given.iter().find(|(k, _, _)| *k == key).map(|(_, name, _)| *name);
    let max = settings.max_instances;
    if let Some(name) = named(Key::MaxConcurrent)
        && !(1..=max).contains(&settings.max_concurrent)
    {
        let error = format!("{name} must be a whole number from 1 to maxInstances ({max})");
        return Err(ApiError::field(name, error));
    }
    settings.max_concurrent = settings.max_concurrent.min(max);
    if settings.warm_count > max {
        let name = named(Key::WarmCount)
            .or(named(Key::MaxInstances))
            .unwrap_or("warmCount");
        let error = format!(
            "warmCount ({}) must not be above maxInstances ({max})",
            settings.warm_count
        );
        return Err(ApiError::field(name, error));
    }
    Ok(())
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
