//! The part that is proven over SFTP: the files of OBS's configuration, temporary files, recordings.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Deserialize;

use super::Work;
use super::studio::Seen;
use crate::domain::cleaning::{Subject, Way};
use crate::domain::studio::Secret;
use crate::infra::ssh::files::{Error, Files, Kind};

/// Where shows put temporary files, and how their names begin.
const TEMPORARY: (&str, &str) = ("/tmp", "competition-");
/// Most files of a configuration that are read.
const FILES_MAX: usize = 1_000;
/// Most bytes of them all. A scene collection of a hundred scenes has about 1 MB.
const BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Folders within folders; OBS has two.
const DEPTH_MAX: usize = 8;
/// A shorter text is found in files by chance, and is no secret.
const KEY_BYTES_MIN: usize = 4;

/// Why files could not be searched.
#[derive(Debug, thiserror::Error)]
pub(super) enum SearchError {
    #[error(transparent)]
    Files(#[from] Error),
    #[error("{folder} has more than {FILES_MAX} files, {DEPTH_MAX} levels or {} MiB", BYTES_MAX >> 20)]
    TooMuch { folder: String },
    #[error("{path} is not a stream service as OBS writes it")]
    NotAService { path: String },
}

/// All that is read of a scene collection.
#[derive(Deserialize)]
struct Named {
    name: String,
}

impl Work {
    pub(super) async fn prove_files(&mut self, files: &Arc<dyn Files>, seen: Option<Seen>) {
        let config = format!("{}/basic", self.ctx.options.cleaning.config_path);
        if let (Way::Studio, Some(seen)) = (self.way, &seen) {
            self.remove_collections(files, &config, &seen.collection).await;
        }
        match search(files, &config, &patterns(&self.keys)).await {
            Ok(found) if found.holders.is_empty() => {
                let text = format!("no stream key of the show's in {} files", found.files);
                self.find(Subject::Files, true, &text);
            }
            Ok(found) => {
                let text = format!("a stream key of the show's is in {}", found.holders.join(", "));
                self.find(Subject::Files, false, &text);
            }
            Err(error) => {
                let text = format!("OBS's files could not be searched: {error}");
                self.find(Subject::Files, false, &text);
            }
        }
        if self.way == Way::Template {
            self.prove_template(files, &config, seen).await;
        }
        self.prove_temporary(files.as_ref()).await;
        self.count_recordings(files.as_ref()).await;
    }

    /// Removes every scene collection but the one that was emptied, which over its WebSocket OBS does not, and the copies
    /// that it keeps. OBS lists what is in the folder, so that is all: so it was with OBS 30.2.3.
    async fn remove_collections(&mut self, files: &Arc<dyn Files>, config: &str, keep: &str) {
        match remove_others(files, &format!("{config}/scenes"), keep).await {
            Ok(removed) if removed.is_empty() => {}
            Ok(removed) => {
                let text = format!("other scene collections were removed: {}", removed.join(", "));
                self.find(Subject::Scenes, true, &text);
            }
            Err(error) => {
                let text = format!("other scene collections could not be removed: {error}");
                self.find(Subject::Scenes, false, &text);
            }
        }
    }

    /// What is in OBS is the template's: it has no scene collection beside, and its stream key if any.
    async fn prove_template(&mut self, files: &Arc<dyn Files>, config: &str, seen: Option<Seen>) {
        let template = format!("{}/basic", self.ctx.options.cleaning.template_path);
        let Some(seen) = seen else { return };
        if let Some(key) = seen.other_key {
            match search(files, &template, &patterns(&[key])).await {
                Ok(found) if found.holders.is_empty() => {
                    self.find(
                        Subject::StreamKey,
                        false,
                        "OBS has a stream key that is not the template's",
                    );
                }
                Ok(_) => self.find(Subject::StreamKey, true, "OBS has the stream key of the template"),
                Err(error) => {
                    let text = format!("whether OBS's stream key is the template's is not known: {error}");
                    self.find(Subject::StreamKey, false, &text);
                }
            }
        }
        let (there, wanted) = (
            collections(files, config).await,
            collections(files, &template).await,
        );
        let (there, wanted) = match (there, wanted) {
            (Ok(there), Ok(wanted)) => (there, wanted),
            (Err(error), _) | (_, Err(error)) => {
                let text = format!("OBS's scene collections could not be listed: {error}");
                return self.find(Subject::Scenes, false, &text);
            }
        };
        let more: Vec<&str> = there.difference(&wanted).map(String::as_str).collect();
        match more.as_slice() {
            [] if seen.is_empty => {}
            [] => self.find(Subject::Scenes, true, "the scene collections are the template's"),
            // The one that OBS makes when it finds none.
            [_] if seen.is_empty => {}
            more => {
                let text = format!(
                    "there are scene collections beside the template's: {}",
                    more.join(", ")
                );
                self.find(Subject::Scenes, false, &text);
            }
        }
    }

    async fn prove_temporary(&mut self, files: &dyn Files) {
        let (folder, begins) = TEMPORARY;
        let found = match files.list(folder).await {
            Ok(entries) => entries,
            Err(error) => {
                let text = format!("temporary files could not be listed: {error}");
                return self.find(Subject::TemporaryFiles, false, &text);
            }
        };
        let left = found
            .iter()
            .filter(|entry| entry.name.starts_with(begins))
            .count();
        if left > 0 {
            let text = format!("{left} temporary files are left in {folder}");
            self.find(Subject::TemporaryFiles, false, &text);
        }
    }

    /// They are kept: who wants them archived or deleted says so.
    async fn count_recordings(&mut self, files: &dyn Files) {
        let path = &self.ctx.options.cleaning.recordings_path;
        self.recordings = match files.list(path).await {
            Ok(entries) => {
                let count = entries.iter().filter(|entry| entry.kind == Kind::File).count();
                u32::try_from(count).ok()
            }
            Err(Error::NotFound { .. }) => Some(0),
            Err(error) => {
                tracing::info!(vm = %self.vm, %error, "recordings were not counted");
                None
            }
        };
    }
}

/// Names of the files of scene collections, without those that OBS keeps as backups.
async fn collections(files: &Arc<dyn Files>, basic: &str) -> Result<BTreeSet<String>, Error> {
    match files.list(&format!("{basic}/scenes")).await {
        Ok(entries) => Ok(entries
            .into_iter()
            .map(|entry| entry.name)
            .filter(|name| name.ends_with(".json"))
            .collect()),
        Err(Error::NotFound { .. }) => Ok(BTreeSet::new()),
        Err(error) => Err(error),
    }
}

/// Gives the files of the collections that it has removed.
async fn remove_others(files: &Arc<dyn Files>, folder: &str, keep: &str) -> Result<Vec<String>, SearchError> {
    let entries = match files.list(folder).await {
        Ok(entries) => entries,
        Err(Error::NotFound { .. }) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let mut removed = Vec::new();
    for entry in entries.into_iter().filter(|entry| entry.kind == Kind::File) {
        let path = format!("{folder}/{}", entry.name);
        if entry.name.ends_with(".json") {
            let text = content(files, &path).await?.unwrap_or_default();
            // One that cannot be read is not the one that OBS has, which it replaces as a whole.
            let named: Option<Named> = serde_json::from_slice(&text).ok();
            if named.is_some_and(|collection| collection.name == keep) {
                continue;
            }
            removed.push(entry.name);
        } else if !entry.name.ends_with(".json.bak") {
            continue;
        }
        match files.remove(&path).await {
            Ok(()) | Err(Error::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(removed)
}

/// What a key looks like in a file: as it is, and as JSON writes it.
fn patterns(keys: &[Secret]) -> Vec<Vec<u8>> {
    let mut patterns = Vec::new();
    for key in keys.iter().filter(|key| key.expose().len() >= KEY_BYTES_MIN) {
        let plain = key.expose();
        let written = serde_json::Value::from(plain).to_string();
        let written = &written[1..written.len() - 1];
        if written != plain {
            patterns.push(written.as_bytes().to_vec());
        }
        patterns.push(plain.as_bytes().to_vec());
    }
    patterns
}

/// What a search found.
#[derive(Debug, Default)]
struct Found {
    files: usize,
    /// Paths of those that hold one of the patterns.
    holders: Vec<String>,
}

/// Reads every file below a folder. A folder that is not there has none; links are not followed.
async fn search(files: &Arc<dyn Files>, folder: &str, patterns: &[Vec<u8>]) -> Result<Found, SearchError> {
    let too_much = || SearchError::TooMuch {
        folder: folder.to_owned(),
    };
    let mut found = Found::default();
    let mut bytes = 0;
    let mut folders = vec![(folder.to_owned(), 0)];
    while let Some((path, depth)) = folders.pop() {
        let entries = match files.list(&path).await {
            Ok(entries) => entries,
            Err(Error::NotFound { .. }) => continue,
            Err(error) => return Err(error.into()),
        };
        for entry in entries {
            let path = format!("{path}/{}", entry.name);
            match entry.kind {
                Kind::Folder if depth < DEPTH_MAX => folders.push((path, depth + 1)),
                Kind::Folder => return Err(too_much()),
                Kind::File => {
                    bytes += entry.bytes;
                    found.files += 1;
                    if bytes > BYTES_MAX || found.files > FILES_MAX {
                        return Err(too_much());
                    }
                    if !patterns.is_empty() && holds(files, &path, patterns).await? {
                        found.holders.push(path);
                    }
                }
                Kind::Link | Kind::Other => {}
            }
        }
    }
    Ok(found)
}

/// Whether a file holds one of the patterns. One that is gone by now does not: OBS replaces files.
async fn holds(files: &Arc<dyn Files>, path: &str, patterns: &[Vec<u8>]) -> Result<bool, SearchError> {
    let content = content(files, path).await?.unwrap_or_default();
    let is_in = |pattern: &Vec<u8>| content.windows(pattern.len()).any(|window| window == pattern);
    Ok(patterns.iter().any(is_in))
}

/// All of a file; `None` if it is not there.
pub(super) async fn content(files: &Arc<dyn Files>, path: &str) -> Result<Option<Vec<u8>>, SearchError> {
    let mut download = match Arc::clone(files).read(path, 0).await {
        Ok(download) => download,
        Err(Error::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut content = Vec::new();
    while let Some(piece) = download.next().await {
        content.extend_from_slice(&piece?);
        if content.len() as u64 > BYTES_MAX {
            return Err(SearchError::TooMuch {
                folder: path.to_owned(),
            });
        }
    }
    Ok(Some(content))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_looked_for_as_it_is_and_as_json_writes_it() {
        let texts = |key: &str| -> Vec<String> {
            let patterns = patterns(&[Secret::new(key)]);
            patterns
                .into_iter()
                .map(|pattern| String::from_utf8(pattern).unwrap())
                .collect()
        };
        assert_eq!(texts("live_4711?bw=1"), ["live_4711?bw=1"]);
        assert_eq!(texts("a\"b\\c"), [r#"a\"b\\c"#, "a\"b\\c"]);
        assert_eq!(texts("abc"), Vec::<String>::new());
    }
}
