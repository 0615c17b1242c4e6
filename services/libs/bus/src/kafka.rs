//! The adapter for Apache Kafka: partitioned topics, one installation's under a prefix.
//!
//! A record's partition follows from its shard, and its version from the topic's epoch and its offset, as everywhere. The library (librdkafka) calls
//! back on threads and blocks in places, so producer, members of groups, followers and the watch over the cluster have threads of their own; what
//! they hand over is bounded.

mod client;
mod follower;
mod layout;
mod ledger;
mod lookups;
mod member;
mod message;
mod migrate;
mod producer;
mod pulse;

use crate::log::{
    Consumer, DeadLetter, Error, Follower, From as Begin, Log, NewRecord, Positions, Record,
};
use async_trait::async_trait;
use client::Context;
use follower::{Following, Source};
use layout::{Layout, Place, dead_letters_of};
use lookups::{End, Lookups};
use member::Member;
pub use migrate::migrate;
use platen_proto::topic::Topic;
use platen_store::Store;
use producer::{Outgoing, Producer};
use pulse::Pulse;
use rdkafka::{
    Message, Offset, TopicPartitionList,
    config::FromClientConfigAndContext,
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaError,
};
use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::{Duration, Instant},
};
use tokio_util::task::TaskTracker;

/// How a process reaches its Kafka cluster.
#[derive(Debug, Clone)]
pub struct KafkaConfig {
    /// `host:port` of some brokers; the others are learned from these.
    pub brokers: Vec<String>,
    /// Before the names of topics and groups, so that several installations may share a cluster; may be empty.
    pub prefix: String,
    /// What the process calls itself, for the brokers' logs and quotas.
    pub client_id: String,
    /// A name that no other process has and that this one has again after a restart. With it, a restart that is shorter than `session_timeout` moves no
    /// partitions.
    pub instance: Option<String>,
    /// Where the process runs: what it reads comes from the copies there.
    pub rack: Option<String>,
    /// Who the process is, if the brokers ask (SASL).
    pub login: Option<Login>,
    /// Encrypted connections.
    pub tls: Option<Tls>,
    /// After so long a record that is not acknowledged is refused (it may be there all the same).
    pub message_timeout: Duration,
    /// After so long without a sign of life a member's partitions go to others. Brokers refuse less than six seconds, if nobody has told them otherwise.
    pub session_timeout: Duration,
}

impl KafkaConfig {
    /// A configuration without prefix, login and TLS; records may take two seconds, members be silent for ten.
    #[must_use]
    pub fn new(brokers: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            brokers: brokers.into_iter().map(Into::into).collect(),
            prefix: String::new(),
            client_id: "platen".to_owned(),
            instance: None,
            rack: None,
            login: None,
            tls: None,
            message_timeout: Duration::from_secs(2),
            session_timeout: Duration::from_secs(10),
        }
    }
}

/// Who a process is to the brokers.
#[derive(Clone)]
pub struct Login {
    /// How it is shown.
    pub mechanism: Mechanism,
    /// The name.
    pub username: String,
    /// The password.
    pub password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("mechanism", &self.mechanism)
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// How a password is shown to the brokers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// As it is: with TLS only.
    Plain,
    /// SCRAM with SHA-256.
    ScramSha256,
    /// SCRAM with SHA-512.
    ScramSha512,
}

impl Mechanism {
    const fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// What encrypted connections are verified by, and show.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// Authorities (PEM) that vouch for the brokers, in place of the system's.
    pub ca: Option<PathBuf>,
    /// Certificate and key (PEM) of this process.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// Why the log cannot be opened, or its topics cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The configuration is wrong.
    #[error("Kafka cannot be used like this: {0}")]
    Configuration(String),
    /// A topic is not as it must be: somebody must act.
    #[error("topic {topic}: {why}")]
    Topic {
        /// Its name on the cluster.
        topic: String,
        /// What is wrong.
        why: String,
    },
    /// Kafka or the store cannot serve now; the same call may succeed later.
    #[error("{0}")]
    Unavailable(String),
}

impl SetupError {
    const fn topic(topic: String, why: String) -> Self {
        Self::Topic { topic, why }
    }

    /// A client could not be made.
    fn of(error: KafkaError) -> Self {
        Self::Configuration(match error {
            KafkaError::ClientConfig(_, description, key, _) => format!("{description} ({key})"),
            KafkaError::ClientCreation(why) => why,
            other => other.to_string(),
        })
    }
}

/// The log on Kafka. Cheap to clone.
#[derive(Clone)]
pub struct KafkaLog {
    shared: Arc<Shared>,
}

struct Shared {
    config: KafkaConfig,
    context: Context,
    layout: Arc<Layout>,
    producer: Arc<Producer>,
    lookups: Arc<Lookups>,
    pulse: Pulse,
    /// Of this process: they know more than they have committed.
    members: Mutex<Vec<Weak<member::Shared>>>,
    /// Threads of members and followers.
    threads: TaskTracker,
}

impl fmt::Debug for KafkaLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaLog")
            .field("config", &self.shared.config)
            .finish_non_exhaustive()
    }
}

impl KafkaLog {
    /// The log whose topics [`migrate`] has made. `store` knows their epochs.
    ///
    /// # Errors
    ///
    /// [`SetupError::Unavailable`] while cluster or store are away; the others are for people.
    pub async fn open(config: KafkaConfig, store: &Store) -> Result<Self, SetupError> {
        let context = Context::default();
        let layout = migrate::layout(&config, &context, store).await?;
        let reports = layout.name(Topic::Reports).to_owned();
        let producer = Arc::new(Producer::new(
            client::producer(&config)?,
            context.clone(),
            config.message_timeout,
        )?);
        let lookups = Arc::new(Lookups::new(config.clone(), context.clone()));
        let pulse = Pulse::start(
            reports.clone(),
            Arc::clone(&producer),
            Arc::clone(&lookups),
            context.clone(),
        )
        .map_err(|error| SetupError::Unavailable(format!("no thread: {error}")))?;
        pulse.needs_copies(migrate::copies_needed(&config, &context, &reports).await);
        let shared = Shared {
            config,
            context,
            layout: Arc::new(layout),
            producer,
            lookups,
            pulse,
            members: Mutex::default(),
            threads: TaskTracker::new(),
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Waits until the members and followers that were dropped have left, with what they had done committed; `patience` at most. Else their partitions
    /// are without an owner until the brokers miss them.
    pub async fn close(&self, patience: Duration) {
        self.shared.threads.close();
        if tokio::time::timeout(patience, self.shared.threads.wait())
            .await
            .is_err()
        {
            tracing::warn!(
                "Kafka was left without a word: partitions move once the brokers miss this process"
            );
        }
    }

    /// Name of a group on the cluster.
    fn group(&self, group: &str) -> String {
        format!("{}{group}", self.shared.config.prefix)
    }

    fn unwell(&self) -> Result<(), Error> {
        self.shared
            .pulse
            .trouble()
            .map_or(Ok(()), |trouble| Err(Error::Unavailable(trouble)))
    }

    /// Asks the cluster, on a thread for what blocks.
    async fn ask<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Shared) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.unwell()?;
        let shared = Arc::clone(&self.shared);
        tokio::task::spawn_blocking(move || ask(&shared))
            .await
            .map_err(|error| Error::Unavailable(error.to_string()))?
    }
}

#[async_trait]
impl Log for KafkaLog {
    async fn append(&self, records: Vec<NewRecord>) -> Result<(), Error> {
        for record in &records {
            record.check_size()?;
        }
        self.unwell()?;
        let layout = &self.shared.layout;
        let messages = records.iter().map(|record| Outgoing {
            topic: layout.name(record.topic),
            partition: layout.partition(record.shard),
            key: &record.key,
            payload: &record.payload,
            headers: message::headers(record),
        });
        self.shared.producer.send(messages.collect()).await
    }

    async fn consume(
        &self,
        group: &str,
        topics: &[Topic],
        gather: Duration,
    ) -> Result<Box<dyn Consumer>, Error> {
        let shared = &self.shared;
        let group = self.group(group);
        let (config, gather) = client::member(&shared.config, &group, topics.len(), gather)
            .map_err(|error| Error::Unavailable(error.to_string()))?;
        let (member, known) = Member::join(
            config,
            shared.context.clone(),
            Arc::clone(&shared.layout),
            group,
            topics,
            gather,
            shared.threads.token(),
        )?;
        let mut members = shared
            .members
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        members.retain(|member| member.strong_count() > 0);
        members.push(Arc::downgrade(&known));
        Ok(Box::new(member))
    }

    async fn follow(&self, topics: &[Topic], from: Begin) -> Result<Box<dyn Follower>, Error> {
        let topics = topics.to_vec();
        let positions = self.ask(move |shared| shared.begin(&topics, from)).await?;
        let shared = &self.shared;
        let source = Source {
            config: client::reader(&shared.config)
                .map_err(|error| Error::Unavailable(error.to_string()))?,
            context: shared.context.clone(),
            layout: Arc::clone(&shared.layout),
            lookups: Arc::clone(&shared.lookups),
        };
        let token = shared.threads.token();
        Ok(Box::new(Following::begin(source, positions, token)?))
    }

    async fn lag(&self, group: &str, topics: &[Topic]) -> Result<u64, Error> {
        let (group, topics) = (self.group(group), topics.to_vec());
        self.ask(move |shared| shared.lag(&group, &topics)).await
    }

    async fn dead_letter(&self, record: &Record, group: &str, reason: &str) -> Result<(), Error> {
        self.unwell()?;
        let topic = dead_letters_of(self.shared.layout.name(record.record.topic));
        let message = Outgoing {
            topic: &topic,
            partition: 0,
            key: &record.record.key,
            payload: &record.record.payload,
            headers: message::dead_headers(record, group, reason),
        };
        self.shared.producer.send(vec![message]).await
    }

    async fn dead_letters(&self, topic: Topic, limit: usize) -> Result<Vec<DeadLetter>, Error> {
        self.ask(move |shared| shared.dead_letters(topic, limit))
            .await
    }

    async fn check(&self) -> Result<(), Error> {
        self.unwell()
    }

    fn partitions(&self) -> u32 {
        self.shared.layout.partitions()
    }
}

/// How long reading dead letters may take.
const DEAD_PATIENCE: Duration = Duration::from_secs(30);

impl Shared {
    /// Where a follower begins, for every partition.
    fn begin(&self, topics: &[Topic], from: Begin) -> Result<Positions, Error> {
        let mut positions = match from {
            Begin::Now => Positions::default(),
            Begin::Positions(positions) => positions,
        };
        positions.0.retain(|(topic, _), _| topics.contains(topic));
        follower::is_held(&self.lookups, &self.layout, &positions)?;
        let places = self.layout.places(topics);
        let unnamed: Vec<_> = places
            .into_iter()
            .filter(|place| !positions.0.contains_key(place))
            .collect();
        if !unnamed.is_empty() {
            let ends = self.lookups.ends(&self.layout, &unnamed, End::Last)?;
            positions.0.extend(ends);
        }
        Ok(positions)
    }

    fn lag(&self, group: &str, topics: &[Topic]) -> Result<u64, Error> {
        let places = self.layout.places(topics);
        let committed = self.lookups.committed(&self.layout, group, &places)?;
        let first = self.lookups.ends(&self.layout, &places, End::First)?;
        let last = self.lookups.ends(&self.layout, &places, End::Last)?;
        let lag = places.into_iter().map(|place| {
            let next = committed.get(&place).copied();
            let next = next.max(self.progress(group, place));
            let next = next.unwrap_or(0).max(first[&place]);
            last[&place].saturating_sub(next)
        });
        Ok(lag.sum())
    }

    /// How far members of this process have come.
    fn progress(&self, group: &str, place: Place) -> Option<u64> {
        let members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        members
            .iter()
            .filter_map(Weak::upgrade)
            .filter(|member| member.group == group)
            .filter_map(|member| member.progress(place))
            .max()
    }

    fn dead_letters(&self, topic: Topic, limit: usize) -> Result<Vec<DeadLetter>, Error> {
        let failed = |error: KafkaError| Error::Unavailable(self.context.explained(error));
        let name = dead_letters_of(self.layout.name(topic));
        let made = || -> Result<BaseConsumer<Context>, SetupError> {
            let mut config = client::reader(&self.config)?;
            config.set("auto.offset.reset", "earliest");
            BaseConsumer::from_config_and_context(&config, self.context.clone())
                .map_err(SetupError::of)
        };
        let client = made().map_err(|error| Error::Unavailable(error.to_string()))?;
        let (first, end) = client
            .client()
            .fetch_watermarks(&name, 0, Duration::from_secs(5))
            .map_err(failed)?;
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&name, 0, Offset::Offset(first))
            .map_err(failed)?;
        client.assign(&list).map_err(failed)?;
        let mut letters = Vec::new();
        let (mut next, until) = (first, Instant::now() + DEAD_PATIENCE);
        while next < end && letters.len() < limit {
            if Instant::now() > until {
                let what = "dead letters could not be read in time";
                return Err(Error::Unavailable(self.context.explained(what)));
            }
            let Some(Ok(found)) = client.poll(Duration::from_millis(200)) else {
                continue;
            };
            next = found.offset() + 1;
            match message::dead_letter(topic, &found) {
                Ok(letter) => letters.push(letter),
                Err(why) => tracing::error!(
                    topic = name,
                    offset = found.offset(),
                    ?why,
                    "no dead letter of Platen's"
                ),
            }
        }
        Ok(letters)
    }
}
