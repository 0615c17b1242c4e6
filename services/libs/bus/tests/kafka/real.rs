//! On real brokers.

use crate::bed::{Bed, Group, PATIENCE, batch, eventually, records};
use platen_bus::{
    Error, From, Log, Positions, conformance,
    kafka::{KafkaLog, SetupError},
};
use platen_proto::topic::Topic;
use platen_store::timers;
use rdkafka::{
    Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
};
use std::{sync::Arc, time::Duration};
use tokio::time::timeout;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_log_obeys_the_laws() {
    for partitions in [1, 8] {
        let Some(bed) = Bed::real() else { return };
        bed.migrate(partitions).await.unwrap();
        let log = bed.open().await;
        conformance::suite(Arc::new(log.clone()), "run").await;
        log.close(Duration::from_secs(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn topics_are_made_once_and_as_they_are_told() {
    let Some(bed) = Bed::real() else { return };
    let refused = async |partitions, what: &str| {
        let error = bed.migrate(partitions).await.unwrap_err();
        assert!(error.to_string().contains(what), "{error}");
    };
    refused(12, "a power of two").await;
    let unmade = KafkaLog::open(bed.config.clone(), &bed.store).await;
    let error = unmade.unwrap_err();
    assert!(
        matches!(&error, SetupError::Unavailable(why) if why.contains("platen migrate")),
        "{error}"
    );

    bed.migrate(2).await.unwrap();
    bed.migrate(2).await.unwrap();
    refused(4, "2 partitions").await;

    // A topic made anew would begin at offset 0 again.
    delete(&bed, Topic::Wake).await;
    eventually("the topic is gone", async || {
        let outcome = bed.migrate(2).await;
        let error = outcome.err()?;
        assert!(error.to_string().contains("prefix"), "{error}");
        Some(())
    })
    .await;
}

fn admin(bed: &Bed) -> AdminClient<DefaultClientContext> {
    bed.client().create().unwrap()
}

async fn delete(bed: &Bed, topic: Topic) {
    let name = format!("{}{}", bed.config.prefix, topic.name());
    let names = [name.as_str()];
    let admin = admin(bed);
    let outcome = admin.delete_topics(&names, &AdminOptions::new()).await;
    assert!(outcome.unwrap()[0].is_ok());
}

/// What retention does: of topic Reports, partition 0, nothing below an offset is left.
async fn expire(bed: &Bed, below: i64) {
    let name = format!("{}{}", bed.config.prefix, Topic::Reports.name());
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&name, 0, Offset::Offset(below))
        .unwrap();
    admin(bed)
        .delete_records(&list, &AdminOptions::new())
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_is_overtaken_by_retention_is_told() {
    let Some(bed) = Bed::real() else { return };
    bed.migrate(1).await.unwrap();
    let log = bed.open().await;
    let large = |n| {
        let mut records = records(0..1, n..n + 1);
        let number = records[0].payload.clone();
        // Nothing that could be compressed.
        let mut state = 88_172_645_463_325_252_u64 + n;
        let noise = (0..64 << 10).flat_map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_be_bytes()
        });
        records[0].payload = number.iter().copied().chain(noise).collect();
        records
    };
    let from = |offset| From::Positions(Positions([((Topic::Reports, 0), offset)].into()));
    // More than a follower that nobody reads from fetches ahead.
    for n in 0..130 {
        log.append(large(n)).await.unwrap();
    }
    let mut behind = log.follow(&[Topic::Reports], from(0)).await.unwrap();
    let mut group = log
        .consume("g", &[Topic::Reports], Duration::ZERO)
        .await
        .unwrap();
    assert_eq!(batch(&mut *group).await[0].offset, 0);
    group.commit().await.unwrap();
    drop(group);
    log.close(Duration::from_secs(10)).await;

    log.append(large(130)).await.unwrap();
    expire(&bed, 129).await;

    let refused = log.follow(&[Topic::Reports], from(128)).await;
    assert!(matches!(
        refused.err(),
        Some(Error::TooOld { offset: 128, .. })
    ));
    let mut held = log.follow(&[Topic::Reports], from(129)).await.unwrap();
    assert_eq!(held.next(1).await.unwrap()[0].offset, 129);
    let mut next = 0;
    let error = loop {
        let read = timeout(PATIENCE, behind.next(100));
        match read.await.expect("records or the truth") {
            Ok(records) => {
                for record in records {
                    assert_eq!(record.offset, next, "no gap");
                    next += 1;
                }
            }
            Err(error) => break error,
        }
    };
    println!("the follower was overtaken after {next} records: {error}");
    assert!(matches!(error, Error::TooOld { .. }));
    assert_eq!(behind.positions().0[&(Topic::Reports, 0)], next);

    // A group goes on with what is left.
    let mut group = log
        .consume("g", &[Topic::Reports], Duration::ZERO)
        .await
        .unwrap();
    let offset = batch(&mut *group).await[0].offset;
    assert_eq!(offset, 129);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn messages_of_others_are_passed_over() {
    use rdkafka::{
        message::{Header, OwnedHeaders},
        producer::{FutureProducer, FutureRecord},
    };
    let Some(bed) = Bed::real() else { return };
    bed.migrate(1).await.unwrap();
    let log = bed.open().await;
    let group = Group::new();
    let member = group.run(1, bed.open().await, &bed.store);
    log.append(records(0..1, 0..1)).await.unwrap();

    let producer: FutureProducer = bed.client().create().unwrap();
    let name = format!("{}{}", bed.config.prefix, Topic::Reports.name());
    let of_a_later_version = OwnedHeaders::new().insert(Header {
        key: "ce_type",
        value: Some("platen.tomorrow"),
    });
    for headers in [OwnedHeaders::new(), of_a_later_version] {
        let record = FutureRecord::to(&name)
            .key(&[0xff_u8][..])
            .payload(&[1_u8, 2, 3][..])
            .partition(0)
            .headers(headers);
        producer
            .send(record, Duration::from_secs(10))
            .await
            .unwrap();
    }
    log.append(records(0..1, 1..2)).await.unwrap();
    group.until("both records", |seen| seen.has_all(1, 2)).await;
    eventually("nothing is left", async || {
        let lag = log.lag("members", &[Topic::Reports]).await.unwrap();
        (lag == 0).then_some(())
    })
    .await;
    member.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn members_that_come_and_go_leave_no_gap() {
    let Some(bed) = Bed::real() else { return };
    bed.migrate(8).await.unwrap();
    let log = bed.open().await;
    let group = Group::new();
    // Records come while the group changes, each time.
    let (devices, last) = (40, 400);
    let append = async |from: u64, to: u64| {
        for n in from..to {
            log.append(records(0..devices, n..n + 1)).await.unwrap();
        }
    };

    let first = group.run(1, bed.open().await, &bed.store);
    let alone = group.until("one owns all", |seen| seen.shards(1) == 256);
    tokio::join!(append(0, 100), alone);
    let second_log = bed.open().await;
    let second = group.run(2, second_log.clone(), &bed.store);
    let two = group.until("two share", |seen| {
        seen.shards(1) == 128 && seen.shards(2) == 128
    });
    tokio::join!(append(100, 200), two);
    let third = group.run(3, bed.open().await, &bed.store);
    let three = group.until("three share", |seen| {
        (1..=3).all(|member| seen.shards(member) > 0)
            && (1..=3).map(|member| seen.shards(member)).sum::<usize>() == 256
    });
    tokio::join!(append(200, 300), three);
    let leave = async {
        second.stop().await;
        second_log.close(Duration::from_secs(10)).await;
        group
            .until("two are left", |seen| {
                seen.shards(1) + seen.shards(3) == 256
            })
            .await
    };
    tokio::join!(append(300, last), leave);
    let seen = group
        .until("everything", |seen| seen.has_all(devices, last))
        .await;

    for ((member, key), numbers) in &seen.handled {
        // A partition that comes back begins where it was committed; within an ownership there is neither gap nor disorder.
        let jumps = numbers.windows(2).filter(|pair| pair[1] != pair[0] + 1);
        assert!(jumps.count() <= 3, "{member} {key}: {numbers:?}");
    }
    let handled: usize = seen.handled.values().map(Vec::len).sum();
    let all = usize::try_from(u64::from(devices) * last).unwrap();
    println!(
        "{handled} of {all} records handled: {} again",
        handled - all
    );
    first.stop().await;
    third.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn timers_come_whoever_owns_their_shard() {
    let Some(bed) = Bed::real() else { return };
    bed.migrate(4).await.unwrap();
    let group = Group::new();
    let first_log = bed.open().await;
    let first = group.run(1, first_log.clone(), &bed.store);
    group
        .until("one owns all", |seen| seen.shards(1) == 256)
        .await;
    let arm = async |from: u32, to: u32| {
        let arms = (from..to).map(|n| {
            let device = format!("d{n}");
            timers::arm("members", "t", &device, 0, "TEST", &device)
        });
        bed.store.write(arms.collect()).await.unwrap();
    };
    arm(0, 200).await;
    let second = group.run(2, bed.open().await, &bed.store);
    group
        .until("two share", |seen| {
            seen.shards(1) == 128 && seen.shards(2) == 128
        })
        .await;
    arm(200, 400).await;
    first.stop().await;
    first_log.close(Duration::from_secs(10)).await;
    arm(400, 600).await;

    let seen = group
        .until("every timer", |seen| {
            let ids: std::collections::BTreeSet<_> = seen.notices.iter().collect();
            ids.len() == 600
        })
        .await;
    println!("{} notices of 600 timers", seen.notices.len());
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_wrong_password_is_told_as_such() {
    let Some(mut bed) = Bed::real() else { return };
    let Some(login) = &mut bed.config.login else {
        println!("skipped: these brokers ask for no password");
        return;
    };
    login.password = "wrong-password".to_owned();
    let error = bed.migrate(1).await.unwrap_err().to_string();
    assert!(error.contains("uthentication failed"), "{error}");
    assert!(!error.contains("wrong-password"), "{error}");
}
