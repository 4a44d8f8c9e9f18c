//! `understudy serve`: the coordinator, until it is told to stop.

use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

use super::gateway::Gateway;
use super::input;
use crate::actors::root::Node;
use crate::assembly;
use crate::config::Config;

/// How long open requests may take to finish when it stops.
const DRAIN: Duration = Duration::from_secs(10);
/// How often the ledger's health is looked at.
const LEDGER_LOOK: Duration = Duration::from_millis(500);

/// Runs the coordinator with this configuration until SIGTERM or SIGINT, or until its ledger fails; one that is `attended`
/// also ends with its standard input.
///
/// # Errors
/// Why it could not start, or had to stop.
pub async fn run(config: &Config, attended: bool) -> anyhow::Result<()> {
    let gateway = Gateway::bind(config)?;
    let node = assembly::node(config, |coordinator| Some(gateway.spec(coordinator))).await?;
    tracing::info!(
        address = %gateway.address(),
        auth = config.server.auth.as_str(),
        ledger = %config.ledger.path.display(),
        "understudy is up; the API is described at http://{}/api/docs",
        gateway.address()
    );
    let ended = tokio::select! {
        ended = until_told(&node) => ended,
        () = input::ends(), if attended => Ok(()),
    };
    let stopped = stop(&gateway, node).await;
    // Why it ended says what is to be done; that it did not end well follows from that.
    ended.and(stopped)
}

/// Takes a serving coordinator down in order.
///
/// # Errors
/// If the ledger could not be closed properly.
pub async fn stop(gateway: &Gateway, node: Node) -> anyhow::Result<()> {
    tracing::info!("stopping; shows stay on air");
    gateway.close(DRAIN).await;
    node.stop().await.context("closing the ledger")
}

/// Returns on a signal; fails when the ledger does, since nothing can be promised any more, and when the root of the tree
/// does, since nothing is left that would do anything.
async fn until_told(node: &Node) -> anyhow::Result<()> {
    let coordinator = node.coordinator();
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            () = tokio::time::sleep(LEDGER_LOOK) => {}
        }
        if !node.is_standing() {
            anyhow::bail!(
                "the root of the supervision tree has died. Shows stay on air; start understudy again"
            );
        }
        if let Err(reason) = coordinator.readiness().ledger {
            anyhow::bail!(
                "the ledger cannot write: {reason}. Shows stay on air; mend it and start understudy again"
            );
        }
    }
}
