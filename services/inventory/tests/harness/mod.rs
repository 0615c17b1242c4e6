//! The embedded store and log in a directory of their own, counted, with failures on demand; and reports to publish.

#![allow(dead_code, reason = "each test uses its part")]
#![allow(clippy::unwrap_used, reason = "a harness of tests")]

use async_trait::async_trait;
use bytes::Bytes;
use platen_bus::{
    Consumer, DeadLetter, Delivery, Error, Follower, From, Log, NewRecord, Record,
    embedded::EmbeddedLog,
};
use platen_embedded::{Database, Options};
use platen_proto::{
    event::v1::Inform,
    operation::v1::ParameterValue,
    report::v1::{Notice, Report, report::Body},
    topic::{Kind, Topic},
};
use platen_runtime::metrics::Metrics;
use platen_store::{
    Store, Tables,
    embedded::EmbeddedTables,
    table::{self, Edited, Expect, Inserted, Key, Page, Part, Range, Row, Swapped, Table, Write},
};
use prost::Message;
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU32, AtomicU64, Ordering},
};
use tempfile::TempDir;
use tokio::sync::watch;

/// 2026-11-23T08:00:00Z
pub(crate) const START_US: i64 = 1_795_420_800_000_000;
pub(crate) const TENANT: &str = "default";

/// What was done to store and log, without what the walker of timers does.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) reads: Mutex<Vec<&'static str>>,
    pub(crate) writes: Mutex<Vec<&'static str>>,
    pub(crate) appended: Mutex<Vec<NewRecord>>,
    /// So many commits fail, and so their batches come again.
    pub(crate) failing_commits: AtomicU32,
    /// Every so manieth call writes half of its rows and fails, and is counted here; 0: none does.
    pub(crate) fail_every: AtomicU32,
    calls: AtomicU32,
    pub(crate) failures: AtomicU32,
    commits: watch::Sender<u64>,
}

impl Counts {
    pub(crate) fn reset(&self) {
        self.reads.lock().unwrap().clear();
        self.writes.lock().unwrap().clear();
        self.appended.lock().unwrap().clear();
    }

    /// The derived records of a topic, in order.
    pub(crate) fn appended_to(&self, topic: Topic) -> Vec<NewRecord> {
        self.appended
            .lock()
            .unwrap()
            .iter()
            .filter(|record| record.topic == topic)
            .cloned()
            .collect()
    }
}

pub(crate) struct Harness {
    _directory: TempDir,
    pub(crate) store: Store,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) metrics: Metrics,
    pub(crate) counts: Arc<Counts>,
    published: AtomicU64,
}

impl Harness {
    pub(crate) async fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let database = Database::open(directory.path(), Options::default()).unwrap();
        let counts = Arc::new(Counts::default());
        let store = Store::new(Arc::new(CountedTables {
            tables: EmbeddedTables::new(&database),
            counts: counts.clone(),
        }));
        let log = EmbeddedLog::open(&database, &store).await.unwrap();
        let log = Arc::new(CountedLog {
            log,
            counts: counts.clone(),
        });
        Self {
            _directory: directory,
            store,
            log,
            metrics: Metrics::new("test").unwrap(),
            counts,
            published: AtomicU64::new(0),
        }
    }

    /// Publishes what a device said, and waits until `group` has passed it.
    pub(crate) async fn publish(&self, group: &str, report: &Report) {
        self.publish_all(group, std::slice::from_ref(report)).await;
    }

    pub(crate) async fn publish_all(&self, group: &str, reports: &[Report]) {
        let records = reports.iter().map(|report| self.record(report)).collect();
        self.log.append(records).await.unwrap();
        self.settled(group).await;
    }

    /// Publishes the notice that a device was edited.
    pub(crate) async fn device_changed(&self, group: &str, device: &str, time_us: i64) {
        let notice = Notice {
            tenant: TENANT.into(),
            device: device.into(),
            kind: "DEVICE_CHANGED".into(),
            time_us,
            ..Notice::default()
        };
        let record = self.new_record(device, Kind::Notice, time_us, notice.encode_to_vec().into());
        self.log.append(vec![record]).await.unwrap();
        self.settled(group).await;
    }

    /// Waits until a group has passed every report.
    pub(crate) async fn settled(&self, group: &str) {
        let mut commits = self.counts.commits.subscribe();
        loop {
            commits.mark_unchanged();
            if self.log.lag(group, &[Topic::Reports]).await.unwrap() == 0 {
                return;
            }
            commits.changed().await.unwrap();
        }
    }

    fn record(&self, report: &Report) -> NewRecord {
        let kind = match &report.body {
            Some(Body::Inform(_)) => Kind::Inform,
            Some(Body::TransferComplete(_)) => Kind::Transfer,
            Some(Body::DeviceRequest(_)) => Kind::Request,
            Some(Body::CommandDone(_)) => Kind::Done,
            Some(Body::Woken(_)) | None => Kind::Woken,
        };
        self.new_record(
            &report.device,
            kind,
            report.time_us,
            report.encode_to_vec().into(),
        )
    }

    fn new_record(&self, device: &str, kind: Kind, time_us: i64, payload: Bytes) -> NewRecord {
        NewRecord {
            topic: Topic::Reports,
            shard: platen_ids::shard(TENANT, device),
            key: format!("{TENANT}/{device}"),
            kind,
            id: format!("record-{}", self.published.fetch_add(1, Ordering::Relaxed)),
            time_us,
            payload,
        }
    }
}

pub(crate) fn report(device: &str, time_us: i64, body: Body) -> Report {
    let mut parts = device.split('-');
    let mut part = || parts.next().unwrap_or_default().to_owned();
    Report {
        tenant: TENANT.into(),
        device: device.into(),
        oui: part(),
        product_class: part(),
        serial_number: part(),
        session: format!("{time_us:032x}"),
        time_us,
        last: true,
        body: Some(body),
        ..Report::default()
    }
}

pub(crate) fn inform(device: &str, time_us: i64, event: &str, values: &[(&str, &str)]) -> Report {
    let inform = Inform {
        events: vec![event.into()],
        command_keys: vec![String::new()],
        parameters: parameters(values),
        current_time: jiff::Timestamp::from_microsecond(time_us)
            .unwrap()
            .to_string(),
        ..Inform::default()
    };
    report(device, time_us, Body::Inform(inform))
}

pub(crate) fn parameters(values: &[(&str, &str)]) -> Vec<ParameterValue> {
    values
        .iter()
        .map(|(path, value)| ParameterValue {
            path: (*path).into(),
            value: (*value).into(),
            r#type: "xsd:string".into(),
        })
        .collect()
}

#[derive(Debug)]
struct CountedTables {
    tables: EmbeddedTables,
    counts: Arc<Counts>,
}

impl CountedTables {
    fn count(&self, into: &Mutex<Vec<&'static str>>, table: &'static Table) {
        if !["timers", "walked", "topics"].contains(&table.name) {
            into.lock().unwrap().push(table.name);
        }
    }
}

#[async_trait]
impl Tables for CountedTables {
    async fn get(&self, table: &'static Table, key: &Key) -> Result<Option<Row>, table::Error> {
        self.count(&self.counts.reads, table);
        self.tables.get(table, key).await
    }

    async fn scan(
        &self,
        table: &'static Table,
        partition: &[Part],
        range: Range,
    ) -> Result<Page, table::Error> {
        self.count(&self.counts.reads, table);
        self.tables.scan(table, partition, range).await
    }

    async fn write(&self, mut writes: Vec<Write>) -> Result<(), table::Error> {
        for write in &writes {
            self.count(&self.counts.writes, write.table);
        }
        let every = self.counts.fail_every.load(Ordering::Relaxed);
        if every > 0
            && (self.counts.calls.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(every)
        {
            self.counts.failures.fetch_add(1, Ordering::Relaxed);
            writes.truncate(writes.len() / 2);
            self.tables.write(writes).await?;
            return Err(table::Error::Unavailable("it was cut off".into()));
        }
        self.tables.write(writes).await
    }

    async fn insert_if_absent(
        &self,
        table: &'static Table,
        key: Key,
        value: Bytes,
    ) -> Result<Inserted, table::Error> {
        self.count(&self.counts.writes, table);
        self.tables.insert_if_absent(table, key, value).await
    }

    async fn get_edited(
        &self,
        table: &'static Table,
        key: &Key,
    ) -> Result<Option<Edited>, table::Error> {
        self.count(&self.counts.reads, table);
        self.tables.get_edited(table, key).await
    }

    async fn scan_edited(
        &self,
        table: &'static Table,
        partition: &[Part],
        range: Range,
    ) -> Result<(Page, Vec<String>), table::Error> {
        self.count(&self.counts.reads, table);
        self.tables.scan_edited(table, partition, range).await
    }

    async fn compare_and_set(
        &self,
        table: &'static Table,
        key: Key,
        expect: Expect,
        value: Option<Bytes>,
    ) -> Result<Swapped, table::Error> {
        self.count(&self.counts.writes, table);
        self.tables.compare_and_set(table, key, expect, value).await
    }

    async fn check(&self) -> Result<(), table::Error> {
        self.tables.check().await
    }
}

#[derive(Debug)]
struct CountedLog {
    log: EmbeddedLog,
    counts: Arc<Counts>,
}

#[async_trait]
impl Log for CountedLog {
    async fn append(&self, records: Vec<NewRecord>) -> Result<(), Error> {
        self.counts.appended.lock().unwrap().extend(
            records
                .iter()
                .filter(|record| record.topic != Topic::Reports)
                .cloned(),
        );
        self.log.append(records).await
    }

    async fn consume(&self, group: &str, topics: &[Topic]) -> Result<Box<dyn Consumer>, Error> {
        let consumer = self.log.consume(group, topics).await?;
        Ok(Box::new(CountedConsumer {
            consumer,
            counts: self.counts.clone(),
        }))
    }

    async fn follow(&self, topics: &[Topic], from: From) -> Result<Box<dyn Follower>, Error> {
        self.log.follow(topics, from).await
    }

    async fn lag(&self, group: &str, topics: &[Topic]) -> Result<u64, Error> {
        self.log.lag(group, topics).await
    }

    async fn dead_letter(&self, record: &Record, group: &str, reason: &str) -> Result<(), Error> {
        self.log.dead_letter(record, group, reason).await
    }

    async fn dead_letters(&self, topic: Topic, limit: usize) -> Result<Vec<DeadLetter>, Error> {
        self.log.dead_letters(topic, limit).await
    }

    async fn check(&self) -> Result<(), Error> {
        self.log.check().await
    }

    fn partitions(&self) -> u32 {
        self.log.partitions()
    }
}

struct CountedConsumer {
    consumer: Box<dyn Consumer>,
    counts: Arc<Counts>,
}

#[async_trait]
impl Consumer for CountedConsumer {
    async fn next(&mut self, max: usize) -> Result<Delivery, Error> {
        self.consumer.next(max).await
    }

    async fn commit(&mut self) -> Result<(), Error> {
        let fails = self.counts.failing_commits.fetch_update(
            Ordering::Relaxed,
            Ordering::Relaxed,
            |left| left.checked_sub(1),
        );
        if fails.is_ok() {
            return Err(Error::Unavailable(
                "it was cut off before the commit".into(),
            ));
        }
        self.consumer.commit().await?;
        self.counts.commits.send_modify(|commits| *commits += 1);
        Ok(())
    }
}
