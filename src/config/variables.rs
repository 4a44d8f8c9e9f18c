//! Environment variables: `UNDERSTUDY__SECTION__KEY` for every key, and the names older deployments use.

use std::net::SocketAddr;

use super::given::{Entries, Given, Raw};
use super::server::LISTEN;
use super::source::Source;

/// What a variable that overrides a key starts with.
pub(super) const PREFIX: &str = "UNDERSTUDY__";

/// A variable that older deployments set, and how to read it.
struct Alias {
    variable: &'static str,
    key: &'static str,
    reading: Reading,
}

enum Reading {
    /// The text is the value.
    Plain,
    /// A whole number of milliseconds.
    Milliseconds,
    /// A port that replaces the one in a listening address.
    Port,
}

const fn plain(variable: &'static str, key: &'static str) -> Alias {
    Alias {
        variable,
        key,
        reading: Reading::Plain,
    }
}

/// Where two name one key, the first that is set wins.
const ALIASES: &[Alias] = &[
    Alias {
        variable: "PORT",
        key: "server.listen",
        reading: Reading::Port,
    },
    plain("COORDINATOR_AUTH", "server.auth"),
    plain("COORDINATOR_ADMIN_TOKEN", "server.admin_token"),
    plain("STATIC_DIR", "server.static_dir"),
    plain("PUBLIC_IP", "server.public_ip"),
    plain("PROJECT_TAG", "pool.project"),
    plain("VM_POOL_MIN_AVAILABLE", "pool.warm_count"),
    plain("VM_POOL_MAX_TOTAL", "pool.max_instances"),
    Alias {
        variable: "VM_POOL_HEALTH_CHECK_INTERVAL_MS",
        key: "pool.health_check_interval",
        reading: Reading::Milliseconds,
    },
    plain("AWS_INSTANCE_TYPE", "pool.default_instance_type"),
    plain("AWS_REGION", "cloud.region"),
    plain("AWS_ENDPOINT_URL", "cloud.endpoint_url"),
    plain("AWS_AMI_ID", "cloud.ami_id"),
    plain("VM_AMI_ID", "cloud.ami_id"),
    plain("AWS_SECURITY_GROUP_ID", "cloud.security_group_id"),
    plain("VM_SECURITY_GROUP_ID", "cloud.security_group_id"),
    plain("AWS_SUBNET_ID", "cloud.subnet_id"),
    plain("AWS_KEY_PAIR_NAME", "cloud.key_pair_name"),
    plain("VM_KEY_PAIR_NAME", "cloud.key_pair_name"),
    plain("OBS_WEBSOCKET_PASSWORD", "obs.password"),
    plain("VM_SSH_KEY_PATH", "ssh.key_path"),
    plain("VM_SSH_KEY_BASE64", "ssh.key_base64"),
    plain("VM_SSH_KEY_SECRET_ARN", "ssh.key_secret_arn"),
    plain("VM_SSH_USERNAME", "ssh.user"),
    plain("VM_SSH_ALLOW_FREE_COMMANDS", "ssh.allow_free_commands"),
    plain("ARCHIVE_S3_BUCKET", "archive.bucket"),
];

/// Variables of the same deployments that no key of this version stands behind. Setting one is not an error.
const UNUSED: &[&str] = &[
    "AUTO_SHUTDOWN_MINUTES",
    "AWS_VPC_ID",
    "COORDINATOR_MODE",
    "FIREBASE_DATABASE_EMULATOR_HOST",
    "FIREBASE_DATABASE_URL",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "NIMBLE_STATS_PORT",
    "VM_OBS_DIRECT_PROBE",
];

/// The process's environment, for [`super::Config::load`]. What is not Unicode is kept with replacement
/// characters, so that it is reported as a wrong value instead of being overlooked.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().map(|(name, value)| {
        (
            name.to_string_lossy().into_owned(),
            value.to_string_lossy().into_owned(),
        )
    })
}

/// The names older deployments use, each with the key it sets.
pub fn aliases() -> impl Iterator<Item = (&'static str, &'static str)> {
    ALIASES.iter().map(|alias| (alias.variable, alias.key))
}

/// The variable that overrides `key`.
pub(super) fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "__").to_uppercase())
}

/// Lays the environment over the entries of the file. Returns the variables that are set and not used.
///
/// An alias set to the empty text counts as not set, as deployment tools leave such behind. An explicit
/// `UNDERSTUDY__` variable does say something when it is empty: it unsets an optional key.
pub(super) fn overlay(
    entries: &mut Entries,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Vec<&'static str> {
    let environment: std::collections::BTreeMap<String, String> = environment.into_iter().collect();
    let set = |variable: &str| environment.get(variable).filter(|value| !value.is_empty());

    let mut settled: Vec<&str> = Vec::new();
    for alias in ALIASES {
        let Some(text) = set(alias.variable) else { continue };
        if settled.contains(&alias.key) {
            continue;
        }
        settled.push(alias.key);
        if let Some(raw) = alias.read(text, entries.get(alias.key)) {
            let source = Source::Environment {
                variable: alias.variable.to_owned(),
            };
            entries.insert(alias.key.to_owned(), Given { raw, source });
        }
    }
    for (variable, text) in &environment {
        let Some(name) = variable.strip_prefix(PREFIX) else {
            continue;
        };
        let key = name.to_lowercase().replace("__", ".");
        let source = Source::Environment {
            variable: variable.clone(),
        };
        entries.insert(
            key,
            Given {
                raw: Raw::Text(text.clone()),
                source,
            },
        );
    }
    UNUSED
        .iter()
        .copied()
        .filter(|variable| set(variable).is_some())
        .collect()
}

impl Alias {
    /// `None` leaves what stands there already: a listening address that is itself wrong gets reported.
    fn read(&self, text: &str, below: Option<&Given>) -> Option<Raw> {
        let plain = Raw::Text(text.to_owned());
        match self.reading {
            Reading::Plain => Some(plain),
            Reading::Milliseconds if text.bytes().all(|b| b.is_ascii_digit()) => {
                Some(Raw::Text(format!("{text}ms")))
            }
            Reading::Milliseconds => Some(plain),
            Reading::Port => {
                let Ok(port) = text.parse::<u16>() else {
                    return Some(plain);
                };
                let mut listen: SocketAddr = match below {
                    Some(Given {
                        raw: Raw::Text(address),
                        ..
                    }) => address.parse().ok()?,
                    Some(_) => return None,
                    None => LISTEN,
                };
                listen.set_port(port);
                Some(Raw::Text(listen.to_string()))
            }
        }
    }
}
