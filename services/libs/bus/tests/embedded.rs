//! The embedded adapter, held to the laws; what only it promises; and retention.

#![expect(
    clippy::unwrap_used,
    clippy::single_range_in_vec_init,
    reason = "tests; shards are ranges"
)]

use platen_bus::{
    Delivery, Error, From, Log, Positions,
    conformance::{self, number, record},
    embedded::{EmbeddedLog, Options},
};
use platen_embedded::Database;
use platen_proto::topic::Topic;
use platen_store::{Store, embedded::EmbeddedTables};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tempfile::TempDir;
use tokio::time::timeout;

const DAY: u64 = 86_400;

/// A log whose days are set by hand.
struct Subject {
    directory: TempDir,
    day: Arc<AtomicU64>,
    options: Options,
}

impl Subject {
    fn new(options: Options) -> Self {
        Self {
            directory: TempDir::new().unwrap(),
            day: Arc::new(AtomicU64::new(20_000)),
            options,
        }
    }

    async fn open(&self) -> EmbeddedLog {
        let database =
            Database::open(self.directory.path(), platen_embedded::Options::default()).unwrap();
        let store = Store::new(Arc::new(EmbeddedTables::new(&database)));
        let day = Arc::clone(&self.day);
        let clock =
            move || UNIX_EPOCH + Duration::from_secs(day.load(Ordering::SeqCst) * DAY + 100);
        EmbeddedLog::open_with(&database, &store, self.options, clock)
            .await
            .unwrap()
    }

    fn to_day(&self, day: u64) {
        self.day.store(20_000 + day, Ordering::SeqCst);
    }
}

async fn append(log: &EmbeddedLog, numbers: std::ops::Range<u64>) {
    log.append(
        numbers
            .map(|n| record(Topic::Reports, "t", "d", n))
            .collect(),
    )
    .await
    .unwrap();
}

/// Everything from a position on, up to `end`.
async fn read(log: &EmbeddedLog, from: u64, end: u64) -> Result<Vec<u64>, Error> {
    let positions = Positions([((Topic::Reports, 0), from)].into());
    let mut follower = log
        .follow(&[Topic::Reports], From::Positions(positions))
        .await?;
    let mut found = Vec::new();
    while follower.positions().0[&(Topic::Reports, 0)] < end {
        found.extend(follower.next(50).await?.iter().map(|record| number(record)));
    }
    Ok(found)
}

async fn pass(log: &EmbeddedLog, group: &str) {
    let mut consumer = log
        .consume(group, &[Topic::Reports], Duration::ZERO)
        .await
        .unwrap();
    assert!(matches!(
        consumer.next(1).await.unwrap(),
        Delivery::Assigned(_)
    ));
    while log.lag(group, &[Topic::Reports]).await.unwrap() > 0 {
        consumer.next(512).await.unwrap();
        consumer.commit().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_log_obeys_the_laws() {
    let directory = TempDir::new().unwrap();
    let database = Database::open(directory.path(), platen_embedded::Options::default()).unwrap();
    let store = Store::new(Arc::new(EmbeddedTables::new(&database)));
    let log = EmbeddedLog::open(&database, &store).await.unwrap();
    conformance::suite(Arc::new(log), "run").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_log_obeys_the_laws_without_memory() {
    let directory = TempDir::new().unwrap();
    let database = Database::open(directory.path(), platen_embedded::Options::default()).unwrap();
    let store = Store::new(Arc::new(EmbeddedTables::new(&database)));
    // Every read comes from disk, or from where disk and memory meet.
    let options = Options {
        memory_bytes: 2_000,
        ..Options::default()
    };
    let log = EmbeddedLog::open_with(&database, &store, options, SystemTime::now)
        .await
        .unwrap();
    conformance::suite(Arc::new(log), "run").await;
}

#[test]
fn the_documentation_lists_every_topic() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../docs/storage.md");
    let text = std::fs::read_to_string(path).unwrap();
    for topic in Topic::ALL {
        assert!(
            text.contains(&format!("| `{}` |", topic.name())),
            "{} is missing",
            topic.name()
        );
    }
}

#[tokio::test]
async fn a_group_has_one_active_member() {
    let subject = Subject::new(Options::default());
    let log = subject.open().await;
    append(&log, 0..2).await;
    let mut first = log
        .consume("g", &[Topic::Reports], Duration::ZERO)
        .await
        .unwrap();
    let mut second = log
        .consume("g", &[Topic::Reports], Duration::ZERO)
        .await
        .unwrap();
    assert!(
        matches!(first.next(1).await.unwrap(), Delivery::Assigned(shards) if shards == [0..256])
    );
    assert!(
        matches!(second.next(1).await.unwrap(), Delivery::Assigned(shards) if shards.is_empty())
    );
    assert!(matches!(first.next(1).await.unwrap(), Delivery::Batch(_)));
    first.commit().await.unwrap();
    assert!(
        timeout(Duration::from_millis(50), second.next(1))
            .await
            .is_err(),
        "it waits"
    );

    drop(first);

    assert!(
        matches!(second.next(1).await.unwrap(), Delivery::Assigned(shards) if shards == [0..256])
    );
    let Delivery::Batch(batch) = second.next(9).await.unwrap() else {
        panic!("a batch")
    };
    assert_eq!(
        batch
            .iter()
            .map(|record| number(record))
            .collect::<Vec<_>>(),
        [1]
    );
}

#[tokio::test]
async fn a_database_has_one_log() {
    let directory = TempDir::new().unwrap();
    let database = Database::open(directory.path(), platen_embedded::Options::default()).unwrap();
    let store = Store::new(Arc::new(EmbeddedTables::new(&database)));
    let first = EmbeddedLog::open(&database, &store).await.unwrap();
    append(&first, 0..1).await;
    assert!(matches!(
        EmbeddedLog::open(&database, &store).await,
        Err(Error::Unavailable(_))
    ));
    drop(first);
    let second = EmbeddedLog::open(&database, &store).await.unwrap();
    append(&second, 1..2).await;
    assert_eq!(read(&second, 0, 2).await.unwrap(), [0, 1]);
}

#[tokio::test]
async fn records_and_offsets_survive_a_restart() {
    let subject = Subject::new(Options::default());
    let log = subject.open().await;
    append(&log, 0..100).await;
    let mut consumer = log
        .consume("g", &[Topic::Reports], Duration::ZERO)
        .await
        .unwrap();
    consumer.next(30).await.unwrap();
    let Delivery::Batch(batch) = consumer.next(30).await.unwrap() else {
        panic!("a batch")
    };
    consumer.commit().await.unwrap();
    let version = batch[29].version;
    drop((log, consumer));

    let log = subject.open().await;
    append(&log, 100..110).await;
    let mut consumer = log
        .consume("g", &[Topic::Reports], Duration::ZERO)
        .await
        .unwrap();
    consumer.next(512).await.unwrap();
    let mut found = Vec::new();
    while found.len() < 80 {
        let Delivery::Batch(batch) = consumer.next(512).await.unwrap() else {
            panic!("a batch")
        };
        if found.is_empty() {
            assert_eq!(batch[0].version, version + 1, "the epoch stays");
        }
        found.extend(batch.iter().map(|record| number(record)));
    }
    assert_eq!(found, (30..110).collect::<Vec<_>>());
    assert_eq!(
        read(&log, 0, 110).await.unwrap(),
        (0..110).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn old_days_go_once_every_group_has_passed_them() {
    let subject = Subject::new(Options {
        retention: Duration::from_secs(2 * DAY),
        memory_bytes: 1_000,
    });
    let log = subject.open().await;
    pass(&log, "slow").await;
    for day in 0..4 {
        subject.to_day(day);
        append(&log, day * 100..day * 100 + 100).await;
        pass(&log, "fast").await;
    }
    assert_eq!(
        read(&log, 0, 400).await.unwrap(),
        (0..400).collect::<Vec<_>>(),
        "the slow group still needs them"
    );

    pass(&log, "slow").await;
    subject.to_day(4);
    append(&log, 400..401).await;

    assert!(
        matches!(
            read(&log, 199, 401).await,
            Err(Error::TooOld { offset: 199, .. })
        ),
        "days 0 and 1 are gone"
    );
    assert_eq!(
        read(&log, 200, 401).await.unwrap(),
        (200..401).collect::<Vec<_>>()
    );
    drop(log);
    let log = subject.open().await;
    assert!(matches!(
        read(&log, 0, 401).await,
        Err(Error::TooOld { .. })
    ));
    assert_eq!(
        read(&log, 200, 401).await.unwrap(),
        (200..401).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn a_follower_that_fell_behind_is_told() {
    let subject = Subject::new(Options {
        retention: Duration::from_secs(DAY),
        memory_bytes: 1_000,
    });
    let log = subject.open().await;
    append(&log, 0..10).await;
    let from = Positions([((Topic::Reports, 0), 0)].into());
    let mut follower = log
        .follow(&[Topic::Reports], From::Positions(from))
        .await
        .unwrap();
    follower.next(1).await.unwrap();
    for day in 1..4 {
        subject.to_day(day);
        append(&log, day * 10..day * 10 + 10).await;
    }
    assert!(matches!(
        follower.next(1).await,
        Err(Error::TooOld { offset: 1, .. })
    ));
}

#[tokio::test]
async fn offsets_go_on_after_everything_else_is_gone_and_the_clock_went_back() {
    let subject = Subject::new(Options {
        retention: Duration::from_secs(DAY),
        ..Options::default()
    });
    let log = subject.open().await;
    append(&log, 0..5).await;
    subject.to_day(50);
    append(&log, 5..6).await;
    subject.to_day(3);
    append(&log, 6..8).await;
    drop(log);
    subject.to_day(200);
    let log = subject.open().await;
    append(&log, 8..9).await;
    assert_eq!(
        read(&log, 8, 9).await.unwrap(),
        [8],
        "offset and number are the same all along"
    );
}
