//! A cloud and its machines to rehearse in.
//!
//! One pure [`model`] of machines, studios and their faults, with two fronts:
//!
//! - [`wire`] puts it behind real servers on loopback: HTTP `/api/status`, obs-websocket v5, SSH, an ingest, and a cloud
//!   API. [`world`] assembles them. The coordinator connects to them as it does to the real ones and cannot tell.
//! - [`direct`] puts it behind infra's traits in memory, for simulations in paused time.

pub mod clock;
pub mod direct;
pub mod model;
pub mod wire;
pub mod world;
