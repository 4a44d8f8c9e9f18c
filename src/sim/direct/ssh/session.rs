//! A live connection to a machine's SSH server.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::AsyncWriteExt;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

use super::files::DirectFiles;
use super::{KeepAlive, command, execution};
use crate::infra::ssh::files::Files;
use crate::infra::ssh::{
    Commands, Error, Exec, Execution, Exit, Finished, Liveness, Passages, Start, command_line, tunnel,
};
use crate::infra::watch;
use crate::sim::direct::network::{Link, Network};
use crate::sim::model::machine::{Fate, Service};
use crate::sim::model::shell::Output;

// As `infra::ssh` has them.
const COMMANDS_AT_ONCE_MAX: usize = 4;
const EXECUTIONS_AT_ONCE_MAX: usize = 3;
/// A number, and nothing after it.
const PIPE_BYTES: usize = 64;

/// The connection, shared with everything that goes on over it.
pub(super) struct Connection {
    pub(super) link: Link,
    /// Why it is over, if it was given up or closed.
    ended: watch::Sender<Option<Error>>,
    commands: Semaphore,
    pub(super) executions: Arc<Semaphore>,
}

impl Connection {
    /// Returns when it is lost or was closed, with the reason.
    pub(super) async fn over(&self) -> Error {
        let mut ended = self.ended.subscribe();
        let ended = tokio::select! {
            biased;
            () = self.link.reset() => return Error::Closed,
            ended = ended.wait_for(Option::is_some) => ended,
        };
        match ended.as_deref() {
            Ok(Some(why)) => why.clone(),
            Ok(None) | Err(_) => Error::Closed,
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.ended.borrow().is_some() || self.link.line().is_reset()
    }

    /// The first reason given is the reason.
    fn end(&self, why: Error) {
        self.ended.send_if_modified(|ended| {
            let is_first = ended.is_none();
            if is_first {
                *ended = Some(why);
            }
            is_first
        });
    }
}

pub(super) struct DirectSession {
    connection: Arc<Connection>,
    network: Network,
    /// Open for as long as somebody uses it.
    files: Mutex<Weak<DirectFiles>>,
}

impl DirectSession {
    pub(super) fn new(link: Link, network: Network, keep_alive: KeepAlive) -> Self {
        let fate = link.line().fate();
        let connection = Arc::new(Connection {
            link,
            ended: watch::Sender::new(None),
            commands: Semaphore::new(COMMANDS_AT_ONCE_MAX),
            executions: Arc::new(Semaphore::new(EXECUTIONS_AT_ONCE_MAX)),
        });
        tokio::spawn(ask_for_life(Arc::downgrade(&connection), fate, keep_alive));
        Self {
            connection,
            network,
            files: Mutex::new(Weak::new()),
        }
    }

    /// Something that ends with the connection.
    async fn during<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        tokio::select! {
            biased;
            _ = self.connection.over() => Err(Error::Closed),
            done = work => done,
        }
    }
}

/// Gives the connection up when it has been silent for too long. Nothing is really asked: whether an answer would come is
/// known.
async fn ask_for_life(connection: Weak<Connection>, mut fate: watch::Receiver<Fate>, keep_alive: KeepAlive) {
    // An error is the end of the connection.
    while fate.wait_for(|fate| *fate == Fate::Frozen).await.is_ok() {
        let thaw = async {
            if fate.wait_for(|fate| *fate != Fate::Frozen).await.is_err() {
                // What froze it is gone, as with a machine that boots anew: it is silent for good.
                std::future::pending::<()>().await;
            }
        };
        if timeout(keep_alive.patience(), thaw).await.is_err() {
            if let Some(connection) = connection.upgrade() {
                connection.end(Error::TimedOut(keep_alive.silence_max()));
            }
            return;
        }
    }
}

impl Drop for DirectSession {
    /// Executions go on until they end, as their channels hold the connection.
    fn drop(&mut self) {
        if Arc::strong_count(&self.connection) == 1 {
            self.connection.end(Error::Closed);
        }
    }
}

#[async_trait]
impl Commands for DirectSession {
    async fn exec(&self, exec: &Exec) -> Result<Finished, Error> {
        let line = command_line(&exec.argv)?;
        if self.connection.is_over() {
            return Err(Error::Closed);
        }
        let started = Instant::now();
        let run = async {
            // It fails only if the semaphore is closed, which nobody does.
            let _place = self.connection.commands.acquire().await;
            command::run(&self.connection.link, &line)
                .await
                .map_err(|_| Error::Closed)
        };
        let ended = timeout_at(started + exec.deadline, self.during(run)).await;
        let Output {
            mut stdout,
            mut stderr,
            status,
        } = ended.unwrap_or(Err(Error::TimedOut(exec.deadline)))?;
        let most = exec.output_bytes_max;
        let truncated = stdout.len() > most || stderr.len() > most;
        stdout.truncate(most);
        stderr.truncate(most);
        Ok(Finished {
            stdout,
            stderr,
            truncated,
            exit: Exit::Status(status),
            took: started.elapsed(),
        })
    }

    async fn start(&self, start: &Start) -> Result<Execution, Error> {
        execution::start(&self.connection, start).await
    }
}

#[async_trait]
impl Passages for DirectSession {
    /// What comes through is the number of a passage, and nothing else: whoever expects a server there finds a
    /// connection to it under that number.
    async fn tunnel(&self, to: SocketAddr, deadline: Duration) -> Result<Box<dyn tunnel::Stream>, Error> {
        let opened = timeout(deadline, self.during(self.open_tunnel(to))).await;
        opened.unwrap_or(Err(Error::TimedOut(deadline)))
    }

    async fn files(&self) -> Result<Arc<dyn Files>, Error> {
        let mut shared = self.files.lock().await;
        if let Some(files) = shared.upgrade().filter(|files| files.are_usable()) {
            return Ok(files);
        }
        if self.connection.is_over() {
            return Err(Error::Closed);
        }
        let files = DirectFiles::open(&self.connection).await?;
        *shared = Arc::downgrade(&files);
        Ok(files)
    }
}

impl DirectSession {
    async fn open_tunnel(&self, to: SocketAddr) -> Result<Box<dyn tunnel::Stream>, Error> {
        let link = &self.connection.link;
        let machine = Arc::clone(link.machine());
        let own = [IpAddr::V4(machine.address()), IpAddr::V4(Ipv4Addr::LOCALHOST)];
        if !own.contains(&to.ip()) {
            return Err(Error::ForwardingForbidden(to));
        }
        let is_studio = machine.surroundings().ports.of(Service::Studio) == Some(to.port());
        let process = self.network.process().clone();
        let dialed = link
            .call(move |_| is_studio.then(|| Network::dial_within(process, &machine, Service::Studio)))
            .await
            .map_err(|_| Error::Closed)?;
        let Some(Ok(studio)) = dialed else {
            return Err(Error::NotListening(to));
        };
        let number = self.network.passages().put(studio);
        let (near, mut far) = tokio::io::duplex(PIPE_BYTES);
        // There is room for it.
        let _ = far.write_u64(number).await;
        let (connection, network) = (Arc::clone(&self.connection), self.network.clone());
        tokio::spawn(async move {
            let mut nothing = [0_u8; 1];
            tokio::select! {
                biased;
                _ = connection.over() => {}
                // The near side is gone: it says nothing else.
                _ = tokio::io::AsyncReadExt::read(&mut far, &mut nothing) => {}
            }
            // Nobody came for it.
            drop(network.passages().take(number));
        });
        Ok(Box::new(near))
    }
}

#[async_trait]
impl Liveness for DirectSession {
    async fn ping(&self, deadline: Duration) -> Result<(), Error> {
        let round_trip = async {
            let answered = self.connection.link.call(|_| ()).await;
            answered.map_err(|_| Error::Closed)
        };
        let answered = timeout(deadline, self.during(round_trip)).await;
        answered.unwrap_or(Err(Error::TimedOut(deadline)))
    }

    async fn closed(&self) -> Error {
        self.connection.over().await
    }

    async fn close(&self) {
        self.connection.end(Error::Closed);
    }
}
