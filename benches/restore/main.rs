//! Both ways of making a studio, timed on a real OBS: request by request, and from a scene collection's file.
//!
//! `make bench-studio`, as root. The table is printed and written to `target/bench/restore.md`. Each run makes a studio
//! under a new name in an OBS that has a blank one in use, as on a VM that was reset, and ends when a capture of it
//! equals what was wanted. The file goes over SFTP to a real OpenSSH server.

#[path = "../../tests/support/mod.rs"]
mod support;

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use self::support::PLENTY;
use self::support::sshd::Sshd;
use self::support::studios::{connector, input, item, scene};
use understudy::domain::studio::{
    Audio, Filter, Json, MadeBy, Scene, SceneItem, Secret, Studio, Transition, TransitionSource, difference,
};
use understudy::infra::obs::{Connector, Endpoint, Folder, Means, Route, Session};
use understudy::infra::template::{Stream, Templates};

const RUNS: usize = 5;

/// One studio made five times in one way.
#[derive(Default)]
struct Figures {
    requests: u32,
    /// Milliseconds until the restore was over, in order.
    made_ms: Vec<u128>,
    /// Milliseconds until a capture had been read, and equalled what was wanted.
    equal_ms: Vec<u128>,
    differences: Vec<String>,
    /// Of OBS afterwards.
    memory_mib: u64,
}

fn main() -> Result<()> {
    let Ok(address) = std::env::var("UNDERSTUDY_STUDIO") else {
        println!("restore: needs a real OBS: make bench-studio");
        return Ok(());
    };
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let table = runtime.block_on(measure(&address))?;
    println!("{table}");
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench");
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("restore.md"), table)?;
    Ok(())
}

async fn measure(address: &str) -> Result<String> {
    let endpoint = Endpoint {
        address: address.parse().context("UNDERSTUDY_STUDIO is address:port")?,
        route: Route::Direct,
        password: std::env::var("UNDERSTUDY_STUDIO_PASSWORD").ok().map(Secret::new),
        connect_deadline: PLENTY,
        call_deadline: PLENTY,
    };
    let config = std::env::var("UNDERSTUDY_STUDIO_CONFIG").context("UNDERSTUDY_STUDIO_CONFIG is not set")?;
    let sshd = Sshd::start().await;
    let folder = Folder::new(sshd.connect().await?, &config);
    let (session, _notices) = connector().connect(&endpoint).await?;

    let load = std::fs::read_to_string("/proc/loadavg")?;
    let mut table = format!("Load when it began: {load}\n");
    table.push_str("| studio | way | requests | made, ms | captured equal, ms | differences | OBS, MiB |\n");
    table.push_str("|---|---|---|---|---|---|---|\n");
    for (name, studio) in studios()? {
        for (way, means) in [
            ("requests", Means::Requests),
            ("file", Means::File(folder.clone())),
        ] {
            let figures = of(&session, &config, &studio, (way, &means)).await?;
            let Figures {
                requests,
                differences,
                memory_mib,
                ..
            } = &figures;
            let (made, equal) = (spread(&figures.made_ms), spread(&figures.equal_ms));
            writeln!(
                table,
                "| {name} | {way} | {requests} | {made} | {equal} | {} | {memory_mib} |",
                differences.len()
            )?;
            for difference in differences.iter().take(5) {
                eprintln!("{name} by {way}: {difference}");
            }
        }
    }
    Ok(table)
}

async fn of(
    session: &Arc<dyn Session>,
    config: &str,
    studio: &Studio,
    (way, means): (&str, &Means),
) -> Result<Figures> {
    let mut figures = Figures::default();
    for run in 1..=RUNS {
        let number: u32 = rand::random();
        session
            .restore(&blank(&format!("Blank {number}")), &Means::Requests)
            .await?;
        forget_others(config, &format!("Blank_{number}"))?;
        let want = Studio {
            scene_collection: format!("Show {number}"),
            ..studio.clone()
        };
        let began = Instant::now();
        let restored = session.restore(&want, means).await?;
        figures.made_ms.push(began.elapsed().as_millis());
        anyhow::ensure!(
            !matches!(restored.by, MadeBy::RequestsInstead { .. }),
            "run {run} by {way}: {:?}",
            restored.by
        );
        figures.requests = restored.requests;
        figures.differences = until_equal(session, &want).await?;
        figures.equal_ms.push(began.elapsed().as_millis());
        eprintln!(
            "{way} {run}: {:?} {:?}",
            figures.made_ms.last(),
            figures.equal_ms.last()
        );
    }
    figures.made_ms.sort_unstable();
    figures.equal_ms.sort_unstable();
    figures.memory_mib = memory_mib()?;
    Ok(figures)
}

/// Removes every collection but this one: OBS reads all of them whenever it looks for any, and a VM has few.
fn forget_others(config: &str, file: &str) -> Result<()> {
    for entry in std::fs::read_dir(format!("{config}/basic/scenes"))? {
        let path = entry?.path();
        if path.file_stem().is_none_or(|stem| stem != file) {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Captures until nothing differs, or nothing changes any more.
async fn until_equal(session: &Arc<dyn Session>, want: &Studio) -> Result<Vec<String>> {
    let mut before = None;
    loop {
        let found = difference(want, &session.capture().await?);
        let told: Vec<String> = found.iter().map(ToString::to_string).collect();
        if told.is_empty() || before.as_ref() == Some(&told) {
            return Ok(told);
        }
        before = Some(told);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn spread(in_order: &[u128]) -> String {
    match (
        in_order.first(),
        in_order.get(in_order.len() / 2),
        in_order.last(),
    ) {
        (Some(least), Some(median), Some(most)) => format!("{median} ({least}-{most})"),
        _ => "none".to_owned(),
    }
}

/// Resident memory of OBS.
fn memory_mib() -> Result<u64> {
    let Ok(process) = std::env::var("UNDERSTUDY_STUDIO_PID") else {
        return Ok(0);
    };
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line
        .and_then(|line| line.split_whitespace().nth(1))
        .context("no VmRSS")?;
    Ok(kib.parse::<u64>()? / 1024)
}

fn studios() -> Result<Vec<(String, Studio)>> {
    let mut studios = Vec::new();
    for scenes in [10, 50, 200] {
        studios.push((format!("{scenes} scenes, {scenes} inputs"), of_size(scenes)));
    }
    studios.push(("10 scenes, 2 groups, a swipe".to_owned(), grouped()));
    studios.push(("template, 4 cameras".to_owned(), from_template()?));
    Ok(studios)
}

fn transition(name: &str, kind: &str) -> TransitionSource {
    TransitionSource {
        name: name.to_owned(),
        kind: kind.to_owned(),
        settings: None,
    }
}

fn blank(name: &str) -> Studio {
    Studio {
        scene_collection: name.to_owned(),
        scenes: vec![scene("Scene", &[])],
        program_scene: "Scene".to_owned(),
        transition: Some(Transition {
            name: "Fade".to_owned(),
            duration_ms: Some(300),
        }),
        transitions: vec![
            transition("Cut", "cut_transition"),
            transition("Fade", "fade_transition"),
        ],
        ..Studio::default()
    }
}

/// So many scenes and inputs; each scene shows two inputs and the scene before it, where there is one. Every fifth input
/// has sound, every fourth a filter.
fn of_size(scenes: usize) -> Studio {
    let mut studio = blank("");
    let name = |n: usize| format!("Input {n:03}");
    studio.inputs = (0..scenes)
        .map(|n| {
            let mut made = if n % 5 == 0 {
                let mut clip = input(&name(n), "ffmpeg_source", r#"{"is_local_file":true}"#);
                clip.audio = Some(Audio {
                    volume_mul: 0.5,
                    muted: true,
                    ..Audio::default()
                });
                clip
            } else {
                let settings =
                    json!({"color": 4_278_190_080_u32 + u32::try_from(n).unwrap_or(0), "width": 160});
                input(&name(n), "color_source_v3", &settings.to_string())
            };
            if n % 4 == 0 {
                made.filters.push(Filter {
                    name: "Sharp".to_owned(),
                    kind: "sharpness_filter_v2".to_owned(),
                    settings: Json(r#"{"sharpness":0.5}"#.to_owned()),
                    enabled: true,
                });
            }
            made
        })
        .collect();
    studio.scenes = (0..scenes)
        .map(|n| {
            let mut items = vec![item(&name(n), 10.0), item(&name((n + 1) % scenes), 20.0)];
            if n % 10 > 0 {
                items.push(SceneItem::shown(format!("Scene {:03}", n - 1)));
            }
            scene(&format!("Scene {n:03}"), &items)
        })
        .collect();
    studio.program_scene = "Scene 001".to_owned();
    studio
}

fn grouped() -> Studio {
    let mut studio = of_size(10);
    studio.groups = [1, 2]
        .map(|n: usize| Scene {
            name: format!("Group {n}"),
            items: vec![
                SceneItem::shown(format!("Input {n:03}")),
                SceneItem::shown(format!("Input {:03}", n + 2)),
            ],
            ..Scene::default()
        })
        .to_vec();
    studio.scenes[3].items.push(SceneItem::shown("Group 1"));
    studio.scenes[4].items.push(SceneItem::shown("Group 2"));
    studio.transitions.push(TransitionSource {
        settings: Some(Json(r#"{"direction":"up"}"#.to_owned())),
        ..transition("Swipe", "swipe_transition")
    });
    studio.transition = Some(Transition {
        name: "Swipe".to_owned(),
        duration_ms: Some(450),
    });
    studio
}

fn from_template() -> Result<Studio> {
    let cameras: Vec<Value> = ["Floor", "Vault", "Bars", "Beam"]
        .iter()
        .zip(9001..)
        .map(|(name, port): (_, u16)| json!({"name": name, "port": port}))
        .collect();
    let variables = json!({"title": "Figures", "cameras": cameras});
    let templates = Templates::load(None)?;
    let template = templates.get("multi-camera").context("no template")?;
    let stream = Stream {
        server: Some("rtmp://127.0.0.1/live".to_owned()),
        key: None,
    };
    let variables = variables.as_object().context("the variables are no object")?;
    Ok(template.render("figures", variables, stream)?)
}
