//! A VM's files: what is in a folder, one from it, one to it.
//!
//! Only below the folders of [`ExecutionOptions::file_roots`](crate::actors::executions::ExecutionOptions::file_roots),
//! and the machine itself is asked where a path leads before it is touched, so that a link does not lead out. Between
//! that answer and the next request the machine could still be changed, by somebody who can change it anyway.

use std::sync::Arc;

use super::{CommandError, Coordinator};
use crate::actors::executions::Ticket;
use crate::actors::executions::run::ssh_failed;
use crate::actors::executions::transfer::{Admitted, Download, FileError, Upload};
use crate::domain::execution::Deed;
use crate::domain::ids::VmId;
use crate::domain::unix::AbsolutePath;
use crate::infra::ssh::files::{self, Files, Kind};
pub use crate::infra::ssh::files::{Entry, Kind as EntryKind};
use crate::infra::ssh::{Error, Passages};

impl Coordinator {
    /// What is in a folder of a VM.
    ///
    /// # Errors
    /// [`CommandError`].
    pub async fn list_files(
        &self,
        vm: VmId,
        path: AbsolutePath,
        by: String,
    ) -> Result<Vec<Entry>, CommandError> {
        let deed = Deed::List { path: path.clone() };
        let (files, admitted) = self.admit_file(vm, path, by, deed).await?;
        let listed = async {
            let real = self.folder(&admitted.vm, &*files, &admitted.path).await?;
            let listed = files.list(real.as_str()).await;
            listed.map_err(|error| FileError::of(&admitted.vm, error))
        };
        match listed.await {
            Ok(entries) => {
                let reason = format!("{} entries", entries.len());
                let ending = crate::domain::execution::Ending::Closed { reason };
                admitted.ticket.end(ending, 0).await;
                Ok(entries)
            }
            Err(error) => Err(refused(admitted.ticket, error).await),
        }
    }

    /// Reads a file of a VM, all of it or from this byte on.
    ///
    /// # Errors
    /// [`CommandError`]. What happens on the way is told by the download.
    pub async fn download(
        &self,
        vm: VmId,
        path: AbsolutePath,
        from: Option<u64>,
        by: String,
    ) -> Result<Download, CommandError> {
        let first = from.unwrap_or(0);
        let deed = Deed::Download {
            path: path.clone(),
            from: first,
        };
        let (files, admitted) = self.admit_file(vm, path, by, deed).await?;
        let vm = admitted.vm.clone();
        let opened = async {
            let real = self.real(&vm, &*files, &admitted.path).await?;
            let path = admitted.path.to_string();
            let found = files.stat(real.as_str()).await;
            let found = found.map_err(|error| FileError::of(&vm, error))?;
            let (wanted, bytes, vm) = ("a file", found.bytes, vm.clone());
            match found.kind {
                Kind::File => match from {
                    // A range has at least one byte (RFC 9110, section 14.1.2).
                    Some(from) if from >= bytes => {
                        return Err(FileError::PastTheEnd {
                            vm,
                            path,
                            from,
                            bytes,
                        });
                    }
                    Some(_) | None => {}
                },
                Kind::Folder | Kind::Link | Kind::Other => {
                    return Err(FileError::WrongKind { vm, path, wanted });
                }
            }
            let reading = Arc::clone(&files).read(real.as_str(), first).await;
            reading.map_err(|error| FileError::of(&vm, error))
        };
        match opened.await {
            Ok(reading) => Ok(admitted.download(reading, first)),
            Err(error) => Err(refused(admitted.ticket, error).await),
        }
    }

    /// Begins to write a file of a VM, with these permission bits. `bytes_total` is for who is told how far it is.
    ///
    /// # Errors
    /// [`CommandError`]. What happens on the way is told by the upload.
    pub async fn upload(
        &self,
        vm: VmId,
        path: AbsolutePath,
        mode: u32,
        bytes_total: Option<u64>,
        by: String,
    ) -> Result<Upload, CommandError> {
        let bytes_max = self.ctx.options.executions.upload_bytes_max;
        if bytes_total.is_some_and(|bytes| bytes > bytes_max) {
            return Err(FileError::TooLarge { max: bytes_max }.into());
        }
        let deed = Deed::Upload { path: path.clone() };
        let (files, admitted) = self.admit_file(vm, path, by, deed).await?;
        let vm = admitted.vm.clone();
        let opened = async {
            let is_folder = || FileError::IsFolder {
                vm: vm.clone(),
                path: admitted.path.to_string(),
            };
            // A link at its place is replaced itself; where its folder is must be known.
            let (Some(folder), Some(name)) = (admitted.path.parent(), admitted.path.file_name()) else {
                return Err(is_folder());
            };
            // Its folder is not below a root, so that would be what is wrong.
            if self.is_root(&admitted.path) {
                return Err(is_folder());
            }
            let real = self.folder(&vm, &*files, &folder).await?;
            let target = format!("{}/{name}", real.as_str().trim_end_matches('/'));
            match files.stat(&target).await {
                Ok(found) if found.kind == Kind::Folder => return Err(is_folder()),
                Ok(_) | Err(files::Error::NotFound { .. }) => {}
                Err(error) => return Err(FileError::of(&vm, error)),
            }
            let writing = Arc::clone(&files).write(&target, mode).await;
            writing.map_err(|error| FileError::of(&vm, error))
        };
        match opened.await {
            Ok(writing) => Ok(admitted.upload(writing, bytes_total, bytes_max)),
            Err(error) => Err(refused(admitted.ticket, error).await),
        }
    }

    /// A VM's files, and the right to do this with them.
    async fn admit_file(
        &self,
        vm: VmId,
        path: AbsolutePath,
        by: String,
        deed: Deed,
    ) -> Result<(Arc<dyn Files>, Admitted), CommandError> {
        let roots = &self.ctx.options.executions.file_roots;
        // A file is moved into a root, but a root is not replaced by one.
        if !roots.iter().any(|root| path.is_within(root)) {
            let roots: Vec<&str> = roots.iter().map(AbsolutePath::as_str).collect();
            return Err(FileError::OutsideRoots {
                path: path.to_string(),
                roots: roots.join(", "),
            }
            .into());
        }
        let (session, ticket) = self.admit(&vm, by, deed, false).await?;
        match open(&*session).await {
            Ok(files) => {
                let ctx = Arc::clone(&self.ctx);
                Ok((
                    files,
                    Admitted {
                        ctx,
                        vm,
                        path,
                        ticket,
                    },
                ))
            }
            Err(Error::Busy) => Err(refused(ticket, FileError::Busy { vm }).await),
            Err(error) => {
                let message = error.to_string();
                ssh_failed(&self.ctx, &vm, &message);
                Err(refused(ticket, FileError::Lost { vm, message }).await)
            }
        }
    }

    fn is_root(&self, path: &AbsolutePath) -> bool {
        let roots = &self.ctx.options.executions.file_roots;
        roots
            .iter()
            .any(|root| path.is_within(root) && root.is_within(path))
    }

    /// As [`Coordinator::real`], of a folder that is there: a server says of a missing one where it would be, and of a
    /// file that is listed, or has another below it, that it does not exist.
    async fn folder(
        &self,
        vm: &VmId,
        files: &dyn Files,
        path: &AbsolutePath,
    ) -> Result<AbsolutePath, FileError> {
        let real = self.real(vm, files, path).await?;
        let (vm, path) = (vm.clone(), path.to_string());
        match files.stat(real.as_str()).await {
            Ok(found) if found.kind == Kind::Folder => Ok(real),
            Ok(_) => Err(FileError::WrongKind {
                vm,
                path,
                wanted: "a folder",
            }),
            Err(files::Error::NotFound { .. }) => Err(FileError::NotFound { vm, path }),
            Err(error) => Err(FileError::of(&vm, error)),
        }
    }

    /// Where a path leads on the machine, if that is below one of the folders, wherever these lead.
    async fn real(
        &self,
        vm: &VmId,
        files: &dyn Files,
        path: &AbsolutePath,
    ) -> Result<AbsolutePath, FileError> {
        let real = canonical(vm, files, path).await?;
        for root in &self.ctx.options.executions.file_roots {
            match canonical(vm, files, root).await {
                Ok(root) if real.is_within(&root) => return Ok(real),
                // A machine need not have all of them.
                Ok(_) | Err(FileError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Err(FileError::LeadsOut {
            vm: vm.clone(),
            path: path.to_string(),
            real: real.to_string(),
        })
    }
}

async fn open(session: &dyn Passages) -> Result<Arc<dyn Files>, Error> {
    session.files().await
}

async fn canonical(vm: &VmId, files: &dyn Files, path: &AbsolutePath) -> Result<AbsolutePath, FileError> {
    let real = files.real_path(path.as_str()).await;
    let real = real.map_err(|error| FileError::of(vm, error))?;
    AbsolutePath::new(&real).map_err(|error| FileError::Machine {
        vm: vm.clone(),
        message: format!("{path} leads to a path that cannot be used: {error}"),
    })
}

/// Writes down that it was not begun.
async fn refused(ticket: Ticket, error: FileError) -> CommandError {
    ticket.end(error.ending(), 0).await;
    error.into()
}
