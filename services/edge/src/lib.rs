//! Where devices call: HTTP listeners, admission, authentication, sessions, connection requests, files.
//!
//! An Inform's way through this crate: [`run`]'s listener → `edge` (which path) → `exchange` (which session) → `auth` and `identity` (who) → `report` (what
//! goes to the log, before the answer) → `delivery` (what the device is asked next). No edge keeps a device: sessions lie in the cache, and any edge
//! goes on with them.
#![warn(missing_docs)]

pub mod address;
mod admission;
mod answer;
mod auth;
mod body;
mod changes;
mod command;
pub mod config;
mod cookie;
mod delivery;
mod edge;
mod exchange;
mod files;
mod identity;
mod instruments;
mod policy;
mod reach;
mod report;
mod session;
mod sessions;
mod throttle;
mod wake;

pub use config::Config;

use admission::Admission;
use anyhow::Context;
use auth::Authenticator;
use changes::Changes;
use edge::Edge;
use files::Files;
use identity::Identities;
use instruments::Instruments;
use object_store::ObjectStore;
use platen_bus::Log;
use platen_proto::topic::Topic;
use platen_runtime::{
    Health, Keys, Metrics,
    listener::{Limits, Listener, Protocol, Tls},
};
use platen_sessions::{DecidedMarks, SessionCache};
use platen_store::{Store, Tables};
use policy::Policies;
use reach::Reach;
use sessions::Sessions;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    net::TcpListener,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use wake::Waker;

/// Time that requests at hand get when the listeners close.
const GRACE: Duration = Duration::from_secs(5);

/// What the edge works with.
#[derive(Debug)]
pub struct Deps {
    /// Tenants, credentials, queues, claims, devices, artifacts.
    pub store: Store,
    /// Where reports go, and wakes come from.
    pub log: Arc<dyn Log>,
    /// Sessions between two POSTs.
    pub sessions: Arc<dyn SessionCache>,
    /// What has been decided.
    pub marks: Arc<dyn DecidedMarks>,
    /// Opens passwords, checks file tokens, makes nonces.
    pub keys: Arc<Keys>,
    /// Artifacts and uploads.
    pub files: Arc<dyn ObjectStore>,
    /// The process's readiness.
    pub health: Health,
    /// The process's metrics.
    pub metrics: Metrics,
    /// Where devices connect.
    pub listeners: Listeners,
}

/// The sockets of the edge.
#[derive(Debug)]
pub struct Listeners {
    /// Without TLS.
    pub cwmp: TcpListener,
    /// With TLS.
    pub cwmp_tls: Option<(TcpListener, Tls)>,
}

/// Serves devices until `shutdown`; then refuses new sessions, lets open ones finish (for [`Config::drain`] at most), and returns.
///
/// # Errors
///
/// The log cannot be consumed any more, or a part of the edge has failed.
pub async fn run(config: Config, deps: Deps, shutdown: CancellationToken) -> anyhow::Result<()> {
    let Deps {
        store,
        log,
        sessions,
        marks,
        keys,
        files,
        health,
        metrics,
        listeners,
    } = deps;
    let instruments = Arc::new(Instruments::new(&metrics));
    let admission = Arc::new(Admission::new(&config));
    let reach = Reach::new(&store);
    let store = Store::new(Arc::clone(&reach) as Arc<dyn Tables>);
    let sessions = Arc::new(Sessions::new(sessions, Arc::clone(&instruments)));
    let changes = Arc::new(Changes::new());
    let policies = Arc::new(Policies::new(store.clone(), &config));
    let authenticator = Arc::new(Authenticator::new(
        store.clone(),
        Arc::clone(&keys),
        Arc::clone(&changes),
        config.auth.clone(),
        &config.limits,
    ));
    let waker = Waker::new(wake::Parts {
        store: store.clone(),
        log: Arc::clone(&log),
        sessions: Arc::clone(&sessions),
        keys: Arc::clone(&keys),
        policies: Arc::clone(&policies),
        instruments: Arc::clone(&instruments),
        config: config.connection_request.clone(),
    });
    let edge = Arc::new(Edge {
        files: Files::new(
            store.clone(),
            files,
            keys,
            Arc::clone(&instruments),
            &config.files,
        ),
        identities: Identities::new(store.clone(), changes),
        sessions,
        store: store.clone(),
        log: Arc::clone(&log),
        marks,
        admission: Arc::clone(&admission),
        authenticator: Arc::clone(&authenticator),
        policies,
        instruments: Arc::clone(&instruments),
        config,
    });

    // What goes on until the last session is over.
    let stop = CancellationToken::new();
    let mut tasks: JoinSet<anyhow::Result<()>> = JoinSet::new();
    {
        let (admission, log, stop) = (Arc::clone(&admission), Arc::clone(&log), stop.clone());
        let (health, instruments) = (health.clone(), Arc::clone(&instruments));
        tasks.spawn(async move {
            admission
                .watch(log, reach, health, &instruments, stop)
                .await;
            Ok(())
        });
    }
    {
        let (log, stop) = (Arc::clone(&log), stop.clone());
        tasks.spawn(async move {
            authenticator.follow(log, stop).await;
            Ok(())
        });
    }
    {
        let (waker, stop) = (Arc::new(waker.clone()), stop.clone());
        tasks.spawn(async move {
            platen_bus::drive(log, store, "edge", &[Topic::Wake], waker, stop)
                .await
                .context("consuming wakes")
        });
    }
    let sockets = [
        Some(("cwmp", listeners.cwmp, None)),
        listeners
            .cwmp_tls
            .map(|(socket, tls)| ("cwmp_tls", socket, Some(tls))),
    ];
    for (name, socket, tls) in sockets.into_iter().flatten() {
        let listener = Listener {
            name,
            socket,
            tls,
            protocol: Protocol::Http1,
            limits: limits(&edge.config),
        };
        let (edge, metrics, stop) = (Arc::clone(&edge), metrics.clone(), stop.clone());
        let service = tower::service_fn(move |request| {
            let edge = Arc::clone(&edge);
            // On the heap once, where it stays: the layers below move what they are given, and this is large.
            Box::pin(async move { edge.serve(request).await })
        });
        tasks.spawn(async move {
            listener.serve(service, &metrics, stop, GRACE).await;
            Ok(())
        });
    }

    let failed = tokio::select! {
        () = shutdown.cancelled() => None,
        ended = tasks.join_next() => ended,
    };
    health.unready("edge", "draining");
    admission.drain();
    if failed.is_none() {
        drain(&edge).await;
    }
    stop.cancel();
    while let Some(ended) = tasks.join_next().await {
        ended.context("a part of the edge")??;
    }
    // A try that is cut off is made up for by its timer.
    if timeout(GRACE, waker.finish()).await.is_err() {
        tracing::debug!("connection requests at hand are cut off");
    }
    match failed {
        None => Ok(()),
        Some(ended) => {
            ended.context("a part of the edge")??;
            anyhow::bail!("a part of the edge has ended by itself")
        }
    }
}

/// Waits until no session is open that needs this edge, at most [`Config::drain`]; a quarter of it at least where there are other edges, until whoever
/// leads devices here has noticed that it should not.
async fn drain(edge: &Edge) {
    let begun = Instant::now();
    let time = edge.config.drain;
    let least = if edge.sessions.are_shared() {
        time / 4
    } else {
        Duration::ZERO
    };
    loop {
        let open = edge.admission.at_hand();
        if open == 0 && begun.elapsed() >= least {
            return;
        }
        if begun.elapsed() >= time {
            tracing::info!(
                open,
                "sessions are still open; their devices will call again"
            );
            return;
        }
        sleep(Duration::from_millis(50)).await;
    }
}

fn limits(config: &Config) -> Limits {
    Limits {
        connections: config.limits.connections,
        connections_per_peer: config.limits.connections_per_peer,
        // A device that keeps its connection may be silent for as long as its session lives.
        idle: config.session_timeout + Duration::from_secs(10),
        ..Limits::default()
    }
}
