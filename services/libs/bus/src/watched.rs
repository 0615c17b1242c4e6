//! A log with somebody between it and whoever uses it: a process that measures the calls; a test that counts them, refuses them, loses their
//! answers.

use crate::log::{
    Consumer, DeadLetter, Delivery, Error, Follower, From, Log, NewRecord, Positions, Record,
};
use async_trait::async_trait;
use platen_proto::topic::Topic;
use platen_store::watched as store;
use std::{
    fmt,
    future::ready,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

/// What is asked of the log.
#[derive(Debug, Clone, Copy)]
pub enum Call<'a> {
    /// To append these records; once they are appended: none.
    Append(&'a [NewRecord]),
    /// To mark a member's batch as done.
    Commit,
    /// A follower, to wait for records.
    Next,
    /// Anything else.
    Other,
}

/// What is done about calls.
pub trait Watch: fmt::Debug + Send + Sync + 'static {
    /// A call on its way to the log; with an error it does not get there.
    fn before(&self, _call: Call<'_>) -> impl Future<Output = Result<(), Error>> + Send {
        ready(Ok(()))
    }

    /// A call that the log has done, and how long that took; with an error the caller does not hear of it.
    fn after(
        &self,
        _call: Call<'_>,
        _took: Duration,
    ) -> impl Future<Output = Result<(), Error>> + Send {
        ready(Ok(()))
    }
}

/// The log as it is seen through a [`Watch`].
#[derive(Debug)]
pub struct Watched<W> {
    log: Arc<dyn Log>,
    watch: Arc<W>,
}

impl<W: Watch> Watched<W> {
    /// Puts `watch` before `log`.
    #[must_use]
    pub fn new(log: Arc<dyn Log>, watch: Arc<W>) -> Arc<Self> {
        Arc::new(Self { log, watch })
    }
}

async fn pass<T: Send>(
    watch: &impl Watch,
    call: Call<'_>,
    done: impl Future<Output = Result<T, Error>> + Send,
) -> Result<T, Error> {
    watch.before(call).await?;
    let begun = Instant::now();
    let answer = done.await?;
    watch.after(call, begun.elapsed()).await?;
    Ok(answer)
}

#[async_trait]
impl<W: Watch> Log for Watched<W> {
    async fn append(&self, records: Vec<NewRecord>) -> Result<(), Error> {
        self.watch.before(Call::Append(&records)).await?;
        let begun = Instant::now();
        self.log.append(records).await?;
        self.watch.after(Call::Append(&[]), begun.elapsed()).await
    }

    async fn consume(
        &self,
        group: &str,
        topics: &[Topic],
        gather: Duration,
    ) -> Result<Box<dyn Consumer>, Error> {
        let joined = self.log.consume(group, topics, gather);
        let member = pass(&*self.watch, Call::Other, joined).await?;
        Ok(Box::new(WatchedConsumer {
            member,
            watch: Arc::clone(&self.watch),
        }))
    }

    async fn follow(&self, topics: &[Topic], from: From) -> Result<Box<dyn Follower>, Error> {
        let follower = pass(&*self.watch, Call::Other, self.log.follow(topics, from)).await?;
        Ok(Box::new(WatchedFollower {
            follower,
            watch: Arc::clone(&self.watch),
        }))
    }

    async fn lag(&self, group: &str, topics: &[Topic]) -> Result<u64, Error> {
        pass(&*self.watch, Call::Other, self.log.lag(group, topics)).await
    }

    async fn dead_letter(&self, record: &Record, group: &str, reason: &str) -> Result<(), Error> {
        let done = self.log.dead_letter(record, group, reason);
        pass(&*self.watch, Call::Other, done).await
    }

    async fn dead_letters(&self, topic: Topic, limit: usize) -> Result<Vec<DeadLetter>, Error> {
        let done = self.log.dead_letters(topic, limit);
        pass(&*self.watch, Call::Other, done).await
    }

    async fn check(&self) -> Result<(), Error> {
        pass(&*self.watch, Call::Other, self.log.check()).await
    }

    fn partitions(&self) -> u32 {
        self.log.partitions()
    }
}

struct WatchedConsumer<W> {
    member: Box<dyn Consumer>,
    watch: Arc<W>,
}

#[async_trait]
impl<W: Watch> Consumer for WatchedConsumer<W> {
    async fn next(&mut self, max: usize) -> Result<Delivery, Error> {
        self.member.next(max).await
    }

    async fn commit(&mut self) -> Result<(), Error> {
        pass(&*self.watch, Call::Commit, self.member.commit()).await
    }
}

struct WatchedFollower<W> {
    follower: Box<dyn Follower>,
    watch: Arc<W>,
}

#[async_trait]
impl<W: Watch> Follower for WatchedFollower<W> {
    /// Nobody is asked afterwards: what was waited for would be lost if the wait were given up then.
    async fn next(&mut self, max: usize) -> Result<Vec<Arc<Record>>, Error> {
        self.watch.before(Call::Next).await?;
        self.follower.next(max).await
    }

    fn positions(&self) -> Positions {
        self.follower.positions()
    }
}

/// Counts what a service asks of store and log, and makes trouble once if it is told to: for tests.
#[cfg(feature = "conformance")]
#[derive(Debug, Default)]
pub struct Counts {
    /// Questions to the store.
    pub reads: AtomicUsize,
    /// Rows written.
    pub writes: AtomicUsize,
    /// Records appended.
    pub appended: AtomicUsize,
    /// The write or append, counted from 1, after which the caller hears that it may not have happened; 0: none.
    pub trouble: AtomicUsize,
}

#[cfg(feature = "conformance")]
impl Counts {
    /// Reads, writes and records so far.
    #[must_use]
    pub fn all(&self) -> [usize; 3] {
        [&self.reads, &self.writes, &self.appended].map(|count| count.load(Ordering::SeqCst))
    }

    fn is_trouble(&self) -> bool {
        let left = self.trouble.load(Ordering::SeqCst);
        self.trouble.store(left.saturating_sub(1), Ordering::SeqCst);
        left == 1
    }
}

#[cfg(feature = "conformance")]
impl store::Watch for Counts {
    async fn before(&self, call: store::Call<'_>) -> Result<(), platen_store::Error> {
        let (read, written) = call.cost();
        self.reads.fetch_add(read.len(), Ordering::SeqCst);
        self.writes.fetch_add(written.len(), Ordering::SeqCst);
        Ok(())
    }

    async fn after(&self, call: store::Call<'_>, _: Duration) -> Result<(), platen_store::Error> {
        if call.kind == store::Kind::Write
            && !call.tables.iter().all(|table| table.name == "walked")
            && self.is_trouble()
        {
            return Err(platen_store::Error::Unavailable("a test".to_owned()));
        }
        Ok(())
    }
}

#[cfg(feature = "conformance")]
impl Watch for Counts {
    async fn before(&self, call: Call<'_>) -> Result<(), Error> {
        if let Call::Append(records) = call {
            self.appended.fetch_add(records.len(), Ordering::SeqCst);
        }
        Ok(())
    }

    async fn after(&self, call: Call<'_>, _: Duration) -> Result<(), Error> {
        if matches!(call, Call::Append(_)) && self.is_trouble() {
            return Err(Error::Unavailable("a test".to_owned()));
        }
        Ok(())
    }
}
