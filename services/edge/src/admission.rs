//! Who may open a session: decided before any work, and never inside a session (SES-64).

use crate::{config::Config, instruments::Instruments, reach::Reach};
use platen_bus::Log;
use platen_proto::topic::Topic;
use platen_runtime::{Health, listener::Connection};
use platen_sessions::Secret;
use platen_store::{Error, Tables};
use std::{
    collections::HashMap,
    ops::RangeInclusive,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// How often the state of log and store is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Log and store have so long to say how they are.
const LONGEST: Duration = Duration::from_secs(2);

/// For so long after a refusal for lack of room a storm is on: nobody lingers.
const STORM_US: i64 = 5_000_000;

/// Why a session is refused, with 503.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shed {
    /// The process is about to end.
    Draining,
    /// The log takes nothing now, or the store is away and what has to be known is not remembered.
    Unwell,
    /// Too many Informs are being answered.
    Busy,
    /// Too many sessions are open.
    Full,
}

impl Shed {
    pub(crate) const fn reason(self) -> &'static str {
        match self {
            Self::Draining => "draining",
            Self::Unwell => "unwell",
            Self::Busy => "busy",
            Self::Full => "full",
        }
    }

    /// Seconds after which the device may try again; drawn from the range, so that those who were refused together do not come back together.
    pub(crate) const fn retry_after(self) -> RangeInclusive<u32> {
        match self {
            Self::Draining => 2..=10,
            Self::Busy => 5..=30,
            Self::Unwell | Self::Full => 15..=60,
        }
    }
}

/// What admission is decided by.
#[derive(Debug)]
pub(crate) struct Admission {
    posts: Arc<AtomicUsize>,
    informs: Arc<AtomicUsize>,
    most_informs: usize,
    most_sessions: u64,
    open: Arc<OpenSessions>,
    open_count: AtomicU64,
    draining: AtomicBool,
    unwell: AtomicBool,
    lagging: AtomicBool,
    most_lag: u64,
    shed_us: AtomicI64,
}

/// Open sessions, so far as this process knows: those of which it has answered a POST, until they end or time out.
///
/// Bounded by admission: none is opened while there are too many, as counted each second.
#[derive(Debug, Default)]
struct OpenSessions {
    /// In pieces, by the first byte of the secret, so that many cores seldom meet.
    pieces: [Mutex<HashMap<Secret, Open>>; 16],
}

#[derive(Debug)]
struct Open {
    /// Until when the session is open without another POST.
    until: Instant,
    /// Number of the connection without which it is no longer this process's affair.
    connection: Option<u64>,
    /// That connection has ended.
    has_left: bool,
}

impl OpenSessions {
    fn insert(&self, secret: Secret, open: Open) {
        self.piece(&secret).insert(secret, open);
    }

    /// A session goes on without that connection, if it was its last one.
    fn leave(&self, secret: &Secret, connection: u64) {
        if let Some(open) = self.piece(secret).get_mut(secret)
            && open.connection == Some(connection)
        {
            open.has_left = true;
        }
    }

    /// How many need this process.
    fn staying(&self, now: Instant) -> usize {
        let staying = |piece: &Mutex<HashMap<Secret, Open>>| {
            let needs = |open: &&Open| open.until > now && !open.has_left;
            lock(piece).values().filter(needs).count()
        };
        self.pieces.iter().map(staying).sum()
    }

    fn remove(&self, secret: &Secret) {
        self.piece(secret).remove(secret);
    }

    /// How many there are; those that have timed out go.
    fn count(&self, now: Instant) -> u64 {
        let count = |piece: &Mutex<HashMap<Secret, Open>>| {
            let mut piece = lock(piece);
            piece.retain(|_, open| open.until > now);
            if piece.len() < piece.capacity() / 8 {
                piece.shrink_to_fit();
            }
            piece.len() as u64
        };
        self.pieces.iter().map(count).sum()
    }

    fn piece(&self, secret: &Secret) -> MutexGuard<'_, HashMap<Secret, Open>> {
        lock(&self.pieces[usize::from(secret[0]) % self.pieces.len()])
    }
}

/// The session that a connection is used for; when the connection ends, or is used for another one, the session has left.
#[derive(Debug, Default, Clone)]
struct Guest(Option<Arc<Stay>>);

#[derive(Debug)]
struct Stay {
    sessions: Arc<OpenSessions>,
    secret: Secret,
    connection: u64,
}

impl Drop for Stay {
    fn drop(&mut self) {
        self.sessions.leave(&self.secret, self.connection);
    }
}

/// A map is whole after every statement: what a panicking thread left behind is usable.
fn lock<T>(piece: &Mutex<T>) -> MutexGuard<'_, T> {
    piece.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Something is being answered, until this is dropped.
#[derive(Debug)]
pub(crate) struct AtHand(Arc<AtomicUsize>);

impl AtHand {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for AtHand {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Admission {
    pub(crate) fn new(config: &Config) -> Self {
        let limits = &config.limits;
        Self {
            posts: Arc::default(),
            informs: Arc::default(),
            most_informs: limits.informs_in_flight.max(1),
            most_sessions: limits.sessions.max(1),
            open: Arc::default(),
            open_count: AtomicU64::new(0),
            draining: AtomicBool::new(false),
            unwell: AtomicBool::new(false),
            lagging: AtomicBool::new(false),
            most_lag: config.linger.lag,
            shed_us: AtomicI64::new(i64::MIN),
        }
    }

    /// Whether a session could be opened now.
    pub(crate) fn check(&self, now_us: i64) -> Result<(), Shed> {
        let shed = if self.draining.load(Ordering::Relaxed) {
            Shed::Draining
        } else if self.unwell.load(Ordering::Relaxed) {
            Shed::Unwell
        } else if self.informs.load(Ordering::Relaxed) >= self.most_informs {
            Shed::Busy
        } else if self.open_count.load(Ordering::Relaxed) >= self.most_sessions {
            Shed::Full
        } else {
            return Ok(());
        };
        if matches!(shed, Shed::Busy | Shed::Full) {
            self.shed_us.store(now_us, Ordering::Relaxed);
        }
        Err(shed)
    }

    /// Lets an Inform in.
    pub(crate) fn admit(&self, now_us: i64) -> Result<AtHand, Shed> {
        self.check(now_us)?;
        Ok(AtHand::new(&self.informs))
    }

    /// A POST of a session was answered, and the session goes on, for `idle` without another one; with `connection`, as this process's affair only
    /// while that lasts.
    pub(crate) fn goes_on(&self, secret: Secret, idle: Duration, connection: Option<&Connection>) {
        let open = Open {
            until: Instant::now() + idle,
            connection: connection.map(|connection| connection.id),
            has_left: false,
        };
        self.open.insert(secret, open);
        if let Some(connection) = connection {
            connection.remembered(|guest: &mut Guest| {
                if guest.0.as_ref().is_none_or(|stay| stay.secret != secret) {
                    guest.0 = Some(Arc::new(Stay {
                        sessions: Arc::clone(&self.open),
                        secret,
                        connection: connection.id,
                    }));
                }
            });
        }
    }

    /// A session has ended.
    pub(crate) fn ended(&self, secret: &Secret) {
        self.open.remove(secret);
    }

    /// Whether waiting for decisions makes sense: not while they come late anyway.
    pub(crate) fn may_linger(&self, now_us: i64) -> bool {
        !self.lagging.load(Ordering::Relaxed)
            && !self.draining.load(Ordering::Relaxed)
            && now_us.saturating_sub(self.shed_us.load(Ordering::Relaxed)) > STORM_US
    }

    /// From here on no session is opened.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether the process is about to end.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// How many sessions are open, about.
    pub(crate) fn open_sessions(&self) -> u64 {
        self.open.count(Instant::now())
    }

    /// How many of them need this process, and POSTs that it has at hand.
    pub(crate) fn at_hand(&self) -> usize {
        self.open.staying(Instant::now()) + self.posts.load(Ordering::Relaxed)
    }

    /// A POST is being answered, until what this returns is dropped.
    pub(crate) fn post(&self) -> AtHand {
        AtHand::new(&self.posts)
    }

    /// Looks at log, store and sessions again and again, until `stop`.
    ///
    /// Without the log nothing can be acknowledged, so no session is opened and the edge is not ready. Without the store, devices that are remembered can
    /// still report; only an edge that has never seen the store remembers nobody.
    pub(crate) async fn watch(
        &self,
        log: Arc<dyn Log>,
        store: Arc<Reach>,
        health: Health,
        instruments: &Instruments,
        stop: CancellationToken,
    ) {
        let mut knows_store = false;
        loop {
            let (log_says, store_says, lag) = tokio::join!(
                timeout(LONGEST, log.check()),
                timeout(LONGEST, store.check()),
                timeout(LONGEST, log.lag("provisioning", &[Topic::Reports]))
            );
            let silence = || format!("no answer within {LONGEST:?}");
            let log_trouble = match log_says {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => Some(format!("the log is unavailable: {}", silence())),
            };
            let store_says = store_says.unwrap_or_else(|_| Err(Error::Unavailable(silence())));
            // One that is full can be read.
            let is_away = matches!(&store_says, Err(error) if !matches!(error, Error::Full(_)));
            knows_store |= !is_away;
            if store.set_away(is_away) {
                match &store_says {
                    Err(error) if is_away => {
                        tracing::error!(%error, "the store is away; devices that are remembered can report, and get no commands");
                    }
                    _ => tracing::info!("the store is back"),
                }
            }
            let trouble = match (log_trouble, store_says) {
                (None, Err(error)) if !is_away || !knows_store => Some(error.to_string()),
                (trouble, _) => trouble,
            };
            if self.unwell.swap(trouble.is_some(), Ordering::Relaxed) != trouble.is_some() {
                match &trouble {
                    Some(trouble) => tracing::error!(%trouble, "new sessions are refused"),
                    None => tracing::info!("new sessions are accepted again"),
                }
            }
            match trouble {
                Some(trouble) => health.unready("edge", trouble),
                None if self.draining.load(Ordering::Relaxed) => health.unready("edge", "draining"),
                None => health.ready("edge"),
            }
            // A group that has never consumed, or a log that cannot say, is no reason to wait.
            let lag = lag.ok().and_then(Result::ok).unwrap_or(u64::MAX);
            self.lagging.store(lag > self.most_lag, Ordering::Relaxed);
            let open = self.open_sessions();
            self.open_count.store(open, Ordering::Relaxed);
            instruments.sessions_active(open);
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Limits;

    #[test]
    fn informs_are_let_in_while_there_is_room() {
        let limits = Limits {
            informs_in_flight: 1,
            ..Limits::default()
        };
        let admission = Admission::new(&Config {
            limits,
            ..Config::default()
        });
        assert!(admission.may_linger(0));
        let first = admission.admit(0).unwrap();

        assert_eq!(admission.admit(0).unwrap_err(), Shed::Busy);
        assert!(!admission.may_linger(STORM_US), "a storm is on");
        assert!(admission.may_linger(STORM_US + 1));

        drop(first);
        assert!(admission.admit(0).is_ok());
        admission.drain();
        assert_eq!(admission.admit(0).unwrap_err(), Shed::Draining);
    }

    #[test]
    fn sessions_are_open_until_they_end_or_time_out() {
        let open = OpenSessions::default();
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let insert = |secret, until| {
            let open_until = Open {
                until,
                connection: None,
                has_left: false,
            };
            open.insert(secret, open_until);
        };
        for first in 0..=255 {
            insert([first; 16], after(30));
        }
        assert_eq!(open.count(start), 256);

        open.remove(&[7; 16]);
        insert([8; 16], after(40));

        assert_eq!(open.count(after(29)), 255);
        assert_eq!(open.count(after(30)), 1, "used again");
        assert_eq!(open.count(after(40)), 0);
    }

    #[test]
    fn a_session_that_others_can_go_on_with_needs_nobody_after_its_connection() {
        let admission = Admission::new(&Config::default());
        let connection = || Connection::new(([127, 0, 0, 1], 7547).into(), false);
        let idle = Duration::from_secs(60);
        let (first, second) = (connection(), connection());
        admission.goes_on([1; 16], idle, Some(&first));
        admission.goes_on([2; 16], idle, None);
        assert_eq!(admission.at_hand(), 2);

        admission.goes_on([1; 16], idle, Some(&second));
        drop(first);
        assert_eq!(admission.at_hand(), 2, "it has another connection");
        admission.goes_on([3; 16], idle, Some(&second));
        assert_eq!(admission.at_hand(), 2, "the connection has another one");
        drop(second);
        assert_eq!(admission.at_hand(), 1);
        assert_eq!(admission.open_sessions(), 3, "somewhere");

        let post = admission.post();
        assert_eq!(admission.at_hand(), 2);
        drop(post);
        assert_eq!(admission.at_hand(), 1);
    }
}
