//! Api speaks: HTTP, Socket.IO, OpenAPI, authentication. It translates and bounds; it decides nothing.
//!
//! ```text
//! server ─► front ─► routes (routes/*) ► commands ─► actors::Coordinator
//!    │         └───► socket transport ──► inbound ──┘         │
//!    └ connection                     ◄── fanout ◄── events ◄─┘ ledger feed, news
//! ```
//!
//! Everything goes through [`gateway::Gateway`], which holds the one handle to the tree. Reads are served from
//! the ledger's fold and the board and wait for nobody. What a refused command looks like on the wire is
//! decided in [`error`] alone, what the domain looks like in [`project`].
//!
//! It does not know the outside world: no cloud, no studio, no database is called from here, not even for the
//! status of a VM.

pub mod auth;
pub mod commands;
pub mod config;
pub mod connection;
mod counted;
pub mod error;
mod extract;
mod front;
pub mod gateway;
mod limits;
mod lingering;
mod narrator;
pub mod openapi;
pub mod options;
mod page;
pub mod project;
pub mod rehearsals;
mod reply;
mod request_id;
mod routes;
pub mod server;
mod site;
pub mod socket;
pub mod types;
mod uploads;
mod work;

use ::http::StatusCode;
use axum::Router;
use axum::middleware;
use bytes::Bytes;
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;
use utoipa_swagger_ui::{Config, SwaggerUi};

use self::gateway::Gateway;
pub use self::options::{AuthMode, LaunchFacts, Options};
use self::reply::json_bytes;
pub use self::server::{ServeError, serve};
pub use self::socket::Sockets;

/// Every route and the Socket.IO transport. [`serve`] is this on a listener, with bounds on connections.
///
/// Must be called within a runtime: it starts the task that tells Socket.IO clients what happens, which ends
/// when the returned [`Sockets`] is closed or dropped.
pub fn router(gateway: &Gateway) -> (Router, Sockets) {
    let (routes, document) = documented_routes().split_for_parts();
    // Plain data: it can be written as JSON.
    let document = Bytes::from(serde_json::to_vec(&document).unwrap_or_default());
    let (routes, sockets) = socket::attach(routes, gateway);
    let routes = routes
        .route(
            openapi::DOCUMENT_PATH,
            axum::routing::get(async move || json_bytes(StatusCode::OK, document)),
        )
        .merge(SwaggerUi::new(openapi::DOCS_PATH).config(Config::from(openapi::DOCUMENT_PATH)))
        .method_not_allowed_fallback(site::method_not_allowed)
        .fallback(site::fallback)
        .layer(middleware::from_fn_with_state(gateway.clone(), front::front))
        .with_state(gateway.clone());
    (routes, sockets)
}

/// The OpenAPI document as JSON text, for clients that are generated from it.
///
/// # Errors
/// Only if it cannot be written as JSON, which its types rule out.
pub fn openapi_json() -> Result<String, serde_json::Error> {
    documented_routes().into_openapi().to_pretty_json()
}

fn documented_routes() -> OpenApiRouter<Gateway> {
    let mut document = openapi::Document::openapi();
    env!("CARGO_PKG_VERSION").clone_into(&mut document.info.version);
    OpenApiRouter::with_openapi(document)
        .merge(routes::pool::routes())
        .merge(routes::vms::routes())
        .merge(routes::ssh::routes())
        .merge(routes::files::routes())
        .merge(routes::competitions::routes())
        .merge(routes::shows::routes())
        .merge(routes::studio::routes())
        .merge(routes::show_config::routes())
        .merge(routes::coordinator::routes())
        .merge(routes::alerts::routes())
        .merge(routes::metrics::routes())
        .merge(routes::rehearsals::routes())
}
