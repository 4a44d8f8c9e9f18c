//! The gateway as a child of the tree: the API's server, restarted like any other part.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use socket2::{Domain, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::rehearse::player::Player;
use crate::actors::coordinator::Coordinator;
use crate::actors::supervisor::Spec;
use crate::actors::task;
use crate::api;
use crate::api::rehearsals::Rehearsals;
use crate::config::{self, Config};
use crate::domain::restart::Restart;

/// Connections that the kernel keeps until they are accepted; the system's own limit (`net.core.somaxconn`) may be lower. Of
/// a coordinator that is started again, every client wants one at the same time: whoever finds no place is not refused, but
/// tries again after one second, three, seven.
const BACKLOG: i32 = 4_096;

/// A bound address, and the switch that ends serving on it.
pub struct Gateway {
    listener: Arc<std::net::TcpListener>,
    address: SocketAddr,
    options: api::Options,
    stop: watch::Sender<bool>,
    /// True while a server runs.
    running: Arc<watch::Sender<bool>>,
}

impl Gateway {
    /// Binds the configured address.
    ///
    /// # Errors
    /// When it cannot be bound: usually because something listens there already.
    pub fn bind(config: &Config) -> anyhow::Result<Self> {
        let wanted = config.server.listen;
        let listener = listen(wanted).with_context(|| {
            format!(
                "cannot listen on {wanted}; is another understudy running? (server.listen chooses another)"
            )
        })?;
        let address = listener.local_addr().context("reading the listener's address")?;
        Ok(Self {
            listener: Arc::new(listener),
            address,
            options: options(config),
            stop: watch::channel(false).0,
            running: Arc::new(watch::channel(false).0),
        })
    }

    /// Where it listens, with the port that was chosen if the configuration left it open.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How the tree starts it.
    pub fn spec(&self, coordinator: Coordinator) -> Spec {
        let (listener, options) = (Arc::clone(&self.listener), self.options.clone());
        let (stop, running) = (self.stop.subscribe(), Arc::clone(&self.running));
        task::spec(Restart::Permanent, move || {
            Box::pin(serve(
                Arc::clone(&listener),
                options.clone(),
                coordinator.clone(),
                stop.clone(),
                Arc::clone(&running),
            ))
        })
    }

    /// Takes no new requests and lets the open ones finish, for at most `limit`.
    pub async fn close(&self, limit: Duration) {
        let mut running = self.running.subscribe();
        self.stop.send_replace(true);
        if tokio::time::timeout(limit, running.wait_for(|running| !running))
            .await
            .is_err()
        {
            tracing::warn!("open requests did not finish in time and are cut off");
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // What is left of a predecessor's connections keeps nobody from starting.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

async fn serve(
    listener: Arc<std::net::TcpListener>,
    options: api::Options,
    coordinator: Coordinator,
    mut stop: watch::Receiver<bool>,
    running: Arc<watch::Sender<bool>>,
) {
    let listening = listener.try_clone().and_then(TcpListener::from_std);
    let listening = match listening {
        Ok(listening) => listening,
        Err(error) => {
            tracing::error!(%error, "the gateway cannot use its listener");
            return;
        }
    };
    running.send_replace(true);
    let stopping = stop.clone();
    let asked = async move {
        // A closed channel means that nobody is left to ask.
        let _ = stop.wait_for(|stop| *stop).await;
    };
    if let Err(error) = api::serve(options, coordinator, [listening], asked).await {
        tracing::error!(%error, "the gateway failed");
    }
    running.send_replace(false);
    if *stopping.borrow() {
        // It ended because it was asked to: nothing to restart.
        std::future::pending::<()>().await;
    }
}

fn options(config: &Config) -> api::Options {
    let server = &config.server;
    api::Options {
        auth: match server.auth {
            config::Auth::Open => api::AuthMode::Open,
            config::Auth::Compat => api::AuthMode::Compat,
            config::Auth::Required => api::AuthMode::Required,
        },
        admin_token: server.admin_token.clone(),
        cors_origins: server.cors_origins.clone(),
        body_bytes_max: server.body_bytes_max,
        connections_max: server.connections_max,
        sockets_max: server.sockets_max,
        request_timeout: server.request_timeout,
        static_dir: server.static_dir.clone(),
        public_ip: server.public_ip,
        launch: launch(config),
        obs_port: config.vm.obs_port,
        rehearsals: player(),
        ..api::Options::default()
    }
}

/// Plays rehearsals with this same program.
fn player() -> Option<Arc<dyn Rehearsals>> {
    match std::env::current_exe() {
        Ok(program) => Some(Arc::new(Player::new(program, std::env::temp_dir()))),
        Err(error) => {
            tracing::warn!(%error, "rehearsals cannot be played: this program's own file is not known");
            None
        }
    }
}

/// What new machines are made with; of secrets, only whether there are any.
fn launch(config: &Config) -> api::LaunchFacts {
    api::LaunchFacts {
        security_group_id: config.cloud.security_group_id.clone(),
        subnet_id: config.cloud.subnet_id.clone(),
        key_pair_name: Some(config.key_pair_name()),
        obs_password_configured: config.obs.password.is_some(),
        ssh_key_configured: !config.ssh.key_sources().is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    /// Shorter than the second after which somebody who found no place tries again.
    const AT_ONCE: Duration = Duration::from_millis(800);

    #[test]
    fn clients_that_come_together_have_a_place_until_they_are_accepted() {
        let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let address = listener.local_addr().unwrap();
        let clients: Result<Vec<_>, _> = (0..300)
            .map(|_| TcpStream::connect_timeout(&address, AT_ONCE))
            .collect();
        assert_eq!(clients.map(|clients| clients.len()).unwrap(), 300);
    }
}
