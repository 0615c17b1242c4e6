//! One topic: where its records lie, and the recent ones in memory.

use crate::{
    frame,
    log::{Error, Record},
};
use platen_embedded::{Database, Keyspace, Kind, Transaction};
use platen_proto::topic::Topic;
use std::{
    collections::VecDeque,
    ops::{Bound, Range},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::sync::watch;

/// A topic of the embedded log.
pub(crate) struct TopicLog {
    pub(crate) topic: Topic,
    /// Microseconds since 1970.
    pub(crate) epoch: u64,
    /// Bytes of records kept in memory.
    memory: usize,
    /// The offset that the next record gets; only the writer thread counts it up.
    assigned: AtomicU64,
    tail: Mutex<Tail>,
    /// After the last record that readers may see.
    end: watch::Sender<u64>,
}

/// What is on disk, and what of it is in memory.
struct Tail {
    /// The oldest first; the last one is never dropped, since it says which offset comes next.
    segments: Vec<Segment>,
    /// Every record from `recent_start` to `end`.
    recent: VecDeque<Arc<Record>>,
    recent_start: u64,
    recent_bytes: usize,
    /// After the last record that is on disk.
    end: u64,
}

/// The records of one day.
#[derive(Clone)]
struct Segment {
    /// Days since 1970.
    day: u64,
    /// Its first record has this offset, or a higher one if there is none yet.
    first: u64,
    keyspace: Keyspace,
}

/// What a read found.
pub(crate) struct Records {
    pub(crate) records: Vec<Arc<Record>>,
    /// Where the next read begins.
    pub(crate) next: u64,
}

/// A read from disk ends after so many bytes.
const MAX_READ: usize = 4 << 20;

impl TopicLog {
    pub(crate) fn open(
        database: &Database,
        topic: Topic,
        epoch: u64,
        memory: usize,
    ) -> Result<Self, Error> {
        let prefix = segment_prefix(topic);
        let mut segments = Vec::new();
        let mut end = 0;
        for name in database.keyspace_names(&prefix) {
            let day = name[prefix.len()..].parse();
            let day = day.map_err(|_| Error::Corrupt {
                topic: topic.name(),
                offset: 0,
                what: format!("{name} is no day of it"),
            })?;
            let keyspace = database.keyspace(&name, Kind::Plain)?;
            // Without a record: it was made when the process ended, and is found again when it is needed.
            if let (Some(first), Some(last)) = (keyspace.first()?, keyspace.last()?) {
                let (first, last) = (offset(topic, &first)?, offset(topic, &last)?);
                end = end.max(last + 1);
                segments.push(Segment {
                    day,
                    first,
                    keyspace,
                });
            }
        }
        segments.sort_by_key(|segment| segment.first);
        let tail = Tail {
            segments,
            recent: VecDeque::new(),
            recent_start: end,
            recent_bytes: 0,
            end,
        };
        Ok(Self {
            topic,
            epoch,
            memory,
            assigned: AtomicU64::new(end),
            tail: Mutex::new(tail),
            end: watch::Sender::new(end),
        })
    }

    /// Offsets of the records that the log holds.
    pub(crate) fn held(&self) -> Range<u64> {
        let end = *self.end.borrow();
        let tail = self.tail();
        tail.segments
            .first()
            .map_or(end, |segment| segment.first.min(end))..end
    }

    /// Changes whenever there is more to read.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.end.subscribe()
    }

    /// The keyspace of `today`'s records. With a day's first record, days go that are older than `kept` days and that every group has passed.
    ///
    /// On the writer thread.
    pub(crate) fn segment(
        &self,
        transaction: &mut Transaction<'_>,
        today: u64,
        kept: u64,
        slowest: impl Fn(Topic) -> Option<u64>,
    ) -> Result<Keyspace, Error> {
        let mut tail = self.tail();
        // A clock that was set back does not open old days again: keyspaces are in the order of offsets.
        if let Some(last) = tail.segments.last().filter(|last| last.day >= today) {
            return Ok(last.keyspace.clone());
        }
        let passed = slowest(self.topic).unwrap_or(u64::MAX);
        while let [oldest, next, ..] = tail.segments.as_slice()
            && oldest.day + kept < today
            && passed >= next.first
        {
            let oldest = tail.segments.remove(0);
            tracing::info!(
                topic = self.topic.name(),
                day = oldest.day,
                "dropping old records"
            );
            transaction.delete_keyspace(oldest.keyspace)?;
        }
        let keyspace = transaction.keyspace(
            &format!("{}{today}", segment_prefix(self.topic)),
            Kind::Plain,
        )?;
        let first = self.assigned.load(Ordering::Relaxed);
        tail.segments.push(Segment {
            day: today,
            first,
            keyspace: keyspace.clone(),
        });
        Ok(keyspace)
    }

    /// The next offset. On the writer thread.
    pub(crate) fn assign(&self) -> u64 {
        self.assigned.fetch_add(1, Ordering::Relaxed)
    }

    /// Takes a record that is on disk. On the writer thread, in the order of offsets.
    pub(crate) fn push(&self, record: Arc<Record>) {
        let mut tail = self.tail();
        tail.end = record.offset + 1;
        tail.recent_bytes += weight(&record);
        tail.recent.push_back(record);
        while tail.recent_bytes > self.memory
            && let Some(oldest) = tail.recent.pop_front()
        {
            tail.recent_bytes -= weight(&oldest);
            tail.recent_start = oldest.offset + 1;
        }
    }

    /// Lets readers see what was pushed. Once per batch: each call wakes them.
    pub(crate) fn publish(&self) {
        let end = self.tail().end;
        self.end.send_if_modified(|published| {
            let more = *published < end;
            *published = end;
            more
        });
    }

    /// Reads at most `max` records from an offset on. Empty: there is nothing yet.
    pub(crate) async fn read(&self, from: u64, max: usize) -> Result<Records, Error> {
        let end = *self.end.borrow();
        let (segments, until) = {
            let tail = self.tail();
            let start = tail.segments.first().map_or(end, |segment| segment.first);
            if from < start.min(end) || from > end {
                return Err(Error::TooOld {
                    topic: self.topic.name(),
                    offset: from,
                });
            }
            if from >= tail.recent_start {
                let first = tail.recent.partition_point(|record| record.offset < from);
                let records: Vec<_> = tail
                    .recent
                    .range(first..)
                    .take_while(|record| record.offset < end)
                    .take(max)
                    .cloned()
                    .collect();
                let next = records.last().map_or(from, |record| record.offset + 1);
                return Ok(Records { records, next });
            }
            let first = tail
                .segments
                .partition_point(|segment| segment.first <= from)
                .saturating_sub(1);
            (tail.segments[first..].to_vec(), tail.recent_start.min(end))
        };
        let (topic, epoch) = (self.topic, self.epoch);
        let read = tokio::task::spawn_blocking(move || {
            read_disk(topic, epoch, &segments, from..until, max)
        })
        .await;
        read.map_err(|error| Error::Unavailable(error.to_string()))?
    }

    fn tail(&self) -> MutexGuard<'_, Tail> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read_disk(
    topic: Topic,
    epoch: u64,
    segments: &[Segment],
    range: Range<u64>,
    max: usize,
) -> Result<Records, Error> {
    let mut records = Vec::new();
    let mut bytes = 0;
    let mut failed = None;
    for segment in segments {
        let bounds = (
            Bound::Included(range.start.to_be_bytes().to_vec()),
            Bound::Excluded(range.end.to_be_bytes().to_vec()),
        );
        segment.keyspace.scan(bounds, false, |key, value| {
            if records.len() == max || bytes > MAX_READ {
                return false;
            }
            bytes += value.len();
            let record = offset(topic, &key).and_then(|offset| {
                let record = frame::decode(topic, offset, value)?;
                Ok(Arc::new(Record::new(
                    record,
                    0,
                    offset,
                    epoch.saturating_add(offset),
                )))
            });
            match record {
                Ok(record) => records.push(record),
                Err(error) => failed = Some(error),
            }
            failed.is_none()
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
        if records.len() == max || bytes > MAX_READ {
            break;
        }
    }
    let next = records.last().map_or(range.end, |record| record.offset + 1);
    Ok(Records { records, next })
}

fn segment_prefix(topic: Topic) -> String {
    format!("log.{}.", topic.name())
}

fn offset(topic: Topic, key: &[u8]) -> Result<u64, Error> {
    let bytes = <[u8; 8]>::try_from(key);
    bytes.map(u64::from_be_bytes).map_err(|_| Error::Corrupt {
        topic: topic.name(),
        offset: 0,
        what: format!("{key:?} is no position"),
    })
}

/// Bytes that a record takes in memory, about: its report, once decoded, takes some three times its payload.
fn weight(record: &Record) -> usize {
    256 + record.record.key.len() + record.record.id.len() + 4 * record.record.payload.len()
}
