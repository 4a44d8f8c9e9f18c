//! A studio as a show leaves it: a dozen scenes, cameras, graphics, sound, and a stream key.

use serde_json::{Map, Value, json};

use super::source::{Bounds, TransitionOverride, Uuid};
use super::{Service, Studio, StudioError, TransformChange};
use crate::domain::studio::Monitor;

/// Name of the scene collection that [`Studio::load_example`] makes current.
pub const EXAMPLE_COLLECTION: &str = "Gymnastics";
/// The scene on air in it.
pub const EXAMPLE_PROGRAM: &str = "Camera 2 - Vault";

const CAMERAS: [&str; 6] = ["Floor", "Vault", "Bars", "Beam", "Judges", "Arena"];

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        // Every caller passes an object literal.
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
    }
}

impl Studio {
    /// Replaces the content with a typical show's, streaming to `server` with `key`. Announces nothing.
    ///
    /// # Errors
    /// [`StudioError::StreamRunning`].
    pub fn load_example(&mut self, server: &str, key: &str) -> Result<(), StudioError> {
        if self.output.is_active() {
            return Err(StudioError::StreamRunning);
        }
        self.service = Service::custom(server, key);
        let mut outcome = Ok(());
        self.install(EXAMPLE_COLLECTION, |studio| outcome = studio.build_example());
        outcome
    }

    fn build_example(&mut self) -> Result<(), StudioError> {
        let starting = self.collection().program;
        self.rename_scene(starting, "Starting Soon")?;
        self.add_slate(starting, "Starting Soon Slate", 0xff20_2020)?;
        let arena_sound = self.add_sound(starting)?;

        let mut cameras = Vec::new();
        for (index, name) in CAMERAS.iter().enumerate() {
            cameras.push(self.add_camera(index + 1, name, arena_sound)?);
        }
        self.add_split("Dual View - Floor and Vault", &cameras[..2])?;
        self.add_split("Quad View", &cameras[..4])?;

        let graphics = self.append_scene("Graphics Fullscreen")?;
        let url = json!({"url": "http://127.0.0.1:3003/overlay.html", "width": 1920, "height": 1080});
        let (overlay, _) =
            self.create_input(graphics, "Score Overlay", "browser_source", object(url), true)?;
        self.set_volume(overlay, 0.5)?;
        for (_, scene) in cameras.iter().take(4) {
            let item = self.create_item(*scene, overlay, true)?;
            self.set_item_locked(*scene, item, true)?;
        }

        let replay = self.append_scene("Replay")?;
        let clip = json!({"local_file": "/home/ubuntu/replay.mp4", "looping": true});
        let (clip, _) = self.create_input(replay, "Replay Clip", "ffmpeg_source", object(clip), true)?;
        self.set_muted(clip, true)?;
        let ending = self.append_scene("Thanks for Watching")?;
        self.add_slate(ending, "Closing Slate", 0xff40_1010)?;

        self.set_transition("Fade")?;
        self.set_transition_duration(450);
        let at_once = TransitionOverride {
            name: Some("Cut".to_owned()),
            duration_ms: None,
        };
        self.set_transition_override(replay, at_once)?;
        self.set_program(cameras[1].1)
    }

    fn add_slate(&mut self, scene: Uuid, name: &str, color: u32) -> Result<(), StudioError> {
        let settings = object(json!({"color": color, "width": 1920, "height": 1080}));
        let (_, item) = self.create_input(scene, name, "color_source_v3", settings, true)?;
        self.set_item_locked(scene, item, true)?;
        let text = object(json!({"text": name, "font": {"face": "DejaVu Sans", "size": 96}}));
        let text_name = format!("{name} Text");
        let (_, item) = self.create_input(scene, &text_name, "text_ft2_source_v2", text, true)?;
        let change = TransformChange {
            position_x: Some(960.0),
            position_y: Some(540.0),
            alignment: Some(0),
            ..TransformChange::default()
        };
        self.set_item_transform(scene, item, &change)
    }

    fn add_sound(&mut self, scene: Uuid) -> Result<Uuid, StudioError> {
        let device = object(json!({"device_id": "arena"}));
        let (sound, _) = self.create_input(scene, "Arena Sound", "pulse_input_capture", device, true)?;
        self.set_volume(sound, 0.8)?;
        self.set_sync_offset(sound, 120)?;
        self.set_monitor(sound, Monitor::AndOutput)?;
        self.set_tracks(
            sound,
            [None, None, Some(false), Some(false), Some(false), Some(false)],
        )?;
        let gate = object(json!({"open_threshold": -32.0}));
        self.create_filter(sound, "Gate", "noise_gate_filter", gate)?;
        self.create_filter(sound, "Limit", "limiter_filter", Map::new())?;
        Ok(sound)
    }

    /// A camera with its scene. Returns the camera's input and the scene.
    fn add_camera(&mut self, number: usize, name: &str, sound: Uuid) -> Result<(Uuid, Uuid), StudioError> {
        let scene = self.append_scene(&format!("Camera {number} - {name}"))?;
        let url = format!("srt://127.0.0.1:{}?mode=listener", 9_000 + number);
        let settings = object(json!({"input": url, "is_local_file": false, "buffering_mb": 1}));
        let input = format!("Camera {number}");
        let (camera, item) = self.create_input(scene, &input, "ffmpeg_source", settings, true)?;
        let change = TransformChange {
            bounds_type: Some(Bounds::ScaleInner),
            bounds_width: Some(1920.0),
            bounds_height: Some(1080.0),
            crop_left: Some(8),
            crop_right: Some(8),
            ..TransformChange::default()
        };
        self.set_item_transform(scene, item, &change)?;
        self.set_muted(camera, number != 2)?;
        let colors = object(json!({"contrast": 0.1, "gamma": 0.05}));
        self.create_filter(camera, "Hall Light", "color_filter_v2", colors)?;
        self.set_filter_enabled(camera, "Hall Light", number < 4)?;
        let sound_item = self.create_item(scene, sound, true)?;
        self.set_item_index(scene, sound_item, 0)?;
        Ok((camera, scene))
    }

    fn add_split(&mut self, name: &str, cameras: &[(Uuid, Uuid)]) -> Result<(), StudioError> {
        let scene = self.append_scene(name)?;
        for (index, (camera, camera_scene)) in cameras.iter().enumerate() {
            // Two beside each other of the cameras themselves, four as nested scenes.
            let source = if cameras.len() == 2 {
                *camera
            } else {
                *camera_scene
            };
            let item = self.create_item(scene, source, index != 3)?;
            let (column, row) = (index % 2, index / 2);
            let change = TransformChange {
                position_x: Some([0.0, 960.0][column]),
                position_y: Some([0.0, 540.0][row]),
                scale_x: Some(0.5),
                scale_y: Some(0.5),
                rotation: Some(if index == 3 { 1.5 } else { 0.0 }),
                ..TransformChange::default()
            };
            self.set_item_transform(scene, item, &change)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::StudioTiming;
    use super::*;

    #[test]
    fn the_example_has_a_dozen_scenes_and_announces_nothing() {
        let mut studio = Studio::new(StudioTiming::default(), 1);
        studio
            .load_example("rtmp://127.77.255.1:1935/live", "key")
            .unwrap();
        assert_eq!(studio.collection().scenes.len(), 12);
        assert_eq!(studio.program_scene(), Some(EXAMPLE_PROGRAM));
        assert_eq!(studio.service().key(), Some("key"));
        assert!(studio.take_events().is_empty());
    }
}
