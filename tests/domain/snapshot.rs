//! What is written and read back is the same to the last bit, whatever a studio or an operator put into it.

use std::sync::Arc;
use std::time::Duration;

use proptest::num::f64 as float;
use proptest::prelude::*;
use understudy::domain::event::{Entry, Event};
use understudy::domain::ids::{Seq, VmId};
use understudy::domain::instance::{Instance, InstanceState};
use understudy::domain::pool::Settings;
use understudy::domain::sealed::Sealed;
use understudy::domain::show;
use understudy::domain::state::{Snapshot, State};
use understudy::domain::studio::{
    Audio, Filter, Input, Json, Monitor, Recording, Scene, SceneItem, Secret, StreamService, Studio,
    Transform, Transition, TransitionOverride, TransitionSource,
};
use understudy::domain::vm;

use crate::fixtures::{after, assigned, at, instance, of_show, ready_pool, settings};

fn floats() -> impl Strategy<Value = f64> {
    float::NORMAL | float::SUBNORMAL | float::ZERO
}

fn transforms() -> impl Strategy<Value = Transform> {
    (
        prop::array::uniform7(floats()),
        any::<(u8, u8)>(),
        any::<(u32, u32, u32, u32)>(),
        ".*",
    )
        .prop_map(
            |(numbers, (alignment, bounds_alignment), (left, right, top, bottom), bounds_type)| Transform {
                position_x: numbers[0],
                position_y: numbers[1],
                rotation: numbers[2],
                scale_x: numbers[3],
                scale_y: numbers[4],
                alignment,
                bounds_type,
                bounds_alignment,
                bounds_width: numbers[5],
                bounds_height: numbers[6],
                crop_left: left,
                crop_right: right,
                crop_top: top,
                crop_bottom: bottom,
            },
        )
}

fn audios() -> impl Strategy<Value = Audio> {
    let monitor = prop::sample::select(vec![Monitor::Off, Monitor::Only, Monitor::AndOutput]);
    (floats(), floats(), any::<(bool, i64, [bool; 6])>(), monitor).prop_map(
        |(volume_mul, balance, (muted, sync_offset_ms, tracks), monitor)| Audio {
            volume_mul,
            muted,
            balance,
            sync_offset_ms,
            monitor,
            tracks,
        },
    )
}

fn filters() -> impl Strategy<Value = Vec<Filter>> {
    let filter = (".*", ".*", any::<bool>()).prop_map(|(name, settings, enabled)| Filter {
        name,
        kind: "color_filter_v2".into(),
        settings: Json(settings),
        enabled,
    });
    prop::collection::vec(filter, 0..3)
}

fn inputs() -> impl Strategy<Value = Vec<Input>> {
    let audio = prop::option::of(audios());
    let input = (".*", ".*", audio, filters()).prop_map(|(name, settings, audio, filters)| Input {
        name,
        kind: "color_source_v3".into(),
        settings: Json(settings),
        audio,
        filters,
    });
    prop::collection::vec(input, 0..3)
}

fn scenes() -> impl Strategy<Value = Vec<Scene>> {
    let item =
        (".*", any::<(bool, bool)>(), transforms()).prop_map(|(source, (enabled, locked), transform)| {
            SceneItem {
                source,
                enabled,
                locked,
                transform,
            }
        });
    let instead = any::<Option<(Option<String>, Option<u32>)>>();
    let scene = (".*", prop::collection::vec(item, 0..3), filters(), instead).prop_map(
        |(name, items, filters, instead)| Scene {
            name,
            items,
            filters,
            transition_override: instead.map(|(name, duration_ms)| TransitionOverride { name, duration_ms }),
        },
    );
    prop::collection::vec(scene, 0..3)
}

fn studios() -> impl Strategy<Value = Studio> {
    let transition =
        (".*", any::<Option<u32>>()).prop_map(|(name, duration_ms)| Transition { name, duration_ms });
    let source = any::<(String, String, Option<String>)>().prop_map(|(name, kind, settings)| {
        let settings = settings.map(Json);
        TransitionSource { name, kind, settings }
    });
    let closed = (".*", ".*", ".*").prop_map(|(key_id, nonce, text)| Sealed::Closed { key_id, nonce, text });
    let plain = ".+".prop_map(|key| Sealed::Plain(Secret::new(key)));
    let key = prop::option::of(prop_oneof![closed, plain]);
    let stream = (any::<Option<String>>(), key).prop_map(|(server, key)| StreamService {
        kind: "rtmp_custom".into(),
        server,
        key,
        other: Json::default(),
    });
    let recording = prop::sample::select(vec![Recording::Off, Recording::Active, Recording::Paused]);
    (
        any::<(String, String, Option<String>)>(),
        inputs(),
        scenes(),
        scenes(),
        prop::option::of(transition),
        prop::collection::vec(source, 0..3),
        prop::option::of(stream),
        recording,
    )
        .prop_map(
            |(names, inputs, scenes, groups, transition, transitions, stream, recording)| Studio {
                scene_collection: names.0,
                inputs,
                scenes,
                groups,
                transition,
                transitions,
                stream,
                program_scene: names.1,
                preview_scene: names.2,
                recording,
            },
        )
}

fn configured() -> impl Strategy<Value = Settings> {
    let timeout = prop::option::of((any::<u32>(), 0u32..1_000_000_000));
    (timeout, ".*", any::<Option<String>>()).prop_map(|(timeout, region, ami_id)| Settings {
        idle_timeout: timeout.map(|(seconds, nanos)| Duration::new(seconds.into(), nanos)),
        region,
        ami_id,
        ..settings()
    })
}

fn described() -> impl Strategy<Value = Instance> {
    let tags = prop::collection::btree_map(".*", ".*", 0..4);
    (
        any::<Option<std::net::IpAddr>>(),
        any::<Option<String>>(),
        tags,
        any::<u64>(),
    )
        .prop_map(|(public_ip, name, tags, launched)| Instance {
            public_ip,
            name,
            tags,
            launch_time: Some(at(launched)),
            state: InstanceState::ShuttingDown,
            ..instance(1)
        })
}

proptest! {
    #[test]
    fn a_studio_settings_and_an_instance_are_read_back_as_they_were_written(
        studio in studios(),
        settings in configured(),
        instance in described(),
    ) {
        let vm_1 = VmId::new("vm-1").unwrap();
        let events = vec![
            of_show(1, assigned(1, 1)),
            of_show(1, show::Event::Captured { studio: Arc::new(studio) }),
            Event::PoolConfigured { settings },
            Event::vm(&vm_1, vm::Event::Described { instance }),
        ];
        let mut replayed = ready_pool(1);
        for (n, event) in events.iter().enumerate() {
            let entry = Entry { seq: Seq(n as u64 + 1), at: at(10), event: event.clone() };
            let read: Entry = serde_json::from_str(&serde_json::to_string(&entry).unwrap()).unwrap();
            prop_assert_eq!(&read, &entry);
            replayed.apply(&read.event, read.at).unwrap();
        }
        let state = after(&ready_pool(1), events);
        prop_assert_eq!(&replayed, &state);
        let text = serde_json::to_vec(&Snapshot::from(&state)).unwrap();
        prop_assert_eq!(State::from(serde_json::from_slice::<Snapshot>(&text).unwrap()), state);
    }
}
