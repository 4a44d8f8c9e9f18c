//! Infra does: one module per thing in the outside world, each behind a small trait in domain words.
//!
//! Every error here answers two questions: what failed, and can a retry help. No call can wait for ever.

pub mod archive;
#[cfg(any(feature = "ec2", feature = "s3", feature = "secrets-manager"))]
pub mod aws;
pub mod causes;
pub mod cloud;
pub mod ledger;
pub mod metrics;
pub mod obs;
pub mod probe;
pub mod secrets;
pub mod ssh;
pub mod template;
pub mod vault;
pub mod watch;
