//! A file of operations: read over the built-in ones, or refused with the line.

use std::path::Path;
use std::sync::LazyLock;

use understudy::config::{Config, operations};
use understudy::domain::operation::Catalogue;

static CONFIG: LazyLock<Config> = LazyLock::new(Config::default);

/// # Errors
/// Why it is refused.
pub fn run(text: &str) -> Result<Catalogue, operations::OperationsError> {
    let read = operations::parse(&CONFIG, Path::new("operations.toml"), text);
    if let Err(error) = &read {
        assert!(!error.to_string().is_empty(), "refused without a word");
    }
    read
}
