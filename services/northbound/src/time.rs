//! Protobuf's times and ours.

use prost_types::{Duration as ProtoDuration, Timestamp};
use std::time::Duration;

/// Microseconds since 1970.
pub(crate) fn micros(time: &Timestamp) -> i64 {
    time.seconds
        .saturating_mul(1_000_000)
        .saturating_add(i64::from(time.nanos) / 1_000)
}

/// A span of time; a negative one is none.
pub(crate) fn span(duration: &ProtoDuration) -> Duration {
    Duration::try_from(*duration).unwrap_or_default()
}
