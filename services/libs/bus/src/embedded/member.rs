//! A member of a consumer group. One is active at a time, since there is one partition.

use crate::{
    embedded::{EmbeddedLog, reader::Reader},
    gather::Gather,
    log::{Consumer, Delivery, Error, Shards},
};
use async_trait::async_trait;
use platen_proto::topic::Topic;
use std::{sync::Arc, time::Duration};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A member of a group.
pub(crate) struct Member {
    log: EmbeddedLog,
    group: String,
    topics: Vec<Topic>,
    seat: Arc<Semaphore>,
    state: State,
    gather: Gather,
    /// What `commit` marks as done.
    delivered: Option<Vec<(Topic, u64)>>,
}

enum State {
    New,
    /// Has been told that nothing is its, and waits until the active member goes.
    Waiting,
    Active {
        reader: Reader,
        _seat: OwnedSemaphorePermit,
    },
}

/// All of them.
const ALL_SHARDS: Shards = 0..platen_ids::SHARDS;

impl Member {
    /// `seat`: one permit, for the group's active member.
    pub(crate) fn new(
        log: EmbeddedLog,
        group: &str,
        topics: &[Topic],
        gather: Duration,
        seat: Arc<Semaphore>,
    ) -> Self {
        let (group, topics) = (group.to_owned(), topics.to_vec());
        Self {
            log,
            group,
            topics,
            seat,
            state: State::New,
            gather: Gather::new(gather),
            delivered: None,
        }
    }
}

#[async_trait]
impl Consumer for Member {
    async fn next(&mut self, max: usize) -> Result<Delivery, Error> {
        let seat = match &mut self.state {
            State::Active { reader, .. } => {
                self.gather.wait().await;
                let records = reader.next(max).await?;
                self.gather.handed_out(records.len() >= max);
                self.delivered = Some(reader.positions());
                return Ok(Delivery::Batch(records));
            }
            State::New => match Arc::clone(&self.seat).try_acquire_owned() {
                Ok(seat) => seat,
                Err(_) => {
                    self.state = State::Waiting;
                    return Ok(Delivery::Assigned(Vec::new()));
                }
            },
            State::Waiting => {
                let seat = Arc::clone(&self.seat).acquire_owned().await;
                seat.map_err(|_| Error::Unavailable("the group is closed".to_owned()))?
            }
        };
        let mut cursors = Vec::with_capacity(self.topics.len());
        let mut begun = Vec::new();
        for topic in &self.topics {
            let log = self.log.topic(*topic);
            let start = log.held().start;
            let next = match self.log.shared.groups.next(&self.group, *topic) {
                // Retention drops only what the group has passed. A crash may have taken back its last commit, but not the retention.
                Some(next) => next.max(start),
                None => {
                    // Registered from here on: retention waits for the group.
                    begun.push((*topic, start));
                    start
                }
            };
            cursors.push((log, next));
        }
        self.log.shared.groups.commit(&self.group, &begun);
        self.state = State::Active {
            reader: Reader::new(cursors),
            _seat: seat,
        };
        Ok(Delivery::Assigned(vec![ALL_SHARDS]))
    }

    async fn commit(&mut self) -> Result<(), Error> {
        match self.log.shared.database.check() {
            // A position needs no room to speak of.
            Ok(()) | Err(platen_embedded::Error::Full(_)) => {}
            Err(stopped) => return Err(stopped.into()),
        }
        if let Some(positions) = self.delivered.take() {
            self.log.shared.groups.commit(&self.group, &positions);
        }
        Ok(())
    }
}
