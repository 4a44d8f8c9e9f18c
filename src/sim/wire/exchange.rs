//! Listeners that many machines share, for fleets.
//!
//! A machine with ports of its own costs three listening sockets, and a process has only so many descriptors. An
//! exchange listens once per service for every loopback address and passes each connection to the machine it
//! was meant for, by its destination.
//!
//! The price is fidelity of connection attempts: they all succeed. Where one should be refused, the connection is
//! reset at once; where none should answer, it is silent.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;

use super::machine::{Ports, Shared as Machine};
use crate::sim::model::machine::Service;

const BACKLOG: u32 = 4_096;

struct Shared {
    machines: Mutex<HashMap<Ipv4Addr, Weak<Machine>>>,
    acceptors: Mutex<Vec<JoinHandle<()>>>,
}

/// Shared listeners. Cheap to clone; they close when the last clone is dropped.
#[derive(Clone)]
pub struct Exchange {
    shared: Arc<Shared>,
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange").finish_non_exhaustive()
    }
}

impl Exchange {
    /// Listens on the loopback device alone, at every address of it. Must be called within a runtime.
    ///
    /// # Errors
    /// When a port is in use at any address, or the kernel does not let a program choose the device.
    pub fn start(ports: Ports) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            machines: Mutex::default(),
            acceptors: Mutex::default(),
        });
        for service in [Service::Status, Service::Studio, Service::Ssh] {
            let Some(port) = ports.of(service) else {
                continue;
            };
            let listener = listen(port)?;
            let acceptor = tokio::spawn(accept(Arc::downgrade(&shared), service, listener));
            lock(&shared.acceptors).push(acceptor);
        }
        Ok(Self { shared })
    }

    /// Closes the listeners, also for those who hold clones.
    pub fn close(&self) {
        self.shared.close();
    }

    /// From now on, connections to `address` are the machine's.
    pub(super) fn connect(&self, address: Ipv4Addr, machine: &Arc<Machine>) {
        lock(&self.shared.machines).insert(address, Arc::downgrade(machine));
    }

    /// From now on, connections to `address` are nobody's, if they were this machine's.
    pub(super) fn disconnect(&self, address: Ipv4Addr, machine: &Arc<Machine>) {
        let mut machines = lock(&self.shared.machines);
        if machines
            .get(&address)
            .is_some_and(|present| present.as_ptr() == Arc::as_ptr(machine))
        {
            machines.remove(&address);
        }
    }
}

impl Shared {
    fn close(&self) {
        for acceptor in lock(&self.acceptors).drain(..) {
            acceptor.abort();
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.close();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn listen(port: u16) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    // Never reachable from another host, although it is bound to every address.
    SockRef::from(&socket).bind_device(Some(b"lo"))?;
    socket.bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))?;
    socket.listen(BACKLOG)
}

async fn accept(exchange: Weak<Shared>, service: Service, listener: TcpListener) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let Some(exchange) = exchange.upgrade() else {
            return;
        };
        match machine_of(&exchange, &stream) {
            Some(machine) => machine.serve(service, stream),
            None => {
                // Nobody there: as near to a refusal as an accepted connection comes.
                let _ = stream.set_zero_linger();
            }
        }
    }
}

fn machine_of(exchange: &Shared, stream: &TcpStream) -> Option<Arc<Machine>> {
    let IpAddr::V4(address) = stream.local_addr().ok()?.ip() else {
        return None;
    };
    lock(&exchange.machines).get(&address)?.upgrade()
}
