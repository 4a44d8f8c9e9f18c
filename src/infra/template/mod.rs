//! Templates of shows: from a few variables to everything in a studio.
//!
//! ```text
//! file (TOML) ──► Template ──► variables checked ──► texts and repetitions expanded ──► domain::studio::Studio
//!   tree.rs        mod.rs         variables.rs                 expand.rs                      form.rs
//! ```
//!
//! A template is read once, at start. A text in it may name variables (`{{ camera.name }}`), a table in a list may be
//! repeated (`for_each`) or left out (`when`). Nothing that a client says is ever taken for a template. Everything is
//! bounded: files, lists, texts, the work of one text, and the size of what comes out.
//!
//! How to write one: `docs/show-templates.md`.

mod error;
mod expand;
mod form;
mod text;
mod tree;
mod variables;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

pub use error::{LoadError, RenderError};
pub use variables::{Kind, Variable};

use crate::domain::sealed::Sealed;
use crate::domain::studio::{Json, Studio};
use error::At;
use tree::{Node, Tree};

/// Largest template file read, in bytes.
const FILE_BYTES_MAX: u64 = 256 * 1024;
/// Templates in all.
const TEMPLATES_MAX: usize = 64;
/// The one that is built in, and its name.
const BUILT_IN: (&str, &str) = (
    "multi-camera",
    include_str!("../../../config/show-templates/multi-camera.toml"),
);

/// Every template there is, by name.
#[derive(Debug)]
pub struct Templates(BTreeMap<String, Template>);

/// One template, read and checked.
#[derive(Debug)]
pub struct Template {
    name: String,
    /// As errors name it.
    file: PathBuf,
    description: String,
    variables: BTreeMap<String, Variable>,
    studio: Node,
}

/// Where a show is streamed to; what the template says stands where this says nothing.
#[derive(Debug, Clone, Default)]
pub struct Stream {
    pub server: Option<String>,
    pub key: Option<Sealed>,
}

impl Templates {
    /// The built-in template, and those in `folder` (`*.toml`, named by their files), which win over it. Blocks on the
    /// disk.
    ///
    /// # Errors
    /// [`LoadError`]: what is wrong in which file, on which line.
    pub fn load(folder: Option<&Path>) -> Result<Self, LoadError> {
        let (name, text) = BUILT_IN;
        let built_in = Template::parse(name, Path::new("(built-in) multi-camera.toml"), text)?;
        let mut templates = BTreeMap::from([(name.to_owned(), built_in)]);
        let files = match folder {
            Some(folder) => toml_files(folder)?,
            None => Vec::new(),
        };
        for path in files {
            let name = path
                .file_stem()
                .and_then(|stem| stem.to_str())
                .unwrap_or_default();
            if !is_name(name) {
                return Err(LoadError::Name { path });
            }
            let template = Template::parse(name, &path, &read(&path)?)?;
            templates.insert(name.to_owned(), template);
            if templates.len() > TEMPLATES_MAX {
                return Err(LoadError::TooMany {
                    path: path.parent().unwrap_or(&path).to_owned(),
                    limit: TEMPLATES_MAX,
                });
            }
        }
        Ok(Self(templates))
    }

    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Template> {
        self.0.get(name)
    }

    /// By name.
    pub fn iter(&self) -> impl Iterator<Item = &Template> {
        self.0.values()
    }
}

impl Template {
    /// Reads a template and, if it has an example, renders that.
    ///
    /// # Errors
    /// [`LoadError`].
    pub fn parse(name: &str, path: &Path, text: &str) -> Result<Self, LoadError> {
        let Tree {
            description,
            variables,
            example,
            studio,
        } = tree::parse(path, text)?;
        let template = Self {
            name: name.to_owned(),
            file: path.to_owned(),
            description,
            variables,
            studio,
        };
        if let Some(example) = example {
            template
                .render("example", &example, Stream::default())
                .map_err(|source| LoadError::Example {
                    path: path.to_owned(),
                    source,
                })?;
        }
        Ok(template)
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    #[must_use]
    pub fn description(&self) -> &str {
        &self.description
    }

    /// What it can be told, by name.
    #[must_use]
    pub fn variables(&self) -> &BTreeMap<String, Variable> {
        &self.variables
    }

    /// The same with the variables as a JSON text.
    ///
    /// # Errors
    /// As [`Template::render`].
    pub fn render_text(&self, show: &str, given: &Json, stream: Stream) -> Result<Studio, RenderError> {
        let given = serde_json::from_str(&given.0).map_err(|error| RenderError::Variable {
            variable: "variables".to_owned(),
            problem: format!("they are not an object: {error}"),
        })?;
        self.render(show, &given, stream)
    }

    /// The studio of a show with these variables.
    ///
    /// # Errors
    /// [`RenderError`] names the variable that is wrong, or the file and line that cannot be rendered with them.
    pub fn render(
        &self,
        show: &str,
        given: &Map<String, Value>,
        stream: Stream,
    ) -> Result<Studio, RenderError> {
        let mut scope = variables::values(&self.name, &self.variables, given)?;
        scope.insert("show".to_owned(), Value::String(show.to_owned()));
        let at = |At { line, problem }| RenderError::Template {
            file: self.file.clone(),
            line,
            problem,
        };
        let (studio, lines) = expand::expand(&self.studio, &scope).map_err(at)?;
        form::studio(studio, stream).map_err(|(path, problem)| {
            at(At {
                line: lines.nearest(&path),
                problem: if path.is_empty() {
                    problem
                } else {
                    format!("{path}: {problem}")
                },
            })
        })
    }
}

fn toml_files(folder: &Path) -> Result<Vec<PathBuf>, LoadError> {
    let failed = |source| LoadError::Read {
        path: folder.to_owned(),
        source,
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn read(path: &Path) -> Result<String, LoadError> {
    use std::io::Read as _;
    let failed = |source| LoadError::Read {
        path: path.to_owned(),
        source,
    };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(FILE_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(failed)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(LoadError::TooLarge {
            path: path.to_owned(),
            limit: FILE_BYTES_MAX,
        });
    }
    Ok(text)
}

fn is_name(name: &str) -> bool {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !name.is_empty() && name.len() <= 64 && name.chars().all(legal)
}
