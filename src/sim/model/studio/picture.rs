//! What a picture of a source shows.
//!
//! A picture has the colours of what is shown, in no place in particular: a scene's first visible inputs beside each
//! other, an input all over. Nothing visible is black.

use serde_json::Value;

use super::Studio;
use super::collection::{Collection, Selector, Source};
use super::source::{Input, Uuid};

/// Blue, green, red.
pub type Color = [u8; 3];

const BLACK: Color = [0, 0, 0];

impl Studio {
    /// The colours of everything visible in a source, black where there is nothing.
    #[must_use]
    pub fn colors(&self, source: Uuid) -> Vec<Color> {
        let mut colors = Vec::new();
        let collection = self.collection();
        let found = collection.find(Selector::Uuid(source));
        if let Some(source) = found.filter(|_| self.draws()) {
            collect(collection, source, &mut colors);
        }
        if !matches!(found, Some(Source::Input(_))) || colors.is_empty() {
            colors.push(BLACK);
        }
        colors
    }
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
