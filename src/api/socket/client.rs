//! One connected client: what it may do, what it wants to be told, and how it is cut off.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Deserialize;
use serde_json::Value;
use socketioxide::extract::SocketRef;
use tokio::sync::Semaphore;

use super::terminal::Terminals;
use crate::api::auth::{self, Access, Caller};
use crate::api::connection::{Cutter, WeakCutter};
use crate::api::error::ApiError;
use crate::api::extract;
use crate::api::gateway::Gateway;
use crate::domain::ids::ShowId;

/// Commands of one client that are being carried out.
const IN_FLIGHT_MAX: usize = 16;
/// React's name for working without a competition.
const LOCAL: &str = "local";

pub struct Client {
    pub caller: Caller,
    /// It wants deltas instead of snapshots.
    pub deltas: bool,
    /// Whose alerts it wants.
    pub show: Option<ShowId>,
    pub in_flight: Semaphore,
    pub terminals: Terminals,
    gateway: Gateway,
}

impl Client {
    /// Whether it may work on VMs.
    pub fn is_admin(&self) -> bool {
        auth::authorize(self.gateway.options(), self.caller, Access::Admin).is_ok()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.gateway.forget_socket(self.deltas);
    }
}

/// Why a client was not let in; it reads this as the connection error's message.
#[derive(Debug)]
pub struct Refused(String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<ApiError> for Refused {
    fn from(error: ApiError) -> Self {
        Self(error.body.error)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Auth {
    token: Option<String>,
    deltas: bool,
}

impl Client {
    /// Lets a client in, or says why not.
    pub fn admit(gateway: &Gateway, socket: &SocketRef, auth: Option<&Value>) -> Result<(), Refused> {
        let auth: Auth = match auth {
            None | Some(Value::Null) => Auth::default(),
            Some(auth) => extract::parse_value(auth, "auth")?,
        };
        let options = gateway.options();
        let caller = auth::identify(options, auth.token.as_deref())?;
        auth::authorize(options, caller, Access::Show)?;
        if !gateway.admit_socket(auth.deltas) {
            return Err(Refused(
                "too many clients are connected; try again later".to_owned(),
            ));
        }
        let client = Self {
            caller,
            deltas: auth.deltas,
            show: show_of(socket.req_parts().uri.query().unwrap_or_default()),
            in_flight: Semaphore::new(IN_FLIGHT_MAX),
            terminals: Terminals::default(),
            gateway: gateway.clone(),
        };
        socket.extensions.insert(Arc::new(client));
        Ok(())
    }

    pub fn of(socket: &SocketRef) -> Option<Arc<Self>> {
        socket.extensions.get::<Arc<Self>>()
    }
}

/// The competition in the query, if it names a legal one.
fn show_of(query: &str) -> Option<ShowId> {
    let url = http::Uri::builder()
        .path_and_query(format!("/?{query}"))
        .build()
        .ok()?;
    let pairs = axum::extract::Query::<HashMap<String, String>>::try_from_uri(&url).ok()?;
    let id = pairs.0.get("compId").filter(|id| *id != LOCAL)?;
    extract::show_id(id, "compId").ok()
}

/// Connections that Socket.IO sessions moved to after their handshake, by session id: a session that started
/// with polling is on another connection than the one it was opened on.
#[derive(Debug, Clone, Default)]
pub struct Transports(Arc<Mutex<HashMap<String, WeakCutter>>>);

/// Sweeping out connections that have ended is worth it from so many on.
const SWEEP_MIN: usize = 64;

impl Transports {
    /// The session is on this connection now. Anybody can name any session here, so what is remembered is
    /// bounded by the connections that live, whatever they call themselves.
    pub fn note(&self, session: &str, cutter: &Cutter) {
        let mut noted = self.lock();
        if noted.len() >= SWEEP_MIN && noted.len() == noted.capacity() {
            noted.retain(|_, cutter| cutter.is_alive());
        }
        noted.insert(session.to_owned(), cutter.downgrade());
    }

    fn get(&self, session: &str) -> Option<Cutter> {
        self.lock().get(session).and_then(WeakCutter::upgrade)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, WeakCutter>> {
        // Nothing in here can be left half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes a client's connection, whatever it is waiting for. A client that is polling has no connection of
    /// its own; it is disconnected when it comes for what is waiting.
    pub fn cut(&self, socket: &SocketRef) {
        let opened_on = socket.req_parts().extensions.get::<Cutter>().cloned();
        for cutter in self.get(socket.id.as_str()).into_iter().chain(opened_on) {
            cutter.cut();
        }
        // Fails while its buffer is full; the cut is what works then.
        let _ = socket.clone().disconnect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_competition_is_taken_from_the_query_if_it_is_legal() {
        let id = |query| show_of(query).map(|id| id.to_string());
        assert_eq!(
            id("EIO=4&compId=finals&transport=websocket").as_deref(),
            Some("finals")
        );
        assert_eq!(id("compId=state%20finals").as_deref(), Some("state finals"));
        for none in [
            "",
            "EIO=4",
            "compId=local",
            "compId=",
            "compId=a%2Fb",
            "compId=_pool",
        ] {
            assert_eq!(id(none), None, "{none}");
        }
    }
}
