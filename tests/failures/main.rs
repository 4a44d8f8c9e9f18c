//! Every actor of the tree x the ways in which it fails: who notices, what comes back, and what its show and its
//! neighbours see of it. The real tree on the simulated world, in paused time; `docs/failures.md` has the table.
//!
//! Nothing in the tree knows of this. An actor is killed from outside; panics in its own code, over a line that it logs
//! ([`log`]); waits for a ledger that does not answer; or is given more than it can take. What it talks to panics or never
//! answers through doubles of infra's traits, which stand where adapters stand ([`doubles`]).

mod bounds;
mod doubles;
mod log;
mod matrix;
mod page;
mod source;
mod tasks;
mod tree;
mod ways;
