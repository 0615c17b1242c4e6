//! Which devices were changed, so that what was read of them before is not believed.

use crate::reach::Kept;
use std::{
    hash::{BuildHasher, RandomState},
    sync::atomic::{AtomicU64, Ordering},
};

/// Devices are counted together by the place that their names hash to: a change of one makes what is known of the others be read again, too, which costs
/// a read. So nothing is ever forgotten, and what is remembered is bounded (1 MiB).
const PLACES: usize = 1 << 17;

/// What is known of changes. They are numbered as they become known; no clock decides what was before what.
pub(crate) struct Changes {
    /// Number of the last change.
    last: AtomicU64,
    /// The number of each place's last change; 0: there was none.
    places: Box<[AtomicU64]>,
    /// The same, of everything.
    all: AtomicU64,
    hasher: RandomState,
}

/// The moment before something was read, among the changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark(u64);

/// What is remembered of the store, with the moment before it was read.
pub(crate) type Marked<T> = (Kept<T>, Mark);

impl std::fmt::Debug for Changes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Changes")
    }
}

impl Changes {
    pub(crate) fn new() -> Self {
        Self {
            last: AtomicU64::new(0),
            places: (0..PLACES).map(|_| AtomicU64::new(0)).collect(),
            all: AtomicU64::new(0),
            hasher: RandomState::new(),
        }
    }

    /// The device `TENANT/DEVICE` was changed at some time before now.
    pub(crate) fn changed(&self, key: &str) {
        self.place(key).fetch_max(self.next(), Ordering::SeqCst);
    }

    /// Any device may have been changed before now.
    pub(crate) fn missed(&self) {
        self.all.fetch_max(self.next(), Ordering::SeqCst);
    }

    /// To be taken before something is read.
    pub(crate) fn mark(&self) -> Mark {
        Mark(self.last.load(Ordering::SeqCst))
    }

    /// Whether the device may have been changed since then.
    pub(crate) fn since(&self, key: &str, then: Mark) -> bool {
        let last = self
            .place(key)
            .load(Ordering::SeqCst)
            .max(self.all.load(Ordering::SeqCst));
        last > then.0
    }

    fn next(&self) -> u64 {
        self.last.fetch_add(1, Ordering::SeqCst) + 1
    }

    fn place(&self, key: &str) -> &AtomicU64 {
        let places = u64::try_from(PLACES).unwrap_or(1);
        &self.places[usize::try_from(self.hasher.hash_one(key) % places).unwrap_or(0)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_before_a_change_is_not_believed() {
        let changes = Changes::new();
        let before = changes.mark();
        assert!(!changes.since("t/a", before));

        changes.changed("t/a");

        assert!(changes.since("t/a", before));
        assert!(!changes.since("t/b", before));
        let after = changes.mark();
        assert!(!changes.since("t/a", after));

        changes.missed();
        assert!(changes.since("t/b", after), "who knows");
        assert!(!changes.since("t/b", changes.mark()));
    }
}
