//! What the simulated world is, without sockets, tasks or clocks.
//!
//! Everything here is synchronous and takes `now`: a [`machine::Machine`] with its processes and its
//! [`studio::Studio`], the [`cloud::Cloud`] that powers machines, and the [`fault`]s they can have. The wire
//! front ([`crate::sim::wire`]) puts real servers before it.
//!
//! The same three verbs everywhere: operations change state at `now`; `advance(now)` lets time pass;
//! `next_deadline(now)` says when something will happen by itself.

pub mod archive;
pub mod cloud;
pub mod fault;
pub mod ingest;
pub mod machine;
pub mod shell;
pub mod studio;

/// The earlier of two optional instants.
pub(crate) fn earliest(
    a: Option<crate::domain::time::Timestamp>,
    b: Option<crate::domain::time::Timestamp>,
) -> Option<crate::domain::time::Timestamp> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
