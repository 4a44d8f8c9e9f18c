//! Spans: what a line of the log, and a step of a trace, belongs to.
//!
//! A command gets its span where it comes in, with the id of its request. From there it goes along by itself: ractor
//! hands the sender's span to whoever handles a message (its feature `message_span_propogation`, which is on by
//! default), and [`task::effect`](super::task) takes it into tasks. What happens without being asked for has no request;
//! a failover has an id all the same.
//!
//! Spans of commands and failovers are made at the level of errors, so that no filter which lets a line pass hides what
//! it belongs to. Without a subscriber none of this costs more than a look at a flag.

use tracing::{Span, debug_span, error_span, info_span};

use crate::domain::failover::{Cause, Evidence};
use crate::domain::ids::{ShowId, VmId};

pub(super) fn of_vm(vm: &VmId) -> Span {
    info_span!("vm", %vm)
}

pub(super) fn of_show(show: &ShowId) -> Span {
    info_span!("show", %show)
}

/// At the level of debugging, since it names nothing: for traces.
pub(super) fn of_pool() -> Span {
    debug_span!("pool")
}

/// A link to a machine, for as long as it is kept. It belongs to no command.
pub(super) fn of_link(link: &'static str, vm: &VmId) -> Span {
    info_span!(parent: None, "link", link, %vm)
}

/// A failover, from its decision to its end. One that an operator ordered belongs to that request; one that begins by
/// itself has an id instead, which is the same after a restart.
pub(super) fn of_failover(show: &ShowId, cause: Cause, evidence: &Evidence) -> Span {
    let id = format!("failover-{show}-{}", evidence.decided_at.0);
    match cause {
        Cause::Forced => error_span!("failover", failover = id, %show),
        Cause::MachineLost | Cause::StudioLost | Cause::OutputSilent => {
            error_span!(parent: None, "failover", request_id = id, %show)
        }
    }
}
