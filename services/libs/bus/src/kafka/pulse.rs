//! Whether the cluster takes records now: a thread asks it all the time, so that nobody who wants to know has to wait for a cluster that is away.

use super::{client::Context, lookups::Lookups, producer::Producer};
use rdkafka::metadata::Metadata;
use std::{
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

/// How often it is asked, and how long it may take to answer.
const PERIOD: Duration = Duration::from_millis(300);
const PATIENCE: Duration = Duration::from_millis(600);

/// One late answer is a busy machine.
const LATE_ANSWERS: u32 = 2;

/// The last answer. The thread ends with it.
pub(super) struct Pulse(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    /// In-sync copies that a partition needs to take records.
    copies: AtomicUsize,
}

struct State {
    trouble: Option<String>,
    stop: bool,
}

impl Pulse {
    /// Begins to ask about `topic`.
    pub(super) fn start(
        topic: String,
        producer: Arc<Producer>,
        lookups: Arc<Lookups>,
        context: Context,
    ) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                trouble: None,
                stop: false,
            }),
            wake: Condvar::new(),
            copies: AtomicUsize::new(1),
        });
        let asker = Asker {
            shared: Arc::clone(&shared),
            topic,
            producer,
            lookups,
            context,
        };
        thread::Builder::new()
            .name("kafka-pulse".to_owned())
            .spawn(move || asker.run())?;
        Ok(Self(shared))
    }

    /// From here on a partition needs so many copies in sync.
    pub(super) fn needs_copies(&self, copies: usize) {
        self.0.copies.store(copies, Ordering::Relaxed);
    }

    /// Why the cluster takes no records.
    pub(super) fn trouble(&self) -> Option<String> {
        self.0.state().trouble.clone()
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.0.state().stop = true;
        self.0.wake.notify_all();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Asker {
    shared: Arc<Shared>,
    topic: String,
    producer: Arc<Producer>,
    lookups: Arc<Lookups>,
    context: Context,
}

impl Asker {
    fn run(&self) {
        let mut late = 0;
        loop {
            let answer = self.producer.metadata(&self.topic, PATIENCE);
            self.lookups.drain();
            let all_down = self.context.take_all_down();
            let trouble = match answer {
                Ok(metadata) => {
                    late = 0;
                    self.context.well();
                    unable(&metadata, self.shared.copies.load(Ordering::Relaxed))
                }
                Err(error) => {
                    late += 1;
                    // A refusal is no matter of patience, nor is a connection that was refused.
                    let sure = late >= LATE_ANSWERS || all_down || self.context.trouble().is_some();
                    sure.then(|| {
                        let code = error.rdkafka_error_code();
                        let why = code.map_or_else(|| error.to_string(), |code| code.to_string());
                        self.context
                            .explained(format!("Kafka does not answer: {why}"))
                    })
                }
            };
            let mut state = self.shared.state();
            if late == 0 || trouble.is_some() {
                state.trouble = trouble;
            }
            if !state.stop {
                let waited = self.shared.wake.wait_timeout(state, PERIOD);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
            if state.stop {
                return;
            }
        }
    }
}

/// Why no partition of the topic takes records. (While one does, those who write to others are told so one by one.)
fn unable(metadata: &Metadata, copies: usize) -> Option<String> {
    let topic = metadata.topics().first()?;
    let partitions = topic.partitions();
    let leads = |partition: &&rdkafka::metadata::MetadataPartition| partition.leader() >= 0;
    if !partitions.iter().any(|partition| leads(&partition)) {
        let why = topic.error().map_or_else(
            || "no partition has a leader".to_owned(),
            |error| rdkafka::error::RDKafkaErrorCode::from(error).to_string(),
        );
        return Some(format!("{}: {why}", topic.name()));
    }
    let able = partitions
        .iter()
        .filter(leads)
        .any(|partition| partition.isr().len() >= copies);
    (!able).then(|| format!("{}: fewer than {copies} copies are in sync", topic.name()))
}
