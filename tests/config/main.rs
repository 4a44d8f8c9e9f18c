//! Configuration, as an operator meets it: the reference file tells the truth, and every mistake is named.

use std::path::Path;

use understudy::config::{Config, Error, Loaded};

mod code;
mod contradictions;
mod mistakes;
mod operations;
mod reading;
mod reference;
mod secrets;

/// Long enough to be an admin token.
const TOKEN: &str = "0123456789abcdef-token";

/// Loads `file` as if it stood in `test.toml`, with `environment` around it.
fn load(file: &str, environment: &[(&str, &str)]) -> Result<Loaded, Error> {
    let environment = environment
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Config::parse(Path::new("test.toml"), file, environment)
}

fn loaded(file: &str, environment: &[(&str, &str)]) -> Loaded {
    load(file, environment).unwrap_or_else(|error| panic!("{error}"))
}

/// The problems found, one text each.
fn complaints(file: &str, environment: &[(&str, &str)]) -> Vec<String> {
    match load(file, environment) {
        Err(Error::Invalid { problems }) => problems.iter().map(ToString::to_string).collect(),
        Err(error) => panic!("not a list of problems: {error}"),
        Ok(_) => panic!("accepted"),
    }
}

fn complaint(file: &str, environment: &[(&str, &str)]) -> String {
    let mut all = complaints(file, environment);
    assert_eq!(all.len(), 1, "{all:#?}");
    all.remove(0)
}

fn source_of(loaded: &Loaded, key: &str) -> String {
    let setting = loaded.settings.iter().find(|setting| setting.key == key);
    setting
        .unwrap_or_else(|| panic!("no setting {key}"))
        .source
        .to_string()
}
