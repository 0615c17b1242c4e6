//! The connection to Redis: made in the background, and made again whenever it fails.
//!
//! While there is none, calls fail at once: this is the breaker, too.

use super::address::{Address, Connection};
use crate::cache::Error;
use redis::{Cmd, FromRedisValue, RedisError, Script, ScriptInvocation};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

/// Between two attempts to connect: so long at first, twice as long each time.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_secs(1);

/// A connection that lasted so long was a good one: after it, pauses begin with the first again.
const LASTED: Duration = Duration::from_secs(5);

/// Connecting and probing take so long at most.
const ATTEMPT: Duration = Duration::from_secs(3);

/// A cluster is many servers, and its client goes after each of them by itself; only after so many failures in a row it is begun anew.
const FAILURES_OF_A_CLUSTER: u32 = 16;

/// Does what calls do: runs a script that writes.
const PROBE: &str = "redis.call('SET', KEYS[1], '1', 'PX', 1000) return 0";

/// The connection.
pub(super) struct Link {
    shared: Arc<Shared>,
    timeout: Duration,
    keeper: JoinHandle<()>,
}

struct Shared {
    state: watch::Sender<State>,
    lost: Notify,
    failures: AtomicU32,
}

#[derive(Clone)]
enum State {
    /// Not yet tried.
    New,
    Connected {
        connection: Connection,
        number: u64,
    },
    Away(String),
}

impl Drop for Link {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl Link {
    /// Connects in the background. `probe`: name of a key to write to.
    pub(super) fn new(address: Address, timeout: Duration, probe: String) -> Self {
        let shared = Arc::new(Shared {
            state: watch::Sender::new(State::New),
            lost: Notify::new(),
            failures: AtomicU32::new(0),
        });
        let keeper = tokio::spawn(keep(Arc::clone(&shared), address, probe));
        Self {
            shared,
            timeout,
            keeper,
        }
    }

    /// Whether there is a connection.
    pub(super) fn check(&self) -> Result<(), Error> {
        match &*self.shared.state.borrow() {
            State::Connected { .. } => Ok(()),
            State::Away(why) => Err(Error(why.clone())),
            State::New => Err(Error("not yet connected".to_owned())),
        }
    }

    /// Waits for a connection.
    pub(super) async fn connected(&self, patience: Duration) -> Result<(), Error> {
        let mut state = self.shared.state.subscribe();
        let connected = state.wait_for(|state| matches!(state, State::Connected { .. }));
        match timeout(patience, connected).await {
            Ok(_) => Ok(()),
            Err(_) => self.check(),
        }
    }

    pub(super) async fn command<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Error> {
        self.call(async |connection| match connection {
            Connection::Server(server) => command.query_async(server).await,
            Connection::Cluster(cluster) => command.query_async(cluster).await,
        })
        .await
    }

    /// One round trip; three when the server does not know the script yet.
    pub(super) async fn script<T: FromRedisValue>(
        &self,
        script: &ScriptInvocation<'_>,
    ) -> Result<T, Error> {
        self.call(async |connection| invoke(script, connection).await)
            .await
    }

    async fn call<T>(
        &self,
        call: impl AsyncFnOnce(&mut Connection) -> Result<T, RedisError>,
    ) -> Result<T, Error> {
        let state = self.shared.state.borrow().clone();
        let (mut connection, number) = match state {
            State::Connected { connection, number } => (connection, number),
            State::New => return Err(Error("not yet connected".to_owned())),
            State::Away(why) => return Err(Error(why)),
        };
        let why = match timeout(self.timeout, call(&mut connection)).await {
            Ok(Ok(value)) => {
                self.shared.failures.store(0, Ordering::Relaxed);
                return Ok(value);
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {:?}", self.timeout),
        };
        let failures = self.shared.failures.fetch_add(1, Ordering::Relaxed) + 1;
        let enough = match connection {
            // Whatever it was: the connection is made anew, and the probe shows whether the server does what is asked of it.
            Connection::Server(_) => 1,
            Connection::Cluster(_) => FAILURES_OF_A_CLUSTER,
        };
        if failures >= enough {
            self.shared.lose(number, &why);
        }
        Err(Error(why))
    }
}

impl Shared {
    /// Gives a connection up, unless another has taken its place.
    fn lose(&self, lost: u64, why: &str) {
        let is_news = self.state.send_if_modified(|state| {
            let is_it = matches!(state, State::Connected { number, .. } if *number == lost);
            if is_it {
                *state = State::Away(why.to_owned());
            }
            is_it
        });
        if is_news {
            tracing::warn!(why, "Redis is away; sessions are kept in memory");
            self.lost.notify_one();
        }
    }
}

async fn invoke<T: FromRedisValue>(
    script: &ScriptInvocation<'_>,
    connection: &mut Connection,
) -> Result<T, RedisError> {
    match connection {
        Connection::Server(server) => script.invoke_async(server).await,
        Connection::Cluster(cluster) => script.invoke_async(cluster).await,
    }
}

/// Connects, again and again.
async fn keep(shared: Arc<Shared>, address: Address, probe: String) {
    let script = Script::new(PROBE);
    let probe = script.key(probe);
    let mut pause = FIRST_PAUSE;
    let mut number = 0;
    loop {
        let attempt = async {
            let mut connection = address.connect().await?;
            invoke::<u8>(&probe, &mut connection).await?;
            Ok::<_, RedisError>(connection)
        };
        let why = match timeout(ATTEMPT, attempt).await {
            Ok(Ok(connection)) => {
                number += 1;
                shared.failures.store(0, Ordering::Relaxed);
                shared
                    .state
                    .send_replace(State::Connected { connection, number });
                tracing::info!("connected to Redis");
                let begun = Instant::now();
                shared.lost.notified().await;
                if begun.elapsed() >= LASTED {
                    pause = FIRST_PAUSE;
                }
                None
            }
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some(format!("no connection within {ATTEMPT:?}")),
        };
        if let Some(why) = why {
            let was_new = matches!(*shared.state.borrow(), State::New);
            if was_new {
                tracing::warn!(why, "Redis is away; sessions are kept in memory");
            }
            shared.state.send_replace(State::Away(why));
        }
        sleep(pause).await;
        pause = (pause * 2).min(LAST_PAUSE);
    }
}
