//! The SSH adapter against a server that shows what OpenSSH does not: what it is sent, and what it tries.
//!
//! OpenSSH passes no signals on to processes of root, so whether a hang-up is sent is seen here.

use std::sync::Arc;
use std::time::Duration;

use russh::keys::{Algorithm, PrivateKey};
use russh::server::{self, Auth, ChannelOpenHandle, Msg, VerifiedPublicKey};
use russh::{Channel, ChannelId, Sig};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use understudy::infra::ssh::{Connector, Endpoint, Error, Exec, RusshConnector, Session};

use crate::support::ssh::pinning;
use crate::support::sshd::generate_key;
use crate::support::{BRIEF, PLENTY};

/// What happened at the server.
#[derive(Debug, PartialEq)]
enum Seen {
    Exec(String),
    Signal(String),
    Closed,
    /// A channel that the server asked for was refused.
    Refused,
}

/// A server that lets everyone in, starts nothing, and never ends a command.
struct Endless {
    seen: mpsc::UnboundedSender<Seen>,
    /// Whether to close a command's channel when it is told to hang up.
    obeys: bool,
}

impl server::Handler for Endless {
    type Error = russh::Error;

    async fn auth_publickey(&mut self, _: &str, _: VerifiedPublicKey<'_>) -> Result<Auth, russh::Error> {
        Ok(Auth::Accept)
    }

    async fn channel_open_session(
        &mut self,
        _: Channel<Msg>,
        reply: ChannelOpenHandle,
        session: &mut server::Session,
    ) -> Result<(), russh::Error> {
        reply.accept().await;
        let (handle, seen) = (session.handle(), self.seen.clone());
        tokio::spawn(async move {
            // What a server that was taken over might try next.
            let refused = [
                handle.channel_open_session().await.is_err(),
                handle.channel_open_agent().await.is_err(),
                handle.channel_open_x11("127.0.0.1", 1).await.is_err(),
                handle
                    .channel_open_direct_tcpip("127.0.0.1", 22, "127.0.0.1", 1)
                    .await
                    .is_err(),
                handle
                    .channel_open_direct_streamlocal("/run/socket")
                    .await
                    .is_err(),
                handle
                    .channel_open_forwarded_tcpip("127.0.0.1", 22, "127.0.0.1", 1)
                    .await
                    .is_err(),
                handle
                    .channel_open_forwarded_streamlocal("/run/socket")
                    .await
                    .is_err(),
            ];
            if refused == [true; 7] {
                let _ = seen.send(Seen::Refused);
            }
        });
        Ok(())
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        command: &[u8],
        session: &mut server::Session,
    ) -> Result<(), russh::Error> {
        let _ = self
            .seen
            .send(Seen::Exec(String::from_utf8_lossy(command).into_owned()));
        session.channel_success(channel)
    }

    async fn signal(
        &mut self,
        channel: ChannelId,
        signal: Sig,
        session: &mut server::Session,
    ) -> Result<(), russh::Error> {
        let _ = self.seen.send(Seen::Signal(format!("{signal:?}")));
        if self.obeys {
            session.close(channel)?;
        }
        Ok(())
    }

    async fn channel_close(&mut self, _: ChannelId, _: &mut server::Session) -> Result<(), russh::Error> {
        let _ = self.seen.send(Seen::Closed);
        Ok(())
    }
}

/// Serves one connection and returns our session on it.
async fn connect(obeys: bool) -> (Arc<dyn Session>, mpsc::UnboundedReceiver<Seen>, tempfile::TempDir) {
    let listener = TcpListener::bind("127.44.9.3:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (seen, events) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let config = server::Config {
            keys: vec![PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).unwrap()],
            ..server::Config::default()
        };
        let (stream, _) = listener.accept().await.unwrap();
        let running = server::run_stream(Arc::new(config), stream, Endless { seen, obeys })
            .await
            .unwrap();
        let _ = running.await;
    });
    let folder = tempfile::tempdir().unwrap();
    generate_key(&folder.path().join("key"), "ed25519");
    let connector = RusshConnector::new(pinning("anyone", folder.path().join("key"), folder.path()));
    let endpoint = Endpoint {
        address,
        host: "i-1".to_owned(),
        connect_deadline: PLENTY,
    };
    (connector.connect(&endpoint).await.unwrap(), events, folder)
}

fn endless() -> Exec {
    Exec {
        argv: vec!["run".to_owned(), "for ever".to_owned()],
        deadline: BRIEF,
        output_bytes_max: 100,
    }
}

/// The next thing seen that is not the refusal of the server's own channels.
async fn next(events: &mut mpsc::UnboundedReceiver<Seen>) -> Seen {
    loop {
        let seen = tokio::time::timeout(PLENTY, events.recv())
            .await
            .expect("something happens")
            .unwrap();
        if seen != Seen::Refused {
            return seen;
        }
    }
}

#[tokio::test]
async fn a_command_past_its_deadline_is_sent_a_hang_up() {
    let (session, mut events, _folder) = connect(true).await;
    assert_eq!(session.exec(&endless()).await, Err(Error::TimedOut(BRIEF)));
    assert_eq!(next(&mut events).await, Seen::Exec("'run' 'for ever'".to_owned()));
    assert_eq!(next(&mut events).await, Seen::Signal("HUP".to_owned()));
    session.ping(PLENTY).await.unwrap();
}

#[tokio::test]
async fn a_command_that_ignores_its_hang_up_has_its_channel_closed() {
    let (session, mut events, _folder) = connect(false).await;
    assert_eq!(session.exec(&endless()).await, Err(Error::TimedOut(BRIEF)));
    assert_eq!(next(&mut events).await, Seen::Exec("'run' 'for ever'".to_owned()));
    assert_eq!(next(&mut events).await, Seen::Signal("HUP".to_owned()));
    assert_eq!(next(&mut events).await, Seen::Closed);
    session.ping(PLENTY).await.unwrap();
}

#[tokio::test]
async fn a_caller_who_gives_up_ends_the_command() {
    let (session, mut events, _folder) = connect(true).await;
    let patient = Exec {
        deadline: Duration::from_secs(3600),
        ..endless()
    };
    assert!(tokio::time::timeout(BRIEF, session.exec(&patient)).await.is_err());
    assert_eq!(next(&mut events).await, Seen::Exec("'run' 'for ever'".to_owned()));
    assert_eq!(next(&mut events).await, Seen::Signal("HUP".to_owned()));
}

#[tokio::test]
async fn a_session_nobody_holds_any_more_ends_its_connection() {
    let (session, mut events, _folder) = connect(true).await;
    drop(session);
    // The server's side ends with the connection, and with it the sender of events.
    assert!(
        tokio::time::timeout(PLENTY, events.recv())
            .await
            .expect("it ends")
            .is_none()
    );
}

#[tokio::test]
async fn a_server_is_given_no_channels_of_its_own() {
    let (session, mut events, _folder) = connect(true).await;
    let endless = endless();
    let running = session.exec(&endless);
    let refused = async {
        loop {
            let seen = tokio::time::timeout(PLENTY, events.recv())
                .await
                .expect("an answer")
                .unwrap();
            if seen == Seen::Refused {
                return;
            }
        }
    };
    let (_, ()) = tokio::join!(running, refused);
    session.ping(PLENTY).await.unwrap();
}
