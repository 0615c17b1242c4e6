//! Tables, keys and the port that an adapter implements.
//!
//! The port stays inside what ScyllaDB, Apache Cassandra 5 and an ordered key-value store can all do: rows under a partition key and an
//! ordered clustering key, idempotent upserts with the writer's timestamp, conditional writes of one row, paging by an
//! opaque cursor. No transaction across keys, no secondary index, no unbounded partition.

use async_trait::async_trait;
use bytes::Bytes;
use std::{fmt, time::Duration};

/// Who writes a table, and so which of the four ways of writing its rows know. No table mixes two of them: a store may order them by different clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writes {
    /// One service derives it from the log. Versioned by log position: of two writes of a row the higher version stays, in whatever order they arrive.
    /// Need not be on disk when the call returns: the log replays it.
    Derived,
    /// API callers edit it: compare-and-set on the row's etag. Durable when the call returns.
    Edited,
    /// Rows are written unconditionally, versioned by the receive time, and removed with a higher version. Durable when the call returns.
    Inserted,
    /// Rows are inserted if there is none, and never change after that. Durable when the call returns.
    Once,
}

/// The type of a key column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    /// UTF-8 text, ordered by bytes.
    Text(&'static str),
    /// A number up to [`MAX_NUMBER`], ordered by value.
    Number(&'static str),
}

/// A table: declared once, in [`crate::tables`].
#[derive(Debug)]
pub struct Table {
    /// Name, also of the CQL table and of the embedded keyspace.
    pub name: &'static str,
    /// Columns that say on which node a row lives.
    pub partition: &'static [Column],
    /// Columns by which the rows of a partition are ordered.
    pub clustering: &'static [Column],
    /// How it is written.
    pub writes: Writes,
    /// Rows disappear this long after they were written; `None`: never.
    pub expires: Option<Duration>,
}

/// One component of a key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// For [`Column::Text`].
    Text(String),
    /// For [`Column::Number`]; in a key at most [`MAX_NUMBER`].
    Number(u64),
}

impl From<&str> for Part {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Part {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<u64> for Part {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<u8> for Part {
    fn from(number: u8) -> Self {
        Self::Number(u64::from(number))
    }
}

/// The key of a row: one part per column.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Parts of the partition key.
    pub partition: Vec<Part>,
    /// Parts of the clustering key; empty where the table has none.
    pub clustering: Vec<Part>,
}

/// A row as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Clustering key (the partition is the caller's).
    pub clustering: Vec<Part>,
    /// The value: an encoded message of `platen.store.v1`.
    pub value: Bytes,
    /// Version of the write that made it: log version, or microseconds since 1970.
    pub version: u64,
}

/// One unconditional write.
#[derive(Debug, Clone)]
pub struct Write {
    /// Table; a [`Writes::Derived`] or [`Writes::Inserted`] one.
    pub table: &'static Table,
    /// Key of the row.
    pub key: Key,
    /// New value; `None` deletes the row.
    pub value: Option<Bytes>,
    /// Timestamp, at most [`MAX_NUMBER`]: of two writes of one row the higher one stays; equal ones are the same write. A store may refuse one that
    /// lies days ahead of the clock, in microseconds since 1970.
    pub version: u64,
    /// Overrides the table's [`Table::expires`] (seconds from now).
    pub expires: Option<Duration>,
}

/// What a conditional insert found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inserted {
    /// There was no such row: it is ours.
    Done,
    /// The row that stands there.
    Exists(Bytes),
}

/// Condition of a compare-and-set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expect {
    /// No such row.
    Absent,
    /// The row has this etag.
    Etag(String),
    /// The row exists, whatever its etag.
    Any,
}

/// What a compare-and-set did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Swapped {
    /// Written; the row's etag from here on.
    Done(String),
    /// The condition did not hold. `None`: there is no such row.
    Refused(Option<Edited>),
}

/// A row that callers edit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edited {
    /// The value.
    pub value: Bytes,
    /// Changes with every write; opaque.
    pub etag: String,
}

/// Which rows of a partition, in which order. Numbers in it may be above [`MAX_NUMBER`]: then they lie above every row.
#[derive(Debug, Clone, Default)]
pub struct Range {
    /// Only rows whose clustering key begins with these parts (whole parts).
    pub prefix: Vec<Part>,
    /// Only rows whose next part after `prefix` is at least this.
    pub from: Option<Part>,
    /// Only rows whose next part after `prefix` is below this.
    pub below: Option<Part>,
    /// From the last to the first.
    pub descending: bool,
    /// At most so many rows; 0 is [`MAX_PAGE`].
    pub limit: usize,
    /// Where the page before ended.
    pub cursor: Option<Cursor>,
}

/// The most rows of one page.
pub const MAX_PAGE: usize = 5_000;

/// The largest number in a key, and the largest version: stores keep 64 bits with a sign.
pub const MAX_NUMBER: u64 = u64::MAX >> 1;

/// The largest partition key, and the largest clustering key: sum of the bytes of its parts.
pub const MAX_KEY: usize = 8 << 10;

/// The largest value.
pub const MAX_VALUE: usize = 4 << 20;

/// Where a page ended: opaque, valid for the same table, partition and range only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor(pub Bytes);

/// One page of rows. May hold fewer than were asked for, even none, and still have a next one (where many rows were deleted).
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// In the asked order.
    pub rows: Vec<Row>,
    /// `None`: there is nothing after it.
    pub next: Option<Cursor>,
}

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store cannot serve now; the same call may succeed later. A write may have happened all the same.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// There is no room for more data. Reads work, writes do not until space is made.
    #[error("the store is full: {0}")]
    Full(String),
    /// What is stored cannot be read: somebody must look.
    #[error("{table}: {what}")]
    Corrupt {
        /// Table.
        table: &'static str,
        /// What is wrong.
        what: String,
    },
    /// The cursor is not one that the store gave for this query. The caller's fault.
    #[error("the cursor is not valid here")]
    BadCursor,
    /// A key above [`MAX_KEY`], a number in it or a version above [`MAX_NUMBER`], or a value above [`MAX_VALUE`]. The caller's fault.
    #[error("{table}: a key or value is too large ({bytes} bytes)")]
    TooLarge {
        /// Table.
        table: &'static str,
        /// Size of what is too large; 8 for a number.
        bytes: usize,
    },
}

impl Error {
    /// Whether the same call may succeed later without anybody doing anything but wait or make room.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Full(_))
    }
}

/// The store, as an adapter offers it. One conformance suite holds all adapters to this contract.
///
/// Every method may fail with [`Error::Unavailable`], writes also with [`Error::Full`]. A call that was dropped may have happened.
#[async_trait]
pub trait Tables: Send + Sync + fmt::Debug + 'static {
    /// Reads one row of a table that is not [`Writes::Edited`]. Sees every write that has returned; in a [`Writes::Once`] table also every insert that
    /// will ever count, whatever became of its call (that there is none costs a serial read).
    async fn get(&self, table: &'static Table, key: &Key) -> Result<Option<Row>, Error>;

    /// Reads rows of one partition of a [`Writes::Derived`] or [`Writes::Inserted`] table.
    async fn scan(
        &self,
        table: &'static Table,
        partition: &[Part],
        range: Range,
    ) -> Result<Page, Error>;

    /// Writes rows, each by itself (none, some or all are there after an error). Idempotent.
    async fn write(&self, writes: Vec<Write>) -> Result<(), Error>;

    /// Inserts a row if there is none under its key (`IF NOT EXISTS`), into a [`Writes::Once`] table. Linearizable per row; of two callers with
    /// the same value both may hear that they were the one.
    async fn insert_if_absent(
        &self,
        table: &'static Table,
        key: Key,
        value: Bytes,
    ) -> Result<Inserted, Error>;

    /// Reads one row of an [`Writes::Edited`] table. Sees every compare-and-set that has returned, and never goes back behind what a read has seen; one
    /// that is under way, or whose outcome is unknown to its caller, it may see or not.
    async fn get_edited(&self, table: &'static Table, key: &Key) -> Result<Option<Edited>, Error>;

    /// Reads rows of one partition of an [`Writes::Edited`] table; [`Row::value`] is the value, the etag stands in the second list at the same index.
    async fn scan_edited(
        &self,
        table: &'static Table,
        partition: &[Part],
        range: Range,
    ) -> Result<(Page, Vec<String>), Error>;

    /// Writes (or, with `None`, deletes) a row of an [`Writes::Edited`] table if `expect` holds. Linearizable per row.
    async fn compare_and_set(
        &self,
        table: &'static Table,
        key: Key,
        expect: Expect,
        value: Option<Bytes>,
    ) -> Result<Swapped, Error>;

    /// Whether the store can take writes now: `Err` says why not (unreachable, nearly full).
    async fn check(&self) -> Result<(), Error>;
}
