//! The OpenAPI document, generated from the routes, and the answers that every route may give.

use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, RefOr, Response, ResponseBuilder, ResponsesBuilder};
use utoipa::{IntoParams, IntoResponses, Modify, OpenApi};

use super::error::ErrorBody;

/// Where the document is served.
pub const DOCUMENT_PATH: &str = "/api/openapi.json";
/// Where people read it.
pub const DOCS_PATH: &str = "/api/docs";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "understudy",
        description = "Keeps live shows on air: a pool of streaming VMs, one per show, and another in its place \
                       when it fails. Every error is `{error, code?, …}`. Times are ISO 8601 in UTC or whole \
                       milliseconds. A field that is `null` and one that is absent mean the same."
    ),
    modifiers(&Bearer),
    components(schemas(ErrorBody)),
    tags(
        (name = "pool", description = "The pool as a whole"),
        (name = "vms", description = "One VM"),
        (name = "ssh", description = "Operations on a VM over SSH"),
        (name = "competitions", description = "A competition's VM"),
        (name = "shows", description = "A competition on air"),
        (name = "rehearsals", description = "Finding out what happens to shows, with ones that are not real"),
        (name = "coordinator", description = "The coordinator itself"),
    ),
    security((), ("token" = []))
)]
pub struct Document;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        document
            .components
            .get_or_insert_default()
            .add_security_scheme("token", SecurityScheme::Http(scheme));
    }
}

/// The VM that a path names.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "it describes what `extract::VmPath` reads")]
pub struct VmIdParam {
    #[param(
        rename = "vmId",
        max_length = 128,
        pattern = r"^(?!(config|launch|health-check|ready)$)[^.#$\[\]/\u0000-\u001f\u007f-\u009f]+$",
        example = "vm-0a1b2c3d"
    )]
    vm_id: String,
}

/// The competition that a path names.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "it describes what `extract::ShowPath` reads")]
pub struct CompIdParam {
    #[param(
        rename = "compId",
        max_length = 128,
        pattern = r"^(?!_)[^.#$\[\]/\u0000-\u001f\u007f-\u009f]+$",
        example = "finals"
    )]
    comp_id: String,
}

/// How long an assign may be held open.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it describes what `extract::Wait` reads")]
pub struct WaitParam {
    /// Hold the request until the VM is ready, for at most so many seconds.
    #[param(maximum = 300)]
    wait: Option<u64>,
}

/// What makes a repeated request harmless.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it describes what `extract::Key` reads")]
pub struct KeyParam {
    /// A repetition with the same key is answered as the first was.
    #[param(rename = "Idempotency-Key", pattern = "^[A-Za-z0-9_-]{1,128}$")]
    idempotency_key: Option<String>,
}

/// Any route that asks who is there may be refused like this.
pub struct Refusals;

impl IntoResponses for Refusals {
    fn responses() -> std::collections::BTreeMap<String, RefOr<Response>> {
        let mut responses = refusals(&[
            ("401", "A token is needed, or the one sent is not valid"),
            ("403", "The token's owner may not do this"),
            ("429", "Too many requests; `Retry-After` says when"),
        ]);
        responses.append(&mut CheckRefusals::responses());
        responses
    }
}

/// The two checks, which anybody may ask for, are refused like this at most.
pub struct CheckRefusals;

impl IntoResponses for CheckRefusals {
    fn responses() -> std::collections::BTreeMap<String, RefOr<Response>> {
        refusals(&[
            ("500", "An internal error; it was logged under `requestId`"),
            ("503", "Not initialized yet, overloaded, or restarting"),
            ("504", "Not finished in time; it may still happen"),
        ])
    }
}

/// Any route that takes a body may be refused like this too.
pub struct BodyRefusals;

impl IntoResponses for BodyRefusals {
    fn responses() -> std::collections::BTreeMap<String, RefOr<Response>> {
        refusals(&[
            ("400", "The request does not fit; `field` names what"),
            ("408", "The body did not arrive in time"),
            ("413", "The body is too large"),
            ("415", "The body is not JSON"),
        ])
    }
}

fn refusals(table: &[(&str, &str)]) -> std::collections::BTreeMap<String, RefOr<Response>> {
    let schema = utoipa::openapi::Ref::from_schema_name("ErrorBody");
    let content = ContentBuilder::new().schema(Some(schema)).build();
    let responses = table
        .iter()
        .fold(ResponsesBuilder::new(), |responses, (status, description)| {
            let response = ResponseBuilder::new()
                .description(*description)
                .content("application/json", content.clone());
            responses.response(*status, response.build())
        });
    responses.build().responses
}
