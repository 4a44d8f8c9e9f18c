//! Shows that are not real, to find out what happens to real ones: stages to perform on, and what is performed there.
//!
//! It stands on both sides of the wire, on the tree and on the simulated world; nobody but the command line knows it.
//!
//! A [`scenario`] is data: a pool, shows, a timeline of faults, and what must come of it. Its steps become single
//! [`cue`]s; [`play`] puts the shows on air on a [`stage`], carries the cues out, and holds what happened against what
//! was expected ([`judge`]); the [`report`] is data again. With which coordinator it plays is its caller's affair
//! ([`control`]). A [`live`] one has no stage: it plays on spare VMs of the pool that is on air.
//!
//! The [`simulation`] is another thing: no scenario but one seed, no wire but memory, no clock but virtual time.

pub mod control;
pub mod cue;
pub mod gaps;
pub mod here;
mod in_force;
pub mod judge;
pub mod live;
pub mod play;
pub mod report;
pub mod scenario;
pub mod scratch;
pub mod simulation;
pub mod stage;
mod strike;
mod wait;
pub mod watch;
