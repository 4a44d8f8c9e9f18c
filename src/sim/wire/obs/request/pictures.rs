//! Pictures of sources.
//!
//! A picture has the colours of what is shown, in no place in particular: a scene's first visible inputs beside each
//! other, an input all over. Nothing visible is black.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::super::status::{Code, Failure};
use super::{Call, Reply, Table};
use crate::sim::model::studio::collection::{Collection, Selector, Source};
use crate::sim::model::studio::source::Input;

pub(super) const TABLE: Table = &[("GetSourceScreenshot", screenshot)];

/// obs-websocket's limits on the sides of a picture, in pixels.
const SIDE_MIN: f64 = 8.0;
const SIDE_MAX: f64 = 4_096.0;
/// Largest picture drawn here, in pixels: more than a thumbnail nobody needs of a simulation.
const PIXELS_MAX: u32 = 256 * 1_024;

/// Blue, green, red.
type Color = [u8; 3];

const BLACK: Color = [0, 0, 0];

fn screenshot(call: &mut Call<'_>) -> Reply {
    let source = call.source("sourceName", "sourceUuid")?.uuid();
    let format = call.fields.string("imageFormat")?;
    if format != "bmp" {
        return Err(Failure::new(
            Code::InvalidField,
            "Your specified image format is invalid or not supported by this system.",
        ));
    }
    call.fields.number_opt("imageWidth", SIDE_MIN, SIDE_MAX)?;
    call.fields.number_opt("imageHeight", SIDE_MIN, SIDE_MAX)?;
    let width = call.fields.natural_opt("imageWidth", 4_096)?.unwrap_or(640);
    let height = call.fields.natural_opt("imageHeight", 4_096)?.unwrap_or(360);
    if width * height > PIXELS_MAX {
        return Err(Failure::new(Code::CannotAct, "Failed to render screenshot."));
    }
    let mut colors = Vec::new();
    if call.studio.draws() {
        let collection = call.studio.collection();
        if let Some(source) = collection.find(Selector::Uuid(source)) {
            collect(collection, source, &mut colors);
        }
    }
    if !matches!(
        call.studio.collection().find(Selector::Uuid(source)),
        Some(Source::Input(_))
    ) || colors.is_empty()
    {
        colors.push(BLACK);
    }
    let data = STANDARD.encode(bmp(width, height, &colors));
    Ok(Some(
        json!({"imageData": format!("data:image/bmp;base64,{data}")}),
    ))
}

/// The colours of everything visible in a source. Scenes cannot contain themselves.
fn collect(collection: &Collection, source: Source<'_>, colors: &mut Vec<Color>) {
    match source {
        Source::Input(input) if input.kind.video => colors.push(color(input)),
        Source::Input(_) => {}
        Source::Scene(scene) | Source::Group(scene) => {
            for item in scene.items.iter().filter(|item| item.enabled) {
                if let Some(shown) = collection.find(Selector::Uuid(item.source)) {
                    collect(collection, shown, colors);
                }
            }
        }
    }
}

/// A colour source's own colour, and one of its own for everything else.
fn color(input: &Input) -> Color {
    let set = input.settings.get("color").and_then(Value::as_u64);
    let own = || input.uuid.0.to_le_bytes();
    let [red, green, blue] = match set.and_then(|set| u32::try_from(set).ok()) {
        Some(set) => [set, set >> 8, set >> 16].map(|part| part.to_le_bytes()[0]),
        None => [own()[0], own()[1], own()[2]],
    };
    [blue, green, red]
}

/// Columns of the colours; 24 bits to the pixel, rows padded to four bytes.
fn bmp(width: u32, height: u32, colors: &[Color]) -> Vec<u8> {
    let row_bytes = (width * 3).next_multiple_of(4);
    let mut bytes = b"BM".to_vec();
    bytes.extend((54 + row_bytes * height).to_le_bytes());
    bytes.extend([0; 4]);
    bytes.extend(54_u32.to_le_bytes());
    bytes.extend(40_u32.to_le_bytes());
    bytes.extend(width.to_le_bytes());
    bytes.extend(height.to_le_bytes());
    bytes.extend(1_u16.to_le_bytes());
    bytes.extend(24_u16.to_le_bytes());
    bytes.extend([0; 24]);
    let mut row: Vec<u8> = colors
        .iter()
        .cycle()
        .take(width as usize)
        .flatten()
        .copied()
        .collect();
    row.resize(row_bytes as usize, 0);
    for _ in 0..height {
        bytes.extend(&row);
    }
    bytes
}
