//! From the log to the ledger: reads the head, folds, writes what follows.

use crate::{
    Config, Deps,
    fold::{self, Decision},
    reading::Readings,
};
use async_trait::async_trait;
use moka::future::Cache;
use opentelemetry::{KeyValue, metrics::Counter};
use platen_bus::{Failure, Handler, HandlerError, Log, NewRecord, Record, Shards, drive};
use platen_datamodel::meter::Meter;
use platen_proto::{
    event::v1::{self as event, Event, event::Data},
    metering::v1::{Quality, Reading},
    report::v1::Report,
    store::v1::{LedgerHead, ReadingSet},
    topic::{Kind, Topic},
};
use platen_store::{
    Store, rows,
    tables::{self, LedgerHeads},
};
use prost::Message;
use prost_types::Timestamp;
use std::{fmt::Write as _, sync::Arc, time::Duration};

/// Keeps the ledgers of the devices whose partitions it owns.
pub(crate) struct Metering {
    store: Store,
    log: Arc<dyn Log>,
    quiet: Cache<String, Quiet>,
    sets: Counter<u64>,
    suspect: Counter<u64>,
}

/// These values change nothing until then.
#[derive(Debug, Clone, Copy)]
struct Quiet {
    values: [u8; 16],
    until_us: i64,
}

impl Metering {
    pub(crate) fn new(config: &Config, deps: Deps) -> Self {
        Self {
            store: deps.store,
            log: deps.log,
            quiet: Cache::new(config.remembered_devices),
            sets: deps.metrics.counter(
                "platen.metering.reading.sets",
                "Reading sets written to the ledger",
            ),
            suspect: deps.metrics.counter(
                "platen.metering.suspect.values",
                "Values that need a look before they are billed, by reason",
            ),
        }
    }

    async fn handle_one(&self, record: &Record) -> Result<(), Failure> {
        let report = record
            .report()
            .map_err(|error| Failure::Poison(error.to_string()))?;
        let Some(readings) = Readings::of(report) else {
            return Ok(());
        };
        let values = readings.fingerprint();
        let key = &record.record.key;
        if let Some(quiet) = self.quiet.get(key).await
            && quiet.values == values
            && report.time_us < quiet.until_us
        {
            return Ok(());
        }
        let (tenant, device) = (report.tenant.as_str(), report.device.as_str());
        let head = self.store.get::<LedgerHeads>((tenant, device)).await?;
        let decision = fold::fold(head.as_ref(), report, &readings, record.version);
        let until_us = match &decision {
            Decision::Nothing { quiet_until_us } => *quiet_until_us,
            Decision::Seen {
                head,
                quiet_until_us,
            } => {
                self.keep(report, head, record.version).await?;
                *quiet_until_us
            }
            Decision::Append {
                head,
                quiet_until_us,
            } => {
                if let Some(set) = &head.last {
                    // Before the rows: a crash in between gives the same event again, never none.
                    self.log
                        .append(vec![announcement(record, report, set)])
                        .await?;
                    self.count(set);
                }
                self.keep(report, head, record.version).await?;
                *quiet_until_us
            }
        };
        self.quiet
            .insert(key.clone(), Quiet { values, until_us })
            .await;
        Ok(())
    }

    /// Writes the last set, and only then the head: whoever finds the head finds the set.
    async fn keep(&self, report: &Report, head: &LedgerHead, version: u64) -> Result<(), Failure> {
        let (tenant, device) = (report.tenant.as_str(), report.device.as_str());
        if let Some(set) = &head.last {
            let key = (
                tenant,
                device,
                fold::year(set.receive_time_us),
                set.sequence,
            );
            self.store
                .write(vec![rows::write::<tables::Readings>(key, set, version)])
                .await?;
        }
        let write = rows::write::<LedgerHeads>((tenant, device), head, version);
        Ok(self.store.write(vec![write]).await?)
    }

    fn count(&self, set: &ReadingSet) {
        self.sets.add(1, &[]);
        for flag in set
            .values
            .iter()
            .filter(|value| value.quality() == Quality::Suspect)
            .flat_map(|value| &value.flags)
        {
            self.suspect
                .add(1, &[KeyValue::new("reason", flag.clone())]);
        }
    }
}

#[async_trait]
impl Handler for Metering {
    const KINDS: &'static [Kind] = &[Kind::Inform, Kind::Done];
    const GATHER: Duration = drive::PATIENT;

    async fn assigned(&self, _: &[Shards]) {
        // Another owner may have written in between; what is forgotten costs one read per device.
        self.quiet.invalidate_all();
    }

    async fn handle(&self, records: &[Arc<Record>]) -> Result<(), HandlerError> {
        for (at, record) in records.iter().enumerate() {
            self.handle_one(record)
                .await
                .map_err(|failure| HandlerError { at, failure })?;
        }
        Ok(())
    }
}

/// The READING event of a set; its id follows from the set's hash, so the same set has the same event for ever.
fn announcement(record: &Record, report: &Report, set: &ReadingSet) -> NewRecord {
    let mut hash = String::with_capacity(64);
    for byte in &set.hash {
        // Writing to a string cannot fail.
        let _ = write!(hash, "{byte:02x}");
    }
    let id = hash[..32].to_owned();
    let time = timestamp(set.receive_time_us);
    let readings = set
        .values
        .iter()
        .map(|value| Reading {
            meter: value.meter.clone(),
            value: value.value,
            unit: value
                .meter
                .parse::<Meter>()
                .map(|meter| meter.unit().name().to_owned())
                .unwrap_or_default(),
            time: Some(timestamp(set.reading_time_us)),
            source: value.source.clone(),
            quality: value.quality,
            sequence: set.sequence,
            hash: hash.clone(),
            until: Some(timestamp(set.until_us)),
            flags: value.flags.clone(),
        })
        .collect();
    let event = Event {
        id: id.clone(),
        time: Some(time),
        device: format!("tenants/{}/devices/{}", report.tenant, report.device),
        kind: event::event::Kind::Reading.into(),
        cursor: String::new(),
        data: Some(Data::Readings(event::Readings { readings })),
    };
    NewRecord {
        topic: Topic::Readings,
        shard: record.record.shard,
        key: record.record.key.clone(),
        kind: Kind::Event,
        id,
        time_us: record.record.time_us,
        payload: event.encode_to_vec().into(),
    }
}

fn timestamp(time_us: i64) -> Timestamp {
    Timestamp {
        seconds: time_us.div_euclid(1_000_000),
        nanos: i32::try_from(time_us.rem_euclid(1_000_000) * 1_000).unwrap_or_default(),
    }
}
