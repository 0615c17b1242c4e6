//! The memory adapters: for one process, and for an edge whose cache is away.

use crate::cache::{BUSY, DecidedMarks, DeviceHash, Error, Presence, Secret, SessionCache, Taken};
use async_trait::async_trait;
use bytes::Bytes;
use std::{
    collections::HashMap,
    fmt,
    hash::{BuildHasher, Hash, RandomState},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

/// Maps with a lock each, so that many cores seldom meet.
const SHARDS: usize = 64;

/// What has expired is removed from a map when something is stored there, at most this often.
const SWEEP: Duration = Duration::from_secs(5);

/// Marks live this long.
const MARK: Duration = Duration::from_secs(60);

/// A map whose entries expire, cut in pieces, with a bell in each that rings on changes.
struct Expiring<K, V> {
    pieces: Vec<Piece<K, V>>,
    hasher: RandomState,
}

struct Piece<K, V> {
    entries: Mutex<Entries<K, V>>,
    bell: Notify,
}

struct Entries<K, V> {
    map: HashMap<K, V>,
    swept: Instant,
}

/// Something that expires.
trait Mortal {
    fn is_gone(&self, now: Instant) -> bool;
}

impl<K: Hash + Eq, V: Mortal> Expiring<K, V> {
    fn new() -> Self {
        let piece = || Piece {
            entries: Mutex::new(Entries {
                map: HashMap::new(),
                swept: Instant::now(),
            }),
            bell: Notify::new(),
        };
        Self {
            pieces: (0..SHARDS).map(|_| piece()).collect(),
            hasher: RandomState::new(),
        }
    }

    fn piece<Q: Hash + ?Sized>(&self, key: &Q) -> &Piece<K, V> {
        let shards = u64::try_from(SHARDS).unwrap_or(1);
        &self.pieces[usize::try_from(self.hasher.hash_one(key) % shards).unwrap_or(0)]
    }
}

impl<K: Hash + Eq, V: Mortal> Piece<K, V> {
    fn lock(&self) -> MutexGuard<'_, Entries<K, V>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Hash + Eq, V: Mortal> Entries<K, V> {
    /// Removes what has expired, if it is time.
    fn sweep(&mut self, now: Instant) {
        if now.saturating_duration_since(self.swept) >= SWEEP {
            self.swept = now;
            self.map.retain(|_, entry| !entry.is_gone(now));
            if self.map.capacity() > 64 && self.map.len() < self.map.capacity() / 4 {
                self.map.shrink_to_fit();
            }
        }
    }
}

/// Sessions in the memory of this process.
pub struct MemoryCache {
    sessions: Expiring<DeviceHash, Session>,
}

struct Session {
    secret: Secret,
    record: Bytes,
    state: State,
}

#[derive(Clone, Copy)]
enum State {
    /// For the device's next POST, until then.
    Waiting(Instant),
    /// A POST is being answered; counts as gone from then on.
    Busy(Instant),
}

impl Mortal for Session {
    fn is_gone(&self, now: Instant) -> bool {
        match self.state {
            State::Waiting(until) | State::Busy(until) => until <= now,
        }
    }
}

impl fmt::Debug for MemoryCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryCache").finish_non_exhaustive()
    }
}

impl Default for MemoryCache {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryCache {
    /// An empty cache.
    #[must_use]
    pub fn new() -> Self {
        Self {
            sessions: Expiring::new(),
        }
    }

    /// Number of sessions, with those that have expired and were not yet removed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sessions
            .pieces
            .iter()
            .map(|piece| piece.lock().map.len())
            .sum()
    }

    /// Removes whatever session the device has.
    pub fn forget(&self, device: &DeviceHash) {
        let piece = self.sessions.piece(device);
        let had = piece.lock().map.remove(device).is_some();
        if had {
            piece.bell.notify_waiters();
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[async_trait]
impl SessionCache for MemoryCache {
    fn is_shared(&self) -> bool {
        false
    }

    async fn put(
        &self,
        device: DeviceHash,
        secret: Secret,
        record: Bytes,
        idle: Duration,
    ) -> Result<(), Error> {
        let now = Instant::now();
        let piece = self.sessions.piece(&device);
        {
            let mut entries = piece.lock();
            entries.sweep(now);
            entries.map.insert(
                device,
                Session {
                    secret,
                    record,
                    state: State::Waiting(now + idle),
                },
            );
        }
        piece.bell.notify_waiters();
        Ok(())
    }

    async fn put_back(
        &self,
        device: DeviceHash,
        secret: Secret,
        record: Bytes,
        idle: Duration,
    ) -> Result<bool, Error> {
        let now = Instant::now();
        let piece = self.sessions.piece(&device);
        let ours = {
            let mut entries = piece.lock();
            match entries
                .map
                .get_mut(&device)
                .filter(|session| session.secret == secret && !session.is_gone(now))
            {
                Some(session) => {
                    *session = Session {
                        secret,
                        record,
                        state: State::Waiting(now + idle),
                    };
                    true
                }
                None => false,
            }
        };
        piece.bell.notify_waiters();
        Ok(ours)
    }

    async fn take(&self, device: DeviceHash, secret: Secret) -> Result<Taken, Error> {
        let now = Instant::now();
        let mut entries = self.sessions.piece(&device).lock();
        let Some(session) = entries
            .map
            .get_mut(&device)
            .filter(|session| session.secret == secret)
        else {
            return Ok(Taken::Gone);
        };
        if session.is_gone(now) {
            entries.map.remove(&device);
            return Ok(Taken::Gone);
        }
        let record = session.record.clone();
        match session.state {
            State::Busy(_) => Ok(Taken::Busy(record)),
            State::Waiting(_) => {
                session.state = State::Busy(now + BUSY);
                Ok(Taken::Taken(record))
            }
        }
    }

    async fn remove(&self, device: DeviceHash, secret: Secret) -> Result<(), Error> {
        let piece = self.sessions.piece(&device);
        {
            let mut entries = piece.lock();
            if entries
                .map
                .get(&device)
                .is_some_and(|session| session.secret == secret)
            {
                entries.map.remove(&device);
            }
        }
        piece.bell.notify_waiters();
        Ok(())
    }

    async fn look(&self, device: DeviceHash) -> Result<Presence, Error> {
        let now = Instant::now();
        let entries = self.sessions.piece(&device).lock();
        let session = entries
            .map
            .get(&device)
            .filter(|session| !session.is_gone(now));
        Ok(
            session.map_or(Presence::None, |session| match session.state {
                State::Waiting(_) => Presence::Waiting,
                State::Busy(_) => Presence::Busy,
            }),
        )
    }

    async fn wait_idle(&self, device: DeviceHash, patience: Duration) -> Result<(), Error> {
        let deadline = Instant::now() + patience;
        let piece = self.sessions.piece(&device);
        loop {
            // Listens before it looks, so that no change falls in between.
            let mut rung = std::pin::pin!(piece.bell.notified());
            rung.as_mut().enable();
            let now = Instant::now();
            let busy = match piece.lock().map.get(&device).map(|session| session.state) {
                Some(State::Busy(until)) if until > now => until,
                Some(State::Busy(_) | State::Waiting(_)) | None => return Ok(()),
            };
            if now >= deadline {
                return Ok(());
            }
            // Over by time or by the bell: looked at in either case.
            let _ = timeout_at(busy.min(deadline), rung).await;
        }
    }
}

/// Marks in the memory of this process.
pub struct MemoryMarks {
    marks: Expiring<String, Mark>,
}

struct Mark {
    ordinal: u32,
    until: Instant,
}

impl Mortal for Mark {
    fn is_gone(&self, now: Instant) -> bool {
        self.until <= now
    }
}

impl fmt::Debug for MemoryMarks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryMarks").finish_non_exhaustive()
    }
}

impl Default for MemoryMarks {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryMarks {
    /// No marks.
    #[must_use]
    pub fn new() -> Self {
        Self {
            marks: Expiring::new(),
        }
    }
}

#[async_trait]
impl DecidedMarks for MemoryMarks {
    async fn mark(&self, session: &str, ordinal: u32) -> Result<(), Error> {
        let now = Instant::now();
        let piece = self.marks.piece(session);
        {
            let mut entries = piece.lock();
            entries.sweep(now);
            let known = entries
                .map
                .get(session)
                .filter(|mark| !mark.is_gone(now))
                .map(|mark| mark.ordinal);
            let ordinal = known.map_or(ordinal, |known| known.max(ordinal));
            entries.map.insert(
                session.to_owned(),
                Mark {
                    ordinal,
                    until: now + MARK,
                },
            );
        }
        piece.bell.notify_waiters();
        Ok(())
    }

    async fn wait(&self, session: &str, ordinal: u32, patience: Duration) -> Result<bool, Error> {
        let deadline = Instant::now() + patience;
        let piece = self.marks.piece(session);
        loop {
            let mut rung = std::pin::pin!(piece.bell.notified());
            rung.as_mut().enable();
            let now = Instant::now();
            let there = piece
                .lock()
                .map
                .get(session)
                .is_some_and(|mark| !mark.is_gone(now) && mark.ordinal >= ordinal);
            if there || now >= deadline {
                return Ok(there);
            }
            let _ = timeout_at(deadline, rung).await;
        }
    }
}
