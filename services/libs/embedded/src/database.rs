//! Opening, and the way to the writer thread.

use crate::{
    disk::Disk,
    keyspace::{self, Keyspace, Kind},
    owner::{NotOwner, Owner},
    transaction::Transaction,
    writer::{self, Answer, Durability, Error, Hooks, Job, Writer},
};
use std::{
    collections::HashSet,
    fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread::{self, JoinHandle},
};
use tokio::sync::{Semaphore, oneshot, watch};

/// How the database is run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Bytes of file blocks kept in memory.
    pub cache_bytes: u64,
    /// Bytes of recent writes kept in memory, over all keyspaces, until they are written out.
    pub memory_bytes: u64,
    /// Bytes of journal after which keyspaces are written out: bounds the time of opening after a crash.
    pub journal_bytes: u64,
    /// Free bytes of the disk below which durable writes are refused.
    pub reserve_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cache_bytes: 32 << 20,
            memory_bytes: 24 << 20,
            journal_bytes: 128 << 20,
            reserve_bytes: 64 << 20,
        }
    }
}

/// Why a data directory could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Somebody else has it: two writers would destroy it.
    #[error("data directory {directory} is in use by {}", who(.process.as_ref()))]
    InUse {
        /// The directory.
        directory: PathBuf,
        /// Id of the process that has it.
        process: Option<u32>,
    },
    /// The file system refused.
    #[error("data directory {directory}: {error}")]
    Io {
        /// The directory.
        directory: PathBuf,
        /// What it said.
        error: io::Error,
    },
    /// What lies there cannot be read as a database: somebody must look.
    #[error("data directory {directory} cannot be opened: {what}")]
    Corrupt {
        /// The directory.
        directory: PathBuf,
        /// What the engine said.
        what: String,
    },
}

fn who(process: Option<&u32>) -> String {
    process.map_or_else(
        || "another process".to_owned(),
        |id| format!("process {id}"),
    )
}

/// Makes the directory if there is none, for its owner alone: there is personal data in it.
fn make(directory: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)
}

fn acquire(directory: &Path) -> Result<Owner, OpenError> {
    Owner::acquire(directory).map_err(|error| {
        let directory = directory.to_owned();
        match error {
            NotOwner::InUse(process) => OpenError::InUse { directory, process },
            NotOwner::Io(error) => OpenError::Io { directory, error },
        }
    })
}

/// A database that nobody can open, this process included, as long as the value lives: for copies of its files.
#[derive(Debug)]
pub struct Hold {
    _owner: Owner,
}

impl Hold {
    /// Holds the database in a directory.
    ///
    /// # Errors
    ///
    /// [`OpenError::InUse`] if somebody has it open, [`OpenError::Io`] if there is no such directory.
    pub fn on(directory: impl AsRef<Path>) -> Result<Self, OpenError> {
        let owner = acquire(directory.as_ref())?;
        Ok(Self { _owner: owner })
    }
}

/// Bytes that may wait for the writer; submitters wait for room beyond that.
const QUEUE_BYTES: usize = 32 << 20;

/// The database. Cheap to clone. When the last handle goes, what was submitted is written and synced, which blocks for that long.
#[derive(Clone)]
pub struct Database {
    shared: Arc<Shared>,
}

struct Shared {
    engine: fjall::Database,
    /// `None` only while it is dropped.
    jobs: Option<mpsc::Sender<Job>>,
    room: Arc<Semaphore>,
    hooks: Arc<Mutex<Hooks>>,
    full: Arc<watch::Sender<Option<String>>>,
    failed: Arc<watch::Sender<Option<String>>>,
    thread: Option<JoinHandle<()>>,
    parts: Mutex<HashSet<&'static str>>,
    _owner: Owner,
}

/// The exclusive use of something within a database, as long as the value lives.
#[derive(Debug)]
pub struct Part {
    database: Database,
    name: &'static str,
}

impl Drop for Part {
    fn drop(&mut self) {
        self.database.parts().remove(self.name);
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database")
            .field("failed", &*self.shared.failed.borrow())
            .finish_non_exhaustive()
    }
}

impl Database {
    /// Opens the data directory, and makes it if there is none. Takes as long as the journal needs to be read: a second or so after a crash.
    ///
    /// # Errors
    ///
    /// [`OpenError::InUse`] if a process, this one included, has it open.
    pub fn open(directory: impl AsRef<Path>, options: Options) -> Result<Self, OpenError> {
        let directory = directory.as_ref();
        let io = |error| OpenError::Io {
            directory: directory.to_owned(),
            error,
        };
        make(directory).map_err(io)?;
        let owner = acquire(directory)?;
        let engine = fjall::Database::builder(directory.join("database"))
            .cache_size(options.cache_bytes)
            .max_journaling_size(options.journal_bytes.max(64 << 20))
            .manual_journal_persist(true)
            .worker_threads(2)
            .with_compaction_filter_factories(Arc::new(keyspace::filter_of))
            .open()
            .map_err(|error| match error {
                fjall::Error::Io(error) => io(error),
                // Ours, since we are the owner: a keyspace of an earlier handle is still in use.
                fjall::Error::Locked => OpenError::InUse {
                    directory: directory.to_owned(),
                    process: Some(std::process::id()),
                },
                error => OpenError::Corrupt {
                    directory: directory.to_owned(),
                    what: error.to_string(),
                },
            })?;
        let (jobs, receiver) = mpsc::channel();
        let (hooks, full, failed) = (
            Arc::<Mutex<Hooks>>::default(),
            Arc::new(watch::Sender::new(None)),
            Arc::new(watch::Sender::new(None)),
        );
        let mut disk = Disk::new(directory.to_owned(), options.reserve_bytes);
        full.send_replace(disk.look());
        let writer = Writer {
            database: engine.clone(),
            disk,
            memory: options.memory_bytes,
            hooks: Arc::clone(&hooks),
            full: Arc::clone(&full),
            failed: Arc::clone(&failed),
        };
        let thread = thread::Builder::new()
            .name("platen-writer".to_owned())
            .spawn(move || writer.run(&receiver))
            .map_err(io)?;
        let room = Arc::new(Semaphore::new(QUEUE_BYTES));
        let shared = Shared {
            engine,
            jobs: Some(jobs),
            room,
            hooks,
            full,
            failed,
            thread: Some(thread),
            parts: Mutex::default(),
            _owner: owner,
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Opens a keyspace, and makes it if there is none.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] if the disk cannot be written.
    pub fn keyspace(&self, name: &str, kind: Kind) -> Result<Keyspace, Error> {
        Keyspace::open(&self.shared.engine, name, kind)
    }

    /// Takes something for oneself that must not be there twice. `None`: it is taken.
    #[must_use]
    pub fn take(&self, name: &'static str) -> Option<Part> {
        self.parts().insert(name).then(|| Part {
            database: self.clone(),
            name,
        })
    }

    fn parts(&self) -> MutexGuard<'_, HashSet<&'static str>> {
        self.shared
            .parts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Names of the [`Kind::Plain`] keyspaces that begin with `prefix`, in no order.
    #[must_use]
    pub fn keyspace_names(&self, prefix: &str) -> Vec<String> {
        Keyspace::names(&self.shared.engine, prefix)
    }

    /// Runs a function on the writer thread, after everything that was submitted before it, and waits until what it wrote is written.
    ///
    /// `bytes`: about how much it will write; waits for room if too much waits already. If the call is dropped, it may happen all the same.
    /// The function must be short and must not wait for anything.
    ///
    /// # Errors
    ///
    /// [`Error::Full`] if it is [`Durability::Synced`] and the disk is nearly full (the function did not run), else [`Error::Unavailable`].
    pub async fn transact<R: Send + 'static>(
        &self,
        durability: Durability,
        bytes: usize,
        work: impl FnOnce(&mut Transaction<'_>) -> R + Send + 'static,
    ) -> Result<R, Error> {
        let (answer, answered) = oneshot::channel();
        self.submit(durability, bytes, |transaction| {
            let outcome = transaction.map(work);
            Box::new(move |committed| {
                // The caller may have gone; that is its affair.
                let _ = answer.send(committed.and(outcome));
            })
        })
        .await?;
        answered.await.map_err(|_| Error::ended())?
    }

    /// Waits until everything that was submitted before is on disk.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] if the disk failed.
    pub async fn flush(&self) -> Result<(), Error> {
        self.transact(Durability::Ordered, 0, |_| ()).await?;
        let engine = self.shared.engine.clone();
        let synced =
            tokio::task::spawn_blocking(move || engine.persist(fjall::PersistMode::SyncAll)).await;
        synced
            .map_err(|_| Error::ended())?
            .map_err(Error::from_engine)
    }

    /// Whether durable writes are taken now.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn check(&self) -> Result<(), Error> {
        if let Some(why) = &*self.shared.failed.borrow() {
            return Err(Error::Unavailable(why.clone()));
        }
        match &*self.shared.full.borrow() {
            Some(why) => Err(Error::Full(why.clone())),
            None => Ok(()),
        }
    }

    /// Bytes on disk.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] if the disk cannot be read.
    pub fn disk_bytes(&self) -> Result<u64, Error> {
        self.shared.engine.disk_space().map_err(Error::from_engine)
    }

    /// Bytes of recent writes in memory, over all keyspaces, those among them that were written out and not let go of yet.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] if the database is closed.
    pub async fn memory_bytes(&self) -> Result<u64, Error> {
        let engine = self.shared.engine.clone();
        self.transact(Durability::Ordered, 0, move |_| {
            writer::memory_bytes(&engine)
        })
        .await
    }

    /// Waits until the database has stopped for good, and says why. The process should end then: a new one may recover.
    pub async fn failure(&self) -> String {
        let mut failed = self.shared.failed.subscribe();
        match failed.wait_for(Option::is_some).await {
            Ok(why) => why.clone().unwrap_or_default(),
            Err(_) => "the database is closed".to_owned(),
        }
    }

    /// Has `hook` called on the writer thread after each batch that was written. Must be short.
    pub fn after_each_batch(&self, hook: impl Fn() + Send + 'static) {
        self.hooks().after.push(Box::new(hook));
    }

    /// Has `hook` put its part into each batch that is written anyway, and into one of its own once a second and at the end. For what comes
    /// often and may be written late: it is on disk no earlier than anything that was answered before, and no later than a second after.
    pub fn join_each_batch(&self, hook: impl Fn(&mut Transaction<'_>) + Send + 'static) {
        self.hooks().before.push(Box::new(hook));
    }

    fn hooks(&self) -> MutexGuard<'_, Hooks> {
        self.shared
            .hooks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    async fn submit(
        &self,
        durability: Durability,
        bytes: usize,
        work: impl FnOnce(Result<&mut Transaction<'_>, Error>) -> Answer + Send + 'static,
    ) -> Result<(), Error> {
        // Nobody asks for more than half, so that a large write cannot starve behind small ones for long.
        let bytes = u32::try_from(bytes.clamp(256, QUEUE_BYTES / 2)).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.shared.room);
        let permit = room
            .acquire_many_owned(bytes)
            .await
            .map_err(|_| Error::ended())?;
        let jobs = self.shared.jobs.as_ref().ok_or_else(Error::ended)?;
        jobs.send(Job {
            durability,
            work: Box::new(work),
            permit,
        })
        .map_err(|_| Error::ended())
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        drop(self.jobs.take());
        // A job may hold the last handle; the writer cannot wait for itself, and ends by itself.
        if let Some(thread) = self
            .thread
            .take()
            .filter(|thread| thread.thread().id() != thread::current().id())
            && thread.join().is_err()
        {
            tracing::error!("the writer thread panicked");
        }
    }
}
