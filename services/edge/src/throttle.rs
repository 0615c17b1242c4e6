//! How often somebody may fail.

use moka::future::Cache;
use std::{
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// Buckets that are remembered; beyond, the least used are forgotten.
const BUCKETS: u64 = 100_000;

/// A token bucket per key, of which there is a bounded number. Only failures take tokens.
#[derive(Debug, Clone)]
pub(crate) struct Throttle<K: Hash + Eq + Send + Sync + 'static> {
    buckets: Cache<K, Arc<Mutex<Bucket>>>,
    burst: u32,
    refill: Duration,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Bucket {
    /// The bucket as it is at `now`.
    fn refilled(&self, now: Instant, burst: u32, refill: Duration) -> f64 {
        let gained = now.saturating_duration_since(self.at).as_secs_f64() / refill.as_secs_f64();
        (self.tokens + gained).min(f64::from(burst))
    }
}

impl<K: Hash + Eq + Send + Sync + 'static> Throttle<K> {
    /// `burst` failures in a row, and one more each `refill`.
    pub(crate) fn new(burst: u32, refill: Duration) -> Self {
        // A bucket that nobody has used for that long is full again.
        let full = refill.saturating_mul(burst.max(1));
        Self {
            buckets: Cache::builder()
                .max_capacity(BUCKETS)
                .time_to_idle(full)
                .build(),
            burst: burst.max(1),
            refill,
        }
    }

    /// Whether another failure would be accepted; `Err`: how long until then.
    pub(crate) async fn check(&self, key: &K, now: Instant) -> Result<(), Duration> {
        let Some(bucket) = self.buckets.get(key).await else {
            return Ok(());
        };
        let tokens = bucket
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .refilled(now, self.burst, self.refill);
        if tokens >= 1.0 {
            Ok(())
        } else {
            Err(self.refill.mul_f64(1.0 - tokens))
        }
    }

    /// Notes a failure.
    pub(crate) async fn failed(&self, key: K, now: Instant) {
        let full = f64::from(self.burst);
        let bucket = self
            .buckets
            .get_with(key, async {
                Arc::new(Mutex::new(Bucket {
                    tokens: full,
                    at: now,
                }))
            })
            .await;
        let mut bucket = bucket.lock().unwrap_or_else(PoisonError::into_inner);
        bucket.tokens = (bucket.refilled(now, self.burst, self.refill) - 1.0).max(0.0);
        bucket.at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn failures_are_limited_per_key_and_forgiven_with_time() {
        let throttle = Throttle::new(2, Duration::from_secs(10));
        let start = Instant::now();
        throttle.failed("a", start).await;
        assert_eq!(throttle.check(&"a", start).await, Ok(()));

        throttle.failed("a", start).await;

        assert_eq!(
            throttle.check(&"a", start).await,
            Err(Duration::from_secs(10))
        );
        assert_eq!(throttle.check(&"b", start).await, Ok(()));
        assert_eq!(
            throttle.check(&"a", start + Duration::from_secs(10)).await,
            Ok(())
        );
    }
}
