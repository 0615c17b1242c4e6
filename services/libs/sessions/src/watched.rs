//! A session cache with somebody between it and whoever uses it: a process that measures the calls; a test that counts them, refuses them, loses
//! their answers.

use crate::cache::{DeviceHash, Error, Presence, Secret, SessionCache, Taken};
use async_trait::async_trait;
use bytes::Bytes;
use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

/// What is asked of the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// To store a new session.
    Put,
    /// To store a session back.
    PutBack,
    /// To hand one out.
    Take,
    /// To remove one.
    Remove,
    /// Whether there is one.
    Look,
    /// To tell when it is no longer busy.
    WaitIdle,
}

/// What is done about calls.
pub trait Watch: fmt::Debug + Send + Sync + 'static {
    /// Whether the cache is to look like one that others use, too.
    fn is_shared(&self) -> bool {
        false
    }

    /// A call on its way to the cache; with an error it does not get there.
    ///
    /// # Errors
    ///
    /// As a test wants it.
    fn before(&self, _call: Call) -> Result<(), Error> {
        Ok(())
    }

    /// A call that the cache has done, and how long that took; with an error the caller does not hear of it.
    ///
    /// # Errors
    ///
    /// As a test wants it.
    fn after(&self, _call: Call, _took: Duration) -> Result<(), Error> {
        Ok(())
    }
}

/// The cache as it is seen through a [`Watch`].
#[derive(Debug)]
pub struct Watched {
    cache: Arc<dyn SessionCache>,
    watch: Arc<dyn Watch>,
}

impl Watched {
    /// Puts `watch` before `cache`.
    #[must_use]
    pub fn new(cache: Arc<dyn SessionCache>, watch: Arc<dyn Watch>) -> Arc<Self> {
        Arc::new(Self { cache, watch })
    }

    async fn pass<T: Send>(
        &self,
        call: Call,
        done: impl Future<Output = Result<T, Error>> + Send,
    ) -> Result<T, Error> {
        self.watch.before(call)?;
        let begun = Instant::now();
        let answer = done.await?;
        self.watch.after(call, begun.elapsed())?;
        Ok(answer)
    }
}

#[async_trait]
impl SessionCache for Watched {
    fn is_shared(&self) -> bool {
        self.cache.is_shared() || self.watch.is_shared()
    }

    async fn put(
        &self,
        device: DeviceHash,
        secret: Secret,
        record: Bytes,
        idle: Duration,
    ) -> Result<(), Error> {
        let done = self.cache.put(device, secret, record, idle);
        self.pass(Call::Put, done).await
    }

    async fn put_back(
        &self,
        device: DeviceHash,
        secret: Secret,
        record: Bytes,
        idle: Duration,
    ) -> Result<bool, Error> {
        let done = self.cache.put_back(device, secret, record, idle);
        self.pass(Call::PutBack, done).await
    }

    async fn take(&self, device: DeviceHash, secret: Secret) -> Result<Taken, Error> {
        self.pass(Call::Take, self.cache.take(device, secret)).await
    }

    async fn remove(&self, device: DeviceHash, secret: Secret) -> Result<(), Error> {
        self.pass(Call::Remove, self.cache.remove(device, secret))
            .await
    }

    async fn look(&self, device: DeviceHash) -> Result<Presence, Error> {
        self.pass(Call::Look, self.cache.look(device)).await
    }

    async fn wait_idle(&self, device: DeviceHash, patience: Duration) -> Result<(), Error> {
        let done = self.cache.wait_idle(device, patience);
        self.pass(Call::WaitIdle, done).await
    }
}
