//! The embedded adapter: each table is a keyspace of the one database.

use crate::{
    envelope::{Content, Envelope},
    key, limits,
    table::{
        Cursor, Edited, Error, Expect, Inserted, Key, MAX_KEY, MAX_PAGE, Page, Part, Range, Row,
        Swapped, Table, Tables, Write, Writes,
    },
};
use async_trait::async_trait;
use bytes::Bytes;
use platen_embedded::{Database, Durability, Keyspace, Kind, Transaction};
use std::{
    collections::HashMap,
    fmt,
    ops::Bound,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// The store in the embedded database. Cheap to clone.
#[derive(Clone)]
pub struct EmbeddedTables {
    database: Database,
    /// Opened when first used: an empty table costs nothing.
    keyspaces: Arc<RwLock<HashMap<&'static str, Keyspace>>>,
    clock: Arc<dyn Fn() -> SystemTime + Send + Sync>,
}

/// How long a deletion is remembered: longer than anything that could write the row late (the log is kept for seven days).
const DELETIONS: Duration = Duration::from_secs(14 * 86_400);

/// Pages up to this size are read where they are asked for; larger ones on a thread that may block.
const INLINE: usize = 256;

/// The most rows that are passed over for one page because they were deleted or have expired: inline, and on such a thread.
const MAX_PASSED: [usize; 2] = [2_000, 50_000];

impl fmt::Debug for EmbeddedTables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedTables")
            .field("database", &self.database)
            .finish_non_exhaustive()
    }
}

impl EmbeddedTables {
    /// The store in this database.
    #[must_use]
    pub fn new(database: &Database) -> Self {
        Self::with_clock(database, SystemTime::now)
    }

    /// The same with another clock: it says when rows expire.
    #[must_use]
    pub fn with_clock(
        database: &Database,
        clock: impl Fn() -> SystemTime + Send + Sync + 'static,
    ) -> Self {
        Self {
            database: database.clone(),
            keyspaces: Arc::default(),
            clock: Arc::new(clock),
        }
    }

    fn keyspace(&self, table: &'static Table) -> Result<Keyspace, Error> {
        if let Some(keyspace) = self
            .keyspaces
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(table.name)
        {
            return Ok(keyspace.clone());
        }
        let keyspace = self
            .database
            .keyspace(&format!("table.{}", table.name), Kind::Expiring)?;
        self.keyspaces
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(table.name, keyspace.clone());
        Ok(keyspace)
    }

    fn now_us(&self) -> u64 {
        micros(
            (self.clock)()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default(),
        )
    }

    fn read(&self, table: &'static Table, key: &Key) -> Result<Option<Envelope>, Error> {
        let found = self.keyspace(table)?.get(&encode(table, key)?)?;
        Ok(found
            .map(|bytes| open(table, bytes))
            .transpose()?
            .filter(|row| row.is_live(self.now_us())))
    }

    async fn page(
        &self,
        table: &'static Table,
        partition: &[Part],
        range: Range,
    ) -> Result<Found, Error> {
        let limit = if range.limit == 0 {
            MAX_PAGE
        } else {
            range.limit.min(MAX_PAGE)
        };
        let inline = limit <= INLINE;
        let scan = Scan {
            keyspace: self.keyspace(table)?,
            limit,
            passes: if inline { MAX_PASSED[0] } else { MAX_PASSED[1] },
            descending: range.descending,
            partition: partition_bytes(table, partition)?,
            bounds: bounds(table, partition, &range)?,
            now_us: self.now_us(),
            table,
        };
        if inline {
            return scan.run();
        }
        let read = tokio::task::spawn_blocking(move || scan.run()).await;
        read.map_err(|error| Error::Unavailable(error.to_string()))?
    }

    /// Has `change` decide on the writer thread what becomes of one row, given the one that stands there.
    async fn decide<R: Send + 'static>(
        &self,
        table: &'static Table,
        key: &Key,
        value_bytes: usize,
        change: impl FnOnce(Option<Envelope>) -> (Change, R) + Send + 'static,
    ) -> Result<R, Error> {
        limits::check_value(table, value_bytes)?;
        let (keyspace, key, now_us) = (self.keyspace(table)?, encode(table, key)?, self.now_us());
        let bytes = key.len() + value_bytes;
        let work = move |transaction: &mut Transaction<'_>| -> Result<R, Error> {
            let found = transaction
                .get(&keyspace, &key)?
                .map(|bytes| open(table, bytes))
                .transpose()?;
            let (change, outcome) = change(found.filter(|row| row.is_live(now_us)));
            match change {
                Change::Nothing => {}
                Change::Put(row) => transaction.put(&keyspace, key, row.encode()),
                Change::Remove => transaction.remove(&keyspace, key),
            }
            Ok(outcome)
        };
        self.database
            .transact(Durability::Synced, bytes, work)
            .await?
    }
}

/// What becomes of a row.
enum Change {
    Nothing,
    Put(Envelope),
    Remove,
}

#[async_trait]
impl Tables for EmbeddedTables {
    async fn get(&self, table: &'static Table, key: &Key) -> Result<Option<Row>, Error> {
        debug_assert_ne!(table.writes, Writes::Edited, "{}", table.name);
        Ok(self.read(table, key)?.and_then(|row| match row.content {
            Content::Value(value) => Some(Row {
                clustering: key.clustering.clone(),
                value,
                version: row.version,
            }),
            Content::Deleted | Content::Edited { .. } => None,
        }))
    }

    async fn scan(
        &self,
        table: &'static Table,
        partition: &[Part],
        range: Range,
    ) -> Result<Page, Error> {
        debug_assert!(
            matches!(table.writes, Writes::Derived | Writes::Inserted),
            "{}",
            table.name
        );
        let found = self.page(table, partition, range).await?;
        let row = |(clustering, row): (Vec<Part>, Envelope)| match row.content {
            Content::Value(value) => Some(Row {
                clustering,
                value,
                version: row.version,
            }),
            Content::Deleted | Content::Edited { .. } => None,
        };
        Ok(Page {
            rows: found.rows.into_iter().filter_map(row).collect(),
            next: found.next,
        })
    }

    async fn write(&self, writes: Vec<Write>) -> Result<(), Error> {
        let now_us = self.now_us();
        let mut durability = Durability::Ordered;
        let mut bytes = 0;
        let mut rows = Vec::with_capacity(writes.len());
        for write in writes {
            debug_assert!(
                matches!(write.table.writes, Writes::Derived | Writes::Inserted),
                "{}",
                write.table.name
            );
            if write.table.writes != Writes::Derived {
                durability = Durability::Synced;
            }
            let size = write.value.as_ref().map_or(0, Bytes::len);
            limits::check_value(write.table, size)?;
            limits::check_version(write.table, write.version)?;
            let key = encode(write.table, &write.key)?;
            bytes += key.len() + size;
            rows.push((self.keyspace(write.table)?, key, sealed(write, now_us)));
        }
        let work = move |transaction: &mut Transaction<'_>| -> Result<(), Error> {
            for (keyspace, key, row) in rows {
                // Of a row that cannot be read the version is not known: the newest write repairs it.
                let found = transaction.get(&keyspace, &key)?.and_then(Envelope::decode);
                if !found.is_some_and(|found| found.is_live(now_us) && found.version >= row.version)
                {
                    transaction.put(&keyspace, key, row.encode());
                }
            }
            Ok(())
        };
        self.database.transact(durability, bytes, work).await?
    }

    async fn insert_if_absent(
        &self,
        table: &'static Table,
        key: Key,
        value: Bytes,
    ) -> Result<Inserted, Error> {
        debug_assert_eq!(table.writes, Writes::Once, "{}", table.name);
        let now_us = self.now_us();
        let expires = expiry(table.expires, now_us);
        self.decide(table, &key, value.len(), move |found| match found {
            Some(Envelope {
                content: Content::Value(value),
                ..
            }) => (Change::Nothing, Inserted::Exists(value)),
            _ => (
                Change::Put(Envelope {
                    expires,
                    version: now_us,
                    content: Content::Value(value),
                }),
                Inserted::Done,
            ),
        })
        .await
    }

    async fn get_edited(&self, table: &'static Table, key: &Key) -> Result<Option<Edited>, Error> {
        debug_assert_eq!(table.writes, Writes::Edited, "{}", table.name);
        Ok(self.read(table, key)?.and_then(edited))
    }

    async fn scan_edited(
        &self,
        table: &'static Table,
        partition: &[Part],
        range: Range,
    ) -> Result<(Page, Vec<String>), Error> {
        debug_assert_eq!(table.writes, Writes::Edited, "{}", table.name);
        let found = self.page(table, partition, range).await?;
        let (mut rows, mut etags) = (
            Vec::with_capacity(found.rows.len()),
            Vec::with_capacity(found.rows.len()),
        );
        for (clustering, row) in found.rows {
            let version = row.version;
            if let Some(Edited { value, etag }) = edited(row) {
                rows.push(Row {
                    clustering,
                    value,
                    version,
                });
                etags.push(etag);
            }
        }
        Ok((
            Page {
                rows,
                next: found.next,
            },
            etags,
        ))
    }

    async fn compare_and_set(
        &self,
        table: &'static Table,
        key: Key,
        expect: Expect,
        value: Option<Bytes>,
    ) -> Result<Swapped, Error> {
        debug_assert_eq!(table.writes, Writes::Edited, "{}", table.name);
        let mut etag = [0; 8];
        aws_lc_rs::rand::fill(&mut etag)
            .map_err(|_| Error::Unavailable("no randomness".to_owned()))?;
        let now_us = self.now_us();
        let expires = expiry(table.expires, now_us);
        self.decide(
            table,
            &key,
            value.as_ref().map_or(0, Bytes::len),
            move |found| {
                let found = found.and_then(edited);
                let holds = match (&expect, &found) {
                    (Expect::Absent, None) | (Expect::Any, Some(_)) => true,
                    (Expect::Etag(wanted), Some(found)) => *wanted == found.etag,
                    (Expect::Absent, Some(_)) | (Expect::Any | Expect::Etag(_), None) => false,
                };
                match (holds, value) {
                    (false, _) => (Change::Nothing, Swapped::Refused(found)),
                    (true, Some(value)) => {
                        let row = Envelope {
                            expires,
                            version: now_us,
                            content: Content::Edited { etag, value },
                        };
                        (Change::Put(row), Swapped::Done(hexadecimal(etag)))
                    }
                    (true, None) => (Change::Remove, Swapped::Done(hexadecimal(etag))),
                }
            },
        )
        .await
    }

    async fn check(&self) -> Result<(), Error> {
        Ok(self.database.check()?)
    }
}

/// A page as read, rows of whatever content.
struct Found {
    rows: Vec<(Vec<Part>, Envelope)>,
    next: Option<Cursor>,
}

/// One page to read.
struct Scan {
    table: &'static Table,
    keyspace: Keyspace,
    partition: Vec<u8>,
    bounds: Bounds,
    descending: bool,
    limit: usize,
    passes: usize,
    now_us: u64,
}

impl Scan {
    fn run(self) -> Result<Found, Error> {
        let mut rows = Vec::new();
        let mut failed = None;
        let mut more = false;
        let mut last = Bytes::new();
        let mut passed = 0;
        self.keyspace
            .scan(self.bounds, self.descending, |key, value| {
                if rows.len() == self.limit || passed == self.passes {
                    more = true;
                    return false;
                }
                let clustering = key.slice(self.partition.len()..);
                match (
                    open(self.table, value),
                    key::decode(self.table.clustering, &clustering),
                ) {
                    (Ok(row), Some(parts)) => {
                        if row.is_live(self.now_us) && row.content != Content::Deleted {
                            rows.push((parts, row));
                        } else {
                            passed += 1;
                        }
                    }
                    (Err(error), _) => failed = Some(error),
                    (Ok(_), None) => failed = Some(corrupt(self.table, "a key cannot be read")),
                }
                last = clustering;
                failed.is_none()
            })?;
        match failed {
            Some(error) => Err(error),
            None => Ok(Found {
                rows,
                next: more.then_some(Cursor(last)),
            }),
        }
    }
}

type Bounds = (Bound<Vec<u8>>, Bound<Vec<u8>>);

/// Between which keys a range lies.
fn bounds(table: &'static Table, partition: &[Part], range: &Range) -> Result<Bounds, Error> {
    let start = partition_bytes(table, partition)?;
    let mut prefix = start.clone();
    key::encode(&range.prefix, &mut prefix);
    let with = |part: &Part| {
        let mut key = prefix.clone();
        key::encode(std::slice::from_ref(part), &mut key);
        key
    };
    let mut lower = Bound::Included(range.from.as_ref().map_or_else(|| prefix.clone(), with));
    let mut upper = match &range.below {
        Some(below) => Bound::Excluded(with(below)),
        None => key::after(&prefix).map_or(Bound::Unbounded, Bound::Excluded),
    };
    if let Some(Cursor(cursor)) = &range.cursor {
        let key = [&start, &cursor[..]].concat();
        let within = (match &lower {
            Bound::Included(lower) | Bound::Excluded(lower) => key >= *lower,
            Bound::Unbounded => true,
        }) && (match &upper {
            Bound::Included(upper) | Bound::Excluded(upper) => key < *upper,
            Bound::Unbounded => true,
        });
        if !within || key::decode(table.clustering, cursor).is_none() {
            return Err(Error::BadCursor);
        }
        if range.descending {
            upper = Bound::Excluded(key);
        } else {
            lower = Bound::Excluded(key);
        }
    }
    Ok((lower, upper))
}

fn encode(table: &'static Table, key: &Key) -> Result<Vec<u8>, Error> {
    limits::check_key(table, key)?;
    let mut bytes = Vec::with_capacity(64);
    key::encode(&key.partition, &mut bytes);
    key::encode(&key.clustering, &mut bytes);
    Ok(bytes)
}

fn partition_bytes(table: &'static Table, partition: &[Part]) -> Result<Vec<u8>, Error> {
    limits::check_parts(table, partition)?;
    let mut bytes = Vec::with_capacity(64);
    key::encode(partition, &mut bytes);
    Ok(bytes)
}

/// Partition and clustering key, even if every byte of every text is a zero byte and takes two.
const _: () = assert!(2 * 2 * MAX_KEY + 64 <= platen_embedded::MAX_KEY);

fn sealed(write: Write, now_us: u64) -> Envelope {
    let (content, lives) = match write.value {
        Some(value) => (Content::Value(value), write.expires.or(write.table.expires)),
        None => (Content::Deleted, Some(DELETIONS)),
    };
    Envelope {
        expires: expiry(lives, now_us),
        version: write.version,
        content,
    }
}

fn expiry(lives: Option<Duration>, now_us: u64) -> u64 {
    lives.map_or(0, |lives| now_us.saturating_add(micros(lives)).max(1))
}

fn micros(duration: Duration) -> u64 {
    duration.as_micros().try_into().unwrap_or(u64::MAX)
}

fn open(table: &'static Table, bytes: Bytes) -> Result<Envelope, Error> {
    Envelope::decode(bytes).ok_or_else(|| corrupt(table, "a row cannot be read"))
}

fn corrupt(table: &'static Table, what: &str) -> Error {
    Error::Corrupt {
        table: table.name,
        what: what.to_owned(),
    }
}

fn edited(row: Envelope) -> Option<Edited> {
    match row.content {
        Content::Edited { etag, value } => Some(Edited {
            value,
            etag: hexadecimal(etag),
        }),
        Content::Value(_) | Content::Deleted => None,
    }
}

fn hexadecimal(etag: [u8; 8]) -> String {
    format!("{:016x}", u64::from_be_bytes(etag))
}

impl From<platen_embedded::Error> for Error {
    fn from(error: platen_embedded::Error) -> Self {
        match error {
            platen_embedded::Error::Unavailable(why) => Self::Unavailable(why),
            platen_embedded::Error::Full(why) => Self::Full(why),
            platen_embedded::Error::Corrupt(what) => Self::Corrupt {
                table: "database",
                what,
            },
        }
    }
}
