//! Where sessions are kept between two POSTs.

use crate::{
    cookie::Ticket,
    instruments::Instruments,
    session::{Record, Session},
};
use bytes::Bytes;
use platen_sessions::{BUSY, DeviceHash, Presence, SessionCache, Taken, memory::MemoryCache};
use prost::Message;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;

/// The session cache, and this process's own memory for when it is away: a device that stays with this edge keeps its session.
///
/// Whether the cache has taken what an error was the answer to is not known, so of a session that is kept here there may be another copy in the cache, and
/// another edge may go on with that. It does no harm that both count:
///
/// - the copy that has been stored more often is the newer; where both can be seen, only that one goes on;
/// - what must happen once is claimed, command by command, in the store, whichever copy sends it;
/// - a copy from here numbers its reports far from any other's ([`apart`]), so that no report is taken for the repetition of another.
#[derive(Debug)]
pub(crate) struct Sessions {
    cache: Arc<dyn SessionCache>,
    own: MemoryCache,
    instruments: Arc<Instruments>,
    base: Instant,
    /// Until then (milliseconds from the base) something may be kept here.
    kept_until: AtomicU64,
}

/// What became of a session that was asked for.
#[derive(Debug)]
pub(crate) enum Found {
    /// It is the caller's until it is put back or removed.
    Taken(Box<Session>),
    /// Another POST of it is being answered, even after waiting.
    Busy,
    /// There is none.
    Gone,
    /// The cache is away, and it is not kept here: another try may find it.
    Away,
}

impl Sessions {
    pub(crate) fn new(cache: Arc<dyn SessionCache>, instruments: Arc<Instruments>) -> Self {
        Self {
            cache,
            own: MemoryCache::new(),
            instruments,
            base: Instant::now(),
            kept_until: AtomicU64::new(0),
        }
    }

    /// Stores a new session; whatever the device had is gone.
    pub(crate) async fn put(&self, session: &mut Session, idle: Duration) {
        let (ticket, record) = (session.ticket, session.write());
        match self
            .cache
            .put(ticket.device, ticket.secret, record.clone(), idle)
            .await
        {
            Ok(()) if self.may_keep() => self.own.forget(&ticket.device),
            Ok(()) => {}
            Err(error) => {
                tracing::debug!(%error, "keeping a session in memory");
                self.keep(ticket, record, idle).await;
            }
        }
    }

    /// Stores a session back; `false`: the device has opened another one meanwhile, or this one was lost.
    pub(crate) async fn put_back(&self, session: &mut Session, idle: Duration) -> bool {
        let (ticket, record) = (session.ticket, session.write());
        let (device, secret) = (ticket.device, ticket.secret);
        let answer = self
            .cache
            .put_back(device, secret, record.clone(), idle)
            .await;
        match answer {
            Ok(true) => {
                self.forget(ticket).await;
                return true;
            }
            Ok(false) if !self.may_keep() => return false,
            Ok(false) => {}
            Err(ref error) => tracing::debug!(%error, "keeping a session in memory"),
        }
        let is_away = answer.is_err();
        // It may be one that was kept here all along.
        if let Ok(true) = self
            .own
            .put_back(device, secret, record.clone(), idle)
            .await
        {
            self.note(idle);
            return true;
        }
        if !is_away || !matches!(self.own.look(device).await, Ok(Presence::None)) {
            return false;
        }
        self.keep(ticket, record, idle).await;
        true
    }

    /// Takes a session, waiting up to `patience` if another POST of it is being answered.
    pub(crate) async fn take(&self, ticket: Ticket, patience: Duration) -> Found {
        let mut waited = false;
        loop {
            let found = if self.may_keep() {
                self.take_kept(ticket).await
            } else {
                self.take_cached(ticket).await
            };
            let holder: &dyn SessionCache = match found {
                Copy::Cached(session) => return Found::Taken(session),
                Copy::Kept(mut session) => {
                    apart(&mut session.record);
                    return Found::Taken(session);
                }
                Copy::Gone => return Found::Gone,
                Copy::Away => return Found::Away,
                Copy::Busy { .. } if waited => return Found::Busy,
                Copy::Busy { here: true, .. } => &self.own,
                Copy::Busy { here: false, .. } => &*self.cache,
            };
            waited = true;
            if holder.wait_idle(ticket.device, patience).await.is_err() {
                return Found::Busy;
            }
        }
    }

    /// Takes what the cache has.
    async fn take_cached(&self, ticket: Ticket) -> Copy {
        match self.cache.take(ticket.device, ticket.secret).await {
            Ok(Taken::Taken(bytes)) => match Session::read(ticket, bytes) {
                Some(session) => Copy::Cached(Box::new(session)),
                None => {
                    tracing::error!(
                        "a session's record cannot be read; was it written by another version?"
                    );
                    self.remove(ticket).await;
                    Copy::Gone
                }
            },
            Ok(Taken::Busy(bytes)) => Copy::Busy {
                here: false,
                turn: Record::decode(bytes).map_or(u32::MAX, |record| record.turn),
            },
            Ok(Taken::Gone) => Copy::Gone,
            Err(error) => {
                tracing::debug!(%error, "a session lies in a cache that is away, if anywhere");
                Copy::Away
            }
        }
    }

    /// Takes what is kept here, unless the cache shows that it is not the device's session any more, or has a newer copy of it.
    async fn take_kept(&self, ticket: Ticket) -> Copy {
        let own = match self.own.take(ticket.device, ticket.secret).await {
            Ok(Taken::Taken(bytes)) => Session::read(ticket, bytes).map(Box::new),
            Ok(Taken::Busy(_)) => {
                return Copy::Busy {
                    here: true,
                    turn: u32::MAX,
                };
            }
            Ok(Taken::Gone) | Err(_) => None,
        };
        let Some(own) = own else {
            return self.take_cached(ticket).await;
        };
        let is_newer = match self.take_cached(ticket).await {
            Copy::Cached(cached) if cached.record.turn >= own.record.turn => {
                self.forget(ticket).await;
                return Copy::Cached(cached);
            }
            Copy::Cached(_) | Copy::Kept(_) => true,
            // This edge has taken it there and could not store it back, or another one is ahead.
            Copy::Busy { turn, .. } => turn < own.record.turn,
            // It never arrived there, or was lost, or the cache is away; or the device has opened another one.
            Copy::Gone | Copy::Away => !matches!(
                self.cache.look(ticket.device).await,
                Ok(Presence::Waiting | Presence::Busy)
            ),
        };
        if is_newer {
            return Copy::Kept(own);
        }
        self.forget(ticket).await;
        self.take_cached(ticket).await
    }

    /// Removes a session.
    pub(crate) async fn remove(&self, ticket: Ticket) {
        self.forget(ticket).await;
        if let Err(error) = self.cache.remove(ticket.device, ticket.secret).await {
            tracing::debug!(%error, "a session stays in the cache until it expires");
        }
    }

    /// Whether the device has a session, so far as this edge can see; none, if it cannot.
    pub(crate) async fn look(&self, device: DeviceHash) -> Presence {
        if self.may_keep()
            && let Ok(found @ (Presence::Waiting | Presence::Busy)) = self.own.look(device).await
        {
            return found;
        }
        self.cache.look(device).await.unwrap_or(Presence::None)
    }

    /// Whether there may be other edges.
    pub(crate) fn are_shared(&self) -> bool {
        self.cache.is_shared()
    }

    /// Whether other edges can go on with the device's session.
    pub(crate) async fn is_shared(&self, device: DeviceHash) -> bool {
        self.cache.is_shared()
            && (!self.may_keep() || matches!(self.own.look(device).await, Ok(Presence::None)))
    }

    async fn keep(&self, ticket: Ticket, record: Bytes, idle: Duration) {
        self.note(idle);
        self.instruments.session_kept();
        let _ = self
            .own
            .put(ticket.device, ticket.secret, record, idle)
            .await;
    }

    /// What is kept of the session here does not count any more.
    async fn forget(&self, ticket: Ticket) {
        if self.may_keep() {
            let _ = self.own.remove(ticket.device, ticket.secret).await;
        }
    }

    /// Something is kept here, for so long without a POST.
    fn note(&self, idle: Duration) {
        let until = self.base.elapsed() + idle.max(BUSY) + Duration::from_secs(1);
        let until = u64::try_from(until.as_millis()).unwrap_or(u64::MAX);
        self.kept_until.fetch_max(until, Ordering::Relaxed);
    }

    fn may_keep(&self) -> bool {
        let until = self.kept_until.load(Ordering::Relaxed);
        until > 0 && self.base.elapsed().as_millis() < u128::from(until)
    }
}

/// What one place has of a session.
enum Copy {
    Cached(Box<Session>),
    Kept(Box<Session>),
    /// Another POST of it is being answered: by this edge, from its own memory, or by whoever took it there after so many turns.
    Busy {
        here: bool,
        turn: u32,
    },
    Gone,
    /// The cache cannot be asked.
    Away,
}

/// Numbers a session's further reports so that they collide with no other copy's. Numbers only grow; a session of the longest duration has room for
/// thousands of such steps.
fn apart(record: &mut Record) {
    let step = rand::random_range(1 << 10..1 << 20);
    record.ordinal = record.ordinal.saturating_add(step);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Current;
    use platen_cwmp::acs;
    use platen_runtime::Metrics;
    use platen_sessions::{
        Error,
        watched::{Call, Watch, Watched},
    };

    const IDLE: Duration = Duration::from_secs(90);
    const TICKET: Ticket = Ticket {
        device: [1; 16],
        secret: [2; 16],
    };

    /// The way of one edge to a cache that others use, too.
    #[derive(Debug)]
    struct Way(std::sync::Mutex<State>);

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum State {
        Open,
        /// Nothing gets through.
        Closed,
        /// What is asked gets through, the answer does not.
        Mute,
    }

    impl Way {
        fn is(&self, state: State) {
            *self.0.lock().unwrap() = state;
        }

        fn passes_unless(&self, state: State) -> Result<(), Error> {
            if *self.0.lock().unwrap() == state {
                return Err(Error("as the test wants it".to_owned()));
            }
            Ok(())
        }
    }

    impl Watch for Way {
        fn before(&self, _: Call) -> Result<(), Error> {
            self.passes_unless(State::Closed)
        }

        fn after(&self, _: Call, _: Duration) -> Result<(), Error> {
            self.passes_unless(State::Mute)
        }
    }

    fn edges() -> [(Sessions, Arc<Way>); 2] {
        let cache = Arc::new(MemoryCache::new());
        [(); 2].map(|()| {
            let way = Arc::new(Way(std::sync::Mutex::new(State::Open)));
            let cache = Watched::new(cache.clone(), way.clone());
            let instruments = Arc::new(Instruments::new(&Metrics::new("test").unwrap()));
            (Sessions::new(cache, instruments), way)
        })
    }

    fn session(ticket: Ticket) -> Session {
        Session {
            ticket,
            record: Record::default(),
            machine: acs::Session::new("x", acs::Limits::default()),
        }
    }

    async fn taken(sessions: &Sessions, ticket: Ticket) -> Session {
        match sessions.take(ticket, Duration::ZERO).await {
            Found::Taken(session) => *session,
            other => panic!("{other:?}"),
        }
    }

    /// A POST with a report: the ordinal that it got, and whether the session goes on.
    async fn post(sessions: &Sessions, ticket: Ticket) -> (u32, bool) {
        let mut session = taken(sessions, ticket).await;
        let ordinal = session.record.ordinal;
        session.record.ordinal += 1;
        (ordinal, sessions.put_back(&mut session, IDLE).await)
    }

    #[tokio::test]
    async fn what_is_put_is_taken_as_it_was() {
        let [(sessions, _), _] = edges();
        let mut session = session(TICKET);
        session.record.tenant = "t".into();
        session.record.ordinal = 4;
        session.record.current = Some(Current {
            command: "c".into(),
            more_follows: true,
            ..Current::default()
        });
        sessions.put(&mut session, IDLE).await;

        assert_eq!(taken(&sessions, TICKET).await.record, session.record);
        assert!(matches!(
            sessions.take(TICKET, Duration::ZERO).await,
            Found::Busy
        ));
        let stranger = Ticket {
            secret: [3; 16],
            ..TICKET
        };
        assert!(matches!(
            sessions.take(stranger, Duration::ZERO).await,
            Found::Gone
        ));
        sessions.remove(TICKET).await;
        assert!(matches!(
            sessions.take(TICKET, Duration::ZERO).await,
            Found::Gone
        ));
    }

    #[tokio::test]
    async fn a_copy_that_another_edge_has_gone_on_with_is_the_session() {
        let [(one, way), (other, _)] = edges();
        one.put(&mut session(TICKET), IDLE).await;
        way.is(State::Mute);
        let mut held = session(TICKET);
        held.record.turn = 1;
        // The first edge does not hear that it was stored back, and keeps a copy.
        assert!(one.put_back(&mut held, IDLE).await);
        assert_eq!(post(&other, TICKET).await, (0, true));
        assert_eq!(post(&other, TICKET).await, (1, true));

        way.is(State::Open);

        assert_eq!(post(&one, TICKET).await, (2, true));
        assert_eq!(post(&other, TICKET).await, (3, true));
    }

    #[tokio::test]
    async fn a_copy_that_is_newer_than_the_caches_goes_on() {
        let [(one, way), (other, _)] = edges();
        // It arrived, and nobody heard of it; then nothing arrives.
        way.is(State::Mute);
        one.put(&mut session(TICKET), IDLE).await;
        way.is(State::Closed);
        let (first, goes_on) = post(&one, TICKET).await;
        assert!(goes_on);

        way.is(State::Open);

        let (second, goes_on) = post(&one, TICKET).await;
        assert!(goes_on && second > first, "{first} {second}");
        // From here on every edge has it.
        assert_eq!(post(&other, TICKET).await, (second + 1, true));
    }

    #[tokio::test]
    async fn copies_that_do_not_see_each_other_number_their_reports_apart() {
        let [(one, way), (other, _)] = edges();
        way.is(State::Mute);
        one.put(&mut session(TICKET), IDLE).await;
        way.is(State::Closed);

        let mut ordinals = Vec::new();
        for _ in 0..20 {
            ordinals.push(post(&one, TICKET).await.0);
            ordinals.push(post(&other, TICKET).await.0);
        }

        ordinals.sort_unstable();
        ordinals.dedup();
        assert_eq!(ordinals.len(), 40);
    }

    #[tokio::test]
    async fn a_session_of_a_cache_that_has_lost_it_goes_on_where_it_is_kept() {
        let [(one, way), (other, _)] = edges();
        way.is(State::Closed);
        one.put(&mut session(TICKET), IDLE).await;
        assert_eq!(one.look(TICKET.device).await, Presence::Waiting);
        assert_eq!(other.look(TICKET.device).await, Presence::None);
        way.is(State::Open);

        assert!(post(&one, TICKET).await.1);
        assert!(post(&one, TICKET).await.1);
        assert!(matches!(
            other.take(TICKET, Duration::ZERO).await,
            Found::Gone
        ));
        one.remove(TICKET).await;
        assert!(matches!(
            one.take(TICKET, Duration::ZERO).await,
            Found::Gone
        ));
    }

    #[tokio::test]
    async fn a_session_that_a_newer_one_has_replaced_is_gone_everywhere() {
        let [(one, way), (other, _)] = edges();
        let newer = Ticket {
            secret: [9; 16],
            ..TICKET
        };
        way.is(State::Closed);
        one.put(&mut session(TICKET), IDLE).await;
        let mut late = taken(&one, TICKET).await;
        other.put(&mut session(newer), IDLE).await;
        assert!(one.put_back(&mut late, IDLE).await, "nobody can know");

        way.is(State::Open);

        assert!(matches!(
            one.take(TICKET, Duration::ZERO).await,
            Found::Gone
        ));
        assert!(post(&one, newer).await.1);

        // Kept in the same edge: the older one is not stored over it.
        let mut late = taken(&one, newer).await;
        way.is(State::Closed);
        one.put(&mut session(TICKET), IDLE).await;
        assert!(!one.put_back(&mut late, IDLE).await);
        assert!(post(&one, TICKET).await.1);
    }

    #[tokio::test]
    async fn a_kept_session_is_taken_once() {
        let [(one, way), _] = edges();
        way.is(State::Closed);
        one.put(&mut session(TICKET), IDLE).await;
        let mut first = taken(&one, TICKET).await;
        let (second, ()) = tokio::join!(one.take(TICKET, IDLE), async {
            tokio::task::yield_now().await;
            assert!(one.put_back(&mut first, IDLE).await);
        });
        assert!(matches!(second, Found::Taken(_)));
        assert!(matches!(
            one.take(TICKET, Duration::ZERO).await,
            Found::Busy
        ));
    }
}
