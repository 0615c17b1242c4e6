//! The API: gRPC and its REST form on one port, event streams, tenants and tokens.
//!
//! Every method is implemented once, as a gRPC service; [`rest`] derives the REST form from the descriptors and calls the same services in this
//! process. [`serve`] is the door, which authenticates and limits before
//! anything else; [`guard`] stands before every method, however it was reached.
//!
//! What callers edit is compare-and-set on its etag and announced by a notice on the log; what devices report is only read here.

mod action;
mod api;
mod artifacts;
mod caller;
mod config;
mod devices;
mod diagnostic;
mod events;
mod guard;
mod limits;
mod mask;
mod names;
mod operations;
mod outcomes;
mod page;
mod parameters;
mod profiles;
mod readings;
mod refusal;
mod registration;
mod rest;
mod serve;
mod tenants;
mod time;
mod tokens;
mod uploads;
mod watch;

pub use config::{Config, Limits};
pub use tokens::{Authenticator, bootstrap};

use api::Api;
use object_store::ObjectStore;
use outcomes::Outcomes;
use platen_bus::Log;
use platen_fleet::Fleet;
use platen_runtime::{Health, Keys, Metrics, listener::Listener};
use platen_store::Store;
use std::{fmt::Write, sync::Arc, time::Duration};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic_health::ServingStatus;

/// How long open calls may take when the server ends.
const GRACE: Duration = Duration::from_secs(10);

/// What the API works with.
#[derive(Debug)]
pub struct Deps {
    /// The store.
    pub store: Store,
    /// The log.
    pub log: Arc<dyn Log>,
    /// Seals credentials, signs the URLs of files.
    pub keys: Arc<Keys>,
    /// Bytes of artifacts and uploads.
    pub files: Arc<dyn ObjectStore>,
    /// Readiness of the process.
    pub health: Health,
    /// Metrics of the process.
    pub metrics: Metrics,
    /// Where the API listens: HTTP/1.1 and HTTP/2.
    pub listener: Listener,
}

/// Serves the API until `shutdown`; then lets open calls finish, for ten seconds at most.
///
/// # Errors
///
/// The descriptors are broken. Whatever is away at run time is waited for.
pub async fn run(config: Config, deps: Deps, shutdown: CancellationToken) -> anyhow::Result<()> {
    let Deps {
        store,
        log,
        keys,
        files,
        health,
        metrics,
        listener,
    } = deps;
    let fleet = Fleet::new(store.clone(), Arc::clone(&log));
    let outcomes = Outcomes::new();
    let api = Arc::new(Api {
        authenticator: Authenticator::new(store.clone()),
        store,
        log: Arc::clone(&log),
        keys,
        files: Arc::clone(&files),
        fleet: fleet.clone(),
        outcomes: outcomes.clone(),
        limits: config.limits,
        shutdown: shutdown.clone(),
        saving_profiles: tokio::sync::Mutex::new(()),
    });
    let (router, grpc_health) = serve::router(&api, &metrics)?;
    let tasks = TaskTracker::new();
    tasks.spawn({
        let (fleet, shutdown) = (fleet.clone(), shutdown.clone());
        async move { fleet.run(shutdown).await }
    });
    tasks.spawn(outcomes.follow(log, shutdown.clone()));
    tasks.spawn(async move { artifacts::sweep(&*files).await });
    health.unready("northbound", "the list of devices is being loaded");
    grpc_health
        .set_service_status("", ServingStatus::NotServing)
        .await;
    tasks.spawn({
        let shutdown = shutdown.clone();
        async move {
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = fleet.loaded() => {
                    grpc_health.set_service_status("", ServingStatus::Serving).await;
                    health.ready("northbound");
                    shutdown.cancelled().await;
                }
            }
            grpc_health
                .set_service_status("", ServingStatus::NotServing)
                .await;
        }
    });
    listener.serve(router, &metrics, shutdown, GRACE).await;
    tasks.close();
    tasks.wait().await;
    Ok(())
}

/// Lower-case hexadecimal.
fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}
