//! The distributed form: a keyspace and topics of the test's own on backends that run already, and a process for each role.

use crate::{
    balancer::Balancer,
    process::Process,
    server::{Home, PLATEN},
};
use platen_proto::topic::Topic;
use rdkafka::{
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
    config::ClientConfig,
};
use scylla::{client::session_builder::SessionBuilder, statement::unprepared::Statement};
use std::{
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

/// The form in which servers are tested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Embedded,
    Distributed,
}

impl Form {
    /// As `PLATEN_TEST_FORM` says.
    pub(crate) fn tested() -> Self {
        match variable("PLATEN_TEST_FORM").as_deref() {
            None | Some("embedded") => Self::Embedded,
            Some("distributed") => Self::Distributed,
            Some(other) => {
                panic!("PLATEN_TEST_FORM is {other:?}, but must be embedded or distributed")
            }
        }
    }
}

/// Whether a test says nothing of the form that is tested; then it says so.
#[expect(clippy::print_stdout, reason = "the summary counts these lines")]
pub(crate) fn skipped_unless(form: Form, test: &str) -> bool {
    let skipped = Form::tested() != form;
    if skipped {
        let form = format!("{form:?}").to_lowercase();
        println!("skipped: {test}: only in the {form} form (PLATEN_TEST_FORM)");
    }
    skipped
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test has no other configuration"
)]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Where the backends of one test are, and what is the test's own on them: removed when dropped, since a small database holds few tables.
pub(crate) struct Backends {
    cql: String,
    kafka: String,
    /// Of the keyspace; before the names of topics and of keys.
    name: String,
    /// What every process is told.
    variables: Vec<(&'static str, String)>,
}

impl Backends {
    /// Names of its own on the backends that the environment tells.
    pub(crate) fn new(dir: &Path) -> Self {
        let needed = |name| {
            variable(name).unwrap_or_else(|| {
                panic!(
                    "{name} must be set in the distributed form: eval \"$(deploy/backends env)\""
                )
            })
        };
        let (kafka, cql) = (needed("PLATEN_TEST_KAFKA"), needed("PLATEN_TEST_CQL"));
        let redis = needed("PLATEN_TEST_REDIS");
        let name = format!("e2e_{:016x}", rand::random::<u64>());
        let list = |addresses: &str| {
            let quoted: Vec<String> = addresses
                .split(',')
                .map(|address| format!("{address:?}"))
                .collect();
            format!("[{}]", quoted.join(","))
        };
        let copies = |addresses: &str| addresses.split(',').count().min(3).to_string();
        let in_dir = |name: &str| dir.join(name).to_str().unwrap().to_owned();
        let variables = vec![
            ("PLATEN__STORE__KIND", "cql".to_owned()),
            ("PLATEN__STORE__CQL__NODES", list(&cql)),
            ("PLATEN__STORE__CQL__KEYSPACE", name.clone()),
            ("PLATEN__STORE__CQL__REPLICATION_FACTOR", copies(&cql)),
            // A machine that runs everything at once is slow at times; that is not what is tested.
            ("PLATEN__STORE__CQL__REQUEST_TIMEOUT", "10s".to_owned()),
            ("PLATEN__BUS__KIND", "kafka".to_owned()),
            ("PLATEN__BUS__KAFKA__BROKERS", list(&kafka)),
            ("PLATEN__BUS__KAFKA__PREFIX", format!("{name}.")),
            ("PLATEN__BUS__KAFKA__PARTITIONS", "4".to_owned()),
            ("PLATEN__BUS__KAFKA__REPLICATION_FACTOR", copies(&kafka)),
            ("PLATEN__SESSIONS__KIND", "redis".to_owned()),
            ("PLATEN__SESSIONS__REDIS__URL", redis),
            ("PLATEN__SESSIONS__REDIS__PREFIX", format!("{name}:")),
            ("PLATEN__FILES__URL", format!("file://{}", in_dir("files"))),
            ("PLATEN__KEYS__FILE", in_dir("platen.key")),
        ];
        Self {
            cql,
            kafka,
            name,
            variables,
        }
    }

    pub(crate) fn variables(&self) -> Vec<(&str, &str)> {
        self.variables
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect()
    }

    /// `platen migrate`: the output.
    pub(crate) fn migrate(&self, token_file: &Path) -> std::process::Output {
        Command::new(PLATEN)
            .args(["migrate", "--output", "json", "--admin-token-file"])
            .arg(token_file)
            .env_clear()
            .envs(self.variables())
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }
}

impl Drop for Backends {
    fn drop(&mut self) {
        // The test's own runtime is at its end.
        let removed = thread::scope(|scope| {
            let removing = || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .unwrap();
                runtime.block_on(self.remove());
            };
            scope.spawn(removing).join()
        });
        assert!(removed.is_ok() || thread::panicking());
    }
}

impl Backends {
    async fn remove(&self) {
        let session = SessionBuilder::new()
            .known_nodes(self.cql.split(','))
            .build()
            .await
            .unwrap();
        let mut statement = Statement::new(format!("DROP KEYSPACE IF EXISTS {}", self.name));
        statement.set_request_timeout(Some(Duration::from_secs(60)));
        session.query_unpaged(statement, ()).await.unwrap();
        let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
            .set("bootstrap.servers", &self.kafka)
            .create()
            .unwrap();
        let topics: Vec<String> = Topic::ALL
            .iter()
            .map(|topic| format!("{}.{}", self.name, topic.name()))
            .flat_map(|topic| [format!("{topic}.dlq"), topic])
            .collect();
        let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
        // Those that were never made are not there, either.
        admin
            .delete_topics(&topics, &AdminOptions::new())
            .await
            .unwrap();
    }
}

/// What runs of each role. Those that devices and the log see are there twice: what one began, another goes on with.
const PROCESSES: [(&str, &str); 8] = [
    ("edge-1", "edge"),
    ("edge-2", "edge"),
    ("inventory", "inventory"),
    ("provisioning-1", "provisioning"),
    ("provisioning-2", "provisioning"),
    ("firmware", "firmware"),
    ("metering", "metering"),
    ("northbound", "northbound"),
];

/// The running processes, and what stands before the edges.
pub(crate) struct Deployment {
    pub(crate) processes: Vec<Process>,
    balancers: Vec<(&'static str, Balancer)>,
}

impl Deployment {
    /// Starts a process for each role at once, and waits until all are ready.
    pub(crate) async fn start(home: &Home, variables: &[(&str, &str)]) -> Self {
        let start =
            |(name, role): &(&str, &str)| Process::start(home, name, Some(*role), variables);
        let mut processes: Vec<Process> = PROCESSES.iter().map(start).collect();
        for process in &mut processes {
            process.ready().await;
        }
        let balancer = |listener: &'static str| {
            let addresses = processes
                .iter()
                .filter_map(|process| process.address(listener));
            let addresses: Vec<SocketAddr> = addresses.collect();
            (!addresses.is_empty()).then(|| (listener, Balancer::start(addresses)))
        };
        let balancers = ["cwmp", "cwmp_tls"]
            .into_iter()
            .filter_map(balancer)
            .collect();
        Self {
            processes,
            balancers,
        }
    }

    /// Where a listener is reached: the edges' behind their balancer.
    pub(crate) fn address(&self, listener: &str) -> SocketAddr {
        let balanced = self.balancers.iter().find(|(name, _)| *name == listener);
        let northbound = self
            .processes
            .iter()
            .find(|process| process.name() == "northbound")
            .unwrap();
        balanced
            .map(|(_, balancer)| balancer.address())
            .or_else(|| northbound.address(listener))
            .unwrap()
    }
}
