//! Connections from the coordinator to the services of machines.
//!
//! What is sent on a [`Link`] is read in order by the far side, when it reads: a request to a process that is stopped, or
//! to a machine that has dropped off the network, waits in a buffer and is carried out afterwards, also when its sender has
//! given up. A reset loses what was not read.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;

use super::dice::Dice;
use super::machine::{Line, Shared};
use super::machines::Machines;
use super::process::Process;
use crate::infra::watch;
use crate::sim::model::machine::{Fate, Front, Service};

/// Requests in the buffers of one connection. A further one waits for a place.
const BUFFERED_MAX: usize = 64;

/// Pause before an unanswered SYN is sent again; each further one is twice as long (Linux, `tcp_syn_retries`).
const SYN_AGAIN: Duration = Duration::from_secs(1);

/// A connection attempt that was answered with a reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refused;

/// The connection was reset, or closed by the far side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Closed;

type Request = Box<dyn FnOnce(&Shared) + Send>;

/// An established connection. The near side closes it by dropping it.
pub(super) struct Link {
    process: Process,
    dice: Arc<Dice>,
    machine: Arc<Shared>,
    line: Arc<Line>,
    requests: mpsc::Sender<Request>,
}

impl Link {
    fn open(process: Process, machine: Arc<Shared>, service: Service) -> Self {
        let line = machine.line(service);
        let (requests, queue) = mpsc::channel(BUFFERED_MAX);
        let dice = Arc::clone(&machine.surroundings().dice);
        tokio::spawn(read(Arc::clone(&machine), Arc::clone(&line), queue));
        Self {
            process,
            dice,
            machine,
            line,
            requests,
        }
    }

    /// The far side.
    pub(super) fn machine(&self) -> &Arc<Shared> {
        &self.machine
    }

    pub(super) fn line(&self) -> &Arc<Line> {
        &self.line
    }

    pub(super) fn dice(&self) -> &Arc<Dice> {
        &self.dice
    }

    /// A request and its answer: `act` is what the far side does when it reads it. No deadline of its own.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Shared) -> T + Send + 'static,
    ) -> Result<T, Closed> {
        let exchange = async {
            self.dice.trip().await;
            let (reply, answer) = oneshot::channel();
            let request: Request = Box::new(move |machine| {
                // Nobody may wait for it any more.
                let _ = reply.send(act(machine));
            });
            self.requests.send(request).await.map_err(|_| Closed)?;
            let answer = answer.await.map_err(|_| Closed)?;
            self.dice.trip().await;
            flowing(&mut self.line.fate()).await?;
            Ok(answer)
        };
        let answered = async {
            tokio::select! {
                // A connection that is lost is so before anything that was on its way.
                biased;
                () = self.reset() => Err(Closed),
                answer = exchange => answer,
            }
        };
        self.process.alive(answered).await
    }

    /// Waits until something that the far side says now has come.
    pub(super) async fn hear(&self) -> Result<(), Closed> {
        let come = async {
            self.dice.trip().await;
            flowing(&mut self.line.fate()).await
        };
        let come = async {
            tokio::select! {
                biased;
                () = self.reset() => Err(Closed),
                come = come => come,
            }
        };
        self.process.alive(come).await
    }

    /// Returns when the connection was reset.
    pub(super) async fn reset(&self) {
        // The sender is on the line, which is held here.
        let _ = self.line.fate().wait_for(|fate| *fate == Fate::Reset).await;
    }
}

/// Waits until something gets through.
pub(super) async fn flowing(fate: &mut watch::Receiver<Fate>) -> Result<(), Closed> {
    let fate = fate.wait_for(|fate| *fate != Fate::Frozen).await;
    match fate.as_deref() {
        Ok(Fate::Flowing) => Ok(()),
        Ok(Fate::Reset | Fate::Frozen) | Err(_) => Err(Closed),
    }
}

/// The far side of a connection: one request after another, as long as it runs.
async fn read(machine: Arc<Shared>, line: Arc<Line>, mut requests: mpsc::Receiver<Request>) {
    let mut fate = line.fate();
    let mut reset = line.fate();
    loop {
        let request = tokio::select! {
            // What was not read is lost with the connection.
            biased;
            _ = reset.wait_for(|fate| *fate == Fate::Reset) => return,
            request = requests.recv() => request,
        };
        let Some(request) = request else { return };
        if flowing(&mut fate).await.is_err() {
            return;
        }
        request(&machine);
    }
}

/// Connections that were made from a machine for somebody who is to find them: whoever opened a tunnel reads from it under
/// which number.
#[derive(Default)]
pub(super) struct Passages {
    open: Mutex<(u64, BTreeMap<u64, Link>)>,
}

impl Passages {
    /// Gives a connection a number to be found under.
    pub(super) fn put(&self, link: Link) -> u64 {
        let mut open = self.open();
        let (last, links) = &mut *open;
        *last += 1;
        links.insert(*last, link);
        *last
    }

    /// The connection of this number, which is found once.
    pub(super) fn take(&self, number: u64) -> Option<Link> {
        self.open().1.remove(&number)
    }

    fn open(&self) -> MutexGuard<'_, (u64, BTreeMap<u64, Link>)> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The way from the coordinator to the machines.
#[derive(Clone)]
pub(super) struct Network {
    machines: Arc<Machines>,
    process: Process,
    passages: Arc<Passages>,
}

impl Network {
    /// As `process` uses it.
    pub(super) fn new(machines: Arc<Machines>, process: Process) -> Self {
        Self {
            machines,
            process,
            passages: Arc::default(),
        }
    }

    pub(super) fn passages(&self) -> &Passages {
        &self.passages
    }

    /// Whose connections these are.
    pub(super) fn process(&self) -> &Process {
        &self.process
    }

    /// Connects to a service. Waits for as long as nothing answers; the caller sets the deadline.
    pub(super) async fn dial(&self, address: SocketAddr, service: Service) -> Result<Link, Refused> {
        self.process.alive(self.connect(address, service)).await
    }

    async fn connect(&self, address: SocketAddr, service: Service) -> Result<Link, Refused> {
        let dice = &self.machines.surroundings().dice;
        let mut again = SYN_AGAIN;
        loop {
            dice.trip().await;
            match self.front(address, service) {
                (Front::Dark, _) | (_, None) => {
                    sleep(again).await;
                    again *= 2;
                }
                (Front::Closed, _) => {
                    dice.trip().await;
                    return Err(Refused);
                }
                (Front::Unanswered | Front::Open, Some(machine)) => {
                    let link = Link::open(self.process.clone(), machine, service);
                    dice.trip().await;
                    return Ok(link);
                }
            }
        }
    }

    /// Connects to a service of a machine from the machine itself, for `process`.
    pub(super) fn dial_within(
        process: Process,
        machine: &Arc<Shared>,
        service: Service,
    ) -> Result<Link, Refused> {
        let front = machine.ask(|model, now| match model.front(service, now) {
            // Its own network reaches it.
            Front::Dark if model.process(service).is_alive() => Front::Open,
            Front::Dark => Front::Closed,
            front => front,
        });
        match front {
            Front::Closed | Front::Dark => Err(Refused),
            Front::Unanswered | Front::Open => Ok(Link::open(process, Arc::clone(machine), service)),
        }
    }

    /// What an attempt meets: at an address that nobody has, nothing.
    fn front(&self, address: SocketAddr, service: Service) -> (Front, Option<Arc<Shared>>) {
        let machine = match address.ip() {
            IpAddr::V4(ip) => self.machines.at(ip),
            IpAddr::V6(_) => None,
        };
        let Some(machine) = machine else {
            return (Front::Dark, None);
        };
        let is_served = machine.surroundings().ports.of(service) == Some(address.port());
        let front = machine.ask(|model, now| {
            if is_served || !model.is_reachable() {
                model.front(service, now)
            } else {
                Front::Closed
            }
        });
        (front, Some(machine))
    }
}
