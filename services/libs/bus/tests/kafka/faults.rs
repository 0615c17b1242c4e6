//! Brokers that are away, slow, or refuse; on the library's mock.

use crate::bed::{eventually, mock, records};
use platen_bus::{
    Error, From, Log, Positions,
    conformance::number,
    kafka::{KafkaConfig, KafkaLog, Login, Mechanism, SetupError, Tls},
};
use platen_proto::topic::Topic;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_log_without_brokers_says_so_at_once_and_recovers() {
    let (cluster, bed) = mock(3, 4).await;
    let log = bed.open().await;
    log.append(records(0..4, 0..1)).await.unwrap();
    log.check().await.unwrap();

    for broker in 1..=3 {
        cluster.broker_down(broker).unwrap();
    }
    let down = Instant::now();
    let why = eventually("it is noticed", async || log.check().await.err()).await;
    assert!(
        down.elapsed() < Duration::from_millis(2_500),
        "after {:?}",
        down.elapsed()
    );
    assert!(matches!(why, Error::Unavailable(_)), "{why}");
    let asked = Instant::now();
    let refused = log.append(records(0..4, 1..2)).await;
    assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
    assert!(
        asked.elapsed() < Duration::from_millis(200),
        "without waiting"
    );
    println!("noticed after {:?}: {why}", down.elapsed());

    for broker in 1..=3 {
        cluster.broker_up(broker).unwrap();
    }
    let up = Instant::now();
    eventually("it is back", async || log.check().await.ok()).await;
    println!("back after {:?}", up.elapsed());
    eventually("records are taken", async || {
        log.append(records(0..4, 2..3)).await.ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_acknowledged_is_lost_while_brokers_come_and_go() {
    let (cluster, bed) = mock(3, 4).await;
    let log = bed
        .open_with(|config| config.message_timeout = Duration::from_secs(10))
        .await;
    let begin = Positions((0..4).map(|n| ((Topic::Reports, n), 0)).collect());
    let mut acknowledged = BTreeSet::new();
    for n in 0..60 {
        let broker = i32::try_from(n / 20).unwrap() + 1;
        match n % 20 {
            5 => cluster.broker_down(broker).unwrap(),
            12 => cluster.broker_up(broker).unwrap(),
            _ => {}
        }
        // What a broker that is away leads is led by the next one.
        if matches!(n % 20, 5 | 12) {
            let name = format!("{}{}", bed.config.prefix, Topic::Reports.name());
            for partition in 0..4 {
                let leader = Some(broker % 3 + 1);
                cluster.partition_leader(&name, partition, leader).unwrap();
            }
        }
        if log.append(records(0..8, n..n + 1)).await.is_ok() {
            acknowledged.extend((0..8).map(|device| (format!("t/d{device}"), n)));
        }
    }
    println!("{} of 480 acknowledged", acknowledged.len());
    assert!(acknowledged.len() >= 8 * 40);

    eventually("the log is back", async || log.check().await.ok()).await;
    let mut follower = log
        .follow(&[Topic::Reports], From::Positions(begin))
        .await
        .unwrap();
    let mut found = BTreeSet::new();
    while !acknowledged.is_subset(&found) {
        let read = tokio::time::timeout(Duration::from_secs(30), follower.next(100)).await;
        for record in read.expect("what was acknowledged is there").unwrap() {
            assert!(
                found.insert((record.record.key.clone(), number(&record))),
                "a retry of the client doubled {}",
                record.record.key
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_passes_is_tried_again_and_what_does_not_is_told() {
    use RDKafkaRespErr::{
        RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE as TOO_LARGE,
        RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS as NOT_ENOUGH_REPLICAS,
        RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION as NOT_LEADER,
        RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT as TIMED_OUT,
        RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED as NO_RIGHT,
    };
    let (cluster, bed) = mock(1, 1).await;
    let log = bed.open().await;
    let with = async |errors: &[RDKafkaRespErr]| {
        cluster.request_errors(RDKafkaApiKey::Produce, errors);
        let outcome = log.append(records(0..1, 0..1)).await;
        cluster.clear_request_errors(RDKafkaApiKey::Produce);
        outcome
    };
    with(&[NOT_LEADER, TIMED_OUT, NOT_ENOUGH_REPLICAS])
        .await
        .unwrap();

    let refused = with(&[TOO_LARGE]).await.unwrap_err();
    assert!(matches!(refused, Error::TooLarge(_)), "{refused}");
    let refused = with(&[NO_RIGHT]).await.unwrap_err();
    assert!(
        refused.is_transient() && refused.to_string().contains("uthoriz"),
        "{refused}"
    );

    eventually("what was refused is granted", async || with(&[]).await.ok()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_is_not_let_in_is_told_why() {
    let (_cluster, bed) = mock(1, 1).await;
    let config = KafkaConfig {
        login: Some(Login {
            mechanism: Mechanism::ScramSha512,
            username: "platen".to_owned(),
            password: "secret-password".to_owned(),
        }),
        ..bed.config.clone()
    };
    assert!(!format!("{config:?}").contains("secret-password"));

    let config = KafkaConfig {
        tls: Some(Tls {
            ca: Some("/nowhere/ca.pem".into()),
            identity: None,
        }),
        ..bed.config.clone()
    };
    let refused = KafkaLog::open(config, &bed.store).await.unwrap_err();
    let text = refused.to_string();
    assert!(matches!(refused, SetupError::Configuration(_)), "{text}");
    assert!(text.contains("ssl.ca.location"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn slow_brokers_are_refusals_and_not_a_queue() {
    let (cluster, bed) = mock(1, 1).await;
    let log = bed.open().await;
    log.append(records(0..1, 0..1)).await.unwrap();
    let delay = |milliseconds| {
        cluster
            .broker_round_trip_time(1, Duration::from_millis(milliseconds))
            .unwrap();
    };

    delay(400);
    log.append(records(0..1, 1..2)).await.unwrap();
    delay(3_000);
    let asked = Instant::now();
    let refused = log.append(records(0..1, 2..3)).await;
    assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
    assert!(
        asked.elapsed() < Duration::from_millis(2_500),
        "{:?}",
        asked.elapsed()
    );
    eventually("it is noticed", async || log.check().await.err()).await;
    delay(0);
    eventually("it is back", async || log.check().await.ok()).await;
    eventually("records are taken", async || {
        log.append(records(0..1, 3..4)).await.ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn too_much_at_once_is_refused_without_waiting() {
    let (cluster, bed) = mock(1, 1).await;
    let log = bed.open().await;
    log.append(records(0..1, 0..1)).await.unwrap();
    cluster
        .broker_round_trip_time(1, Duration::from_secs(30))
        .unwrap();
    let large = || {
        let mut records = records(0..1, 0..1);
        records[0].payload = vec![7; 1 << 20].into();
        records
    };
    let asked = Instant::now();
    let appends = futures::future::join_all((0..80).map(|_| log.append(large())));
    let outcomes = appends.await;
    let full = outcomes
        .iter()
        .filter(|outcome| {
            outcome
                .as_ref()
                .is_err_and(|error| error.to_string().contains("too much waits"))
        })
        .count();
    assert!(full > 0, "{:?}", outcomes.last());
    assert!(
        asked.elapsed() < Duration::from_secs(4),
        "{:?}",
        asked.elapsed()
    );
}
