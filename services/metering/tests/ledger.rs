//! From published reports to the ledger, over the embedded store and log.

#![allow(clippy::unwrap_used, reason = "tests and their helpers")]

#[path = "../../inventory/tests/harness/mod.rs"]
mod harness;

use harness::{Harness, START_US, TENANT, inform, parameters, report};
use platen_metering::{BACKWARDS, Config, Deps, SERVICE, run};
use platen_proto::{
    event::v1::{Event, event},
    metering::v1::Quality,
    operation::v1::OperationResult,
    report::v1::{CommandDone, Report, command_done::Outcome, report::Body},
    store::v1::ReadingSet,
    topic::Topic,
};
use platen_store::{
    ledger::Verifier,
    table::Range,
    tables::{LedgerHeads, Readings},
};
use prost::Message;
use std::sync::atomic::Ordering;
use tokio_util::sync::CancellationToken;

const PRINTER: &str = "00D09E-LaserPro-SN1";
const TOTAL: &str = "Device.Services.MFPService.1.Counters.Total.TotalImpressions";
const MONO: &str = "Device.Services.MFPService.1.Counters.Total.MonochromeImpressions";
const HOUR_US: i64 = 3_600_000_000;

fn start(harness: &Harness) {
    let deps = Deps {
        store: harness.store.clone(),
        log: harness.log.clone(),
        metrics: harness.metrics.clone(),
    };
    tokio::spawn(run(Config::default(), deps, CancellationToken::new()));
}

/// The chain of the printer, verified.
async fn chain(harness: &Harness) -> Vec<ReadingSet> {
    let mut sets = Vec::new();
    let mut verifier = Verifier::new(TENANT, PRINTER);
    for year in [2026, 2027] {
        let page = harness
            .store
            .scan::<Readings>((TENANT, PRINTER, year, 0), Range::default())
            .await
            .unwrap();
        for (_, set) in page.rows {
            verifier.check(&set).unwrap();
            sets.push(set);
        }
    }
    let head = harness
        .store
        .get::<LedgerHeads>((TENANT, PRINTER))
        .await
        .unwrap();
    assert_eq!(
        head.map(|head| head.hash).unwrap_or_default(),
        verifier.head()
    );
    sets
}

fn total(time_us: i64, value: u64) -> Report {
    inform(
        PRINTER,
        time_us,
        "2 PERIODIC",
        &[(TOTAL, &value.to_string())],
    )
}

#[tokio::test]
async fn readings_of_informs_and_answers_become_one_chain_and_events() {
    let harness = Harness::new().await;
    start(&harness);
    harness
        .publish(
            SERVICE,
            &inform(
                PRINTER,
                START_US,
                "2 PERIODIC",
                &[
                    ("Device.DeviceInfo.UpTime", "5"),
                    (TOTAL, "1000"),
                    (MONO, "600"),
                ],
            ),
        )
        .await;
    let result = OperationResult {
        values: parameters(&[(TOTAL, "1100"), (MONO, "650")]),
        ..OperationResult::default()
    };
    let done = CommandDone {
        outcome: Some(Outcome::Result(result)),
        ..CommandDone::default()
    };
    harness
        .publish(
            SERVICE,
            &report(PRINTER, START_US + HOUR_US, Body::CommandDone(done)),
        )
        .await;
    harness
        .publish(SERVICE, &total(START_US + 2 * HOUR_US, 7))
        .await;
    // New Year: another partition, the same chain.
    harness
        .publish(SERVICE, &total(START_US + 1_000 * HOUR_US, 8))
        .await;
    let stranger = Report {
        quarantine_reason: "unknown device".into(),
        ..total(START_US + 1_001 * HOUR_US, 999_999)
    };
    harness.publish(SERVICE, &stranger).await;

    let sets = chain(&harness).await;
    let values: Vec<Vec<u64>> = sets
        .iter()
        .map(|set| set.values.iter().map(|value| value.value).collect())
        .collect();
    assert_eq!(
        values,
        [vec![600, 1_000], vec![650, 1_100], vec![7], vec![8]]
    );
    assert_eq!(sets[2].values[0].flags, [BACKWARDS]);
    assert_eq!(sets[1].device_time, "");

    let told = harness.counts.appended_to(Topic::Readings);
    let told: Vec<Event> = told
        .iter()
        .map(|record| Event::decode(record.payload.clone()).unwrap())
        .collect();
    assert_eq!(told.len(), 4);
    let Some(event::Data::Readings(readings)) = &told[2].data else {
        panic!("{:?}", told[2])
    };
    let reading = &readings.readings[0];
    assert_eq!(
        (reading.meter.as_str(), reading.unit.as_str(), reading.value),
        ("TOTAL", "IMPRESSIONS", 7)
    );
    assert_eq!(
        (
            reading.quality(),
            reading.sequence,
            reading.flags.as_slice()
        ),
        (Quality::Suspect, 3, &[BACKWARDS.to_owned()][..])
    );
    assert!(reading.hash.starts_with(&told[2].id) && told[2].device.ends_with(PRINTER));
    let text = harness.metrics.text().unwrap();
    assert!(
        text.contains("platen_metering_suspect_values_total{reason=\"BACKWARDS\"} 1"),
        "{text}"
    );
}

#[tokio::test]
async fn values_that_are_known_cost_nothing() {
    let harness = Harness::new().await;
    start(&harness);
    harness.publish(SERVICE, &total(START_US, 1_000)).await;
    harness.counts.reset();

    for minute in 1..60 {
        harness
            .publish(SERVICE, &total(START_US + minute * 60_000_000, 1_000))
            .await;
        harness
            .publish(
                SERVICE,
                &inform(
                    PRINTER,
                    START_US + minute * 60_000_000,
                    "4 VALUE CHANGE",
                    &[("Device.DeviceInfo.UpTime", "5")],
                ),
            )
            .await;
    }
    assert_eq!(*harness.counts.reads.lock().unwrap(), Vec::<&str>::new());
    assert_eq!(*harness.counts.writes.lock().unwrap(), Vec::<&str>::new());
    assert_eq!(*harness.counts.appended.lock().unwrap(), []);

    harness
        .publish(SERVICE, &total(START_US + HOUR_US, 1_000))
        .await;
    assert_eq!(
        *harness.counts.writes.lock().unwrap(),
        ["readings", "ledger_heads"]
    );
    assert_eq!(
        *harness.counts.appended.lock().unwrap(),
        [],
        "seen again is no news"
    );
    let sets = chain(&harness).await;
    assert_eq!((sets.len(), sets[0].until_us), (1, START_US + HOUR_US));
}

#[tokio::test]
async fn what_is_delivered_again_writes_the_same_bytes() {
    let harness = Harness::new().await;
    // Every batch is handled again and again until a commit counts.
    harness.counts.failing_commits.store(3, Ordering::Relaxed);
    harness.counts.fail_every.store(3, Ordering::Relaxed);
    start(&harness);
    let reports: Vec<Report> = [1_000, 1_000, 1_010, 5, 1_010, 1_020]
        .into_iter()
        .zip(0..)
        .map(|(value, hour)| total(START_US + hour * HOUR_US, value))
        .collect();
    harness.publish_all(SERVICE, &reports).await;

    let sets = chain(&harness).await;
    let values: Vec<u64> = sets.iter().map(|set| set.values[0].value).collect();
    assert_eq!(values, [1_000, 1_010, 5, 1_010, 1_020]);
    let mut ids: Vec<String> = harness
        .counts
        .appended_to(Topic::Readings)
        .into_iter()
        .map(|record| record.id)
        .collect();
    ids.dedup();
    assert_eq!(ids.len(), 5, "told again only under the same id");
    assert_eq!(harness.counts.failing_commits.load(Ordering::Relaxed), 0);
    assert!(harness.counts.failures.load(Ordering::Relaxed) >= 3);
}

#[tokio::test]
async fn a_record_that_nobody_can_read_is_put_aside_and_the_next_one_counts() {
    let harness = Harness::new().await;
    start(&harness);
    let broken = platen_bus::NewRecord {
        topic: Topic::Reports,
        shard: platen_ids::shard(TENANT, PRINTER),
        key: format!("{TENANT}/{PRINTER}"),
        kind: platen_proto::topic::Kind::Inform,
        id: "broken".into(),
        time_us: START_US,
        payload: vec![0xff; 9].into(),
    };
    harness.log.append(vec![broken]).await.unwrap();
    harness.publish(SERVICE, &total(START_US, 1_000)).await;

    let aside = harness.log.dead_letters(Topic::Reports, 10).await.unwrap();
    assert_eq!(
        aside
            .iter()
            .map(|letter| letter.record.id.as_str())
            .collect::<Vec<_>>(),
        ["broken"]
    );
    assert_eq!(chain(&harness).await.len(), 1);
}
