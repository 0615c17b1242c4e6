//! A member of a consumer group: the library's client on a thread of its own, which fetches, takes part in the group and commits, and the handle
//! that the service holds.

use super::{
    client::Context,
    layout::{Layout, Place},
    ledger::{Break, Ledger},
    lookups,
    message::{self, Unread},
};
use crate::{
    gather::Gather,
    log::{Consumer, Delivery, Error},
};
use async_trait::async_trait;
use platen_proto::topic::Topic;
use rdkafka::{
    ClientConfig, ClientContext, Message, TopicPartitionList,
    config::{FromClientConfigAndContext, RDKafkaLogLevel},
    consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, RebalanceProtocol},
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
    message::BorrowedMessage,
    types::RDKafkaRespErr,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};
use tokio::sync::Notify;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// How long the thread listens to the library before it looks around.
const POLL: Duration = Duration::from_millis(100);

/// What is done is committed so often; before a partition is given back, and at the end, at once.
const COMMIT_EVERY: Duration = Duration::from_millis(200);

/// How long the service may take to finish what it has in hand of partitions that are asked back.
const FINISH: Duration = Duration::from_secs(5);

/// The service usually makes room within moments. To stop fetching costs fetching again what the library has fetched ahead.
const SLOW: Duration = Duration::from_millis(300);

/// How long the cluster may take to say where a partition goes on.
const PATIENCE: Duration = Duration::from_secs(5);

/// If nothing comes for so long, the member looks whether there is nothing.
const WATCH_EVERY: Duration = Duration::from_secs(30);

/// What thread and handle share.
pub(super) struct Shared {
    pub(super) group: String,
    layout: Arc<Layout>,
    books: Mutex<Books>,
    /// Something for the handle.
    news: Notify,
    /// Something for the thread: room, a batch that is done, the end.
    moved: Condvar,
}

struct Books {
    ledger: Ledger,
    /// The handle is gone.
    closed: bool,
    /// Why the thread ended, or is about to.
    failed: Option<String>,
    /// Ownership has changed since the thread looked.
    changed: bool,
}

impl Shared {
    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fail(&self, why: String) {
        self.books().failed.get_or_insert(why);
        self.news.notify_one();
    }

    /// How far the group has come, for partitions that this member owns.
    pub(super) fn progress(&self, place: Place) -> Option<u64> {
        self.books().ledger.progress(place)
    }
}

/// The handle.
pub(super) struct Member {
    shared: Arc<Shared>,
    gather: Gather,
}

impl Member {
    /// Joins. `token` is held until the member has left.
    pub(super) fn join(
        config: ClientConfig,
        context: Context,
        layout: Arc<Layout>,
        group: String,
        topics: &[Topic],
        gather: Gather,
        token: TaskTrackerToken,
    ) -> Result<(Self, Arc<Shared>), Error> {
        let shared = Arc::new(Shared {
            group,
            layout,
            books: Mutex::new(Books {
                ledger: Ledger::new(topics),
                closed: false,
                failed: None,
                changed: false,
            }),
            news: Notify::new(),
            moved: Condvar::new(),
        });
        let (member, topics) = (Arc::clone(&shared), topics.to_vec());
        thread::Builder::new()
            .name("kafka-member".to_owned())
            .spawn(move || {
                let _token = token;
                let _ended = Ended(Arc::clone(&member));
                if let Err(error) = Worker::run(&config, context.clone(), &member, &topics) {
                    member.fail(context.explained(error));
                }
            })
            .map_err(|error| Error::Unavailable(format!("no thread for a consumer: {error}")))?;
        let handle = Self {
            shared: Arc::clone(&shared),
            gather,
        };
        Ok((handle, shared))
    }
}

/// However the thread ends, the handle learns of it.
struct Ended(Arc<Shared>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.fail("the consumer has ended".to_owned());
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.shared.books().closed = true;
        self.shared.moved.notify_all();
    }
}

#[async_trait]
impl Consumer for Member {
    async fn next(&mut self, max: usize) -> Result<Delivery, Error> {
        self.gather.wait().await;
        loop {
            {
                let mut books = self.shared.books();
                if let Some(why) = &books.failed {
                    return Err(Error::Unavailable(why.clone()));
                }
                if let Some(delivery) = books.ledger.take(max) {
                    drop(books);
                    self.shared.moved.notify_all();
                    if let Delivery::Batch(records) = &delivery {
                        self.gather.handed_out(records.len() >= max);
                    }
                    return Ok(delivery);
                }
            }
            self.shared.news.notified().await;
        }
    }

    /// Remembers it; the thread tells the cluster soon, and before anybody else gets the partition.
    async fn commit(&mut self) -> Result<(), Error> {
        let mut books = self.shared.books();
        if let Some(why) = &books.failed {
            return Err(Error::Unavailable(why.clone()));
        }
        books.ledger.done();
        drop(books);
        self.shared.moved.notify_all();
        Ok(())
    }
}

type Client = BaseConsumer<Membership>;

/// The thread.
struct Worker<'a> {
    shared: &'a Shared,
    client: Client,
    /// Partitions that are not fetched from.
    paused: bool,
    full_since: Option<Instant>,
    committed_at: Instant,
    /// Kinds that were told to be unknown.
    unknown: BTreeSet<String>,
    heard_at: Instant,
    /// Where partitions stood when nothing had come for a while although there was something.
    stuck_at: Option<BTreeMap<Place, u64>>,
}

impl<'a> Worker<'a> {
    fn run(
        config: &ClientConfig,
        context: Context,
        shared: &'a Arc<Shared>,
        topics: &[Topic],
    ) -> KafkaResult<()> {
        let membership = Membership {
            context,
            shared: Arc::clone(shared),
        };
        let client = Client::from_config_and_context(config, membership)?;
        let names: Vec<&str> = topics
            .iter()
            .map(|topic| shared.layout.name(*topic))
            .collect();
        client.subscribe(&names)?;
        let now = Instant::now();
        let mut worker = Self {
            shared,
            client,
            paused: false,
            full_since: None,
            committed_at: now,
            unknown: BTreeSet::new(),
            heard_at: now,
            stuck_at: None,
        };
        while worker.step()? {}
        Ok(())
    }

    /// One look around; `false` ends.
    fn step(&mut self) -> KafkaResult<bool> {
        self.make_room()?;
        match self.client.poll(POLL) {
            Some(Ok(message)) => {
                self.heard_at = Instant::now();
                let read = message::record(&self.shared.layout, &message);
                let broken = match read {
                    Ok(record) => self.shared.books().ledger.fetched(record),
                    Err(why) => {
                        Self::pass_over(self.shared, &mut self.unknown, &message, &why);
                        None
                    }
                };
                if let Some(broken) = broken {
                    tell(&self.shared.group, &message, &broken);
                }
                self.shared.news.notify_one();
            }
            Some(Err(error)) => self.heard(error)?,
            None => {}
        }
        if self.committed_at.elapsed() >= COMMIT_EVERY {
            self.committed_at = Instant::now();
            self.commit();
        }
        if self.heard_at.elapsed() >= WATCH_EVERY {
            self.watch()?;
        }
        let books = self.shared.books();
        Ok(!books.closed && books.failed.is_none())
    }

    /// Stops fetching while the service is slow, and begins again once there is room. Meanwhile the thread goes on to take part in the group.
    fn make_room(&mut self) -> KafkaResult<()> {
        let mut books = self.shared.books();
        if !self.paused && !books.ledger.has_room() {
            let since = *self.full_since.get_or_insert_with(Instant::now);
            let patience = SLOW.saturating_sub(since.elapsed());
            if !patience.is_zero() && !books.closed {
                let waited = self.shared.moved.wait_timeout(books, patience);
                books = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
        }
        let has_room = books.ledger.has_room();
        let changed = std::mem::take(&mut books.changed);
        drop(books);
        if has_room {
            self.full_since = None;
            if self.paused {
                self.client.resume(&self.client.assignment()?)?;
                self.paused = false;
            }
        } else {
            let slow = self.full_since.is_some_and(|since| since.elapsed() >= SLOW);
            if (slow && !self.paused) || (self.paused && changed) {
                self.client.pause(&self.client.assignment()?)?;
                self.paused = true;
            }
        }
        Ok(())
    }

    fn pass_over(
        shared: &Shared,
        unknown: &mut BTreeSet<String>,
        message: &BorrowedMessage<'_>,
        why: &Unread,
    ) {
        pass_over(message, why, unknown);
        let topic = shared.layout.named(message.topic());
        let place = message::place(message.partition());
        let offset = u64::try_from(message.offset());
        if let (Some(entry), Ok(partition), Ok(offset)) = (topic, place, offset) {
            let mut books = shared.books();
            books.ledger.passed_over((entry.topic, partition), offset);
        }
    }

    /// Most errors are the library's to mend; it says them so that they can be told.
    fn heard(&self, error: KafkaError) -> KafkaResult<()> {
        let fatal = matches!(error, KafkaError::MessageConsumptionFatal(_))
            || error.rdkafka_error_code() == Some(RDKafkaErrorCode::PollExceeded);
        if fatal {
            return Err(error);
        }
        tracing::debug!(group = self.shared.group, %error, "consumer");
        Ok(())
    }

    fn commit(&self) {
        let positions = self.shared.books().ledger.take_uncommitted();
        if positions.is_empty() {
            return;
        }
        let asked = lookups::list_at(&self.shared.layout, &positions)
            .and_then(|list| self.client.commit(&list, CommitMode::Async));
        if let Err(error) = asked {
            tracing::debug!(group = self.shared.group, %error, "offsets are committed again");
            let places: Vec<_> = positions.into_keys().collect();
            self.shared.books().ledger.not_committed(&places);
        }
    }

    /// Nothing has come for a while. If there is something all the same, twice in a row and with nothing moving in between, the client is stuck, and
    /// the service begins again with a new one.
    fn watch(&mut self) -> KafkaResult<()> {
        self.heard_at = Instant::now();
        if self.paused {
            return Ok(());
        }
        let positions = self.shared.books().ledger.positions();
        let places: Vec<_> = positions.keys().copied().collect();
        let mut list = lookups::list(&self.shared.layout, &places);
        list.set_all_offsets(rdkafka::Offset::End)?;
        let Ok(ends) = self.client.offsets_for_times(list, PATIENCE) else {
            return Ok(());
        };
        let ends = lookups::positions(&self.shared.layout, &ends);
        let behind = ends.iter().any(|(place, end)| match end {
            Ok(Some(end)) => positions.get(place).is_some_and(|next| next < end),
            Ok(None) | Err(_) => false,
        });
        if behind && self.stuck_at.as_ref() == Some(&positions) {
            tracing::error!(group = self.shared.group, "the consumer is stuck");
            return Err(KafkaError::NoMessageReceived);
        }
        self.stuck_at = behind.then_some(positions);
        Ok(())
    }
}

impl Drop for Worker<'_> {
    /// After this the client leaves the group, and gives the partitions back: what is done is committed then, and what the handle still has in hand
    /// is not waited for.
    fn drop(&mut self) {
        self.shared.books().closed = true;
    }
}

/// Tells what was passed over: once per kind that is unknown, each time for what does not belong here.
pub(super) fn pass_over(
    message: &BorrowedMessage<'_>,
    why: &Unread,
    unknown: &mut BTreeSet<String>,
) {
    let (topic, partition, offset) = (message.topic(), message.partition(), message.offset());
    match why {
        Unread::Unknown(kind) if unknown.len() < 64 && unknown.insert(kind.clone()) => {
            tracing::warn!(
                topic,
                kind,
                "records of a kind unknown to this version are passed over"
            );
        }
        Unread::Unknown(_) => {}
        Unread::Foreign(what) => {
            tracing::error!(
                topic,
                partition,
                offset,
                what,
                "a message that is not Platen's was passed over"
            );
        }
    }
}

fn tell(group: &str, message: &BorrowedMessage<'_>, broken: &Break) {
    let (topic, partition, offset) = (message.topic(), message.partition(), message.offset());
    match broken {
        Break::Missing(from) => tracing::error!(
            group,
            topic,
            partition,
            from,
            offset,
            "records are gone that the group has not read: it was away for longer than the topic keeps them"
        ),
        Break::Back(from) => tracing::error!(
            group,
            topic,
            partition,
            from,
            offset,
            "the partition ends before what the group has read: it is read again from here"
        ),
    }
}

/// Takes part in the group for the thread, which calls it while it polls.
struct Membership {
    context: Context,
    shared: Arc<Shared>,
}

impl ClientContext for Membership {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.context.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.context.error(error, reason);
    }
}

impl ConsumerContext for Membership {
    fn rebalance(&self, client: &Client, event: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let done = if event == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            self.assign(client, list)
        } else {
            self.revoke(client, list)
        };
        if let Err(error) = done {
            // The library's view and ours may differ now: only a new member puts that right.
            self.shared.fail(format!("the group's partitions: {error}"));
        }
        self.shared.books().changed = true;
        self.shared.news.notify_one();
    }

    fn commit_callback(&self, result: KafkaResult<()>, list: &TopicPartitionList) {
        let all_failed = result.is_err();
        let failed: Vec<Place> = lookups::positions(&self.shared.layout, list)
            .into_iter()
            .filter(|(_, offset)| all_failed || offset.is_err())
            .map(|(place, _)| place)
            .collect();
        if !failed.is_empty() {
            let why = result.err().map(|error| error.to_string());
            tracing::debug!(
                group = self.shared.group,
                why,
                "offsets are committed again"
            );
            self.shared.books().ledger.not_committed(&failed);
        }
    }
}

impl Membership {
    fn assign(&self, client: &Client, list: &TopicPartitionList) -> KafkaResult<()> {
        let layout = &self.shared.layout;
        let places = lookups::places(layout, list);
        let mut begin = lookups::list(layout, &places);
        let mut known = BTreeMap::new();
        if !places.is_empty() {
            // Known, so that it is seen if records have gone before the group has read them. Else the library asks, for as long as it takes.
            match client.committed_offsets(begin.clone(), PATIENCE) {
                Ok(found) => {
                    for (place, offset) in lookups::positions(layout, &found) {
                        if let Ok(Some(offset)) = offset {
                            known.insert(place, offset);
                        }
                    }
                }
                Err(error) => {
                    tracing::debug!(group = self.shared.group, %error, "committed offsets");
                }
            }
        }
        for (place, offset) in &known {
            let offset = rdkafka::Offset::Offset(i64::try_from(*offset).unwrap_or(i64::MAX));
            let partition = i32::try_from(place.1).unwrap_or(i32::MAX);
            begin.set_partition_offset(layout.name(place.0), partition, offset)?;
        }
        let taken = places
            .iter()
            .map(|place| (*place, known.get(place).copied()));
        self.shared.books().ledger.assign(layout, taken);
        match client.rebalance_protocol() {
            RebalanceProtocol::Cooperative => client.incremental_assign(&begin),
            RebalanceProtocol::Eager | RebalanceProtocol::None => client.assign(&begin),
        }
    }

    fn revoke(&self, client: &Client, list: &TopicPartitionList) -> KafkaResult<()> {
        let layout = &self.shared.layout;
        let places = lookups::places(layout, list);
        let lost = client.assignment_lost();
        if lost {
            let group = &self.shared.group;
            tracing::warn!(
                group,
                partitions = places.len(),
                "partitions were taken over by others"
            );
        } else {
            let done = self.finish(&places);
            if !done.is_empty() {
                let committed = lookups::list_at(layout, &done)
                    .and_then(|list| client.commit(&list, CommitMode::Sync));
                if let Err(error) = committed {
                    let group = &self.shared.group;
                    tracing::warn!(group, %error, "some records come again: their offsets were not committed");
                }
            }
        }
        self.shared.books().ledger.revoke(layout, &places);
        match client.rebalance_protocol() {
            RebalanceProtocol::Cooperative => client.incremental_unassign(list),
            RebalanceProtocol::Eager | RebalanceProtocol::None => client.unassign(),
        }
    }

    /// Waits until the service is done with what it has in hand of these, for a while; what is done of them.
    fn finish(&self, places: &[Place]) -> BTreeMap<Place, u64> {
        let end = Instant::now() + FINISH;
        let mut books = self.shared.books();
        books.ledger.stop(places);
        while books.ledger.has_out(places) && !books.closed {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let group = &self.shared.group;
                tracing::warn!(
                    group,
                    "a batch was not done in time; its records go to another member, too"
                );
                break;
            }
            let waited = self.shared.moved.wait_timeout(books, left);
            books = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        books.ledger.done_of(places)
    }
}
