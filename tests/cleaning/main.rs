//! What a show leaves on a VM is gone before the VM is another's, however the show went and whoever died.

mod cut_off;
mod given_back;
mod own_account;
#[path = "../support/mod.rs"]
mod support;

use support::scene::Scene;
use understudy::actors::coordinator::{Release, Released};
use understudy::domain::cleaning::Report;
use understudy::domain::ids::{ShowId, VmId};
use understudy::domain::studio::Recording;
use understudy::domain::vm::Status;
use understudy::sim::model::machine::disk::{OBS_CONFIG, Who};
use understudy::sim::wire::MachineHandle;

const TEMPORARY: &str = "/tmp/competition-gala";

/// What people leave beside what the stage sets up: another scene collection, a temporary folder, a recording.
fn litter(machine: &MachineHandle) {
    machine.operate(|studio, now| {
        studio.create_collection("Leftover", now).unwrap();
        studio.start_record(now).unwrap();
    });
    machine.files(|disk, now| {
        disk.make_folders(Who::User, &format!("{TEMPORARY}/overlay"), now)
            .unwrap();
    });
}

/// Whether a file of OBS's configuration holds this.
fn holds(machine: &MachineHandle, text: &str) -> bool {
    machine.files(|disk, _| {
        let service = disk.read(
            &format!("{OBS_CONFIG}/basic/profiles/Untitled/service.json"),
            0,
            1 << 20,
        );
        service.is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(text))
    })
}

fn is_pristine(machine: &MachineHandle) {
    machine.operate(|studio, _| {
        assert_eq!(studio.collection_names(), ["Untitled"]);
        assert_eq!(studio.collection().scenes.len(), 1);
        assert!(studio.collection().inputs.is_empty());
        assert_eq!(studio.service().key(), Some(""));
        assert_eq!(studio.recording(), Recording::Off);
    });
    machine.files(|disk, _| assert!(disk.stat(TEMPORARY).is_err(), "temporary files are left"));
}

async fn release(scene: &Scene, show: &ShowId) -> Released {
    let released = scene
        .coordinator()
        .release(show.clone(), Release::default())
        .await;
    released.unwrap()
}

fn report_of(released: &Released) -> &Report {
    released.report.as_deref().expect("it was cleaned")
}

async fn until_status(scene: &Scene, vm: &VmId, status: Status) {
    let what = format!("{vm} {status}");
    scene
        .until(&what, |state| (state.vm(vm)?.status() == status).then_some(()))
        .await;
}
