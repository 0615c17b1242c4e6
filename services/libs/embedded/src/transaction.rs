//! What a function on the writer thread may do.

use crate::{
    keyspace::{Keyspace, Kind},
    writer::Error,
};
use bytes::Bytes;
use fjall::PersistMode;
use std::{collections::HashMap, fmt};

/// What the batch at hand will write: one value per key, the last one.
#[derive(Default)]
pub(crate) struct Pending {
    keyspaces: HashMap<u64, Changes>,
    /// Rows that nobody asks for within the batch.
    appended: Vec<(Keyspace, Vec<u8>, Vec<u8>)>,
    commits: Vec<Box<dyn FnOnce() + Send>>,
    bytes: usize,
}

struct Changes {
    keyspace: Keyspace,
    rows: HashMap<Vec<u8>, Option<Vec<u8>>>,
}

impl Pending {
    pub(crate) fn is_empty(&self) -> bool {
        self.appended.is_empty()
            && self
                .keyspaces
                .values()
                .all(|changes| changes.rows.is_empty())
    }

    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Moves everything into an engine's batch.
    pub(crate) fn fill(&mut self, batch: &mut fjall::OwnedWriteBatch) {
        for (keyspace, key, value) in self.appended.drain(..) {
            batch.insert(keyspace.engine(), key, value);
        }
        for changes in self.keyspaces.values_mut() {
            for (key, value) in changes.rows.drain() {
                match value {
                    Some(value) => batch.insert(changes.keyspace.engine(), key, value),
                    None => batch.remove(changes.keyspace.engine(), key),
                }
            }
        }
        self.bytes = 0;
    }

    /// What is to happen now that the batch is on disk, in order.
    pub(crate) fn committed(&mut self) -> impl Iterator<Item = Box<dyn FnOnce() + Send>> {
        self.commits.drain(..)
    }
}

/// One write, on the writer thread: sees everything that was submitted before it, and nothing of what comes after.
///
/// What it has put is written even if its function returns an error: look first, then put.
pub struct Transaction<'a> {
    database: &'a fjall::Database,
    pending: &'a mut Pending,
}

impl fmt::Debug for Transaction<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction")
            .field("bytes", &self.pending.bytes)
            .finish_non_exhaustive()
    }
}

impl<'a> Transaction<'a> {
    pub(crate) const fn new(database: &'a fjall::Database, pending: &'a mut Pending) -> Self {
        Self { database, pending }
    }

    /// Reads one value, with what the batch has put so far.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] if the disk cannot be read.
    pub fn get(&self, keyspace: &Keyspace, key: &[u8]) -> Result<Option<Bytes>, Error> {
        let changes = self.pending.keyspaces.get(&keyspace.engine().id());
        match changes.and_then(|changes| changes.rows.get(key)) {
            Some(value) => Ok(value.as_deref().map(Bytes::copy_from_slice)),
            None => keyspace.get(key),
        }
    }

    /// Writes a value. Keys are at most [`crate::MAX_KEY`] bytes.
    pub fn put(&mut self, keyspace: &Keyspace, key: Vec<u8>, value: Vec<u8>) {
        self.change(keyspace, key, Some(value));
    }

    /// Removes a value.
    pub fn remove(&mut self, keyspace: &Keyspace, key: Vec<u8>) {
        self.change(keyspace, key, None);
    }

    /// Writes a value under a key that nobody wrote before and nobody reads before the batch is on disk: cheaper than [`Self::put`].
    pub fn append(&mut self, keyspace: &Keyspace, key: Vec<u8>, value: Vec<u8>) {
        self.pending.bytes += key.len() + value.len();
        self.pending.appended.push((keyspace.clone(), key, value));
    }

    /// Has something done on the writer thread once the batch is written (and synced, if a member needs it), before its members are answered,
    /// in the order of submission. Not done if that fails. Must be short.
    pub fn on_commit(&mut self, done: impl FnOnce() + Send + 'static) {
        self.pending.commits.push(Box::new(done));
    }

    /// Opens a keyspace, and makes it if there is none.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] if the disk cannot be written.
    pub fn keyspace(&self, name: &str, kind: Kind) -> Result<Keyspace, Error> {
        Keyspace::open(self.database, name, kind)
    }

    /// Deletes a keyspace with all that is in it, at once. Its files go with its last handle.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] if the disk cannot be written.
    pub fn delete_keyspace(&mut self, keyspace: Keyspace) -> Result<(), Error> {
        // Unlike a row, a keyspace is gone at once: what was made of its rows must not be lost with the power when they cannot be read again.
        self.database
            .persist(PersistMode::SyncAll)
            .map_err(Error::from_engine)?;
        self.pending.keyspaces.remove(&keyspace.engine().id());
        self.pending
            .appended
            .retain(|(of, ..)| of.engine().id() != keyspace.engine().id());
        self.database
            .delete_keyspace(keyspace.engine().clone())
            .map_err(Error::from_engine)
    }

    fn change(&mut self, keyspace: &Keyspace, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.pending.bytes += key.len() + value.as_ref().map_or(0, Vec::len);
        self.pending
            .keyspaces
            .entry(keyspace.engine().id())
            .or_insert_with(|| Changes {
                keyspace: keyspace.clone(),
                rows: HashMap::new(),
            })
            .rows
            .insert(key, value);
    }
}
