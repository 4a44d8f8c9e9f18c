//! Making a connection: key, host key, TCP, SSH handshake, authentication, all within one deadline.

use std::borrow::Cow;
use std::io;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use russh::client::{self, AuthResult, ChannelOpenHandle, DisconnectReason, Msg};
use russh::keys::{HashAlg, PrivateKeyWithHashAlg, PublicKey, PublicKeyOrCertificate};
use russh::{Channel, Preferred, SshId};
use tokio::net::TcpStream;

use super::connection::End;
use super::host_keys::{Expected, HostKeyPolicy, HostKeys, Trust};
use super::key::ClientKey;
use super::key_source::{KeySource, Keys, Offer};
use super::rsa::RsaSigner;
use super::session::RusshSession;
use super::{Connector, Endpoint, Error, KeyStanding, Session};

/// Bytes of output that a server may send ahead of what we have read, per command.
const WINDOW_BYTES: u32 = 256 * 1024;

/// Messages of one command kept between the connection and its reader. With [`WINDOW_BYTES`] it bounds the
/// memory of a command whatever the server sends.
const CHANNEL_MESSAGES_MAX: usize = 16;

/// How to log in to the pool's machines, and how to know them.
#[derive(Debug, Clone)]
pub struct Config {
    pub user: String,
    pub key: KeySource,
    /// File of the passphrase that protects the key, with mode 0600; read again when it changes.
    pub key_passphrase: Option<PathBuf>,
    pub host_keys: HostKeyPolicy,
    /// A silent server is asked for a sign of life this often.
    pub keep_alive_interval: Duration,
    /// After so many unanswered questions the connection is given up.
    pub keep_alive_max: usize,
}

impl Config {
    /// The longest time for which a connection can be dead without being noticed, plus one interval of slack
    /// for an answer on its way.
    fn silence_max(&self) -> Duration {
        let questions = u32::try_from(self.keep_alive_max).unwrap_or(u32::MAX);
        self.keep_alive_interval
            .saturating_mul(questions.saturating_add(2))
    }
}

/// Connects with russh.
#[derive(Debug)]
pub struct RusshConnector {
    config: Config,
    keys: Keys,
    host_keys: Arc<HostKeys>,
}

impl RusshConnector {
    /// Reads no file yet: files are read when a connection needs them, and may change while we run. A key in a store
    /// begins to be read: must be called on the runtime then.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            keys: Keys::new(config.key.clone(), config.key_passphrase.clone()),
            host_keys: Arc::new(HostKeys::new(config.host_keys.clone())),
            config,
        }
    }

    /// Reads the private key, and gives its fingerprint as OpenSSH writes it.
    ///
    /// # Errors
    /// [`Error::BadKey`]; [`Error::KeyUnavailable`] while a store has not given it.
    pub async fn check_key(&self) -> Result<String, Error> {
        let offer = self.keys.current().await?;
        Ok(offer.key.fingerprint())
    }

    /// With the key, and if that is refused with those there are instead of it, each once.
    async fn open(&self, endpoint: &Endpoint) -> Result<RusshSession, Error> {
        let first = self.keys.current().await?;
        let refused = match self.open_with(endpoint, &first).await {
            Err(refused @ Error::AuthFailed { .. }) => refused,
            answer => return answer,
        };
        for offer in self.keys.instead_of(&first.key).await {
            match self.open_with(endpoint, &offer).await {
                Err(Error::AuthFailed { .. }) => {}
                answer => return answer,
            }
        }
        Err(refused)
    }

    async fn open_with(&self, endpoint: &Endpoint, offer: &Offer) -> Result<RusshSession, Error> {
        let expected = self.expected(endpoint).await?;
        let stream = TcpStream::connect(endpoint.address).await.map_err(network)?;
        stream.set_nodelay(true).map_err(network)?;
        // russh runs the connection in a task of its own that outlives us if the server falls silent halfway.
        let cut = CutOnDrop::new(&stream).map_err(network)?;

        let end = End::default();
        let shown = Arc::new(OnceLock::new());
        let client = Client {
            shown: shown.clone(),
            end: end.clone(),
            silence_max: self.config.silence_max(),
            expected,
        };
        let settings = Arc::new(self.settings(&client.expected));
        let mut handle = client::connect_stream(settings, stream, client)
            .await
            .map_err(|fault| fault.into_error(self.config.silence_max()))?;
        self.authenticate(&mut handle, &offer.key, &end).await?;
        // Only now: whoever else answers on a reused address would not have let us in.
        if let Some((key, Trust::FirstUse)) = shown.get() {
            self.remember(endpoint, key.clone()).await?;
        }
        cut.disarm();
        let superseded = offer.superseded.as_ref();
        if superseded.is_some() {
            tracing::warn!(
                host = %endpoint.host,
                address = %endpoint.address,
                key = %offer.key.fingerprint(),
                "the machine refused the private key for SSH that the store has now, and took the one before it: \
                 authorise the new key on the machine"
            );
        }
        Ok(RusshSession::new(handle, end, superseded.and_then(Weak::upgrade)))
    }

    async fn expected(&self, endpoint: &Endpoint) -> Result<Expected, Error> {
        let (host_keys, endpoint) = (self.host_keys.clone(), endpoint.clone());
        blocking(move || host_keys.expected(&endpoint)).await
    }

    async fn remember(&self, endpoint: &Endpoint, key: PublicKey) -> Result<(), Error> {
        let (host_keys, host) = (self.host_keys.clone(), endpoint.host.clone());
        blocking(move || host_keys.remember(&host, &key)).await
    }

    fn settings(&self, expected: &Expected) -> client::Config {
        client::Config {
            client_id: SshId::Standard(Cow::Borrowed("SSH-2.0-understudy")),
            window_size: WINDOW_BYTES,
            channel_buffer_size: CHANNEL_MESSAGES_MAX,
            keepalive_interval: Some(self.config.keep_alive_interval),
            keepalive_max: self.config.keep_alive_max,
            // Also bounds a write that a dead peer never takes, which keep-alives do not.
            inactivity_timeout: Some(self.config.silence_max()),
            preferred: Preferred {
                key: Cow::Owned(expected.algorithms()),
                host_key_certificates: Cow::Owned(expected.certificate_algorithms()),
                ..Preferred::DEFAULT
            },
            nodelay: true,
            ..client::Config::default()
        }
    }

    async fn authenticate(
        &self,
        handle: &mut client::Handle<Client>,
        key: &ClientKey,
        end: &End,
    ) -> Result<(), Error> {
        let refused = || Error::AuthFailed {
            user: self.config.user.clone(),
        };
        match self.offer(handle, key).await {
            Ok(AuthResult::Success) => Ok(()),
            // russh answers with no methods at all when the connection is lost while waiting. A server that
            // says goodbye at this point has counted too many attempts.
            Ok(AuthResult::Failure {
                remaining_methods, ..
            }) if remaining_methods.is_empty() => match end.wait().await {
                Error::Closed if end.said_goodbye() => Err(refused()),
                lost => Err(lost),
            },
            Ok(AuthResult::Failure { .. }) => Err(refused()),
            Err(fault) => Err(fault.into_error(self.config.silence_max())),
        }
    }

    async fn offer(&self, handle: &mut client::Handle<Client>, key: &ClientKey) -> Result<AuthResult, Fault> {
        let user = &self.config.user;
        match key {
            ClientKey::Curve(key) => {
                let key = PrivateKeyWithHashAlg::new(Arc::clone(key), None);
                Ok(handle.authenticate_publickey(user, key).await?)
            }
            ClientKey::Rsa(key) => {
                let hash = match handle.best_supported_rsa_hash().await? {
                    Some(Some(hash)) => hash,
                    Some(None) => return Err(Fault::Ours(Error::BadKey(SHA1_ALONE.to_owned()))),
                    // It does not say. What every server has that knows more than SHA-1.
                    None => HashAlg::Sha256,
                };
                let (public, mut signer) = (key.public().clone(), RsaSigner(key));
                let answer = handle.authenticate_publickey_with(user, public, Some(hash), &mut signer);
                answer.await
            }
        }
    }
}

const SHA1_ALONE: &str = "the server takes signatures of RSA keys with SHA-1 alone, which are not made: use an Ed25519 key, \
                          or let it take rsa-sha2-256 (OpenSSH since 7.2 does)";

#[async_trait]
impl Connector for RusshConnector {
    async fn connect(&self, endpoint: &Endpoint) -> Result<Arc<dyn Session>, Error> {
        let limit = endpoint.connect_deadline;
        match tokio::time::timeout(limit, self.open(endpoint)).await {
            Ok(Ok(session)) => Ok(Arc::new(session)),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(Error::TimedOut(limit)),
        }
    }

    fn key_standing(&self) -> Option<KeyStanding> {
        self.keys.standing()
    }
}

/// Runs what reads files away from the runtime's threads.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(failed) => match failed.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is shutting down.
            Err(_) => Err(Error::Closed),
        },
    }
}

/// Ends the TCP connection when dropped, whoever else still holds it.
struct CutOnDrop(Option<std::net::TcpStream>);

impl CutOnDrop {
    fn new(stream: &TcpStream) -> io::Result<Self> {
        let same_socket = stream.as_fd().try_clone_to_owned()?;
        Ok(Self(Some(same_socket.into())))
    }

    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for CutOnDrop {
    fn drop(&mut self) {
        if let Some(stream) = self.0.take() {
            // Fails only if the connection is gone already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// Our side of the protocol: checks the server's key, notes how the connection ends, refuses everything else.
pub(super) struct Client {
    expected: Expected,
    shown: Arc<OnceLock<(PublicKey, Trust)>>,
    end: End,
    silence_max: Duration,
}

impl Drop for Client {
    /// russh does not say how a connection ended if closing the socket fails too.
    fn drop(&mut self) {
        self.end.reach(Error::Closed);
    }
}

impl client::Handler for Client {
    type Error = Fault;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, Fault> {
        let trust = self.expected.check_shown(shown, SystemTime::now());
        let trust = trust.map_err(Fault::Ours)?;
        // Asked once per connection.
        let _ = self.shown.set((shown.public_key(), trust));
        Ok(true)
    }

    async fn disconnected(&mut self, reason: DisconnectReason<Fault>) -> Result<(), Fault> {
        match reason {
            DisconnectReason::ReceivedDisconnect(goodbye) => {
                tracing::debug!(reason = %goodbye.message, "the SSH server said goodbye");
                self.end.reach_by_goodbye();
            }
            DisconnectReason::Error(fault) => self.end.reach(fault.into_error(self.silence_max)),
        }
        Ok(())
    }

    // russh accepts channels that a server opens unless told otherwise. A server has no business opening any:
    // dropping the reply refuses.

    async fn server_channel_open_session(
        &mut self,
        _: Channel<Msg>,
        _: ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Result<(), Fault> {
        Ok(())
    }

    async fn server_channel_open_agent_forward(
        &mut self,
        _: Channel<Msg>,
        _: ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Result<(), Fault> {
        Ok(())
    }

    async fn server_channel_open_forwarded_tcpip(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        _: &str,
        _: u32,
        _: ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Result<(), Fault> {
        Ok(())
    }

    async fn server_channel_open_forwarded_streamlocal(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Result<(), Fault> {
        Ok(())
    }

    async fn server_channel_open_direct_tcpip(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        _: &str,
        _: u32,
        _: ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Result<(), Fault> {
        Ok(())
    }

    async fn server_channel_open_direct_streamlocal(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Result<(), Fault> {
        Ok(())
    }

    async fn server_channel_open_x11(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        _: ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Result<(), Fault> {
        Ok(())
    }
}

/// What may end a connection: our refusal of the server's key, or russh's own reasons.
#[derive(Debug)]
pub(super) enum Fault {
    Ours(Error),
    Theirs(russh::Error),
}

impl From<russh::Error> for Fault {
    fn from(error: russh::Error) -> Self {
        Self::Theirs(error)
    }
}

impl From<russh::SendError> for Fault {
    fn from(_: russh::SendError) -> Self {
        Self::Theirs(russh::Error::SendError)
    }
}

impl Fault {
    /// `silence_max` is what a keep-alive that went unanswered is reported as.
    fn into_error(self, silence_max: Duration) -> Error {
        match self {
            Self::Ours(error) => error,
            Self::Theirs(error) => match error {
                russh::Error::IO(error) => network(error),
                russh::Error::HUP | russh::Error::Disconnect | russh::Error::SendError => Error::Closed,
                russh::Error::RecvError => Error::Closed,
                russh::Error::KeepaliveTimeout | russh::Error::InactivityTimeout => {
                    Error::TimedOut(silence_max)
                }
                other => Error::Protocol(other.to_string()),
            },
        }
    }
}

fn network(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Error::Refused,
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::NotConnected
        | io::ErrorKind::UnexpectedEof => Error::Closed,
        _ => Error::Unreachable(error.to_string()),
    }
}
