//! A cloud and its machines to rehearse in.
//!
//! One pure [`model`] of machines, studios and their faults, put behind real servers on loopback by [`wire`]:
//! HTTP `/api/status`, obs-websocket v5, SSH, an ingest, and a cloud API. [`world`] assembles them. The
//! coordinator connects to them as it does to the real ones and cannot tell.

pub mod model;
pub mod wire;
pub mod world;
