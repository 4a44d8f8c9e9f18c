//! The contract of the simulated world's wire: real clients against its servers, and faults as they look from
//! outside.

mod apart;
mod cloud;
#[path = "../support/eventually.rs"]
mod eventually;
mod faults;
mod files;
mod fleet;
#[path = "../support/ssh.rs"]
mod login;
mod obs;
mod protocol;
mod shell;
mod ssh;
mod status;
mod stream;
mod support;
