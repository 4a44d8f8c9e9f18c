//! The folder in which a machine's OBS keeps its scene collections, over SFTP.
//!
//! OBS finds a collection by the name that is in its file. What the file is called means nothing to it, but two files
//! with one name do.

use std::collections::HashSet;
use std::sync::Arc;

use serde::Deserialize;

use super::switch::Error;
use super::text;
use crate::domain::studio::Studio;
use crate::infra::ssh;
use crate::infra::ssh::files::{Entry, Error as FilesError, Files, Kind};

/// Within OBS's folder of settings.
const SCENES: &str = "basic/scenes";
/// A collection's file holds the passphrases of its inputs.
const MODE: u32 = 0o600;
/// Files bigger than this are not read to find out what they are called. 200 scenes take 400 KiB.
const NAMED_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Where a machine's OBS keeps its scene collections.
#[derive(Clone)]
pub struct Folder {
    shell: Arc<dyn ssh::Session>,
    path: String,
}

impl std::fmt::Debug for Folder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Folder")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// Where a collection is to be written.
pub(super) struct Place {
    files: Arc<dyn Files>,
    path: String,
}

impl Place {
    /// Writes the collection. OBS must not be using it: it would write its own over it.
    pub(super) async fn write(self, text: String) -> Result<(), Error> {
        let mut upload = self.files.write(&self.path, MODE).await?;
        upload.write(text.into()).await?;
        upload.finish().await?;
        Ok(())
    }
}

/// All that is read of a collection.
#[derive(Deserialize)]
struct Named {
    name: String,
}

impl Folder {
    /// Of the machine that this connection leads to, whose OBS keeps its settings in `obs_config_path`.
    #[must_use]
    pub fn new(shell: Arc<dyn ssh::Session>, obs_config_path: &str) -> Self {
        let path = format!("{}/{SCENES}", obs_config_path.trim_end_matches('/'));
        Self { shell, path }
    }

    /// Writes the collection of a studio, which OBS must not be using; `is_known` as for [`Folder::place`].
    pub(crate) async fn put(&self, studio: &Studio, is_known: bool) -> Result<(), Error> {
        let place = self.place(&studio.scene_collection, is_known).await?;
        place.write(text(studio)).await
    }

    /// Finds out where a collection is to be written: in place of the one of that name, if OBS has one (`is_known`).
    pub(super) async fn place(&self, name: &str, is_known: bool) -> Result<Place, Error> {
        let files = self.shell.files().await?;
        let there: Vec<Entry> = files.list(&self.path).await?;
        let there: Vec<Entry> = there.into_iter().filter(is_collection).collect();
        let of_that_name = if is_known {
            self.file_of(&files, &there, name).await?
        } else {
            None
        };
        let file = of_that_name.unwrap_or_else(|| free_file(name, &there));
        let path = self.at(&file);
        Ok(Place { files, path })
    }

    /// Removes a collection that OBS made under a name that is also its file's, with the copy that OBS may have made.
    pub(super) async fn remove(&self, name: &str) -> Result<(), Error> {
        let files = self.shell.files().await?;
        for file in [format!("{name}.json"), format!("{name}.json.bak")] {
            match files.remove(&self.at(&file)).await {
                Ok(()) | Err(FilesError::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// The file whose collection is called this.
    async fn file_of(
        &self,
        files: &Arc<dyn Files>,
        there: &[Entry],
        name: &str,
    ) -> Result<Option<String>, Error> {
        let usual = usual_file(name);
        let (first, others): (Vec<&Entry>, Vec<&Entry>) = there.iter().partition(|entry| entry.name == usual);
        for entry in first.into_iter().chain(others) {
            if entry.bytes <= NAMED_BYTES_MAX && self.name_in(files, entry).await?.as_deref() == Some(name) {
                return Ok(Some(entry.name.clone()));
            }
        }
        Ok(None)
    }

    /// `None` for what is no collection.
    async fn name_in(&self, files: &Arc<dyn Files>, entry: &Entry) -> Result<Option<String>, Error> {
        let mut download = Arc::clone(files).read(&self.at(&entry.name), 0).await?;
        let mut text = Vec::new();
        while let Some(piece) = download.next().await {
            text.extend_from_slice(&piece?);
        }
        let read: Option<Named> = serde_json::from_slice(&text).ok();
        Ok(read.map(|collection| collection.name))
    }

    fn at(&self, file: &str) -> String {
        format!("{}/{file}", self.path)
    }
}

fn is_collection(entry: &Entry) -> bool {
    entry.kind == Kind::File && entry.name.ends_with(".json")
}

/// What OBS would call the file, of what is ASCII: spaces become underscores, the rest of what is neither letter nor
/// digit is left out.
fn usual_file(name: &str) -> String {
    let plain: String = name
        .chars()
        .filter_map(|c| match c {
            c if c.is_whitespace() => Some('_'),
            c if c.is_ascii_alphanumeric() || c == '_' => Some(c),
            _ => None,
        })
        .collect();
    let plain = if plain.is_empty() {
        "characters_only"
    } else {
        &plain
    };
    format!("{plain}.json")
}

/// As OBS does, with a number behind it if that file is another collection's.
fn free_file(name: &str, there: &[Entry]) -> String {
    let taken: HashSet<&str> = there.iter().map(|entry| entry.name.as_str()).collect();
    let usual = usual_file(name);
    let plain = usual.trim_end_matches(".json");
    let numbered = (2..).map(|number: u32| format!("{plain}{number}.json"));
    let mut names = std::iter::once(usual.clone()).chain(numbered);
    // There are more numbers than files.
    names
        .find(|name| !taken.contains(name.as_str()))
        .unwrap_or(usual.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str) -> Entry {
        Entry {
            name: name.to_owned(),
            kind: Kind::File,
            bytes: 1,
            modified: None,
        }
    }

    #[test]
    fn a_collections_file_is_called_as_obs_would_call_it_and_never_as_anothers() {
        let table = [
            ("Show", "Show.json"),
            ("Rich, one", "Rich_one.json"),
            ("../../etc/passwd", "etcpasswd.json"),
            ("Übung 1", "bung_1.json"),
            ("..", "characters_only.json"),
        ];
        for (name, file) in table {
            assert_eq!(free_file(name, &[]), file);
        }
        let there = [entry("Show.json"), entry("Show2.json")];
        assert_eq!(free_file("Show", &there), "Show3.json");
    }
}
