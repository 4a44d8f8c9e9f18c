//! The ledger's promises, kept on real files, by real processes that are really killed.

mod commits;
mod death;
mod files;
mod memory;
mod replay;
mod support;
