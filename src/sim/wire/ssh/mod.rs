//! A real SSH server before a simulated machine.
//!
//! Public key login for one authorised key, `exec` with separate standard output, standard error and exit
//! status, a login shell, terminals, SFTP, and forwarding to the machine's own ports (`direct-tcpip`), which is how an OBS that listens on
//! localhost is reached. Keep-alive requests are answered. Other subsystems and forwarding to elsewhere are
//! refused. What a command does is [`crate::sim::model::shell`]'s business.

mod command;
mod session;
mod sftp;
mod shell;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use russh::keys::{Algorithm, PrivateKey};
use russh::server::{Auth, ChannelOpenHandle, Handler, Msg, PublicKeyOffer, VerifiedPublicKey};
use russh::{Channel, MethodKind, MethodSet};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use self::session::Session;
use super::gate::GatedStream;
use super::machine::Shared;

/// Sessions at once on one connection: OpenSSH's default (`MaxSessions`).
const SESSIONS_MAX: usize = 10;
/// Forwarded connections at once on one connection.
const FORWARDS_MAX: usize = 16;
/// Messages of one channel that wait for who reads them. While the queue is full the whole connection stands still,
/// answers included, so it must hold what a client sends without waiting for answers: of SFTP, four transfers of 32
/// requests in two messages each.
const CHANNEL_MESSAGES_MAX: usize = 512;
/// Limit on reaching a forwarded port.
const FORWARD_DEADLINE: Duration = Duration::from_secs(5);

/// The machine's SSH configuration with its host key, made once.
pub(super) async fn server_config(machine: &Arc<Shared>) -> Result<Arc<russh::server::Config>, russh::Error> {
    let make = async || {
        // From the machine's seed, so that a restarted world has the same keys.
        let mut rng = StdRng::seed_from_u64(machine.config().seed ^ 0x5353_485f_4b45_5953);
        let key = PrivateKey::random(&mut rng, Algorithm::Ed25519).map_err(russh::keys::Error::from)?;
        Ok(Arc::new(russh::server::Config {
            methods: MethodSet::from(&[MethodKind::PublicKey][..]),
            auth_rejection_time: Duration::from_millis(50),
            auth_rejection_time_initial: Some(Duration::ZERO),
            keys: vec![key],
            window_size: 256 * 1024,
            channel_buffer_size: CHANNEL_MESSAGES_MAX,
            inactivity_timeout: None,
            ..russh::server::Config::default()
        }))
    };
    machine.ssh_config().get_or_try_init(make).await.cloned()
}

/// Serves one connection to its end.
pub(super) async fn serve(machine: Arc<Shared>, stream: GatedStream) {
    let Ok(config) = server_config(&machine).await else {
        return;
    };
    let login = Login {
        machine,
        sessions: Arc::new(Semaphore::new(SESSIONS_MAX)),
        forwards: Arc::new(Semaphore::new(FORWARDS_MAX)),
    };
    if let Ok(session) = russh::server::run_stream(config, stream, login).await {
        // However it ends: the client went away, or the machine did.
        let _ = session.await;
    }
}

/// One client, before and after it has logged in.
struct Login {
    machine: Arc<Shared>,
    sessions: Arc<Semaphore>,
    forwards: Arc<Semaphore>,
}

impl Login {
    fn decide(&self, user: &str, key: &russh::keys::PublicKey) -> Auth {
        let access = &self.machine.config().ssh;
        let is_known = access
            .authorized
            .as_ref()
            .is_some_and(|known| known.key_data() == key.key_data());
        if is_known && user == access.user {
            Auth::Accept
        } else {
            Auth::reject()
        }
    }
}

impl Handler for Login {
    type Error = russh::Error;

    async fn auth_publickey_offered(
        &mut self,
        user: &str,
        offer: PublicKeyOffer<'_>,
    ) -> Result<Auth, Self::Error> {
        Ok(self.decide(user, offer.public_key))
    }

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        Ok(self.decide(user, key.public_key))
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        session: &mut russh::server::Session,
    ) -> Result<(), Self::Error> {
        let Ok(place) = Arc::clone(&self.sessions).try_acquire_owned() else {
            reply.reject(russh::ChannelOpenFailure::ResourceShortage).await;
            return Ok(());
        };
        reply.accept().await;
        let session = Session {
            machine: Arc::clone(&self.machine),
            channel,
            client: session.handle(),
            place,
        };
        // It ends with its channel, and so with the connection.
        tokio::spawn(session.run());
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        _originator: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut russh::server::Session,
    ) -> Result<(), Self::Error> {
        let own = self.machine.address();
        let is_own = host == "localhost" || host.parse() == Ok(IpAddr::V4(own)) || host == "127.0.0.1";
        let (true, Ok(port)) = (is_own, u16::try_from(port)) else {
            reply
                .reject(russh::ChannelOpenFailure::AdministrativelyProhibited)
                .await;
            return Ok(());
        };
        let Ok(permit) = Arc::clone(&self.forwards).try_acquire_owned() else {
            reply.reject(russh::ChannelOpenFailure::ResourceShortage).await;
            return Ok(());
        };
        tokio::spawn(async move {
            let _permit = permit;
            let target = TcpStream::connect(SocketAddr::from((own, port)));
            match timeout(FORWARD_DEADLINE, target).await {
                Ok(Ok(mut target)) => {
                    reply.accept().await;
                    let mut channel = channel.into_stream();
                    // Either side closing ends it; there is nobody to tell.
                    let _ = tokio::io::copy_bidirectional(&mut channel, &mut target).await;
                }
                Ok(Err(_)) | Err(_) => reply.reject(russh::ChannelOpenFailure::ConnectFailed).await,
            }
        });
        Ok(())
    }
}
