//! A configuration file and the environment over it: read, or refused with every mistake named.
//!
//! The file comes first; after a line `---`, one variable a line, `NAME=value`.

use std::path::Path;

use understudy::config::{Config, Error, Loaded};

/// # Errors
/// Why it is refused.
pub fn run(text: &str) -> Result<Loaded, Error> {
    let (file, variables) = text.split_once("\n---\n").unwrap_or((text, ""));
    let environment = variables
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let loaded = Config::parse(Path::new("understudy.toml"), file, environment);
    match &loaded {
        Ok(loaded) => {
            loaded
                .config
                .validate()
                .expect("what was accepted contradicts itself");
        }
        Err(error) => assert!(!error.to_string().is_empty(), "refused without a word"),
    }
    loaded
}
