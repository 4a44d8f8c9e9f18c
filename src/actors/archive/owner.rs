//! Whose archive it is: a show's that is being released, or a VM's on which a show has left recordings.
//!
//! The same is done for both. What differs is where it stands in the ledger, and as whose fact it is recorded.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::actors::context::Context;
use crate::domain::archive::{Archive, Event as Fact};
use crate::domain::event::Event;
use crate::domain::ids::{Epoch, ShowId, VmId};
use crate::domain::time::Timestamp;
use crate::domain::vm::Occupancy;
use crate::domain::{show, vm};
use crate::infra::ledger::CommitError;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::actors) enum Owner {
    /// A show that asked for it in this epoch.
    Show { show: ShowId, epoch: Epoch },
    /// A VM; by the folder of the archive, which no other goes to.
    Vm { vm: VmId, folder: String },
}

/// An archive that has not ended.
pub(super) struct UnderWay {
    pub show: ShowId,
    pub vm: VmId,
    pub archive: Arc<Archive>,
    /// See [`crate::domain::unarchived::Unarchived::until`].
    pub until: Option<Timestamp>,
    /// A show has the VM that has nothing to do with it.
    pub is_in_the_way: bool,
}

impl Owner {
    /// The archive, if there is one under way.
    pub(super) fn under_way(&self, ctx: &Context) -> Option<UnderWay> {
        let state = ctx.state();
        let found = match self {
            Self::Show { show, epoch } => {
                let known = state.show(show).filter(|show| show.epoch == *epoch)?;
                UnderWay {
                    show: show.clone(),
                    vm: known.vm.clone()?,
                    archive: known.archive.clone()?,
                    until: None,
                    is_in_the_way: false,
                }
            }
            Self::Vm { vm, folder } => {
                let known = state.vm(vm)?;
                let mut left = known.unarchived.iter();
                let left = left.find(|left| left.archive.folder == *folder)?;
                UnderWay {
                    show: left.show.clone(),
                    vm: vm.clone(),
                    archive: Arc::new(left.archive.clone()),
                    until: left.until,
                    is_in_the_way: known.occupancy != Occupancy::Free,
                }
            }
        };
        found.archive.ending().is_none().then_some(found)
    }

    /// Where it gets a place. A show that is being released, and whoever waits for that, does not wait for what VMs try
    /// again on their own account.
    pub(super) fn places<'a>(&self, ctx: &'a Context) -> &'a Semaphore {
        match self {
            Self::Show { .. } => &ctx.archives,
            Self::Vm { .. } => &ctx.archives_of_vms,
        }
    }

    /// A recording may still run on the VM that is to be archived.
    pub(super) fn may_record(&self) -> bool {
        match self {
            Self::Show { .. } => true,
            // It was cleaned since, or is going to be; and what runs by now would be somebody else's.
            Self::Vm { .. } => false,
        }
    }

    /// Records a fact about it.
    pub(super) async fn note(&self, ctx: &Context, event: Fact) -> Result<(), CommitError> {
        let event = match self {
            Self::Show { show, epoch } => {
                let epoch = *epoch;
                Event::show(show, show::Event::Archive { epoch, event })
            }
            Self::Vm { vm, folder } => {
                let folder = folder.clone();
                Event::vm(vm, vm::Event::Archive { folder, event })
            }
        };
        ctx.commit(vec![event]).await.map(drop)
    }
}
