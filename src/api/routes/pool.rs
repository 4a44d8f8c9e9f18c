//! The pool as a whole: `/api/admin/vm-pool`, its configuration, checks, launches, and the boot webhook.

use std::net::IpAddr;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::StatusCode;
use serde_json::{Map, Value};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::actors::coordinator::LaunchVm;
use crate::api::auth::{Granted, Pool};
use crate::api::config::{self, ConfigChange, ConfigView};
use crate::api::error::{ApiError, ErrorBody};
use crate::api::extract::{self, Body, Text};
use crate::api::gateway::Gateway;
use crate::api::openapi::{BodyRefusals, Refusals};
use crate::api::project;
use crate::api::reply::{Reply, json, json_bytes};
use crate::api::types::pool::{
    CheckBody, CheckReply, ConfigChanged, LaunchBody, LaunchReply, PoolStatus, ReadyBody, ReadyReply,
};
use crate::domain::ids::InstanceId;

/// Tags that only the pool itself sets.
const OWN_TAGS: [&str; 3] = ["Name", "Project", "ManagedBy"];
/// EC2's limits on tags, less the three of the pool's own
/// (<https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html>).
const TAGS_MAX: usize = 47;
const TAG_KEY_CHARS_MAX: usize = 128;
const TAG_VALUE_CHARS_MAX: usize = 256;
/// Of the `Name` tag.
const NAME_CHARS_MAX: usize = TAG_VALUE_CHARS_MAX - 1;

pub fn routes() -> OpenApiRouter<Gateway> {
    OpenApiRouter::new()
        .routes(routes!(pool))
        .routes(routes!(get_config, put_config))
        .routes(routes!(launch))
        .routes(routes!(health_check))
        .routes(routes!(ready))
}

/// The whole pool.
#[utoipa::path(
    get, path = "/api/admin/vm-pool", tag = "pool",
    responses((status = 200, body = PoolStatus), Refusals)
)]
async fn pool(_: Granted<Pool>, State(gateway): State<Gateway>) -> Result<Response, ApiError> {
    gateway
        .pool_json()
        .map(|bytes| json_bytes(StatusCode::OK, bytes))
        .map_err(|error| {
            tracing::error!(%error, "the pool could not be written as JSON");
            ApiError::internal()
        })
}

/// The pool's settings.
#[utoipa::path(
    get, path = "/api/admin/vm-pool/config", tag = "pool",
    responses((status = 200, body = ConfigView), Refusals)
)]
async fn get_config(_: Granted<Pool>, State(gateway): State<Gateway>) -> Reply<ConfigView> {
    Reply(gateway.config())
}

/// Changes some of the pool's settings, by canonical or alias name.
#[utoipa::path(
    put, path = "/api/admin/vm-pool/config", tag = "pool",
    request_body = Option<ConfigChange>,
    responses((status = 200, body = ConfigChanged), BodyRefusals, Refusals)
)]
async fn put_config(
    _: Granted<Pool>,
    State(gateway): State<Gateway>,
    Text(body): Text,
) -> Result<Reply<ConfigChanged>, ApiError> {
    let asked = config_object(&body)?;
    gateway.require_initialized()?;
    let coordinator = gateway.coordinator();
    let changed = config::change(&coordinator.settings(), &gateway.options().launch, &asked)?;
    let settings = coordinator
        .configure(changed)
        .await
        .map_err(|error| gateway.refuse(error))?;
    let config = ConfigView::new(&settings, &gateway.options().launch);
    Ok(Reply(ConfigChanged {
        success: true,
        config,
    }))
}

/// Existing clients know this sentence for anything that is not an object.
fn config_object(body: &Bytes) -> Result<Map<String, Value>, ApiError> {
    match extract::parse::<Map<String, Value>>(body, "config") {
        Err(error) if error.body.error == "config must be a JSON object" => {
            Err(ApiError::new(StatusCode::BAD_REQUEST, "config must be an object"))
        }
        parsed => parsed,
    }
}

/// Launches one instance into the pool.
#[utoipa::path(
    post, path = "/api/admin/vm-pool/launch", tag = "pool",
    request_body = Option<LaunchBody>,
    responses(
        (status = 200, body = LaunchReply),
        (status = 409, body = ErrorBody, description = "The pool is full, or the coordinator is stopping"),
        (status = 502, body = ErrorBody, description = "The cloud refused"),
        BodyRefusals, Refusals
    )
)]
async fn launch(
    _: Granted<Pool>,
    State(gateway): State<Gateway>,
    Body(body): Body<LaunchBody>,
) -> Result<Reply<LaunchReply>, ApiError> {
    let mut ask = checked_launch(body)?;
    gateway.require_initialized()?;
    let coordinator = gateway.coordinator();
    ask.name
        .get_or_insert_with(|| format!("{}-{}", gateway.options().launch_name_prefix, coordinator.now().0));
    let (vm, instance) = coordinator
        .launch(ask)
        .await
        .map_err(|error| gateway.refuse(error))?;
    Ok(Reply(LaunchReply {
        success: true,
        vm_id: vm.to_string(),
        instance_id: instance.instance_id.to_string(),
        message: format!("Instance {} was launched", instance.instance_id),
        instance: project::instance(&instance),
    }))
}

fn checked_launch(body: LaunchBody) -> Result<LaunchVm, ApiError> {
    let (name, instance_type) = (body.name, body.instance_type);
    if name
        .as_deref()
        .is_some_and(|name| !is_text(name, 1, NAME_CHARS_MAX))
    {
        return Err(ApiError::field(
            "name",
            format!("name must have 1 to {NAME_CHARS_MAX} characters"),
        ));
    }
    let is_type = |text: &str| {
        (1..=64).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b".-".contains(&b))
    };
    if instance_type.as_deref().is_some_and(|text| !is_type(text)) {
        return Err(ApiError::field(
            "instanceType",
            "instanceType must look like t3.large",
        ));
    }
    let tags = body.tags.unwrap_or_default();
    if tags.len() > TAGS_MAX {
        return Err(ApiError::field(
            "tags",
            format!("at most {TAGS_MAX} tags may be given"),
        ));
    }
    for (key, value) in &tags {
        let field = format!("tags.{key}");
        if OWN_TAGS.contains(&key.as_str()) || key.to_ascii_lowercase().starts_with("aws:") {
            return Err(ApiError::field(field, format!("the tag {key} cannot be given")));
        }
        if !is_text(key, 1, TAG_KEY_CHARS_MAX) || !is_text(value, 0, TAG_VALUE_CHARS_MAX) {
            return Err(ApiError::field(
                field,
                "a tag's key or value is too long or not printable",
            ));
        }
    }
    Ok(LaunchVm {
        name,
        instance_type,
        tags,
    })
}

fn is_text(text: &str, min: usize, max: usize) -> bool {
    (min..=max).contains(&text.chars().count()) && !text.chars().any(char::is_control)
}

/// Checks one VM, or all of them, now.
#[utoipa::path(
    post, path = "/api/admin/vm-pool/health-check", tag = "pool",
    request_body = Option<CheckBody>,
    responses(
        (status = 200, body = CheckReply),
        (status = 404, body = ErrorBody, description = "No such VM"),
        (status = 409, body = ErrorBody, description = "The coordinator is stopping"),
        (status = 502, body = ErrorBody, description = "The cloud refused"),
        BodyRefusals, Refusals
    )
)]
async fn health_check(
    _: Granted<Pool>,
    State(gateway): State<Gateway>,
    Body(body): Body<CheckBody>,
) -> Result<Reply<CheckReply>, ApiError> {
    let vm = body.vm_id.map(|id| extract::vm_id(&id, "vmId")).transpose()?;
    gateway.require_initialized()?;
    let coordinator = gateway.coordinator();
    let checked = coordinator
        .check(vm, body.reconcile)
        .await
        .map_err(|error| gateway.refuse(error))?;
    let (state, reach) = (gateway.state(), gateway.reach());
    let results: Vec<_> = checked
        .iter()
        .map(|check| {
            let instance = state.vm(&check.vm).map(|vm| &vm.instance);
            project::health_result(check, &coordinator.board().latest(&check.vm), instance, reach)
        })
        .collect();
    let healthy = results.iter().filter(|result| result.healthy).count();
    let total = results.len();
    Ok(Reply(CheckReply {
        success: true,
        total,
        healthy,
        unhealthy: total - healthy,
        results,
    }))
}

/// What a booted VM posts. A hint to look sooner: neither its state nor its address is believed.
#[utoipa::path(
    post, path = "/api/admin/vm-pool/ready", tag = "pool",
    request_body = ReadyBody,
    responses((status = 202, body = ReadyReply), BodyRefusals, Refusals)
)]
async fn ready(State(gateway): State<Gateway>, body: Result<Body<ReadyBody>, ApiError>) -> Response {
    match hint(&gateway, body) {
        Ok(reply) => json(StatusCode::ACCEPTED, &reply),
        Err(error) => error.into_response(),
    }
}

fn hint(gateway: &Gateway, body: Result<Body<ReadyBody>, ApiError>) -> Result<ReadyReply, ApiError> {
    gateway.hints().take().map_err(|wait| {
        ApiError::too_many_requests(u32::try_from(wait.as_secs().saturating_add(1)).unwrap_or(u32::MAX))
    })?;
    let Body(body) = body?;
    let instance = InstanceId::new(body.instance_id)
        .map_err(|error| ApiError::field("instanceId", error.to_string()))?;
    if body.status != "ready" {
        return Err(ApiError::field("status", "status must be \"ready\""));
    }
    if body.public_ip.is_some_and(|ip| ip.parse::<IpAddr>().is_err()) {
        return Err(ApiError::field("publicIp", "publicIp is not an IP address"));
    }
    gateway.require_initialized()?;
    let vm = gateway.coordinator().hint_ready(&instance);
    Ok(ReadyReply {
        success: true,
        vm_id: vm.map(|vm| vm.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launch_with(json: &str) -> Result<LaunchVm, ApiError> {
        checked_launch(extract::parse(json.as_bytes(), "the body").unwrap())
    }

    #[test]
    fn the_pools_own_tags_cannot_be_given() {
        for key in ["Name", "Project", "ManagedBy", "aws:x", "AWS:x"] {
            let error = launch_with(&format!(r#"{{"tags": {{"{key}": "x"}}}}"#)).unwrap_err();
            assert_eq!(error.body.fields["field"], format!("tags.{key}"));
        }
        assert_eq!(
            launch_with(r#"{"tags": {"Team": "x"}}"#).unwrap().tags["Team"],
            "x"
        );
    }

    #[test]
    fn a_launch_is_checked_before_it_costs_anything() {
        let long = "x".repeat(256);
        for bad in [
            r#"{"name": ""}"#.to_owned(),
            format!(r#"{{"name": "{long}"}}"#),
            r#"{"instanceType": "t3 large"}"#.to_owned(),
            r#"{"instanceType": ""}"#.to_owned(),
            format!(r#"{{"tags": {{"k": "{long}x"}}}}"#),
        ] {
            assert!(launch_with(&bad).is_err(), "{bad}");
        }
        assert!(launch_with("{}").is_ok());
    }

    #[test]
    fn a_configuration_that_is_no_object_is_told_so() {
        for text in ["[]", "3", "\"x\""] {
            let error = config_object(&Bytes::copy_from_slice(text.as_bytes())).unwrap_err();
            assert_eq!(error.body.error, "config must be an object", "{text}");
        }
        assert!(config_object(&Bytes::from_static(b"{}")).unwrap().is_empty());
    }
}
