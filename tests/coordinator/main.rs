//! The tree of actors over simulated machines: what it does for shows and VMs, and what it does when its parts fail.

mod comparing;
mod configuring;
mod connecting;
mod direct;
mod executions;
mod machines;
mod moves;
mod one_stream;
mod readiness;
mod rehearsal;
mod scenarios;
mod sealing;
mod shows;
mod spares;
mod stopping;
mod supervision;
#[path = "../support/mod.rs"]
mod support;
mod templates;
mod tree;
