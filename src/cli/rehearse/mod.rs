pub mod drill;
pub mod kill;
pub mod report;
pub mod scenario;
mod watch;
