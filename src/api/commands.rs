//! What clients may ask for, on one path for HTTP and Socket.IO: the same checks, the same answers.

use std::time::Duration;

use super::auth::Caller;
use super::error::ApiError;
use super::extract::{self, WAIT_MAX};
use super::gateway::Gateway;
use super::project;
use super::types::assignment::{ArchiveView, AssignBody, AssignReply, ReleaseBody, ReleaseReply};
use super::types::cleaning::Cleaning;
use super::types::pool::PowerReply;
use crate::actors::coordinator::{Assign, Assigned, CommandError, PowerTurned, Release};
use crate::domain::archive::{Archive, Ending};
use crate::domain::ids::{RequestKey, ShowId, VmId};
use crate::domain::show::Phase;
use crate::domain::state::State;
use crate::domain::vm::Status;

const REGION_CHARS_MAX: usize = 64;
const CAPABILITIES_MAX: usize = 16;

/// Gives the competition a VM, waiting until it is ready for as long as was asked.
///
/// # Errors
/// What the contract lists for assign.
pub async fn assign(
    gateway: &Gateway,
    caller: Caller,
    show: ShowId,
    body: AssignBody,
    key: Option<RequestKey>,
    wait: Option<Duration>,
) -> Result<AssignReply, ApiError> {
    gateway.require_initialized()?;
    let wait = wait.or(body.wait.then_some(WAIT_MAX)).unwrap_or_default();
    let ask = checked_ask(body, caller, key)?;
    let coordinator = gateway.coordinator();
    let mut assigned = coordinator
        .assign(show, ask)
        .await
        .map_err(|error| gateway.refuse(error))?;
    if !assigned.ready
        && !wait.is_zero()
        // With too many waiting already, this one is told at once that its VM is starting.
        && let Ok(_place) = gateway.waits().try_acquire()
    {
        match coordinator.await_ready(&assigned.show, wait).await {
            Ok(ready) => {
                assigned = Assigned {
                    repeated: assigned.repeated,
                    ..ready
                }
            }
            Err(CommandError::TimedOut { .. }) => {}
            Err(error) => return Err(gateway.refuse(error)),
        }
    }
    Ok(assign_reply(gateway, &assigned))
}

fn checked_ask(body: AssignBody, caller: Caller, key: Option<RequestKey>) -> Result<Assign, ApiError> {
    let preferred = body.preferred_vm_id.filter(|id| !id.is_empty());
    let preferred = preferred
        .map(|id| extract::vm_id(&id, "preferredVmId"))
        .transpose()?;
    let region = body.region.filter(|region| !region.is_empty());
    if region
        .as_ref()
        .is_some_and(|region| region.chars().count() > REGION_CHARS_MAX)
    {
        let error = format!("region has at most {REGION_CHARS_MAX} characters");
        return Err(ApiError::field("region", error));
    }
    if body.capabilities.len() > CAPABILITIES_MAX {
        let error = format!("at most {CAPABILITIES_MAX} capabilities may be asked for");
        return Err(ApiError::field("capabilities", error));
    }
    Ok(Assign {
        preferred,
        allow_fallback: body.allow_fallback,
        region,
        capabilities: body.capabilities,
        by: Some(caller.name().to_owned()),
        key,
    })
}

/// The answer to an assign, also sent as `vmAssigned` when a VM becomes ready later.
#[must_use]
pub fn assign_reply(gateway: &Gateway, assigned: &Assigned) -> AssignReply {
    let state = gateway.state();
    let vm = state.vm(&assigned.vm);
    // A VM without an address is of no use yet, however ready it is.
    let reachable = vm.filter(|_| assigned.ready);
    let vm_address = reachable.and_then(|vm| project::vm_address(vm, gateway.reach()));
    let ready = vm_address.is_some();
    AssignReply {
        success: true,
        vm_id: assigned.vm.to_string(),
        instance_id: vm.map(|vm| vm.instance_id().to_string()),
        public_ip: reachable.and_then(|vm| project::public_ip(&vm.instance)),
        vm_address,
        competition_id: assigned.show.to_string(),
        status: if ready { "assigned" } else { "starting" },
        estimated_ready_time: assigned.estimated_ready_at.into(),
        position: (!ready).then_some(assigned.position),
        epoch: assigned.epoch.0,
        repeated: assigned.repeated,
    }
}

/// Gives the competition's VM back; having none is not an error.
///
/// # Errors
/// What the contract lists for release.
pub async fn release(
    gateway: &Gateway,
    caller: Caller,
    show: ShowId,
    body: ReleaseBody,
    key: Option<RequestKey>,
    wait: Option<Duration>,
) -> Result<ReleaseReply, ApiError> {
    gateway.require_initialized()?;
    let before = gateway.state();
    let ask = Release {
        stop_vm: body.stop_vm,
        archive: body.archive_recordings,
        wait,
        by: Some(caller.name().to_owned()),
        key,
    };
    let result = gateway.coordinator().release(show.clone(), ask).await;
    if let Err(CommandError::TimedOut { .. }) = &result
        && let Some(reply) = still_releasing(&gateway.state(), &show)
    {
        return Ok(reply);
    }
    let released = result.map_err(|error| gateway.refuse(error))?;
    let vm = released.vm.as_ref();
    let archive = released.archive.filter(|_| body.archive_recordings);
    // A VM that was terminated meanwhile is still known from before.
    let record = vm.and_then(|vm| gateway.state().vm(vm).or_else(|| before.vm(vm)).cloned());
    Ok(ReleaseReply {
        success: true,
        competition_id: released.show.to_string(),
        vm_id: vm.map(ToString::to_string),
        instance_id: record.map(|vm| vm.instance_id().to_string()),
        status: released.status.map(Status::as_str),
        archived: (body.archive_recordings && vm.is_some()).then(|| is_archived(archive.as_deref())),
        archive: archive.as_deref().map(ArchiveView::from),
        cleaning: released.report.as_deref().map(Cleaning::from),
        message: vm.is_none().then_some("No VM was assigned to this competition"),
        repeated: released.repeated,
        phase: None,
    })
}

/// The answer to a release that takes longer than an answer may.
fn still_releasing(state: &State, show: &ShowId) -> Option<ReleaseReply> {
    let known = state.show(show)?;
    if !matches!(known.phase, Phase::Releasing { .. }) {
        return None;
    }
    let vm = state.vm_of_show(show)?;
    Some(ReleaseReply {
        success: true,
        competition_id: show.to_string(),
        vm_id: Some(vm.id.to_string()),
        instance_id: Some(vm.instance_id().to_string()),
        status: Some(vm.status().as_str()),
        archived: None,
        cleaning: None,
        archive: None,
        message: Some(
            "The VM is still being given back, and that goes on: GET /api/competitions/{compId}/vm shows how far it is. The \
             same request with the same Idempotency-Key waits for its end again",
        ),
        repeated: false,
        phase: Some(known.phase.as_str()),
    })
}

fn is_archived(archive: Option<&Archive>) -> bool {
    matches!(archive.and_then(Archive::ending), Some(Ending::Done { .. }))
}

/// Starts a stopped VM.
///
/// # Errors
/// What the contract lists for start.
pub async fn start_vm(gateway: &Gateway, vm: VmId) -> Result<PowerReply, ApiError> {
    gateway.require_initialized()?;
    let turned = gateway
        .coordinator()
        .start_vm(vm)
        .await
        .map_err(|error| gateway.refuse(error))?;
    let message = format!("VM {} is starting", turned.vm);
    Ok(power_reply(&turned, message, Some("starting")))
}

/// Stops a VM that no competition has.
///
/// # Errors
/// What the contract lists for stop.
pub async fn stop_vm(gateway: &Gateway, vm: VmId) -> Result<PowerReply, ApiError> {
    gateway.require_initialized()?;
    let turned = gateway
        .coordinator()
        .stop_vm(vm)
        .await
        .map_err(|error| gateway.refuse(error))?;
    let message = format!("VM {} is stopping", turned.vm);
    Ok(power_reply(&turned, message, Some("stopping")))
}

#[must_use]
pub fn power_reply(turned: &PowerTurned, message: String, status: Option<&'static str>) -> PowerReply {
    PowerReply {
        success: true,
        vm_id: turned.vm.to_string(),
        instance_id: turned.instance.to_string(),
        message,
        status,
        estimated_ready_time: turned.estimated_ready_at.map(Into::into),
    }
}
