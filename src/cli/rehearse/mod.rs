pub mod drill;
pub mod report;
pub mod scenario;
mod watch;
