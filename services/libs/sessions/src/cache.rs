//! The ports: session cache and "decided" marks.

use async_trait::async_trait;
use bytes::Bytes;
use std::{fmt, time::Duration};

/// Hash of tenant and device: one session per device, whatever edge it talks to.
pub type DeviceHash = [u8; 16];

/// The random half of the cookie: tells a device's session from its older ones.
pub type Secret = [u8; 16];

/// Longest time that a session counts as busy; then it counts as gone.
pub const BUSY: Duration = Duration::from_secs(30);

/// Why the cache did not do it.
#[derive(Debug, thiserror::Error)]
#[error("the session cache is unavailable: {0}")]
pub struct Error(pub String);

/// What `take` found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// The session is the caller's, and marked busy until the next `put` or `remove`.
    Taken(Bytes),
    /// Another POST of it is being answered; the stored record as it was taken.
    Busy(Bytes),
    /// There is no such session (or the secret is a stranger's).
    Gone,
}

/// What a waker sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// A session waits for the device's next POST: it will look at the queue by itself.
    Waiting,
    /// A POST is being answered: the queue may have been read already.
    Busy,
    /// No session.
    None,
}

/// The session cache. One record per device; a newer session overwrites it.
#[async_trait]
pub trait SessionCache: Send + Sync + fmt::Debug + 'static {
    /// Whether other processes see the same sessions, so that one can go on there.
    fn is_shared(&self) -> bool;

    /// Stores a session's record, waiting; overwrites whatever the device had. Gone after `idle` without another call.
    async fn put(
        &self,
        device: DeviceHash,
        secret: Secret,
        record: Bytes,
        idle: Duration,
    ) -> Result<(), Error>;

    /// Stores the record back if the secret is still this session's: `false` if a newer session has taken its place.
    async fn put_back(
        &self,
        device: DeviceHash,
        secret: Secret,
        record: Bytes,
        idle: Duration,
    ) -> Result<bool, Error>;

    /// Takes a session's record and marks it busy, for [`BUSY`] at most. Of two callers one gets it.
    async fn take(&self, device: DeviceHash, secret: Secret) -> Result<Taken, Error>;

    /// Removes a session if the secret is its.
    async fn remove(&self, device: DeviceHash, secret: Secret) -> Result<(), Error>;

    /// Whether the device has a session.
    async fn look(&self, device: DeviceHash) -> Result<Presence, Error>;

    /// Waits until the device's session is no longer busy, at most `patience`.
    async fn wait_idle(&self, device: DeviceHash, patience: Duration) -> Result<(), Error>;
}

/// "Provisioning has decided up to report n of this session".
#[async_trait]
pub trait DecidedMarks: Send + Sync + fmt::Debug + 'static {
    /// Marks: every report of the session up to and including `ordinal` has been decided upon. Marks only grow; gone after 60 s.
    async fn mark(&self, session: &str, ordinal: u32) -> Result<(), Error>;

    /// Waits until a mark of at least `ordinal` is there, at most `patience`. `false`: it did not come.
    async fn wait(&self, session: &str, ordinal: u32, patience: Duration) -> Result<bool, Error>;
}
