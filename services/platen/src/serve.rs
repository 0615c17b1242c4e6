//! `platen serve`: the one place where adapters and services are put together.

mod backends;
mod data;
pub(crate) mod directory;
mod lag;
mod measured;
mod sockets;

use crate::{
    config::{Config, Source},
    exit::Failure,
    roles::{Role, Roles, RolesArgs},
};
use anyhow::Context;
use axum::{
    extract::{Request, State},
    http::{StatusCode, header::AUTHORIZATION},
    middleware::{Next, from_fn_with_state},
    response::Response,
};
use clap::Args;
pub(crate) use data::open_files;
use data::{Data, Sessions};
use measured::measured;
use platen_bus::Log;
use platen_northbound::Authenticator;
use platen_runtime::{
    Health, Metrics,
    listener::{Limits, Listener, Protocol},
    logs, shutdown,
};
use platen_store::Store;
use sockets::{Addresses, Cwmp, Door, Doors, Sockets};
use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    net::SocketAddr,
    path::{Path, PathBuf},
    pin::pin,
    sync::{Arc, OnceLock},
    time::Duration,
};
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
    /// Where the embedded form keeps everything; made if it does not exist.
    #[arg(
        long,
        env = "PLATEN_DATA_DIR",
        default_value = "./platen-data",
        value_name = "DIR"
    )]
    data_dir: PathBuf,
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    roles: RolesArgs,
    /// Write the addresses that are listened on, as JSON, once everything is ready.
    #[arg(long, value_name = "FILE")]
    ports_file: Option<PathBuf>,
}

/// Runs the server until a signal or a fault ends it.
pub(crate) fn main(args: &ServeArgs) -> Result<(), Failure> {
    let config = Config::load(&args.source)?;
    let roles = args.roles.roles();
    config.form.allows(&roles)?;
    let named = (!roles.are_all()).then(|| roles.to_string());
    logs::init(config.log.format, &config.log.level, named.as_deref())
        .map_err(|error| Failure::usage(format!("`log.level`: {error}")))?;
    crate::install_cryptography()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()?;
    let served = runtime.block_on(serve(config, &roles, args));
    // What is left are tasks that wait for something that will not come any more.
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(served?)
}

/// Threads for reads of files and of many rows, at most: the allocator keeps some hundred kilobytes for each.
const BLOCKING_THREADS: usize = 16;

/// How long the parts that follow the log may take to finish what they are at.
const FINISH: Duration = Duration::from_secs(10);

async fn serve(config: Config, roles: &Roles, args: &ServeArgs) -> anyhow::Result<()> {
    // Sockets first: what is wrong with an address is found before anything is opened.
    let sockets = Sockets::bind(&config, roles)?;
    let addresses = sockets.addresses()?;
    let metrics = Metrics::of_roles("platen", env!("CARGO_PKG_VERSION"), &roles.to_string())?;
    let health = Health::new();
    // Before their tasks run: a service that has not begun yet cannot say that it is not ready.
    health.unready("serve", "starting");
    if roles.has(Role::Northbound) {
        health.unready("northbound", "starting");
    }
    let mut signal = pin!(async { shutdown::signal().await.context("cannot wait for signals") });

    let drain = config.drain;
    let stop = Stop::default();
    let mut services = Services::default();
    let tokens = Arc::new(OnceLock::new());
    services.start(
        "ops",
        operations(
            sockets.ops,
            health.clone(),
            metrics.clone(),
            Arc::clone(&tokens),
            stop.last.clone(),
        ),
    );
    let data = tokio::select! {
        data = Data::open(&config.form, &args.data_dir, config.key_file.clone(), roles, &health) => data?,
        signal = &mut signal => {
            tracing::info!(signal = signal?, "ended before everything was there");
            return Ok(());
        }
    };
    let data = measured(data, &metrics);
    // Whoever asks from here on can be told apart.
    let _ = tokens.set(Authenticator::new(data.store.clone()));
    services.start(
        "watch",
        watch(
            roles.clone(),
            data.store.clone(),
            Arc::clone(&data.log),
            health.clone(),
            stop.last.clone(),
        ),
    );
    services.start(
        "lag",
        lag::tell(
            Arc::clone(&data.log),
            roles.iter().collect(),
            metrics.clone(),
            stop.back.clone(),
        ),
    );
    let parts = Parts {
        config: &config,
        data: &data,
        health: &health,
        metrics: &metrics,
        stop: &stop,
    };
    let mut doors = sockets.doors;
    for role in roles.iter() {
        parts.start(role, &mut services, &mut doors)?;
    }
    health.ready("serve");

    let announced = async {
        announce(&health, args.ports_file.as_deref(), roles, &addresses).await?;
        signal.await
    };
    let fault = tokio::select! {
        error = services.first_end() => Some(error),
        error = data.failure() => Some(error),
        signal = announced => signal.inspect(|signal| tracing::info!(signal, "draining")).err(),
    };
    health.unready("serve", "draining");

    // Devices and callers first, while what they said is still being worked on; then those who follow the log.
    stop.front.cancel();
    let drained = timeout(drain, services.ended(&FRONT)).await;
    if drained.is_err() {
        tracing::warn!(?drain, "what was still open was cut");
    }
    stop.back.cancel();
    if timeout(FINISH, services.ended(&BACK)).await.is_err() {
        tracing::warn!("a service did not end in time; it goes on where it was at the next start");
    }
    stop.last.cancel();
    let closed = data.close().await;
    match fault.or(services.failure) {
        Some(error) => Err(error),
        None => closed,
    }
}

/// What is told to end, in this order.
#[derive(Default)]
struct Stop {
    front: CancellationToken,
    back: CancellationToken,
    last: CancellationToken,
}

/// The services that devices and people talk to.
const FRONT: [&str; 2] = [Role::Edge.name(), Role::Northbound.name()];
/// The services that follow the log.
const BACK: [&str; 4] = [
    Role::Inventory.name(),
    Role::Provisioning.name(),
    Role::Firmware.name(),
    Role::Metering.name(),
];

/// What every service is made of.
struct Parts<'a> {
    config: &'a Config,
    data: &'a Data,
    health: &'a Health,
    metrics: &'a Metrics,
    stop: &'a Stop,
}

impl Parts<'_> {
    /// Starts a service; those with a listener open it.
    fn start(&self, role: Role, services: &mut Services, doors: &mut Doors) -> anyhow::Result<()> {
        let Parts {
            config,
            data,
            health,
            metrics,
            stop,
        } = *self;
        let (store, log, keys) = (
            data.store.clone(),
            Arc::clone(&data.log),
            Arc::clone(&data.keys),
        );
        let metrics = metrics.clone();
        match role {
            Role::Edge => {
                let Sessions { cache, marks } = data.sessions()?;
                let Cwmp { plain, encrypted } =
                    doors.cwmp.take().context("no socket for devices")?;
                let encrypted = encrypted.map(Door::open).transpose()?;
                let deps = platen_edge::Deps {
                    store,
                    log,
                    sessions: cache,
                    marks,
                    keys,
                    files: data.files()?,
                    health: health.clone(),
                    metrics,
                    listeners: platen_edge::Listeners {
                        cwmp: plain.open()?.0,
                        cwmp_tls: encrypted.and_then(|(socket, tls)| Some((socket, tls?))),
                    },
                };
                let run = platen_edge::run(config.edge.clone(), deps, stop.front.clone());
                services.start(role.name(), run);
            }
            Role::Inventory => {
                let deps = platen_inventory::Deps {
                    store,
                    log,
                    metrics,
                };
                let run = platen_inventory::run(config.inventory.clone(), deps, stop.back.clone());
                services.start(role.name(), run);
            }
            Role::Provisioning => {
                let deps = platen_provisioning::Deps {
                    store,
                    log,
                    keys,
                    marks: data.sessions()?.marks,
                    metrics,
                };
                let run =
                    platen_provisioning::run(config.provisioning.clone(), deps, stop.back.clone());
                services.start(role.name(), run);
            }
            Role::Firmware => {
                let deps = platen_firmware::Deps {
                    store,
                    log,
                    keys,
                    metrics,
                };
                let run = platen_firmware::run(config.firmware.clone(), deps, stop.back.clone());
                services.start(role.name(), run);
            }
            Role::Metering => {
                let deps = platen_metering::Deps {
                    store,
                    log,
                    metrics,
                };
                let run = platen_metering::run(config.metering.clone(), deps, stop.back.clone());
                services.start(role.name(), run);
            }
            Role::Northbound => {
                let (socket, tls) = doors.api.take().context("no socket for callers")?.open()?;
                let deps = platen_northbound::Deps {
                    store,
                    log,
                    keys,
                    files: data.files()?,
                    health: health.clone(),
                    metrics,
                    listener: Listener {
                        name: "api",
                        socket,
                        tls,
                        protocol: Protocol::Any,
                        limits: Limits::default(),
                    },
                };
                let run =
                    platen_northbound::run(config.northbound.clone(), deps, stop.front.clone());
                services.start(role.name(), run);
            }
        }
        Ok(())
    }
}

/// How often it is looked whether log and store are there.
const LOOK: Duration = Duration::from_secs(1);

/// Says in `health` whether what these roles cannot work without is there, until `stop`. An edge works on without much, and says so itself; the API
/// does without the log, since timers announce what it could not.
async fn watch(
    roles: Roles,
    store: Store,
    log: Arc<dyn Log>,
    health: Health,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let (needs_store, needs_log) = (!roles.has(Role::Edge), roles.follow_the_log());
    let looks = async {
        let mut away = BTreeSet::new();
        loop {
            let mut found = Vec::new();
            if needs_store {
                let there = store.tables().check().await;
                found.push(("store", there.map_err(|error| error.to_string())));
            }
            if needs_log {
                let there = log.check().await;
                found.push(("log", there.map_err(|error| error.to_string())));
            }
            for (part, there) in found {
                match there {
                    Ok(()) => {
                        if away.remove(part) {
                            tracing::info!(part, "there again");
                        }
                        health.ready(part);
                    }
                    Err(why) => {
                        if away.insert(part) {
                            tracing::warn!(part, why, "not there");
                        }
                        health.unready(part, why);
                    }
                }
            }
            sleep(LOOK).await;
        }
    };
    tokio::select! {
        () = stop.cancelled() => Ok(()),
        () = looks => Ok(()),
    }
}

/// Who tells callers apart: nobody, before the store is there.
type Tokens = Arc<OnceLock<Authenticator>>;

/// Serves health and metrics; metrics beyond loopback to callers with a token alone.
async fn operations(
    socket: TcpListener,
    health: Health,
    metrics: Metrics,
    tokens: Tokens,
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
    State(tokens): State<Tokens>,
    request: Request,
    next: Next,
) -> Result<Response, StatusCode> {
    if !matches!(request.uri().path(), "/livez" | "/readyz") {
        let authorization = request.headers().get(AUTHORIZATION);
        let authorization = authorization.and_then(|value| value.to_str().ok());
        let now_us = jiff::Timestamp::now().as_microsecond();
        let tokens = tokens.get().ok_or(StatusCode::SERVICE_UNAVAILABLE)?;
        tokens.admits(authorization, now_us).await?;
    }
    Ok(next.run(request).await)
}

/// Writes the ports file once everything is ready.
async fn announce(
    health: &Health,
    file: Option<&Path>,
    roles: &Roles,
    addresses: &Addresses,
) -> anyhow::Result<()> {
    while !health.reasons().is_empty() {
        sleep(Duration::from_millis(10)).await;
    }
    let shown = |address: Option<SocketAddr>| address.map(tracing::field::display);
    let (cwmp, api) = (shown(addresses.cwmp), shown(addresses.api));
    tracing::info!(%roles, cwmp, api, ops = %addresses.ops, "ready");
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
