//! The CQL adapter on a real cluster, held to the laws, to its migrations, and to what it does when answers get lost.
//!
//! `PLATEN_TEST_CQL` names nodes (`host:port`, separated by commas), `PLATEN_TEST_CQL_CA` a file of certificates for those with TLS, `…_USERNAME` and
//! `…_PASSWORD` a login; `deploy/backends up` starts some. Without nodes nothing here runs but what needs none.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "tests"
)]

mod lossy;

use bytes::Bytes;
use futures::future::join_all;
use lossy::LossyWays;
use platen_store::{
    Error, Tables, conformance,
    cql::{self, CqlConfig, CqlTables, Credentials, OpenError, Replication, Tls},
    rows::Entity,
    table::{Expect, Inserted, Key, Swapped},
    tables::{self, Claims, Profiles},
};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use scylla::client::{session::Session, session_builder::SessionBuilder};
use std::{
    net::{SocketAddr, ToSocketAddrs},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::Mutex;

/// The schema is changed by one at a time, also in different keyspaces: the servers like it better so.
static SCHEMA: Mutex<()> = Mutex::const_new(());

/// A keyspace of a test's own.
struct Place {
    config: CqlConfig,
    /// A session beside the adapter's.
    session: Session,
}

impl Place {
    async fn migrated(&self) -> CqlTables {
        self.migrate().await.unwrap();
        CqlTables::connect(&self.config).await.unwrap()
    }

    async fn migrate(&self) -> Result<cql::Report, OpenError> {
        let _one_at_a_time = SCHEMA.lock().await;
        cql::migrate(&self.config).await
    }

    async fn run(&self, statement: &str) {
        let statement = statement.replace("{k}", &self.config.keyspace);
        self.session.query_unpaged(statement, ()).await.unwrap();
    }
}

async fn session(config: &CqlConfig) -> Session {
    let mut builder = SessionBuilder::new().known_nodes(&config.nodes);
    if let Some(of) = &config.credentials {
        builder = builder.user(&of.username, &of.password);
    }
    if let Some(tls) = &config.tls {
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(&tls.ca).unwrap() {
            roots.add(certificate.unwrap()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let context = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        builder = builder.tls_context(Some(Arc::new(context)));
    }
    builder.build().await.unwrap()
}

/// Runs a test in a keyspace of its own, which is dropped at its end, however that is. Does nothing if no node is named.
async fn in_a_keyspace<T, F>(name: &str, test: T)
where
    T: FnOnce(Arc<Place>) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let Ok(nodes) = std::env::var("PLATEN_TEST_CQL") else {
        println!("skipped: {name}: PLATEN_TEST_CQL names no nodes");
        return;
    };
    let given = |name| std::env::var(name).ok();
    let mut random = [0; 6];
    aws_lc_rs::rand::fill(&mut random).unwrap();
    let random: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut config = CqlConfig {
        nodes: nodes.split(',').map(|node| node.trim().into()).collect(),
        keyspace: format!("platen_test_{name}_{random}"),
        credentials: given("PLATEN_TEST_CQL_USERNAME").map(|username| Credentials {
            username,
            password: given("PLATEN_TEST_CQL_PASSWORD").unwrap_or_default(),
        }),
        tls: given("PLATEN_TEST_CQL_CA").map(|ca| Tls {
            ca: ca.into(),
            identity: None,
        }),
        // The machine of a test may be busy; nothing here depends on it.
        request_timeout: Duration::from_secs(10),
        ..CqlConfig::default()
    };
    let session = session(&config).await;
    let count = session.get_cluster_state().get_nodes_info().len();
    config.replication = Replication::Factor(if count >= 3 { 3 } else { 1 });
    let place = Arc::new(Place { config, session });
    let outcome = tokio::spawn(test(Arc::clone(&place))).await;
    let _one_at_a_time = SCHEMA.lock().await;
    place.run("DROP KEYSPACE IF EXISTS {k}").await;
    if let Err(error) = outcome {
        std::panic::resume_unwind(error.into_panic());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_store_obeys_the_laws() {
    in_a_keyspace("laws", |place| async move {
        let tables = Arc::new(place.migrated().await);
        conformance::suite(tables, "run").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_keyspace_is_migrated_once_and_never_back() {
    in_a_keyspace("migration", |place| async move {
        let refused = CqlTables::connect(&place.config).await.unwrap_err();
        assert!(matches!(refused, OpenError::Older { found: 0, .. }));
        assert!(refused.is_transient() && refused.to_string().contains("platen migrate"));

        // Two at once: one does it, the other finds it done.
        let _one_at_a_time = SCHEMA.lock().await;
        let first = cql::migrate(&place.config).await.unwrap();
        assert!(first.keyspace_created);
        assert_eq!((&first.applied[..], first.version), (&[1][..], 1));
        place
            .run("DELETE FROM {k}.schema_migrations WHERE \"scope\" = 'all'")
            .await;
        let both = join_all([cql::migrate(&place.config), cql::migrate(&place.config)]).await;
        let mut applied: Vec<_> = both
            .into_iter()
            .map(|report| report.unwrap().applied)
            .collect();
        applied.sort();
        assert_eq!(applied, [vec![], vec![1]], "an interrupted migration is done again");

        let again = cql::migrate(&place.config).await.unwrap();
        assert!(!again.keyspace_created && again.applied.is_empty() && again.version == 1);
        let tables = CqlTables::connect(&place.config).await.unwrap();
        tables.check().await.unwrap();

        // A newer program has been here; older ones may stay.
        let newer = |id: i32, oldest: i32| {
            format!(
                "INSERT INTO {{k}}.schema_migrations (\"scope\", \"id\", \"checksum\", \"oldest\") VALUES ('all', {id}, 'x', {oldest})"
            )
        };
        place.run(&newer(2, 1)).await;
        CqlTables::connect(&place.config).await.unwrap();
        let refused = cql::migrate(&place.config).await.unwrap_err();
        assert!(matches!(refused, OpenError::Newer { found: 2, known: 1, .. }));
        // They may not.
        place.run(&newer(2, 2)).await;
        let refused = CqlTables::connect(&place.config).await.unwrap_err();
        assert!(matches!(refused, OpenError::Newer { found: 2, known: 1, .. }));
        assert!(!refused.is_transient());
        // It was something else altogether.
        place.run(&newer(1, 1)).await;
        for refused in [
            CqlTables::connect(&place.config).await.unwrap_err(),
            cql::migrate(&place.config).await.unwrap_err(),
        ] {
            assert!(matches!(refused, OpenError::Changed { migration: 1, .. }), "{refused}");
        }
        // What runs goes on.
        tables.check().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_waits_for_nobody_who_is_gone_and_for_all_who_are_not() {
    in_a_keyspace("lock", |place| async move {
        let _one_at_a_time = SCHEMA.lock().await;
        cql::migrate(&place.config).await.unwrap();
        place
            .run("DELETE FROM {k}.schema_migrations WHERE \"scope\" = 'all'")
            .await;
        // Somebody has the lease, and dies: it runs out.
        place
            .run("INSERT INTO {k}.schema_lock (\"scope\", \"holder\") VALUES ('all', 'gone') IF NOT EXISTS USING TTL 3")
            .await;
        let start = Instant::now();
        let report = cql::migrate(&place.config).await.unwrap();
        assert_eq!(report.applied, [1]);
        assert!(start.elapsed() >= Duration::from_secs(2), "{:?}", start.elapsed());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_datacenter_that_is_not_there_is_named() {
    in_a_keyspace("datacenter", |place| async move {
        let config = CqlConfig {
            datacenter: Some("nowhere".into()),
            ..place.config.clone()
        };
        let refused = CqlTables::connect(&config).await.unwrap_err();
        assert!(
            matches!(&refused, OpenError::Config(what) if what.contains("nowhere") && what.contains("there are: ")),
            "{refused}"
        );
    })
    .await;
}

fn once(name: &str) -> Key {
    Key {
        partition: vec!["t".into(), name.into()],
        clustering: vec![],
    }
}

/// FLT-14: one of eight conditional writes is lost on its way, and one of eight answers to them. What callers hear is true all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn claims_stay_exact_when_answers_get_lost() {
    in_a_keyspace("lossy", |place| async move {
        let all = place.session.get_cluster_state().get_nodes_info().len();
        if place.config.tls.is_some() || place.config.nodes.len() < all {
            println!("skipped: claims_stay_exact_when_answers_get_lost: every node must be named, and speak in the clear");
            return;
        }
        let straight = place.migrated().await;
        let nodes: Vec<SocketAddr> = place
            .config
            .nodes
            .iter()
            .map(|node| node.to_socket_addrs().unwrap().next().unwrap())
            .collect();
        let ways = LossyWays::open(&nodes, 8, 1).await.unwrap();
        let tables = CqlTables::connect(&CqlConfig {
            nodes: ways.addresses(),
            request_timeout: Duration::from_secs(1),
            ..place.config.clone()
        })
        .await
        .unwrap();

        let mut unknown = 0;
        for round in 0..24 {
            let key = once(&format!("c{round}"));
            let names: Vec<Bytes> = (0..4).map(|n| Bytes::from(format!("holder {n}"))).collect();
            let claims = names
                .iter()
                .map(|name| tables.insert_if_absent(Claims::TABLE, key.clone(), name.clone()));
            let outcomes = join_all(claims).await;
            let stands = straight.get(Claims::TABLE, &key).await.unwrap();
            let mut winners = 0;
            let mut silent = 0;
            for (outcome, name) in outcomes.iter().zip(&names) {
                match outcome {
                    Ok(Inserted::Done) => {
                        winners += 1;
                        assert_eq!(stands.as_ref().unwrap().value, name);
                    }
                    Ok(Inserted::Exists(other)) => {
                        assert_eq!(stands.as_ref().unwrap().value, other);
                        assert_ne!(other, name);
                    }
                    Err(Error::Unavailable(_)) => silent += 1,
                    Err(error) => panic!("{error}"),
                }
            }
            assert!(winners <= 1 && (winners == 1 || silent > 0), "{outcomes:?}");
            unknown += silent;
        }

        let key = Key {
            partition: vec!["t".into()],
            clustering: vec!["p".into()],
        };
        let mut expect = Expect::Absent;
        for round in 0..24 {
            let value = Bytes::from(format!("edition {round}"));
            let swapped = tables
                .compare_and_set(Profiles::TABLE, key.clone(), expect.clone(), Some(value.clone()))
                .await;
            let stands = straight.get_edited(Profiles::TABLE, &key).await.unwrap();
            match swapped {
                Ok(Swapped::Done(etag)) => {
                    let stands = stands.as_ref().unwrap();
                    assert_eq!((&stands.value, &stands.etag), (&value, &etag));
                }
                Ok(Swapped::Refused(found)) => panic!("nobody else edits: {found:?}"),
                Err(Error::Unavailable(_)) => unknown += 1,
                Err(error) => panic!("{error}"),
            }
            expect = stands.map_or(Expect::Absent, |found| Expect::Etag(found.etag));
        }

        let (questions, answers) = ways.fallen();
        println!("{questions} questions and {answers} answers were lost, {unknown} outcomes stayed unknown");
        assert!(questions >= 5 && answers >= 5, "{questions} {answers}");
        // A lost answer is made up for by the read; a lost question cannot be.
        assert!(unknown < questions + answers);
    })
    .await;
}

#[tokio::test]
async fn a_cluster_that_is_away_is_said_to_be_so_in_time() {
    // Nobody listens there, and somebody listens but never says a word.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let refusing = free.local_addr().unwrap();
    drop(free);
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    for address in [refusing, silent.local_addr().unwrap()] {
        let config = CqlConfig {
            nodes: vec![address.to_string()],
            connect_timeout: Duration::from_millis(300),
            ..CqlConfig::default()
        };
        let start = Instant::now();
        for refused in [
            CqlTables::connect(&config).await.unwrap_err(),
            cql::migrate(&config).await.unwrap_err(),
        ] {
            assert!(
                matches!(refused, OpenError::Unavailable(_)) && refused.is_transient(),
                "{refused}"
            );
        }
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "{:?}",
            start.elapsed()
        );
    }
}

#[test]
fn the_documentation_says_how_each_table_is_kept() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../docs/storage.md");
    let text = std::fs::read_to_string(path).unwrap();
    let section = text.split("## The CQL form").nth(1).unwrap();
    for table in tables::ALL {
        assert!(
            section.contains(&format!("`{}`", table.name)),
            "{} is missing",
            table.name
        );
    }
}
