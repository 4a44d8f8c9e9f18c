//! A real SSH server before a simulated machine.
//!
//! Public key login for one authorised key, `exec` with separate standard output, standard error and exit
//! status, and forwarding to the machine's own ports (`direct-tcpip`), which is how an OBS that listens on
//! localhost is reached. Keep-alive requests are answered. Shells, terminals, subsystems and forwarding to
//! elsewhere are refused. What a command does is [`command`]'s business.

mod command;
mod figures;
mod units;
mod words;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use russh::keys::{Algorithm, PrivateKey};
use russh::server::{Auth, ChannelOpenHandle, Handle, Handler, Msg, PublicKeyOffer, VerifiedPublicKey};
use russh::{Channel, ChannelId, MethodKind, MethodSet};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use self::command::Output;
use super::gate::GatedStream;
use super::machine::Shared;

/// Commands and forwarded connections at once on one connection.
const CHANNELS_MAX: usize = 16;
/// Limit on reaching a forwarded port.
const FORWARD_DEADLINE: Duration = Duration::from_secs(5);
/// Longest command line taken.
const COMMAND_BYTES_MAX: usize = 64 * 1024;

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
            channel_buffer_size: 16,
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
    let channels = Arc::new(Semaphore::new(CHANNELS_MAX));
    if let Ok(session) = russh::server::run_stream(config, stream, Login { machine, channels }).await {
        // However it ends: the client went away, or the machine did.
        let _ = session.await;
    }
}

/// One client, before and after it has logged in.
struct Login {
    machine: Arc<Shared>,
    channels: Arc<Semaphore>,
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
        _channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut russh::server::Session,
    ) -> Result<(), Self::Error> {
        reply.accept().await;
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
        let Ok(permit) = Arc::clone(&self.channels).try_acquire_owned() else {
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

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        data: &[u8],
        session: &mut russh::server::Session,
    ) -> Result<(), Self::Error> {
        let permit = Arc::clone(&self.channels).try_acquire_owned();
        let (Ok(permit), true) = (permit, data.len() <= COMMAND_BYTES_MAX) else {
            return session.channel_failure(channel);
        };
        session.channel_success(channel)?;
        let line = String::from_utf8_lossy(data).into_owned();
        let (machine, client) = (Arc::clone(&self.machine), session.handle());
        tokio::spawn(async move {
            let _permit = permit;
            let output = command::run(&machine, &line).await;
            // Fails when the client is gone, and then nobody waits for it.
            let _ = send(&client, channel, output).await;
        });
        Ok(())
    }

    async fn shell_request(
        &mut self,
        channel: ChannelId,
        session: &mut russh::server::Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(channel)
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        _name: &str,
        session: &mut russh::server::Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(channel)
    }
}

async fn send(client: &Handle, channel: ChannelId, output: Output) -> Result<(), ()> {
    const STDERR: u32 = 1;
    if !output.stdout.is_empty() {
        client.data(channel, output.stdout).await.map_err(drop)?;
    }
    if !output.stderr.is_empty() {
        client
            .extended_data(channel, STDERR, output.stderr)
            .await
            .map_err(drop)?;
    }
    client.exit_status_request(channel, output.status).await?;
    client.eof(channel).await?;
    client.close(channel).await
}
