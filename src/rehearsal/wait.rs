//! Waiting for what shows itself only to those who look.

use std::time::Duration;

/// Looks every `pause` until there is something to be seen.
///
/// # Errors
/// After `limit`, with `what` was waited for.
pub async fn until<T>(
    what: &str,
    limit: Duration,
    pause: Duration,
    look: impl AsyncFn() -> Option<T>,
) -> anyhow::Result<T> {
    let wait = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(pause).await;
        }
    };
    let found = tokio::time::timeout(limit, wait).await;
    found.map_err(|_| anyhow::anyhow!("not within {} s: {what}", limit.as_secs()))
}
