//! The embedded store and log in a directory of their own, counted, with failures on demand; and reports to publish.

#![allow(dead_code, reason = "each test uses its part")]
#![allow(clippy::unwrap_used, reason = "a harness of tests")]

use bytes::Bytes;
use platen_bus::{Error, Log, NewRecord, embedded::EmbeddedLog, watched::Call};
use platen_embedded::{Database, Options};
use platen_proto::{
    event::v1::Inform,
    operation::v1::ParameterValue,
    report::v1::{Notice, Report, report::Body},
    topic::{Kind, Topic},
};
use platen_runtime::metrics::Metrics;
use platen_store::{Store, Tables, embedded::EmbeddedTables, table, watched};
use prost::Message;
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
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
        let tables: Arc<dyn Tables> = Arc::new(EmbeddedTables::new(&database));
        let watch = Arc::new(Watching {
            tables: tables.clone(),
            counts: counts.clone(),
        });
        let store = Store::new(watched::Watched::new(tables, watch));
        let log = EmbeddedLog::open(&database, &store).await.unwrap();
        let log = platen_bus::watched::Watched::new(Arc::new(log), counts.clone());
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

/// What counts calls of the store, and has some writes fail halfway.
#[derive(Debug)]
struct Watching {
    tables: Arc<dyn Tables>,
    counts: Arc<Counts>,
}

impl watched::Watch for Watching {
    async fn before(&self, call: watched::Call<'_>) -> Result<(), table::Error> {
        let (read, written) = call.cost();
        self.counts.reads.lock().unwrap().extend(read);
        self.counts.writes.lock().unwrap().extend(written);
        let every = self.counts.fail_every.load(Ordering::Relaxed);
        if call.kind == watched::Kind::Write
            && every > 0
            && (self.counts.calls.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(every)
        {
            self.counts.failures.fetch_add(1, Ordering::Relaxed);
            self.tables
                .write(call.rows[..call.rows.len() / 2].to_vec())
                .await?;
            return Err(table::Error::Unavailable("it was cut off".into()));
        }
        Ok(())
    }
}

impl platen_bus::watched::Watch for Counts {
    async fn before(&self, call: Call<'_>) -> Result<(), Error> {
        match call {
            Call::Append(records) => {
                let derived = records
                    .iter()
                    .filter(|record| record.topic != Topic::Reports);
                self.appended.lock().unwrap().extend(derived.cloned());
            }
            Call::Commit => {
                let fails = self.failing_commits.fetch_update(
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                    |left| left.checked_sub(1),
                );
                if fails.is_ok() {
                    let why = "it was cut off before the commit";
                    return Err(Error::Unavailable(why.into()));
                }
            }
            Call::Next | Call::Other => {}
        }
        Ok(())
    }

    async fn after(&self, call: Call<'_>, _: Duration) -> Result<(), Error> {
        if matches!(call, Call::Commit) {
            self.commits.send_modify(|commits| *commits += 1);
        }
        Ok(())
    }
}
