//! Domain decides. Synchronous and pure: no runtime, no clock, no randomness, no I/O. It takes `now`.
//!
//! In reading order: [`ids`] and [`time`] name things; [`instance`] and [`studio`] describe the outside
//! world, [`sealed`] its secrets; [`vm`] and [`show`] are the two aggregates, [`assignment`] is what happens between them and
//! [`moves`] what a failover does to both, [`cleaning`] what shows leave behind; [`state`] is the fold of all [`event`]s. [`pool`] and [`placement`] allocate,
//! from the [`candidates`]; [`health`] and
//! [`failover`] judge; [`destination`]s are where shows stream to; [`operation`]s are what may be run on a VM, [`execution`]s what was; [`archive`] is what becomes of recordings; [`restart`] is the supervisors' policy; [`stall`] tells when this process did not run; [`invariants`] say what must always hold.

pub mod archive;
mod assignment;
pub mod candidates;
pub mod cleaning;
pub mod configuration;
pub mod destination;
pub mod event;
pub mod execution;
pub mod failover;
pub mod health;
pub mod ids;
pub mod instance;
pub mod invariants;
pub mod load;
mod moves;
pub mod operation;
pub mod placement;
pub mod pool;
pub mod reconcile;
pub mod restart;
pub mod sealed;
pub mod service;
pub mod show;
pub mod stall;
pub mod state;
pub mod studio;
pub mod system_info;
pub mod time;
pub mod unarchived;
pub mod unix;
pub mod vm;
