//! How a test logs in.

use std::path::{Path, PathBuf};
use std::time::Duration;

use understudy::infra::ssh::{Config, HostKeyPolicy, KeySource};

/// With this key; host keys are pinned in this folder.
pub fn pinning(user: &str, key: PathBuf, folder: &Path) -> Config {
    Config {
        user: user.to_owned(),
        key: KeySource::File(key),
        key_passphrase: None,
        host_keys: HostKeyPolicy::PinOnFirstUse {
            store: folder.join("pins"),
        },
        keep_alive_interval: Duration::from_secs(60),
        keep_alive_max: 3,
    }
}
