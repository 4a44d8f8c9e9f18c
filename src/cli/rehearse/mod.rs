pub mod drill;
pub mod kill;
pub mod report;
pub mod scenario;
mod watch;

/// # Errors
/// Always.
pub async fn run(_: super::RehearseArgs, _: &super::Terminal) -> super::Outcome {
    anyhow::bail!("not part of this build")
}
