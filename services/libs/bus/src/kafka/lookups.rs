//! Questions to the cluster: where partitions begin and end, how far groups have come. They block, so they are asked on threads for that.

use super::{
    KafkaConfig, SetupError,
    client::{self, Context},
    layout::{Layout, Place},
};
use crate::log::Error;
use rdkafka::{
    Offset, TopicPartitionList,
    config::FromClientConfigAndContext,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::{KafkaError, RDKafkaErrorCode},
};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// How long an answer may take, and how long to wait before asking again while a partition has no leader.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(50);

impl ConsumerContext for Context {}

type Client = BaseConsumer<Context>;

/// Asks. Keeps a client for each group that it was asked about: groups are few, and named in the program.
pub(super) struct Lookups {
    config: KafkaConfig,
    context: Context,
    clients: Mutex<HashMap<Option<String>, Arc<Client>>>,
}

/// One end of a partition.
#[derive(Debug, Clone, Copy)]
pub(super) enum End {
    First,
    Last,
}

impl Lookups {
    pub(super) fn new(config: KafkaConfig, context: Context) -> Self {
        Self {
            config,
            context,
            clients: Mutex::default(),
        }
    }

    /// The first offset of each partition, or the one that its next record will have.
    pub(super) fn ends(
        &self,
        layout: &Layout,
        places: &[Place],
        end: End,
    ) -> Result<BTreeMap<Place, u64>, Error> {
        let asked = match end {
            End::First => Offset::Beginning,
            End::Last => Offset::End,
        };
        let client = self.client(None)?;
        let mut list = list(layout, places);
        list.set_all_offsets(asked).map_err(|e| self.failed(&e))?;
        let until = Instant::now() + PATIENCE;
        let found = loop {
            // In place of a time, the protocol takes the ends, too: one request per broker.
            match client.offsets_for_times(list.clone(), PATIENCE) {
                Ok(found) => break found,
                Err(error) if passes(&error) && Instant::now() < until => thread::sleep(PAUSE),
                Err(error) => return Err(self.failed(&error)),
            }
        };
        let mut offsets = BTreeMap::new();
        for (place, offset) in positions(layout, &found) {
            match offset? {
                Some(offset) => offsets.insert(place, offset),
                None => return Err(self.unavailable("a partition's ends are not known")),
            };
        }
        if offsets.len() == places.len() {
            Ok(offsets)
        } else {
            Err(self.unavailable("a partition's ends are not known"))
        }
    }

    /// Where a group (its full name) goes on, if it has committed anything.
    pub(super) fn committed(
        &self,
        layout: &Layout,
        group: &str,
        places: &[Place],
    ) -> Result<BTreeMap<Place, u64>, Error> {
        let client = self.client(Some(group))?;
        let found = client
            .committed_offsets(list(layout, places), PATIENCE)
            .map_err(|error| self.failed(&error))?;
        positions(layout, &found)
            .into_iter()
            .filter_map(|(place, offset)| match offset {
                Ok(offset) => offset.map(|offset| Ok((place, offset))),
                Err(error) => Some(Err(error)),
            })
            .collect()
    }

    /// Lets the clients say what they have to say; else it would pile up.
    pub(super) fn drain(&self) {
        let clients: Vec<_> = self.clients().values().cloned().collect();
        for client in clients {
            while client.poll(Duration::from_millis(1)).is_some() {}
        }
    }

    fn client(&self, group: Option<&str>) -> Result<Arc<Client>, Error> {
        let mut clients = self.clients();
        if let Some(client) = clients.get(&group.map(str::to_owned)) {
            return Ok(Arc::clone(client));
        }
        let made = || -> Result<Client, SetupError> {
            let mut config = client::reader(&self.config)?;
            if let Some(group) = group {
                config.set("group.id", group);
            }
            Client::from_config_and_context(&config, self.context.clone()).map_err(SetupError::of)
        };
        let client = Arc::new(made().map_err(|error| Error::Unavailable(error.to_string()))?);
        clients.insert(group.map(str::to_owned), Arc::clone(&client));
        Ok(client)
    }

    fn clients(&self) -> MutexGuard<'_, HashMap<Option<String>, Arc<Client>>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, error: &KafkaError) -> Error {
        self.unavailable(error)
    }

    fn unavailable(&self, what: impl std::fmt::Display) -> Error {
        Error::Unavailable(self.context.explained(what))
    }
}

/// Whether it is over once partitions have found their leaders.
fn passes(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::NotLeaderForPartition
                | RDKafkaErrorCode::LeaderNotAvailable
                | RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::OffsetNotAvailable
                | RDKafkaErrorCode::FencedLeaderEpoch
                | RDKafkaErrorCode::UnknownLeaderEpoch
        )
    )
}

/// The partitions, as the library wants them.
pub(super) fn list(layout: &Layout, places: &[Place]) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(places.len());
    for (topic, partition) in places {
        list.add_partition(layout.name(*topic), number(*partition));
    }
    list
}

/// The partitions with offsets.
pub(super) fn list_at<'a>(
    layout: &Layout,
    positions: impl IntoIterator<Item = (&'a Place, &'a u64)>,
) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::new();
    for ((topic, partition), offset) in positions {
        let offset = Offset::Offset(i64::try_from(*offset).unwrap_or(i64::MAX));
        list.add_partition(layout.name(*topic), number(*partition))
            .set_offset(offset)?;
    }
    Ok(list)
}

/// What the library says about partitions; `None`: no offset.
pub(super) fn positions(
    layout: &Layout,
    list: &TopicPartitionList,
) -> Vec<(Place, Result<Option<u64>, Error>)> {
    let mut positions = Vec::with_capacity(list.count());
    for element in list.elements() {
        let entry = layout.named(element.topic());
        if let (Some(entry), Ok(partition)) = (entry, u32::try_from(element.partition())) {
            let offset = match (element.error(), element.offset()) {
                (Err(error), _) => Err(Error::Unavailable(error.to_string())),
                (Ok(()), Offset::Offset(offset)) => Ok(u64::try_from(offset).ok()),
                (Ok(()), _) => Ok(None),
            };
            positions.push(((entry.topic, partition), offset));
        }
    }
    positions
}

/// The places of a list.
pub(super) fn places(layout: &Layout, list: &TopicPartitionList) -> Vec<Place> {
    positions(layout, list)
        .into_iter()
        .map(|(place, _)| place)
        .collect()
}

fn number(partition: u32) -> i32 {
    i32::try_from(partition).expect("invariant: there are 256 partitions at most")
}
