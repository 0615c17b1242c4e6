//! The loop of every consumer: batches in, devices concurrently, one device's records in order, the offset after the batch; retry and dead letters in one place.

use crate::{
    log::{Consumer, Delivery, Error, Log, Record, Shards},
    timers,
};
use async_trait::async_trait;
use futures::{StreamExt, stream};
use platen_proto::topic::{Kind, Topic};
use platen_store::{Error as StoreError, Store};
use std::{collections::HashMap, fmt::Display, sync::Arc, time::Duration};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Why a handler did not finish.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Something that it needs is away: the same records are handed to it again, after a pause that grows, for as long as it takes.
    #[error("{0}")]
    Retry(String),
    /// This record can never be handled: it goes to the dead-letter topic with the reason, and the next one is handled.
    #[error("{0}")]
    Poison(String),
}

impl Failure {
    /// A [`Failure::Retry`] with the error's text.
    pub fn retry(error: impl Display) -> Self {
        Self::Retry(error.to_string())
    }
}

impl From<StoreError> for Failure {
    /// What the store may answer another time is tried again; a row that cannot be read is not.
    fn from(error: StoreError) -> Self {
        if error.is_transient() {
            Self::retry(error)
        } else {
            Self::Poison(error.to_string())
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Unavailable(_) | Error::Full(_) => Self::retry(error),
            Error::TooOld { .. } | Error::Corrupt { .. } | Error::TooLarge(_) => {
                Self::Poison(error.to_string())
            }
        }
    }
}

/// What a service does with its records.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Types of record that it wants; others are passed over undecoded.
    const KINDS: &'static [Kind];

    /// `gather` of [`Log::consume`]: [`PROMPT`] or [`PATIENT`].
    const GATHER: Duration;

    /// Ownership changed: caches of shards that are not listed, or that are new in the list, go.
    async fn assigned(&self, shards: &[Shards]);

    /// Handles the records of one key of a batch, in order. Called concurrently for different keys, never for the same. May be called again with
    /// records that it has handled: everything it does is idempotent.
    async fn handle(&self, records: &[Arc<Record>]) -> Result<(), HandlerError>;
}

/// A [`Failure`], and at which record of the slice it happened (those before it are done).
#[derive(Debug, thiserror::Error)]
#[error("record {at}: {failure}")]
pub struct HandlerError {
    /// Index into the slice.
    pub at: usize,
    /// What happened.
    pub failure: Failure,
}

/// Largest batch.
pub const MAX_BATCH: usize = 512;

/// Records gather for so long where a session waits for what comes of them.
pub const PROMPT: Duration = Duration::from_millis(2);

/// Where nobody does.
pub const PATIENT: Duration = Duration::from_millis(100);

/// Keys of a batch that are handled at the same time.
const IN_FLIGHT: usize = 64;

/// Pauses between tries: from the first to the last, doubling.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_secs(10);

/// Tries after which a failure is told to people: after about three seconds.
const TOLD_AFTER: u32 = 6;

/// Runs a handler as a member of `group` on `topics` until `shutdown`; finishes the batch at hand first (unless it waits for something that is
/// away: then the batch comes again). Meanwhile walks the timers of the service `group` for the shards that it owns, and appends a notice
/// for each that is due.
///
/// # Errors
///
/// [`Error::Corrupt`] and [`Error::TooOld`]; everything transient is waited out.
pub async fn drive<H: Handler>(
    log: Arc<dyn Log>,
    store: Store,
    group: &'static str,
    topics: &'static [Topic],
    handler: Arc<H>,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let (owned, walker_owns) = watch::channel(Vec::new());
    let consumer = Driver {
        log: &*log,
        group,
        handler: &*handler,
        shutdown: &shutdown,
        owned,
    };
    tokio::select! {
        ended = consumer.run(topics) => ended,
        () = timers::run(&*log, &store, group, walker_owns) => Ok(()),
    }
}

struct Driver<'a, H> {
    log: &'a dyn Log,
    group: &'static str,
    handler: &'a H,
    shutdown: &'a CancellationToken,
    owned: watch::Sender<Vec<Shards>>,
}

/// Whether work goes on after a batch, a try, a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    GoOn,
    Stop,
}

impl<H: Handler> Driver<'_, H> {
    async fn run(&self, topics: &[Topic]) -> Result<(), Error> {
        let mut tries = 0;
        loop {
            let ended = match self.log.consume(self.group, topics, H::GATHER).await {
                Ok(consumer) => self.consume(consumer, &mut tries).await,
                Err(error) => Err(error),
            };
            match ended {
                Ok(()) => return Ok(()),
                Err(error) if error.is_transient() => {
                    // Until it has joined again, others may own what was its.
                    self.handler.assigned(&[]).await;
                    self.owned.send_replace(Vec::new());
                    tracing::warn!(group = self.group, %error, "the log is away; trying again");
                    if self.pause(tries, 0).await == Then::Stop {
                        return Ok(());
                    }
                    tries += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn consume(&self, mut consumer: Box<dyn Consumer>, tries: &mut u32) -> Result<(), Error> {
        loop {
            let delivery = tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return Ok(()),
                delivery = consumer.next(MAX_BATCH) => delivery?,
            };
            match delivery {
                Delivery::Assigned(shards) => {
                    self.handler.assigned(&shards).await;
                    self.owned.send_replace(shards);
                }
                Delivery::Batch(records) => {
                    if self.batch(records).await == Then::Stop {
                        return Ok(());
                    }
                    consumer.commit().await?;
                    *tries = 0;
                }
            }
        }
    }

    /// Handles a batch: keys concurrently, the records of each in order.
    async fn batch(&self, records: Vec<Arc<Record>>) -> Then {
        stream::iter(by_key(records, H::KINDS))
            .map(|records| self.key(records))
            .buffer_unordered(IN_FLIGHT)
            .fold(Then::GoOn, |all, one| {
                std::future::ready(if one == Then::Stop { Then::Stop } else { all })
            })
            .await
    }

    /// Handles the records of one key, for as long as it takes.
    async fn key(&self, records: Vec<Arc<Record>>) -> Then {
        let mut rest = &records[..];
        let mut tries = 0;
        while let Some(first) = rest.first() {
            let Err(HandlerError { at, failure }) = self.handler.handle(rest).await else {
                break;
            };
            let at = at.min(rest.len() - 1);
            if at > 0 {
                tries = 0;
            }
            let version = first.version;
            rest = &rest[at..];
            match failure {
                // Short outages are nobody's business; a long one is told once per key.
                Failure::Retry(why) if tries == TOLD_AFTER => {
                    tracing::warn!(
                        group = self.group,
                        key = first.record.key,
                        why,
                        "a record cannot be handled; trying on"
                    );
                }
                Failure::Retry(why) => {
                    tracing::debug!(
                        group = self.group,
                        key = first.record.key,
                        tries,
                        why,
                        "a record could not be handled yet"
                    );
                }
                Failure::Poison(why) => {
                    match self.log.dead_letter(&rest[0], self.group, &why).await {
                        Ok(()) => {
                            tracing::error!(
                                group = self.group,
                                key = first.record.key,
                                offset = rest[0].offset,
                                why,
                                "a record was put aside"
                            );
                            rest = &rest[1..];
                            tries = 0;
                            continue;
                        }
                        Err(error) => {
                            tracing::warn!(group = self.group, %error, "a record could not be put aside yet")
                        }
                    }
                }
            }
            if self.pause(tries, version).await == Then::Stop {
                return Then::Stop;
            }
            tries += 1;
        }
        Then::GoOn
    }

    /// Waits before the next try, or until shutdown.
    async fn pause(&self, tries: u32, seed: u64) -> Then {
        tokio::select! {
            biased;
            () = self.shutdown.cancelled() => Then::Stop,
            () = tokio::time::sleep(pause(tries, seed)) => Then::GoOn,
        }
    }
}

/// How long to wait before try number `tries` + 1: doubles up to [`LAST_PAUSE`], and half of it depends on `seed`, so that keys which
/// failed together do not all come back together.
fn pause(tries: u32, seed: u64) -> Duration {
    let whole = FIRST_PAUSE
        .saturating_mul(1 << tries.min(16))
        .min(LAST_PAUSE);
    // Fibonacci hashing: the upper bits are spread evenly whatever the seeds have in common.
    let spread = (seed ^ u64::from(tries)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48;
    whole / 2 + whole / 2 * u32::try_from(spread).unwrap_or(0) / (1 << 16)
}

/// The wanted records by key: keys in the order of their first record, records in order.
fn by_key(records: Vec<Arc<Record>>, kinds: &[Kind]) -> Vec<Vec<Arc<Record>>> {
    let mut keys: Vec<Vec<Arc<Record>>> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for record in records {
        if !kinds.contains(&record.record.kind) {
            continue;
        }
        match places.get(&record.record.key) {
            Some(place) => keys[*place].push(record),
            None => {
                places.insert(record.record.key.clone(), keys.len());
                keys.push(vec![record]);
            }
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_last_and_half_of_them_is_spread() {
        let mut shortest = Duration::ZERO;
        for tries in 0..100 {
            let whole = FIRST_PAUSE
                .saturating_mul(1 << tries.min(16))
                .min(LAST_PAUSE);
            let pauses: Vec<Duration> = (0..1_000).map(|seed| pause(tries, seed)).collect();
            assert!(
                pauses
                    .iter()
                    .all(|pause| (whole / 2..=whole).contains(pause)),
                "{tries}"
            );
            let late = pauses
                .iter()
                .filter(|pause| **pause > whole * 3 / 4)
                .count();
            assert!(
                (400..600).contains(&late),
                "{late} of 1000 in the later half of {tries}"
            );
            assert!(whole >= shortest && whole <= LAST_PAUSE);
            shortest = whole;
        }
        assert_eq!(shortest, LAST_PAUSE);
    }
}
