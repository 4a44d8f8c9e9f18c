//! A template of shows and what it is told: a studio, or an error that says which variable or text.
//!
//! The template comes first; after a line `---`, the variables as a JSON object.

use std::path::Path;

use understudy::domain::studio::{Json, Studio};
use understudy::infra::template::{LoadError, RenderError, Stream, Template};

/// # Errors
/// Why the template is refused, or within, why these variables are.
pub fn run(text: &str) -> Result<Result<Studio, RenderError>, LoadError> {
    let (file, given) = text.split_once("\n---\n").unwrap_or((text, "{}"));
    let template = Template::parse("fuzzed", Path::new("fuzzed.toml"), file)
        .inspect_err(|error| assert!(!error.to_string().is_empty(), "refused without a word"))?;
    let rendered = template.render_text("show-1", &Json(given.to_owned()), Stream::default());
    match &rendered {
        Ok(studio) => super::studio::is_kept(studio),
        Err(error) => assert!(!error.to_string().is_empty(), "refused without a word"),
    }
    Ok(rendered)
}
