//! The studios of the machines, as [`crate::infra::obs::ObwsConnector`] reaches them.
//!
//! A session asks for a whole capture, or for one step of a restore, where the wire takes many requests; it takes about
//! as long. So a studio that is lost in the middle of a restore has some steps of it.

mod connect;
mod restore;
mod session;
mod watch;

pub(super) use self::connect::DirectConnector;
