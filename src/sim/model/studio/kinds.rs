//! The input kinds that a Linux build of OBS Studio 30.2 offers, as far as streaming VMs use them.
//!
//! Names and defaults were read from OBS's own plug-ins; a kind that is not listed is refused as OBS refuses a
//! plug-in that is not installed.

use serde_json::{Map, Value};

/// One kind of input.
#[derive(Debug)]
pub struct InputKind {
    /// With version suffix, as `inputKind`.
    pub id: &'static str,
    pub unversioned: &'static str,
    pub audio: bool,
    pub video: bool,
    /// A new one is heard on the machine and not on the stream.
    pub monitored: bool,
    defaults: &'static str,
}

impl InputKind {
    /// Settings of a new input of this kind.
    #[must_use]
    pub fn defaults(&self) -> Map<String, Value> {
        match serde_json::from_str(self.defaults) {
            Ok(Value::Object(map)) => map,
            // The table below is constant and a test reads every row of it.
            Ok(_) | Err(_) => Map::new(),
        }
    }

    /// Width and height in pixels of an input with these settings, over the defaults.
    #[must_use]
    pub fn size(&self, settings: &Map<String, Value>) -> (f32, f32) {
        if !self.video {
            return (0.0, 0.0);
        }
        let defaults = self.defaults();
        let side = |name: &str| {
            let value = settings.get(name).or_else(|| defaults.get(name));
            // Sources are at most 16384 pixels wide, which a float holds exactly.
            value.and_then(Value::as_f64).map(|pixels| pixels as f32)
        };
        (side("width").unwrap_or(1920.0), side("height").unwrap_or(1080.0))
    }

    /// The bit set of libobs source flags: video 1, audio 2.
    #[must_use]
    pub fn caps(&self) -> u32 {
        u32::from(self.video) | u32::from(self.audio) << 1
    }
}

/// The kind of this id, if this OBS has it.
#[must_use]
pub fn find(id: &str) -> Option<&'static InputKind> {
    KINDS.iter().find(|kind| kind.id == id)
}

/// Every kind, in the order OBS lists them.
pub static KINDS: &[InputKind] = &[
    InputKind {
        id: "image_source",
        unversioned: "image_source",
        audio: false,
        video: true,
        monitored: false,
        defaults: r#"{"linear_alpha":false,"unload":false}"#,
    },
    InputKind {
        id: "color_source_v3",
        unversioned: "color_source",
        audio: false,
        video: true,
        monitored: false,
        defaults: r#"{"color":4291940817,"height":1080,"width":1920}"#,
    },
    InputKind {
        id: "slideshow_v2",
        unversioned: "slideshow",
        audio: false,
        video: true,
        monitored: false,
        defaults: r#"{"loop":true,"slide_time":2000,"transition":"fade","transition_speed":700}"#,
    },
    InputKind {
        id: "browser_source",
        unversioned: "browser_source",
        audio: true,
        video: true,
        monitored: true,
        defaults: r#"{"css":"","fps":30,"fps_custom":false,"height":600,"reroute_audio":false,
            "restart_when_active":false,"shutdown":false,"url":"https://obsproject.com/browser-source",
            "webpage_control_level":1,"width":800}"#,
    },
    InputKind {
        id: "ffmpeg_source",
        unversioned: "ffmpeg_source",
        audio: true,
        video: true,
        monitored: false,
        defaults: r#"{"buffering_mb":2,"clear_on_media_end":true,"is_local_file":true,"linear_alpha":false,
            "looping":false,"reconnect_delay_sec":10,"restart_on_activate":true,"speed_percent":100}"#,
    },
    InputKind {
        id: "vlc_source",
        unversioned: "vlc_source",
        audio: true,
        video: true,
        monitored: false,
        defaults: r#"{"loop":true,"network_caching":400,"playback_behavior":"stop_restart","shuffle":false}"#,
    },
    InputKind {
        id: "text_ft2_source_v2",
        unversioned: "text_ft2_source",
        audio: false,
        video: true,
        monitored: false,
        defaults: r#"{"antialiasing":true,"color1":4294967295,"color2":4294967295,"log_lines":6,"text":""}"#,
    },
    InputKind {
        id: "v4l2_input",
        unversioned: "v4l2_input",
        audio: false,
        video: true,
        monitored: false,
        defaults: r#"{"auto_reset":false,"buffering":false,"input":-1,"timeout_frames":5}"#,
    },
    InputKind {
        id: "xshm_input_v2",
        unversioned: "xshm_input",
        audio: false,
        video: true,
        monitored: false,
        defaults: r#"{"advanced":false,"screen":0,"show_cursor":true}"#,
    },
    InputKind {
        id: "xcomposite_input",
        unversioned: "xcomposite_input",
        audio: false,
        video: true,
        monitored: false,
        defaults: r#"{"cut_bot":0,"cut_left":0,"cut_right":0,"cut_top":0,"show_cursor":true}"#,
    },
    InputKind {
        id: "pulse_input_capture",
        unversioned: "pulse_input_capture",
        audio: true,
        video: false,
        monitored: false,
        defaults: r#"{"device_id":"default"}"#,
    },
    InputKind {
        id: "pulse_output_capture",
        unversioned: "pulse_output_capture",
        audio: true,
        video: false,
        monitored: false,
        defaults: r#"{"device_id":"default"}"#,
    },
    InputKind {
        id: "alsa_input_capture",
        unversioned: "alsa_input_capture",
        audio: true,
        video: false,
        monitored: false,
        defaults: r#"{"device_id":"default","rate":44100}"#,
    },
    InputKind {
        id: "jack_output_capture",
        unversioned: "jack_output_capture",
        audio: true,
        video: false,
        monitored: false,
        defaults: r#"{"channels":2,"startjack":false}"#,
    },
];

/// The filter of this kind, if this OBS has it.
#[must_use]
pub fn find_filter(id: &str) -> Option<&'static str> {
    FILTER_KINDS.iter().find(|kind| **kind == id).copied()
}

/// A kind without its version: `color_source` of `color_source_v3`.
#[must_use]
pub fn unversioned(id: &str) -> &str {
    match id.rsplit_once("_v") {
        Some((plain, version)) if version.parse::<u8>().is_ok() => plain,
        Some(_) | None => id,
    }
}

/// Filters that are not drawn.
pub static SOUND_FILTER_KINDS: &[&str] = &[
    "async_delay_filter",
    "gain_filter",
    "basic_eq_filter",
    "noise_suppress_filter_v2",
    "invert_polarity_filter",
    "noise_gate_filter",
    "compressor_filter",
    "upward_compressor_filter",
    "limiter_filter",
    "expander_filter",
];

/// Every kind of filter of a Linux build.
pub static FILTER_KINDS: &[&str] = &[
    "mask_filter_v2",
    "async_delay_filter",
    "crop_filter",
    "gain_filter",
    "basic_eq_filter",
    "hdr_tonemap_filter",
    "color_filter_v2",
    "scale_filter",
    "scroll_filter",
    "gpu_delay",
    "color_key_filter_v2",
    "clut_filter",
    "sharpness_filter_v2",
    "chroma_key_filter_v2",
    "luma_key_filter_v2",
    "noise_suppress_filter_v2",
    "invert_polarity_filter",
    "noise_gate_filter",
    "compressor_filter",
    "upward_compressor_filter",
    "limiter_filter",
    "expander_filter",
];

/// The transitions of a new scene collection, by kind.
pub static TRANSITION_KINDS: &[&str] = &[
    "cut_transition",
    "fade_transition",
    "swipe_transition",
    "slide_transition",
    "obs_stinger_transition",
    "fade_to_color_transition",
    "wipe_transition",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_default_settings() {
        for kind in KINDS {
            assert!(!kind.defaults().is_empty(), "{} has none", kind.id);
        }
    }

    #[test]
    fn a_source_without_video_has_no_size() {
        let size = |id: &str| find(id).unwrap().size(&Map::new());
        assert_eq!(size("pulse_input_capture"), (0.0, 0.0));
        assert_eq!(size("browser_source"), (800.0, 600.0));
    }
}
