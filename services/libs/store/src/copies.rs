//! The last messages of a device, remembered so that a copy is known that comes behind newer ones.
//!
//! A device that had no answer sends a message again; whoever had the first one at hand, and stood still, may bring it long after. What is remembered
//! are the first bytes of hashes, the newest first, as one string of bytes for a row of the store.

/// A clock that is further off than this may stand still, µs.
const SANE_US: i64 = 86_400_000_000;

/// Messages that are remembered.
const MESSAGES: usize = 4;

/// Bytes of each hash.
const BYTES: usize = 8;

/// Whether a device's clock (seconds since 1970; `None`: it has none) is within a day of ours (microseconds), so that it moves: two messages of the same
/// time that are equal in all else are then one message.
#[must_use]
pub fn tells_time(device: Option<i64>, now_us: i64) -> bool {
    device.is_some_and(|seconds| {
        let device_us = seconds.saturating_mul(1_000_000);
        device_us.saturating_sub(now_us).saturating_abs() <= SANE_US
    })
}

/// Whether the message with this hash is among those remembered.
#[must_use]
pub fn is_known(remembered: &[u8], hash: &[u8]) -> bool {
    remembered
        .chunks_exact(BYTES)
        .any(|known| hash.starts_with(known))
}

/// What is remembered with the message of this hash; the oldest one may go. A hash of fewer than 8 bytes is none, and changes nothing.
#[must_use]
pub fn remember(remembered: &[u8], hash: &[u8]) -> Vec<u8> {
    let newest = hash.get(..BYTES).unwrap_or_default();
    newest
        .iter()
        .chain(remembered)
        .take(BYTES * MESSAGES)
        .copied()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_four_are_known() {
        let hash = |n: u8| [n; 32];
        let mut remembered = Vec::new();
        for n in 0..6 {
            assert!(!is_known(&remembered, &hash(n)));
            remembered = remember(&remembered, &hash(n));
        }
        assert_eq!(
            [0, 1, 2, 3, 4, 5].map(|n| is_known(&remembered, &hash(n))),
            [false, false, true, true, true, true]
        );
        assert_eq!(remember(&remembered, &[]), remembered);
        assert!(!is_known(&[], &hash(0)));
    }

    #[test]
    fn a_clock_that_is_days_off_tells_nothing() {
        let now_us = 1_795_420_800_000_000;
        for (device, expected) in [
            (Some(1_795_420_800), true),
            (Some(1_795_420_800 - 86_400), true),
            (Some(1_795_420_800 + 86_401), false),
            (Some(0), false),
            (Some(i64::MIN), false),
            (None, false),
        ] {
            assert_eq!(tells_time(device, now_us), expected, "{device:?}");
        }
    }
}
