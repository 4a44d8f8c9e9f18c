//! The model behind infra's traits, in memory: for the simulation of the whole tree in paused time.
//!
//! ```text
//!  World ──► model::Cloud ──effects──► Machine (model::Machine behind a lock, one driver task each)
//!    │                                    ▲
//!    ▼                                    │ requests, in order, for as long as the line flows
//!  infra::{Cloud, Probe, obs, ssh, …} ──► network::Link
//! ```
//!
//! Nothing here opens a socket, starts a thread, reads a clock of the system or the order of a hash. All randomness comes
//! from one seed, so on one current-thread runtime in paused time the same calls always have the same end.
//!
//! A fault looks as it does on the wire, since both follow the model's word on what becomes of a connection attempt
//! ([`Front`](super::model::machine::Front)) and of a connection ([`Fate`](super::model::machine::Fate)). What was sent to
//! a machine that is silent is read when it speaks again, whether or not somebody still waits for the answer.

pub mod archive;
mod cloud;
pub mod dice;
pub mod ingest;
pub mod machine;
mod machines;
mod network;
mod obs;
mod probe;
mod process;
mod publish;
mod ssh;
pub mod world;

pub use self::archive::Archive;
pub use self::dice::Span;
pub use self::ingest::Ingest;
pub use self::machine::MachineHandle;
pub use self::ssh::KeepAlive;
pub use self::world::{Parts, World, WorldConfig, WorldError};
