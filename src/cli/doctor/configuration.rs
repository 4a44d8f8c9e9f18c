//! The configuration: whether it can be read, and what in it is probably not meant.

use std::path::Path;
use std::time::Duration;

use super::finding::Finding;
use crate::assembly::inspect;
use crate::cli::input;
use crate::config::{self, Config, Loaded, Warning};
use crate::infra::causes::with_causes;
use crate::infra::template::Templates;

const CHECK: &str = "configuration";
/// Limit on reading each of its files.
const READ: Duration = Duration::from_secs(8);

/// Reads it.
///
/// # Errors
/// There is none to look by.
pub async fn read(file: Option<&Path>) -> Result<Loaded, Finding> {
    let path = file.map(Path::to_owned);
    let reading = input::elsewhere(move || Config::load(path.as_deref(), config::environment()));
    match tokio::time::timeout(READ, reading).await {
        Ok(Some(Ok(loaded))) => Ok(loaded),
        Ok(Some(Err(error))) => Err(unread(&error, file)),
        Ok(None) | Err(_) => Err(hangs("it", "the file, or one for a secret that it names")),
    }
}

fn unread(error: &config::Error, file: Option<&Path>) -> Finding {
    let advice = match error {
        config::Error::Read { .. } => {
            "name the file with --config, and let the coordinator's user read it".to_owned()
        }
        config::Error::Syntax { .. } | config::Error::Invalid { .. } => {
            format!("mend what it names; {}", shown(file))
        }
    };
    Finding::fail(CHECK, with_causes(error), advice)
}

fn hangs(what: &str, whose: &str) -> Finding {
    let detail = format!("{what} could not be read within {} s", READ.as_secs());
    Finding::fail(
        CHECK,
        detail,
        format!("see what hangs: a disk, or a pipe in place of {whose}"),
    )
}

/// What was read, and what it names.
pub async fn look(loaded: &Loaded, file: Option<&Path>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let config = loaded.config.clone();
    let operations = input::elsewhere(move || config::operations::load(&config).map(drop));
    match tokio::time::timeout(READ, operations).await {
        Ok(Some(Ok(()))) => {}
        Ok(Some(Err(error))) => {
            let advice = format!("mend the file that ssh.operations_path names; {}", shown(file));
            findings.push(Finding::fail(CHECK, with_causes(&error), advice));
        }
        Ok(None) | Err(_) => findings.push(hangs("the operations", "ssh.operations_path")),
    }
    let path = loaded.config.shows.templates_path.clone();
    let templates = input::elsewhere(move || Templates::load(path.as_deref()).map(drop));
    match tokio::time::timeout(READ, templates).await {
        Ok(Some(Ok(()))) => {}
        Ok(Some(Err(error))) => {
            let advice = format!(
                "let shows.templates_path name a directory of show templates, or mend the one named here; {}",
                shown(file)
            );
            findings.push(Finding::fail(CHECK, with_causes(&error), advice));
        }
        Ok(None) | Err(_) => findings.push(hangs("the show templates", "one in shows.templates_path")),
    }
    for why in inspect::left_out(&loaded.config) {
        findings.push(Finding::fail(CHECK, why, "take a build that has it"));
    }
    for warning in &loaded.warnings {
        findings.push(Finding::warn(CHECK, warning.to_string(), advice(warning)));
    }
    if findings.is_empty() {
        let valid = "valid, and this build has everything that it asks for";
        findings.push(Finding::pass(CHECK, valid));
    }
    findings
}

fn advice(warning: &Warning) -> &'static str {
    match warning {
        Warning::Unused { .. } => "take the variable away, if nothing else needs it",
        Warning::Compat { .. } => "set server.auth to \"required\" once every client sends a token",
        Warning::NoAdminToken => "set COORDINATOR_ADMIN_TOKEN",
        Warning::NoSsh => {
            "name a private key in ssh.key_path; without, a lost studio cannot be killed or looked at"
        }
        Warning::NoImage => {
            "name the machines' image in cloud.ami_id, or start as many instances as are needed by hand"
        }
    }
}

/// Where every key is explained, with those of this file.
fn shown(file: Option<&Path>) -> String {
    let file = file
        .map(|file| format!(" {}", file.display()))
        .unwrap_or_default();
    format!("`understudy check-config{file}` shows every key")
}
