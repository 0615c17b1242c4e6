//! Brings devices to their desired state: owns what profiles ask for, and every operation that is not a transfer of an artifact.
//!
//! The service reads the reports of devices and the notices about them, in order per device. What it decides is pure (`plan`,
//! `operations`); what it wants from a device goes to the device's command queue; when it has decided upon a report that the edge waits for,
//! it marks that report. A session of a device that has nothing open costs it no read and no write.

mod consumer;
mod diagnostics;
mod narrowing;
mod operations;
mod plan;
mod profiles;
mod quiet;
mod settings;
mod sighting;
mod value;
mod waking;

use consumer::Provisioning;
use platen_bus::{Log, drive};
use platen_proto::topic::Topic;
use platen_runtime::{keys::Keys, metrics::Metrics};
use platen_sessions::DecidedMarks;
use platen_store::Store;
use serde::Deserialize;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Settings of the service.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Of how many devices it remembers that they have nothing open; each takes about a hundred bytes. The sessions of others cost a read.
    pub remembered_devices: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            remembered_devices: 262_144,
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
    /// Derives the connection request passwords that Platen sets.
    pub keys: Arc<Keys>,
    /// Where decisions are marked.
    pub marks: Arc<dyn DecidedMarks>,
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
    let handler = Arc::new(Provisioning::new(&config, deps));
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
