//! A token bucket: so many at once, so many per second in the long run.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

#[derive(Debug)]
pub struct Bucket {
    capacity: f64,
    per_second: f64,
    level: Mutex<(f64, Instant)>,
}

impl Bucket {
    #[must_use]
    pub fn new(capacity: u32, per_second: f64) -> Self {
        let capacity = f64::from(capacity.max(1));
        Self {
            capacity,
            per_second,
            level: Mutex::new((capacity, Instant::now())),
        }
    }

    /// Takes one token.
    ///
    /// # Errors
    /// The time after which there will be one.
    pub fn take(&self) -> Result<(), Duration> {
        let now = Instant::now();
        // A poisoned bucket is still a bucket: nothing in here can be left half done.
        let mut level = self
            .level
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let (tokens, since) = *level;
        let tokens = (tokens + now.duration_since(since).as_secs_f64() * self.per_second).min(self.capacity);
        if tokens < 1.0 {
            *level = (tokens, now);
            return Err(Duration::from_secs_f64(
                (1.0 - tokens) / self.per_second.max(f64::MIN_POSITIVE),
            ));
        }
        *level = (tokens - 1.0, now);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_bucket_gives_a_burst_and_then_its_rate() {
        let bucket = Bucket::new(3, 2.0);
        for _ in 0..3 {
            assert_eq!(bucket.take(), Ok(()));
        }
        assert_eq!(bucket.take(), Err(Duration::from_millis(500)));
        tokio::time::advance(Duration::from_millis(500)).await;
        assert_eq!(bucket.take(), Ok(()));
        assert!(bucket.take().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn rest_fills_it_no_further_than_its_capacity() {
        let bucket = Bucket::new(2, 1.0);
        tokio::time::advance(Duration::from_secs(3_600)).await;
        assert_eq!((bucket.take(), bucket.take()), (Ok(()), Ok(())));
        assert!(bucket.take().is_err());
    }
}
