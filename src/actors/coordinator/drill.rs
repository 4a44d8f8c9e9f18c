//! Deaths on order, as defects would bring them: for drills and simulations.

use super::Coordinator;
use crate::actors::root::Part;
pub use crate::actors::vm::Link;
use crate::domain::ids::{ShowId, VmId};

/// Who is to die. Whoever supervises it does then what it does after any death.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Victim {
    /// A part of the tree; with a supervisor go those below it.
    Part(Part),
    Vm(VmId),
    /// One of the conversations with a VM.
    Link(VmId, Link),
    Show(ShowId),
}

impl Coordinator {
    /// Kills an actor. Whether there was one; for a link, whether its VM has an actor. The gateway and the watch
    /// for stalls are not reached from here.
    #[must_use]
    pub fn kill(&self, victim: &Victim) -> bool {
        let ctx = &self.ctx;
        match victim {
            Victim::Part(Part::Machines) => ctx.machines.kill_all(),
            Victim::Part(Part::Shows) => ctx.shows.kill_all(),
            Victim::Part(Part::Executions) => ctx.executions.kill(),
            Victim::Part(Part::Pool) => ctx.pool.kill(),
            Victim::Part(Part::Cloud) => ctx.cloud.kill(),
            Victim::Part(Part::Stalls | Part::Gateway) => false,
            Victim::Vm(vm) => ctx.machines.kill(vm),
            Victim::Link(vm, link) => ctx.machines.kill_link(vm, *link),
            Victim::Show(show) => ctx.shows.kill(show),
        }
    }

    /// Kills the actor of a VM. Whether it had one.
    #[must_use]
    pub fn kill_vm_actor(&self, vm: &VmId) -> bool {
        self.ctx.machines.kill(vm)
    }

    /// Kills the actor of a show. Whether it had one.
    #[must_use]
    pub fn kill_show_actor(&self, show: &ShowId) -> bool {
        self.ctx.shows.kill(show)
    }

    /// Kills the executions actor. Whether there was one.
    #[must_use]
    pub fn kill_executions_actor(&self) -> bool {
        self.ctx.executions.kill()
    }

    /// Whether the show's actor runs.
    #[must_use]
    pub fn show_actor_is_up(&self, show: &ShowId) -> bool {
        self.ctx.shows.is_up(show)
    }
}
