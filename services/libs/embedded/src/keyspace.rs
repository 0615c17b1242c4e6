//! Keyspaces: ordered maps of bytes to bytes within the database.

use crate::writer::Error;
use bytes::Bytes;
use fjall::{
    KeyspaceCreateOptions,
    compaction::filter::{
        CompactionFilter, CompactionFilterResult, Context, Factory, ItemAccessor, Verdict,
    },
};
use std::{
    fmt,
    ops::Bound,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// What the values of a keyspace are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Bytes without meaning to the database.
    Plain,
    /// Every value begins with eight bytes, big-endian: when it expires, in microseconds since 1970, 0 for never. Compaction removes what
    /// expired more than an hour ago; until then readers have to look themselves.
    Expiring,
}

const EXPIRING: &str = "x.";
const PLAIN: &str = "p.";

/// Stays in memory this much per keyspace at most; the writer thread bounds the sum.
const MEMTABLE: u64 = 8 << 20;

impl Kind {
    /// The engine's name of a keyspace: the kind stands in it, since the engine asks for filters by name.
    fn qualify(self, name: &str) -> String {
        let prefix = match self {
            Self::Plain => PLAIN,
            Self::Expiring => EXPIRING,
        };
        format!("{prefix}{name}")
    }
}

/// A handle of a keyspace. Cheap to clone. Reads take some microseconds and do not wait for writers.
#[derive(Clone)]
pub struct Keyspace {
    inner: fjall::Keyspace,
    name: Arc<str>,
}

impl fmt::Debug for Keyspace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Keyspace").field(&self.name).finish()
    }
}

impl Keyspace {
    pub(crate) fn open(database: &fjall::Database, name: &str, kind: Kind) -> Result<Self, Error> {
        let options = || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE);
        let inner = database
            .keyspace(&kind.qualify(name), options)
            .map_err(Error::from_engine)?;
        Ok(Self {
            inner,
            name: name.into(),
        })
    }

    /// Names of the plain keyspaces that begin with `prefix`.
    pub(crate) fn names(database: &fjall::Database, prefix: &str) -> Vec<String> {
        let prefix = Kind::Plain.qualify(prefix);
        let names = database.list_keyspace_names();
        names
            .iter()
            .filter(|name| name.starts_with(&prefix))
            .map(|name| name[PLAIN.len()..].to_owned())
            .collect()
    }

    /// The engine's handles of all keyspaces of whatever kind. On the writer thread, which alone removes some.
    pub(crate) fn all(database: &fjall::Database) -> Vec<fjall::Keyspace> {
        let names = database.list_keyspace_names();
        names
            .iter()
            .filter_map(|name| database.keyspace(name, KeyspaceCreateOptions::default).ok())
            .collect()
    }

    pub(crate) const fn engine(&self) -> &fjall::Keyspace {
        &self.inner
    }

    /// Reads one value as it stands after the last batch.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] if the disk cannot be read.
    pub fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        let found = self.inner.get(key).map_err(Error::from_engine)?;
        Ok(found.map(|value| Bytes::copy_from_slice(&value)))
    }

    /// Reads rows between two keys, in order or (`descending`) in the opposite one, until `take` has had enough (says `false`).
    ///
    /// # Errors
    ///
    /// As [`Self::get`].
    pub fn scan(
        &self,
        bounds: (Bound<Vec<u8>>, Bound<Vec<u8>>),
        descending: bool,
        mut take: impl FnMut(Bytes, Bytes) -> bool,
    ) -> Result<(), Error> {
        if is_empty(&bounds) {
            return Ok(());
        }
        let mut rows = self.inner.range(bounds);
        loop {
            let Some(guard) = (if descending {
                rows.next_back()
            } else {
                rows.next()
            }) else {
                return Ok(());
            };
            let (key, value) = guard.into_inner().map_err(Error::from_engine)?;
            if !take(Bytes::copy_from_slice(&key), Bytes::copy_from_slice(&value)) {
                return Ok(());
            }
        }
    }

    /// Writes everything anew on disk, without what has expired or was removed. Blocks for as long as that takes; compaction does the same
    /// bit by bit.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] if the disk cannot be read or written.
    pub fn compact(&self) -> Result<(), Error> {
        self.inner
            .rotate_memtable_and_wait()
            .map_err(Error::from_engine)?;
        self.inner.major_compact().map_err(Error::from_engine)
    }

    /// First key.
    ///
    /// # Errors
    ///
    /// As [`Self::get`].
    pub fn first(&self) -> Result<Option<Bytes>, Error> {
        let key = self
            .inner
            .first_key_value()
            .map(fjall::Guard::key)
            .transpose()
            .map_err(Error::from_engine)?;
        Ok(key.map(|key| Bytes::copy_from_slice(&key)))
    }

    /// Last key.
    ///
    /// # Errors
    ///
    /// As [`Self::get`].
    pub fn last(&self) -> Result<Option<Bytes>, Error> {
        let key = self
            .inner
            .last_key_value()
            .map(fjall::Guard::key)
            .transpose()
            .map_err(Error::from_engine)?;
        Ok(key.map(|key| Bytes::copy_from_slice(&key)))
    }
}

/// Whether no key can lie in between; the engine does not accept such a range.
fn is_empty(bounds: &(Bound<Vec<u8>>, Bound<Vec<u8>>)) -> bool {
    match bounds {
        (Bound::Included(from), Bound::Included(to)) => from > to,
        (Bound::Included(from), Bound::Excluded(to))
        | (Bound::Excluded(from), Bound::Included(to) | Bound::Excluded(to)) => from >= to,
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
    }
}

/// The filter of a keyspace, by its engine's name.
pub(crate) fn filter_of(name: &str) -> Option<Arc<dyn Factory>> {
    name.starts_with(EXPIRING)
        .then(|| Arc::new(Expiry) as Arc<dyn Factory>)
}

/// Removes what has expired, when compaction comes by: no scans, no timers.
struct Expiry;

impl Factory for Expiry {
    fn name(&self) -> &'static str {
        "expiry"
    }

    fn make_filter(&self, _: &Context) -> Box<dyn CompactionFilter> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Box::new(ExpiredBefore(
            now.saturating_sub(GRACE)
                .as_micros()
                .try_into()
                .unwrap_or(u64::MAX),
        ))
    }
}

/// A clock that is set back this much brings no expired row back to life as half a row.
const GRACE: Duration = Duration::from_secs(3600);

struct ExpiredBefore(u64);

impl CompactionFilter for ExpiredBefore {
    fn filter_item(&mut self, item: ItemAccessor<'_>, _: &Context) -> CompactionFilterResult {
        let value = item.value()?;
        let expires = value
            .first_chunk()
            .map_or(0, |bytes| u64::from_be_bytes(*bytes));
        Ok(if expires != 0 && expires < self.0 {
            Verdict::Remove
        } else {
            Verdict::Keep
        })
    }
}
