//! The embedded adapter: each topic is one partition, in one keyspace per day of the one database.

mod dead_letters;
mod groups;
mod member;
mod reader;
mod topic;

use crate::{
    frame,
    log::{Consumer, DeadLetter, Error, Follower, From, Log, NewRecord, Positions, Record},
};
use async_trait::async_trait;
use groups::Groups;
use member::Member;
use platen_embedded::{Database, Durability, Keyspace, Kind, Part, Transaction};
use platen_proto::{store::v1::TopicEpoch, topic::Topic};
use platen_store::{Store, tables::Topics};
use reader::Reader;
use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::sync::Semaphore;
use topic::TopicLog;

/// Seconds.
const DAY: u64 = 86_400;

/// How the log is run.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Records are kept at least this long; whole days.
    pub retention: Duration,
    /// Bytes of recent records kept in memory for topic Reports; a quarter of it for each of the others.
    pub memory_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            retention: Duration::from_secs(7 * 86_400),
            memory_bytes: 4 << 20,
        }
    }
}

/// The log in the embedded database. Cheap to clone.
#[derive(Clone)]
pub struct EmbeddedLog {
    shared: Arc<Shared>,
}

struct Shared {
    database: Database,
    /// In the order of [`Topic::ALL`].
    topics: Vec<Arc<TopicLog>>,
    groups: Arc<Groups>,
    dead: Keyspace,
    /// One member of a group is active at a time, since there is one partition.
    members: Mutex<HashMap<String, Arc<Semaphore>>>,
    retention: Duration,
    clock: Arc<dyn Fn() -> SystemTime + Send + Sync>,
    /// Two logs would give the same offsets to different records.
    _alone: Part,
}

impl fmt::Debug for EmbeddedLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedLog")
            .field("database", &self.shared.database)
            .finish_non_exhaustive()
    }
}

impl EmbeddedLog {
    /// The log in this database, with default options. `store` is the store in the same database: it keeps the epochs of the topics.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] if the database cannot be read or written or its log is open already, [`Error::Full`] if a topic cannot be made.
    pub async fn open(database: &Database, store: &Store) -> Result<Self, Error> {
        Self::open_with(database, store, Options::default(), SystemTime::now).await
    }

    /// The same with options, and with another clock: it says on which day a record is appended.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub async fn open_with(
        database: &Database,
        store: &Store,
        options: Options,
        clock: impl Fn() -> SystemTime + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        let alone = database.take("log");
        let alone = alone.ok_or_else(|| {
            Error::Unavailable("the log of this database is open already".to_owned())
        })?;
        let mut topics = Vec::with_capacity(Topic::ALL.len());
        for topic in Topic::ALL {
            let memory = if topic == Topic::Reports {
                options.memory_bytes
            } else {
                options.memory_bytes / 4
            };
            topics.push(Arc::new(TopicLog::open(
                database,
                topic,
                epoch(store, topic, clock()).await?,
                memory,
            )?));
        }
        let published = topics.clone();
        database.after_each_batch(move || published.iter().for_each(|topic| topic.publish()));
        let groups = Groups::open(database)?;
        let dead = database.keyspace("log.dead", Kind::Expiring)?;
        let (database, members) = (database.clone(), Mutex::default());
        let (retention, clock) = (options.retention, Arc::new(clock));
        let shared = Shared {
            database,
            topics,
            groups,
            dead,
            members,
            retention,
            clock,
            _alone: alone,
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    fn topic(&self, topic: Topic) -> Arc<TopicLog> {
        let found = self.shared.topics.iter().find(|log| log.topic == topic);
        Arc::clone(found.expect("invariant: every topic is opened"))
    }

    /// Since 1970.
    fn now(&self) -> Duration {
        (self.shared.clock)()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
    }
}

/// When the topic was made, µs since 1970: the first who asks says.
async fn epoch(store: &Store, topic: Topic, now: SystemTime) -> Result<u64, Error> {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let row = TopicEpoch {
        epoch_us: i64::try_from(now.as_micros()).unwrap_or(i64::MAX),
    };
    let found = match store.get::<Topics>(topic.name()).await? {
        Some(row) => Some(row),
        None => store.insert::<Topics>(topic.name(), &row).await?,
    };
    Ok(u64::try_from(found.unwrap_or(row).epoch_us).unwrap_or(0))
}

#[async_trait]
impl Log for EmbeddedLog {
    async fn append(&self, records: Vec<NewRecord>) -> Result<(), Error> {
        let mut bytes = 0;
        let mut framed = Vec::with_capacity(records.len());
        for record in records {
            record.check_size()?;
            let frame = frame::encode(&record);
            bytes += frame.len() + 8;
            framed.push((self.topic(record.topic), record, frame));
        }
        if framed.is_empty() {
            return Ok(());
        }
        let today = self.now().as_secs() / DAY;
        let kept = self.shared.retention.as_secs().div_ceil(DAY);
        let groups = Arc::clone(&self.shared.groups);
        let work = move |transaction: &mut Transaction<'_>| -> Result<(), Error> {
            // All that may fail goes first: of a call that failed here nothing is written.
            let mut placed = Vec::with_capacity(framed.len());
            for (topic, record, frame) in framed {
                let segment = topic.segment(transaction, today, kept, |of| groups.slowest(of))?;
                placed.push((topic, segment, record, frame));
            }
            let mut appended = Vec::with_capacity(placed.len());
            for (topic, segment, record, frame) in placed {
                let offset = topic.assign();
                transaction.append(&segment, offset.to_be_bytes().to_vec(), frame);
                let version = topic.epoch.saturating_add(offset);
                appended.push((topic, Arc::new(Record::new(record, 0, offset, version))));
            }
            transaction.on_commit(move || {
                for (topic, record) in appended {
                    topic.push(record);
                }
            });
            Ok(())
        };
        self.shared
            .database
            .transact(Durability::Synced, bytes, work)
            .await?
    }

    async fn consume(
        &self,
        group: &str,
        topics: &[Topic],
        gather: Duration,
    ) -> Result<Box<dyn Consumer>, Error> {
        let seat = {
            let mut members = self
                .shared
                .members
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            Arc::clone(
                members
                    .entry(group.to_owned())
                    .or_insert_with(|| Arc::new(Semaphore::new(1))),
            )
        };
        let member = Member::new(self.clone(), group, topics, gather, seat);
        Ok(Box::new(member))
    }

    async fn follow(&self, topics: &[Topic], from: From) -> Result<Box<dyn Follower>, Error> {
        let mut cursors = Vec::with_capacity(topics.len());
        for topic in topics {
            let log = self.topic(*topic);
            let held = log.held();
            let next = match &from {
                From::Positions(positions) => {
                    positions.0.get(&(*topic, 0)).copied().unwrap_or(held.end)
                }
                From::Now => held.end,
            };
            if !(held.start..=held.end).contains(&next) {
                return Err(Error::TooOld {
                    topic: topic.name(),
                    offset: next,
                });
            }
            cursors.push((log, next));
        }
        Ok(Box::new(LoneReader(Reader::new(cursors))))
    }

    async fn lag(&self, group: &str, topics: &[Topic]) -> Result<u64, Error> {
        let lag = |topic: &Topic| {
            let held = self.topic(*topic).held();
            held.end.saturating_sub(
                self.shared
                    .groups
                    .next(group, *topic)
                    .unwrap_or(held.start)
                    .max(held.start),
            )
        };
        Ok(topics.iter().map(lag).sum())
    }

    async fn dead_letter(&self, record: &Record, group: &str, reason: &str) -> Result<(), Error> {
        let (key, value) = dead_letters::encode(record, group, reason, self.now());
        let (dead, bytes) = (self.shared.dead.clone(), key.len() + value.len());
        let work = move |transaction: &mut Transaction<'_>| transaction.put(&dead, key, value);
        Ok(self
            .shared
            .database
            .transact(Durability::Synced, bytes, work)
            .await?)
    }

    async fn dead_letters(&self, topic: Topic, limit: usize) -> Result<Vec<DeadLetter>, Error> {
        let (dead, now) = (self.shared.dead.clone(), self.now());
        let read =
            tokio::task::spawn_blocking(move || dead_letters::read(&dead, topic, limit, now)).await;
        read.map_err(|error| Error::Unavailable(error.to_string()))?
    }

    async fn check(&self) -> Result<(), Error> {
        Ok(self.shared.database.check()?)
    }

    fn partitions(&self) -> u32 {
        1
    }
}

/// A follower.
struct LoneReader(Reader);

#[async_trait]
impl Follower for LoneReader {
    async fn next(&mut self, max: usize) -> Result<Vec<Arc<Record>>, Error> {
        self.0.next(max).await
    }

    fn positions(&self) -> Positions {
        Positions(
            self.0
                .positions()
                .into_iter()
                .map(|(topic, next)| ((topic, 0), next))
                .collect(),
        )
    }
}

impl std::convert::From<platen_embedded::Error> for Error {
    fn from(error: platen_embedded::Error) -> Self {
        match error {
            platen_embedded::Error::Unavailable(why) => Self::Unavailable(why),
            platen_embedded::Error::Full(why) => Self::Full(why),
            platen_embedded::Error::Corrupt(what) => Self::Corrupt {
                topic: "database",
                offset: 0,
                what,
            },
        }
    }
}

impl std::convert::From<platen_store::Error> for Error {
    fn from(error: platen_store::Error) -> Self {
        match error {
            platen_store::Error::Unavailable(why) => Self::Unavailable(why),
            platen_store::Error::Full(why) => Self::Full(why),
            other @ (platen_store::Error::Corrupt { .. }
            | platen_store::Error::BadCursor
            | platen_store::Error::TooLarge { .. }) => Self::Corrupt {
                topic: "epochs",
                offset: 0,
                what: other.to_string(),
            },
        }
    }
}
