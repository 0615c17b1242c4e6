//! Reading topics in turn.

use crate::{
    embedded::topic::TopicLog,
    log::{Error, Record},
};
use futures::future::select_all;
use platen_proto::topic::Topic;
use std::sync::Arc;
use tokio::sync::watch;

/// Reads several topics, each from its own position on.
pub(crate) struct Reader {
    cursors: Vec<Cursor>,
    /// The topic that is looked at first, so that a busy one does not starve the others.
    turn: usize,
}

struct Cursor {
    log: Arc<TopicLog>,
    next: u64,
    end: watch::Receiver<u64>,
}

impl Reader {
    pub(crate) fn new(cursors: Vec<(Arc<TopicLog>, u64)>) -> Self {
        let cursor = |(log, next): (Arc<TopicLog>, u64)| Cursor {
            end: log.subscribe(),
            log,
            next,
        };
        Self {
            cursors: cursors.into_iter().map(cursor).collect(),
            turn: 0,
        }
    }

    /// Waits for records of any topic: at least one, at most `max`. Cancel safe: moves on only when it returns.
    pub(crate) async fn next(&mut self, max: usize) -> Result<Vec<Arc<Record>>, Error> {
        loop {
            let topics = self.cursors.len();
            for step in 0..topics {
                let turn = (self.turn + step) % topics;
                let cursor = &mut self.cursors[turn];
                let found = cursor.log.read(cursor.next, max).await?;
                cursor.next = found.next;
                if !found.records.is_empty() {
                    self.turn = turn + 1;
                    return Ok(found.records);
                }
            }
            let more = self.cursors.iter_mut().map(|cursor| {
                let next = cursor.next;
                Box::pin(async move { cursor.end.wait_for(|end| *end > next).await.is_ok() })
            });
            if topics == 0 || !select_all(more).await.0 {
                return Err(Error::Unavailable("the log is closed".to_owned()));
            }
        }
    }

    /// Next offset of each topic.
    pub(crate) fn positions(&self) -> Vec<(Topic, u64)> {
        self.cursors
            .iter()
            .map(|cursor| (cursor.log.topic, cursor.next))
            .collect()
    }
}
