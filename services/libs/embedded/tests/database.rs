//! The database: order, durability, locks.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests; one tells its parent how far it came"
)]

use futures::FutureExt;
use platen_embedded::{Database, Durability, Error, Kind, OpenError, Options, Transaction};
use std::{
    io::{BufRead, BufReader},
    ops::Bound,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
};
use tempfile::TempDir;

fn open(directory: &TempDir) -> Database {
    Database::open(directory.path(), Options::default()).unwrap()
}

#[tokio::test]
async fn a_directory_has_one_owner() {
    let directory = TempDir::new().unwrap();
    let first = open(&directory);
    let refused = Database::open(directory.path(), Options::default()).unwrap_err();
    assert!(
        matches!(refused, OpenError::InUse { process: Some(id), .. } if id == std::process::id()),
        "{refused:?}"
    );
    let said = refused.to_string();
    assert!(
        said.ends_with(&format!("is in use by process {}", std::process::id())),
        "{said}"
    );
    drop(first);
    drop(open(&directory));
}

#[tokio::test]
async fn a_directory_that_is_no_directory_is_an_error() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let refused = Database::open(&file, Options::default()).unwrap_err();
    assert!(matches!(refused, OpenError::Io { .. }), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn transactions_run_one_after_the_other_and_see_each_other() {
    let directory = TempDir::new().unwrap();
    let database = open(&directory);
    let counter = database.keyspace("counter", Kind::Plain).unwrap();
    let add = |durability| {
        let (database, counter) = (database.clone(), counter.clone());
        tokio::spawn(async move {
            let work = move |transaction: &mut Transaction<'_>| {
                let before = transaction.get(&counter, b"n").unwrap();
                let n =
                    before.map_or(0, |bytes| u64::from_be_bytes(bytes[..].try_into().unwrap())) + 1;
                transaction.put(&counter, b"n".to_vec(), n.to_be_bytes().to_vec());
                n
            };
            database.transact(durability, 8, work).await.unwrap()
        })
    };
    let tasks: Vec<_> = (0..400)
        .map(|n| {
            add(if n % 2 == 0 {
                Durability::Synced
            } else {
                Durability::Ordered
            })
        })
        .collect();
    let mut seen = Vec::new();
    for task in tasks {
        seen.push(task.await.unwrap());
    }
    seen.sort_unstable();
    assert_eq!(seen, (1..=400).collect::<Vec<_>>());
    assert_eq!(
        counter.get(b"n").unwrap().unwrap()[..],
        400_u64.to_be_bytes()
    );
}

#[tokio::test]
async fn what_is_done_on_commit_is_done_in_order_before_the_answer() {
    let directory = TempDir::new().unwrap();
    let database = open(&directory);
    let keyspace = database.keyspace("k", Kind::Plain).unwrap();
    let log = Arc::new(Mutex::new(Vec::new()));
    let say = |text: &'static str| {
        let log = Arc::clone(&log);
        move || log.lock().unwrap().push(text)
    };
    database.after_each_batch(say("batch"));
    for n in 0..3_u8 {
        let (keyspace, done) = (keyspace.clone(), say("commit"));
        let work = move |transaction: &mut Transaction<'_>| {
            transaction.put(&keyspace, vec![n], vec![]);
            transaction.on_commit(done);
        };
        database
            .transact(Durability::Ordered, 1, work)
            .await
            .unwrap();
        say("answer")();
    }
    assert_eq!(
        *log.lock().unwrap(),
        ["commit", "batch", "answer"].repeat(3)
    );
}

#[tokio::test]
async fn what_was_queued_is_there_after_the_last_handle_went() {
    let directory = TempDir::new().unwrap();
    let database = open(&directory);
    let keyspace = database.keyspace("k", Kind::Plain).unwrap();
    let joined = keyspace.clone();
    database
        .join_each_batch(move |transaction| transaction.put(&joined, b"joined".to_vec(), vec![]));
    for n in 0..500_u32 {
        let keyspace = keyspace.clone();
        let put = move |transaction: &mut Transaction<'_>| {
            transaction.put(&keyspace, n.to_be_bytes().to_vec(), vec![1]);
        };
        // Submitted, and the answer not waited for.
        let submitted = database.transact(Durability::Ordered, 8, put);
        assert!(
            tokio::task::coop::unconstrained(submitted)
                .now_or_never()
                .is_none_or(|outcome| outcome.is_ok())
        );
    }
    drop((database, keyspace));
    let database = open(&directory);
    let mut found = 0;
    let keyspace = database.keyspace("k", Kind::Plain).unwrap();
    let all = (Bound::Unbounded, Bound::Unbounded);
    keyspace
        .scan(all, false, |_, _| {
            found += 1;
            true
        })
        .unwrap();
    assert_eq!(found, 501);
}

#[tokio::test]
async fn what_joins_in_is_written_with_others_or_alone() {
    let directory = TempDir::new().unwrap();
    let database = open(&directory);
    let keyspace = database.keyspace("k", Kind::Plain).unwrap();
    let waiting = Arc::new(Mutex::new(Vec::new()));
    let (joined, queue) = (keyspace.clone(), Arc::clone(&waiting));
    database.join_each_batch(move |transaction| {
        for key in queue.lock().unwrap().drain(..) {
            transaction.put(&joined, key, vec![]);
        }
    });
    waiting.lock().unwrap().push(b"a".to_vec());
    let other = keyspace.clone();
    let put =
        move |transaction: &mut Transaction<'_>| transaction.put(&other, b"b".to_vec(), vec![]);
    database.transact(Durability::Synced, 1, put).await.unwrap();
    assert!(
        keyspace.get(b"a").unwrap().is_some(),
        "with the batch of another"
    );

    waiting.lock().unwrap().push(b"c".to_vec());
    let alone = async {
        while keyspace.get(b"c").unwrap().is_none() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), alone)
        .await
        .expect("it is written alone");
}

#[tokio::test]
async fn a_flush_waits_for_everything_before_it() {
    let directory = TempDir::new().unwrap();
    let database = open(&directory);
    let keyspace = database.keyspace("k", Kind::Plain).unwrap();
    let put = {
        let keyspace = keyspace.clone();
        move |transaction: &mut Transaction<'_>| {
            transaction.put(&keyspace, b"a".to_vec(), b"b".to_vec())
        }
    };
    let _ = database
        .transact(Durability::Ordered, 2, put)
        .now_or_never();
    database.flush().await.unwrap();
    assert_eq!(keyspace.get(b"a").unwrap().as_deref(), Some(&b"b"[..]));
    assert!(database.disk_bytes().unwrap() > 0);
}

#[tokio::test]
async fn a_deleted_keyspace_is_empty_when_it_is_made_again() {
    let directory = TempDir::new().unwrap();
    let database = open(&directory);
    let put = |name: &'static str| {
        move |transaction: &mut Transaction<'_>| {
            let keyspace = transaction.keyspace(name, Kind::Plain).unwrap();
            transaction.put(&keyspace, b"a".to_vec(), b"b".to_vec());
        }
    };
    database
        .transact(Durability::Synced, 2, put("day.1"))
        .await
        .unwrap();
    database
        .transact(Durability::Synced, 2, put("day.2"))
        .await
        .unwrap();
    let delete = |transaction: &mut Transaction<'_>| {
        let keyspace = transaction.keyspace("day.1", Kind::Plain)?;
        transaction.delete_keyspace(keyspace)
    };
    database
        .transact(Durability::Synced, 0, delete)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(database.keyspace_names("day."), ["day.2"]);
    drop(database);
    let database = open(&directory);
    assert_eq!(database.keyspace_names("day."), ["day.2"]);
    assert_eq!(
        database
            .keyspace("day.1", Kind::Plain)
            .unwrap()
            .get(b"a")
            .unwrap(),
        None
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn much_is_written_without_much_memory() {
    let directory = TempDir::new().unwrap();
    let options = Options {
        memory_bytes: 4 << 20,
        ..Options::default()
    };
    let database = Database::open(directory.path(), options).unwrap();
    let keyspace = database.keyspace("k", Kind::Plain).unwrap();
    for n in 0..400_u32 {
        let keyspace = keyspace.clone();
        let work = move |transaction: &mut Transaction<'_>| {
            transaction.put(&keyspace, n.to_be_bytes().to_vec(), vec![7; 100_000]);
        };
        database
            .transact(Durability::Ordered, 100_000, work)
            .await
            .unwrap();
        let bytes = database.memory_bytes().await.unwrap();
        assert!(bytes < 32 << 20, "{bytes} after {n}");
    }
    for n in 0..400_u32 {
        assert_eq!(
            keyspace
                .get(&n.to_be_bytes())
                .unwrap()
                .map(|value| value.len()),
            Some(100_000)
        );
    }
    let settled = async { while database.memory_bytes().await.unwrap() > 4 << 20 {} };
    tokio::time::timeout(std::time::Duration::from_secs(60), settled)
        .await
        .expect("what was written out is let go of although nothing more is written");
}

#[tokio::test]
async fn compaction_removes_what_has_expired_long_ago_and_nothing_else() {
    let directory = TempDir::new().unwrap();
    let database = open(&directory);
    let keyspace = database.keyspace("rows", Kind::Expiring).unwrap();
    let plain = database.keyspace("rows", Kind::Plain).unwrap();
    let now = u64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_micros()).unwrap();
    let (hour, minute) = (3_600_000_000, 60_000_000);
    let rows = [
        ("never", 0),
        ("old", 1),
        ("hours ago", now - 2 * hour),
        ("a minute ago", now - minute),
        ("later", now + hour),
    ];
    for keyspace in [keyspace.clone(), plain.clone()] {
        let work = move |transaction: &mut Transaction<'_>| {
            for (name, expires) in rows {
                transaction.put(
                    &keyspace,
                    name.into(),
                    [&expires.to_be_bytes()[..], b"value"].concat(),
                );
            }
            transaction.put(&keyspace, b"short".to_vec(), b"1234567".to_vec());
        };
        database
            .transact(Durability::Ordered, 1_000, work)
            .await
            .unwrap();
    }

    keyspace.compact().unwrap();
    plain.compact().unwrap();

    let names = |keyspace: &platen_embedded::Keyspace| {
        let mut names = Vec::new();
        let all = (Bound::Unbounded, Bound::Unbounded);
        keyspace
            .scan(all, false, |key, _| {
                names.push(String::from_utf8(key.into()).unwrap());
                true
            })
            .unwrap();
        names
    };
    assert_eq!(
        names(&keyspace),
        ["a minute ago", "later", "never", "short"]
    );
    assert_eq!(names(&plain).len(), 6);
}

/// Set in the process that is to be killed.
const VICTIM: &str = "PLATEN_TEST_VICTIM";

/// What a killed process was told is there, and nothing after a gap.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(
    clippy::disallowed_methods,
    reason = "the child of this test is told so by its environment"
)]
async fn a_killed_process_loses_nothing_that_it_acknowledged() {
    if let Ok(directory) = std::env::var(VICTIM) {
        return write_until_killed(&directory).await;
    }
    let directory = TempDir::new().unwrap();
    let mut acknowledged = 0;
    for round in 0..3 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "a_killed_process_loses_nothing_that_it_acknowledged",
                "--nocapture",
            ])
            .env(VICTIM, directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut told = 0;
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let Ok(line) = line else { break };
            if let Some(n) = line.strip_prefix("ack ") {
                acknowledged = acknowledged.max(n.parse().unwrap());
                told += 1;
            }
            if told == 150 + 50 * round {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();

        let database = open(&directory);
        let (log, offsets) = (
            database.keyspace("log", Kind::Plain).unwrap(),
            database.keyspace("offsets", Kind::Plain).unwrap(),
        );
        let mut expected = 1;
        log.scan((Bound::Unbounded, Bound::Unbounded), false, |key, _| {
            assert_eq!(key[..], u64::to_be_bytes(expected), "a gap");
            expected += 1;
            true
        })
        .unwrap();
        assert!(
            expected > acknowledged,
            "{acknowledged} was acknowledged, the log ends before {expected}"
        );
        let offset = offsets
            .get(b"o")
            .unwrap()
            .map_or(0, |bytes| u64::from_be_bytes(bytes[..].try_into().unwrap()));
        assert!(offset < expected, "an offset ahead of its log");
        let derived = offsets
            .get(b"derived")
            .unwrap()
            .map_or(0, |bytes| u64::from_be_bytes(bytes[..].try_into().unwrap()));
        assert!(
            derived >= offset,
            "an offset without what was written before it"
        );
    }
    assert!(acknowledged > 400, "{acknowledged}");
}

/// Four writers of a log, and a consumer that writes what it derives and then its offset.
async fn write_until_killed(directory: &str) {
    let database = Database::open(directory, Options::default()).unwrap();
    let (log, offsets) = (
        database.keyspace("log", Kind::Plain).unwrap(),
        database.keyspace("offsets", Kind::Plain).unwrap(),
    );
    let last = log
        .last()
        .unwrap()
        .map_or(0, |key| u64::from_be_bytes(key[..].try_into().unwrap()));
    let next = Arc::new(std::sync::atomic::AtomicU64::new(last + 1));
    let writers = (0..4).map(|_| async {
        loop {
            let (log, next) = (log.clone(), Arc::clone(&next));
            let work = move |transaction: &mut Transaction<'_>| {
                let n = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                transaction.append(&log, n.to_be_bytes().to_vec(), vec![1; 700]);
                n
            };
            let n = database
                .transact(Durability::Synced, 700, work)
                .await
                .unwrap();
            println!("ack {n}");
            for key in [&b"derived"[..], b"o"] {
                let offsets = offsets.clone();
                let put = move |transaction: &mut Transaction<'_>| {
                    transaction.put(&offsets, key.to_vec(), n.to_be_bytes().to_vec());
                };
                database
                    .transact(Durability::Ordered, 16, put)
                    .await
                    .unwrap();
            }
        }
    });
    futures::future::join_all(writers).await;
}

#[tokio::test]
async fn a_panic_of_a_transaction_stops_the_database_and_says_so() {
    let directory = TempDir::new().unwrap();
    let database = open(&directory);
    assert!(database.check().is_ok());
    let outcome = database
        .transact(Durability::Ordered, 0, |_| panic!("a fault of the program"))
        .await;
    assert!(
        matches!(outcome, Err::<(), _>(Error::Unavailable(_))),
        "{outcome:?}"
    );
    assert_eq!(database.failure().await, "the writer has ended");
    assert!(matches!(database.check(), Err(Error::Unavailable(_))));
    assert!(
        database
            .transact(Durability::Ordered, 0, |_| ())
            .await
            .is_err()
    );
}
