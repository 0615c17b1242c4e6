//! How often one token may call: a bucket per token.

use crate::{config::Limits, refusal::Refusal};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Tokens that are counted at a time; one that has not called for a minute starts afresh.
const COUNTED: u64 = 100_000;

/// Buckets of all tokens. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct RateLimit {
    buckets: moka::future::Cache<String, Arc<Mutex<Bucket>>>,
    per_second: f64,
    burst: f64,
}

impl RateLimit {
    pub(crate) fn new(limits: &Limits) -> Self {
        let buckets = moka::future::Cache::builder()
            .max_capacity(COUNTED)
            .time_to_idle(Duration::from_secs(60))
            .build();
        Self {
            buckets,
            per_second: f64::from(limits.calls_per_second.max(1)),
            burst: f64::from(limits.burst.max(1)),
        }
    }

    /// Counts a call of the token with this hash at `now`.
    ///
    /// # Errors
    ///
    /// [`Refusal::TooMany`] if it has called too often.
    pub(crate) async fn count(&self, token: &str, now: Instant) -> Result<(), Refusal> {
        let full = || {
            Arc::new(Mutex::new(Bucket {
                left: self.burst,
                at: now,
            }))
        };
        let bucket = self.buckets.get_with_by_ref(token, async { full() }).await;
        let taken = bucket.lock().unwrap_or_else(PoisonError::into_inner).take(
            self.per_second,
            self.burst,
            now,
        );
        taken.map_err(|after| Refusal::TooMany {
            message: "this token calls too often",
            after,
        })
    }
}

#[derive(Debug)]
struct Bucket {
    left: f64,
    at: Instant,
}

impl Bucket {
    /// Takes one call out; `Err`: when the next one will be there.
    fn take(&mut self, per_second: f64, burst: f64, now: Instant) -> Result<(), Duration> {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.left = passed.mul_add(per_second, self.left).min(burst);
        self.at = self.at.max(now);
        if self.left >= 1.0 {
            self.left -= 1.0;
            Ok(())
        } else {
            Err(Duration::from_secs_f64(
                ((1.0 - self.left) / per_second).clamp(0.0, 3600.0),
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_allows_a_burst_and_then_its_rate() {
        let start = Instant::now();
        let mut bucket = Bucket {
            left: 3.0,
            at: start,
        };
        let mut take = |ms: u64| bucket.take(2.0, 3.0, start + Duration::from_millis(ms));

        for _ in 0..3 {
            assert_eq!(take(0), Ok(()));
        }
        assert_eq!(take(0), Err(Duration::from_millis(500)));
        assert_eq!(take(500), Ok(()));
        assert!(take(600).is_err());
        // A long silence fills it up, not more.
        for _ in 0..3 {
            assert_eq!(take(60_000), Ok(()));
        }
        assert!(take(60_000).is_err());
    }
}
