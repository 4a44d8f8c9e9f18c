//! Every actor of the tree x the ways in which it fails: who notices, what comes back, and what its show and its
//! neighbours see of it. The real tree on the simulated world, in paused time; `docs/failures.md` has the table.
//!
//! An actor is killed from outside, as a bug in it would end it. What it talks to panics or never answers through doubles of
//! infra's traits, which stand where adapters stand.

mod doubles;
mod matrix;
mod tree;
