//! Actors own. Each holds one thing's procedure by value; everything durable is in the ledger, everything
//! observed is on the board, so an actor that dies is started again from the two plus a fresh look.
//!
//! ```text
//! root
//! ├─ machines    dynamic supervisor ── vm/<id> ── probe · obs · ssh
//! ├─ shows       dynamic supervisor ── show/<id>
//! ├─ pool        the only allocator: warm target, reservations
//! ├─ cloud       one sweep feeds every VM; adopts, spots ghosts
//! └─ gateway     HTTP and Socket.IO (given by the caller: nothing here knows the API)
//! ```
//!
//! A handler does this and no more: read the state, ask `domain`, commit, start effects, reply. Slow work runs
//! in a task that casts its result back with the attempt it was started for. Calls that wait go one way only,
//! show → pool → vm → ledger; everything else is a cast.

pub mod archive;
pub mod board;
pub mod cleaning;
pub mod clock;
mod cloud;
pub mod context;
pub mod coordinator;
pub mod executions;
pub mod mailbox;
pub mod news;
mod pool;
pub mod root;
mod show;
mod span;
pub mod supervisor;
pub mod task;
mod vm;
