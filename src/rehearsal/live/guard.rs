//! Watches over everybody else while a live rehearsal is played.

use std::time::Duration;

use tokio::time::Instant;

use super::Live;
use crate::rehearsal::control::Alert;

/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(500);
/// Limit on one look.
const ANSWER: Duration = Duration::from_secs(3);
/// The coordinator may not answer for so long: it moves shows just then, or has been started again.
const PATIENCE: Duration = Duration::from_secs(15);

/// Returns why the rehearsal must end at once.
pub(super) async fn watch(live: &Live<'_>) -> String {
    let mut heard_at = Instant::now();
    let before = match live.pool.control().alerts().await {
        Ok(alerts) => alerts,
        Err(error) => return format!("the alerts cannot be asked for: {error:#}"),
    };
    loop {
        let looked = tokio::time::timeout(ANSWER, look(live, &before)).await;
        let looked =
            looked.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer within {} s", ANSWER.as_secs())));
        match looked {
            Ok(None) => heard_at = Instant::now(),
            Ok(Some(reason)) => return reason,
            Err(error) if heard_at.elapsed() >= PATIENCE => {
                return format!("the coordinator does not answer: {error:#}");
            }
            Err(_) => {}
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn look(live: &Live<'_>, before: &[Alert]) -> anyhow::Result<Option<String>> {
    let alerts = live.pool.control().alerts().await?;
    let rang = alerts
        .iter()
        .find(|alert| !before.contains(alert) && concerns_others(live, alert));
    if let Some(alert) = rang {
        return Ok(Some(format!(
            "a real alert rang: {}: {}",
            alert.title, alert.message
        )));
    }
    let in_need = live.pool.shows_in_need(live.show()).await?;
    if let Some(show) = in_need.first() {
        return Ok(Some(format!("show {show} needs a VM")));
    }
    let spares = live.pool.control().available().await?;
    if spares < live.plan.keep {
        let keep = live.plan.keep;
        return Ok(Some(format!(
            "{spares} spare VMs are left for real shows; {keep} must be"
        )));
    }
    Ok(None)
}

/// Critical or a warning, and neither about the rehearsal's show nor about a VM that it has had.
fn concerns_others(live: &Live<'_>, alert: &Alert) -> bool {
    if alert.level == "info" {
        return false;
    }
    let ours = |show: &str| show == live.show().as_str();
    match (&alert.show, &alert.vm) {
        (Some(show), _) => !ours(show),
        (None, Some(vm)) => !live.notes().touched.iter().any(|touched| touched.as_str() == vm),
        (None, None) => true,
    }
}
