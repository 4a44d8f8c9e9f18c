//! Stream keys in the journal: sealed, opened for the studio that streams, and what happens without the key.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use understudy::actors::coordinator::{Apply, Configure, Release};
use understudy::actors::news::{Alert, Item, Level};
use understudy::domain::cleaning::Subject;
use understudy::domain::event::Event;
use understudy::domain::ids::{ShowId, VmId};
use understudy::domain::sealed::Sealed;
use understudy::domain::show;
use understudy::domain::state::State;
use understudy::domain::studio::{Secret, Studio};
use understudy::domain::time::Timestamp;
use understudy::domain::vm::Status;
use understudy::infra::ledger::{Ledger, Options};
use understudy::infra::vault::Vault;
use understudy::rehearsal::stage::{Producer, stream_key};
use understudy::sim::model::machine::disk::{Disk, OBS_CONFIG, OBS_TEMPLATE, Who};

use crate::support::eventually::eventually;
use crate::support::scene::{SOON, Scene};

fn key_of<'a>(state: &'a State, show: &ShowId) -> Option<&'a Sealed> {
    state.show(show)?.studio.as_ref()?.stream.as_ref()?.key.as_ref()
}

/// The journal and the files beside it that hold this text.
fn holding(folder: &Path, text: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files
        .filter(|path| {
            let bytes = fs::read(path).unwrap_or_default();
            bytes.windows(text.len()).any(|window| window == text.as_bytes())
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_key_is_not_in_the_journal_and_a_spare_streams_under_it_all_the_same() {
    let scene = Scene::set(2, 0, |_| ()).await;
    let (show, vm) = scene.on_air("gala").await;
    scene.crash_studio_of(&vm);
    let spare = scene.moved(&show, 1).await;
    let key = stream_key(&show);
    let streams_under = scene.machine(&spare).view().stream_key;
    assert_eq!(streams_under, Some(Secret::new(key.clone())));
    scene.node.stop().await.unwrap();
    let folder = scene.stage.config.ledger.path.parent().unwrap();
    assert_eq!(
        holding(folder, "Camera 2 - Vault").len(),
        1,
        "the capture itself is there"
    );
    assert_eq!(holding(folder, &key), Vec::<PathBuf>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_key_that_an_older_version_wrote_is_sealed_at_the_next_start() {
    let scene = Scene::set(1, 0, |_| ()).await;
    let (show, vm) = scene.on_air("gala").await;
    // So that nothing is captured from here on.
    scene.crash_studio_of(&vm);
    let sealed = key_of(&scene.coordinator().state(), &show).unwrap().clone();
    scene.node.stop().await.unwrap();
    let ledger = Ledger::open(Options::new(&scene.stage.config.ledger.path)).unwrap();
    let mut old = Studio::clone(ledger.state().show(&show).unwrap().studio.as_ref().unwrap());
    old.stream.as_mut().unwrap().key = Some(Sealed::Plain(Secret::new(stream_key(&show))));
    let written = show::Event::Captured {
        studio: Arc::new(old),
    };
    ledger
        .commit(Timestamp(1), vec![Event::show(&show, written)])
        .await
        .unwrap();
    ledger.close().await.unwrap();

    let node = scene.stage.coordinator(|_| None).await.unwrap();
    assert_eq!(key_of(&node.coordinator().state(), &show), Some(&sealed));
    node.stop().await.unwrap();
}

/// Its studio dies with the coordinator, and the file with the key is gone when that is back.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_key_a_show_waits_for_it_and_no_spare_is_spent() {
    let scene = Scene::set(2, 0, |_| ()).await;
    let (show, vm) = scene.on_air("gala").await;
    let key_file = scene.stage.config.ledger.secrets_key();
    let kept = fs::read(&key_file).unwrap();
    scene.crash_studio_of(&vm);
    let Scene { stage, node } = scene;
    node.stop().await.unwrap();
    fs::remove_file(&key_file).unwrap();

    let (heard, hears) = tokio::sync::oneshot::channel();
    let node = stage
        .coordinator(|coordinator| {
            tokio::spawn(async move {
                let mut news = coordinator.news();
                while let Ok(item) = news.recv().await {
                    if let Item::Alert(alert) = item
                        && alert.title == "The studio cannot be made anywhere"
                    {
                        let _ = heard.send(alert);
                        return;
                    }
                }
            });
            None
        })
        .await
        .unwrap();
    let alert: Alert = tokio::time::timeout(SOON, hears).await.unwrap().unwrap();
    assert_eq!(alert.level, Level::Critical);
    let key_id = key_of(&node.coordinator().state(), &show)
        .unwrap()
        .key_id()
        .unwrap()
        .to_owned();
    for part in [key_id.as_str(), key_file.to_str().unwrap(), "put the file"] {
        assert!(alert.message.contains(part), "{}", alert.message);
    }
    let state = node.coordinator().state();
    assert_eq!(
        state.count(Status::Error),
        1,
        "the VM that was left, and no other"
    );
    assert!(stage.world.ingest().publishers(&stream_key(&show)).is_empty());

    node.stop().await.unwrap();
    fs::write(&key_file, kept).unwrap();
    let node = stage.coordinator(|_| None).await.unwrap();
    let producer = Producer {
        coordinator: node.coordinator(),
    };
    let on = producer
        .until("the show on air again", SOON, |state| {
            let show = state.show(&show)?;
            (show.phase == show::Phase::OnAir).then(|| show.vm.clone())?
        })
        .await
        .unwrap();
    assert_ne!(on, vm);
    eventually("the ingest gets it", SOON, async || {
        (stage.world.ingest().publishers(&stream_key(&show)).len() == 1).then_some(())
    })
    .await;
    node.stop().await.unwrap();
}

/// Leaves the show's studio on its VM, which cannot be proven clean while OBS draws nothing.
async fn leave_unclean(scene: &Scene, show: &ShowId, vm: &VmId) {
    scene.machine(vm).operate(|studio, _| studio.set_drawing(false));
    let released = scene
        .coordinator()
        .release(show.clone(), Release::default())
        .await;
    assert_eq!(released.unwrap().status, Some(Status::Error));
}

fn left_on(state: &State, vm: &VmId) -> Vec<Sealed> {
    let left = state.vm(vm).unwrap().leftover.as_ref();
    left.expect("it is not clean").keys.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_key_is_changed_one_start_seals_everything_anew_and_the_old_line_can_go() {
    let scene = Scene::set(2, 0, |_| ()).await;
    let (gala, left) = scene.on_air("gala").await;
    leave_unclean(&scene, &gala, &left).await;
    let (finals, _) = scene.on_air("finals").await;
    let variables = serde_json::json!({"title": "Finals", "cameras": [{"name": "Floor", "port": 9001}]});
    let configure = Configure {
        template: "multi-camera".to_owned(),
        variables: variables.as_object().unwrap().clone(),
        stream_server: None,
        stream_key: Some(Secret::new("for the next VM")),
        apply: Apply::Later,
    };
    scene
        .coordinator()
        .set_up_show(finals.clone(), configure)
        .await
        .unwrap();
    let key_file = scene.stage.config.ledger.secrets_key();
    let Scene { stage, node } = scene;
    node.stop().await.unwrap();

    let old = fs::read_to_string(&key_file).unwrap();
    let fresh = stage.dir().join("another.key");
    Vault::open(&fresh).unwrap();
    let fresh = fs::read_to_string(fresh).unwrap();
    fs::write(&key_file, format!("{fresh}{old}")).unwrap();
    stage.coordinator(|_| None).await.unwrap().stop().await.unwrap();

    fs::write(&key_file, fresh).unwrap();
    let node = stage.coordinator(|_| None).await.unwrap();
    let vault = Vault::open(&key_file).unwrap();
    let state = node.coordinator().state();
    let configuration = state.show(&finals).unwrap().configuration.as_ref().unwrap();
    let mut found = vec![
        key_of(&state, &finals).unwrap().clone(),
        configuration.stream_key.clone().unwrap(),
    ];
    found.extend(left_on(&state, &left));
    let opened: Vec<Secret> = found.iter().map(|key| vault.unseal(key).unwrap()).collect();
    let expected = [
        stream_key(&finals),
        "for the next VM".to_owned(),
        stream_key(&gala),
    ];
    assert_eq!(opened, expected.map(Secret::new));
    node.stop().await.unwrap();
}

fn put_service(disk: &mut Disk, profile: &str, text: &str, now: Timestamp) {
    let path = format!("{profile}/service.json");
    disk.make_folders(Who::Root, profile, now).unwrap();
    disk.create(Who::Root, &path, 0o644, true, now).unwrap();
    disk.write(Who::Root, &path, 0, text.as_bytes(), now).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_left_under_a_lost_key_is_clean_once_no_key_but_the_templates_is_there() {
    for has_template in [true, false] {
        let scene = Scene::set(1, 0, |_| ()).await;
        let (gala, vm) = scene.on_air("gala").await;
        leave_unclean(&scene, &gala, &vm).await;
        let key_file = scene.stage.config.ledger.secrets_key();
        let Scene { stage, node } = scene;
        node.stop().await.unwrap();
        fs::remove_file(&key_file).unwrap();

        let node = stage.coordinator(|_| None).await.unwrap();
        let scene = Scene { stage, node };
        let machine = scene.machine(&vm);
        // A profile that nobody uses at present, with the key of somebody.
        let foreign = r#"{"type": "rtmp_custom", "settings": {"server": "x", "key": "whose?"}}"#;
        let profile = format!("{OBS_CONFIG}/basic/profiles/Other");
        if has_template {
            machine.files(|disk, now| {
                let text = foreign.replace("whose?", "the template's");
                put_service(disk, &format!("{OBS_TEMPLATE}/basic/profiles/Own"), &text, now);
            });
        } else {
            machine.files(|disk, now| {
                disk.remove_all(Who::Root, OBS_TEMPLATE).unwrap();
                put_service(disk, &profile, foreign, now);
            });
        }
        machine.operate(|studio, _| studio.set_drawing(true));
        if !has_template {
            scene
                .until("a cleaning that found a key", |state| {
                    let report = state.vm(&vm)?.cleaning.clone()?;
                    report
                        .faults()
                        .contains("one of unknown origin is in OBS's files")
                        .then_some(())
                })
                .await;
            assert_eq!(
                scene.coordinator().state().vm(&vm).unwrap().status(),
                Status::Error
            );
            machine.files(|disk, _| disk.remove_all(Who::Root, &profile).unwrap());
        }
        let report = scene
            .until("an available VM", |state| {
                let vm = state.vm(&vm)?;
                (vm.status() == Status::Available).then(|| vm.cleaning.clone())?
            })
            .await;
        assert!(report.is_clean(), "{report:#?}");
        let told = report.findings.iter().any(|finding| {
            finding.subject == Subject::StreamKey
                && finding
                    .found
                    .contains("was not looked for, since it is sealed under")
        });
        assert!(told, "{report:#?}");
        scene.node.stop().await.unwrap();
    }
}
