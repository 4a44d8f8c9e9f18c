//! The files in which OBS keeps itself: scene collections, the stream service of its profile, and which collection is
//! in use.
//!
//! OBS writes a change at once and reads when it starts, so what somebody else writes while it runs is overwritten,
//! except for scene collections that are not in use: those it reads when it changes to them. One that has just appeared
//! is listed, but OBS 30.2.3 does not change to it, and says nothing, until it has made its menu anew, which making any
//! collection does.
//!
//! What it wrote of the stream service before stays beside it, as `service.json.bak`: a key is gone from there only when the
//! service has been set twice without it (OBS 30.2.3).
//!
//! Paths are those within OBS's configuration folder.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::collection::Collection;
use super::collection_file;
use super::{FIRST_COLLECTION, Service, Studio, service_defaults};

const SCENES: &str = "basic/scenes/";
const SERVICE: &str = "basic/profiles/Untitled/service.json";
const SERVICE_BEFORE: &str = "basic/profiles/Untitled/service.json.bak";
const GLOBAL: &str = "global.ini";
/// Where the file of the collection in use stands in there.
const FILE_KEY: &str = "SceneCollectionFile=";
const NAME_KEY: &str = "SceneCollection=";

/// What stands in which file, and what has to be written.
#[derive(Debug, Default)]
pub(super) struct ConfigFiles {
    /// Of each collection by its name, without folder and suffix.
    files: BTreeMap<String, String>,
    changed: BTreeSet<String>,
    service_changed: bool,
    /// What stands in its file, and what stood there before.
    service: Option<Vec<u8>>,
    service_before: Option<Vec<u8>>,
    current_changed: bool,
    /// Listed, but not in the menu yet.
    unknown: BTreeSet<String>,
}

impl ConfigFiles {
    pub(super) fn collection_changed(&mut self, name: &str) {
        if !self.changed.contains(name) {
            self.changed.insert(name.to_owned());
        }
    }

    pub(super) fn service_changed(&mut self, service: &Service) {
        self.service_before = self.service.replace(write_service(service));
        self.service_changed = true;
    }

    pub(super) fn current_changed(&mut self) {
        self.current_changed = true;
    }

    /// The menu of collections is made anew.
    pub(super) fn menu_made(&mut self) {
        self.unknown.clear();
    }

    pub(super) fn is_in_menu(&self, name: &str) -> bool {
        !self.unknown.contains(name)
    }

    /// The file of a collection; a new one has a free name like its own.
    fn file_of(&mut self, name: &str) -> String {
        if let Some(file) = self.files.get(name) {
            return file.clone();
        }
        let letters = name.chars().filter_map(|c| match c {
            c if c.is_whitespace() => Some('_'),
            c if c.is_alphanumeric() || c == '_' => Some(c),
            _ => None,
        });
        let plain: String = letters.take(100).collect();
        let taken = |file: &String| self.files.values().any(|other| other == file);
        let numbered = (2..).map(|number: u32| format!("{plain}{number}"));
        let mut names = std::iter::once(plain.clone()).chain(numbered);
        // There are more numbers than files.
        let file = names.find(|file| !taken(file)).unwrap_or(plain);
        self.files.insert(name.to_owned(), file.clone());
        file
    }
}

impl Studio {
    /// What has to be written since the last call: path and content.
    pub(in crate::sim::model) fn unsaved(&mut self) -> Vec<(String, Vec<u8>)> {
        let mut unsaved = Vec::new();
        for name in std::mem::take(&mut self.config.changed) {
            if let Some(collection) = self.collections.get(&name) {
                let path = format!("{SCENES}{}.json", self.config.file_of(&name));
                unsaved.push((path, collection_file::write(&name, collection)));
            }
        }
        if std::mem::take(&mut self.config.service_changed) {
            let texts = [
                (SERVICE, &self.config.service),
                (SERVICE_BEFORE, &self.config.service_before),
            ];
            let held = texts
                .into_iter()
                .filter_map(|(path, text)| Some((path.to_owned(), text.clone()?)));
            unsaved.extend(held);
        }
        if std::mem::take(&mut self.config.current_changed) {
            let (name, file) = (self.current.clone(), self.config.file_of(&self.current.clone()));
            let text = format!(
                "[General]\nFirstRun=true\n\n[Basic]\nProfile=Untitled\nProfileDir=Untitled\n{NAME_KEY}{name}\n{FILE_KEY}{file}\n"
            );
            unsaved.push((GLOBAL.to_owned(), text.into_bytes()));
        }
        unsaved
    }

    /// It exits, and writes everything that it has.
    pub(super) fn save_all(&mut self) {
        self.config.changed.insert(self.current.clone());
        if self.config.service.is_none() {
            self.config.service_changed(&self.service);
        }
        self.config.service_changed = true;
        self.config.current_changed = true;
    }

    /// It starts, and reads what there is. `file` gives the content of a path, `collections` every path of a scene
    /// collection with its content.
    pub(in crate::sim::model) fn load(
        &mut self,
        file: impl Fn(&str) -> Option<Vec<u8>>,
        collections: &[(String, Vec<u8>)],
    ) {
        self.config = ConfigFiles::default();
        self.collections.clear();
        for (path, text) in collections {
            self.take_in(path, text);
        }
        let global = file(GLOBAL).unwrap_or_default();
        let global = String::from_utf8_lossy(&global).into_owned();
        let value = |key: &str| {
            global
                .lines()
                .find_map(|line| line.strip_prefix(key).map(str::to_owned))
        };
        let wanted = value(FILE_KEY);
        let found = self
            .config
            .files
            .iter()
            .find(|(_, file)| Some(*file) == wanted.as_ref());
        self.current = match found {
            Some((name, _)) => name.clone(),
            None => value(NAME_KEY).unwrap_or_else(|| FIRST_COLLECTION.to_owned()),
        };
        if !self.collections.contains_key(&self.current) {
            let new = Collection::new(&mut self.identifiers);
            self.collections.insert(self.current.clone(), new);
            self.config.changed.insert(self.current.clone());
        }
        self.config.service = file(SERVICE);
        self.config.service_before = file(SERVICE_BEFORE);
        self.service = file(SERVICE)
            .and_then(|text| read_service(&text))
            .unwrap_or_else(Service::first);
    }

    /// Somebody else has written scene collections, or removed some. The one in use stays as it is.
    pub(in crate::sim::model) fn notice(&mut self, collections: &[(String, Vec<u8>)]) {
        let before: BTreeSet<String> = self.collections.keys().cloned().collect();
        let mut there = BTreeSet::new();
        for (path, text) in collections {
            there.extend(self.take_in(path, text));
        }
        let current = self.current.clone();
        there.extend(self.config.changed.iter().cloned());
        self.collections
            .retain(|name, _| *name == current || there.contains(name));
        self.config
            .files
            .retain(|name, _| self.collections.contains_key(name));
        self.config.unknown.extend(there.difference(&before).cloned());
    }

    /// Gives the name of the collection, unless the text is none.
    fn take_in(&mut self, path: &str, text: &[u8]) -> Option<String> {
        let file = path.strip_prefix(SCENES)?.strip_suffix(".json")?;
        let (name, collection) = collection_file::read(text, &mut self.identifiers)?;
        // What it has not written yet is newer.
        let is_own = name == self.current || self.config.changed.contains(&name);
        if !(is_own && self.collections.contains_key(&name)) {
            self.config.files.insert(name.clone(), file.to_owned());
            self.collections.insert(name.clone(), collection);
        }
        Some(name)
    }
}

fn write_service(Service { kind, settings }: &Service) -> Vec<u8> {
    let text = json!({"settings": settings, "type": kind});
    text.to_string().into_bytes()
}

fn read_service(text: &[u8]) -> Option<Service> {
    let file: serde_json::Value = serde_json::from_slice(text).ok()?;
    let kind = file.get("type")?.as_str()?.to_owned();
    let mut settings = service_defaults(&kind);
    settings.extend(file.get("settings")?.as_object()?.clone());
    Some(Service { kind, settings })
}
