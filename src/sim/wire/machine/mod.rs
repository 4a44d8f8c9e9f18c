//! One simulated machine on the wire.
//!
//! A [`MachineHandle`] changes and inspects the model; a driver task makes the sockets follow. When the last
//! handle is dropped, everything of the machine is closed.

mod config;
mod driver;
mod shared;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use russh::keys::PublicKey;
use tokio::time::{Instant, timeout};

pub use self::config::{MachineConfig, SshAccess};
use self::driver::drive;
pub(super) use self::shared::Shared;
use super::ssh;
use crate::domain::time::Timestamp;
use crate::sim::model::fault::{Fault, FaultKind};
use crate::sim::model::machine::Machine;
use crate::sim::model::machine::disk::Disk;
pub use crate::sim::model::machine::{MachineView, Ports};
use crate::sim::model::studio::{Studio, StudioError};

struct Guard(Arc<Shared>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// A simulated machine. Cheap to clone; the machine ceases to exist when the last clone is dropped.
#[derive(Clone)]
pub struct MachineHandle {
    shared: Arc<Shared>,
    _guard: Arc<Guard>,
}

impl MachineHandle {
    /// A machine at `address`, which must be on loopback and free, switched off. Must be called within a runtime.
    #[must_use]
    pub fn start(address: Ipv4Addr, config: MachineConfig) -> Self {
        let shared = Arc::new(Shared::new(address, config));
        tokio::spawn(drive(Arc::clone(&shared)));
        let guard = Arc::new(Guard(Arc::clone(&shared)));
        Self {
            shared,
            _guard: guard,
        }
    }

    /// Ends the machine although there may be other handles: connections are reset, ports closed.
    pub fn close(&self) {
        self.shared.close();
    }

    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.shared.address()
    }

    /// Another address, from the next power-on.
    pub fn set_address(&self, address: Ipv4Addr) {
        self.shared.state().address = address;
        self.shared.wake.notify_one();
    }

    /// Its own clock is so far ahead of the world's from now on.
    pub fn set_clock_ahead(&self, by: Duration) {
        self.shared.change(|model, _| model.set_clock_ahead(by));
    }

    /// Applies power: services come up after the boot.
    pub fn power_on(&self) {
        self.shared.change(Machine::power_on);
    }

    /// Powered so long ago that every service that can be up is up.
    pub fn power_on_long_ago(&self) {
        self.shared.change(|model, now| {
            model.power_on(now - Duration::from_secs(3_600));
            model.advance(now);
        });
    }

    /// Cuts the power.
    pub fn power_off(&self) {
        self.shared.change(Machine::power_off);
    }

    /// Asks the operating system to shut down; the power stays.
    pub fn shut_down(&self) {
        self.shared.change(Machine::shut_down);
    }

    pub fn reboot(&self) {
        self.shared.change(Machine::reboot);
    }

    /// Makes something go wrong.
    pub fn fault(&self, fault: Fault) {
        self.shared.change(|model, now| model.fault(fault, now));
    }

    /// Mends it again.
    pub fn heal(&self, kind: FaultKind) {
        self.shared.change(|model, now| model.heal(kind, now));
    }

    /// Replaces the studio's content with a typical show's, streaming to the ingest with `stream_key`.
    ///
    /// # Errors
    /// [`StudioError::StreamRunning`].
    pub fn load_example_studio(&self, stream_key: &str) -> Result<(), StudioError> {
        let server = self.shared.config().ingest_url.clone();
        self.shared
            .change(|model, _| model.studio_mut().load_example(&server, stream_key))
    }

    /// Looks at the machine's model.
    pub fn inspect<T>(&self, look: impl FnOnce(&Machine) -> T) -> T {
        self.shared.inspect(|model, _| look(model))
    }

    /// Changes the studio as somebody sitting before it could.
    pub fn operate<T>(&self, change: impl FnOnce(&mut Studio, Timestamp) -> T) -> T {
        self.shared.change(|model, now| change(model.studio_mut(), now))
    }

    /// Looks at the machine's files, or changes them as somebody who has logged in could.
    pub fn files<T>(&self, work: impl FnOnce(&mut Disk, Timestamp) -> T) -> T {
        self.shared.change(|model, now| work(model.disk(now), now))
    }

    #[must_use]
    pub fn view(&self) -> MachineView {
        self.shared.view()
    }

    /// The studio says that its stream is active.
    #[must_use]
    pub fn is_streaming(&self) -> bool {
        self.view().is_streaming()
    }

    /// The SSH host key, made when it is first needed and kept for the life of the machine.
    ///
    /// # Errors
    /// When the key cannot be made.
    pub async fn host_key(&self) -> Result<PublicKey, russh::Error> {
        let config = ssh::server_config(&self.shared).await?;
        config
            .keys
            .first()
            .map(|key| key.public_key().clone())
            .ok_or(russh::Error::CouldNotReadKey)
    }

    /// Waits until the listening ports follow every change made so far, for at most five seconds.
    pub async fn settled(&self) {
        let version = self.shared.state().version;
        let mut applied = self.shared.applied.subscribe();
        // A machine whose address cannot be bound never settles; the caller's next step will show it.
        let _ = timeout(
            Duration::from_secs(5),
            applied.wait_for(|applied| *applied >= version),
        )
        .await;
    }

    /// Waits until `holds` is true of the machine, looking again at every change and at least every 20 ms.
    /// `None` if the deadline came first.
    pub async fn until(
        &self,
        deadline: Duration,
        holds: impl Fn(&MachineView) -> bool,
    ) -> Option<MachineView> {
        let end = Instant::now() + deadline;
        let mut changes = self.shared.changes.subscribe();
        loop {
            let view = self.view();
            if holds(&view) {
                return Some(view);
            }
            if Instant::now() >= end {
                return None;
            }
            // Some things change with time alone, such as the bytes of a stream.
            let _ = timeout(Duration::from_millis(20), changes.changed()).await;
        }
    }
}
