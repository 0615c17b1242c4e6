//! Making the topics, once for an installation.

use super::{
    KafkaConfig, SetupError,
    client::{self, Context},
    layout::{Entry, Layout, dead_letters_of, full_name, is_allowed},
};
use platen_proto::{store::v1::TopicEpoch, topic::Topic};
use platen_store::{Store, tables::Topics};
use rdkafka::{
    admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication},
    config::FromClientConfigAndContext,
    consumer::{BaseConsumer, Consumer},
    error::RDKafkaErrorCode,
};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// How long the cluster may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long records are kept, and dead letters, milliseconds.
const KEPT_MS: &str = "604800000";
const DEAD_KEPT_MS: &str = "2592000000";

/// Makes every topic that is not there, with its dead letters, and records in the store when it was made. What is there stays as it is, so it may be
/// called again, also after a call that failed.
///
/// `partitions` of each topic, a power of two, at most 256: it cannot be changed later. `copies` of each record, of which all but one must be in
/// sync for the topic to take records (with two copies or one: one).
///
/// Returns how many it has made, dead letters included.
///
/// # Errors
///
/// [`SetupError::Topic`] if a topic has another number of partitions, or if the store knows a topic that the cluster does not have: its offsets
/// would begin anew, below what has been derived from it.
pub async fn migrate(
    config: &KafkaConfig,
    store: &Store,
    partitions: u16,
    copies: u16,
) -> Result<usize, SetupError> {
    if !is_allowed(usize::from(partitions)) {
        return Err(SetupError::Configuration(format!(
            "{partitions} partitions: a power of two is needed, at most 256"
        )));
    }
    if copies == 0 {
        return Err(SetupError::Configuration(
            "a topic needs at least one copy".to_owned(),
        ));
    }
    let context = Context::default();
    let there = look(config, &context).await?;
    let wanted = Topic::ALL.into_iter().flat_map(|topic| {
        let name = full_name(&config.prefix, topic);
        let dead = dead_letters_of(&name);
        [
            (Some(topic), name, partitions, KEPT_MS),
            (None, dead, 1, DEAD_KEPT_MS),
        ]
    });
    let mut missing = Vec::new();
    for (topic, name, partitions, kept) in wanted {
        match there.get(&name) {
            Some(found) if *found != usize::from(partitions) => {
                return Err(SetupError::topic(
                    name,
                    format!(
                        "it has {found} partitions, not {partitions}, and that cannot be changed"
                    ),
                ));
            }
            Some(_) => {}
            None => {
                if topic.is_some() && epoch(store, &name).await?.is_some() {
                    return Err(SetupError::topic(
                        name,
                        "the store knows it, but the cluster does not have it: it was deleted, or this is another cluster. Records of a new one \
                         would count as older than what is stored: set another `prefix`"
                            .to_owned(),
                    ));
                }
                missing.push((name, partitions, kept));
            }
        }
    }
    make(config, &context, &missing, copies).await?;
    let mut names = Topic::ALL
        .map(|topic| full_name(&config.prefix, topic))
        .to_vec();
    // Without the prefix it says when the installation's first log was made: no timer is older, so walkers begin there.
    names.push(Topic::Reports.name().to_owned());
    for name in names {
        if epoch(store, &name).await?.is_none() {
            let now = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default();
            let row = TopicEpoch {
                epoch_us: i64::try_from(now.as_micros()).unwrap_or(i64::MAX),
            };
            // If another process is first, its epoch counts.
            store
                .insert::<Topics>(&name, &row)
                .await
                .map_err(of_store)?;
        }
    }
    Ok(missing.len())
}

async fn make(
    config: &KafkaConfig,
    context: &Context,
    missing: &[(String, u16, &str)],
    copies: u16,
) -> Result<(), SetupError> {
    if missing.is_empty() {
        return Ok(());
    }
    let admin = AdminClient::from_config_and_context(&client::common(config)?, context.clone())
        .map_err(SetupError::of)?;
    let in_sync = copies.saturating_sub(1).max(1).to_string();
    let largest = client::MAX_MESSAGE.to_string();
    let topics: Vec<_> = missing
        .iter()
        .map(|(name, partitions, kept)| {
            let copies = TopicReplication::Fixed(i32::from(copies));
            NewTopic::new(name, i32::from(*partitions), copies)
                .set("retention.ms", kept)
                .set("retention.bytes", "-1")
                .set("cleanup.policy", "delete")
                .set("min.insync.replicas", &in_sync)
                .set("unclean.leader.election.enable", "false")
                .set("max.message.bytes", &largest)
                // The brokers' clocks say when a record is old enough to go, not those of whoever wrote it.
                .set("message.timestamp.type", "LogAppendTime")
        })
        .collect();
    let options = AdminOptions::new()
        .request_timeout(Some(PATIENCE))
        .operation_timeout(Some(PATIENCE));
    let made = admin.create_topics(&topics, &options).await;
    let explained = |error| SetupError::Unavailable(context.explained(error));
    for made in made.map_err(explained)? {
        match made {
            Ok(topic) => tracing::info!(topic, "topic made"),
            // Another process makes them at this moment; whether in the same way, opening will tell.
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((topic, why)) => return Err(SetupError::topic(topic, why.to_string())),
        }
    }
    // The brokers tell each other in their own time.
    let until = Instant::now() + PATIENCE;
    loop {
        let there = look(config, context).await?;
        let lacking = missing.iter().find(|(name, ..)| !there.contains_key(name));
        match lacking {
            None => return Ok(()),
            Some((name, ..)) if Instant::now() > until => {
                let why = "it was made, but the brokers do not know it yet".to_owned();
                return Err(SetupError::topic(name.clone(), why));
            }
            Some(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// The installation's topics, as cluster and store have them.
pub(super) async fn layout(
    config: &KafkaConfig,
    context: &Context,
    store: &Store,
) -> Result<Layout, SetupError> {
    let there = look(config, context).await?;
    let mut topics = Vec::with_capacity(Topic::ALL.len());
    let mut partitions = None;
    for topic in Topic::ALL {
        let name = full_name(&config.prefix, topic);
        let found = *there.get(&name).ok_or_else(|| not_made(name.clone()))?;
        if !is_allowed(found) {
            let why = format!("it has {found} partitions: a power of two is needed, at most 256");
            return Err(SetupError::topic(name, why));
        }
        if found != *partitions.get_or_insert(found) {
            let why =
                format!("it has {found} partitions, other topics have another number of them");
            return Err(SetupError::topic(name, why));
        }
        let dead = dead_letters_of(&name);
        match there.get(&dead) {
            Some(1) => {}
            Some(found) => {
                let why = format!("it has {found} partitions: one is needed");
                return Err(SetupError::topic(dead, why));
            }
            None => return Err(not_made(dead)),
        }
        let epoch_us = epoch(store, &name).await?;
        topics.push(Entry {
            topic,
            epoch_us: epoch_us.ok_or_else(|| not_made(name.clone()))?,
            name,
        });
    }
    let partitions = partitions.and_then(|found| u16::try_from(found).ok());
    Ok(Layout::new(partitions.unwrap_or(1), topics))
}

/// To be waited for: the tables are made before the topics, and a process that waits may look in between.
fn not_made(name: String) -> SetupError {
    SetupError::Unavailable(format!(
        "topic {name}: it has not been made: run `platen migrate` once"
    ))
}

/// In-sync copies that a topic needs to take records; 1 if the cluster does not tell.
pub(super) async fn copies_needed(config: &KafkaConfig, context: &Context, topic: &str) -> usize {
    let describe = async {
        let config = client::common(config).ok()?;
        let admin = AdminClient::from_config_and_context(&config, context.clone()).ok()?;
        let resource = [ResourceSpecifier::Topic(topic)];
        let options = AdminOptions::new().request_timeout(Some(Duration::from_secs(5)));
        let found = admin.describe_configs(&resource, &options).await.ok()?;
        let found = found.into_iter().next()?.ok()?;
        let entry = found.get("min.insync.replicas")?;
        entry.value.as_ref()?.parse().ok()
    };
    let copies = describe.await;
    if copies.is_none() {
        tracing::warn!(
            topic,
            "the cluster does not tell how many copies it needs in sync; one is assumed"
        );
    }
    copies.unwrap_or(1)
}

/// Names and numbers of partitions of what is there under the prefix.
async fn look(
    config: &KafkaConfig,
    context: &Context,
) -> Result<BTreeMap<String, usize>, SetupError> {
    let client = client::reader(config)?;
    let (context, prefix) = (context.clone(), config.prefix.clone());
    let look = move || {
        let client = BaseConsumer::from_config_and_context(&client, context.clone())
            .map_err(SetupError::of)?;
        let found = client.fetch_metadata(None, Duration::from_secs(10));
        // What it has to say may explain why.
        while client.poll(Duration::from_millis(20)).is_some() {}
        let found = found.map_err(|error| SetupError::Unavailable(context.explained(error)))?;
        Ok(found
            .topics()
            .iter()
            .filter(|topic| topic.name().starts_with(&prefix))
            .map(|topic| (topic.name().to_owned(), topic.partitions().len()))
            .collect())
    };
    tokio::task::spawn_blocking(look)
        .await
        .map_err(|error| SetupError::Unavailable(error.to_string()))?
}

/// When a topic was made, µs since 1970, if that has been recorded.
async fn epoch(store: &Store, name: &str) -> Result<Option<u64>, SetupError> {
    let row = store.get::<Topics>(name).await.map_err(of_store)?;
    Ok(row.and_then(|row| u64::try_from(row.epoch_us).ok()))
}

fn of_store(error: platen_store::Error) -> SetupError {
    SetupError::Unavailable(format!("the store: {error}"))
}
