//! The metering ledger, as callers see it.

use crate::harness::{Harness, TENANT};
use platen_proto::{
    metering::v1::Quality,
    store::v1::{LedgerHead, MeterValue, Observed, ReadingSet},
};
use platen_store::{
    ledger, rows,
    tables::{LedgerHeads, Readings},
};
use serde_json::{Value, json};

const SECOND: i64 = 1_000_000;
/// 2025-11-23T08:00:00Z
const START: i64 = 1_763_884_800 * SECOND;

/// A chain of `count` sets, one every 20 days, so that it spans years.
async fn chain(api: &Harness, device: &str, count: u64) -> Vec<ReadingSet> {
    let mut sets: Vec<ReadingSet> = Vec::new();
    for sequence in 1..=count {
        let time_us = START + i64::try_from(sequence - 1).unwrap() * 20 * 86_400 * SECOND;
        let value = |meter: &str, value: u64| MeterValue {
            meter: meter.into(),
            source: format!("Device.Services.MFPService.1.Counters.{meter}"),
            value,
            quality: Quality::Actual.into(),
            ..MeterValue::default()
        };
        let mut set = ReadingSet {
            sequence,
            position: sequence,
            receive_time_us: time_us,
            reading_time_us: time_us,
            until_us: time_us,
            values: vec![value("TOTAL", sequence * 100), value("MONO", sequence * 60)],
            previous_hash: sets.last().map(|set| set.hash.clone()).unwrap_or_default(),
            ..ReadingSet::default()
        };
        set.hash = ledger::hash(TENANT, device, &set).to_vec().into();
        write(api, device, &set, 1).await;
        sets.push(set);
    }
    let last = sets.last().unwrap();
    let head = LedgerHead {
        sequence: count,
        hash: last.hash.clone(),
        last: Some(last.clone()),
        ..LedgerHead::default()
    };
    api.store
        .write(vec![rows::write::<LedgerHeads>((TENANT, device), &head, 1)])
        .await
        .unwrap();
    api.observe(Observed {
        tenant: TENANT.into(),
        device: device.into(),
        oui: "00D09E".into(),
        first_inform_us: START,
        last_inform_us: START,
        position: 1,
        ..Observed::default()
    })
    .await;
    sets
}

async fn write(api: &Harness, device: &str, set: &ReadingSet, version: u64) {
    let year = 1970 + u64::try_from(set.receive_time_us / SECOND / 31_556_952).unwrap();
    api.store
        .write(vec![rows::write::<Readings>(
            (TENANT, device, year, set.sequence),
            set,
            version,
        )])
        .await
        .unwrap();
}

async fn all(api: &Harness, path: &str, page_size: usize) -> Vec<Value> {
    let mut readings = Vec::new();
    let mut token = String::new();
    loop {
        let (status, page) = api
            .get(&format!("{path}pageSize={page_size}&pageToken={token}"))
            .await;
        assert_eq!(status, 200, "{page}");
        assert!(page["readings"].as_array().unwrap().len() <= page_size);
        readings.extend(page["readings"].as_array().unwrap().iter().cloned());
        token = page["nextPageToken"].as_str().unwrap().to_owned();
        if token.is_empty() {
            return readings;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn readings_have_the_documented_shape() {
    let api = Harness::start().await;
    let device = api.device("1").await;
    let sets = chain(&api, &device, 1).await;
    let hash: String = sets[0]
        .hash
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();

    let (status, page) = api
        .get(&format!(
            "/v1/tenants/default/devices/{device}/readings?meter=TOTAL"
        ))
        .await;

    assert_eq!(status, 200);
    assert_eq!(
        page,
        json!({"readings": [{"meter": "TOTAL", "value": "100", "unit": "IMPRESSIONS", "time": "2025-11-23T08:00:00Z",
            "source": "Device.Services.MFPService.1.Counters.TOTAL", "quality": "ACTUAL", "sequence": "1", "hash": hash,
            "until": "2025-11-23T08:00:00Z", "flags": []}], "nextPageToken": ""})
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn readings_come_newest_first_over_the_years_whatever_the_page() {
    let api = Harness::start().await;
    let device = api.device("1").await;
    chain(&api, &device, 40).await;
    let path = format!("/v1/tenants/default/devices/{device}/readings?");

    for page_size in [1, 3, 7, 80, 1000] {
        let readings = all(&api, &path, page_size).await;
        let sequences: Vec<u64> = readings
            .iter()
            .map(|reading| reading["sequence"].as_str().unwrap().parse().unwrap())
            .collect();
        assert_eq!(
            sequences,
            (1..=40).rev().flat_map(|n| [n, n]).collect::<Vec<u64>>(),
            "{page_size}"
        );
    }
    let totals = all(&api, &format!("{path}meter=MONO&"), 7).await;
    assert_eq!(totals.len(), 40);
    assert!(totals.iter().all(|reading| reading["meter"] == "MONO"));
    let (status, problem) = api.get(&format!("{path}meter=PAGES")).await;
    assert_eq!(
        (status, &problem["violations"][0]["field"]),
        (400, &json!("meter"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_ledger_is_found_out() {
    let api = Harness::start().await;
    let device = api.device("1").await;
    let verify = format!("/v1/tenants/default/devices/{device}/readings:verify");
    assert_eq!(
        api.get(&verify).await.1,
        json!({"sets": "0", "intact": true, "firstBrokenSequence": "0", "head": ""})
    );
    let sets = chain(&api, &device, 40).await;
    let head: String = sets[39]
        .hash
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(
        api.get(&verify).await.1,
        json!({"sets": "40", "intact": true, "firstBrokenSequence": "0", "head": head})
    );

    let mut forged = sets[24].clone();
    forged.values[0].value += 1;
    write(&api, &device, &forged, 2).await;
    let (_, answer) = api.get(&verify).await;
    assert_eq!(
        (&answer["intact"], &answer["firstBrokenSequence"]),
        (&json!(false), &json!("25"))
    );

    write(&api, &device, &sets[24], 3).await;
    let year = 2028;
    api.store
        .write(vec![rows::delete::<Readings>(
            (TENANT, &device, year, 40),
            4,
        )])
        .await
        .unwrap();
    let (_, answer) = api.get(&verify).await;
    let last_year = 1970 + sets[39].receive_time_us / SECOND / 31_556_952;
    if last_year == i64::try_from(year).unwrap() {
        assert_eq!(
            (&answer["intact"], &answer["firstBrokenSequence"]),
            (&json!(false), &json!("40"))
        );
    } else {
        panic!("the last set lies in {last_year}");
    }
}
