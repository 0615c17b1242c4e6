//! An edge that runs, on a store and a log of its own.

use bytes::Bytes;
use object_store::{ObjectStore, memory::InMemory};
use platen_bus::{From, Log, embedded::EmbeddedLog};
use platen_cwmp::identity::Identity;
use platen_edge::{Config, Deps, Listeners};
use platen_embedded::{Database, Options};
use platen_proto::{
    operation::v1::{OperationRequest, operation_request::Action},
    report::v1::Report,
    store::v1::{Command, Credential, Registration, TenantRow},
    tenant::v1::Tenant,
    topic::{Kind, Topic},
};
use platen_runtime::{Health, Keys, Metrics};
use platen_sessions::{
    DecidedMarks, SessionCache,
    memory::{MemoryCache, MemoryMarks},
};
use platen_store::{
    Store, Tables, commands,
    embedded::EmbeddedTables,
    table::Expect,
    tables::{Credentials, Registrations, Tenants},
};
use prost::Message;
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

/// Wraps the ports that the edge is given, where a test counts or breaks them.
pub(crate) struct Ports {
    pub(crate) tables: Arc<dyn Tables>,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) sessions: Arc<dyn SessionCache>,
    pub(crate) marks: Arc<dyn DecidedMarks>,
}

pub(crate) struct Bed {
    pub(crate) address: SocketAddr,
    pub(crate) store: Store,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) keys: Arc<Keys>,
    pub(crate) sessions: Arc<dyn SessionCache>,
    pub(crate) marks: Arc<dyn DecidedMarks>,
    pub(crate) files: Arc<InMemory>,
    pub(crate) health: Health,
    pub(crate) metrics: Metrics,
    pub(crate) stop: CancellationToken,
    pub(crate) task: JoinHandle<anyhow::Result<()>>,
    _directory: TempDir,
}

impl Bed {
    /// An edge with this configuration, and the tenant `default`.
    pub(crate) async fn start(config: Config) -> Self {
        Self::start_with(config, |ports| ports).await
    }

    /// The same, with the edge's ports wrapped.
    pub(crate) async fn start_with(config: Config, wrap: impl FnOnce(Ports) -> Ports) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let database = Database::open(directory.path(), Options::default()).unwrap();
        let tables: Arc<dyn Tables> = Arc::new(EmbeddedTables::new(&database));
        let store = Store::new(Arc::clone(&tables));
        let log: Arc<dyn Log> = Arc::new(EmbeddedLog::open(&database, &store).await.unwrap());
        let sessions: Arc<dyn SessionCache> = Arc::new(MemoryCache::new());
        let marks: Arc<dyn DecidedMarks> = Arc::new(MemoryMarks::new());
        let tenant = TenantRow {
            tenant: Some(Tenant {
                name: "tenants/default".into(),
                ..Tenant::default()
            }),
            ..TenantRow::default()
        };
        store
            .compare_and_set::<Tenants>("default", Expect::Absent, Some(&tenant))
            .await
            .unwrap();
        let ports = wrap(Ports {
            tables,
            log: Arc::clone(&log),
            sessions: Arc::clone(&sessions),
            marks: Arc::clone(&marks),
        });

        let bed = Self {
            // Not yet: an edge begins below.
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            store,
            log,
            keys: Arc::new(Keys::from_bytes(&[9; 32])),
            sessions,
            marks,
            files: Arc::new(InMemory::new()),
            health: Health::new(),
            metrics: Metrics::new("test").unwrap(),
            stop: CancellationToken::new(),
            task: tokio::spawn(async { Ok(()) }),
            _directory: directory,
        };
        let (address, task) = bed.launch(config, ports).await;
        Self {
            address,
            task,
            ..bed
        }
    }

    /// Where another edge listens, on the same store, log, and cache, with its ports wrapped. It ends with the first.
    pub(crate) async fn beside(
        &self,
        config: Config,
        wrap: impl FnOnce(Ports) -> Ports,
    ) -> SocketAddr {
        let ports = wrap(Ports {
            tables: Arc::clone(self.store.tables()),
            log: Arc::clone(&self.log),
            sessions: Arc::clone(&self.sessions),
            marks: Arc::clone(&self.marks),
        });
        self.launch(config, ports).await.0
    }

    async fn launch(
        &self,
        config: Config,
        ports: Ports,
    ) -> (SocketAddr, JoinHandle<anyhow::Result<()>>) {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let deps = Deps {
            store: Store::new(ports.tables),
            log: ports.log,
            sessions: ports.sessions,
            marks: ports.marks,
            keys: Arc::clone(&self.keys),
            files: Arc::clone(&self.files) as Arc<dyn ObjectStore>,
            health: self.health.clone(),
            metrics: self.metrics.clone(),
            listeners: Listeners {
                cwmp: socket,
                cwmp_tls: None,
            },
        };
        let task = tokio::spawn(platen_edge::run(config, deps, self.stop.clone()));
        (address, task)
    }

    /// Registers the device `00D09E-Test-{serial}` with a password.
    pub(crate) async fn register(&self, serial: &str, password: &str) {
        self.register_as(serial, password, |_| {}, |_| {}).await;
    }

    pub(crate) async fn register_as(
        &self,
        serial: &str,
        password: &str,
        credential: impl FnOnce(&mut Credential),
        registration: impl FnOnce(&mut Registration),
    ) {
        self.register_model("Test", serial, password, credential, registration)
            .await;
    }

    /// The same for any product class: the id is percent-encoded.
    pub(crate) async fn register_model(
        &self,
        product_class: &str,
        serial: &str,
        password: &str,
        credential: impl FnOnce(&mut Credential),
        registration: impl FnOnce(&mut Registration),
    ) {
        let identity = Identity::new("00D09E", product_class, serial).unwrap();
        let id = identity.to_string();
        let mut row = Credential {
            tenant: "default".into(),
            username: id.clone(),
            device: id.clone(),
            password_sealed: self
                .keys
                .seal(&format!("credential/default/{id}"), password.as_bytes())
                .into(),
            ..Credential::default()
        };
        credential(&mut row);
        self.store
            .compare_and_set::<Credentials>(("default", &id), Expect::Absent, Some(&row))
            .await
            .unwrap();
        let mut row = Registration {
            tenant: "default".into(),
            device: id.clone(),
            oui: "00D09E".into(),
            product_class: product_class.into(),
            serial_number: serial.into(),
            username: id.clone(),
            ..Registration::default()
        };
        registration(&mut row);
        self.store
            .compare_and_set::<Registrations>(("default", &id), Expect::Absent, Some(&row))
            .await
            .unwrap();
    }

    /// Queues a command for a device.
    pub(crate) async fn enqueue(
        &self,
        serial: &str,
        id: &str,
        action: Action,
        with: impl FnOnce(&mut Command),
    ) {
        let mut command = Command {
            id: id.into(),
            tenant: "default".into(),
            device: format!("00D09E-Test-{serial}"),
            owner: "provisioning".into(),
            operation: id.into(),
            request: Some(OperationRequest {
                action: Some(action),
                ..OperationRequest::default()
            }),
            once: true,
            create_time_us: 1_000_000,
            ..Command::default()
        };
        with(&mut command);
        self.store
            .write(vec![commands::enqueue(&command, 1)])
            .await
            .unwrap();
    }

    /// Every report that was written from the beginning of the test on, waiting until there are `count` of that kind.
    pub(crate) async fn reports(&self, kind: Kind, count: usize) -> Vec<Report> {
        let read = async {
            let mut consumer = self
                .log
                .consume(
                    &format!("test-{}", rand_name()),
                    &[Topic::Reports],
                    Duration::ZERO,
                )
                .await
                .unwrap();
            let mut found = Vec::new();
            while found.len() < count {
                if let platen_bus::Delivery::Batch(records) = consumer.next(512).await.unwrap() {
                    for record in &records {
                        if record.record.kind == kind {
                            found.push(Report::decode(record.record.payload.clone()).unwrap());
                        }
                    }
                    consumer.commit().await.unwrap();
                }
            }
            found
        };
        tokio::time::timeout(Duration::from_secs(30), read)
            .await
            .expect("the reports")
    }

    /// How many reports there are in all.
    pub(crate) async fn count_reports(&self) -> usize {
        // A record of our own marks the end of what was there before.
        let mark = platen_bus::NewRecord {
            topic: Topic::Reports,
            shard: 0,
            key: "default/mark".into(),
            kind: Kind::Notice,
            id: rand_name(),
            time_us: 0,
            payload: Bytes::new(),
        };
        let id = mark.id.clone();
        self.log.append(vec![mark]).await.unwrap();
        let mut consumer = self
            .log
            .consume(
                &format!("test-{}", rand_name()),
                &[Topic::Reports],
                Duration::ZERO,
            )
            .await
            .unwrap();
        let mut count = 0;
        loop {
            if let platen_bus::Delivery::Batch(records) = consumer.next(512).await.unwrap() {
                for record in &records {
                    if record.record.id == id {
                        return count;
                    }
                    count += usize::from(record.record.kind != Kind::Notice);
                }
                consumer.commit().await.unwrap();
            }
        }
    }

    /// A follower of reports from here on.
    pub(crate) async fn follow(&self) -> Box<dyn platen_bus::Follower> {
        self.log.follow(&[Topic::Reports], From::Now).await.unwrap()
    }
}

/// A name that no other test run has.
pub(crate) fn rand_name() -> String {
    format!("{:016x}", rand::random::<u64>())
}

/// Waits until `holds`, which is asked again and again.
pub(crate) async fn until(mut holds: impl AsyncFnMut() -> bool) {
    let asked = async {
        while !holds().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, asked)
        .await
        .expect("in time");
}

/// How long a test waits for anything.
const PATIENCE: Duration = Duration::from_secs(60);
