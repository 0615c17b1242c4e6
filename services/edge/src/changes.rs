//! When devices were last changed, so that what was read of them before is not believed.

use std::{
    hash::{BuildHasher, RandomState},
    sync::atomic::{AtomicU32, Ordering},
};
use tokio::time::Instant;

/// Devices are counted together by the place that their names hash to: a change of one makes what is known of the others be read again, too, which costs
/// a read. So nothing is ever forgotten, and what is remembered is bounded (1 MiB).
const PLACES: usize = 1 << 18;

/// A change counts from the beginning of its tick on: what was read in the same tick may be older.
const TICK_MS: u128 = 10;

/// What is known of changes.
pub(crate) struct Changes {
    base: Instant,
    /// The tick of the last change, plus one; 0: there was none.
    places: Box<[AtomicU32]>,
    /// The same, of everything.
    all: AtomicU32,
    hasher: RandomState,
}

impl std::fmt::Debug for Changes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Changes")
    }
}

impl Changes {
    pub(crate) fn new() -> Self {
        Self {
            base: Instant::now(),
            places: (0..PLACES).map(|_| AtomicU32::new(0)).collect(),
            all: AtomicU32::new(0),
            hasher: RandomState::new(),
        }
    }

    /// The device `TENANT/DEVICE` was changed at some time before now.
    pub(crate) fn changed(&self, key: &str) {
        self.place(key)
            .fetch_max(self.tick(Instant::now()) + 1, Ordering::Relaxed);
    }

    /// Any device may have been changed before now.
    pub(crate) fn missed(&self) {
        self.all
            .fetch_max(self.tick(Instant::now()) + 1, Ordering::Relaxed);
    }

    /// Whether the device may have been changed since then.
    pub(crate) fn since(&self, key: &str, then: Instant) -> bool {
        let last = self
            .place(key)
            .load(Ordering::Relaxed)
            .max(self.all.load(Ordering::Relaxed));
        last > self.tick(then)
    }

    fn place(&self, key: &str) -> &AtomicU32 {
        let places = u64::try_from(PLACES).unwrap_or(1);
        &self.places[usize::try_from(self.hasher.hash_one(key) % places).unwrap_or(0)]
    }

    fn tick(&self, at: Instant) -> u32 {
        let ticks = at.saturating_duration_since(self.base).as_millis() / TICK_MS;
        u32::try_from(ticks).unwrap_or(u32::MAX - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn what_was_read_before_a_change_is_not_believed() {
        let changes = Changes::new();
        let before = Instant::now();
        assert!(!changes.since("t/a", before));

        changes.changed("t/a");
        tokio::time::advance(Duration::from_millis(10)).await;

        assert!(changes.since("t/a", before));
        assert!(!changes.since("t/b", before));
        let after = Instant::now();
        assert!(!changes.since("t/a", after));

        changes.missed();
        assert!(changes.since("t/b", after), "who knows");
    }
}
