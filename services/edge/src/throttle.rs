//! How often somebody may fail.

use platen_runtime::Recent;
use std::{hash::Hash, time::Duration};
use tokio::time::Instant;

/// Bytes of buckets that are remembered: some fifty thousand. Beyond, the least used are forgotten.
const BUCKETS: u64 = 16 << 20;

/// A token bucket per key, of which there is a bounded number. Only failures take tokens.
#[derive(Debug)]
pub(crate) struct Throttle<K> {
    buckets: Recent<K, Bucket>,
    burst: u32,
    refill: Duration,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Bucket {
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

impl<K: Hash + Eq> Throttle<K> {
    /// `burst` failures in a row, and one more each `refill`. `weigh`: bytes of a key on the heap.
    pub(crate) fn new(burst: u32, refill: Duration, weigh: fn(&K, &Bucket) -> usize) -> Self {
        Self {
            buckets: Recent::new(BUCKETS, weigh),
            burst: burst.max(1),
            refill,
        }
    }

    /// Whether another failure would be accepted; `Err`: how long until then.
    pub(crate) fn check(&self, key: &K, now: Instant) -> Result<(), Duration> {
        let Some(bucket) = self.buckets.get(key) else {
            return Ok(());
        };
        let tokens = bucket.refilled(now, self.burst, self.refill);
        if tokens >= 1.0 {
            Ok(())
        } else {
            Err(self.refill.mul_f64(1.0 - tokens))
        }
    }

    /// Notes a failure.
    pub(crate) fn failed(&self, key: K, now: Instant) {
        self.buckets.update(key, |before| {
            let full = Bucket {
                tokens: f64::from(self.burst),
                at: now,
            };
            let tokens = before
                .unwrap_or(full)
                .refilled(now, self.burst, self.refill);
            Bucket {
                tokens: (tokens - 1.0).max(0.0),
                at: now,
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_limited_per_key_and_forgiven_with_time() {
        let throttle = Throttle::new(2, Duration::from_secs(10), |_, _| 0);
        let start = Instant::now();
        throttle.failed("a", start);
        assert_eq!(throttle.check(&"a", start), Ok(()));

        throttle.failed("a", start);

        assert_eq!(throttle.check(&"a", start), Err(Duration::from_secs(10)));
        assert_eq!(throttle.check(&"b", start), Ok(()));
        assert_eq!(
            throttle.check(&"a", start + Duration::from_secs(10)),
            Ok(())
        );
    }
}
