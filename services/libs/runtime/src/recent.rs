//! A memory of what was used last, bounded in bytes.

use std::{
    borrow::Borrow,
    collections::HashMap,
    fmt,
    hash::{BuildHasher, Hash, RandomState},
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Pieces with a lock each, so that many cores seldom meet.
const PIECES: usize = 16;

/// Remembers values by key within a number of bytes; of more it forgets those that were not used for longest, and keeps at least the younger half.
///
/// A look-up is two hashes and an uncontended lock. There is no clock in it: a value that expires says so itself, and takes its room until it is pushed out.
pub struct Recent<K, V> {
    pieces: Vec<Mutex<Generations<K, V>>>,
    hasher: RandomState,
    /// Bytes on the heap of a key and its value.
    weigh: fn(&K, &V) -> usize,
    /// Bytes of one generation of one piece.
    half: usize,
}

/// What is found in the older one moves to the younger; when that is full, it becomes the older one, and what was left in that is forgotten.
struct Generations<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    /// Weight of the younger one.
    bytes: usize,
}

impl<K, V> fmt::Debug for Recent<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recent").finish_non_exhaustive()
    }
}

impl<K: Hash + Eq, V: Clone> Recent<K, V> {
    /// Room for `bytes`, the maps' own room included. `weigh` says what a key and its value hold on the heap, in bytes.
    #[must_use]
    pub fn new(bytes: u64, weigh: fn(&K, &V) -> usize) -> Self {
        let piece = || {
            Mutex::new(Generations {
                young: HashMap::new(),
                old: HashMap::new(),
                bytes: 0,
            })
        };
        Self {
            pieces: (0..PIECES).map(|_| piece()).collect(),
            hasher: RandomState::new(),
            weigh,
            half: usize::try_from(bytes).unwrap_or(usize::MAX) / (2 * PIECES),
        }
    }

    /// The value of a key, if it is remembered. It counts as used.
    pub fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let mut piece = self.piece(key);
        if let Some(value) = piece.young.get(key) {
            return Some(value.clone());
        }
        let (key, value) = piece.old.remove_entry(key)?;
        self.put(&mut piece, key, value.clone());
        Some(value)
    }

    /// Remembers a value in place of the one before.
    pub fn insert(&self, key: K, value: V) {
        let mut piece = self.piece(&key);
        self.take(&mut piece, &key);
        self.put(&mut piece, key, value);
    }

    /// Remembers what `change` makes of the value before; of two calls at the same time the second one sees what the first one made.
    pub fn update(&self, key: K, change: impl FnOnce(Option<V>) -> V) {
        let mut piece = self.piece(&key);
        let before = self.take(&mut piece, &key);
        self.put(&mut piece, key, change(before));
    }

    /// Forgets a value.
    pub fn remove<Q: Hash + Eq + ?Sized>(&self, key: &Q)
    where
        K: Borrow<Q>,
    {
        self.take(&mut self.piece(key), key);
    }

    /// Forgets everything.
    pub fn clear(&self) {
        for piece in &self.pieces {
            let mut piece = lock(piece);
            piece.young = HashMap::new();
            piece.old = HashMap::new();
            piece.bytes = 0;
        }
    }

    fn take<Q: Hash + Eq + ?Sized>(&self, piece: &mut Generations<K, V>, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        if let Some((key, value)) = piece.young.remove_entry(key) {
            piece.bytes -= self.weight(&key, &value);
            return Some(value);
        }
        piece.old.remove(key)
    }

    /// Remembers a value of a key that is in neither generation.
    fn put(&self, piece: &mut Generations<K, V>, key: K, value: V) {
        let weight = self.weight(&key, &value);
        if piece.bytes + weight > self.half {
            mem::swap(&mut piece.young, &mut piece.old);
            piece.young.clear();
            piece.bytes = 0;
        }
        piece.bytes += weight;
        piece.young.insert(key, value);
    }

    /// A map has room for up to twice what is in it, and a byte more for each.
    fn weight(&self, key: &K, value: &V) -> usize {
        2 * (size_of::<(K, V)>() + 1) + (self.weigh)(key, value)
    }

    fn piece<Q: Hash + ?Sized>(&self, key: &Q) -> MutexGuard<'_, Generations<K, V>> {
        let pieces = u64::try_from(PIECES).unwrap_or(1);
        lock(&self.pieces[usize::try_from(self.hasher.hash_one(key) % pieces).unwrap_or(0)])
    }
}

/// The maps are whole after every statement: what a panicking thread left behind is usable.
fn lock<K, V>(piece: &Mutex<Generations<K, V>>) -> MutexGuard<'_, Generations<K, V>> {
    piece.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    const WEIGH: fn(&u16, &Vec<u8>) -> usize = |_, value| value.len();

    #[test]
    fn the_longest_unused_are_forgotten_first() {
        let recent = Recent::new(1 << 20, WEIGH);
        for n in 0..10_000 {
            recent.insert(n, vec![0; 100]);
            assert!(recent.get(&0).is_some(), "used all the time, at {n}");
        }

        // The last ones first: to look at a value is to use it.
        let held: HashSet<u16> = (0..10_000)
            .rev()
            .filter(|n| recent.get(n).is_some())
            .collect();

        assert!((9_900..10_000).all(|n| held.contains(&n)), "the last ones");
        assert!(!held.contains(&1));
    }

    #[test]
    fn a_change_sees_the_value_before() {
        let recent = Recent::new(1 << 20, |_: &&str, _: &u32| 0);
        for expected in 1..=3 {
            recent.update("a", |before| before.map_or(1, |before| before + 1));
            assert_eq!(recent.get("a"), Some(expected));
        }
        recent.remove("a");
        assert_eq!(recent.get("a"), None);
    }

    proptest! {
        #[test]
        fn values_are_the_last_ones_and_weigh_no_more_than_allowed(calls in prop::collection::vec((0u8..5, 0u16..50, 0usize..2_000), 0..300)) {
            const ROOM: u64 = 128 << 10;
            let recent = Recent::new(ROOM, WEIGH);
            let mut last = HashMap::new();
            for (call, key, size) in calls {
                let value = vec![call; size];
                match call {
                    0 | 1 => {
                        recent.insert(key, value.clone());
                        last.insert(key, value);
                    }
                    2 => {
                        let mut seen = None;
                        recent.update(key, |before| { seen = before; value.clone() });
                        prop_assert!(seen.is_none() || seen.as_ref() == last.get(&key));
                        last.insert(key, value);
                    }
                    3 => {
                        recent.remove(&key);
                        prop_assert_eq!(recent.get(&key), None);
                        last.remove(&key);
                    }
                    _ => {
                        let found = recent.get(&key);
                        prop_assert!(found.is_none() || found.as_ref() == last.get(&key));
                    }
                }
                let mut held = 0;
                for piece in &recent.pieces {
                    let piece = lock(piece);
                    let weight = |map: &HashMap<u16, Vec<u8>>| map.iter().map(|(key, value)| recent.weight(key, value)).sum::<usize>();
                    prop_assert_eq!(piece.bytes, weight(&piece.young));
                    prop_assert!(piece.old.keys().all(|key| !piece.young.contains_key(key)));
                    held += piece.bytes + weight(&piece.old);
                }
                // One value more than fits is kept in each generation.
                prop_assert!(held as u64 <= ROOM + 2 * 16 * 2_200, "{held}");
            }
        }
    }
}
