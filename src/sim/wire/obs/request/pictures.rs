//! Pictures of sources.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::super::status::{Code, Failure};
use super::{Call, Reply, Table};
use crate::sim::model::studio::picture::Color;

pub(super) const TABLE: Table = &[("GetSourceScreenshot", screenshot)];

/// obs-websocket's limits on the sides of a picture, in pixels.
const SIDE_MIN: f64 = 8.0;
const SIDE_MAX: f64 = 4_096.0;
/// Largest picture drawn here, in pixels: more than a thumbnail nobody needs of a simulation.
const PIXELS_MAX: u32 = 256 * 1_024;

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
    let colors = call.studio.colors(source);
    let data = STANDARD.encode(bmp(width, height, &colors));
    Ok(Some(
        json!({"imageData": format!("data:image/bmp;base64,{data}")}),
    ))
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
