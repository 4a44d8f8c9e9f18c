//! What the gateway is told at start. It has no configuration file of its own: the caller fills this in.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::rehearsals::Rehearsals;
use crate::domain::studio::Secret;

/// Who may call what. Which routes fall under which rule is in [`super::auth`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AuthMode {
    /// Nobody is asked who they are. Only accepted while every listener is on loopback.
    Open,
    /// Routes that existing clients call stay anonymous; everything else needs the admin token.
    Compat,
    /// Everything that changes or lists anything needs a token.
    #[default]
    Required,
}

/// Facts about launching that the pool's settings do not carry but `GET …/config` shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LaunchFacts {
    pub security_group_id: Option<String>,
    pub subnet_id: Option<String>,
    pub key_pair_name: Option<String>,
    /// Whether an OBS password is configured; the password itself is never known here.
    pub obs_password_configured: bool,
    /// Whether an SSH key is configured.
    pub ssh_key_configured: bool,
}

#[derive(Debug, Clone)]
pub struct Options {
    pub auth: AuthMode,
    /// The static operations token. Without it nothing that needs a token can be called.
    pub admin_token: Option<Secret>,
    /// Origins that browsers may call from; `*` is any.
    pub cors_origins: Vec<String>,
    /// Largest request body.
    pub body_bytes_max: usize,
    /// Largest Socket.IO message, either way of transport.
    pub socket_payload_bytes_max: usize,
    /// Open TCP connections, WebSockets included.
    pub connections_max: usize,
    /// Connected Socket.IO clients.
    pub sockets_max: usize,
    /// Packets waiting for one Socket.IO client; a client that lets it fill up is disconnected.
    pub socket_buffer_packets: usize,
    /// HTTP requests being answered at the same time.
    pub requests_max: usize,
    /// Request bodies on their way at the same time; one too many, and the oldest is given up.
    pub uploads_max: usize,
    /// Assign requests that are held open (`wait`) at the same time; further ones are answered at once.
    pub waits_max: usize,
    /// Limit on answering one request, on top of the time it asked to wait.
    pub request_timeout: Duration,
    /// Limit on a request's head arriving, and on idling between requests.
    pub header_timeout: Duration,
    /// Limit on a request's body arriving.
    pub body_timeout: Duration,
    /// A peer that takes nothing for this long while there is something to send is cut off.
    pub stall_timeout: Duration,
    /// Limit on finishing open requests at shutdown.
    pub drain_timeout: Duration,
    /// Least time between two whole-pool snapshots to Socket.IO clients; not below 250 ms.
    pub snapshot_interval: Duration,
    /// Least time between two deltas.
    pub delta_interval: Duration,
    /// Directory with a web application to serve for unknown paths.
    pub static_dir: Option<PathBuf>,
    /// This machine's address as clients see it.
    pub public_ip: Option<IpAddr>,
    pub version: String,
    /// Beginning of the name given to instances launched without one.
    pub launch_name_prefix: String,
    pub launch: LaunchFacts,
    /// Port of OBS's WebSocket on a VM, as shown in its `services`.
    pub obs_port: u16,
    /// Who plays rehearsals, if anybody does.
    pub rehearsals: Option<Arc<dyn Rehearsals>>,
    /// NoMachine's port on a VM.
    pub no_machine_port: u16,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            auth: AuthMode::Required,
            admin_token: None,
            cors_origins: Vec::new(),
            // The limit that existing clients live with: 100 kB, as their server's JSON parser counts it.
            body_bytes_max: 100 * 1024,
            // Engine.IO's usual `maxHttpBufferSize`.
            socket_payload_bytes_max: 1_000_000,
            // Half of a usual descriptor limit is left for VM links and files.
            connections_max: 8_192,
            sockets_max: 4_096,
            // A burst of one commit per VM of a large pool fits; slots are allocated as they are used.
            socket_buffer_packets: 1_024,
            requests_max: 1_024,
            // At most 25 MiB of bodies that may never end.
            uploads_max: 256,
            waits_max: 256,
            // Longer than the longest command, a release with its clean-up (20 s).
            request_timeout: Duration::from_secs(60),
            header_timeout: Duration::from_secs(20),
            body_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(20),
            drain_timeout: Duration::from_secs(10),
            snapshot_interval: SNAPSHOT_INTERVAL_MIN,
            delta_interval: Duration::from_millis(50),
            static_dir: None,
            public_ip: None,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            launch_name_prefix: "gymnastics-vm".to_owned(),
            launch: LaunchFacts::default(),
            obs_port: 4455,
            rehearsals: None,
            no_machine_port: 4000,
        }
    }
}

/// Snapshots are promised to come no more often than this.
pub const SNAPSHOT_INTERVAL_MIN: Duration = Duration::from_millis(250);
