use super::*;
use crate::sim::model::fault::{Fault, FaultKind};

const T0: Timestamp = Timestamp(1_000_000);
/// Long after everything has come up.
const UP: u64 = 10_000;

fn at(ms: u64) -> Timestamp {
    T0 + Duration::from_millis(ms)
}

fn machine() -> Machine {
    Machine::new(MachineTiming::default(), 1)
}

fn running() -> Machine {
    let mut machine = machine();
    machine.power_on(T0);
    machine.advance(at(UP));
    machine.advance(at(UP));
    machine
}

fn fronts(machine: &Machine, ms: u64) -> [Front; 3] {
    [Service::Ssh, Service::Status, Service::Studio].map(|service| machine.front(service, at(ms)))
}

#[test]
fn services_come_up_one_after_another_after_the_network() {
    let mut machine = machine();
    assert_eq!(fronts(&machine, 0), [Front::Dark; 3]);
    machine.power_on(T0);
    let mut seen = Vec::new();
    while let Some(deadline) = machine.next_deadline(at(0)) {
        machine.advance(deadline);
        let ms = u64::try_from(deadline.since(T0).as_millis()).unwrap();
        seen.push((ms, fronts(&machine, ms)));
    }
    let (closed, open) = (Front::Closed, Front::Open);
    assert_eq!(
        seen,
        [
            (300, [closed, closed, closed]),
            (400, [open, closed, closed]),
            (500, [open, open, closed]),
            (700, [open, open, open]),
        ]
    );
}

#[test]
fn the_front_and_fate_of_a_service_follow_its_process() {
    let cases = [
        (Fault::StudioCrash, Service::Studio, Front::Closed, Fate::Reset),
        (
            Fault::StudioHang,
            Service::Studio,
            Front::Unanswered,
            Fate::Frozen,
        ),
        (Fault::StatusDown, Service::Status, Front::Closed, Fate::Reset),
        (
            Fault::StatusHang,
            Service::Status,
            Front::Unanswered,
            Fate::Frozen,
        ),
        (Fault::SshDown, Service::Ssh, Front::Closed, Fate::Reset),
        (Fault::Blackhole, Service::Ssh, Front::Dark, Fate::Frozen),
        (Fault::OutputSilent, Service::Studio, Front::Open, Fate::Flowing),
    ];
    for (fault, service, front, fate) in cases {
        let mut machine = running();
        let generation = machine.generation(service);
        machine.fault(fault, at(UP));
        assert_eq!(machine.front(service, at(UP)), front, "{fault:?}");
        assert_eq!(machine.fate(service, generation, at(UP)), fate, "{fault:?}");
        machine.heal(fault.kind(), at(UP));
        machine.advance(at(2 * UP));
        assert_eq!(
            machine.front(service, at(2 * UP)),
            Front::Open,
            "{fault:?} healed"
        );
    }
}

#[test]
fn the_ssh_server_can_go_at_one_command_and_is_spared_by_others() {
    let mut machine = running();
    machine.fault(Fault::SshDownAt { word: "cp" }, at(UP));
    let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    assert!(machine.command_arrived(&words("rm cpu"), at(UP)));
    assert_eq!(machine.process(Service::Ssh), Process::Running);
    assert!(!machine.command_arrived(&words("cp -R a b"), at(UP)));
    assert_eq!(machine.process(Service::Ssh), Process::Failed);
    machine.heal(FaultKind::SshDown, at(UP));
    machine.advance(at(2 * UP));
    assert!(machine.command_arrived(&words("cp -R a b"), at(2 * UP)), "once");
}

#[test]
fn a_connection_does_not_outlive_the_process_that_accepted_it() {
    let mut machine = running();
    let generation = machine.generation(Service::Studio);
    machine.signal(Service::Studio, Signal::Kill, at(UP));
    machine.start(Service::Studio, at(UP));
    machine.advance(at(2 * UP));
    assert_eq!(machine.front(Service::Studio, at(2 * UP)), Front::Open);
    assert_eq!(machine.fate(Service::Studio, generation, at(2 * UP)), Fate::Reset);
    let present = machine.generation(Service::Studio);
    assert_eq!(machine.fate(Service::Studio, present, at(2 * UP)), Fate::Flowing);
}

#[test]
fn a_hung_process_does_not_exit_politely_but_dies_when_killed() {
    let mut machine = running();
    machine.fault(Fault::StudioHang, at(UP));
    assert!(machine.signal(Service::Studio, Signal::Term, at(UP)));
    assert_eq!(machine.process(Service::Studio), Process::Hung);
    let killed_at = machine.stop(Service::Studio, at(UP));
    assert_eq!(killed_at, at(UP) + MachineTiming::default().stop_timeout);
    machine.advance(at(UP + 1_000));
    assert_eq!(machine.process(Service::Studio).active_state(), "deactivating");
    assert!(machine.signal(Service::Studio, Signal::Kill, at(UP + 1_000)));
    assert_eq!(machine.process(Service::Studio), Process::Failed);
    assert!(!machine.signal(Service::Studio, Signal::Kill, at(UP + 1_000)));
}

#[test]
fn a_restart_comes_after_the_exit() {
    let mut machine = running();
    let generation = machine.generation(Service::Status);
    let gone_at = machine.restart(Service::Status, at(UP));
    assert_eq!(gone_at, at(UP + 100));
    machine.advance(at(UP + 100));
    assert_eq!(machine.process(Service::Status).active_state(), "activating");
    machine.advance(at(UP + 300));
    assert_eq!(machine.process(Service::Status), Process::Running);
    assert_eq!(machine.generation(Service::Status), generation + 1);
}

#[test]
fn the_studio_needs_its_display() {
    let mut machine = running();
    machine.signal(Service::Display, Signal::Kill, at(UP));
    assert!(!machine.studio_connected());
    machine.start(Service::Studio, at(UP));
    machine.advance(at(2 * UP));
    assert_eq!(machine.process(Service::Display), Process::Running);
    assert!(machine.studio_answers());
}

#[test]
fn a_power_cut_ends_everything_and_a_boot_begins_anew() {
    let mut machine = running();
    machine.activate(Some("show".to_owned()));
    machine.studio_mut().start_stream(at(UP)).unwrap();
    machine.power_off(at(UP));
    assert_eq!(machine.next_deadline(at(UP)), None);
    assert_eq!(fronts(&machine, UP), [Front::Dark; 3]);
    assert_eq!(machine.studio().output().publish(), None);
    assert_eq!(machine.active_show(), None);
    machine.power_on(at(UP));
    machine.advance(at(2 * UP));
    machine.advance(at(2 * UP));
    assert_eq!(fronts(&machine, 2 * UP), [Front::Open; 3]);
}

#[test]
fn a_flapping_show_server_alternates_on_time() {
    let mut machine = running();
    let (up, down) = (Duration::from_millis(200), Duration::from_millis(300));
    machine.fault(Fault::StatusFlap { up, down }, at(UP));
    let front = |machine: &Machine, ms| machine.front(Service::Status, at(UP + ms));
    assert_eq!(front(&machine, 199), Front::Open);
    assert_eq!(front(&machine, 200), Front::Closed);
    assert_eq!(front(&machine, 499), Front::Closed);
    assert_eq!(front(&machine, 500), Front::Open);
    assert_eq!(machine.next_deadline(at(UP + 250)), Some(at(UP + 500)));
    machine.heal(FaultKind::StatusFlap, at(UP + 250));
    assert_eq!(front(&machine, 250), Front::Open);
}

#[test]
fn a_service_that_is_mended_while_its_machine_boots_starts_with_it() {
    let service = Service::Status;
    let begun = FaultKind::ServiceNeverStarts(service);
    for (fault, kind) in [
        (Fault::ServiceNeverStarts(service), begun),
        (Fault::StatusDown, FaultKind::StatusDown),
    ] {
        let mut machine = machine();
        machine.fault(Fault::ServiceNeverStarts(service), T0);
        machine.power_on(T0);
        machine.heal(begun, at(1));
        machine.fault(fault, at(2));
        machine.heal(kind, at(3));
        machine.advance(at(UP));
        machine.advance(at(UP));
        assert_eq!(fronts(&machine, UP), [Front::Open; 3], "{fault:?}");
    }
}

#[test]
fn a_boot_can_be_slow_never_finish_or_lack_a_service() {
    let mut machine = machine();
    let extra = Duration::from_secs(5);
    machine.fault(Fault::SlowBoot { extra }, T0);
    machine.fault(Fault::ServiceNeverStarts(Service::Studio), T0);
    machine.power_on(T0);
    machine.advance(at(5_299));
    assert_eq!(fronts(&machine, 5_299), [Front::Dark; 3]);
    machine.advance(at(UP));
    machine.advance(at(UP));
    assert_eq!(fronts(&machine, UP), [Front::Open, Front::Open, Front::Closed]);

    machine.fault(Fault::BootNeverFinishes, at(UP));
    machine.reboot(at(UP));
    assert_eq!(machine.next_deadline(at(UP)), None);
    machine.advance(at(9 * UP));
    assert_eq!(fronts(&machine, 9 * UP), [Front::Dark; 3]);
}

#[test]
fn a_unit_is_known_with_and_without_its_suffix() {
    for service in Service::ALL {
        assert_eq!(Service::from_unit(service.unit()), Some(service));
        assert_eq!(
            Service::from_unit(&format!("{}.service", service.unit())),
            Some(service)
        );
    }
    assert_eq!(Service::from_unit("nonsense"), None);
}

/// Waits for everything that is under way.
fn settle(machine: &mut Machine, ms: u64) {
    machine.advance(at(ms));
    machine.advance(at(ms));
}

fn copy_template(machine: &mut Machine, ms: u64) {
    use disk::{OBS_CONFIG, OBS_TEMPLATE, Pattern, Who};
    let disk = machine.disk(at(ms));
    disk.remove_all(Who::User, &format!("{OBS_CONFIG}/basic"))
        .unwrap();
    let found = disk.find(OBS_TEMPLATE, &Pattern::default()).unwrap();
    let paths: Vec<(String, bool)> = found
        .into_iter()
        .map(|(path, node)| (path.to_owned(), node.is_folder()))
        .collect();
    for (path, is_folder) in paths {
        let to = path.replace(OBS_TEMPLATE, OBS_CONFIG);
        match is_folder {
            true => disk.make_folders(Who::User, &to, at(ms)).unwrap(),
            false => disk.copy(Who::User, &path, &to, at(ms)).unwrap(),
        }
    }
}

fn holds(machine: &mut Machine, ms: u64, text: &str) -> bool {
    let disk = machine.disk(at(ms));
    let found = disk.find(disk::OBS_CONFIG, &disk::Pattern::default()).unwrap();
    let mut files = found.into_iter().filter_map(|(path, _)| disk.held(path));
    files.any(|bytes| String::from_utf8_lossy(bytes).contains(text))
}

#[test]
fn a_studio_is_what_its_files_were_when_it_started_and_writes_them_when_it_exits() {
    let mut machine = running();
    machine
        .studio_mut()
        .load_example("rtmp://127.0.0.1/live", "secret-key")
        .unwrap();
    let scenes = machine.studio().collection().scenes.len();
    assert!(holds(&mut machine, UP, "secret-key"));
    assert!(holds(&mut machine, UP, "Score Overlay"));

    // Killed: what it had is what it has again.
    machine.signal(Service::Studio, Signal::Kill, at(UP));
    machine.start(Service::Studio, at(UP));
    settle(&mut machine, 2 * UP);
    assert_eq!(machine.studio().collection().scenes.len(), scenes);
    assert_eq!(machine.studio().service().key(), Some("secret-key"));

    // Put there while it runs, the template is written over when it exits.
    copy_template(&mut machine, 2 * UP);
    machine.restart(Service::Studio, at(2 * UP));
    settle(&mut machine, 3 * UP);
    settle(&mut machine, 4 * UP);
    assert_eq!(machine.studio().service().key(), Some("secret-key"));

    machine.stop(Service::Studio, at(4 * UP));
    settle(&mut machine, 5 * UP);
    copy_template(&mut machine, 5 * UP);
    assert!(!holds(&mut machine, 5 * UP, "secret-key"));
    machine.start(Service::Studio, at(5 * UP));
    settle(&mut machine, 6 * UP);
    assert_eq!(machine.studio().collection_names(), ["Untitled"]);
    assert_eq!(machine.studio().collection().scenes.len(), 1);
    assert_eq!(machine.studio().service().key(), Some(""));
    assert!(!holds(&mut machine, 6 * UP, "secret-key"));
}

#[test]
fn a_scene_collection_put_there_is_listed_at_once_and_changed_to_once_it_is_in_the_menu() {
    let mut machine = running();
    let text = br#"{"name":"From a file","sources":[{"name":"Wide","id":"scene"}]}"#;
    let (folder, path) = (
        format!("{}/basic/scenes", disk::OBS_CONFIG),
        format!("{}/basic/scenes/x.json", disk::OBS_CONFIG),
    );
    let part = format!("{folder}/x.json.part");
    let disk = machine.disk(at(UP));
    disk.create(disk::Who::User, &part, 0o600, true, at(UP)).unwrap();
    disk.write(disk::Who::User, &part, 0, text, at(UP)).unwrap();
    disk.rename(disk::Who::User, &part, &path, true).unwrap();
    let studio = machine.studio_mut();
    assert_eq!(studio.collection_names(), ["From a file", "Untitled"]);
    studio.switch_collection("From a file", at(UP)).unwrap();
    assert_eq!(studio.collection_name(), "Untitled");
    studio.create_collection("Menu", at(UP)).unwrap();
    studio.switch_collection("From a file", at(UP)).unwrap();
    assert_eq!(studio.program_scene(), Some("Wide"));

    // Changed while another one is in use, it is another one when it is changed to.
    studio.switch_collection("Untitled", at(UP)).unwrap();
    let disk = machine.disk(at(UP));
    let text = String::from_utf8(disk.held(&path).unwrap().to_vec()).unwrap();
    let text = text.replace("Wide", "Long");
    disk.write(disk::Who::User, &path, 0, text.as_bytes(), at(UP))
        .unwrap();
    let studio = machine.studio_mut();
    studio.switch_collection("From a file", at(UP)).unwrap();
    assert_eq!(studio.program_scene(), Some("Long"));

    machine
        .disk(at(UP))
        .remove(disk::Who::User, &format!("{folder}/Menu.json"))
        .unwrap();
    assert_eq!(
        machine.studio_mut().collection_names(),
        ["From a file", "Untitled"]
    );
}
