//! `platen serve`: the one place where adapters and services are put together.

mod data;
mod sockets;

use crate::{
    config::{Config, Source},
    exit::Failure,
};
use anyhow::Context;
use axum::{
    extract::{Request, State},
    http::{StatusCode, header::AUTHORIZATION},
    middleware::{Next, from_fn_with_state},
    response::Response,
};
use clap::{Args, ValueEnum};
use data::{Data, DataDir};
use platen_northbound::Authenticator;
use platen_runtime::{
    Health, Metrics,
    listener::{Limits, Listener, Protocol},
    logs, shutdown,
};
use sockets::{Doors, Sockets};
use std::{collections::BTreeMap, future::Future, path::PathBuf, sync::Arc, time::Duration};
use tokio::{
    net::TcpListener,
    task::{Id, JoinSet},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// Arguments of `platen serve`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  platen serve --data-dir /var/lib/platen --config /etc/platen/platen.toml"
)]
pub(crate) struct ServeArgs {
    /// Where everything is kept; made if it does not exist.
    #[arg(
        long,
        env = "PLATEN_DATA_DIR",
        default_value = "./platen-data",
        value_name = "DIR"
    )]
    data_dir: PathBuf,
    #[command(flatten)]
    source: Source,
    /// Parts to run; all of them share one process while store and log are embedded.
    #[arg(long, value_enum, value_delimiter = ',')]
    roles: Vec<Role>,
    /// Write the addresses that are listened on, as JSON, once everything is ready.
    #[arg(long, value_name = "FILE")]
    ports_file: Option<PathBuf>,
}

/// A part of Platen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Role {
    Edge,
    Inventory,
    Provisioning,
    Firmware,
    Metering,
    Northbound,
}

/// Runs the server until a signal or a fault ends it.
pub(crate) fn main(args: &ServeArgs) -> Result<(), Failure> {
    let config = Config::load(&args.source)?;
    require_all(&args.roles)?;
    logs::init(config.log.format, &config.log.level)
        .map_err(|error| Failure::usage(format!("`log.level`: {error}")))?;
    // Whoever makes TLS connections without naming a provider gets this one.
    if rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .is_err()
    {
        return Err(Failure::failed(
            "another provider of cryptography was installed before",
        ));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()?;
    let served = runtime.block_on(serve(config, args));
    // What is left are tasks that wait for something that will not come any more.
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(served?)
}

/// Embedded store and log live in one process, so all roles do.
fn require_all(roles: &[Role]) -> Result<(), Failure> {
    let missing: Vec<String> = Role::value_variants()
        .iter()
        .filter(|role| !roles.is_empty() && !roles.contains(role))
        .map(|role| format!("{role:?}").to_ascii_lowercase())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "embedded store and bus need all roles in one process: leave --roles out, or add {}",
        missing.join(",")
    )))
}

/// Threads for reads of files and of many rows, at most: the allocator keeps some hundred kilobytes for each.
const BLOCKING_THREADS: usize = 16;

/// How long the parts that follow the log may take to finish what they are at.
const FINISH: Duration = Duration::from_secs(10);

async fn serve(config: Config, args: &ServeArgs) -> anyhow::Result<()> {
    // Sockets first: what is wrong with an address is found before anything is opened.
    let sockets = Sockets::bind(&config).await?;
    let addresses = sockets.addresses()?;
    let directory = DataDir::prepare(&args.data_dir, config.key_file.clone())?;
    let data = directory.open().await?;
    let metrics = Metrics::new(env!("CARGO_PKG_VERSION"))?;
    let health = Health::new();
    // Before their tasks run: a service that has not begun yet cannot say that it is not ready.
    health.unready("serve", "starting");
    health.unready("northbound", "starting");

    let drain = config.drain;
    let (front, back, ops) = (
        CancellationToken::new(),
        CancellationToken::new(),
        CancellationToken::new(),
    );
    let mut services = Services::default();
    services.start(
        "ops",
        operations(
            sockets.ops,
            health.clone(),
            metrics.clone(),
            Authenticator::new(data.store.clone()),
            ops.clone(),
        ),
    );
    start_consumers(&mut services, &config, &data, &metrics, &back);
    start_listeners(
        &mut services,
        config,
        &data,
        sockets.doors,
        &health,
        &metrics,
        &front,
    );
    health.ready("serve");

    let announce = announce(&health, args.ports_file.as_deref(), &addresses);
    let signal = async {
        announce.await?;
        shutdown::signal().await.context("cannot wait for signals")
    };
    let fault = tokio::select! {
        error = services.first_end() => Some(error),
        why = data.database.failure() => Some(anyhow::anyhow!("the data directory failed: {why}")),
        signal = signal => signal.inspect(|signal| tracing::info!(signal, "draining")).err(),
    };
    health.unready("serve", "draining");

    // Devices and callers first, while what they said is still being worked on; then those who follow the log.
    front.cancel();
    let drained = timeout(drain, services.ended(&FRONT)).await;
    if drained.is_err() {
        tracing::warn!(?drain, "what was still open was cut");
    }
    back.cancel();
    if timeout(FINISH, services.ended(&BACK)).await.is_err() {
        tracing::warn!("a service did not end in time; it goes on where it was at the next start");
    }
    ops.cancel();
    let closed = data.close().await;
    match fault.or(services.failure) {
        Some(error) => Err(error),
        None => closed,
    }
}

/// The services that devices and people talk to.
const FRONT: [&str; 2] = ["edge", "northbound"];
/// The services that follow the log.
const BACK: [&str; 4] = ["inventory", "provisioning", "firmware", "metering"];

fn start_consumers(
    services: &mut Services,
    config: &Config,
    data: &Data,
    metrics: &Metrics,
    back: &CancellationToken,
) {
    let (store, log, keys, marks) = (&data.store, &data.log, &data.keys, &data.marks);
    services.start(
        "inventory",
        platen_inventory::run(
            config.inventory.clone(),
            platen_inventory::Deps {
                store: store.clone(),
                log: Arc::clone(log),
                metrics: metrics.clone(),
            },
            back.clone(),
        ),
    );
    services.start(
        "metering",
        platen_metering::run(
            config.metering.clone(),
            platen_metering::Deps {
                store: store.clone(),
                log: Arc::clone(log),
                metrics: metrics.clone(),
            },
            back.clone(),
        ),
    );
    services.start(
        "firmware",
        platen_firmware::run(
            config.firmware.clone(),
            platen_firmware::Deps {
                store: store.clone(),
                log: Arc::clone(log),
                keys: Arc::clone(keys),
                metrics: metrics.clone(),
            },
            back.clone(),
        ),
    );
    services.start(
        "provisioning",
        platen_provisioning::run(
            config.provisioning.clone(),
            platen_provisioning::Deps {
                store: store.clone(),
                log: Arc::clone(log),
                keys: Arc::clone(keys),
                marks: Arc::clone(marks),
                metrics: metrics.clone(),
            },
            back.clone(),
        ),
    );
}

fn start_listeners(
    services: &mut Services,
    config: Config,
    data: &Data,
    sockets: Doors,
    health: &Health,
    metrics: &Metrics,
    front: &CancellationToken,
) {
    let Doors {
        cwmp,
        cwmp_tls,
        api,
    } = sockets;
    services.start(
        "edge",
        platen_edge::run(
            config.edge,
            platen_edge::Deps {
                store: data.store.clone(),
                log: Arc::clone(&data.log),
                sessions: Arc::clone(&data.sessions),
                marks: Arc::clone(&data.marks),
                keys: Arc::clone(&data.keys),
                files: Arc::clone(&data.files),
                health: health.clone(),
                metrics: metrics.clone(),
                listeners: platen_edge::Listeners { cwmp, cwmp_tls },
            },
            front.clone(),
        ),
    );
    services.start(
        "northbound",
        platen_northbound::run(
            config.northbound,
            platen_northbound::Deps {
                store: data.store.clone(),
                log: Arc::clone(&data.log),
                keys: Arc::clone(&data.keys),
                files: Arc::clone(&data.files),
                health: health.clone(),
                metrics: metrics.clone(),
                listener: Listener {
                    name: "api",
                    socket: api.0,
                    tls: api.1,
                    protocol: Protocol::Any,
                    limits: Limits::default(),
                },
            },
            front.clone(),
        ),
    );
}

/// Serves health and metrics; metrics beyond loopback to callers with a token alone.
async fn operations(
    socket: TcpListener,
    health: Health,
    metrics: Metrics,
    tokens: Authenticator,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut routes = health.routes(metrics.clone());
    if !socket.local_addr()?.ip().is_loopback() {
        routes = routes.layer(from_fn_with_state(tokens, with_token));
    }
    let limits = Limits {
        connections: 100,
        connections_per_peer: 100,
        ..Limits::default()
    };
    let listener = Listener {
        name: "ops",
        socket,
        tls: None,
        protocol: Protocol::Http1,
        limits,
    };
    listener
        .serve(routes, &metrics, stop, Duration::from_secs(1))
        .await;
    Ok(())
}

/// Lets a request for metrics through if it has a token. Probes have none.
async fn with_token(
    State(tokens): State<Authenticator>,
    request: Request,
    next: Next,
) -> Result<Response, StatusCode> {
    if !matches!(request.uri().path(), "/livez" | "/readyz") {
        let authorization = request.headers().get(AUTHORIZATION);
        let authorization = authorization.and_then(|value| value.to_str().ok());
        let now_us = jiff::Timestamp::now().as_microsecond();
        tokens.admits(authorization, now_us).await?;
    }
    Ok(next.run(request).await)
}

/// Writes the ports file once everything is ready.
async fn announce(
    health: &Health,
    file: Option<&std::path::Path>,
    addresses: &sockets::Addresses,
) -> anyhow::Result<()> {
    while !health.reasons().is_empty() {
        sleep(Duration::from_millis(10)).await;
    }
    tracing::info!(cwmp = %addresses.cwmp, api = %addresses.api, ops = %addresses.ops, "ready");
    match file {
        Some(file) => addresses
            .write(file)
            .with_context(|| format!("cannot write the ports file {}", file.display())),
        None => Ok(()),
    }
}

/// The running services. The first one that ends takes the process down.
#[derive(Default)]
struct Services {
    running: JoinSet<anyhow::Result<()>>,
    names: BTreeMap<Id, &'static str>,
    /// Of those that have ended while they were asked to, the first failure.
    failure: Option<anyhow::Error>,
}

impl Services {
    fn start(
        &mut self,
        name: &'static str,
        service: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        let task = self.running.spawn(service);
        self.names.insert(task.id(), name);
    }

    /// Waits until a service ends, which none should before it is asked to; why it did.
    async fn first_end(&mut self) -> anyhow::Error {
        match self.next().await {
            Some((name, Ok(()))) => anyhow::anyhow!("{name} ended by itself"),
            Some((name, Err(error))) => error.context(format!("{name} failed")),
            None => anyhow::anyhow!("no service runs"),
        }
    }

    /// Waits until all of these have ended.
    async fn ended(&mut self, names: &[&str]) {
        while self.names.values().any(|name| names.contains(name)) {
            if let Some((name, Err(error))) = self.next().await {
                tracing::error!(
                    service = name,
                    error = format!("{error:#}"),
                    "failed while it ended"
                );
                self.failure
                    .get_or_insert_with(|| error.context(format!("{name} failed")));
            }
        }
    }

    /// The next service that ends; one that panics ends with an error.
    async fn next(&mut self) -> Option<(&'static str, anyhow::Result<()>)> {
        let (id, result) = match self.running.join_next_with_id().await? {
            Ok(ended) => ended,
            Err(panic) => (panic.id(), Err(anyhow::anyhow!("it panicked: {panic}"))),
        };
        Some((self.names.remove(&id).unwrap_or("a service"), result))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_roles_or_none() {
        assert!(require_all(&[]).is_ok());
        assert!(require_all(Role::value_variants()).is_ok());
        let failure = require_all(&[Role::Edge, Role::Northbound]).unwrap_err();
        assert!(
            failure
                .to_string()
                .contains("inventory,provisioning,firmware,metering"),
            "{failure}"
        );
    }

    #[tokio::test]
    async fn the_first_service_that_ends_is_named_with_its_reason() {
        let mut services = Services::default();
        services.start("edge", std::future::pending());
        services.start("firmware", async { anyhow::bail!("out of luck") });
        assert_eq!(
            format!("{:#}", services.first_end().await),
            "firmware failed: out of luck"
        );
        services.start("metering", async { panic!("at the discount") });
        let error = format!("{:#}", services.first_end().await);
        assert!(
            error.starts_with("metering failed: it panicked") && error.contains("discount"),
            "{error}"
        );
        services.start("inventory", async { Ok(()) });
        assert_eq!(
            services.first_end().await.to_string(),
            "inventory ended by itself"
        );
    }

    #[tokio::test]
    async fn services_that_are_gone_are_not_waited_for() {
        let mut services = Services::default();
        services.start("edge", async { Ok(()) });
        services.start("metering", std::future::pending());
        services.first_end().await;
        services.start("northbound", async { anyhow::bail!("x") });

        services.ended(&FRONT).await;

        assert_eq!(
            format!("{:#}", services.failure.unwrap()),
            "northbound failed: x"
        );
    }
}
