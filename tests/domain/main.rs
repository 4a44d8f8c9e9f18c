//! The domain, proven without a runtime: transition tables (the same data that `docs/state-machines.md` shows)
//! and property tests of each machine against a naive model of it.

mod fixtures;

mod archive;
mod destination;
mod doc;
mod show_table;
mod verdict_table;
mod vm_table;

mod leaving;
mod pool_edges;
mod show_edges;
mod studio_made;

mod candidates;
mod failover_drive;
mod health_model;
mod model;
mod model_show;
mod pool_model;
mod pools;
mod reconcile_model;
mod restart_model;
mod snapshot;
mod state_model;
mod studio_difference;
mod unarchived;
mod verdict_properties;
mod vm_model;
