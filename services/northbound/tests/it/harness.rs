//! A running API on a port of its own, with an empty data directory, and a stand-in for the service that derives what lists show.

use http::Method;
use object_store::local::LocalFileSystem;
use platen_bus::{Follower, From, Log, NewRecord, embedded::EmbeddedLog};
use platen_embedded::{Database, Options};
use platen_northbound::{Config, Deps, Limits, bootstrap, run};
use platen_proto::{
    report::v1::{DeviceRow, Report, report::Body},
    store::v1::Observed,
    topic::{Kind, Topic},
};
use platen_runtime::{
    Health, Keys, Metrics,
    listener::{Limits as ListenerLimits, Listener, Protocol},
};
use platen_store::{
    Store,
    embedded::EmbeddedTables,
    rows,
    tables::{ObservedDevices, Registrations},
};
use prost::Message;
use serde_json::{Value, json};
use std::{path::PathBuf, sync::Arc};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};

/// The tenant that every test begins with.
pub(crate) const TENANT: &str = "default";

/// A running API.
pub(crate) struct Harness {
    pub(crate) url: String,
    pub(crate) admin: String,
    pub(crate) store: Store,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) keys: Arc<Keys>,
    pub(crate) health: Health,
    pub(crate) shutdown: CancellationToken,
    pub(crate) running: JoinSet<anyhow::Result<()>>,
    client: reqwest::Client,
    directory: TempDir,
    _stop: DropGuard,
}

impl Harness {
    pub(crate) async fn start() -> Self {
        Self::with(Limits::default()).await
    }

    pub(crate) async fn with(limits: Limits) -> Self {
        Self::on_disk_with(limits, Options::default().reserve_bytes).await
    }

    /// An API whose store has as good as no room: the reserve that it keeps free is larger than any disk.
    pub(crate) async fn without_room() -> Self {
        Self::on_disk_with(Limits::default(), u64::MAX / 2).await
    }

    async fn on_disk_with(limits: Limits, reserve_bytes: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (mut database, mut store, mut log) = open(&directory, Options::default()).await;
        let mut admin = String::new();
        let keep = |token: &str| {
            token.clone_into(&mut admin);
            Ok(())
        };
        assert!(bootstrap(&store, keep).await.unwrap());
        if reserve_bytes != Options::default().reserve_bytes {
            drop((database, store, log));
            let options = Options {
                reserve_bytes,
                ..Options::default()
            };
            (database, store, log) = open(&directory, options).await;
        }
        drop(database);
        let files = directory.path().join("files");
        std::fs::create_dir(&files).unwrap();
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", socket.local_addr().unwrap());
        let keys = Arc::new(Keys::from_bytes(&[7; 32]));
        let health = Health::new();
        let deps = Deps {
            store: store.clone(),
            log: Arc::clone(&log),
            keys: Arc::clone(&keys),
            files: Arc::new(LocalFileSystem::new_with_prefix(files).unwrap()),
            health: health.clone(),
            metrics: Metrics::new("test").unwrap(),
            listener: Listener {
                name: "api",
                socket,
                tls: None,
                protocol: Protocol::Any,
                limits: ListenerLimits::default(),
            },
        };
        let shutdown = CancellationToken::new();
        // The stand-in follows before anything changes.
        let follower = log.follow(&[Topic::Reports], From::Now).await.unwrap();
        let mut running = JoinSet::new();
        running.spawn(inventory(
            follower,
            store.clone(),
            Arc::clone(&log),
            shutdown.clone(),
        ));
        running.spawn(run(Config { limits }, deps, shutdown.clone()));
        let harness = Self {
            url,
            admin,
            store,
            log,
            keys,
            health,
            running,
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
            directory,
            _stop: shutdown.clone().drop_guard(),
            shutdown,
        };
        // The port answers, and from then on the process says whether the list of devices is loaded.
        assert_eq!(harness.get("/v1/tenants/default").await.0, 200);
        while !harness.health.reasons().is_empty() {
            tokio::task::yield_now().await;
        }
        harness
    }

    pub(crate) fn files(&self) -> PathBuf {
        self.directory.path().join("files")
    }

    /// A request as it stands on the wire.
    pub(crate) fn request(
        &self,
        method: Method,
        path: &str,
        token: &str,
    ) -> reqwest::RequestBuilder {
        self.client
            .request(method, format!("{}{path}", self.url))
            .header("authorization", format!("Bearer {token}"))
    }

    /// A call with a token: status and body (null if it is no JSON).
    pub(crate) async fn call_as(
        &self,
        token: &str,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> (u16, Value) {
        let mut request = self.request(method, path, token);
        if let Some(body) = body {
            request = request
                .header("content-type", "application/json")
                .body(body.to_string());
        }
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let body = response.bytes().await.unwrap();
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        self.call_as(&self.admin, Method::GET, path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.call_as(&self.admin, Method::POST, path, Some(body))
            .await
    }

    pub(crate) async fn patch(&self, path: &str, body: Value) -> (u16, Value) {
        self.call_as(&self.admin, Method::PATCH, path, Some(body))
            .await
    }

    pub(crate) async fn delete(&self, path: &str) -> (u16, Value) {
        self.call_as(&self.admin, Method::DELETE, path, None).await
    }

    /// A token of a tenant.
    pub(crate) async fn token(&self, tenant: &str, role: &str) -> String {
        let (status, token) = self
            .post(
                &format!("/v1/tenants/{tenant}/tokens"),
                json!({"role": role}),
            )
            .await;
        assert_eq!(status, 200, "{token}");
        token["secret"].as_str().unwrap().to_owned()
    }

    /// Registers 00D09E-P-{serial}; its id.
    pub(crate) async fn device(&self, serial: &str) -> String {
        let body = json!({"oui": "00D09E", "productClass": "P", "serialNumber": serial});
        let (status, device) = self.post("/v1/tenants/default/devices", body).await;
        assert_eq!(status, 200, "{device}");
        device["name"]
            .as_str()
            .unwrap()
            .rsplit('/')
            .next()
            .unwrap()
            .to_owned()
    }

    /// What the service that derives it would write.
    pub(crate) async fn observe(&self, observed: Observed) {
        let (tenant, device) = (observed.tenant.clone(), observed.device.clone());
        let version = observed.position.max(1);
        self.store
            .write(vec![rows::write::<ObservedDevices>(
                (&tenant, &device),
                &observed,
                version,
            )])
            .await
            .unwrap();
        append_row(&self.store, &self.log, &tenant, &device).await;
    }

    /// A report on the log, as the edge appends it.
    pub(crate) async fn report(
        &self,
        kind: Kind,
        device: &str,
        id: &str,
        time_us: i64,
        body: Body,
    ) {
        let report = Report {
            tenant: TENANT.into(),
            device: device.into(),
            time_us,
            body: Some(body),
            ..Report::default()
        };
        self.append(Topic::Reports, kind, device, id, report.encode_to_vec())
            .await;
    }

    pub(crate) async fn append(
        &self,
        topic: Topic,
        kind: Kind,
        device: &str,
        id: &str,
        payload: Vec<u8>,
    ) {
        self.append_to(TENANT, topic, kind, device, id, payload)
            .await;
    }

    pub(crate) async fn append_to(
        &self,
        tenant: &str,
        topic: Topic,
        kind: Kind,
        device: &str,
        id: &str,
        payload: Vec<u8>,
    ) {
        let record = NewRecord {
            topic,
            shard: platen_ids::shard(tenant, device),
            key: format!("{tenant}/{device}"),
            kind,
            id: id.to_owned(),
            time_us: 1,
            payload: payload.into(),
        };
        self.log.append(vec![record]).await.unwrap();
    }

    /// Commands in the device's queue.
    pub(crate) async fn queue(&self, device: &str) -> Vec<platen_proto::store::v1::Command> {
        self.store.queued(TENANT, device).await.unwrap()
    }
}

async fn open(directory: &TempDir, options: Options) -> (Database, Store, Arc<dyn Log>) {
    let database = Database::open(directory.path().join("data"), options).unwrap();
    let store = Store::new(Arc::new(EmbeddedTables::new(&database)));
    let log = Arc::new(EmbeddedLog::open(&database, &store).await.unwrap());
    (database, store, log)
}

/// Follows the notices of devices and says what lists need, as the inventory service does.
async fn inventory(
    mut follower: Box<dyn Follower>,
    store: Store,
    log: Arc<dyn Log>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    loop {
        let records = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            records = follower.next(100) => records?,
        };
        for record in records
            .iter()
            .filter(|record| record.record.kind == Kind::Notice)
        {
            let notice = record.notice()?;
            if notice.kind == "DEVICE_CHANGED" {
                append_row(&store, &log, &notice.tenant, &notice.device).await;
            }
        }
    }
}

async fn append_row(store: &Store, log: &Arc<dyn Log>, tenant: &str, device: &str) {
    let registration = store
        .get_edited::<Registrations>((tenant, device))
        .await
        .unwrap()
        .map(platen_fleet::device::registration);
    let observed = store
        .get::<ObservedDevices>((tenant, device))
        .await
        .unwrap();
    let resource = platen_fleet::device::resource(registration.as_ref(), observed.as_ref(), 0);
    let interval = observed.map_or(0, |observed| observed.periodic_inform_interval);
    let row = DeviceRow {
        tenant: tenant.into(),
        device: Some(resource),
        periodic_inform_interval: interval,
    };
    let record = NewRecord {
        topic: Topic::Devices,
        shard: platen_ids::shard(tenant, device),
        key: format!("{tenant}/{device}"),
        kind: Kind::Device,
        id: device.to_owned(),
        time_us: 1,
        payload: row.encode_to_vec().into(),
    };
    log.append(vec![record]).await.unwrap();
}
