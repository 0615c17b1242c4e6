//! The thread that writes the database.

use crate::{
    disk::Disk,
    keyspace::Keyspace,
    transaction::{Pending, Transaction},
};
use fjall::{AbstractTree, PersistMode};
use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};
use tokio::sync::{OwnedSemaphorePermit, watch};

/// What a write needs before it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// On disk: survives the loss of power.
    Synced,
    /// In order: visible, and on disk no later than anything that is submitted after it. For what can be derived again.
    Ordered,
}

/// Why the database did not do it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The disk failed, or the database is closed. It takes no more writes until it is opened again; what was to be written may be there.
    #[error("the embedded database is unavailable: {0}")]
    Unavailable(String),
    /// The disk is nearly full: nothing was written. Passes when space is made.
    #[error("the disk is nearly full: {0}")]
    Full(String),
    /// What lies on disk is not what was written: somebody must look.
    #[error("the embedded database is damaged: {0}")]
    Corrupt(String),
}

impl Error {
    #[expect(clippy::needless_pass_by_value, reason = "used with map_err")]
    pub(crate) fn from_engine(error: fjall::Error) -> Self {
        match &error {
            fjall::Error::Storage(fjall::LsmError::Io(_)) => Self::Unavailable(error.to_string()),
            fjall::Error::Storage(_)
            | fjall::Error::Decompress(_)
            | fjall::Error::Unrecoverable => Self::Corrupt(error.to_string()),
            _ => Self::Unavailable(error.to_string()),
        }
    }

    pub(crate) fn ended() -> Self {
        Self::Unavailable("the writer has ended".to_owned())
    }
}

/// Does a job's part of a batch, and returns what answers its caller when the batch is through.
pub(crate) type Work = Box<dyn FnOnce(Result<&mut Transaction<'_>, Error>) -> Answer + Send>;

/// Tells a caller how the batch went.
pub(crate) type Answer = Box<dyn FnOnce(Result<(), Error>) + Send>;

/// Something to write.
pub(crate) struct Job {
    pub(crate) durability: Durability,
    pub(crate) work: Work,
    /// Returned to the submitters' budget once the job is answered.
    pub(crate) permit: OwnedSemaphorePermit,
}

/// What is called with each batch, on the writer thread.
#[derive(Default)]
pub(crate) struct Hooks {
    pub(crate) before: Vec<Before>,
    pub(crate) after: Vec<After>,
}

/// Puts its part into a batch.
pub(crate) type Before = Box<dyn Fn(&mut Transaction<'_>) + Send>;

/// Learns that a batch is through.
pub(crate) type After = Box<dyn Fn() + Send>;

/// Jobs of one batch, and their bytes, at most.
const MAX_JOBS: usize = 2_048;
const MAX_BYTES: usize = 8 << 20;

/// Writes that need no sync wait so long for others: whoever derives them waits for their place in the order alone, and one batch for many
/// costs hardly more than one for one. A write that needs the sync ends the wait.
const GATHER: Duration = Duration::from_millis(1);

/// The clock of what must happen without traffic, too.
const TICK: Duration = Duration::from_secs(1);

/// So much may be written between two looks at the disk.
const LOOK_AFTER: usize = 4 << 20;

pub(crate) struct Writer {
    pub(crate) database: fjall::Database,
    pub(crate) disk: Disk,
    /// Bytes of all memtables together above which the largest are written out.
    pub(crate) memory: u64,
    pub(crate) hooks: Arc<Mutex<Hooks>>,
    /// Why writes that need the disk are refused.
    pub(crate) full: Arc<watch::Sender<Option<String>>>,
    /// Why the database has stopped.
    pub(crate) failed: Arc<watch::Sender<Option<String>>>,
}

/// Says that the writer has gone, however it went.
struct Obituary(Arc<watch::Sender<Option<String>>>);

impl Drop for Obituary {
    fn drop(&mut self) {
        self.0.send_if_modified(|failed| {
            let first = failed.is_none();
            failed.get_or_insert_with(|| "the writer has ended".to_owned());
            first
        });
    }
}

impl Writer {
    /// Writes until every submitter has gone; then syncs.
    pub(crate) fn run(mut self, jobs: &Receiver<Job>) {
        let _obituary = Obituary(Arc::clone(&self.failed));
        let mut pending = Pending::default();
        let mut looked = Instant::now();
        let mut written = 0;
        self.look();
        loop {
            match jobs.recv_timeout(TICK.saturating_sub(looked.elapsed())) {
                Ok(job) => written += self.batch(job, jobs, &mut pending),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if looked.elapsed() >= TICK || written >= LOOK_AFTER {
                self.settle(&mut pending);
                self.look();
                looked = Instant::now();
                written = 0;
            }
        }
        self.settle(&mut pending);
        if let Err(error) = self.database.persist(PersistMode::SyncAll) {
            tracing::error!(%error, "the journal could not be synced at the end");
        }
    }

    /// Writes `first` and what waits behind it; returns the number of bytes.
    fn batch(&mut self, first: Job, jobs: &Receiver<Job>, pending: &mut Pending) -> usize {
        let mut answers = Vec::new();
        let mut synced = false;
        let begun = Instant::now();
        let mut next = Some(first);
        while let Some(job) = next {
            let answer = match self.refusal(job.durability) {
                Some(error) => (job.work)(Err(error)),
                None => {
                    synced |= job.durability == Durability::Synced;
                    (job.work)(Ok(&mut Transaction::new(&self.database, pending)))
                }
            };
            answers.push((answer, job.permit));
            next = if answers.len() >= MAX_JOBS || pending.bytes() >= MAX_BYTES {
                None
            } else if synced {
                jobs.try_recv().ok()
            } else {
                jobs.recv_timeout(GATHER.saturating_sub(begun.elapsed()))
                    .ok()
            };
        }
        if !pending.is_empty() {
            self.join_in(pending);
        }
        let bytes = pending.bytes();
        let outcome = self.commit(pending, synced);
        if outcome.is_ok() {
            pending.committed().for_each(|done| done());
            self.hooks().after.iter().for_each(|hook| hook());
        } else {
            pending.committed().for_each(drop);
        }
        for (answer, _permit) in answers {
            answer(outcome.clone());
        }
        bytes
    }

    /// Writes what only joins in with others, if there were none.
    fn settle(&self, pending: &mut Pending) {
        if self.failed.borrow().is_none() {
            self.join_in(pending);
            // Whoever joins in waits for no answer; that it failed is told to everybody.
            let _ = self.commit(pending, false);
        }
    }

    fn join_in(&self, pending: &mut Pending) {
        for hook in &self.hooks().before {
            hook(&mut Transaction::new(&self.database, pending));
        }
    }

    fn hooks(&self) -> MutexGuard<'_, Hooks> {
        self.hooks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refusal(&self, durability: Durability) -> Option<Error> {
        if let Some(why) = &*self.failed.borrow() {
            return Some(Error::Unavailable(why.clone()));
        }
        match (durability, &*self.full.borrow()) {
            (Durability::Synced, Some(why)) => Some(Error::Full(why.clone())),
            (Durability::Synced, None) | (Durability::Ordered, _) => None,
        }
    }

    /// Writes the batch. If that fails, the database has stopped.
    fn commit(&self, pending: &mut Pending, synced: bool) -> Result<(), Error> {
        self.try_commit(pending, synced).inspect_err(|error| {
            tracing::error!(%error, "the embedded database has stopped");
            self.failed.send_replace(Some(error.to_string()));
        })
    }

    fn try_commit(&self, pending: &mut Pending, synced: bool) -> Result<(), Error> {
        let mode = if synced {
            PersistMode::SyncData
        } else {
            PersistMode::Buffer
        };
        if pending.is_empty() {
            // Nothing to write, but what was read may come from an unsynced batch and must not be taken back after it was told.
            return if synced {
                self.database.persist(mode).map_err(Error::from_engine)
            } else {
                Ok(())
            };
        }
        let mut batch = self.database.batch().durability(Some(mode));
        pending.fill(&mut batch);
        batch.commit().map_err(Error::from_engine)
    }

    /// What is due every second, or after some megabytes: free space, and memory.
    fn look(&mut self) {
        let full = self.disk.look();
        self.full.send_if_modified(|before| {
            if *before == full {
                return false;
            }
            match (&*before, &full) {
                (None, Some(why)) => {
                    tracing::error!(why, "durable writes are refused: the disk is nearly full")
                }
                (Some(_), None) => tracing::warn!("the disk has room again: durable writes go on"),
                (None, None) | (Some(_), Some(_)) => {}
            }
            *before = full;
            true
        });
        self.release();
        self.shrink();
        self.wait_for_room();
    }

    /// Lets go of what was written out.
    ///
    /// The engine keeps each keyspace as it was before, for snapshots that may still be read, until it writes something out again: so the last memtables
    /// that were written out would stay for as long as it is quiet, uncounted. Nobody here reads a snapshot: every read asks for what stands now, and holds
    /// what it reads for itself.
    fn release(&self) {
        for keyspace in Keyspace::all(&self.database) {
            if keyspace.tree.version_free_list_len() == 0 {
                continue;
            }
            let mut history = keyspace.tree.get_version_history_lock();
            if let Err(error) = history.maintenance(keyspace.path(), self.database.visible_seqno())
            {
                tracing::warn!(%error, keyspace = %keyspace.name(), "memory of what was written out stays in use");
            }
        }
    }

    /// Lets writes wait, up to a second, while far too much is in memory: the disk does not keep up.
    fn wait_for_room(&self) {
        let begun = Instant::now();
        while memory_bytes(&self.database) > self.memory.saturating_mul(3) && begun.elapsed() < TICK
        {
            std::thread::sleep(Duration::from_millis(1));
            self.release();
        }
    }

    /// Has the largest memtables written out when all together hold too much. The engine bounds each by itself only.
    fn shrink(&self) {
        let mut excess = self
            .database
            .write_buffer_size()
            .saturating_sub(self.memory);
        if excess == 0 || self.database.outstanding_flushes() > 0 {
            return;
        }
        let mut keyspaces: Vec<_> = Keyspace::all(&self.database)
            .into_iter()
            .map(|keyspace| (keyspace.tree.active_memtable().size(), keyspace))
            .collect();
        keyspaces.sort_by_key(|(size, _)| std::cmp::Reverse(*size));
        // Half of the bound on top, so that this is not needed again at once.
        excess += self.memory / 2;
        for (size, keyspace) in keyspaces {
            if excess == 0 || size == 0 {
                return;
            }
            if let Err(error) = keyspace.rotate_memtable() {
                tracing::error!(%error, keyspace = %keyspace.name(), "a memtable could not be written out");
                return;
            }
            excess = excess.saturating_sub(size);
        }
    }
}

/// Bytes of recent writes in memory, over all keyspaces, those among them that were written out and not let go of yet.
pub(crate) fn memory_bytes(database: &fjall::Database) -> u64 {
    Keyspace::all(database)
        .iter()
        .map(|keyspace| keyspace.tree.get_version_history_lock().memtable_size_sum())
        .sum()
}
