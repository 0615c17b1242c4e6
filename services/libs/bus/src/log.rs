//! The port that an adapter implements: a partitioned log with consumer groups.

use async_trait::async_trait;
use bytes::Bytes;
use platen_proto::{
    report::v1::{Notice, Report},
    topic::{Kind, Topic},
};
use prost::{DecodeError, Message};
use std::{
    collections::BTreeMap,
    fmt,
    ops::Range,
    sync::{Arc, OnceLock},
    time::Duration,
};

/// A record to append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRecord {
    /// Where to.
    pub topic: Topic,
    /// Says which partition: [`platen_ids::shard`] of tenant and subject. The same subject always has the same shard, but for notices that concern every
    /// owner: they go to each partition.
    pub shard: u8,
    /// Subject: `tenant/device` for a device. Records of one key keep their order.
    pub key: String,
    /// Type, in a header.
    pub kind: Kind,
    /// Recognises a redelivery, in a header.
    pub id: String,
    /// When its cause was received, microseconds since 1970; the `now` of whoever acts upon it.
    pub time_us: i64,
    /// An encoded message of `platen.report.v1` or `platen.event.v1`; at most 1 MiB.
    pub payload: Bytes,
}

/// A record as read.
#[derive(Debug)]
pub struct Record {
    /// What was appended.
    pub record: NewRecord,
    /// Partition on this log.
    pub partition: u32,
    /// Position in the partition; grows, with gaps.
    pub offset: u64,
    /// Timestamp of what is derived from this record: the topic's epoch (µs) plus the offset. Grows along a key's records.
    pub version: u64,
    /// Decoded once, for all consumers of the process.
    report: OnceLock<Result<Report, DecodeError>>,
}

impl Record {
    /// A record as it stands on the log.
    #[must_use]
    pub const fn new(record: NewRecord, partition: u32, offset: u64, version: u64) -> Self {
        Self {
            record,
            partition,
            offset,
            version,
            report: OnceLock::new(),
        }
    }

    /// The report that it carries, if its kind is one of a report's (inform, transfer, request, done, woken).
    ///
    /// # Errors
    ///
    /// The payload cannot be decoded: whoever wrote it had a fault.
    pub fn report(&self) -> Result<&Report, &DecodeError> {
        self.report
            .get_or_init(|| Report::decode(self.record.payload.clone()))
            .as_ref()
    }

    /// The notice that it carries, if its kind is [`Kind::Notice`].
    ///
    /// # Errors
    ///
    /// As [`Self::report`].
    pub fn notice(&self) -> Result<Notice, DecodeError> {
        Notice::decode(self.record.payload.clone())
    }
}

/// Shards, as a half-open range; partitions are contiguous ranges of them.
pub type Shards = Range<u16>;

/// What a consumer is given.
#[derive(Debug)]
pub enum Delivery {
    /// From here on these shards are this consumer's, and no others: whatever it remembers of the others, and of those that are added, goes.
    /// Comes before the first batch and whenever ownership changes.
    Assigned(Vec<Shards>),
    /// Records in order per key. The next call of `next` before `commit` is a mistake of the caller.
    Batch(Vec<Arc<Record>>),
}

/// Positions of a reader: next offset per topic and partition. Also the cursor that event streams show to customers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Positions(pub BTreeMap<(Topic, u32), u64>);

/// Where a follower begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum From {
    /// With what is appended after this call.
    Now,
    /// Here; partitions that are not named begin with now.
    Positions(Positions),
}

/// Why the log did not do it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log cannot serve now; the same call may succeed later. What was to be appended may be there all the same.
    #[error("the log is unavailable: {0}")]
    Unavailable(String),
    /// There is no room for more records.
    #[error("the log is full: {0}")]
    Full(String),
    /// The positions lie before what the log still holds. The reader has missed records.
    #[error("the log no longer holds {topic} from {offset} on")]
    TooOld {
        /// Name of the topic.
        topic: &'static str,
        /// The position asked for.
        offset: u64,
    },
    /// A record cannot be read: somebody must look.
    #[error("{topic} at {offset}: {what}")]
    Corrupt {
        /// Name of the topic.
        topic: &'static str,
        /// Where.
        offset: u64,
        /// What is wrong.
        what: String,
    },
    /// A record is larger than 1 MiB, or its key or id than 4 KiB. The caller's fault.
    #[error("a record of {0} bytes is too large")]
    TooLarge(usize),
}

impl Error {
    /// Whether the same call may succeed later without anybody doing anything but wait or make room.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Full(_))
    }
}

/// The largest payload.
pub const MAX_PAYLOAD: usize = 1 << 20;

/// The longest key, and the longest id.
pub const MAX_NAME: usize = 4 << 10;

impl NewRecord {
    /// Whether the log takes a record of this size.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`] if not.
    pub const fn check_size(&self) -> Result<(), Error> {
        if self.payload.len() > MAX_PAYLOAD || self.key.len() > MAX_NAME || self.id.len() > MAX_NAME
        {
            return Err(Error::TooLarge(
                self.payload.len() + self.key.len() + self.id.len(),
            ));
        }
        Ok(())
    }
}

/// A record that a consumer could not handle, as it lies on the topic's dead-letter topic (`<topic>.dlq`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Whose consumer gave up.
    pub group: String,
    /// Why.
    pub reason: String,
    /// The record.
    pub record: NewRecord,
    /// Where it lay.
    pub partition: u32,
    /// Where it lay.
    pub offset: u64,
}

/// The log, as an adapter offers it. One conformance suite holds all adapters to this contract.
#[async_trait]
pub trait Log: Send + Sync + fmt::Debug + 'static {
    /// Appends records. When it returns, all of them survive a crash; after an error any of them may be there ([`Error::TooLarge`]: none).
    /// Records of one call that share a key keep their order.
    async fn append(&self, records: Vec<NewRecord>) -> Result<(), Error>;

    /// Joins a consumer group: its members share the partitions of the topics. Begins after the group's committed offsets, or, for a new group, with the first record that the log holds.
    ///
    /// `gather`: for about so long records are left to gather after each batch that was not full. A busy log would else wake every consumer for
    /// every few records, and that costs more than they do.
    async fn consume(
        &self,
        group: &str,
        topics: &[Topic],
        gather: Duration,
    ) -> Result<Box<dyn Consumer>, Error>;

    /// Reads all partitions of topics for itself, without a group. [`Error::TooOld`] if a position lies before what the log still holds (or
    /// behind its end, so that it is not of this log).
    async fn follow(&self, topics: &[Topic], from: From) -> Result<Box<dyn Follower>, Error>;

    /// Number of records that a group has yet to pass, over the partitions of the topics.
    async fn lag(&self, group: &str, topics: &[Topic]) -> Result<u64, Error>;

    /// Puts a record aside that `group` can never handle, with the reason. Survives a crash when it returns; kept for 30 days.
    /// The same record of the same group may be there more than once, if it was handed out again.
    async fn dead_letter(&self, record: &Record, group: &str, reason: &str) -> Result<(), Error>;

    /// What was put aside of a topic, the oldest first, at most `limit`.
    async fn dead_letters(&self, topic: Topic, limit: usize) -> Result<Vec<DeadLetter>, Error>;

    /// Whether the log takes records now: `Err` says why not.
    async fn check(&self) -> Result<(), Error>;

    /// Number of partitions, the same for every topic: a power of two up to 256. Partition `p` holds the shards from `p * 256 / partitions` on.
    fn partitions(&self) -> u32;
}

/// One member of a consumer group.
#[async_trait]
pub trait Consumer: Send {
    /// Waits for the next delivery: at most `max` records of one partition or several. Cancel safe.
    async fn next(&mut self, max: usize) -> Result<Delivery, Error>;

    /// Marks the last batch as done: it is not delivered to this group again. Whatever was written to the store before this call is durable no later than the mark.
    async fn commit(&mut self) -> Result<(), Error>;
}

/// A reader without a group.
#[async_trait]
pub trait Follower: Send {
    /// Waits for records: at most `max`. Cancel safe.
    async fn next(&mut self, max: usize) -> Result<Vec<Arc<Record>>, Error>;

    /// Where it stands: after the last record that `next` returned.
    fn positions(&self) -> Positions;
}
