//! A file on its way to the machine: under another name until it is whole.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use super::files::DirectFiles;
use crate::infra::ssh::files::{Error, Sink};
use crate::sim::model::machine::disk::Who;

pub(super) struct DirectUpload {
    files: Arc<DirectFiles>,
    path: String,
    /// `None` once it is in its place.
    part: Option<String>,
    sent: u64,
    _place: OwnedSemaphorePermit,
}

impl DirectUpload {
    pub(super) async fn start(
        files: Arc<DirectFiles>,
        path: &str,
        mode: u32,
        place: OwnedSemaphorePermit,
    ) -> Result<Self, Error> {
        let part = format!("{path}.{:016x}.part", files.number());
        let made = files.ask("write", &part, move |disk, part, now| {
            disk.create(Who::User, part, mode & !0o022, true, now)
        });
        made.await?;
        Ok(Self {
            files,
            path: path.to_owned(),
            part: Some(part),
            sent: 0,
            _place: place,
        })
    }

    fn part(&self) -> Result<String, Error> {
        self.part.clone().ok_or_else(|| Error::Lost {
            path: self.path.clone(),
        })
    }
}

#[async_trait]
impl Sink for DirectUpload {
    async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        let (part, offset) = (self.part()?, self.sent);
        self.sent += bytes.len() as u64;
        self.files
            .ask("write", &part, move |disk, part, now| {
                disk.write(Who::User, part, offset, &bytes, now)
            })
            .await
    }

    async fn finish(&mut self) -> Result<u64, Error> {
        let part = self.part()?;
        self.files
            .ask("put a new file in place of", &self.path, move |disk, path, _| {
                disk.rename(Who::User, &part, path, true)
            })
            .await?;
        self.part = None;
        Ok(self.sent)
    }
}

impl Drop for DirectUpload {
    fn drop(&mut self) {
        if let Some(part) = self
            .part
            .take()
            .filter(|_| tokio::runtime::Handle::try_current().is_ok())
        {
            self.files.leave(part);
        }
    }
}
