//! `understudy check-config`: reads a configuration as `serve` would, and says what is in force and why.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::failure::{Exit, Failure, Outcome};
use super::style::Tone;
use super::table::{Cell, Column, Table};
use super::terminal::Terminal;
use crate::assembly::inspect::left_out;
use crate::config::{self, Config, Loaded, Source};
use crate::infra::template::{Template, Templates};

#[derive(Debug, clap::Args)]
pub struct CheckConfigArgs {
    /// The configuration file; without one, the defaults and the environment
    #[arg(env = "UNDERSTUDY_CONFIG")]
    pub file: Option<PathBuf>,
    /// Only what differs from the default
    #[arg(long)]
    pub changed: bool,
}

/// # Errors
/// Every mistake in the configuration, and the first in a show template, as [`Exit::Usage`].
pub fn run(args: &CheckConfigArgs, terminal: &Terminal) -> Outcome {
    let file = args.file.as_deref();
    let mut loaded = Config::load(file, config::environment()).map_err(Failure::from)?;
    config::operations::load(&loaded.config).map_err(Failure::from)?;
    let shows = &loaded.config.shows;
    let templates = Templates::load(shows.templates_path.as_deref())
        .map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
    if args.changed {
        loaded
            .settings
            .retain(|setting| setting.source != Source::Default);
    }
    let left_out = left_out(&loaded.config);
    if terminal.json {
        terminal.print_json(&object(&loaded, &templates, &left_out))?;
        return Ok(exit(&left_out));
    }
    let mut table = Table::new([
        Column::new("KEY"),
        Column::new("VALUE").flexible(),
        Column::new("SOURCE").flexible(),
    ])
    .wrapping();
    for setting in &loaded.settings {
        let tone = match setting.source {
            Source::Default => Tone::Dim,
            Source::File { .. } | Source::Environment { .. } => Tone::Plain,
        };
        table.row([
            Cell::new(&setting.key),
            Cell::new(&setting.value).tone(tone),
            Cell::new(setting.source.to_string()).tone(tone),
        ]);
    }
    if !table.is_empty() {
        terminal.print(&table.render(terminal))?;
    }
    for warning in &loaded.warnings {
        let label = Tone::Busy.paint("warning:", terminal.color_on_stderr);
        terminal.note(&format!("{label} {warning}"));
    }
    let what = file.map_or_else(
        || "the defaults and the environment".to_owned(),
        |file| file.display().to_string(),
    );
    let names: Vec<&str> = templates.iter().map(Template::name).collect();
    terminal.note(&format!("show templates: {}", names.join(", ")));
    for why in &left_out {
        let label = Tone::Bad.paint("error:", terminal.color_on_stderr);
        terminal.note(&format!("{label} {why}"));
    }
    let verdict = if left_out.is_empty() {
        "valid"
    } else {
        "valid, but not for this build"
    };
    terminal.note(&format!("{what}: {verdict}"));
    Ok(exit(&left_out))
}

/// What is not as it should be is the build, not the configuration.
fn exit(left_out: &[String]) -> Exit {
    if left_out.is_empty() {
        Exit::Done
    } else {
        Exit::Failed
    }
}

fn object(loaded: &Loaded, templates: &Templates, left_out: &[String]) -> Value {
    let settings: Vec<Value> = loaded
        .settings
        .iter()
        .map(|setting| {
            json!({"key": setting.key, "value": setting.value, "source": setting.source.to_string()})
        })
        .collect();
    let warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    let templates: Vec<&str> = templates.iter().map(Template::name).collect();
    json!({"valid": true, "leftOut": left_out, "settings": settings, "warnings": warnings, "templates": templates})
}
