//! The routes, by resource.

pub mod alerts;
pub mod competitions;
pub mod coordinator;
pub mod files;
pub mod metrics;
pub mod pool;
pub mod rehearsals;
pub mod show_config;
pub mod shows;
pub mod ssh;
pub mod studio;
pub mod vms;
