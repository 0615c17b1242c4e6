//! Brings artifacts to devices: owns the operations that download one, from the check that it fits to the version that the device then reports.
//!
//! What is decided about a transfer is pure (`transfer`, `compatibility`). An attempt is one command with one claim:
//! a Download leaves the server at most once, whatever dies on the way. A session of a device without open transfers costs no read and no write.

mod compatibility;
mod consumer;
mod issue;
mod open;
mod sighting;
mod transfer;

use consumer::Firmware;
use jiff::SignedDuration;
use platen_bus::{Log, drive};
use platen_proto::topic::Topic;
use platen_runtime::{keys::Keys, metrics::Metrics};
use platen_store::Store;
use serde::Deserialize;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Settings of the service.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How long a device has to report the end of a transfer that it was asked for, after the delay that it was given. "2h", "90m", …
    pub transfer_within: SignedDuration,
    /// How long a device has to report the promised version once the transfer is over: it may boot more than once. "1h", …
    pub verify_within: SignedDuration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            transfer_within: SignedDuration::from_hours(2),
            verify_within: SignedDuration::from_hours(1),
        }
    }
}

/// What the service works with.
#[derive(Debug, Clone)]
pub struct Deps {
    /// State.
    pub store: Store,
    /// The log.
    pub log: Arc<dyn Log>,
    /// Signs the right of a device to fetch a file.
    pub keys: Arc<Keys>,
    /// Instruments.
    pub metrics: Metrics,
}

/// Runs the service until `shutdown`.
///
/// # Errors
///
/// A duration of the configuration is not positive; the log is broken, or no longer holds what the service has yet to read.
pub async fn run(config: Config, deps: Deps, shutdown: CancellationToken) -> anyhow::Result<()> {
    for (name, duration) in [
        ("transfer_within", config.transfer_within),
        ("verify_within", config.verify_within),
    ] {
        anyhow::ensure!(
            duration.is_positive(),
            "{name} must be longer than nothing, but is {duration:#}"
        );
    }
    let (log, store) = (deps.log.clone(), deps.store.clone());
    let handler = Arc::new(Firmware::new(&config, deps));
    drive(
        log,
        store,
        consumer::SERVICE,
        &[Topic::Reports],
        handler,
        shutdown,
    )
    .await?;
    Ok(())
}
