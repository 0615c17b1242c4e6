//! The backends of the distributed form, as `deploy/backends` runs them: where they are, and how single nodes are broken.

use platen_bus::kafka::{KafkaConfig, KafkaLog};
use platen_store::{
    Store,
    cql::{CqlConfig, CqlTables},
};
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
    consumer::{BaseConsumer, CommitMode, Consumer},
};
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::Output,
    sync::Arc,
    time::Duration,
};

/// How long a broker may take to answer.
const KAFKA: Duration = Duration::from_secs(20);

/// How long Redis may take.
const REDIS: Duration = Duration::from_secs(2);

/// The backends that the environment names, and a place of our own on them.
#[derive(Debug, Clone)]
pub(crate) struct Backends {
    pub(crate) kafka: Vec<String>,
    pub(crate) cql: Vec<String>,
    /// The one server, or the sentinels that know it.
    redis: String,
    /// Its servers, by name: one of them takes writes.
    redis_nodes: Vec<(String, SocketAddr)>,
    /// Name of the keyspace, and beginning of the names of topics, groups and keys.
    pub(crate) prefix: String,
}

/// What is done to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    Kill,
    Start,
    Stop,
    Continue,
}

impl Backends {
    /// `None`, and one line that says so, where the environment names none.
    #[expect(
        clippy::disallowed_methods,
        reason = "a test has no other configuration"
    )]
    pub(crate) fn from_environment(test: &str) -> Option<Self> {
        let variable = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
        let list = |text: String| text.split(',').map(|one| one.trim().to_owned()).collect();
        let found = (
            variable("PLATEN_TEST_KAFKA"),
            variable("PLATEN_TEST_CQL"),
            variable("PLATEN_TEST_REDIS"),
        );
        let (Some(kafka), Some(cql), Some(server)) = found else {
            println!(
                "skipped: {test} needs PLATEN_TEST_KAFKA, PLATEN_TEST_CQL and PLATEN_TEST_REDIS (make test-faults)"
            );
            return None;
        };
        let address = server.rsplit(['/', '@']).find(|part| part.contains(':'));
        let first: SocketAddr = address.unwrap().parse().unwrap();
        let sentinels = variable("PLATEN_TEST_REDIS_SENTINELS");
        // Under Sentinels, the second server of a cluster leads the third; the first one stands alone.
        let numbers = if sentinels.is_some() { 2..=3 } else { 1..=1 };
        let redis_nodes = numbers
            .map(|number: u8| {
                let mut node = first;
                if number > 1 {
                    node.set_ip([127, 0, 0, number].into());
                }
                (format!("redis{number}"), node)
            })
            .collect();
        Some(Self {
            kafka: list(kafka),
            cql: list(cql),
            redis: sentinels.unwrap_or(server),
            redis_nodes,
            prefix: format!("faults{:08x}", rand::random::<u32>()),
        })
    }

    /// The same, if there are three nodes of each.
    pub(crate) fn cluster(test: &str) -> Option<Self> {
        let backends = Self::from_environment(test)?;
        if backends.kafka.len() < 3 || backends.cql.len() < 3 {
            println!("skipped: {test} needs three nodes of each backend (make test-faults)");
            return None;
        }
        Some(backends)
    }

    /// The configuration that leads there.
    pub(crate) fn config(&self, folder: &Path, partitions: u32) -> String {
        let Self {
            kafka,
            cql,
            redis,
            prefix,
            ..
        } = self;
        let replicas = kafka.len().min(3);
        let copies = cql.len().min(3);
        let folder = folder.to_str().unwrap();
        format!(
            r#"
[store]
kind = "cql"
[store.cql]
nodes = {cql:?}
keyspace = "{prefix}"
replication_factor = {copies}
[bus]
kind = "kafka"
[bus.kafka]
brokers = {kafka:?}
prefix = "{prefix}."
partitions = {partitions}
replication_factor = {replicas}
[sessions]
kind = "redis"
[sessions.redis]
url = "{redis}"
prefix = "{prefix}:"
[files]
url = "file://{folder}/files"
[keys]
file = "{folder}/platen.key"
"#
        )
    }

    /// Names of the nodes, as `deploy/backends` calls them.
    pub(crate) fn nodes(&self) -> Vec<String> {
        let numbered = |kind: &'static str, count: usize| {
            (1..=count).map(move |number| format!("{kind}{number}"))
        };
        numbered("kafka", self.kafka.len())
            .chain(numbered("cql", self.cql.len()))
            .chain(self.redis_nodes.iter().map(|(name, _)| name.clone()))
            .collect()
    }

    /// Does something to a node. Returns when it is done: a node that is started serves then.
    pub(crate) async fn act(&self, act: Act, node: &str) {
        let command = match act {
            Act::Kill => "kill",
            Act::Start => "start",
            Act::Stop => "stop",
            Act::Continue => "cont",
        };
        must(&[command, node]).await;
    }

    /// Brings back every node that another test has left dead or standing still.
    pub(crate) async fn whole(&self) {
        for node in self.nodes() {
            // A dead one cannot go on: it is started below.
            let _ = script(&["cont", &node]).await;
        }
        let up: &[&str] = if self.kafka.len() > 1 {
            &["up", "--cluster"]
        } else {
            &["up"]
        };
        must(up).await;
    }

    /// Removes what was ours on them.
    pub(crate) async fn remove(&self) {
        let session = scylla::client::session_builder::SessionBuilder::new()
            .known_nodes(&self.cql)
            .build()
            .await
            .unwrap();
        session
            .query_unpaged(format!("DROP KEYSPACE {}", self.prefix), ())
            .await
            .unwrap();
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", self.kafka.join(","));
        let consumer: BaseConsumer = client.create().unwrap();
        let metadata = consumer.fetch_metadata(None, KAFKA).unwrap();
        let prefix = format!("{}.", self.prefix);
        let ours: Vec<&str> = metadata
            .topics()
            .iter()
            .map(|topic| topic.name())
            .filter(|name| name.starts_with(&prefix))
            .collect();
        let admin: AdminClient<DefaultClientContext> = client.create().unwrap();
        admin
            .delete_topics(&ours, &AdminOptions::new())
            .await
            .unwrap();
    }

    /// The store, as the server's processes have it.
    pub(crate) async fn store(&self) -> Store {
        let config = CqlConfig {
            nodes: self.cql.clone(),
            keyspace: self.prefix.clone(),
            ..CqlConfig::default()
        };
        Store::new(Arc::new(CqlTables::connect(&config).await.unwrap()))
    }

    /// The log, as the server's processes have it.
    pub(crate) async fn log(&self, store: &Store) -> KafkaLog {
        let config = KafkaConfig {
            prefix: format!("{}.", self.prefix),
            ..KafkaConfig::new(&self.kafka)
        };
        KafkaLog::open(config, store).await.unwrap()
    }

    /// Removes every session and every mark.
    pub(crate) fn flush(&self) {
        let mut answers = self
            .redis_nodes
            .iter()
            .map(|(_, node)| ask(*node, "FLUSHALL"));
        let flushed = answers.any(|answer| answer.is_some_and(|answer| answer.starts_with("+OK")));
        assert!(flushed, "no Redis server takes writes");
    }

    /// The server of the session cache that takes writes.
    pub(crate) fn primary(&self) -> &str {
        let leads =
            |node: SocketAddr| ask(node, "ROLE").is_some_and(|answer| answer.contains("master"));
        let found = self.redis_nodes.iter().find(|(_, node)| leads(*node));
        &found.expect("one of them is the primary").0
    }

    /// Sets a consumer group back to the first record of a topic. The group must have no members at the moment.
    pub(crate) fn redeliver(&self, group: &str, topic: &str) {
        let group = format!("{}.{group}", self.prefix);
        let topic = format!("{}.{topic}", self.prefix);
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", self.kafka.join(","))
            .set("group.id", &group)
            .create()
            .unwrap();
        let metadata = consumer.fetch_metadata(Some(&topic), KAFKA).unwrap();
        let mut first = TopicPartitionList::new();
        for partition in metadata.topics()[0].partitions() {
            first
                .add_partition_offset(&topic, partition.id(), Offset::Offset(0))
                .unwrap();
        }
        assert!(first.count() > 0, "{topic} has no partitions");
        consumer.commit(&first, CommitMode::Sync).unwrap();
    }
}

/// What a Redis server answers, or the beginning of it. `None`: nothing.
fn ask(node: SocketAddr, command: &str) -> Option<String> {
    let mut redis = TcpStream::connect_timeout(&node, REDIS).ok()?;
    redis.set_read_timeout(Some(REDIS)).ok()?;
    redis.write_all(format!("{command}\r\n").as_bytes()).ok()?;
    let mut answer = [0; 64];
    let length = redis.read(&mut answer).ok()?;
    Some(String::from_utf8_lossy(&answer[..length]).into_owned())
}

/// Runs `deploy/backends`.
async fn script(arguments: &[&str]) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/backends");
    let done = tokio::process::Command::new(script)
        .args(arguments)
        .output();
    done.await.unwrap()
}

/// The same, with success.
async fn must(arguments: &[&str]) {
    let done = script(arguments).await;
    assert!(
        done.status.success(),
        "deploy/backends {}: {}{}",
        arguments.join(" "),
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr)
    );
}
