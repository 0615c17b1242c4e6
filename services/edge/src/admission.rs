//! Who may open a session: decided before any work, and never inside a session (SES-64).

use crate::{config::Config, instruments::Instruments};
use moka::future::Cache;
use platen_bus::Log;
use platen_proto::topic::Topic;
use platen_runtime::Health;
use platen_sessions::Secret;
use platen_store::Store;
use std::{
    ops::RangeInclusive,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// How often the state of log and store is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// For so long after a refusal for lack of room a storm is on: nobody lingers.
const STORM_US: i64 = 5_000_000;

/// Why a session is refused, with 503.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shed {
    /// The process is about to end.
    Draining,
    /// Log or store take nothing now.
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
    informs: Arc<AtomicUsize>,
    most_informs: usize,
    most_sessions: u64,
    /// Open sessions, so far as this process knows: those of which it has answered a POST, until they end or time out.
    open: Cache<Secret, ()>,
    open_count: AtomicU64,
    draining: AtomicBool,
    unwell: AtomicBool,
    lagging: AtomicBool,
    most_lag: u64,
    shed_us: AtomicI64,
}

/// An Inform is being answered, until this is dropped.
#[derive(Debug)]
pub(crate) struct Admitted(Arc<AtomicUsize>);

impl Drop for Admitted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Admission {
    pub(crate) fn new(config: &Config) -> Self {
        let limits = &config.limits;
        Self {
            informs: Arc::default(),
            most_informs: limits.informs_in_flight.max(1),
            most_sessions: limits.sessions.max(1),
            open: Cache::builder()
                .max_capacity(limits.sessions.max(1))
                .time_to_idle(config.session_timeout)
                .build(),
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
    pub(crate) fn admit(&self, now_us: i64) -> Result<Admitted, Shed> {
        self.check(now_us)?;
        self.informs.fetch_add(1, Ordering::Relaxed);
        Ok(Admitted(Arc::clone(&self.informs)))
    }

    /// A POST of a session was answered, and the session goes on.
    pub(crate) async fn goes_on(&self, secret: Secret) {
        self.open.insert(secret, ()).await;
    }

    /// A session has ended.
    pub(crate) async fn ended(&self, secret: Secret) {
        self.open.invalidate(&secret).await;
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

    /// How many sessions are open, about.
    pub(crate) async fn open_sessions(&self) -> u64 {
        self.open.run_pending_tasks().await;
        self.open.entry_count()
    }

    /// Looks at log, store and sessions again and again, until `stop`.
    pub(crate) async fn watch(
        &self,
        log: Arc<dyn Log>,
        store: Store,
        health: Health,
        instruments: &Instruments,
        stop: CancellationToken,
    ) {
        loop {
            let trouble = match (log.check().await, store.tables().check().await) {
                (Ok(()), Ok(())) => None,
                (Err(log), _) => Some(log.to_string()),
                (_, Err(store)) => Some(store.to_string()),
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
            let lag = log
                .lag("provisioning", &[Topic::Reports])
                .await
                .unwrap_or(u64::MAX);
            self.lagging.store(lag > self.most_lag, Ordering::Relaxed);
            let open = self.open_sessions().await;
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
}
