//! Whether a studio is better made from a file than by requests.

use std::collections::{BTreeSet, HashSet};

use crate::domain::studio::{Filter, SceneItem, Studio, TransitionSource};
use crate::infra::obs::capture::{Now, SceneNow};
use crate::infra::obs::{Folder, Means};

/// From so many pieces on that have to be made or removed a file is faster. [ADR 6] has the figures.
///
/// [ADR 6]: ../../../../docs/adr/0006-restore-by-file.md
const PIECES_MIN: usize = 300;

/// Where to put a file, if the studio is to be made from one.
pub(in crate::infra::obs) fn file_for<'a>(means: &'a Means, want: &Studio, now: &Now) -> Option<&'a Folder> {
    let (folder, pieces_min) = match means {
        Means::Requests => return None,
        Means::File(folder) => (folder, 1),
        Means::Either(folder) => (folder, PIECES_MIN),
    };
    calls_for_a_file(want, now, pieces_min).then_some(folder)
}

fn calls_for_a_file(want: &Studio, now: &Now, pieces_min: usize) -> bool {
    needs_a_file(want, now) || pieces_that_differ(want, now) >= pieces_min
}

/// Transitions and groups come and go with files only, and what is in a group is not restored by requests.
fn needs_a_file(want: &Studio, now: &Now) -> bool {
    let kinds = |transitions: &[TransitionSource]| -> BTreeSet<(String, String)> {
        let known = transitions.iter();
        known
            .map(|source| (source.name.clone(), source.kind.clone()))
            .collect()
    };
    // Where none are wanted nothing is known of them: every collection has some.
    let transitions = !want.transitions.is_empty() && kinds(&want.transitions) != kinds(&now.transitions);
    let groups = want.groups.len() != now.groups.len()
        || want.groups.iter().any(|wanted| {
            let there = now.groups.iter().find(|there| there.name == wanted.name);
            there.is_none_or(|there| !there.items.iter().map(|item| &item.item).eq(&wanted.items))
        });
    transitions || groups
}

/// Something that takes a request to make, and one to remove.
#[derive(PartialEq, Eq, Hash)]
enum Piece<'a> {
    Scene(&'a str),
    Input(&'a str, &'a str),
    /// The `nth` item of a source in a scene.
    Item(&'a str, &'a str, usize),
    Filter(&'a str, &'a str),
}

fn pieces_that_differ(want: &Studio, now: &Now) -> usize {
    wanted(want).symmetric_difference(&there(now)).count()
}

fn wanted(studio: &Studio) -> HashSet<Piece<'_>> {
    let mut pieces = HashSet::new();
    for scene in &studio.scenes {
        pieces.insert(Piece::Scene(&scene.name));
        add_items(&mut pieces, &scene.name, scene.items.iter());
        add_filters(&mut pieces, &scene.name, &scene.filters);
    }
    for input in &studio.inputs {
        pieces.insert(Piece::Input(&input.name, &input.kind));
        add_filters(&mut pieces, &input.name, &input.filters);
    }
    pieces
}

fn there(now: &Now) -> HashSet<Piece<'_>> {
    let mut pieces = HashSet::new();
    for SceneNow {
        name, items, filters, ..
    } in &now.scenes
    {
        pieces.insert(Piece::Scene(name));
        add_items(&mut pieces, name, items.iter().map(|item| &item.item));
        add_filters(&mut pieces, name, filters);
    }
    for input in &now.inputs {
        pieces.insert(Piece::Input(&input.name, &input.kind));
        add_filters(&mut pieces, &input.name, &input.filters);
    }
    pieces
}

fn add_items<'a>(
    pieces: &mut HashSet<Piece<'a>>,
    scene: &'a str,
    items: impl Iterator<Item = &'a SceneItem>,
) {
    for item in items {
        let mut nth = 0;
        while !pieces.insert(Piece::Item(scene, &item.source, nth)) {
            nth += 1;
        }
    }
}

fn add_filters<'a>(pieces: &mut HashSet<Piece<'a>>, source: &'a str, filters: &'a [Filter]) {
    pieces.extend(filters.iter().map(|filter| Piece::Filter(source, &filter.name)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::studio::{Input, Scene, StreamService};

    fn studio(scenes: usize) -> Studio {
        let scene = |n: usize| Scene {
            name: format!("scene {n}"),
            items: vec![SceneItem::shown("in"), SceneItem::shown("in")],
            ..Scene::default()
        };
        Studio {
            inputs: vec![Input {
                name: "in".to_owned(),
                ..Input::default()
            }],
            scenes: (0..scenes).map(scene).collect(),
            ..Studio::default()
        }
    }

    /// This studio as it is read.
    fn now(studio: &Studio) -> Now {
        let scene = |scene: &Scene| SceneNow {
            name: scene.name.clone(),
            items: Vec::from_iter(
                scene
                    .items
                    .iter()
                    .cloned()
                    .zip(1..)
                    .map(|(item, id)| crate::infra::obs::capture::ItemNow { id, item }),
            ),
            filters: scene.filters.clone(),
            transition_override: None,
        };
        Now {
            collection: String::new(),
            inputs: studio.inputs.clone(),
            scenes: studio.scenes.iter().map(scene).collect(),
            groups: studio.groups.iter().map(scene).collect(),
            transition: None,
            transitions: studio.transitions.clone(),
            stream: StreamService::default(),
            program_scene: String::new(),
            preview_scene: None,
        }
    }

    #[test]
    fn little_is_made_by_requests_and_much_from_a_file() {
        let nothing = now(&Studio::default());
        assert!(!calls_for_a_file(&studio(10), &nothing, PIECES_MIN));
        let many = PIECES_MIN / 3;
        assert!(calls_for_a_file(&studio(many), &nothing, PIECES_MIN));
        assert!(!calls_for_a_file(&studio(many), &now(&studio(many)), PIECES_MIN));
        // What is too much is work, too.
        assert!(calls_for_a_file(&studio(1), &now(&studio(many + 2)), PIECES_MIN));
    }

    #[test]
    fn what_no_request_makes_comes_from_a_file() {
        let group = Scene {
            name: "Together".to_owned(),
            items: vec![SceneItem::shown("in")],
            ..Scene::default()
        };
        let grouped = Studio {
            groups: vec![group],
            ..studio(1)
        };
        assert!(calls_for_a_file(&grouped, &now(&studio(1)), PIECES_MIN));
        assert!(!calls_for_a_file(&grouped, &now(&grouped), PIECES_MIN));
        let mut changed = grouped.clone();
        changed.groups[0].items[0].enabled = false;
        assert!(calls_for_a_file(&changed, &now(&grouped), PIECES_MIN));
        let swipe = TransitionSource {
            name: "Swipe".to_owned(),
            kind: "swipe_transition".to_owned(),
            settings: None,
        };
        let swiping = Studio {
            transitions: vec![swipe],
            ..studio(1)
        };
        assert!(calls_for_a_file(&swiping, &now(&studio(1)), PIECES_MIN));
        assert!(!calls_for_a_file(&swiping, &now(&swiping), PIECES_MIN));
    }
}
