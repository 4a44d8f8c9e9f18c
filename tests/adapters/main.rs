//! The adapters of `infra`, each against what it speaks with: OpenSSH, moto, a studio, and peers that misbehave.

#[cfg(feature = "s3")]
mod archive;
mod contract_obs;
mod obs_restore;
mod obs_server;
mod probe;
#[cfg(feature = "secrets-manager")]
mod secrets_manager;
mod sim;
mod ssh;
mod ssh_certificates;
mod ssh_executions;
mod ssh_files;
mod ssh_keys;
mod ssh_rotation;
mod ssh_server;
#[path = "../support/mod.rs"]
mod support;
