//! Show templates: the one that is built in, those of an operator, and every mistake in either.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};
use understudy::domain::studio::{Studio, Transform};
use understudy::infra::template::{LoadError, RenderError, Stream, Template, Templates};

fn variables(cameras: usize) -> Map<String, Value> {
    let names = [
        "Floor",
        "Vault",
        "Bars",
        "Beam",
        "Rings",
        "Trampoline",
        "Pommel",
        "Judges",
    ];
    let cameras: Vec<Value> = names
        .iter()
        .take(cameras)
        .enumerate()
        .map(|(index, name)| json!({"name": name, "port": 9001 + index}))
        .collect();
    let variables = json!({
        "title": "Spring Invitational",
        "cameras": cameras,
        "teams": [{"name": "North & Co"}, {"name": "South"}],
        "gender": "women",
        "graphics_url": "https://graphics.example.org/overlay?style=1",
    });
    variables.as_object().unwrap().clone()
}

fn multi_camera(given: &Map<String, Value>) -> Result<Studio, RenderError> {
    let templates = Templates::load(None).unwrap();
    let stream = Stream {
        server: Some("rtmp://ingest.example/live".to_owned()),
        key: None,
    };
    templates
        .get("multi-camera")
        .unwrap()
        .render("finals", given, stream)
}

fn settings(studio: &Studio, input: &str) -> Value {
    let input = studio.inputs.iter().find(|there| there.name == input).unwrap();
    serde_json::from_str(&input.settings.0).unwrap()
}

#[test]
fn four_cameras_make_a_scene_each_and_every_dual_and_quad_view() {
    let studio = multi_camera(&variables(4)).unwrap();
    let names: Vec<&str> = studio.scenes.iter().map(|scene| scene.name.as_str()).collect();
    let expected = [
        "Thanks for Watching",
        "Break",
        "Quad Floor Vault Bars Beam",
        "Dual Floor Vault",
        "Dual Floor Bars",
        "Dual Floor Beam",
        "Dual Vault Bars",
        "Dual Vault Beam",
        "Dual Bars Beam",
        "Camera 1 Floor",
        "Camera 2 Vault",
        "Camera 3 Bars",
        "Camera 4 Beam",
        "Graphics Fullscreen",
        "Starting Soon",
    ];
    assert_eq!(names, expected);
    assert_eq!(studio.program_scene, "Starting Soon");
    assert_eq!(
        studio.stream.as_ref().unwrap().server.as_deref(),
        Some("rtmp://ingest.example/live")
    );
    let camera = settings(&studio, "Camera 3");
    assert_eq!(camera["input"], "srt://127.0.0.1:9003?mode=caller&latency=200000");
    let page = settings(&studio, "Graphics");
    let url = "https://graphics.example.org/overlay?style=1&show=finals&gender=women&teams=North%20%26%20Co%2CSouth";
    assert_eq!((&page["url"], &page["width"]), (&json!(url), &json!(1920)));
}

#[test]
fn a_quad_view_shows_its_cameras_in_the_four_quarters_under_the_graphics() {
    let studio = multi_camera(&variables(4)).unwrap();
    let quad = studio
        .scenes
        .iter()
        .find(|scene| scene.name.starts_with("Quad"))
        .unwrap();
    let at = |transform: &Transform| {
        (
            transform.position_x,
            transform.position_y,
            transform.bounds_width,
            transform.bounds_height,
        )
    };
    let shown: Vec<_> = quad
        .items
        .iter()
        .map(|item| (item.source.as_str(), at(&item.transform)))
        .collect();
    let expected = [
        ("Camera 1", (0.0, 0.0, 960.0, 540.0)),
        ("Camera 2", (960.0, 0.0, 960.0, 540.0)),
        ("Camera 3", (0.0, 540.0, 960.0, 540.0)),
        ("Camera 4", (960.0, 540.0, 960.0, 540.0)),
        ("Graphics", (0.0, 0.0, 0.0, 0.0)),
        ("Commentary", (0.0, 0.0, 0.0, 0.0)),
    ];
    assert_eq!(shown, expected);
}

#[test]
fn what_a_show_does_not_have_is_left_out() {
    let mut given = variables(1);
    given.insert("graphics_url".to_owned(), json!(""));
    given.insert("audio".to_owned(), json!([]));
    let studio = multi_camera(&given).unwrap();
    let names: Vec<&str> = studio.scenes.iter().map(|scene| scene.name.as_str()).collect();
    assert_eq!(
        names,
        ["Thanks for Watching", "Break", "Camera 1 Floor", "Starting Soon"]
    );
    assert!(
        !studio
            .inputs
            .iter()
            .any(|input| input.name == "Graphics" || input.name == "Commentary")
    );
    let eight = multi_camera(&variables(8)).unwrap();
    assert_eq!(
        eight
            .scenes
            .iter()
            .filter(|scene| scene.name.starts_with("Quad"))
            .count(),
        70
    );
}

#[test]
fn a_variable_that_does_not_fit_is_named() {
    let table = [
        ("title", Value::Null, "variables.title: a text is expected"),
        ("title", json!("two\nlines"), "variables.title: one line"),
        ("titel", json!("x"), "variables.titel: there is no such variable"),
        ("width", json!(10), "variables.width: a number from 320 to 7680"),
        ("cameras", json!([]), "variables.cameras: 1 to 8 items"),
        (
            "cameras",
            json!([{"name": "Floor"}]),
            "variables.cameras[0].port: it has to be given",
        ),
        (
            "cameras",
            json!([{"name": "Floor", "port": 0}]),
            "variables.cameras[0].port: a number from 1",
        ),
        (
            "cameras",
            json!([{"name": "F", "port": 1, "prot": 2}]),
            "variables.cameras[0].prot: there is no such",
        ),
        (
            "graphics_url",
            json!("file:///etc/passwd"),
            "variables.graphics_url: an http or https address",
        ),
    ];
    for (name, value, expected) in table {
        let mut given = variables(2);
        given.insert(name.to_owned(), value);
        let error = multi_camera(&given).unwrap_err();
        assert!(matches!(error, RenderError::Variable { .. }), "{error}");
        assert!(error.to_string().starts_with(expected), "{error}");
    }
    let mut given = variables(2);
    given.remove("title");
    let error = multi_camera(&given).unwrap_err().to_string();
    assert!(
        error.starts_with("variables.title: it has to be given"),
        "{error}"
    );
}

#[test]
fn what_a_variable_says_is_text_and_nothing_else() {
    let mut given = variables(1);
    given.insert("title".to_owned(), json!("{{ srt_host }}{% raw %}\" }"));
    let studio = multi_camera(&given).unwrap();
    assert_eq!(
        settings(&studio, "Break Text")["text"],
        "{{ srt_host }}{% raw %}\" }: back in a moment"
    );
}

/// A template with one scene, whose lines are numbered from 1.
const SMALL: &str = r#"description = "small"
[variables]
title = { kind = "text", default = "x" }
[studio]
scene_collection = "Show"
program_scene = "One"
[[studio.inputs]]
name = "Title"
kind = "text_ft2_source_v2"
settings = { text = "{{ title }}" }
[[studio.scenes]]
name = "One"
[[studio.scenes.items]]
source = "Title"
"#;

fn small() -> Result<Studio, RenderError> {
    Template::parse("small", Path::new("small.toml"), SMALL)
        .unwrap()
        .render("finals", &Map::new(), Stream::default())
}

#[test]
fn a_mistake_in_a_template_is_found_before_a_show_uses_it() {
    assert_eq!(small().unwrap().scenes.len(), 1);
    let table = [
        (
            "text = \"{{ title }}\"",
            "text = \"{{ title\"",
            "small.toml, line 10: ",
        ),
        (
            "[studio]",
            "[stdio]",
            "small.toml, line 4: \"stdio\" is not a part",
        ),
        (
            "kind = \"text\", ",
            "kind = \"txt\", ",
            "small.toml, line 3: variables.title: kind",
        ),
        (
            "default = \"x\"",
            "default = 7",
            "small.toml, line 3: variables.title",
        ),
        (
            "default = \"x\"",
            "defalt = \"x\"",
            "small.toml, line 3: variables.title: defalt",
        ),
        (
            "title = {",
            "show = {",
            "small.toml, line 3: variables.show: a name",
        ),
        ("name = \"Title\"", "name = ", "small.toml, line 8: "),
    ];
    for (from, to, expected) in table {
        assert!(SMALL.contains(from), "{from}");
        let text = SMALL.replacen(from, to, 1);
        let error = Template::parse("small", Path::new("small.toml"), &text).unwrap_err();
        assert!(error.to_string().starts_with(expected), "{to}: {error}");
    }
}

#[test]
fn a_template_that_does_not_give_a_studio_names_the_line() {
    let table = [
        ("{{ title }}", "{{ titel }}", "line 11: titel is not defined"),
        (
            "source = \"Title\"",
            "source = \"Titel\"",
            "line 14: scenes[0].items[0]: there is no source \"Titel\"",
        ),
        (
            "program_scene = \"One\"",
            "program_scene = \"Two\"",
            "line 7: program_scene: there is no scene \"Two\"",
        ),
        (
            "name = \"One\"",
            "name = \"Title\"",
            "line 12: scenes[0]: \"Title\" is empty, or the name",
        ),
        (
            "source = \"Title\"",
            "source = \"Title\"\nframe = { x = 0 }",
            "line 16: scenes[0].items[0].frame",
        ),
        (
            "source = \"Title\"",
            "source = \"Title\"\nwhen = \"title\"",
            "line 16: when = \"title\" is neither",
        ),
        (
            "name = \"One\"",
            "name = \"One\"\nfor_each = \"title\"\nas = \"x\"",
            "line 14: for_each = \"title\" is not a list",
        ),
        (
            "name = \"One\"",
            "name = \"One\"\nfor_each = \"[1]\"",
            "line 14: for_each needs `as`",
        ),
        (
            "name = \"One\"",
            "name = \"One\"\nfor_each = \"[1]|combinations(1)|first\"\nas = \"x\"\ncolour = 1",
            "line 16: scenes[0].colour",
        ),
    ];
    for (from, to, expected) in table {
        assert!(SMALL.contains(from), "{from}");
        let text = format!(
            "[example]\n{}",
            SMALL
                .replacen(from, to, 1)
                .replacen("description = \"small\"\n", "", 1)
        );
        let text = format!("description = \"small\"\n{text}");
        let error = Template::parse("small", Path::new("small.toml"), &text).unwrap_err();
        assert!(matches!(error, LoadError::Example { .. }), "{error}");
        let error = error.to_string();
        assert!(error.contains(expected), "{to}: {error}");
        assert!(error.contains("small.toml"), "{error}");
    }
}

#[test]
fn templates_of_an_operator_stand_beside_the_built_in_one_and_win_over_it() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("small.toml", SMALL);
    write("notes.txt", "not a template");
    let names =
        |templates: &Templates| -> Vec<String> { templates.iter().map(|t| t.name().to_owned()).collect() };
    let templates = Templates::load(Some(folder.path())).unwrap();
    assert_eq!(names(&templates), ["multi-camera", "small"]);
    write("multi-camera.toml", SMALL);
    let templates = Templates::load(Some(folder.path())).unwrap();
    assert_eq!(templates.get("multi-camera").unwrap().description(), "small");
    write("My Show.toml", SMALL);
    assert!(matches!(
        Templates::load(Some(folder.path())),
        Err(LoadError::Name { .. })
    ));
    let missing = Templates::load(Some(&folder.path().join("missing"))).unwrap_err();
    assert!(missing.to_string().contains("missing"), "{missing}");
}
