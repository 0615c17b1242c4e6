//! What every adapter must do, whatever it runs on. Each function is one law; [`suite`] holds an adapter to all of them.
//!
//! Records and groups are kept apart by `run`, a name of the caller's choice, so that a shared server can be used by several runs.
#![expect(clippy::unwrap_used, reason = "a suite of tests")]

use crate::log::{
    Consumer, Delivery, Error, Follower, From, Log, MAX_NAME, MAX_PAYLOAD, NewRecord, Positions,
    Record,
};
use futures::future::join_all;
use platen_proto::topic::{Kind, Topic};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::time::timeout;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// All laws.
pub async fn suite(log: Arc<dyn Log>, run: &str) {
    let law = |name: &str| format!("{run}-{name}");
    a_record_is_read_as_it_was_written(&*log, &law("whole")).await;
    a_key_keeps_its_order(&*log, &law("order")).await;
    a_new_group_begins_at_the_start(&*log, &law("start")).await;
    what_is_not_committed_comes_again(&*log, &law("again")).await;
    groups_do_not_meet(&*log, &law("groups")).await;
    several_topics_are_read_together(&*log, &law("topics")).await;
    a_follower_begins_now(&*log, &law("now")).await;
    a_follower_resumes_without_gap(&*log, &law("resume")).await;
    positions_of_another_log_are_refused(&*log).await;
    what_is_too_large_is_refused(&*log, &law("large")).await;
    lag_is_counted(&*log, &law("lag")).await;
    dead_letters_are_kept(&*log, &law("dead")).await;
    log.append(Vec::new()).await.unwrap();
    log.check().await.unwrap();
}

/// A record whose payload is its number.
#[must_use]
pub fn record(topic: Topic, tenant: &str, device: &str, number: u64) -> NewRecord {
    NewRecord {
        topic,
        shard: platen_ids::shard(tenant, device),
        key: format!("{tenant}/{device}"),
        kind: Kind::Inform,
        id: format!("{device}-{number}"),
        time_us: 1_700_000_000_000_000,
        payload: number.to_be_bytes().to_vec().into(),
    }
}

/// The number of a record that [`record`] made.
#[must_use]
pub fn number(record: &Record) -> u64 {
    u64::from_be_bytes(record.record.payload[..].try_into().unwrap())
}

/// Whether a record is of this run.
fn is_of(record: &Record, run: &str) -> bool {
    record
        .record
        .key
        .strip_prefix(run)
        .is_some_and(|rest| rest.starts_with('/'))
}

/// Reads a group, committing each batch, until `count` records of the run have come.
async fn consume(consumer: &mut dyn Consumer, run: &str, count: usize) -> Vec<Arc<Record>> {
    let mut records = Vec::new();
    while records.len() < count {
        match timeout(PATIENCE, consumer.next(64))
            .await
            .expect("records come")
            .unwrap()
        {
            Delivery::Assigned(_) => {}
            Delivery::Batch(batch) => {
                assert!((1..=64).contains(&batch.len()));
                records.extend(batch.into_iter().filter(|record| is_of(record, run)));
                consumer.commit().await.unwrap();
            }
        }
    }
    records
}

async fn follow(follower: &mut dyn Follower, run: &str, count: usize) -> Vec<Arc<Record>> {
    let mut records = Vec::new();
    while records.len() < count {
        let batch = timeout(PATIENCE, follower.next(7))
            .await
            .expect("records come")
            .unwrap();
        assert!((1..=7).contains(&batch.len()));
        records.extend(batch.into_iter().filter(|record| is_of(record, run)));
    }
    records
}

fn numbers(records: &[Arc<Record>]) -> Vec<u64> {
    records.iter().map(|record| number(record)).collect()
}

async fn a_record_is_read_as_it_was_written(log: &dyn Log, run: &str) {
    let mut follower = log.follow(&Topic::ALL, From::Now).await.unwrap();
    let mut written = Vec::new();
    for (topic, n) in Topic::ALL.into_iter().zip(0..) {
        for kind in Kind::ALL {
            let payload = match kind {
                Kind::Inform => vec![],
                Kind::Done => vec![n; MAX_PAYLOAD],
                _ => vec![0, n, 255],
            };
            let new = NewRecord {
                kind,
                time_us: -5,
                payload: payload.into(),
                ..record(topic, run, "dä vice", 0)
            };
            written.push(NewRecord {
                id: format!("{}-{}", topic.name(), kind.name()),
                ..new
            });
        }
    }
    log.append(written.clone()).await.unwrap();

    let mut read = follow(&mut *follower, run, written.len()).await;
    read.sort_by_key(|record| written.iter().position(|new| new.id == record.record.id));
    let read: Vec<_> = read.iter().map(|record| record.record.clone()).collect();
    assert_eq!(read, written);
}

async fn a_key_keeps_its_order(log: &dyn Log, run: &str) {
    let mut consumer = log
        .consume(run, &[Topic::Reports], Duration::ZERO)
        .await
        .unwrap();
    let devices: Vec<String> = (0..20).map(|n| format!("d{n}")).collect();
    let appenders = devices.iter().map(async |device| {
        for n in 0..10 {
            let pair = [2 * n, 2 * n + 1].map(|n| record(Topic::Reports, run, device, n));
            log.append(pair.to_vec()).await.unwrap();
        }
    });
    let (records, _) = tokio::join!(consume(&mut *consumer, run, 400), join_all(appenders));

    let mut keys: BTreeMap<&str, Vec<&Record>> = BTreeMap::new();
    for record in &records {
        keys.entry(&record.record.key).or_default().push(record);
    }
    assert_eq!(keys.len(), 20);
    for (key, records) in keys {
        let order: Vec<_> = records.iter().map(|record| number(record)).collect();
        assert_eq!(order, (0..20).collect::<Vec<_>>(), "{key}");
        assert!(
            records.is_sorted_by(|a, b| a.version < b.version
                && a.partition == b.partition
                && a.offset < b.offset),
            "{key}"
        );
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_micros();
        assert!(
            u128::from(records[0].version) > 1_600_000_000_000_000
                && u128::from(records[0].version) < now + 1_000_000_000
        );
    }
}

async fn a_new_group_begins_at_the_start(log: &dyn Log, run: &str) {
    let new = (0..5)
        .map(|n| record(Topic::Changes, run, "d", n))
        .collect();
    log.append(new).await.unwrap();
    let mut consumer = log
        .consume(run, &[Topic::Changes], Duration::ZERO)
        .await
        .unwrap();
    let first = timeout(PATIENCE, consumer.next(10))
        .await
        .expect("an assignment comes")
        .unwrap();
    assert!(
        matches!(first, Delivery::Assigned(_)),
        "comes before the first batch: {first:?}"
    );
    assert_eq!(
        numbers(&consume(&mut *consumer, run, 5).await),
        [0, 1, 2, 3, 4]
    );
}

async fn what_is_not_committed_comes_again(log: &dyn Log, run: &str) {
    let append = async |numbers: std::ops::Range<u64>| {
        log.append(
            numbers
                .map(|n| record(Topic::Changes, run, "d", n))
                .collect(),
        )
        .await
        .unwrap();
    };
    let mut first = log
        .consume(run, &[Topic::Changes], Duration::ZERO)
        .await
        .unwrap();
    append(0..3).await;
    assert_eq!(numbers(&consume(&mut *first, run, 3).await), [0, 1, 2]);
    append(3..6).await;
    let mut seen = Vec::new();
    while seen.last() != Some(&5) {
        let Delivery::Batch(batch) = timeout(PATIENCE, first.next(64))
            .await
            .expect("records come")
            .unwrap()
        else {
            continue;
        };
        seen.extend(
            batch
                .iter()
                .filter(|record| is_of(record, run))
                .map(|record| number(record)),
        );
    }
    drop(first);

    let mut second = log
        .consume(run, &[Topic::Changes], Duration::ZERO)
        .await
        .unwrap();
    assert_eq!(
        numbers(&consume(&mut *second, run, 3).await),
        [3, 4, 5],
        "neither what was committed nor with a gap"
    );
    drop(second);

    append(6..7).await;
    let mut third = log
        .consume(run, &[Topic::Changes], Duration::ZERO)
        .await
        .unwrap();
    assert_eq!(numbers(&consume(&mut *third, run, 1).await), [6]);
}

async fn groups_do_not_meet(log: &dyn Log, run: &str) {
    let (one, other) = (format!("{run}-one"), format!("{run}-other"));
    log.append((0..9).map(|n| record(Topic::Wake, run, "d", n)).collect())
        .await
        .unwrap();
    for group in [one, other] {
        let mut consumer = log
            .consume(&group, &[Topic::Wake], Duration::ZERO)
            .await
            .unwrap();
        assert_eq!(
            numbers(&consume(&mut *consumer, run, 9).await),
            (0..9).collect::<Vec<_>>(),
            "{group}"
        );
    }
}

async fn several_topics_are_read_together(log: &dyn Log, run: &str) {
    let mut consumer = log
        .consume(run, &[Topic::Reports, Topic::Devices], Duration::ZERO)
        .await
        .unwrap();
    let new = (0..40)
        .map(|n| {
            record(
                if n % 2 == 0 {
                    Topic::Reports
                } else {
                    Topic::Devices
                },
                run,
                "d",
                n,
            )
        })
        .collect();
    log.append(new).await.unwrap();
    log.append(vec![record(Topic::Wake, run, "d", 99)])
        .await
        .unwrap();
    let read = consume(&mut *consumer, run, 40).await;
    let found: BTreeSet<_> = numbers(&read).into_iter().collect();
    assert_eq!(found, (0..40).collect());
}

async fn a_follower_begins_now(log: &dyn Log, run: &str) {
    log.append(vec![record(Topic::Readings, run, "d", 1)])
        .await
        .unwrap();
    let mut follower = log.follow(&[Topic::Readings], From::Now).await.unwrap();
    log.append(vec![
        record(Topic::Readings, run, "d", 2),
        record(Topic::Readings, run, "d", 3),
    ])
    .await
    .unwrap();
    assert_eq!(numbers(&follow(&mut *follower, run, 2).await), [2, 3]);
}

async fn a_follower_resumes_without_gap(log: &dyn Log, run: &str) {
    let topics = [Topic::Changes, Topic::Readings];
    let mut follower = log.follow(&topics, From::Now).await.unwrap();
    let new = (0..60).map(|n| record(topics[usize::try_from(n % 2).unwrap()], run, "d", n));
    log.append(new.collect()).await.unwrap();
    let mut found = BTreeSet::new();
    while found.len() < 60 {
        for record in timeout(PATIENCE, follower.next(7))
            .await
            .expect("records come")
            .unwrap()
        {
            if is_of(&record, run) {
                assert!(
                    found.insert(number(&record)),
                    "{} came twice",
                    number(&record)
                );
            }
        }
        // Every batch by another follower, from where the one before stood.
        let cursor = follower.positions().encode();
        follower = log
            .follow(
                &topics,
                From::Positions(Positions::decode(&cursor).unwrap()),
            )
            .await
            .unwrap();
    }
    let alone = Positions(
        follower
            .positions()
            .0
            .into_iter()
            .filter(|((topic, _), _)| *topic == Topic::Changes)
            .collect(),
    );
    let mut follower = log.follow(&topics, From::Positions(alone)).await.unwrap();
    log.append(vec![record(Topic::Readings, run, "d", 60)])
        .await
        .unwrap();
    assert_eq!(
        numbers(&follow(&mut *follower, run, 1).await),
        [60],
        "a topic that is not named begins with now"
    );
}

async fn positions_of_another_log_are_refused(log: &dyn Log) {
    let positions = Positions([((Topic::Changes, 0), u64::MAX >> 1)].into());
    let outcome = log
        .follow(&[Topic::Changes], From::Positions(positions))
        .await;
    assert!(matches!(outcome, Err(Error::TooOld { .. })));
}

async fn what_is_too_large_is_refused(log: &dyn Log, run: &str) {
    let mut follower = log.follow(&[Topic::Changes], From::Now).await.unwrap();
    let good = |n| record(Topic::Changes, run, "d", n);
    for bad in [
        NewRecord {
            payload: vec![0; MAX_PAYLOAD + 1].into(),
            ..good(0)
        },
        NewRecord {
            key: "k".repeat(MAX_NAME + 1),
            ..good(0)
        },
        NewRecord {
            id: "i".repeat(MAX_NAME + 1),
            ..good(0)
        },
    ] {
        let outcome = log.append(vec![good(1), bad, good(2)]).await;
        assert!(matches!(outcome, Err(Error::TooLarge(_))), "{outcome:?}");
    }
    log.append(vec![good(3)]).await.unwrap();
    assert_eq!(
        numbers(&follow(&mut *follower, run, 1).await),
        [3],
        "nothing of a refused call is there"
    );
}

async fn lag_is_counted(log: &dyn Log, run: &str) {
    let topics = [Topic::Devices];
    let mut consumer = log.consume(run, &topics, Duration::ZERO).await.unwrap();
    log.append(
        (0..10)
            .map(|n| record(Topic::Devices, run, "d", n))
            .collect(),
    )
    .await
    .unwrap();
    assert!(log.lag(run, &topics).await.unwrap() >= 10);
    consume(&mut *consumer, run, 10).await;
    // What others have appended may lie in other partitions, and comes in its own time.
    while log.lag(run, &topics).await.unwrap() > 0 {
        let next = timeout(PATIENCE, consumer.next(64)).await;
        next.expect("what is left comes").unwrap();
        consumer.commit().await.unwrap();
    }
    log.append(vec![record(Topic::Devices, run, "d", 10)])
        .await
        .unwrap();
    assert_eq!(log.lag(run, &topics).await.unwrap(), 1);
}

async fn dead_letters_are_kept(log: &dyn Log, run: &str) {
    let mut follower = log.follow(&[Topic::Wake], From::Now).await.unwrap();
    log.append((0..3).map(|n| record(Topic::Wake, run, "d", n)).collect())
        .await
        .unwrap();
    let records = follow(&mut *follower, run, 3).await;
    let long = "ä".repeat(3_000);
    log.dead_letter(&records[0], run, "cannot be read")
        .await
        .unwrap();
    log.dead_letter(&records[2], run, &long).await.unwrap();

    let letters = log.dead_letters(Topic::Wake, 10_000).await.unwrap();
    let mine: Vec<_> = letters
        .iter()
        .filter(|letter| letter.group == run)
        .collect();
    assert_eq!(
        mine.iter().map(|letter| &letter.record).collect::<Vec<_>>(),
        [&records[0].record, &records[2].record]
    );
    assert_eq!(
        (mine[0].reason.as_str(), mine[0].offset),
        ("cannot be read", records[0].offset)
    );
    assert!(mine[1].reason.starts_with("ää") && long.starts_with(&mine[1].reason));
    assert_eq!(log.dead_letters(Topic::Wake, 1).await.unwrap().len(), 1);
    assert!(
        log.dead_letters(Topic::Changes, 10_000)
            .await
            .unwrap()
            .iter()
            .all(|letter| letter.group != run)
    );
}
