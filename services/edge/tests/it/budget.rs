//! What an idle session costs, counted at the ports.

use crate::{
    bed::{Bed, Ports},
    wire::Device,
};
use async_trait::async_trait;
use bytes::Bytes;
use platen_bus::{Consumer, Follower, From, Log, NewRecord, Record};
use platen_cwmp::event_code::EventCode;
use platen_edge::Config;
use platen_proto::topic::Topic;
use platen_sessions::{DeviceHash, Presence, Secret, SessionCache, Taken};
use platen_store::{
    Error, Tables,
    table::{Edited, Expect, Inserted, Key, Page, Part, Range, Row, Swapped, Table, Write},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

#[derive(Debug, Default)]
struct Counts {
    reads: AtomicUsize,
    writes: AtomicUsize,
    puts: AtomicUsize,
    takes: AtomicUsize,
    removes: AtomicUsize,
    records: AtomicUsize,
}

impl Counts {
    /// Reads, writes, puts, takes, records since the last call.
    fn taken(&self) -> [usize; 5] {
        [
            &self.reads,
            &self.writes,
            &self.puts,
            &self.takes,
            &self.records,
        ]
        .map(|count| count.swap(0, Ordering::SeqCst))
    }
}

fn count(counter: &AtomicUsize, by: usize) {
    counter.fetch_add(by, Ordering::SeqCst);
}

/// Whether a table is that of the walker of timers, which belongs to the process and not to a session.
fn is_walkers(table: &Table) -> bool {
    ["timers", "walked", "topics"].contains(&table.name)
}

#[derive(Debug)]
struct Counting<T: ?Sized> {
    counts: Arc<Counts>,
    inner: Arc<T>,
}

#[async_trait]
impl Tables for Counting<dyn Tables> {
    async fn get(&self, table: &'static Table, key: &Key) -> Result<Option<Row>, Error> {
        count(&self.counts.reads, usize::from(!is_walkers(table)));
        self.inner.get(table, key).await
    }

    async fn scan(
        &self,
        table: &'static Table,
        partition: &[Part],
        range: Range,
    ) -> Result<Page, Error> {
        count(&self.counts.reads, usize::from(!is_walkers(table)));
        self.inner.scan(table, partition, range).await
    }

    async fn write(&self, writes: Vec<Write>) -> Result<(), Error> {
        count(
            &self.counts.writes,
            writes
                .iter()
                .filter(|write| !is_walkers(write.table))
                .count(),
        );
        self.inner.write(writes).await
    }

    async fn insert_if_absent(
        &self,
        table: &'static Table,
        key: Key,
        value: Bytes,
    ) -> Result<Inserted, Error> {
        count(&self.counts.writes, 1);
        self.inner.insert_if_absent(table, key, value).await
    }

    async fn get_edited(&self, table: &'static Table, key: &Key) -> Result<Option<Edited>, Error> {
        count(&self.counts.reads, 1);
        self.inner.get_edited(table, key).await
    }

    async fn scan_edited(
        &self,
        table: &'static Table,
        partition: &[Part],
        range: Range,
    ) -> Result<(Page, Vec<String>), Error> {
        count(&self.counts.reads, 1);
        self.inner.scan_edited(table, partition, range).await
    }

    async fn compare_and_set(
        &self,
        table: &'static Table,
        key: Key,
        expect: Expect,
        value: Option<Bytes>,
    ) -> Result<Swapped, Error> {
        count(&self.counts.writes, 1);
        self.inner.compare_and_set(table, key, expect, value).await
    }

    async fn check(&self) -> Result<(), Error> {
        self.inner.check().await
    }
}

#[async_trait]
impl Log for Counting<dyn Log> {
    async fn append(&self, records: Vec<NewRecord>) -> Result<(), platen_bus::Error> {
        count(&self.counts.records, records.len());
        self.inner.append(records).await
    }

    async fn consume(
        &self,
        group: &str,
        topics: &[Topic],
    ) -> Result<Box<dyn Consumer>, platen_bus::Error> {
        self.inner.consume(group, topics).await
    }

    async fn follow(
        &self,
        topics: &[Topic],
        from: From,
    ) -> Result<Box<dyn Follower>, platen_bus::Error> {
        self.inner.follow(topics, from).await
    }

    async fn lag(&self, group: &str, topics: &[Topic]) -> Result<u64, platen_bus::Error> {
        self.inner.lag(group, topics).await
    }

    async fn check(&self) -> Result<(), platen_bus::Error> {
        self.inner.check().await
    }

    fn partitions(&self) -> u32 {
        self.inner.partitions()
    }

    async fn dead_letter(
        &self,
        record: &Record,
        group: &str,
        reason: &str,
    ) -> Result<(), platen_bus::Error> {
        self.inner.dead_letter(record, group, reason).await
    }

    async fn dead_letters(
        &self,
        topic: Topic,
        limit: usize,
    ) -> Result<Vec<platen_bus::DeadLetter>, platen_bus::Error> {
        self.inner.dead_letters(topic, limit).await
    }
}

#[async_trait]
impl SessionCache for Counting<dyn SessionCache> {
    async fn put(
        &self,
        device: DeviceHash,
        secret: Secret,
        record: Bytes,
        idle: Duration,
    ) -> Result<(), platen_sessions::Error> {
        count(&self.counts.puts, 1);
        self.inner.put(device, secret, record, idle).await
    }

    async fn put_back(
        &self,
        device: DeviceHash,
        secret: Secret,
        record: Bytes,
        idle: Duration,
    ) -> Result<bool, platen_sessions::Error> {
        count(&self.counts.puts, 1);
        self.inner.put_back(device, secret, record, idle).await
    }

    async fn take(
        &self,
        device: DeviceHash,
        secret: Secret,
    ) -> Result<Taken, platen_sessions::Error> {
        count(&self.counts.takes, 1);
        self.inner.take(device, secret).await
    }

    async fn remove(
        &self,
        device: DeviceHash,
        secret: Secret,
    ) -> Result<(), platen_sessions::Error> {
        count(&self.counts.removes, 1);
        self.inner.remove(device, secret).await
    }

    async fn look(&self, device: DeviceHash) -> Result<Presence, platen_sessions::Error> {
        self.inner.look(device).await
    }

    async fn wait_idle(
        &self,
        device: DeviceHash,
        patience: Duration,
    ) -> Result<(), platen_sessions::Error> {
        self.inner.wait_idle(device, patience).await
    }
}

#[tokio::test]
async fn an_idle_session_keeps_to_its_budget() {
    let counts = Arc::new(Counts::default());
    let of_bed = Arc::clone(&counts);
    let bed = Bed::start_with(Config::default(), |ports| Ports {
        tables: Arc::new(Counting {
            counts: Arc::clone(&of_bed),
            inner: ports.tables,
        }),
        log: Arc::new(Counting {
            counts: Arc::clone(&of_bed),
            inner: ports.log,
        }),
        sessions: Arc::new(Counting {
            counts: of_bed,
            inner: ports.sessions,
        }),
        ..ports
    })
    .await;
    bed.register("1", "secret").await;
    bed.register("2", "secret").await;
    // Another device has called before: the tenant is known.
    let mut other = Device::connect(bed.address, "2", "secret").await;
    other.open(&[EventCode::Periodic]).await;
    other.post_plain(&[], b"").await.unwrap();
    while counts.removes.load(Ordering::SeqCst) < 1 {
        tokio::task::yield_now().await;
    }

    // Credentials and queue; then the queue alone, since the credentials are known.
    for reads in [2, 1] {
        counts.taken();
        let mut device = Device::connect(bed.address, "1", "secret").await;
        assert_eq!(device.open(&[EventCode::Periodic]).await.1.status, 200);
        assert_eq!(device.post_plain(&[], b"").await.unwrap().status, 204);
        let [read, written, put, taken, records] = counts.taken();
        assert_eq!((read, written, put, taken, records), (reads, 0, 1, 1, 1));
    }
    while counts.removes.load(Ordering::SeqCst) < 3 {
        tokio::task::yield_now().await;
    }
}
