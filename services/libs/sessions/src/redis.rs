//! The Redis adapters: sessions and marks that every edge sees.
//!
//! A session is one string under one key: its state, its secret, its record. What has to look before it writes is a script, so every call is one round
//! trip. Every key expires by itself. Nothing here is worth keeping: a server that starts empty costs the sessions that were open.
//!
//! A call takes [`RedisConfig::timeout`] at most; it is generous, because whoever gives up early breaks sessions that may go on anywhere. Once one has failed, further ones fail at once until the server answers again; it is asked in the
//! background, by a script that writes, so that a server that is loading, full, or a replica counts as away.

mod address;
mod link;

use crate::cache::{BUSY, DecidedMarks, DeviceHash, Error, Presence, Secret, SessionCache, Taken};
use address::Address;
use async_trait::async_trait;
use bytes::Bytes;
use link::Link;
use redis::Script;
use std::{fmt, path::PathBuf, sync::Arc, time::Duration};
use tokio::time::{Instant, sleep};

/// The longest [`RedisConfig::timeout`].
pub const MAX_TIMEOUT: Duration = Duration::from_secs(5);

/// Marks live this long.
const MARK: Duration = Duration::from_secs(60);

/// Who waits looks again after so long, then after half as long again each time.
const FIRST_LOOK: Duration = Duration::from_millis(10);
const LAST_LOOK: Duration = Duration::from_millis(100);

/// State of a session, its first byte: it waits for the device's next POST, or one is being answered.
const WAITING: u8 = b'w';
const BUSY_NOW: u8 = b'b';

/// Where Redis is, and how it is spoken to.
#[derive(Clone)]
pub struct RedisConfig {
    /// One of
    ///
    /// - `redis://HOST:PORT/DB`: a server;
    /// - `redis+sentinel://HOST:PORT,HOST:PORT,…/NAME/DB`: the primary that sentinels know by that name;
    /// - `redis+cluster://HOST:PORT,HOST:PORT,…`: a cluster, found by any of these nodes.
    ///
    /// `rediss` in place of `redis`: with TLS. `USER:PASSWORD@` may stand before the first host. The number of a database may be left out.
    pub url: String,
    /// What the names of all keys begin with, where several installations share a server.
    pub prefix: String,
    /// In place of the URL's.
    pub username: Option<String>,
    /// In place of the URL's.
    pub password: Option<String>,
    /// What the sentinels themselves ask for.
    pub sentinel_password: Option<String>,
    /// Authorities (PEM) that vouch for the server, in place of the system's.
    pub ca: Option<PathBuf>,
    /// What this client shows the server: certificate and key (PEM).
    pub client: Option<(PathBuf, PathBuf)>,
    /// A call takes so long at most; no more than [`MAX_TIMEOUT`], whatever is set.
    pub timeout: Duration,
}

impl RedisConfig {
    /// A server, with default settings.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            prefix: "platen:".to_owned(),
            username: None,
            password: None,
            sentinel_password: None,
            ca: None,
            client: None,
            timeout: Duration::from_secs(2),
        }
    }
}

/// Without what is secret, and a URL may be.
impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConfig")
            .field("prefix", &self.prefix)
            .field("ca", &self.ca)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// The configuration cannot be used, whatever the server does.
#[derive(Debug, thiserror::Error)]
pub enum BadConfig {
    /// The URL says nothing that is understood. Never holds the URL itself, which may have a password.
    #[error("the URL of Redis {0}")]
    Url(String),
    /// A certificate or key cannot be read.
    #[error("{0}: {1}")]
    File(PathBuf, std::io::Error),
    /// A certificate or key is none.
    #[error("TLS for Redis: {0}")]
    Tls(String),
}

/// Begins to connect, in the background, and returns what uses that connection. Needs a Tokio runtime; the server may be away.
///
/// # Errors
///
/// The configuration is wrong, or names files that cannot be read.
pub fn open(config: &RedisConfig) -> Result<(RedisCache, RedisMarks), BadConfig> {
    let address = Address::read(config)?;
    let timeout = config.timeout.clamp(Duration::from_millis(1), MAX_TIMEOUT);
    let probe = format!("{}probe", config.prefix);
    let link = Arc::new(Link::new(address, timeout, probe));
    let cache = RedisCache {
        link: Arc::clone(&link),
        prefix: format!("{}session:", config.prefix),
        take: Script::new(TAKE),
        put_back: Script::new(PUT_BACK),
        remove: Script::new(REMOVE),
    };
    let marks = RedisMarks {
        link,
        prefix: format!("{}mark:", config.prefix),
        mark: Script::new(MARK_UP_TO),
    };
    Ok((cache, marks))
}

/// Sessions in Redis.
pub struct RedisCache {
    link: Arc<Link>,
    prefix: String,
    take: Script,
    put_back: Script,
    remove: Script,
}

impl fmt::Debug for RedisCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisCache")
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

/// Of a busy session whose edge has died nothing is left after `ARGV[2]`.
const TAKE: &str = "
local head = redis.call('GETRANGE', KEYS[1], 0, 16)
if string.sub(head, 2) ~= ARGV[1] then return false end
local record = redis.call('GETRANGE', KEYS[1], 17, -1)
if string.sub(head, 1, 1) == 'b' then return {1, record} end
redis.call('SETRANGE', KEYS[1], 0, 'b')
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return {0, record}";

const PUT_BACK: &str = "
if redis.call('GETRANGE', KEYS[1], 1, 16) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1";

const REMOVE: &str = "
if redis.call('GETRANGE', KEYS[1], 1, 16) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 0";

const MARK_UP_TO: &str = "
local known = redis.call('GET', KEYS[1])
local mark = tonumber(ARGV[1])
if known and tonumber(known) > mark then mark = tonumber(known) end
redis.call('SET', KEYS[1], string.format('%d', mark), 'PX', ARGV[2])
return 0";

impl RedisCache {
    /// Whether the server answers, and if not, why.
    ///
    /// # Errors
    ///
    /// It has not answered the last time that it was asked.
    pub fn check(&self) -> Result<(), Error> {
        self.link.check()
    }

    /// The same, waiting for the first answer until `patience` is over.
    ///
    /// # Errors
    ///
    /// It has not answered by then.
    pub async fn connected(&self, patience: Duration) -> Result<(), Error> {
        self.link.connected(patience).await
    }

    fn key(&self, device: DeviceHash) -> String {
        use fmt::Write;
        let mut key = self.prefix.clone();
        for byte in device {
            let _ = write!(key, "{byte:02x}");
        }
        key
    }

    async fn state(&self, key: &str) -> Result<Option<u8>, Error> {
        let state: Vec<u8> = self
            .link
            .command(redis::cmd("GETRANGE").arg(key).arg(0).arg(0))
            .await?;
        Ok(state.first().copied())
    }
}

fn waiting(secret: Secret, record: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(1 + secret.len() + record.len());
    value.push(WAITING);
    value.extend_from_slice(&secret);
    value.extend_from_slice(record);
    value
}

/// Redis refuses an expiry of nothing.
fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1)
}

#[async_trait]
impl SessionCache for RedisCache {
    fn is_shared(&self) -> bool {
        true
    }

    async fn put(
        &self,
        device: DeviceHash,
        secret: Secret,
        record: Bytes,
        idle: Duration,
    ) -> Result<(), Error> {
        let mut set = redis::cmd("SET");
        set.arg(self.key(device))
            .arg(waiting(secret, &record))
            .arg("PX")
            .arg(milliseconds(idle));
        self.link.command(&set).await
    }

    async fn put_back(
        &self,
        device: DeviceHash,
        secret: Secret,
        record: Bytes,
        idle: Duration,
    ) -> Result<bool, Error> {
        let mut call = self.put_back.key(self.key(device));
        call.arg(&secret[..])
            .arg(waiting(secret, &record))
            .arg(milliseconds(idle));
        self.link.script(&call).await
    }

    async fn take(&self, device: DeviceHash, secret: Secret) -> Result<Taken, Error> {
        let mut call = self.take.key(self.key(device));
        call.arg(&secret[..]).arg(milliseconds(BUSY));
        let found: Option<(bool, Vec<u8>)> = self.link.script(&call).await?;
        Ok(match found {
            None => Taken::Gone,
            Some((true, record)) => Taken::Busy(record.into()),
            Some((false, record)) => Taken::Taken(record.into()),
        })
    }

    async fn remove(&self, device: DeviceHash, secret: Secret) -> Result<(), Error> {
        let mut call = self.remove.key(self.key(device));
        call.arg(&secret[..]);
        self.link.script::<u8>(&call).await.map(drop)
    }

    async fn look(&self, device: DeviceHash) -> Result<Presence, Error> {
        Ok(match self.state(&self.key(device)).await? {
            None => Presence::None,
            Some(BUSY_NOW) => Presence::Busy,
            Some(_) => Presence::Waiting,
        })
    }

    async fn wait_idle(&self, device: DeviceHash, patience: Duration) -> Result<(), Error> {
        let key = self.key(device);
        let mut looks = Looks::until(patience);
        while self.state(&key).await? == Some(BUSY_NOW) && looks.again().await {}
        Ok(())
    }
}

/// Marks in Redis.
pub struct RedisMarks {
    link: Arc<Link>,
    prefix: String,
    mark: Script,
}

impl fmt::Debug for RedisMarks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisMarks")
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl DecidedMarks for RedisMarks {
    async fn mark(&self, session: &str, ordinal: u32) -> Result<(), Error> {
        let mut call = self.mark.key(format!("{}{session}", self.prefix));
        call.arg(ordinal).arg(milliseconds(MARK));
        self.link.script::<u8>(&call).await.map(drop)
    }

    /// With the server away: at once, with an error.
    async fn wait(&self, session: &str, ordinal: u32, patience: Duration) -> Result<bool, Error> {
        let key = format!("{}{session}", self.prefix);
        let mut looks = Looks::until(patience);
        loop {
            let mark: Option<u32> = self.link.command(redis::cmd("GET").arg(&key)).await?;
            if mark.is_some_and(|mark| mark >= ordinal) {
                return Ok(true);
            }
            if !looks.again().await {
                return Ok(false);
            }
        }
    }
}

/// When somebody who waits looks again.
struct Looks {
    deadline: Instant,
    pause: Duration,
}

impl Looks {
    fn until(patience: Duration) -> Self {
        Self {
            deadline: Instant::now() + patience,
            pause: FIRST_LOOK,
        }
    }

    /// Waits for the next look; `false`: patience is over.
    async fn again(&mut self) -> bool {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        sleep(self.pause.min(left)).await;
        self.pause = (self.pause * 3 / 2).min(LAST_LOOK);
        true
    }
}
