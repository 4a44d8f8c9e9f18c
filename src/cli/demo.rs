//! `understudy demo`.

use super::failure::Outcome;
use super::terminal::Terminal;
use super::DemoArgs;

/// # Errors
/// Always.

pub async fn run(_: DemoArgs, _: &Terminal) -> Outcome {
    anyhow::bail!("not part of this build")
}
