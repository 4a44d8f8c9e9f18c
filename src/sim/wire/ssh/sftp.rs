//! The machine's files over SFTP, version 3 (draft-ietf-secsh-filexfer-02), as OpenSSH's server speaks it.
//!
//! There are no symbolic links. A handle is a path: it follows whatever has that name.

use std::collections::HashMap;
use std::sync::Arc;

use russh_sftp::protocol::{
    Attrs, Data, File, FileAttributes, FileMode, Handle, Name, OpenFlags, Packet, Status, StatusCode, Version,
};
use russh_sftp::server::StatusReply;
use russh_sftp::{de, extensions};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::OwnedSemaphorePermit;

use super::super::machine::Shared;
use crate::domain::time::Timestamp;
use crate::sim::model::machine::disk::{Disk, DiskError, Node, Who, absolute};

/// Open files and folders of one client.
const HANDLES_MAX: usize = 64;
/// Names per answer: a hundred, as OpenSSH.
const NAMES_PER_ANSWER: usize = 100;
/// Bytes per answer, as OpenSSH.
const READ_BYTES_MAX: usize = 256 * 1024;
const POSIX_RENAME: &str = "posix-rename@openssh.com";
/// What an extension is announced with (OpenSSH's PROTOCOL, section 4).
const FIRST: &str = "1";

/// Serves SFTP on a channel until it closes; the place is free then.
pub(super) async fn serve<S>(machine: Arc<Shared>, stream: S, place: OwnedSemaphorePermit)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let client = Client {
        machine,
        handles: HashMap::new(),
        next_handle: 0,
        _place: place,
    };
    russh_sftp::server::run(stream, client).await;
}

#[derive(Debug)]
enum Open {
    File(String),
    /// With the names that were not told yet, the last one first.
    Folder(Vec<File>),
}

struct Client {
    machine: Arc<Shared>,
    handles: HashMap<String, Open>,
    next_handle: u64,
    _place: OwnedSemaphorePermit,
}

/// Why a request fails.
#[derive(Debug)]
enum Refusal {
    Disk(DiskError),
    End,
    BadHandle,
    TooManyHandles,
    Unknown,
}

impl From<DiskError> for Refusal {
    fn from(error: DiskError) -> Self {
        Self::Disk(error)
    }
}

impl From<Refusal> for StatusReply {
    fn from(refusal: Refusal) -> Self {
        // OpenSSH's server tells these apart, and calls everything else a failure (errno_to_portable).
        let code = match refusal {
            Refusal::Disk(DiskError::NotFound | DiskError::NotAFolder) => StatusCode::NoSuchFile,
            Refusal::Disk(DiskError::Denied) => StatusCode::PermissionDenied,
            Refusal::Disk(DiskError::Invalid | DiskError::TooLong) => StatusCode::BadMessage,
            Refusal::Disk(
                DiskError::Exists | DiskError::NotEmpty | DiskError::IsAFolder | DiskError::Full,
            )
            | Refusal::BadHandle
            | Refusal::TooManyHandles => StatusCode::Failure,
            Refusal::End => StatusCode::Eof,
            Refusal::Unknown => StatusCode::OpUnsupported,
        };
        Self::new(code)
    }
}

fn attributes(node: &Node) -> FileAttributes {
    let kind = if node.is_folder() {
        FileMode::DIR
    } else {
        FileMode::REG
    };
    let seconds = u32::try_from(node.modified.0 / 1_000).ok();
    FileAttributes {
        size: Some(node.bytes()),
        uid: Some(1_000),
        gid: Some(1_000),
        permissions: Some(node.mode | kind.bits()),
        atime: seconds,
        mtime: seconds,
        ..FileAttributes::empty()
    }
}

fn done(id: u32) -> Status {
    Status {
        id,
        status_code: StatusCode::Ok,
        error_message: "Success".to_owned(),
        language_tag: String::new(),
    }
}

#[derive(Deserialize)]
struct Names {
    old: String,
    new: String,
}

impl Client {
    fn look<T>(&self, look: impl FnOnce(&Disk) -> Result<T, DiskError>) -> Result<T, Refusal> {
        Ok(self.machine.ask(|model, now| look(model.disk(now)))?)
    }

    fn change<T>(
        &self,
        change: impl FnOnce(&mut Disk, Timestamp) -> Result<T, DiskError>,
    ) -> Result<T, Refusal> {
        Ok(self.machine.change(|model, now| change(model.disk(now), now))?)
    }

    fn open_as(&mut self, id: u32, open: Open) -> Result<Handle, Refusal> {
        if self.handles.len() >= HANDLES_MAX {
            return Err(Refusal::TooManyHandles);
        }
        let handle = self.next_handle.to_string();
        self.next_handle += 1;
        self.handles.insert(handle.clone(), open);
        Ok(Handle { id, handle })
    }

    fn file(&self, handle: &str) -> Result<&str, Refusal> {
        match self.handles.get(handle) {
            Some(Open::File(path)) => Ok(path),
            Some(Open::Folder(_)) | None => Err(Refusal::BadHandle),
        }
    }

    fn set(&self, id: u32, path: &str, attributes: &FileAttributes) -> Result<Status, Refusal> {
        self.change(|disk, now| {
            if let Some(bytes) = attributes.size {
                disk.set_bytes(Who::User, path, bytes, now)?;
            }
            if let Some(mode) = attributes.permissions {
                disk.set_mode(Who::User, path, mode)?;
            }
            // Owners and times are nobody's business here.
            disk.stat(path).map(drop)
        })?;
        Ok(done(id))
    }

    fn attributes(&self, id: u32, path: &str) -> Result<Attrs, Refusal> {
        let attrs = self.look(|disk| disk.stat(path).map(attributes))?;
        Ok(Attrs { id, attrs })
    }
}

impl russh_sftp::server::Handler for Client {
    type Error = Refusal;

    fn unimplemented(&self) -> Refusal {
        Refusal::Unknown
    }

    async fn init(&mut self, _version: u32, _offered: HashMap<String, String>) -> Result<Version, Refusal> {
        let mut version = Version::new();
        for extension in [POSIX_RENAME, extensions::FSYNC] {
            version.extensions.insert(extension.to_owned(), FIRST.to_owned());
        }
        Ok(version)
    }

    async fn open(
        &mut self,
        id: u32,
        path: String,
        flags: OpenFlags,
        attributes: FileAttributes,
    ) -> Result<Handle, Refusal> {
        let mode = attributes.permissions.unwrap_or(0o666) & !0o022;
        let exclusive = flags.contains(OpenFlags::EXCLUDE);
        if flags.contains(OpenFlags::WRITE) {
            self.change(|disk, now| match disk.stat(&path) {
                Ok(node) if node.is_folder() => Err(DiskError::IsAFolder),
                Ok(_) if !exclusive && !flags.contains(OpenFlags::TRUNCATE) => Ok(()),
                Err(DiskError::NotFound) if !flags.contains(OpenFlags::CREATE) => Err(DiskError::NotFound),
                Ok(_) | Err(_) => disk.create(Who::User, &path, mode, exclusive, now),
            })?;
        } else {
            self.look(|disk| disk.read(&path, 0, 0).map(drop))?;
        }
        self.open_as(id, Open::File(path))
    }

    async fn close(&mut self, id: u32, handle: String) -> Result<Status, Refusal> {
        self.handles.remove(&handle).ok_or(Refusal::BadHandle)?;
        Ok(done(id))
    }

    async fn read(&mut self, id: u32, handle: String, offset: u64, bytes: u32) -> Result<Data, Refusal> {
        let path = self.file(&handle)?;
        let bytes = usize::try_from(bytes)
            .unwrap_or(READ_BYTES_MAX)
            .min(READ_BYTES_MAX);
        let data = self.look(|disk| disk.read(path, offset, bytes))?;
        if data.is_empty() && bytes > 0 {
            return Err(Refusal::End);
        }
        Ok(Data { id, data })
    }

    async fn write(
        &mut self,
        id: u32,
        handle: String,
        offset: u64,
        data: Vec<u8>,
    ) -> Result<Status, Refusal> {
        let path = self.file(&handle)?;
        self.change(|disk, now| disk.write(Who::User, path, offset, &data, now))?;
        Ok(done(id))
    }

    async fn lstat(&mut self, id: u32, path: String) -> Result<Attrs, Refusal> {
        self.attributes(id, &path)
    }

    async fn stat(&mut self, id: u32, path: String) -> Result<Attrs, Refusal> {
        self.attributes(id, &path)
    }

    async fn fstat(&mut self, id: u32, handle: String) -> Result<Attrs, Refusal> {
        self.attributes(id, self.file(&handle)?)
    }

    async fn setstat(&mut self, id: u32, path: String, wanted: FileAttributes) -> Result<Status, Refusal> {
        self.set(id, &path, &wanted)
    }

    async fn fsetstat(&mut self, id: u32, handle: String, wanted: FileAttributes) -> Result<Status, Refusal> {
        self.set(id, self.file(&handle)?, &wanted)
    }

    async fn opendir(&mut self, id: u32, path: String) -> Result<Handle, Refusal> {
        let mut names = self.look(|disk| {
            let (dot, inside) = (attributes(disk.stat(&path)?), disk.list(&path)?);
            let dots = [".", ".."].map(|name| File::new(name, dot.clone()));
            let inside = inside
                .iter()
                .map(|(name, node)| File::new(*name, attributes(node)));
            Ok(dots.into_iter().chain(inside).collect::<Vec<_>>())
        })?;
        names.reverse();
        self.open_as(id, Open::Folder(names))
    }

    async fn readdir(&mut self, id: u32, handle: String) -> Result<Name, Refusal> {
        let Some(Open::Folder(names)) = self.handles.get_mut(&handle) else {
            return Err(Refusal::BadHandle);
        };
        let mut files = names.split_off(names.len().saturating_sub(NAMES_PER_ANSWER));
        if files.is_empty() {
            return Err(Refusal::End);
        }
        files.reverse();
        Ok(Name { id, files })
    }

    async fn remove(&mut self, id: u32, path: String) -> Result<Status, Refusal> {
        self.change(|disk, _| disk.remove(Who::User, &path))?;
        Ok(done(id))
    }

    async fn mkdir(&mut self, id: u32, path: String, attributes: FileAttributes) -> Result<Status, Refusal> {
        let mode = attributes.permissions.unwrap_or(0o777) & !0o022;
        self.change(|disk, now| disk.make_folder(Who::User, &path, mode, now))?;
        Ok(done(id))
    }

    async fn rmdir(&mut self, id: u32, path: String) -> Result<Status, Refusal> {
        self.change(|disk, _| disk.remove_folder(Who::User, &path))?;
        Ok(done(id))
    }

    async fn realpath(&mut self, id: u32, path: String) -> Result<Name, Refusal> {
        let path = if path.is_empty() { "." } else { &path };
        let files = vec![File::dummy(absolute(path)?)];
        Ok(Name { id, files })
    }

    async fn rename(&mut self, id: u32, old: String, new: String) -> Result<Status, Refusal> {
        self.change(|disk, _| disk.rename(Who::User, &old, &new, false))?;
        Ok(done(id))
    }

    async fn extended(&mut self, id: u32, request: String, data: Vec<u8>) -> Result<Packet, Refusal> {
        let mut data = bytes::Bytes::from(data);
        match request.as_str() {
            POSIX_RENAME => {
                let names: Names = de::from_bytes(&mut data).map_err(|_| DiskError::Invalid)?;
                self.change(|disk, _| disk.rename(Who::User, &names.old, &names.new, true))?;
            }
            // Everything is written already.
            extensions::FSYNC => {
                let asked: extensions::FsyncExtension =
                    de::from_bytes(&mut data).map_err(|_| DiskError::Invalid)?;
                self.file(&asked.handle)?;
            }
            _ => return Err(Refusal::Unknown),
        }
        Ok(Packet::Status(done(id)))
    }
}
