//! Turns what devices report of their meters into a ledger: append-only, hash-chained, one chain per device.
//!
//! `platen.reports.v1` → [`Readings::of`] → [`fold()`] → tables `readings` and `ledger_heads`, topic `platen.readings.v1`.
//! `docs/metering.md` says what is in the ledger and how others can verify it.

mod consumer;
mod fold;
mod reading;

pub use fold::{
    BACKWARDS, Decision, IMPLAUSIBLE, INCONSISTENT, LATE, REPORTED, RETURNED, SOURCE_CHANGED, fold,
};
pub use reading::{MeterReading, Readings};

use consumer::Metering;
use platen_bus::{Log, drive};
use platen_proto::topic::Topic;
use platen_runtime::metrics::Metrics;
use platen_store::Store;
use serde::Deserialize;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// The service's name: its consumer group.
pub const SERVICE: &str = "metering";

/// Settings of the service.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Of how many devices it remembers that their values are known; each takes about 150 bytes. Reports of others cost a read.
    pub remembered_devices: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            remembered_devices: 131_072,
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
    /// Instruments.
    pub metrics: Metrics,
}

/// Runs the service until `shutdown`.
///
/// # Errors
///
/// The log is broken, or no longer holds what the service has yet to read.
pub async fn run(config: Config, deps: Deps, shutdown: CancellationToken) -> anyhow::Result<()> {
    let (log, store) = (deps.log.clone(), deps.store.clone());
    drive(
        log,
        store,
        SERVICE,
        &[Topic::Reports],
        Arc::new(Metering::new(&config, deps)),
        shutdown,
    )
    .await?;
    Ok(())
}
