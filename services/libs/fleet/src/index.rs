//! The fleet index of a process: loaded from the store once, then kept by following the log.

use crate::{
    columns::Columns,
    device,
    query::{Page, Query},
};
use futures::{StreamExt, TryStreamExt, stream};
use platen_bus::{Log, Record, log};
use platen_proto::{
    report::v1::DeviceRow,
    store::v1::{Observed, Registration},
    topic::{Kind, Topic},
};
use platen_store::{
    Store,
    table::{self, Part, Range},
    tables::{ObservedDevices, Registrations, Tenants},
};
use prost::Message;
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const TOPICS: &[Topic] = &[Topic::Devices, Topic::Reports];
const BATCH: usize = 1_000;
/// Partitions of the device tables that are read at the same time: one alone would wait for the network most of the time.
const SHARDS_AT_ONCE: usize = 16;
const PAUSE: Duration = Duration::from_secs(1);
const TOLD_TO_WRITTEN: Duration = Duration::from_millis(200);
/// Devices up to which a query is answered on the caller's thread: some hundred microseconds.
const AT_ONCE: usize = 2_000;

/// Which devices there are and which of them match: per tenant, column by column. Cheap to clone.
///
/// It says which; what is shown of them is read from the store. It lags the store by moments. Text that devices share is kept once:
/// 100 000 devices take about 25 MiB.
#[derive(Debug, Clone)]
pub struct Fleet {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Store,
    log: Arc<dyn Log>,
    tenants: RwLock<HashMap<String, Arc<RwLock<Columns>>>>,
    /// Whether it is loaded, and how often devices have changed.
    state: watch::Sender<(bool, u64)>,
}

/// Why the index has to be loaded anew.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error(transparent)]
    Store(#[from] table::Error),
    #[error(transparent)]
    Log(#[from] log::Error),
}

impl Fleet {
    /// An empty index; [`Self::run`] fills it.
    #[must_use]
    pub fn new(store: Store, log: Arc<dyn Log>) -> Self {
        let (state, _) = watch::channel((false, 0));
        Self {
            inner: Arc::new(Inner {
                store,
                log,
                tenants: RwLock::default(),
                state,
            }),
        }
    }

    /// Loads the index and keeps it until `shutdown`. Waits out what is transient; loads again if the log no longer holds what was missed.
    pub async fn run(&self, shutdown: CancellationToken) {
        let kept = async {
            loop {
                let Err(error) = self.load_and_follow().await;
                tracing::warn!(%error, "the fleet index is loaded again");
                tokio::time::sleep(PAUSE).await;
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = kept => {}
        }
    }

    /// Whether the index has been loaded.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.inner.state.borrow().0
    }

    /// Waits until the index has been loaded.
    pub async fn loaded(&self) {
        // The sender lives in `self`, so the wait cannot fail.
        let _ = self
            .inner
            .state
            .subscribe()
            .wait_for(|(ready, _)| *ready)
            .await;
    }

    /// The devices of a tenant that match. A scan of 100 000 devices takes some 10 to 50 ms, on a thread of its own.
    pub async fn query(&self, tenant: &str, query: Query) -> Page {
        let Some(columns) = self.columns(tenant) else {
            return Page::default();
        };
        let scan = move || read(&columns).query(&query);
        if self.len(tenant) <= AT_ONCE {
            return scan();
        }
        match tokio::task::spawn_blocking(scan).await {
            Ok(page) => page,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime ends: nobody is left to read the answer.
                Err(_) => Page::default(),
            },
        }
    }

    /// Waits until the index has the device with that etag, at most `patience`. `false`: it has not come.
    pub async fn await_device(
        &self,
        tenant: &str,
        device: &str,
        etag: &str,
        patience: Duration,
    ) -> bool {
        let mut state = self.inner.state.subscribe();
        let there = state.wait_for(|_| {
            self.columns(tenant)
                .is_some_and(|columns| read(&columns).has(device, etag))
        });
        tokio::time::timeout(patience, there).await.is_ok()
    }

    /// Number of devices of a tenant.
    #[must_use]
    pub fn len(&self, tenant: &str) -> usize {
        self.columns(tenant)
            .map_or(0, |columns| read(&columns).len())
    }

    /// Bytes that the columns of a tenant take, without the overhead of the allocator.
    #[must_use]
    pub fn memory_bytes(&self, tenant: &str) -> usize {
        self.columns(tenant)
            .map_or(0, |columns| read(&columns).memory_bytes())
    }

    fn columns(&self, tenant: &str) -> Option<Arc<RwLock<Columns>>> {
        self.inner
            .tenants
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(tenant)
            .cloned()
    }

    fn columns_or_new(&self, tenant: &str) -> Arc<RwLock<Columns>> {
        if let Some(columns) = self.columns(tenant) {
            return columns;
        }
        let mut tenants = self
            .inner
            .tenants
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        tenants
            .entry(tenant.to_owned())
            .or_insert_with(|| Arc::new(RwLock::new(Columns::new(tenant))))
            .clone()
    }

    async fn load_and_follow(&self) -> Result<std::convert::Infallible, Broken> {
        // Followed from before the scan: what changes meanwhile comes again, and the last row counts. Inventory tells of a change just before it
        // writes it; what was told just before this call is given the time to be written.
        let mut follower = self.inner.log.follow(TOPICS, log::From::Now).await?;
        tokio::time::sleep(TOLD_TO_WRITTEN).await;
        self.load().await?;
        self.inner.state.send_modify(|(ready, _)| *ready = true);
        loop {
            let records = follower.next(BATCH).await?;
            self.apply(&records);
        }
    }

    async fn load(&self) -> Result<(), Broken> {
        let mut range = Range::default();
        loop {
            let page = self
                .inner
                .store
                .scan_edited_partition::<Tenants>(&["all".into()], range)
                .await?;
            for (key, _) in page.rows {
                if let Some(Part::Text(tenant)) = key.first() {
                    stream::iter(0..platen_ids::SHARDS)
                        .map(|shard| self.load_shard(tenant, shard))
                        .buffer_unordered(SHARDS_AT_ONCE)
                        .try_collect::<()>()
                        .await?;
                }
            }
            let Some(cursor) = page.next else {
                return Ok(());
            };
            range = Range {
                cursor: Some(cursor),
                ..Range::default()
            };
        }
    }

    async fn load_shard(&self, tenant: &str, shard: u16) -> Result<(), Broken> {
        let partition: [Part; 2] = [tenant.into(), u64::from(shard).into()];
        let mut devices: BTreeMap<String, (Option<Registration>, Option<Observed>)> =
            BTreeMap::new();
        let mut cursor = None;
        loop {
            let range = Range {
                cursor: cursor.take(),
                ..Range::default()
            };
            let page = self
                .inner
                .store
                .scan_edited_partition::<Registrations>(&partition, range)
                .await?;
            for (_, row) in page.rows {
                let registration = device::registration(row);
                let rows = devices.entry(registration.device.clone()).or_default();
                rows.0 = Some(registration);
            }
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        loop {
            let range = Range {
                cursor: cursor.take(),
                ..Range::default()
            };
            let page = self
                .inner
                .store
                .scan_partition::<ObservedDevices>(&partition, range)
                .await?;
            for (_, observed) in page.rows {
                let rows = devices.entry(observed.device.clone()).or_default();
                rows.1 = Some(observed);
            }
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        if devices.is_empty() {
            return Ok(());
        }
        let columns = self.columns_or_new(tenant);
        let mut columns = columns.write().unwrap_or_else(PoisonError::into_inner);
        for (id, (registration, observed)) in devices {
            let interval = observed
                .as_ref()
                .map_or(0, |observed| observed.periodic_inform_interval);
            // `online` is worked out anew for each query, so `now` does not matter here.
            columns.upsert(
                &id,
                &device::resource(registration.as_ref(), observed.as_ref(), 0),
                interval,
            );
        }
        Ok(())
    }

    fn apply(&self, records: &[Arc<Record>]) {
        let mut changed = false;
        for record in records {
            let Some((tenant, id)) = record.record.key.split_once('/') else {
                continue;
            };
            match record.record.kind {
                Kind::Device => match DeviceRow::decode(record.record.payload.clone()) {
                    Ok(DeviceRow {
                        device: Some(device),
                        periodic_inform_interval,
                        ..
                    }) => {
                        let columns = self.columns_or_new(tenant);
                        columns
                            .write()
                            .unwrap_or_else(PoisonError::into_inner)
                            .upsert(id, &device, periodic_inform_interval);
                        changed = true;
                    }
                    Ok(_) => {
                        tracing::error!(offset = record.offset, "a device row holds no device")
                    }
                    Err(error) => {
                        tracing::error!(offset = record.offset, %error, "a device row cannot be read")
                    }
                },
                Kind::Inform => {
                    if let Some(columns) = self.columns(tenant) {
                        columns
                            .write()
                            .unwrap_or_else(PoisonError::into_inner)
                            .seen(id, record.record.time_us);
                    }
                }
                _ => {}
            }
        }
        if changed {
            self.inner.state.send_modify(|(_, changes)| *changes += 1);
        }
    }
}

fn read(columns: &RwLock<Columns>) -> std::sync::RwLockReadGuard<'_, Columns> {
    columns.read().unwrap_or_else(PoisonError::into_inner)
}
