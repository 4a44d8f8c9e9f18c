//! The model put on the wire: real servers, real sockets, one loopback address per machine.
//!
//! ```text
//!  MachineHandle ──► model::Machine behind a lock
//!       ▲                  │ fronts, fates, deadlines, events
//!       │ requests         ▼
//!  status · obs · ssh ◄── driver (one task per powered machine): ports open and close,
//!       │                  connections freeze and reset, the stream connects and ends
//!       ▼
//!  [gate]: every connection can be frozen or reset at once, whatever protocol runs over it
//! ```
//!
//! Faults look as they do in production because they act below the protocols: a crashed process closes its
//! listener and its connections, a stopped one leaves its listener to the kernel, an unreachable machine drops
//! connection attempts ([`port`]).

pub mod cloud;
pub mod exchange;
mod gate;
pub mod ingest;
pub mod key;
pub mod machine;
pub mod obs;
mod port;
mod publish;
mod ssh;
mod status;

pub use self::exchange::Exchange;
pub use self::ingest::Ingest;
pub use self::machine::{MachineConfig, MachineHandle, SshAccess};
pub use crate::sim::clock::Clock;
pub use crate::sim::model::machine::{MachineView, Ports};
pub use russh::keys::PublicKey;
