//! A machine's files: a tree with bounds, held in memory.
//!
//! Folders, and files with their content, permission bits and time. Paths are absolute; relative ones start at
//! [`HOME`], and `.` and `..` are followed before anything is looked up.
//!
//! Deliberately absent: symbolic links, owners (whoever logs in may write below [`HOME`] and `/tmp`, root everywhere),
//! and files that outlive their names.

mod content;
mod image;
mod seek;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use self::content::Content;
pub use self::seek::Pattern;
use crate::domain::time::Timestamp;

/// The home of the user who logs in.
pub const HOME: &str = "/home/ubuntu";
/// Where OBS keeps its configuration.
pub const OBS_CONFIG: &str = "/home/ubuntu/.config/obs-studio";
/// What that is reset to.
pub const OBS_TEMPLATE: &str = "/home/ubuntu/obs-config-template";
/// Where OBS puts its recordings.
pub const RECORDINGS: &str = "/home/ubuntu/recordings";

/// Files and folders of one machine.
pub const ENTRIES_MAX: usize = 4_096;
/// Bytes that one machine holds. Recordings made by its studio take none, whatever their size.
pub const BYTES_MAX: usize = 64 * 1024 * 1024;
/// Longest path, as on Linux (`PATH_MAX`).
const PATH_BYTES_MAX: usize = 4_096;

/// Why something cannot be done with a path. The words are those of strerror(3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DiskError {
    #[error("No such file or directory")]
    NotFound,
    #[error("Not a directory")]
    NotAFolder,
    #[error("Is a directory")]
    IsAFolder,
    #[error("File exists")]
    Exists,
    #[error("Directory not empty")]
    NotEmpty,
    #[error("Permission denied")]
    Denied,
    #[error("No space left on device")]
    Full,
    #[error("File name too long")]
    TooLong,
    #[error("Invalid argument")]
    Invalid,
}

/// Who touches a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// Who logs in, and OBS.
    User,
    Root,
}

/// A file or a folder.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// `None` for a folder.
    pub content: Option<Content>,
    /// Permission bits, without the type.
    pub mode: u32,
    pub modified: Timestamp,
}

impl Node {
    fn folder(mode: u32, modified: Timestamp) -> Self {
        Self {
            content: None,
            mode,
            modified,
        }
    }

    #[must_use]
    pub fn is_folder(&self) -> bool {
        self.content.is_none()
    }

    /// 4096 for a folder, as on ext4.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.content.as_ref().map_or(4_096, Content::bytes)
    }
}

/// All files of one machine.
#[derive(Debug, Clone)]
pub struct Disk {
    /// By path, without a slash at the end. The root is always there, and so is the parent of everything.
    nodes: BTreeMap<String, Node>,
    held: usize,
    changes: u64,
}

/// A path as it is looked up: absolute, without `.`, `..` and double slashes.
///
/// # Errors
/// [`DiskError::TooLong`], [`DiskError::NotFound`] for an empty one.
pub fn absolute(path: &str) -> Result<String, DiskError> {
    if path.is_empty() {
        return Err(DiskError::NotFound);
    }
    let from_home = (!path.starts_with('/')).then_some(HOME);
    let mut words: Vec<&str> = Vec::new();
    for word in from_home.unwrap_or_default().split('/').chain(path.split('/')) {
        match word {
            "" | "." => {}
            ".." => drop(words.pop()),
            word => words.push(word),
        }
    }
    let absolute = format!("/{}", words.join("/"));
    if absolute.len() > PATH_BYTES_MAX {
        return Err(DiskError::TooLong);
    }
    Ok(absolute)
}

/// The folder of an absolute path; the root's is the root.
#[must_use]
pub fn parent(path: &str) -> &str {
    match path.rsplit_once('/') {
        None | Some(("", _)) => "/",
        Some((parent, _)) => parent,
    }
}

/// The last word of an absolute path.
#[must_use]
pub fn name(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

/// What is below a folder begins with this.
fn below(folder: &str) -> String {
    format!("{}/", folder.trim_end_matches('/'))
}

impl Disk {
    fn empty(now: Timestamp) -> Self {
        Self {
            nodes: BTreeMap::from([("/".to_owned(), Node::folder(0o755, now))]),
            held: 0,
            changes: 0,
        }
    }

    /// How often a file named `*.json` was changed: what is worth looking at again has changed if this has.
    #[must_use]
    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    // ----- looking -----

    /// # Errors
    /// [`DiskError::NotFound`].
    pub fn stat(&self, path: &str) -> Result<&Node, DiskError> {
        let path = absolute(path)?;
        self.nodes.get(&path).ok_or(DiskError::NotFound)
    }

    /// Names in a folder, sorted.
    ///
    /// # Errors
    /// [`DiskError::NotAFolder`], [`DiskError::NotFound`].
    pub fn list(&self, path: &str) -> Result<Vec<(&str, &Node)>, DiskError> {
        if !self.stat(path)?.is_folder() {
            return Err(DiskError::NotAFolder);
        }
        let prefix = below(&absolute(path)?);
        let inside = self.inside(&prefix);
        Ok(inside
            .map(|(path, node)| (&path[prefix.len()..], node))
            .filter(|(name, _)| !name.contains('/'))
            .collect())
    }

    /// Everything below `prefix`, parents before children.
    fn inside<'a>(&'a self, prefix: &str) -> impl Iterator<Item = (&'a String, &'a Node)> + use<'a> {
        let prefix = prefix.to_owned();
        let from = self.nodes.range(prefix.clone()..);
        from.filter(|(path, _)| path.len() > 1)
            .take_while(move |(path, _)| path.starts_with(&prefix))
    }

    /// Bytes of a file from `offset` on, at most `bytes_max`; none at its end.
    ///
    /// # Errors
    /// [`DiskError::IsAFolder`], [`DiskError::NotFound`].
    pub fn read(&self, path: &str, offset: u64, bytes_max: usize) -> Result<Vec<u8>, DiskError> {
        let content = self.stat(path)?.content.as_ref();
        Ok(content.ok_or(DiskError::IsAFolder)?.read(offset, bytes_max))
    }

    /// The whole of a file that is held.
    #[must_use]
    pub fn held(&self, path: &str) -> Option<&[u8]> {
        match self.nodes.get(path)?.content.as_ref()? {
            Content::Held(bytes) => Some(bytes),
            Content::Recorded { .. } => None,
        }
    }

    // ----- changing -----

    /// Makes an empty file, or empties the one that is there.
    ///
    /// # Errors
    /// [`DiskError::Exists`] if it must be new, and what is said of its folder.
    pub fn create(
        &mut self,
        who: Who,
        path: &str,
        mode: u32,
        must_be_new: bool,
        now: Timestamp,
    ) -> Result<(), DiskError> {
        let path = self.writable(who, path)?;
        match self.nodes.get(&path) {
            Some(node) if node.is_folder() => return Err(DiskError::IsAFolder),
            Some(_) if must_be_new => return Err(DiskError::Exists),
            Some(_) => {}
            None => self.check_room(&path)?,
        }
        let mode = self.nodes.get(&path).map_or(mode & 0o7777, |node| node.mode);
        self.put(path, mode, Content::Held(Vec::new()), now);
        Ok(())
    }

    /// Writes into a file from `offset` on; a gap before that is zeros.
    ///
    /// # Errors
    /// [`DiskError::Full`] past [`BYTES_MAX`], [`DiskError::IsAFolder`], [`DiskError::NotFound`].
    pub fn write(
        &mut self,
        who: Who,
        path: &str,
        offset: u64,
        bytes: &[u8],
        now: Timestamp,
    ) -> Result<(), DiskError> {
        let path = self.writable(who, path)?;
        let free = BYTES_MAX - self.held;
        let node = self.nodes.get_mut(&path).ok_or(DiskError::NotFound)?;
        let content = node.content.as_mut().ok_or(DiskError::IsAFolder)?;
        let before = content.held();
        content.write(offset, bytes, before + free)?;
        node.modified = now;
        self.held = self.held - before + content.held();
        self.count(&path);
        Ok(())
    }

    /// # Errors
    /// [`DiskError::NotFound`], [`DiskError::Denied`].
    pub fn set_mode(&mut self, who: Who, path: &str, mode: u32) -> Result<(), DiskError> {
        let path = self.writable(who, path)?;
        self.nodes.get_mut(&path).ok_or(DiskError::NotFound)?.mode = mode & 0o7777;
        Ok(())
    }

    /// # Errors
    /// [`DiskError::NotFound`], [`DiskError::Denied`], [`DiskError::Full`].
    pub fn set_bytes(&mut self, who: Who, path: &str, bytes: u64, now: Timestamp) -> Result<(), DiskError> {
        let path = self.writable(who, path)?;
        let free = BYTES_MAX - self.held;
        let node = self.nodes.get_mut(&path).ok_or(DiskError::NotFound)?;
        let content = node.content.as_mut().ok_or(DiskError::IsAFolder)?;
        let before = content.held();
        content.resize(bytes, before + free)?;
        node.modified = now;
        self.held = self.held - before + content.held();
        self.count(&path);
        Ok(())
    }

    /// # Errors
    /// [`DiskError::Exists`], and what is said of its parent.
    pub fn make_folder(&mut self, who: Who, path: &str, mode: u32, now: Timestamp) -> Result<(), DiskError> {
        let path = self.writable(who, path)?;
        if self.nodes.contains_key(&path) {
            return Err(DiskError::Exists);
        }
        self.check_room(&path)?;
        self.nodes.insert(path, Node::folder(mode & 0o7777, now));
        Ok(())
    }

    /// Makes a folder and those above it; one that is there already is fine.
    ///
    /// # Errors
    /// [`DiskError::NotAFolder`], [`DiskError::Denied`], [`DiskError::Full`].
    pub fn make_folders(&mut self, who: Who, path: &str, now: Timestamp) -> Result<(), DiskError> {
        let path = absolute(path)?;
        match self.nodes.get(&path) {
            Some(node) if node.is_folder() => return Ok(()),
            Some(_) => return Err(DiskError::NotAFolder),
            None => {}
        }
        self.make_folders(who, parent(&path), now)?;
        self.make_folder(who, &path, 0o755, now)
    }

    /// # Errors
    /// [`DiskError::NotFound`], [`DiskError::IsAFolder`], [`DiskError::Denied`].
    pub fn remove(&mut self, who: Who, path: &str) -> Result<(), DiskError> {
        let path = self.writable(who, path)?;
        if self.stat(&path)?.is_folder() {
            return Err(DiskError::IsAFolder);
        }
        self.take(&path);
        Ok(())
    }

    /// # Errors
    /// [`DiskError::NotEmpty`], [`DiskError::NotAFolder`], [`DiskError::NotFound`], [`DiskError::Denied`].
    pub fn remove_folder(&mut self, who: Who, path: &str) -> Result<(), DiskError> {
        let path = self.writable(who, path)?;
        if !self.list(&path)?.is_empty() {
            return Err(DiskError::NotEmpty);
        }
        self.take(&path);
        Ok(())
    }

    /// Removes a file, or a folder with everything in it.
    ///
    /// # Errors
    /// [`DiskError::NotFound`], [`DiskError::Denied`].
    pub fn remove_all(&mut self, who: Who, path: &str) -> Result<(), DiskError> {
        let path = self.writable(who, path)?;
        self.stat(&path)?;
        let inside: Vec<String> = self.inside(&below(&path)).map(|(path, _)| path.clone()).collect();
        for inner in inside.iter().chain([&path]) {
            self.take(inner);
        }
        Ok(())
    }

    /// Gives a file or a folder another path. In place of a file that is there, as rename(2), if `replace`.
    ///
    /// # Errors
    /// [`DiskError::Exists`], and what is said of either path.
    pub fn rename(&mut self, who: Who, old: &str, new: &str, replace: bool) -> Result<(), DiskError> {
        let (old, new) = (self.writable(who, old)?, self.writable(who, new)?);
        let is_folder = self.stat(&old)?.is_folder();
        if new == old {
            return Ok(());
        }
        if new.starts_with(&below(&old)) {
            return Err(DiskError::Invalid);
        }
        match self.nodes.get(&new) {
            Some(_) if !replace => return Err(DiskError::Exists),
            Some(there) if there.is_folder() && !is_folder => return Err(DiskError::IsAFolder),
            Some(there) if !there.is_folder() && is_folder => return Err(DiskError::NotAFolder),
            Some(there) if there.is_folder() => self.remove_folder(who, &new)?,
            Some(_) => self.take(&new),
            None => self.folder_of(&new)?,
        }
        let inside: Vec<String> = self.inside(&below(&old)).map(|(path, _)| path.clone()).collect();
        for path in [&old].into_iter().chain(&inside) {
            if let Some(node) = self.nodes.remove(path) {
                let moved = format!("{new}{}", &path[old.len()..]);
                self.count(path);
                self.count(&moved);
                self.nodes.insert(moved, node);
            }
        }
        Ok(())
    }

    /// Copies a file over another, or to a new one. Its permission bits go with it.
    ///
    /// # Errors
    /// [`DiskError::Full`], and what is said of either path.
    pub fn copy(&mut self, who: Who, from: &str, to: &str, now: Timestamp) -> Result<(), DiskError> {
        let node = self.stat(from)?;
        let (content, mode) = (node.content.clone().ok_or(DiskError::IsAFolder)?, node.mode);
        let present = self
            .stat(to)
            .map_or(0, |node| node.content.as_ref().map_or(0, Content::held));
        if self.held - present + content.held() > BYTES_MAX {
            return Err(DiskError::Full);
        }
        self.create(who, to, mode, false, now)?;
        let to = absolute(to)?;
        let mode = self.stat(&to)?.mode;
        self.put(to, mode, content, now);
        Ok(())
    }

    /// Puts content where OBS or the machine itself writes it, whatever is there.
    pub(super) fn write_whole(
        &mut self,
        path: &str,
        content: Content,
        now: Timestamp,
    ) -> Result<(), DiskError> {
        self.make_folders(Who::Root, parent(path), now)?;
        self.create(Who::Root, path, 0o644, false, now)?;
        if self.held + content.held() > BYTES_MAX {
            return Err(DiskError::Full);
        }
        self.put(absolute(path)?, 0o644, content, now);
        Ok(())
    }

    // ----- what holds -----

    fn count(&mut self, path: &str) {
        self.changes += u64::from(path.ends_with(".json"));
    }

    fn put(&mut self, path: String, mode: u32, content: Content, now: Timestamp) {
        self.held += content.held();
        self.count(&path);
        let node = Node {
            content: Some(content),
            mode,
            modified: now,
        };
        if let Some(old) = self.nodes.insert(path, node) {
            self.held -= old.content.as_ref().map_or(0, Content::held);
        }
    }

    fn take(&mut self, path: &str) {
        self.count(path);
        // The root stays.
        if path != "/"
            && let Some(node) = self.nodes.remove(path)
        {
            self.held -= node.content.as_ref().map_or(0, Content::held);
        }
    }

    /// The path, if this one may change what is there.
    fn writable(&self, who: Who, path: &str) -> Result<String, DiskError> {
        let path = absolute(path)?;
        let is_own = [HOME, "/tmp"]
            .iter()
            .any(|folder| path.starts_with(&below(folder)));
        match who {
            Who::Root if path != "/" => Ok(path),
            Who::User if is_own => Ok(path),
            Who::User if !self.nodes.contains_key(parent(&path)) => Err(DiskError::NotFound),
            Who::User | Who::Root => Err(DiskError::Denied),
        }
    }

    /// Whether something new may be there.
    fn check_room(&self, path: &str) -> Result<(), DiskError> {
        self.folder_of(path)?;
        if name(path).len() > 255 {
            return Err(DiskError::TooLong);
        }
        if self.nodes.len() >= ENTRIES_MAX {
            return Err(DiskError::Full);
        }
        Ok(())
    }

    fn folder_of(&self, path: &str) -> Result<(), DiskError> {
        match self.nodes.get(parent(path)) {
            Some(folder) if folder.is_folder() => Ok(()),
            Some(_) => Err(DiskError::NotAFolder),
            None => Err(DiskError::NotFound),
        }
    }
}
