//! What the tests of Kafka stand on.

use async_trait::async_trait;
use platen_bus::{
    Delivery, Handler, HandlerError, Log, NewRecord, Record, Shards,
    conformance::{number, record},
    drive,
    kafka::{KafkaConfig, KafkaLog, Login, Mechanism, SetupError, Tls, migrate},
};
use platen_embedded::{Database, Options};
use platen_proto::{
    store::v1::TopicEpoch,
    topic::{Kind, Topic},
};
use platen_store::{Store, embedded::EmbeddedTables, tables::Topics};
use rdkafka::{ClientConfig, mocking::MockCluster, producer::DefaultProducerContext};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tempfile::TempDir;
use tokio::{sync::watch, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Topics under a prefix of their own, and the store that knows them.
pub(crate) struct Bed {
    _directory: TempDir,
    pub(crate) store: Store,
    pub(crate) config: KafkaConfig,
}

impl Bed {
    fn new(brokers: &str) -> Self {
        let directory = TempDir::new().unwrap();
        let database = Database::open(directory.path(), Options::default()).unwrap();
        let store = Store::new(Arc::new(EmbeddedTables::new(&database)));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let config = KafkaConfig {
            prefix: format!("test{}.", now.as_nanos()),
            ..KafkaConfig::new(brokers.split(','))
        };
        Self {
            _directory: directory,
            store,
            config,
        }
    }

    /// On the brokers that the environment names; without, nothing, and it says so. Where they want it, with TLS and a password.
    #[expect(clippy::disallowed_methods, reason = "how tests are told")]
    pub(crate) fn real() -> Option<Self> {
        let variable = |name: &str| std::env::var(format!("PLATEN_TEST_KAFKA{name}")).ok();
        let Some(brokers) = variable("") else {
            println!("skipped: PLATEN_TEST_KAFKA names no brokers");
            return None;
        };
        let mut bed = Self::new(&brokers);
        bed.config.tls = variable("_CA").map(|ca| Tls {
            ca: Some(ca.into()),
            identity: None,
        });
        bed.config.login = variable("_PASSWORD").map(|password| Login {
            mechanism: Mechanism::ScramSha512,
            username: variable("_USERNAME").unwrap(),
            password,
        });
        Some(bed)
    }

    /// Makes the topics, with a copy on each broker that was named, three at most.
    pub(crate) async fn migrate(&self, partitions: u16) -> Result<(), SetupError> {
        let copies = u16::try_from(self.config.brokers.len()).unwrap().min(3);
        migrate(&self.config, &self.store, partitions, copies)
            .await
            .map(drop)
    }

    /// The library itself, for what no part of Platen does.
    pub(crate) fn client(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", self.config.brokers.join(","));
        let secure = match (&self.config.tls, &self.config.login) {
            (None, None) => "plaintext",
            (Some(_), None) => "ssl",
            (None, Some(_)) => "sasl_plaintext",
            (Some(_), Some(_)) => "sasl_ssl",
        };
        client.set("security.protocol", secure);
        if let Some(ca) = self.config.tls.as_ref().and_then(|tls| tls.ca.as_ref()) {
            client.set("ssl.ca.location", ca.to_str().unwrap());
        }
        if let Some(login) = &self.config.login {
            client
                .set("sasl.mechanism", "SCRAM-SHA-512")
                .set("sasl.username", &login.username)
                .set("sasl.password", &login.password);
        }
        client
    }

    pub(crate) async fn open(&self) -> KafkaLog {
        self.open_with(|_| {}).await
    }

    pub(crate) async fn open_with(&self, change: impl FnOnce(&mut KafkaConfig)) -> KafkaLog {
        let mut config = self.config.clone();
        change(&mut config);
        KafkaLog::open(config, &self.store).await.unwrap()
    }
}

/// A mock of so many brokers, with every topic.
pub(crate) async fn mock(
    brokers: i32,
    partitions: i32,
) -> (MockCluster<'static, DefaultProducerContext>, Bed) {
    let cluster = MockCluster::new(brokers).unwrap();
    let bed = Bed::new(&cluster.bootstrap_servers());
    for topic in Topic::ALL {
        let name = format!("{}{}", bed.config.prefix, topic.name());
        cluster.create_topic(&name, partitions, brokers).unwrap();
        cluster
            .create_topic(&format!("{name}.dlq"), 1, brokers)
            .unwrap();
        let row = TopicEpoch {
            epoch_us: 1_700_000_000_000_000,
        };
        bed.store.insert::<Topics>(&name, &row).await.unwrap();
    }
    (cluster, bed)
}

/// Records of some devices, numbered by device.
pub(crate) fn records(
    devices: std::ops::Range<u32>,
    numbers: std::ops::Range<u64>,
) -> Vec<NewRecord> {
    numbers
        .flat_map(|n| {
            devices
                .clone()
                .map(move |device| record(Topic::Reports, "t", &format!("d{device}"), n))
        })
        .collect()
}

/// What the members of a group have seen.
#[derive(Debug, Default, Clone)]
pub(crate) struct Seen {
    /// Per member and key: numbers in the order in which they were handled.
    pub(crate) handled: BTreeMap<(u32, String), Vec<u64>>,
    /// Of each key, everything that anybody handled.
    pub(crate) done: BTreeMap<String, BTreeSet<u64>>,
    /// Per member: what was last assigned.
    pub(crate) assigned: BTreeMap<u32, Vec<Shards>>,
    /// Ids of notices.
    pub(crate) notices: Vec<String>,
}

impl Seen {
    /// Whether each of so many devices has been handled up to a number, without gap.
    pub(crate) fn has_all(&self, devices: u32, numbers: u64) -> bool {
        (0..devices).all(|device| {
            self.done
                .get(&format!("t/d{device}"))
                .is_some_and(|done| done.iter().copied().eq(0..numbers))
        })
    }

    /// How many shards a member has.
    pub(crate) fn shards(&self, member: u32) -> usize {
        let shards = self.assigned.get(&member).into_iter().flatten();
        shards.map(ExactSizeIterator::len).sum()
    }
}

/// A group whose members tell what they see.
pub(crate) struct Group {
    pub(crate) seen: watch::Receiver<Seen>,
    sender: Arc<watch::Sender<Seen>>,
}

/// A running member.
pub(crate) struct Running {
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), platen_bus::Error>>,
}

impl Running {
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        let ended = timeout(PATIENCE, self.task).await.expect("it ends");
        ended.unwrap().unwrap();
    }
}

impl Group {
    pub(crate) fn new() -> Self {
        let (sender, seen) = watch::channel(Seen::default());
        Self {
            seen,
            sender: Arc::new(sender),
        }
    }

    /// Runs a member on a log of its own, as another process would.
    pub(crate) fn run(&self, member: u32, log: KafkaLog, store: &Store) -> Running {
        let handler = Arc::new(Teller {
            member,
            seen: Arc::clone(&self.sender),
        });
        let shutdown = CancellationToken::new();
        let (log, store): (Arc<dyn Log>, _) = (Arc::new(log), store.clone());
        let driven = drive(
            log,
            store,
            "members",
            &[Topic::Reports],
            handler,
            shutdown.clone(),
        );
        Running {
            shutdown,
            task: tokio::spawn(driven),
        }
    }

    pub(crate) async fn until(&self, what: &str, is: impl FnMut(&Seen) -> bool) -> Seen {
        let mut seen = self.seen.clone();
        let found = timeout(PATIENCE, seen.wait_for(is)).await;
        found
            .unwrap_or_else(|_| panic!("{what}: {:?}", self.seen.borrow().assigned))
            .unwrap()
            .clone()
    }
}

struct Teller {
    member: u32,
    seen: Arc<watch::Sender<Seen>>,
}

#[async_trait]
impl Handler for Teller {
    const KINDS: &'static [Kind] = &[Kind::Inform, Kind::Notice];
    const GATHER: Duration = drive::PROMPT;

    async fn assigned(&self, shards: &[Shards]) {
        self.seen.send_modify(|seen| {
            seen.assigned.insert(self.member, shards.to_vec());
        });
    }

    async fn handle(&self, records: &[Arc<Record>]) -> Result<(), HandlerError> {
        self.seen.send_modify(|seen| {
            for record in records {
                if record.record.kind == Kind::Notice {
                    seen.notices.push(record.record.id.clone());
                    continue;
                }
                let (key, n) = (record.record.key.clone(), number(record));
                seen.done.entry(key.clone()).or_default().insert(n);
                seen.handled.entry((self.member, key)).or_default().push(n);
            }
        });
        Ok(())
    }
}

/// The next records of a consumer.
pub(crate) async fn batch(consumer: &mut dyn platen_bus::Consumer) -> Vec<Arc<Record>> {
    loop {
        let next = timeout(PATIENCE, consumer.next(512))
            .await
            .expect("records come");
        if let Delivery::Batch(records) = next.unwrap() {
            return records;
        }
    }
}

/// Waits until a question has an answer that will do.
pub(crate) async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asked = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, asked)
        .await
        .unwrap_or_else(|_| panic!("not in time: {what}"))
}
