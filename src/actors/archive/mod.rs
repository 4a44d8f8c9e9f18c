//! Archives what a VM has recorded: of a show that is being released, or of one that has left its recordings on it.
//!
//! ```text
//! stop recording ─► look twice ─► per recording: upload ─► verify ─► [kept] ─► remove ─► [removed] ─► ... ─► [done]
//!                       ▲                  │ failed: again after a pause, from where it stands, until the deadline
//!                       └──────────────────┘                                                       ─► [failed]
//! ```
//!
//! It owns no state: what has arrived is in the ledger after every part, and [`run`] goes on from there, whichever
//! coordinator ran it before. It removes nothing from the VM but what the archive itself says it has, and that only if
//! it is still the file that was sent. Whether and when a show is given back is not decided here.

mod owner;
mod progress;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::StreamExt as _;

pub(in crate::actors) use owner::Owner;
use owner::UnderWay;
pub use progress::Progress;
use progress::Teller;

use crate::actors::context::Context;
use crate::actors::news::Level;
use crate::domain::archive::{
    Archive, Ending, Event as Fact, Found, Recording, Stage, StoredPart, Upload, key, select,
};
use crate::domain::ids::{ShowId, VmId};
use crate::domain::time::{Timestamp, millis};
use crate::domain::vm::Power;
use crate::infra::archive::{self, Store, Target, Transmission, transmit};
use crate::infra::ledger::CommitError;
use crate::infra::ssh;
use crate::infra::ssh::files::{self, Entry, Files, Kind};

/// Between two looks at the recordings: one that is still being written differs by then.
const LOOKS_APART: Duration = Duration::from_secs(1);
const PAUSE_INITIAL: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Limit on throwing away parts that nobody needs any more; S3 can be told to do it by itself as well.
const ABORT: Duration = Duration::from_secs(20);

/// Why recordings are not archived yet, or never will be.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("the VM has left the pool")]
    Gone,
    #[error("the VM is {0}, so its recordings cannot be read; they are on its disk")]
    Off(&'static str),
    #[error("a show has the VM")]
    Occupied,
    #[error("no bucket is configured any more (archive.bucket)")]
    NoStore,
    #[error("there is no SSH connection to the VM")]
    NoShell,
    #[error("the VM's files cannot be reached: {0}")]
    Shell(ssh::Error),
    #[error("{0}")]
    Files(#[from] files::Error),
    #[error("{name} is still being written")]
    StillWritten { name: String },
    #[error("{0}")]
    Store(#[from] archive::Error),
    #[error("{name} did not arrive: {error}")]
    Transmit {
        name: String,
        error: archive::TransmitError,
    },
    #[error("the ledger did not take what has arrived: {0}")]
    Ledger(#[from] CommitError),
}

impl Error {
    /// Whether nothing that may happen within the deadline can help.
    fn is_final(&self) -> bool {
        matches!(self, Self::Gone | Self::Off(_) | Self::Occupied)
    }
}

/// Goes on with an archive until the ledger has its ending. It ends early, to be run again later, only if the ledger takes
/// nothing; where none is under way, it does nothing.
///
/// # Errors
/// Why the ending could not be recorded.
pub(in crate::actors) async fn run(ctx: &Arc<Context>, owner: &Owner) -> Result<(), String> {
    let mut pause = PAUSE_INITIAL;
    let mut told = None;
    loop {
        let Some(now) = owner.under_way(ctx) else {
            return Ok(());
        };
        let mut pass = Pass::new(ctx, owner, &now);
        let ends_at = now.archive.asked_at + ctx.options.archive.deadline;
        let left = ends_at.since(ctx.now());
        let outcome = tokio::time::timeout(left, pass.run()).await;
        let ending = match outcome {
            Ok(Ok(older)) => Ending::Done { older },
            Ok(Err(error)) if !error.is_final() && ctx.now() < ends_at => {
                let reason = error.to_string();
                let (show, vm) = (&now.show, &now.vm);
                tracing::warn!(%show, %vm, reason, ?pause, "recordings are not archived yet; trying again");
                if told.as_ref() != Some(&reason) {
                    alert(ctx, &now, Level::Warning, "Archive waits", &reason);
                }
                told = Some(reason);
                tokio::time::sleep(pause.min(left)).await;
                pause = (pause * 2).min(PAUSE_MAX);
                continue;
            }
            Ok(Err(error)) => failed(error.to_string()),
            Err(_) => failed(told.clone().unwrap_or_else(|| {
                let limit = ctx.options.archive.deadline;
                format!("it took longer than {} s (archive.deadline)", limit.as_secs())
            })),
        };
        if let Ending::Failed { reason } = &ending {
            pass.abandon().await;
            alert(ctx, &now, Level::Critical, "Recordings not archived", reason);
        }
        let recorded = pass.note(Fact::Ended { ending }).await;
        ctx.board.post_archive(&now.vm, None);
        return recorded.map_err(|error| error.to_string());
    }
}

fn failed(reason: String) -> Ending {
    Ending::Failed { reason }
}

fn alert(ctx: &Context, now: &UnderWay, level: Level, title: &str, reason: &str) {
    let UnderWay {
        show, vm, archive, ..
    } = now;
    let what = match &archive.stage {
        Stage::Uploading(Upload { recording, .. }) | Stage::Kept { recording } => recording.name.as_str(),
        Stage::Looking | Stage::Ended(_) => "the recordings",
    };
    let text = format!(
        "{what} of show {show} on {vm} for bucket {}, folder {}: {reason}; what is not verified there is untouched on the VM, \
         whose record says when it is tried again",
        archive.bucket, archive.folder
    );
    let source = format!("archive-{show}");
    ctx.alert(level, source, title, text, Some(show), Some(vm));
}

/// One attempt.
struct Pass<'a> {
    ctx: &'a Arc<Context>,
    owner: &'a Owner,
    show: ShowId,
    vm: VmId,
    until: Option<Timestamp>,
    teller: Teller,
    progress: Progress,
}

impl<'a> Pass<'a> {
    fn new(ctx: &'a Arc<Context>, owner: &'a Owner, now: &UnderWay) -> Self {
        let UnderWay {
            show, vm, archive, ..
        } = now;
        Self {
            ctx,
            owner,
            show: show.clone(),
            vm: vm.clone(),
            until: now.until,
            teller: Teller::new(ctx),
            progress: Progress {
                show: show.clone(),
                vm: vm.clone(),
                file: None,
                bytes: archive.bytes,
                total_bytes: archive.bytes,
                files: archive.files,
                total_files: archive.files,
            },
        }
    }

    /// Archives everything, and says how many recordings of others it left alone.
    async fn run(&mut self) -> Result<u32, Error> {
        // The semaphores are never closed. Their places bound the memory that all archives together take.
        let _place = self.owner.places(self.ctx).acquire().await;
        let power = self.ctx.state().vm(&self.vm).map(|vm| vm.power);
        match power.ok_or(Error::Gone)? {
            Power::Ready | Power::Booting | Power::Starting { .. } => {}
            Power::Stopped => return Err(Error::Off("off")),
            Power::Stopping { .. } => return Err(Error::Off("being stopped")),
        }
        let store = self.ctx.world.archive.clone().ok_or(Error::NoStore)?;
        let shell = self.ctx.machines.shell(&self.vm).await.ok_or(Error::NoShell)?;
        let files = shell.files().await.map_err(Error::Shell)?;
        if self.owner.may_record() {
            self.stop_recording().await;
        }
        loop {
            let Some(now) = self.owner.under_way(self.ctx) else {
                // Somebody else has ended it; what he says counts.
                return Ok(0);
            };
            if now.is_in_the_way {
                return Err(Error::Occupied);
            }
            let archive = now.archive;
            match &archive.stage {
                Stage::Kept { recording } => self.remove(files.as_ref(), recording).await?,
                Stage::Uploading(upload) => self.upload(&store, &files, &archive, upload).await?,
                Stage::Looking => {
                    let older = self.begin_next(store.as_ref(), files.as_ref(), &archive).await?;
                    if let Some(older) = older {
                        return Ok(older);
                    }
                }
                Stage::Ended(_) => return Ok(0),
            }
        }
    }

    async fn note(&self, fact: Fact) -> Result<(), CommitError> {
        self.owner.note(self.ctx, fact).await
    }

    /// A studio that cannot be asked records nothing, or it shows: then its file grows.
    async fn stop_recording(&self) {
        let Some(studio) = self.ctx.machines.studio(&self.vm).await else {
            return;
        };
        if let Err(error) = studio.stop_recording().await {
            tracing::warn!(vm = %self.vm, %error, "its recording could not be stopped; looking whether it grows");
        }
    }

    /// Begins the upload of the oldest recording. If there is none left: how many were left alone.
    async fn begin_next(
        &mut self,
        store: &dyn Store,
        files: &dyn Files,
        archive: &Archive,
    ) -> Result<Option<u32>, Error> {
        let selection = select(&self.look(files).await?, archive.since, self.until);
        let Some(next) = selection.recordings.first() else {
            return Ok(Some(selection.older));
        };
        tokio::time::sleep(LOOKS_APART).await;
        let again = select(&self.look(files).await?, archive.since, self.until).recordings;
        if again.first() != Some(next) {
            let name = next.name.clone();
            return Err(Error::StillWritten { name });
        }
        let total = again.iter().fold(0_u64, |sum, one| sum.saturating_add(one.bytes));
        self.progress.total_bytes = archive.bytes.saturating_add(total);
        self.progress.total_files = archive
            .files
            .saturating_add(u32::try_from(again.len()).unwrap_or(u32::MAX));
        let key = key(&archive.folder, &next.name);
        let upload_id = store.begin(&archive.bucket, &key).await?;
        let upload = Upload::new(next.clone(), key, upload_id, self.ctx.options.archive.part_bytes);
        let target = target(archive, &upload);
        if let Err(error) = self.note(Fact::UploadBegan { upload }).await {
            abort(store, &target).await;
            return Err(error.into());
        }
        Ok(None)
    }

    async fn look(&self, files: &dyn Files) -> Result<Vec<Found>, Error> {
        let folder = &self.ctx.options.archive.recordings_path;
        let entries = match files.list(folder).await {
            Ok(entries) => entries,
            // Nothing was ever recorded there.
            Err(files::Error::NotFound { .. }) => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        let regular = entries.into_iter().filter(|entry| entry.kind == Kind::File);
        Ok(regular.map(found).collect())
    }

    fn path(&self, name: &str) -> String {
        format!(
            "{}/{name}",
            self.ctx.options.archive.recordings_path.trim_end_matches('/')
        )
    }

    /// Whether a recording is still there as it was.
    async fn is_there(&self, files: &dyn Files, recording: &Recording) -> Result<bool, Error> {
        // A list, since a path that is looked at is followed if it is a link.
        let found = self.look(files).await?;
        let same = |found: &Found| {
            found.name == recording.name
                && found.bytes == recording.bytes
                && found.modified == Some(recording.modified)
        };
        Ok(found.iter().any(same))
    }

    /// Sends what is missing of an upload, and verifies the whole.
    async fn upload(
        &mut self,
        store: &Arc<dyn Store>,
        files: &Arc<dyn Files>,
        archive: &Archive,
        upload: &Upload,
    ) -> Result<(), Error> {
        let target = target(archive, upload);
        if !self.is_there(files.as_ref(), &upload.recording).await? {
            let reason = "the file is not what it was when its upload began";
            return self.drop_upload(store.as_ref(), upload, &target, reason).await;
        }
        if !upload.is_sent() {
            match store.parts(&target).await {
                Ok(parts) => {
                    let there = |number| {
                        let part = parts.iter().find(|part| u64::from(part.number) == number)?;
                        Some((part.bytes, part.checksum.clone()))
                    };
                    if !upload.is_confirmed_by(there) {
                        let reason = "the archive has other parts than were sent";
                        return self.drop_upload(store.as_ref(), upload, &target, reason).await;
                    }
                }
                Err(archive::Error::NoSuchUpload { .. }) => {
                    let reason = "the archive has forgotten it";
                    return self.drop_upload(store.as_ref(), upload, &target, reason).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
        let stored = self.send(store, files, archive, upload, &target).await?;
        match store.finish(&target, &stored, upload.recording.bytes).await {
            Ok(()) => {
                let upload_id = upload.upload_id.clone();
                Ok(self.note(Fact::Kept { upload_id }).await?)
            }
            Err(error @ (archive::Error::Corrupt { .. } | archive::Error::NoSuchUpload { .. })) => {
                self.drop_upload(store.as_ref(), upload, &target, &error.to_string())
                    .await?;
                Err(error.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Sends the missing parts, and gives all of them.
    async fn send(
        &mut self,
        store: &Arc<dyn Store>,
        files: &Arc<dyn Files>,
        archive: &Archive,
        upload: &Upload,
        target: &Target,
    ) -> Result<Vec<StoredPart>, Error> {
        let mut stored = upload.stored.clone();
        self.progress.file = Some(upload.recording.name.clone());
        self.arrived(archive, upload, stored.len());
        self.teller.tell(self.progress.clone());
        if upload.is_sent() {
            return Ok(stored);
        }
        let mut parts = transmit(Transmission {
            store: Arc::clone(store),
            files: Arc::clone(files),
            path: self.path(&upload.recording.name),
            target: target.clone(),
            upload: upload.clone(),
        });
        while let Some(part) = parts.next().await {
            let (number, part) = part.map_err(|error| Error::Transmit {
                name: upload.recording.name.clone(),
                error,
            })?;
            stored.push(part.clone());
            let upload_id = upload.upload_id.clone();
            self.note(Fact::PartStored {
                upload_id,
                number,
                part,
            })
            .await?;
            self.arrived(archive, upload, stored.len());
            self.teller.step(self.progress.clone());
        }
        Ok(stored)
    }

    fn arrived(&mut self, archive: &Archive, upload: &Upload, parts: usize) {
        let sent = upload.offset_of(parts as u64 + 1).min(upload.recording.bytes);
        self.progress.bytes = archive.bytes.saturating_add(sent);
        // Whoever goes on with an upload has not looked at what else there is.
        let least = archive.bytes.saturating_add(upload.recording.bytes);
        self.progress.total_bytes = self.progress.total_bytes.max(least);
        self.progress.total_files = self.progress.total_files.max(archive.files + 1);
    }

    /// Removes from the VM what is kept, unless something else is there under its name by now.
    async fn remove(&mut self, files: &dyn Files, recording: &Recording) -> Result<(), Error> {
        if self.is_there(files, recording).await? {
            match files.remove(&self.path(&recording.name)).await {
                Ok(()) | Err(files::Error::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let name = recording.name.clone();
        self.note(Fact::Removed { name }).await?;
        self.progress.files += 1;
        self.progress.file = None;
        self.teller.tell(self.progress.clone());
        Ok(())
    }

    async fn drop_upload(
        &self,
        store: &dyn Store,
        upload: &Upload,
        target: &Target,
        reason: &str,
    ) -> Result<(), Error> {
        tracing::warn!(show = %self.show, vm = %self.vm, key = upload.key, reason, "the upload begins again");
        abort(store, target).await;
        let (upload_id, reason) = (upload.upload_id.clone(), reason.to_owned());
        Ok(self.note(Fact::UploadDropped { upload_id, reason }).await?)
    }

    /// Throws away what has arrived of an upload that nobody goes on with.
    async fn abandon(&self) {
        let Some(now) = self.owner.under_way(self.ctx) else {
            return;
        };
        if let (Stage::Uploading(upload), Some(store)) = (&now.archive.stage, &self.ctx.world.archive) {
            abort(store.as_ref(), &target(&now.archive, upload)).await;
        }
    }
}

fn target(archive: &Archive, upload: &Upload) -> Target {
    Target {
        bucket: archive.bucket.clone(),
        key: upload.key.clone(),
        upload_id: upload.upload_id.clone(),
    }
}

/// Parts that stay cost money, no more.
async fn abort(store: &dyn Store, target: &Target) {
    match tokio::time::timeout(ABORT, store.abort(target)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(key = target.key, %error, "parts stay in the bucket"),
        Err(_) => tracing::warn!(
            key = target.key,
            "parts stay in the bucket: they could not be removed in time"
        ),
    }
}

fn found(entry: Entry) -> Found {
    let since_epoch = |at: SystemTime| at.duration_since(UNIX_EPOCH).ok();
    Found {
        name: entry.name,
        bytes: entry.bytes,
        modified: entry
            .modified
            .and_then(since_epoch)
            .map(|age| Timestamp(millis(age))),
    }
}
