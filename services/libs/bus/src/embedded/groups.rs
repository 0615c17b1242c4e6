//! How far the consumer groups have come.

use crate::log::Error;
use platen_embedded::{Database, Keyspace, Kind, Transaction};
use platen_proto::topic::Topic;
use std::{
    collections::{BTreeSet, HashMap},
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// What the groups have passed: the next offset of each.
///
/// Commits are so frequent that they are no writes of their own: they are kept in memory, and written with the next batch of others, or
/// within a second. So a crash takes back at most the last second of them, and the records of that time come again.
pub(crate) struct Groups {
    keyspace: Keyspace,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next: HashMap<String, [Option<u64>; Topic::ALL.len()]>,
    /// What is not written yet.
    changed: BTreeSet<(String, Topic)>,
}

impl Groups {
    /// Key: name of the topic, a zero byte, name of the group; value: the next offset, big-endian.
    pub(crate) fn open(database: &Database) -> Result<Arc<Self>, Error> {
        let keyspace = database.keyspace("log.groups", Kind::Plain)?;
        let mut state = State::default();
        let mut unknown = None;
        keyspace.scan((Bound::Unbounded, Bound::Unbounded), false, |key, value| {
            match read(&key, &value) {
                Some((group, topic, next)) => state.set(group, topic, next),
                None => unknown = Some(key),
            }
            unknown.is_none()
        })?;
        if let Some(key) = unknown {
            let what = format!("{key:?} is no position of a group");
            return Err(Error::Corrupt {
                topic: "groups",
                offset: 0,
                what,
            });
        }
        let groups = Arc::new(Self {
            keyspace,
            state: Mutex::new(state),
        });
        let joining = Arc::clone(&groups);
        database.join_each_batch(move |transaction| joining.write(transaction));
        Ok(groups)
    }

    pub(crate) fn next(&self, group: &str, topic: Topic) -> Option<u64> {
        self.state().next.get(group)?[place(topic)]
    }

    /// What every group has passed; `None`: there is no group.
    pub(crate) fn slowest(&self, topic: Topic) -> Option<u64> {
        self.state()
            .next
            .values()
            .filter_map(|next| next[place(topic)])
            .min()
    }

    /// Remembers positions. They are on disk after whatever the group wrote before.
    pub(crate) fn commit(&self, group: &str, positions: &[(Topic, u64)]) {
        let mut state = self.state();
        for (topic, next) in positions {
            if state
                .next
                .get(group)
                .is_none_or(|known| known[place(*topic)] != Some(*next))
            {
                state.set(group, *topic, *next);
                state.changed.insert((group.to_owned(), *topic));
            }
        }
    }

    fn write(&self, transaction: &mut Transaction<'_>) {
        let mut state = self.state();
        for (group, topic) in std::mem::take(&mut state.changed) {
            if let Some(next) = state.next.get(&group).and_then(|next| next[place(topic)]) {
                let key = [topic.name(), "\0", &group].concat().into_bytes();
                transaction.put(&self.keyspace, key, next.to_be_bytes().to_vec());
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn set(&mut self, group: &str, topic: Topic, next: u64) {
        match self.next.get_mut(group) {
            Some(known) => known[place(topic)] = Some(next),
            None => {
                let mut known = [None; Topic::ALL.len()];
                known[place(topic)] = Some(next);
                self.next.insert(group.to_owned(), known);
            }
        }
    }
}

/// Index of a topic in [`Topic::ALL`].
fn place(topic: Topic) -> usize {
    let place = Topic::ALL.into_iter().position(|other| other == topic);
    place.expect("invariant: every topic is listed")
}

fn read<'a>(key: &'a [u8], value: &[u8]) -> Option<(&'a str, Topic, u64)> {
    let (topic, group) = std::str::from_utf8(key).ok()?.split_once('\0')?;
    let topic = Topic::ALL.into_iter().find(|known| known.name() == topic)?;
    Some((group, topic, u64::from_be_bytes(value.try_into().ok()?)))
}
