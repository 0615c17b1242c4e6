//! The consumer's loop, on the real log and store.

#![expect(
    clippy::unwrap_used,
    clippy::single_range_in_vec_init,
    reason = "tests; shards are ranges"
)]

use async_trait::async_trait;
use platen_bus::{
    Error, Failure, Handler, HandlerError, Log, NewRecord, Record, Shards,
    conformance::{number, record},
    drive,
    embedded::EmbeddedLog,
};
use platen_embedded::{Database, Options};
use platen_proto::topic::{Kind, Topic};
use platen_store::{Store, embedded::EmbeddedTables, timers};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};
use tempfile::TempDir;
use tokio::{sync::watch, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(30);

/// What a handler has seen.
#[derive(Debug, Default, Clone)]
struct Seen {
    assigned: Vec<Vec<Shards>>,
    /// Numbers of the handled records of each key.
    done: BTreeMap<String, Vec<u64>>,
    notices: Vec<(String, String, String)>,
    failures: usize,
    busy: BTreeSet<String>,
    most_busy: usize,
}

/// Fails as it is told by the numbers of the records, once each: 13 needs a retry, 66 is poison for ever.
struct Recorder {
    seen: watch::Sender<Seen>,
    retried: Mutex<BTreeSet<(String, u64)>>,
    /// Handlers wait here, so that a test sees how many run at a time.
    gate: Option<Arc<tokio::sync::Semaphore>>,
}

#[async_trait]
impl Handler for Recorder {
    const KINDS: &'static [Kind] = &[Kind::Inform, Kind::Notice];
    const GATHER: Duration = drive::PROMPT;

    async fn assigned(&self, shards: &[Shards]) {
        self.seen
            .send_modify(|seen| seen.assigned.push(shards.to_vec()));
    }

    async fn handle(&self, records: &[Arc<Record>]) -> Result<(), HandlerError> {
        let key = records[0].record.key.clone();
        assert!(records.iter().all(|record| record.record.key == key));
        self.seen.send_modify(|seen| {
            assert!(
                seen.busy.insert(key.clone()),
                "a key is handled by one at a time"
            );
            seen.most_busy = seen.most_busy.max(seen.busy.len());
        });
        if let Some(gate) = &self.gate {
            gate.acquire().await.unwrap().forget();
        }
        let outcome = self.each(&key, records);
        self.seen.send_modify(|seen| {
            seen.busy.remove(&key);
        });
        outcome
    }
}

impl Recorder {
    fn each(&self, key: &str, records: &[Arc<Record>]) -> Result<(), HandlerError> {
        for (at, record) in records.iter().enumerate() {
            if record.record.kind == Kind::Notice {
                let notice = record.notice().unwrap();
                self.seen.send_modify(|seen| {
                    seen.notices.push((notice.service, notice.kind, notice.id))
                });
                continue;
            }
            let n = number(record);
            let failure = match n {
                13 if self.retried.lock().unwrap().insert((key.to_owned(), n)) => {
                    Some(Failure::retry("the store is away"))
                }
                66 => Some(Failure::Poison("sixty-six".to_owned())),
                _ => None,
            };
            if let Some(failure) = failure {
                self.seen.send_modify(|seen| seen.failures += 1);
                return Err(HandlerError { at, failure });
            }
            self.seen
                .send_modify(|seen| seen.done.entry(key.to_owned()).or_default().push(n));
        }
        Ok(())
    }
}

struct Subject {
    _directory: TempDir,
    log: Arc<dyn Log>,
    store: Store,
    handler: Arc<Recorder>,
    seen: watch::Receiver<Seen>,
    shutdown: CancellationToken,
}

impl Subject {
    async fn new(gate: Option<Arc<tokio::sync::Semaphore>>) -> Self {
        let directory = TempDir::new().unwrap();
        let database = Database::open(directory.path(), Options::default()).unwrap();
        let store = Store::new(Arc::new(EmbeddedTables::new(&database)));
        let log: Arc<dyn Log> = Arc::new(EmbeddedLog::open(&database, &store).await.unwrap());
        let (sender, seen) = watch::channel(Seen::default());
        let handler = Arc::new(Recorder {
            seen: sender,
            retried: Mutex::default(),
            gate,
        });
        Self {
            _directory: directory,
            log,
            store,
            handler,
            seen,
            shutdown: CancellationToken::new(),
        }
    }

    fn drive(&self) -> JoinHandle<Result<(), Error>> {
        let (log, store, handler) = (
            Arc::clone(&self.log),
            self.store.clone(),
            Arc::clone(&self.handler),
        );
        tokio::spawn(drive(
            log,
            store,
            "group",
            &[Topic::Reports, Topic::Changes],
            handler,
            self.shutdown.clone(),
        ))
    }

    async fn append(&self, records: impl IntoIterator<Item = NewRecord>) {
        self.log
            .append(records.into_iter().collect())
            .await
            .unwrap();
    }

    async fn until(&mut self, what: impl FnMut(&Seen) -> bool) -> Seen {
        timeout(PATIENCE, self.seen.wait_for(what))
            .await
            .expect("it happens")
            .unwrap()
            .clone()
    }

    /// Waits until the group has committed everything.
    async fn until_passed(&self) {
        let passed = async {
            while self
                .log
                .lag("group", &[Topic::Reports, Topic::Changes])
                .await
                .unwrap()
                > 0
            {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, passed)
            .await
            .expect("everything is passed");
    }
}

fn inform(device: &str, n: u64) -> NewRecord {
    record(Topic::Reports, "t", device, n)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_are_handled_in_order_retried_and_put_aside() {
    let mut subject = Subject::new(None).await;
    let numbers = [1, 2, 13, 14, 66, 67, 13, 66];
    for n in numbers {
        subject
            .append(["a", "b", "c"].map(|device| inform(device, n)))
            .await;
    }
    subject
        .append([NewRecord {
            kind: Kind::Woken,
            ..inform("a", 5)
        }])
        .await;
    let running = subject.drive();

    subject.until_passed().await;
    let seen = subject.until(|_| true).await;
    assert_eq!(seen.assigned, [vec![0..256]]);
    assert_eq!(seen.done.len(), 3);
    for (key, done) in seen.done {
        assert_eq!(
            done,
            [1, 2, 13, 14, 67, 13],
            "{key}: each once, in order; other kinds passed over"
        );
    }
    assert_eq!(seen.failures, 3 + 6, "retried once, and put aside at once");
    let letters = subject.log.dead_letters(Topic::Reports, 100).await.unwrap();
    assert_eq!(letters.len(), 6);
    assert!(
        letters
            .iter()
            .all(|letter| letter.group == "group" && letter.reason == "sixty-six")
    );

    subject.shutdown.cancel();
    timeout(PATIENCE, running)
        .await
        .expect("it ends")
        .unwrap()
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_handled_together_within_bounds_and_shutdown_finishes_the_batch() {
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let mut subject = Subject::new(Some(Arc::clone(&gate))).await;
    subject
        .append((1_000..1_200).map(|n| inform(&format!("d{n}"), n)))
        .await;
    let running = subject.drive();

    let seen = subject.until(|seen| seen.busy.len() == 64).await;
    assert_eq!(seen.done.len(), 0);
    subject.shutdown.cancel();
    gate.add_permits(200);

    timeout(PATIENCE, running)
        .await
        .expect("it ends")
        .unwrap()
        .unwrap();
    let seen = subject.until(|_| true).await;
    assert_eq!((seen.done.len(), seen.most_busy), (200, 64));
    assert_eq!(
        subject.log.lag("group", &[Topic::Reports]).await.unwrap(),
        0,
        "the batch was committed"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_does_not_wait_for_what_is_away() {
    struct Never(watch::Sender<usize>);
    #[async_trait]
    impl Handler for Never {
        const KINDS: &'static [Kind] = &[Kind::Inform];
        const GATHER: Duration = drive::PROMPT;
        async fn assigned(&self, _: &[Shards]) {}
        async fn handle(&self, _: &[Arc<Record>]) -> Result<(), HandlerError> {
            self.0.send_modify(|tries| *tries += 1);
            Err(HandlerError {
                at: 0,
                failure: Failure::retry("away"),
            })
        }
    }
    let subject = Subject::new(None).await;
    subject.append([inform("a", 1)]).await;
    let (sender, mut tries) = watch::channel(0);
    let (log, store, shutdown) = (
        Arc::clone(&subject.log),
        subject.store.clone(),
        subject.shutdown.clone(),
    );
    let running = tokio::spawn(drive(
        log,
        store,
        "never",
        &[Topic::Reports],
        Arc::new(Never(sender)),
        shutdown,
    ));
    timeout(PATIENCE, tries.wait_for(|tries| *tries >= 3))
        .await
        .expect("it is tried again")
        .unwrap();

    subject.shutdown.cancel();

    timeout(PATIENCE, running)
        .await
        .expect("it ends")
        .unwrap()
        .unwrap();
    assert_eq!(
        subject.log.lag("never", &[Topic::Reports]).await.unwrap(),
        1,
        "and comes again"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_due_timer_becomes_a_notice_after_what_was_there_before() {
    let mut subject = Subject::new(None).await;
    let arm = |service: &str, subject: &str| {
        timers::arm(service, "t", "a", 0, "OPERATION_EXPIRED", subject)
    };
    subject
        .store
        .write(vec![arm("group", "op1"), arm("other", "op2")])
        .await
        .unwrap();
    subject.append([inform("a", 1)]).await;
    let running = subject.drive();

    let seen = subject.until(|seen| !seen.notices.is_empty()).await;
    assert_eq!(
        seen.notices,
        [(
            "group".to_owned(),
            "OPERATION_EXPIRED".to_owned(),
            "op1".to_owned()
        )]
    );
    assert_eq!(seen.done["t/a"], [1]);
    subject.until_passed().await;
    let shard = u16::from(platen_ids::shard("t", "a"));
    // One partition: whole groups are walked together.
    let stretch = timers::stretches(&(0..256))
        .find(|stretch| stretch.contains(&shard))
        .unwrap();
    let stored = async {
        loop {
            match timers::walked(&subject.store, "group", &stretch)
                .await
                .unwrap()
            {
                0 => tokio::task::yield_now().await,
                walked => return walked,
            }
        }
    };
    let walked = timeout(PATIENCE, stored).await.expect("the walk is stored");
    subject.shutdown.cancel();
    timeout(PATIENCE, running)
        .await
        .expect("it ends")
        .unwrap()
        .unwrap();

    // A restart walks on from where it was.
    let again = timers::walk(
        &subject.store,
        "group",
        &stretch,
        walked,
        walked + 60_000_000,
        10,
    )
    .await
    .unwrap();
    assert_eq!(again.0, []);
}
