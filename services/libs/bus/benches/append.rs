//! What an append, and what a write of a derived row, costs: records per second, CPU per record, latency.
//!
//! `cargo bench -p platen-bus`, or with `-- SECONDS APPENDERS`. Every record is synced; as in the real thing, a consumer follows it, writes two
//! rows and commits.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark")]

use async_trait::async_trait;
use hdrhistogram::Histogram;
use platen_bus::{
    Handler, HandlerError, Log, NewRecord, Record, Shards, conformance, drive,
    embedded::EmbeddedLog,
};
use platen_embedded::{Database, Options};
use platen_proto::topic::{Kind, Topic};
use platen_store::{
    Entity, Store,
    embedded::EmbeddedTables,
    table::Write,
    tables::{Events, ObservedDevices},
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// Writes a device row and an event row per key of a batch.
struct Inventory {
    store: Store,
}

#[async_trait]
impl Handler for Inventory {
    const KINDS: &'static [Kind] = &[Kind::Inform];
    const GATHER: Duration = drive::PATIENT;

    async fn assigned(&self, _: &[Shards]) {}

    async fn handle(&self, records: &[Arc<Record>]) -> Result<(), HandlerError> {
        let mut writes = Vec::new();
        for record in records {
            let device = &record.record.key[2..];
            let row = |table, key| Write {
                table,
                key,
                value: Some(vec![7; 500].into()),
                version: record.version,
                expires: None,
            };
            writes.push(row(
                ObservedDevices::TABLE,
                ObservedDevices::key(("t", device)),
            ));
            writes.push(row(
                Events::TABLE,
                Events::key(("t", device, 202_611, record.version)),
            ));
        }
        self.store.write(writes).await.unwrap();
        Ok(())
    }
}

/// Sees records and does nothing with them.
struct Idle;

#[async_trait]
impl Handler for Idle {
    const KINDS: &'static [Kind] = &[Kind::Done];
    const GATHER: Duration = drive::PATIENT;

    async fn assigned(&self, _: &[Shards]) {}

    async fn handle(&self, _: &[Arc<Record>]) -> Result<(), HandlerError> {
        Ok(())
    }
}

/// CPU time of the process so far, all threads, from `/proc/self/stat` (in ticks of 10 ms).
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let ticks = |field: usize| -> u64 {
        // Counted from the state, the first field after the name in brackets; utime and stime are the 12th and 13th.
        stat.rsplit(')')
            .next()
            .and_then(|rest| rest.split_whitespace().nth(field))
            .and_then(|text| text.parse().ok())
            .unwrap()
    };
    Duration::from_millis(10 * (ticks(11) + ticks(12)))
}

async fn load(log: &EmbeddedLog, seconds: u64, appenders: u64) -> (u64, Histogram<u64>) {
    let until = Instant::now() + Duration::from_secs(seconds);
    let tasks: Vec<_> = (0..appenders)
        .map(|appender| {
            let log = log.clone();
            tokio::spawn(async move {
                let mut latency = Histogram::<u64>::new(3).unwrap();
                let mut n = 0;
                while Instant::now() < until {
                    let begun = Instant::now();
                    let device = format!("00D09E-Swarm-{}", appender * 1_000 + n % 1_000);
                    let record = conformance::record(Topic::Reports, "t", &device, n);
                    log.append(vec![NewRecord {
                        payload: vec![42; 1_200].into(),
                        ..record
                    }])
                    .await
                    .unwrap();
                    latency
                        .record(begun.elapsed().as_micros().try_into().unwrap())
                        .unwrap();
                    n += 1;
                }
                latency
            })
        })
        .collect();
    let mut all = Histogram::<u64>::new(3).unwrap();
    for task in tasks {
        all.add(task.await.unwrap()).unwrap();
    }
    (all.len(), all)
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let mut numbers = std::env::args().filter_map(|argument| argument.parse().ok());
    let (seconds, appenders) = (numbers.next().unwrap_or(5), numbers.next().unwrap_or(64));
    for consumers in [false, true] {
        let directory = tempfile::TempDir::new().unwrap();
        let database = Database::open(directory.path(), Options::default()).unwrap();
        let store = Store::new(Arc::new(EmbeddedTables::new(&database)));
        let log = EmbeddedLog::open(&database, &store).await.unwrap();
        let shutdown = CancellationToken::new();
        let mut running = Vec::new();
        let before = cpu_time();
        if consumers {
            let shared: Arc<dyn Log> = Arc::new(log.clone());
            let inventory = Arc::new(Inventory {
                store: store.clone(),
            });
            running.push(tokio::spawn(drive(
                Arc::clone(&shared),
                store.clone(),
                "inventory",
                &[Topic::Reports],
                inventory,
                shutdown.clone(),
            )));
            for group in ["provisioning", "firmware", "metering"] {
                let (log, store) = (Arc::clone(&shared), store.clone());
                running.push(tokio::spawn(drive(
                    log,
                    store,
                    group,
                    &[Topic::Reports],
                    Arc::new(Idle),
                    shutdown.clone(),
                )));
            }
        }
        let begun = Instant::now();
        let (records, latency) = load(&log, seconds, appenders).await;
        while consumers && log.lag("inventory", &[Topic::Reports]).await.unwrap() > 0 {
            tokio::task::yield_now().await;
        }
        let (wall, cpu) = (begun.elapsed(), cpu_time() - before);
        println!(
            "{appenders} appenders, {}: {records} records, {:.0}/s, {:.1} µs CPU each, ack p50 {} µs, p99 {} µs, max {} µs",
            if consumers {
                "4 consumers, 2 rows each"
            } else {
                "no consumer"
            },
            records as f64 / wall.as_secs_f64(),
            cpu.as_secs_f64() * 1e6 / records as f64,
            latency.value_at_quantile(0.5),
            latency.value_at_quantile(0.99),
            latency.max(),
        );
        if consumers {
            let (begun, before) = (Instant::now(), cpu_time());
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            let share = (cpu_time() - before).as_secs_f64() / begun.elapsed().as_secs_f64();
            println!(
                "idle, 4 services walk their timers: {:.2} % of a core",
                100.0 * share
            );
        }
        shutdown.cancel();
        for task in running {
            task.await.unwrap().unwrap();
        }
    }
}
