//! Which devices have nothing open: what lets an idle session pass without a read.

use platen_bus::derived;
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Why a device has nothing to do, as long as all of it stays so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Quiet {
    /// Generation of the tenant's profiles.
    pub(crate) profiles: u64,
    /// Hash of what the device reported that selectors or settings look at.
    pub(crate) inputs: u64,
    /// When a setting that is held back becomes due (µs).
    pub(crate) until_us: i64,
}

/// Hash of tenant and device.
pub(crate) type Key = [u8; 16];

/// Bounded: of more devices than it holds it forgets those that it has not seen for longest, at least the younger half stays.
#[derive(Debug)]
pub(crate) struct QuietDevices {
    /// Two generations: what is found in the older one moves to the younger, and when that is full it becomes the older one.
    generations: Mutex<[HashMap<Key, Quiet>; 2]>,
    half: usize,
}

impl QuietDevices {
    /// Room for `capacity` devices; each takes about a hundred bytes.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            generations: Mutex::default(),
            half: (capacity / 2).max(1),
        }
    }

    /// The key of a device.
    pub(crate) fn key(tenant: &str, device: &str) -> Key {
        derived::hash(&[tenant, device])[..16]
            .try_into()
            .expect("invariant: a SHA-256 has 32 bytes")
    }

    /// Whether the device is quiet, and why.
    pub(crate) fn get(&self, key: &Key) -> Option<Quiet> {
        let mut generations = self.lock();
        if let Some(quiet) = generations[0].get(key) {
            return Some(*quiet);
        }
        let quiet = generations[1].remove(key)?;
        Self::put(&mut generations, self.half, *key, quiet);
        Some(quiet)
    }

    /// The device is quiet.
    pub(crate) fn insert(&self, key: Key, quiet: Quiet) {
        Self::put(&mut self.lock(), self.half, key, quiet);
    }

    /// The device may have something to do.
    pub(crate) fn remove(&self, key: &Key) {
        for generation in self.lock().iter_mut() {
            generation.remove(key);
        }
    }

    /// Forgets all.
    pub(crate) fn clear(&self) {
        for generation in self.lock().iter_mut() {
            generation.clear();
        }
    }

    fn put(generations: &mut [HashMap<Key, Quiet>; 2], half: usize, key: Key, quiet: Quiet) {
        if generations[0].len() >= half && !generations[0].contains_key(&key) {
            generations.swap(0, 1);
            generations[0].clear();
        }
        generations[1].remove(&key);
        generations[0].insert(key, quiet);
    }

    fn lock(&self) -> MutexGuard<'_, [HashMap<Key, Quiet>; 2]> {
        // The maps are whole after every statement: what a panicking thread left behind is usable.
        self.generations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Quiet = Quiet {
        profiles: 1,
        inputs: 2,
        until_us: 3,
    };

    fn key(n: u8) -> Key {
        [n; 16]
    }

    #[test]
    fn the_longest_unseen_are_forgotten_first() {
        let devices = QuietDevices::new(4);
        for n in 0..4 {
            devices.insert(key(n), QUIET);
        }
        assert_eq!(devices.get(&key(0)), Some(QUIET), "seen again, so it stays");
        devices.insert(key(4), QUIET);

        let held: Vec<u8> = (0..5).filter(|n| devices.get(&key(*n)).is_some()).collect();
        assert!(held.contains(&0) && held.contains(&4), "{held:?}");
        assert!(held.len() <= 4, "{held:?}");
    }

    #[test]
    fn what_is_removed_is_gone_from_both_generations() {
        let devices = QuietDevices::new(2);
        devices.insert(key(1), QUIET);
        devices.insert(key(2), QUIET);
        for n in 1..=2 {
            devices.remove(&key(n));
            assert_eq!(devices.get(&key(n)), None);
        }
    }
}
