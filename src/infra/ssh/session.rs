//! A live connection as its owner sees it.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use russh::client::Handle;
use tokio::sync::{Mutex, oneshot};
use tokio::time::timeout;
use tracing::{Instrument as _, debug, debug_span};

use super::command::Command;
use super::connection::{Connection, End};
use super::connector::Client;
use super::files::{Files, Sftp};
use super::stored_key::Superseded;
use super::{
    Commands, Error, Exec, Execution, Finished, Liveness, Passages, Start, execution, quote, tunnel,
};

/// A message that a server must answer, whether it knows it or not (RFC 4254, section 4): no process needed.
const PING: &str = "keepalive@openssh.com";

pub(super) struct RusshSession {
    connection: Arc<Connection>,
    /// Open for as long as somebody uses it.
    files: Mutex<Weak<Sftp>>,
    /// It was opened with a key that the store has replaced.
    #[expect(dead_code, reason = "held: it is counted who does")]
    superseded: Option<Arc<Superseded>>,
}

impl RusshSession {
    pub(super) fn new(handle: Handle<Client>, end: End, superseded: Option<Arc<Superseded>>) -> Self {
        Self {
            connection: Arc::new(Connection::new(handle, end)),
            files: Mutex::new(Weak::new()),
            superseded,
        }
    }
}

#[async_trait]
impl Commands for RusshSession {
    async fn exec(&self, exec: &Exec) -> Result<Finished, Error> {
        let line = quote::command_line(&exec.argv)?;
        if self.connection.end.reached() {
            return Err(Error::Closed);
        }
        let (answer, outcome) = oneshot::channel();
        let command = Command::new(line, exec, self.connection.clone());
        // The words after the first may be anything, a secret among them.
        let span = debug_span!("ssh", program = exec.argv.first());
        tokio::spawn(command.run(answer).instrument(span.clone()));
        // The task ends without an answer only with the runtime.
        let result = outcome.await.unwrap_or(Err(Error::Closed));
        span.in_scope(|| match &result {
            Ok(finished) => debug!(exit = ?finished.exit, "a command has ended"),
            Err(error) => debug!(%error, "a command was not carried out"),
        });
        result
    }

    async fn start(&self, start: &Start) -> Result<Execution, Error> {
        execution::start(&self.connection, start).await
    }
}

#[async_trait]
impl Passages for RusshSession {
    async fn tunnel(&self, to: SocketAddr, deadline: Duration) -> Result<Box<dyn tunnel::Stream>, Error> {
        tunnel::open(&self.connection, to, deadline).await
    }

    async fn files(&self) -> Result<Arc<dyn Files>, Error> {
        let mut shared = self.files.lock().await;
        if let Some(files) = shared.upgrade().filter(|files| files.are_usable()) {
            return Ok(files);
        }
        let files = Arc::new(Sftp::open(&self.connection).await?);
        *shared = Arc::downgrade(&files);
        Ok(files)
    }
}

#[async_trait]
impl Liveness for RusshSession {
    async fn ping(&self, deadline: Duration) -> Result<(), Error> {
        let connection = &self.connection;
        if connection.end.reached() {
            return Err(Error::Closed);
        }
        let round_trip = async {
            tokio::select! {
                answer = connection.handle.send_global_request(PING, &[], true) => answer,
                _ = connection.end.wait() => Err(russh::Error::Disconnect),
            }
        };
        match timeout(deadline, round_trip).await {
            // Refusing the request is how most servers answer it.
            Ok(Ok(_) | Err(russh::Error::RequestDenied)) => Ok(()),
            Ok(Err(_)) => Err(Error::Closed),
            Err(_) => Err(Error::TimedOut(deadline)),
        }
    }

    async fn closed(&self) -> Error {
        self.connection.end.wait().await
    }

    async fn close(&self) {
        self.connection.close().await;
    }
}
