//! Waiting for another process, which cannot notify us.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Time between two looks. Short against anything worth waiting for, long against the cost of a look.
pub const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Looks until there is something, and gives it; panics with `what` when the deadline has passed.
pub async fn eventually<T>(what: &str, deadline: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + deadline;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < end, "not within {deadline:?}: {what}");
        sleep(LOOK_INTERVAL).await;
    }
}
