//! The scenarios that come with the program.

use std::path::PathBuf;

use super::Scenario;
use super::error::ScenarioError;
use super::read::parse;
use crate::config::nearest;

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_str!(concat!("../../../config/rehearsals/", $name, ".toml")))),*]
    };
}

/// Name and text of each, in the order in which they are listed and played.
pub(super) const FILES: [(&str, &str); 20] = files![
    "studio-crash",
    "studio-hang",
    "machine-blackhole",
    "instance-stopped",
    "status-flap",
    "ingest-blip",
    "ingest-down",
    "no-spare",
    "kill-vm-actor",
    "kill-show-actor",
    "coordinator-kill-9",
    "output-silent",
    "zone-lost",
    "cloud-down-and-studio-crash",
    "two-shows-one-spare",
    "flapping-network",
    "coordinator-dead-when-studio-crashes",
    "release-during-failover",
    "ssh-down",
    "forced-move",
];

/// Every one.
///
/// # Errors
/// Never: a test reads them all.
pub fn all() -> Result<Vec<Scenario>, ScenarioError> {
    FILES.iter().map(|(name, text)| read(name, text)).collect()
}

/// One by its name.
///
/// # Errors
/// [`ScenarioError::Unknown`], with the name most like it.
pub fn built_in(name: &str) -> Result<Scenario, ScenarioError> {
    let found = FILES.iter().find(|(known, _)| *known == name);
    let Some((name, text)) = found else {
        return Err(ScenarioError::Unknown {
            name: name.to_owned(),
            nearest: nearest(name, FILES.iter().map(|(known, _)| *known)).map(str::to_owned),
            known: FILES.iter().map(|(name, _)| (*name).to_owned()).collect(),
        });
    };
    read(name, text)
}

fn read(name: &str, text: &str) -> Result<Scenario, ScenarioError> {
    parse(&PathBuf::from(format!("(built in) {name}.toml")), name, text)
}
