//! Stream keys that nobody can open any more: the vault's key was lost, or what was sealed is damaged.
//!
//! Such a key cannot be looked for. But where there is no stream key at all, or the template's alone, it is not either: OBS
//! keeps stream keys in its stream service, which it writes to one file per profile and a copy beside that. So a VM is not
//! unclean for ever because a file of the coordinator was lost, and the report says on what its proof rests.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Deserialize;

use super::Work;
use super::files::{SearchError, content};
use crate::domain::cleaning::{Subject, Way};
use crate::infra::ssh::files::{Error, Files, Kind};

/// What the files are called in which OBS keeps the service of a profile, and what it was before.
const SERVICE: &str = "service.json";

/// All that is read of one.
#[derive(Deserialize)]
struct Service {
    #[serde(default)]
    settings: Settings,
}

#[derive(Default, Deserialize)]
struct Settings {
    #[serde(default)]
    key: String,
}

impl Work {
    /// To be called last: it goes by what was found before.
    pub(super) async fn prove_without(&mut self, files: Option<&Arc<dyn Files>>) {
        if self.locked.is_empty() {
            return;
        }
        let left = self.locked.join("; ");
        match self.foreign_key(files).await {
            None => {
                let found = format!(
                    "a stream key was not looked for, since {left}; but there is no stream key, or the template's alone"
                );
                self.find(Subject::StreamKey, true, &found);
            }
            Some(why) => {
                let found = format!("a stream key cannot be looked for, since {left}; and {why}");
                self.find(Subject::StreamKey, false, &found);
            }
        }
    }

    /// Why there may be a stream key that is not the template's.
    async fn foreign_key(&self, files: Option<&Arc<dyn Files>>) -> Option<String> {
        let told = self
            .findings
            .iter()
            .filter(|finding| finding.subject == Subject::StreamKey);
        let told: Vec<bool> = told.map(|finding| finding.clean).collect();
        if self.ctx.world.obs.is_some() && (told.is_empty() || told.contains(&false)) {
            return Some("OBS may have one".to_owned());
        }
        match files {
            Some(files) => self.foreign_key_in(files).await,
            None if told.is_empty() => Some("neither OBS nor its files could be looked at".to_owned()),
            None => None,
        }
    }

    async fn foreign_key_in(&self, files: &Arc<dyn Files>) -> Option<String> {
        let options = &self.ctx.options.cleaning;
        let there = keys_below(files, &options.config_path).await;
        let wanted = match self.way {
            Way::Template => keys_below(files, &options.template_path).await,
            Way::Studio | Way::Nothing => Ok(BTreeSet::new()),
        };
        match (there, wanted) {
            (Ok(there), Ok(wanted)) if there.is_subset(&wanted) => None,
            (Ok(_), Ok(_)) => Some("one of unknown origin is in OBS's files".to_owned()),
            (Err(error), _) | (_, Err(error)) => Some(format!("OBS's files could not be read: {error}")),
        }
    }
}

/// The stream keys of all profiles in a configuration of OBS.
async fn keys_below(files: &Arc<dyn Files>, config: &str) -> Result<BTreeSet<String>, SearchError> {
    let profiles = format!("{config}/basic/profiles");
    let mut keys = BTreeSet::new();
    for profile in listed(files, &profiles).await? {
        let folder = format!("{profiles}/{profile}");
        for file in listed(files, &folder).await? {
            if !file.starts_with(SERVICE) {
                continue;
            }
            let path = format!("{folder}/{file}");
            let Some(text) = content(files, &path).await? else {
                continue;
            };
            let service: Service =
                serde_json::from_slice(&text).map_err(|_| SearchError::NotAService { path })?;
            keys.extend(Some(service.settings.key).filter(|key| !key.is_empty()));
        }
    }
    Ok(keys)
}

/// Names of what is in a folder; a folder that is not there has nothing.
async fn listed(files: &Arc<dyn Files>, folder: &str) -> Result<Vec<String>, SearchError> {
    match files.list(folder).await {
        Ok(entries) => {
            let entries = entries.into_iter().filter(|entry| entry.kind != Kind::Link);
            Ok(entries.map(|entry| entry.name).collect())
        }
        Err(Error::NotFound { .. }) => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}
