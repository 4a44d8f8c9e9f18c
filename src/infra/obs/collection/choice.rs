//! Whether a studio is better made from a file than by requests.

use std::collections::{BTreeSet, HashSet};

use crate::domain::studio::{Filter, Scene, Studio, TransitionSource};
use crate::infra::obs::{Folder, Means};

/// From so many pieces on that have to be made or removed a file is faster. [ADR 6] has the figures.
///
/// [ADR 6]: ../../../../docs/adr/0006-restore-by-file.md
const PIECES_MIN: usize = 300;

/// Where to put a file, if the studio is to be made from one. `now` is what was captured of it.
pub(crate) fn file_for<'a>(means: &'a Means, want: &Studio, now: &Studio) -> Option<&'a Folder> {
    let (folder, pieces_min) = match means {
        Means::Requests => return None,
        Means::File(folder) => (folder, 1),
        Means::Either(folder) => (folder, PIECES_MIN),
    };
    calls_for_a_file(want, now, pieces_min).then_some(folder)
}

fn calls_for_a_file(want: &Studio, now: &Studio, pieces_min: usize) -> bool {
    needs_a_file(want, now) || pieces_that_differ(want, now) >= pieces_min
}

/// Transitions and groups come and go with files only, and what is in a group is not restored by requests.
fn needs_a_file(want: &Studio, now: &Studio) -> bool {
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
            there.is_none_or(|there| there.items != wanted.items)
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

fn pieces_that_differ(want: &Studio, now: &Studio) -> usize {
    pieces(want).symmetric_difference(&pieces(now)).count()
}

fn pieces(studio: &Studio) -> HashSet<Piece<'_>> {
    let mut pieces = HashSet::new();
    for scene in &studio.scenes {
        pieces.insert(Piece::Scene(&scene.name));
        add_items(&mut pieces, scene);
        add_filters(&mut pieces, &scene.name, &scene.filters);
    }
    for input in &studio.inputs {
        pieces.insert(Piece::Input(&input.name, &input.kind));
        add_filters(&mut pieces, &input.name, &input.filters);
    }
    pieces
}

fn add_items<'a>(pieces: &mut HashSet<Piece<'a>>, scene: &'a Scene) {
    for item in &scene.items {
        let mut nth = 0;
        while !pieces.insert(Piece::Item(&scene.name, &item.source, nth)) {
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
    use crate::domain::studio::{Input, SceneItem};

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

    #[test]
    fn little_is_made_by_requests_and_much_from_a_file() {
        let nothing = Studio::default();
        assert!(!calls_for_a_file(&studio(10), &nothing, PIECES_MIN));
        let many = PIECES_MIN / 3;
        assert!(calls_for_a_file(&studio(many), &nothing, PIECES_MIN));
        assert!(!calls_for_a_file(&studio(many), &studio(many), PIECES_MIN));
        // What is too much is work, too.
        assert!(calls_for_a_file(&studio(1), &studio(many + 2), PIECES_MIN));
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
        assert!(calls_for_a_file(&grouped, &studio(1), PIECES_MIN));
        assert!(!calls_for_a_file(&grouped, &grouped, PIECES_MIN));
        let mut changed = grouped.clone();
        changed.groups[0].items[0].enabled = false;
        assert!(calls_for_a_file(&changed, &grouped, PIECES_MIN));
        let swipe = TransitionSource {
            name: "Swipe".to_owned(),
            kind: "swipe_transition".to_owned(),
            settings: None,
        };
        let swiping = Studio {
            transitions: vec![swipe],
            ..studio(1)
        };
        assert!(calls_for_a_file(&swiping, &studio(1), PIECES_MIN));
        assert!(!calls_for_a_file(&swiping, &swiping, PIECES_MIN));
    }
}
