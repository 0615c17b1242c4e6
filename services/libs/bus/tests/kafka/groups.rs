//! Members of groups, on the library's mock.

use crate::bed::{PATIENCE, batch, eventually, mock, records};
use platen_bus::{Consumer, Delivery, Log, Shards, conformance::number};
use platen_proto::topic::Topic;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use std::time::Duration;
use tokio::time::timeout;

const TOPICS: [Topic; 1] = [Topic::Reports];

async fn lag(log: &impl Log) -> u64 {
    log.lag("group", &TOPICS).await.unwrap()
}

/// The next news of what is the member's.
async fn assigned(consumer: &mut dyn Consumer) -> Vec<Shards> {
    loop {
        let next = timeout(PATIENCE, consumer.next(9))
            .await
            .expect("it is told");
        if let Delivery::Assigned(shards) = next.unwrap() {
            return shards;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_done_is_committed_when_the_member_leaves() {
    let (_cluster, bed) = mock(1, 4).await;
    let log = bed.open().await;
    log.append(records(0..10, 0..10)).await.unwrap();
    let mut consumer = log.consume("group", &TOPICS, Duration::ZERO).await.unwrap();
    let mut count = 0;
    while count < 100 {
        count += batch(&mut *consumer).await.len();
        consumer.commit().await.unwrap();
    }
    assert_eq!(lag(&log).await, 0, "known here before the cluster knows it");
    drop(consumer);
    log.close(PATIENCE).await;

    let other = bed.open().await;
    assert_eq!(
        lag(&other).await,
        0,
        "and everywhere once the member has left"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_member_whose_partitions_were_taken_over_commits_nothing_of_them() {
    let (cluster, bed) = mock(1, 1).await;
    let log = bed.open().await;
    log.append(records(0..1, 0..5)).await.unwrap();
    let mut consumer = log.consume("group", &TOPICS, Duration::ZERO).await.unwrap();
    let first = batch(&mut *consumer).await;
    assert_eq!(number(&first[0]), 0);

    // The group's coordinator knows the member no more: somebody else may have the partition now.
    cluster.request_errors(
        RDKafkaApiKey::Heartbeat,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID],
    );
    assert_eq!(assigned(&mut *consumer).await, []);
    consumer.commit().await.unwrap();
    assert_eq!(assigned(&mut *consumer).await.len(), 1, "it joins again");

    let second = batch(&mut *consumer).await;
    assert_eq!(number(&second[0]), 0, "what it had in hand comes again");
    assert_eq!(lag(&log).await, 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_batch_in_hand_is_finished_before_its_partitions_go() {
    let (_cluster, bed) = mock(1, 2).await;
    let log = bed.open().await;
    log.append(records(0..20, 0..5)).await.unwrap();
    let mut first = log.consume("group", &TOPICS, Duration::ZERO).await.unwrap();
    let mut held = Vec::new();
    while held.len() < 100 {
        held.extend(batch(&mut *first).await);
    }

    let mut second = log.consume("group", &TOPICS, Duration::ZERO).await.unwrap();
    // The first is asked for a partition, and has it in hand.
    let nothing_yet = timeout(Duration::from_secs(1), async {
        loop {
            if let Delivery::Batch(records) = second.next(9).await.unwrap() {
                return records;
            }
        }
    });
    assert!(nothing_yet.await.is_err(), "it waits for the first");
    first.commit().await.unwrap();

    log.append(records(0..20, 5..6)).await.unwrap();
    let more = batch(&mut *second).await;
    assert!(
        more.iter().all(|record| number(record) == 5),
        "nothing of what the first has done comes again"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_slow_service_stops_the_fetching_and_misses_nothing() {
    let (_cluster, bed) = mock(1, 2).await;
    let log = bed.open().await;
    for n in 0..100 {
        log.append(records(0..100, n..n + 1)).await.unwrap();
    }
    let mut consumer = log.consume("group", &TOPICS, Duration::ZERO).await.unwrap();
    let mut next = [0_u64; 100];
    let mut count = 0;
    while count < 10_000 {
        let records = batch(&mut *consumer).await;
        if count % 4_000 < 512 {
            // Longer than the member waits for room.
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        for record in &records {
            let device: usize = record.record.key[3..].parse().unwrap();
            assert_eq!(number(record), next[device], "{}", record.record.key);
            next[device] += 1;
        }
        count += records.len();
        consumer.commit().await.unwrap();
    }
    assert_eq!(lag(&log).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn members_of_a_group_on_several_topics_have_the_same_partitions_of_each() {
    let (_cluster, bed) = mock(1, 4).await;
    let log = bed.open().await;
    let topics = [Topic::Reports, Topic::Changes];
    let mut first = log.consume("group", &topics, Duration::ZERO).await.unwrap();
    let mut second = log.consume("group", &topics, Duration::ZERO).await.unwrap();
    let mut shards = [Vec::new(), Vec::new()];
    eventually("they share", async || {
        for (member, shards) in [&mut first, &mut second].into_iter().zip(&mut shards) {
            let next = timeout(Duration::from_millis(50), member.next(9)).await;
            if let Ok(Ok(Delivery::Assigned(assigned))) = next {
                *shards = assigned;
            }
        }
        (shards[0].len() == 2 && shards[1].len() == 2).then_some(())
    })
    .await;
    let mut all: Vec<_> = shards.concat();
    all.sort_by_key(|shards| shards.start);
    assert_eq!(all, [0..64, 64..128, 128..192, 192..256]);
}
