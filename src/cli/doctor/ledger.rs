//! The files that the coordinator cannot start without, where they are there already: the journal, and the key under which
//! secrets are sealed in it.

use std::path::Path;
use std::time::Duration;

use super::finding::Finding;
use super::within;
use crate::cli::input;
use crate::config::Config;
use crate::infra::ledger;
use crate::infra::vault::Vault;

/// Limit on reading both.
const READ: Duration = Duration::from_secs(8);

/// Whether a coordinator would start on them. Neither is made here.
pub async fn look(config: &Config) -> Vec<Finding> {
    let (path, key) = (config.ledger.path.clone(), config.ledger.secrets_key());
    within("journal", READ, async {
        let looked = input::elsewhere(move || vec![journal(&path), secrets_key(&key)]).await;
        looked.unwrap_or_else(|| vec![Finding::skipped("journal", "it could not be looked at")])
    })
    .await
}

fn journal(path: &Path) -> Finding {
    let (check, place) = ("journal", path.display());
    match ledger::look(path) {
        Ok(ledger::Look::Journal) => Finding::pass(check, format!("{place} is one")),
        Ok(ledger::Look::Nothing) => Finding::pass(check, format!("{place} is made at the first start")),
        Ok(ledger::Look::Other(found)) => Finding::fail(
            check,
            format!("{place} is {found}, and no journal of understudy: the coordinator will not start"),
            "let ledger.path name another file, or restore a backup there",
        ),
        Err(error) => Finding::fail(
            check,
            format!("{place} cannot be looked at: {error}"),
            "let ledger.path name a file in a folder that the coordinator's user may write",
        ),
    }
}

fn secrets_key(path: &Path) -> Finding {
    let (check, place) = ("secrets key", path.display());
    match Vault::look(path) {
        Ok(true) => Finding::pass(check, format!("{place} can be used")),
        Ok(false) => Finding::pass(check, format!("{place} is made at the first start")),
        Err(error) => {
            let advice = "without it the coordinator will not start; ledger.secrets_key_path names it";
            Finding::fail(check, error.to_string(), advice)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::finding::Verdict;
    use super::*;

    #[test]
    fn what_a_coordinator_would_not_start_on_is_found_and_nothing_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("noise"), [0x5a; 4_096]).unwrap();
        std::fs::write(at("empty"), "").unwrap();
        database(&at("other.db"), 7);
        for (path, verdict) in [
            (at("none.db"), Verdict::Pass),
            (at("not/yet/there.db"), Verdict::Pass),
            (at("empty"), Verdict::Pass),
            (at("noise"), Verdict::Fail),
            (at("other.db"), Verdict::Fail),
            (folder.path().to_owned(), Verdict::Fail),
            (at("noise").join("ledger.db"), Verdict::Fail),
        ] {
            assert_eq!(journal(&path).verdict, verdict, "{}", path.display());
        }
        assert!(!at("none.db").exists() && !at("not").exists());
        let real = at("ledger.db");
        drop(ledger::Ledger::open(ledger::Options::new(&real)).unwrap());
        assert_eq!(
            journal(&real),
            Finding::pass("journal", format!("{} is one", real.display()))
        );
    }

    #[test]
    fn a_secrets_key_that_cannot_be_used_is_found_and_none_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.key");
        assert_eq!(secrets_key(&path).verdict, Verdict::Pass);
        assert!(!path.exists());
        Vault::open(&path).unwrap();
        assert_eq!(secrets_key(&path).verdict, Verdict::Pass);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let found = secrets_key(&path);
        assert_eq!(found.verdict, Verdict::Fail);
        assert!(found.detail.contains("mode 644"), "{found:?}");
    }

    /// The first page of a database with this application's number (SQLite's file format, 1.3).
    fn database(path: &Path, application: u32) {
        let mut page = vec![0; 512];
        page[..16].copy_from_slice(b"SQLite format 3\0");
        page[68..72].copy_from_slice(&application.to_be_bytes());
        std::fs::write(path, page).unwrap();
    }
}
