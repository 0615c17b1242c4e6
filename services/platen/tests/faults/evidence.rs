//! What the server holds, read the ways its users read it: through the API, and from the log itself.

use crate::{
    api::{Api, device_path},
    check::{Kept, KeptDevice, Reading},
    device::COUNTER,
    eventually::within,
    ledger::{Entry, Ledger},
};
use futures::{StreamExt, stream};
use platen_bus::{
    Log,
    log::{From, Positions, Record},
};
use platen_proto::{
    event::v1::{Event, event::Data},
    report::v1::report::Body,
    topic::{Kind, Topic},
};
use prost::Message;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// How long the last thing that a device said may take to the store.
const ARRIVED_WITHIN: Duration = Duration::from_secs(180);

/// Devices that are read at a time.
const CONCURRENCY: usize = 8;

/// Waits until what every device said last is in the store.
pub(crate) async fn arrived(api: &Api, ledger: &Ledger) {
    let mut last: BTreeMap<&str, u64> = BTreeMap::new();
    for entry in &ledger.0 {
        if let Entry::Acknowledged { device, counter } = entry {
            last.insert(device, *counter);
        }
    }
    stream::iter(last)
        .for_each_concurrent(CONCURRENCY, |(device, counter)| async move {
            let path = device_path(device);
            within(
                &format!("{device}: the Inform with counter {counter}"),
                ARRIVED_WITHIN,
                async || {
                    let events = api
                        .get(&format!("{path}/events?kinds=INFORM&pageSize=1"))
                        .await;
                    let readings = api
                        .get(&format!("{path}/readings?meter=TOTAL&pageSize=1"))
                        .await;
                    let seen = events["events"].as_array()?.first().and_then(counter_of);
                    let read = readings["readings"][0]["value"].as_str()?.parse().ok();
                    (seen >= Some(counter) && read >= Some(counter)).then_some(())
                },
            )
            .await;
        })
        .await;
}

/// Reads what the API tells of every device and operation of the ledger.
pub(crate) async fn of_api(api: &Api, ledger: &Ledger) -> Kept {
    let (mut devices, mut operations) = (BTreeSet::new(), BTreeSet::new());
    for entry in &ledger.0 {
        match entry {
            Entry::Sent { device, .. } => {
                devices.insert(device.as_str());
            }
            Entry::Accepted { operation, .. } => {
                operations.insert(operation.as_str());
            }
            Entry::Acknowledged { .. }
            | Entry::Broken { .. }
            | Entry::Asked { .. }
            | Entry::Completed { .. } => {}
        }
    }
    let devices = stream::iter(devices)
        .map(|device| async move { (device.to_owned(), device_of_api(api, device).await) })
        .buffer_unordered(CONCURRENCY)
        .collect()
        .await;
    let operations = stream::iter(operations)
        .filter_map(|operation| async move {
            let found = api.find(&format!("operations/{operation}")).await?;
            let state = found["state"].as_str()?.to_owned();
            Some((operation.to_owned(), state))
        })
        .collect()
        .await;
    Kept {
        devices,
        operations,
    }
}

async fn device_of_api(api: &Api, device: &str) -> KeptDevice {
    let path = device_path(device);
    let mut events: Vec<u64> = api
        .list(
            &format!("{path}/events?kinds=INFORM&pageSize=500"),
            "events",
        )
        .await
        .iter()
        .filter_map(counter_of)
        .collect();
    events.reverse();
    let readings = api
        .list(
            &format!("{path}/readings?meter=TOTAL&pageSize=1000"),
            "readings",
        )
        .await;
    let number = |reading: &serde_json::Value, key: &str| -> u64 {
        reading[key].as_str().unwrap().parse().unwrap()
    };
    let mut readings: Vec<Reading> = readings
        .iter()
        .map(|reading| Reading {
            sequence: number(reading, "sequence"),
            value: number(reading, "value"),
            hash: reading["hash"].as_str().unwrap().to_owned(),
        })
        .collect();
    readings.reverse();
    let verified = api.get(&format!("{path}/readings:verify")).await;
    let broken_at = (verified["intact"] != true).then(|| number(&verified, "firstBrokenSequence"));
    KeptDevice {
        events,
        readings,
        broken_at,
        ..KeptDevice::default()
    }
}

/// The counter in an event of the API.
fn counter_of(event: &serde_json::Value) -> Option<u64> {
    let parameters = event["inform"]["parameters"].as_array()?;
    let counter = parameters
        .iter()
        .find(|parameter| parameter["path"] == COUNTER)?;
    counter["value"].as_str()?.parse().ok()
}

/// Adds what stands on the log, from its first record on.
pub(crate) async fn of_log(log: &dyn Log, partitions: u32, kept: &mut Kept) {
    each(log, Topic::Reports, partitions, |record| {
        let kind = record.record.kind;
        if !matches!(kind, Kind::Inform | Kind::Transfer) {
            return;
        }
        let report = record.report().unwrap();
        // Devices that the ledger does not know are nobody's.
        let Some(device) = kept.devices.get_mut(&report.device) else {
            return;
        };
        match &report.body {
            Some(Body::Inform(inform)) => {
                let counter = inform
                    .parameters
                    .iter()
                    .find(|parameter| parameter.path == COUNTER);
                device
                    .log
                    .extend(counter.and_then(|counter| counter.value.parse::<u64>().ok()));
            }
            Some(Body::TransferComplete(complete)) => {
                device.transfers.push(complete.command_key.clone());
            }
            _ => {}
        }
    })
    .await;
    each(log, Topic::Readings, partitions, |record| {
        let event = Event::decode(record.record.payload.clone()).unwrap();
        let device = event.device.rsplit('/').next().unwrap_or_default();
        let (Some(device), Some(Data::Readings(readings))) =
            (kept.devices.get_mut(device), event.data)
        else {
            return;
        };
        for reading in readings.readings {
            device
                .announced
                .entry(reading.sequence)
                .or_default()
                .insert(reading.hash);
        }
    })
    .await;
}

/// Hands over every record of a topic, one partition's in order.
async fn each(log: &dyn Log, topic: Topic, partitions: u32, mut take: impl FnMut(&Arc<Record>)) {
    // Whoever has read nothing yet has all of it before them.
    let mut left = log.lag("nobody", &[topic]).await.unwrap();
    let first = (0..partitions).map(|partition| ((topic, partition), 0));
    let from = From::Positions(Positions(first.collect()));
    let mut follower = log.follow(&[topic], from).await.unwrap();
    while left > 0 {
        let records = follower.next(1_000).await.unwrap();
        left = left.saturating_sub(records.len() as u64);
        records.iter().for_each(&mut take);
    }
}
