//! Shows that are not real, to find out what happens to real ones: stages to perform on, and what is performed there.
//!
//! It stands on both sides of the wire, on the tree and on the simulated world; nobody but the command line knows it.

pub mod stage;
