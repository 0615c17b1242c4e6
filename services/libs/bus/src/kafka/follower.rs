//! A reader without a group: the library's client on a thread of its own, which fetches, and a bounded channel to whoever reads.

use super::{
    client::Context,
    layout::Layout,
    lookups::{self, End, Lookups},
    member::pass_over,
    message,
};
use crate::log::{Error, Follower, Positions, Record};
use async_trait::async_trait;
use rdkafka::{
    ClientConfig,
    config::FromClientConfigAndContext,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    thread,
    time::Duration,
};
use tokio::sync::mpsc;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// Records that wait for the reader, beside what the library fetches ahead.
const WAITING: usize = 64;

/// Before another client is tried.
const PAUSE: Duration = Duration::from_secs(1);

/// How long the thread listens to the library before it looks whether it is still needed.
const POLL: Duration = Duration::from_millis(200);

/// The handle; the thread ends with it.
pub(super) struct Following {
    records: mpsc::Receiver<Result<Arc<Record>, Error>>,
    positions: Positions,
    /// Why the thread has ended, behind records that were handed out first.
    ended: Option<Error>,
}

/// What the thread needs.
pub(super) struct Source {
    pub(super) config: ClientConfig,
    pub(super) context: Context,
    pub(super) layout: Arc<Layout>,
    pub(super) lookups: Arc<Lookups>,
}

impl Following {
    /// Reads from `positions` on, one for each partition. `token` is held until the thread has ended.
    pub(super) fn begin(
        source: Source,
        positions: Positions,
        token: TaskTrackerToken,
    ) -> Result<Self, Error> {
        let (sender, records) = mpsc::channel(WAITING);
        let begin = positions.clone();
        thread::Builder::new()
            .name("kafka-follower".to_owned())
            .spawn(move || {
                let _token = token;
                let error = match source.read(begin, &sender) {
                    Ok(()) => return,
                    Err(error) => error,
                };
                // Whoever read may have gone.
                let _ = sender.blocking_send(Err(error));
            })
            .map_err(|error| Error::Unavailable(format!("no thread for a follower: {error}")))?;
        Ok(Self {
            records,
            positions,
            ended: None,
        })
    }
}

#[async_trait]
impl Follower for Following {
    async fn next(&mut self, max: usize) -> Result<Vec<Arc<Record>>, Error> {
        if let Some(why) = self.ended.take() {
            return Err(why);
        }
        let ended = || Error::Unavailable("the follower has ended".to_owned());
        let mut records = vec![self.records.recv().await.ok_or_else(ended)??];
        while records.len() < max {
            match self.records.try_recv() {
                Ok(Ok(record)) => records.push(record),
                Ok(Err(why)) => {
                    self.ended = Some(why);
                    break;
                }
                Err(_) => break,
            }
        }
        for record in &records {
            let place = (record.record.topic, record.partition);
            self.positions.0.insert(place, record.offset + 1);
        }
        Ok(records)
    }

    fn positions(&self) -> Positions {
        self.positions.clone()
    }
}

impl Source {
    /// Reads until nobody wants it any more, or the log no longer holds it; with another client if one has failed.
    fn read(
        mut self,
        mut positions: Positions,
        sender: &mpsc::Sender<Result<Arc<Record>, Error>>,
    ) -> Result<(), Error> {
        loop {
            match self.read_on(&mut positions, sender) {
                Err(Error::Unavailable(why)) => {
                    tracing::warn!(why, "a follower begins again where it was");
                    thread::sleep(PAUSE);
                }
                ended => return ended,
            }
        }
    }

    fn read_on(
        &mut self,
        positions: &mut Positions,
        sender: &mpsc::Sender<Result<Arc<Record>, Error>>,
    ) -> Result<(), Error> {
        let mut unknown = BTreeSet::new();
        let begun = self.begin(&positions.0);
        let client = begun.map_err(|e| Error::Unavailable(self.context.explained(e)))?;
        while !sender.is_closed() {
            let message = match client.poll(POLL) {
                Some(Ok(message)) => message,
                Some(Err(error)) => {
                    self.heard(error, positions)?;
                    continue;
                }
                None => continue,
            };
            match message::record(&self.layout, &message) {
                Ok(record) => {
                    let place = (record.record.topic, record.partition);
                    positions.0.insert(place, record.offset + 1);
                    if sender.blocking_send(Ok(Arc::new(record))).is_err() {
                        break;
                    }
                }
                Err(why) => pass_over(&message, &why, &mut unknown),
            }
        }
        Ok(())
    }

    fn begin(
        &mut self,
        positions: &BTreeMap<super::layout::Place, u64>,
    ) -> KafkaResult<BaseConsumer<Context>> {
        // What is no longer there is told, and not skipped.
        self.config.set("auto.offset.reset", "error");
        let client = BaseConsumer::from_config_and_context(&self.config, self.context.clone())?;
        client.assign(&lookups::list_at(&self.layout, positions)?)?;
        Ok(client)
    }

    /// Most errors are the library's to mend.
    fn heard(&self, error: KafkaError, positions: &Positions) -> Result<(), Error> {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => {
                is_held(&self.lookups, &self.layout, positions)?;
                // It is there: the reader begins again from where it stands.
                Err(Error::Unavailable(error.to_string()))
            }
            _ if matches!(error, KafkaError::MessageConsumptionFatal(_)) => {
                Err(Error::Unavailable(self.context.explained(error)))
            }
            _ => {
                tracing::debug!(%error, "follower");
                Ok(())
            }
        }
    }
}

/// Whether the log holds everything from these positions on. Blocks.
pub(super) fn is_held(
    lookups: &Lookups,
    layout: &Layout,
    positions: &Positions,
) -> Result<(), Error> {
    let places: Vec<_> = positions.0.keys().copied().collect();
    if let Some((topic, partition)) = places
        .iter()
        .find(|(_, partition)| *partition >= layout.partitions())
    {
        // A cursor of another log.
        let offset = positions.0[&(*topic, *partition)];
        let topic = topic.name();
        return Err(Error::TooOld { topic, offset });
    }
    if places.is_empty() {
        return Ok(());
    }
    let first = lookups.ends(layout, &places, End::First)?;
    let last = lookups.ends(layout, &places, End::Last)?;
    for (place, offset) in &positions.0 {
        if !(first[place]..=last[place]).contains(offset) {
            let topic = place.0.name();
            let offset = *offset;
            return Err(Error::TooOld { topic, offset });
        }
    }
    Ok(())
}
