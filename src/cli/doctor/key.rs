//! The private key for SSH: whether it can be read and used, and whether others can read it, too.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::finding::Finding;
use crate::assembly::inspect;
use crate::config::{self, Config, HostKeys};
use crate::infra::ssh::{self, RusshConnector};

/// Limit on reading it: it may be in a store, and decoding a protected one takes a second.
const READ: Duration = Duration::from_secs(8);
/// Whoever may read a file beside its owner.
const OTHERS: u32 = 0o077;

/// What there is to log in with.
pub enum Key {
    Usable(Box<RusshConnector>),
    /// None is configured, or it cannot be used: that was found already.
    None,
}

/// Looks at the key. `folder` is for a copy of the pinned host keys: what a machine shows now must not be remembered.
pub async fn look(config: &Config, folder: &Path) -> (Vec<Finding>, Key) {
    let check = "ssh key";
    let ssh = &config.ssh;
    if !ssh.enabled {
        return (
            vec![Finding::skipped(
                check,
                "ssh.enabled is false: machines are not logged in to",
            )],
            Key::None,
        );
    }
    let pins = match copied_pins(ssh, folder).await {
        Ok(pins) => pins,
        Err(error) => {
            let detail = format!(
                "the pinned host keys in {} cannot be read: {error}",
                ssh.pins_path.display()
            );
            let advice = "let the coordinator's user read ssh.pins_path";
            return (vec![Finding::fail("host keys", detail, advice)], Key::None);
        }
    };
    let connector = match inspect::shell(ssh, pins).await {
        Ok(Some(connector)) => connector,
        Ok(None) => return (vec![Finding::skipped(check, "there is none")], Key::None),
        Err(error) => {
            let advice = "mend the configuration, or take another build";
            return (
                vec![Finding::fail(check, format!("{error:#}"), advice)],
                Key::None,
            );
        }
    };
    let place = place(ssh);
    let read = tokio::time::timeout(READ, connector.check_key()).await;
    let fingerprint = match read {
        Ok(Ok(fingerprint)) => fingerprint,
        Ok(Err(error)) => {
            let advice = match error {
                ssh::Error::KeyUnavailable(_) => {
                    format!("see that {place} is there and that the coordinator's role may read it")
                }
                _ if ssh.key_path.as_deref().is_some_and(|path| !path.exists()) => {
                    "put the private key there, or let ssh.key_path name where it is".to_owned()
                }
                _ => format!("mend what {place} holds: a private key in PEM or OpenSSH's format"),
            };
            return (vec![Finding::fail(check, error.to_string(), advice)], Key::None);
        }
        Err(_) => {
            let detail = format!("it was not read from {place} within {} s", READ.as_secs());
            let advice = "see that its store can be reached from here";
            return (vec![Finding::fail(check, detail, advice)], Key::None);
        }
    };
    let finding = match ssh.key_path.as_deref().and_then(mode) {
        Some(mode) if mode & OTHERS != 0 => {
            let path = ssh.key_path.as_deref().unwrap_or(Path::new("FILE")).display();
            let detail = format!("{fingerprint}; its file {path} has mode {mode:04o}: others may use it");
            Finding::warn(check, detail, format!("chmod 600 {path}"))
        }
        Some(_) | None => Finding::pass(check, format!("{fingerprint}, from {place}")),
    };
    (vec![finding], Key::Usable(Box::new(connector)))
}

fn place(ssh: &config::Ssh) -> String {
    if let Some(path) = &ssh.key_path {
        path.display().to_string()
    } else if let Some(arn) = &ssh.key_secret_arn {
        arn.clone()
    } else {
        "the environment".to_owned()
    }
}

fn mode(path: &Path) -> Option<u32> {
    let metadata = std::fs::metadata(path).ok()?;
    Some(metadata.permissions().mode() & 0o7777)
}

/// Copies the pinned host keys, if there are any yet, and gives the copy's path.
async fn copied_pins(ssh: &config::Ssh, folder: &Path) -> std::io::Result<PathBuf> {
    let copy = folder.join("host_keys");
    if ssh.host_keys != HostKeys::Pin {
        return Ok(copy);
    }
    match tokio::fs::copy(&ssh.pins_path, &copy).await {
        Ok(_) => Ok(copy),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(copy),
        Err(error) => Err(error),
    }
}
