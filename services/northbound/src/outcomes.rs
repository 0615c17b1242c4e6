//! Who waits for operations: one reader of the log per process tells all of them, so that waiting costs the store nothing.

use platen_bus::{From, Log, log};
use platen_proto::{
    event::v1::{Event, event},
    operation::v1::{Operation, operation::State},
    topic::{Kind, Topic},
};
use prost::Message;
use std::{sync::Arc, time::Duration};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

/// News that a waiter may be behind; then it looks into the store.
const CAPACITY: usize = 1_024;

/// Records taken at a time.
const BATCH: usize = 256;

/// Pause before the log is followed anew.
const PAUSE: Duration = Duration::from_secs(1);

/// News about operations.
#[derive(Debug, Clone)]
pub(crate) enum News {
    /// An operation has ended.
    Ended(Arc<Operation>),
    /// Something may have been missed: look for yourself.
    Look,
}

/// The source of news. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Outcomes(broadcast::Sender<News>);

impl Outcomes {
    pub(crate) fn new() -> Self {
        Self(broadcast::channel(CAPACITY).0)
    }

    /// News from here on. A waiter subscribes first and looks into the store then, so that nothing falls between.
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<News> {
        self.0.subscribe()
    }

    /// Follows the log until `shutdown`.
    pub(crate) async fn follow(self, log: Arc<dyn Log>, shutdown: CancellationToken) {
        while !shutdown.is_cancelled() {
            tokio::select! {
                () = shutdown.cancelled() => return,
                ended = self.read(&*log) => if let Err(error) = ended {
                    tracing::warn!(%error, "operations' ends are read from the log again in a moment");
                }
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }

    async fn read(&self, log: &dyn Log) -> Result<(), log::Error> {
        let mut follower = log.follow(&[Topic::Changes], From::Now).await?;
        // Sending fails when nobody listens, which is fine.
        let _ = self.0.send(News::Look);
        loop {
            for record in follower.next(BATCH).await? {
                if record.record.kind == Kind::Event
                    && self.0.receiver_count() > 0
                    && let Some(operation) = ended(&record.record.payload)
                {
                    let _ = self.0.send(News::Ended(Arc::new(operation)));
                }
            }
        }
    }
}

/// The operation in an event that ended one.
fn ended(payload: &[u8]) -> Option<Operation> {
    let event = Event::decode(payload).ok()?;
    if event.kind() != event::Kind::OperationDone {
        return None;
    }
    match event.data {
        Some(event::Data::Operation(operation)) => Some(operation),
        _ => None,
    }
}

/// Whether nothing more will become of an operation.
pub(crate) const fn is_end(state: State) -> bool {
    match state {
        State::Succeeded | State::Failed | State::Cancelled | State::Expired => true,
        State::Unspecified | State::Queued | State::Waking | State::Running => false,
    }
}
