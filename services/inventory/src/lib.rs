//! Turns what devices report into device records: who they are, what they run, when they were seen, what they said.
//!
//! `platen.reports.v1` → [`sighting`], [`parameters`] → tables `observed`, `events`, `parameters`, topics `platen.changes.v1` and
//! `platen.devices.v1`.
//!
//! An Inform of a known device that says nothing new costs two rows (the record, the event), no read and no record.

mod consumer;
mod emission;
pub mod parameters;
pub mod sighting;

use consumer::Inventory;
use platen_bus::{Log, drive};
use platen_proto::topic::Topic;
use platen_runtime::metrics::Metrics;
use platen_store::Store;
use serde::Deserialize;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// The service's name: its consumer group.
pub const SERVICE: &str = "inventory";

/// Settings of the service.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Bytes of device records that are kept in memory; each takes about 700. The Informs of others cost a read.
    pub cache_bytes: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            cache_bytes: 24 << 20,
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
        Arc::new(Inventory::new(&config, deps)),
        shutdown,
    )
    .await?;
    Ok(())
}
