//! The recordings of a show that gives its VM back: archived once the VM is silent, and before anything else is done
//! to it.

use std::sync::Arc;

use super::release::Unreleased;
use super::{Message, State, Task};
use crate::actors::archive::{self, Owner};
use crate::actors::coordinator::CommandError;
use crate::actors::mailbox::ActorRef;
use crate::domain::archive::Event as Archived;
use crate::domain::ids::VmId;
use crate::domain::show::{Event as Fact, Show};
use crate::domain::unarchived::Unarchived;

impl State {
    /// What is recorded when a show begins to give this VM back and its recordings are to be kept.
    pub(super) fn archive_asked(&self, show: &Show, vm: &VmId) -> Result<Fact, CommandError> {
        let options = &self.ctx.options.archive;
        let bucket = options
            .bucket
            .clone()
            .filter(|_| self.ctx.world.archive.is_some());
        let bucket = bucket.ok_or(CommandError::NoArchive)?;
        let state = self.ctx.state();
        let assigned_at = state.vm(vm).and_then(|vm| vm.assigned_at);
        let event = Archived::Asked {
            bucket,
            folder: folder(&options.prefix, show, vm, self.ctx.now().0),
            since: assigned_at.or(show.assigned_at).unwrap_or_default(),
        };
        let epoch = show.epoch;
        Ok(Fact::Archive { epoch, event })
    }

    /// Archives its recordings; [`Message::Archived`] says when the ledger has how that ended.
    pub(super) fn archive(&mut self, me: &ActorRef<Message>, release: Unreleased) {
        let (ctx, me, show) = (Arc::clone(&self.ctx), me.clone(), self.id.clone());
        self.turning = Some(Task::spawn(async move {
            let epoch = release.epoch;
            let result = archive::run(&ctx, &Owner::Show { show, epoch }).await;
            let release = Box::new(release);
            let _ = me.cast(Message::Archived { release, result });
        }));
    }

    /// What is wrong with its VM, if recordings that were to be kept are still on it: the show's, or of one before it.
    pub(super) fn not_archived(&self, vm: &VmId) -> Option<String> {
        let own = Unarchived::of(&self.id, self.show().archive.as_deref(), self.ctx.now());
        let state = self.ctx.state();
        let before = || state.vm(vm).and_then(|vm| vm.archive_fault());
        own.map(|left| left.fault()).or_else(before)
    }
}

/// Where its recordings go: `<prefix>/<show>/<VM>/<milliseconds>/`.
fn folder(prefix: &str, show: &Show, vm: &VmId, now_ms: u64) -> String {
    let prefix = if prefix.is_empty() {
        String::new()
    } else {
        format!("{prefix}/")
    };
    format!("{prefix}{}/{vm}/{now_ms}/", show.id)
}
