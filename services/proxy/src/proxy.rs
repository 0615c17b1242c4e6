//! The proxy: finds printers, presents each as a device, and is a device itself.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use futures::StreamExt;
use platen_cwmp::identity::Identity;
use platen_datamodel::tree::{Kind, Tree};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, DiscoverConfig};
use crate::device::{Device, Management};
use crate::discover::{self, Found};
use crate::listener::{self, Directory, path_of};
use crate::presence::{Message, Presence, Shared, unix_now};
use crate::record::{Record, Records};
use crate::session::Acs;
use crate::spool::{Spool, SpoolError};

/// How many sessions are held at the same time; what is above waits, so that a proxy that starts is no storm.
const SESSIONS: usize = 16;
/// How many printers are polled at the same time.
const POLLS: usize = 32;
/// How often `--once` tries to reach the server for each device.
const ONCE_ATTEMPTS: u32 = 3;
/// Messages that wait for one device.
const MAILBOX: usize = 8;

/// What `--once` has done.
#[derive(Debug, Default)]
pub struct Once {
    /// Devices that the server has.
    pub reported: Vec<String>,
    /// Devices that it does not have, and why.
    pub failed: Vec<(String, String)>,
    /// Printers that cannot be presented, and why.
    pub unusable: Vec<(SocketAddr, String)>,
}

/// Discovers, reports every device once, and ends.
///
/// # Errors
///
/// When nothing can be kept, or there is no way to the server at all.
pub async fn run_once(config: &Config) -> anyhow::Result<Once> {
    let mut proxy = Proxy::open(config, None).await?;
    let mut once = Once::default();
    let mut presences = Vec::new();
    for range in &config.discover {
        for found in discover::look(range, unix_now()).await {
            let address = found.address;
            match proxy.presence_of(found).await {
                Verdict::New(presence) => presences.push(*presence),
                Verdict::Known(id, _) => {
                    let reason = format!("says that it is {id}, which is presented already");
                    once.unusable.push((address, reason));
                }
                Verdict::Unusable(reason) => once.unusable.push((address, reason)),
            }
        }
    }
    let mut own = proxy.own_presence()?;
    own.set_own(proxy.roster());
    // The server learns of the proxy before it learns of what it presents.
    let reported = own.report_once(ONCE_ATTEMPTS).await;
    once.note(own.record(), reported);
    let outcomes = futures::stream::iter(presences)
        .map(|mut presence| async move {
            let reported = presence.report_once(ONCE_ATTEMPTS).await;
            (presence, reported)
        })
        .buffer_unordered(SESSIONS)
        .collect::<Vec<_>>()
        .await;
    for (presence, reported) in outcomes {
        once.note(presence.record(), reported);
    }
    Ok(once)
}

impl Once {
    fn note(&mut self, record: &Record, reported: Result<(), crate::session::SessionError>) {
        let id = record.identity.to_string();
        match reported {
            Ok(()) => self.reported.push(id),
            Err(error) => self.failed.push((id, error.to_string())),
        }
    }
}

/// Runs until `shutdown`.
///
/// # Errors
///
/// When nothing can be kept, the listener's address cannot be bound, there is no way to the server at all, or a task has panicked.
pub async fn run(config: &Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let listener = match config.device.listen {
        Some(address) => Some(
            TcpListener::bind(address)
                .await
                .with_context(|| format!("cannot listen at {address}"))?,
        ),
        None => None,
    };
    let local = match &listener {
        Some(listener) => Some(listener.local_addr().context("listener without address")?),
        None => None,
    };
    let mut proxy = Proxy::open(config, local).await?;
    let mut tasks = JoinSet::new();
    if let Some(listener) = listener {
        let (directory, shutdown) = (proxy.shared.directory.clone(), shutdown.clone());
        tasks.spawn(async move {
            if let Err(error) = listener::serve(listener, directory, shutdown).await {
                tracing::error!(%error, "connection requests are no longer taken");
            }
        });
    }
    let own = proxy.own_presence()?;
    proxy.start(own, &mut tasks, &shutdown);
    for presence in proxy.known_presences()? {
        proxy.start(presence, &mut tasks, &shutdown);
    }
    proxy.send_roster().await;

    let (sender, mut found) = mpsc::channel::<Found>(64);
    for range in config.discover.clone() {
        let (sender, shutdown) = (sender.clone(), shutdown.clone());
        let shared = Arc::clone(&proxy.shared);
        tasks.spawn(async move {
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = look_again_and_again(range, shared, sender) => {}
            }
        });
    }
    drop(sender);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            Some(ended) = tasks.join_next() => ended.context("a device's task has ended")?,
            Some(found) = found.recv() => {
                let address = found.address;
                match proxy.presence_of(found).await {
                    Verdict::New(presence) => {
                        proxy.start(*presence, &mut tasks, &shutdown);
                        proxy.send_roster().await;
                    }
                    Verdict::Known(id, found) => proxy.tell(&id, Message::Found(found)).await,
                    Verdict::Unusable(reason) => tracing::debug!(%address, reason, "not presented"),
                }
            }
        }
    }
    while tasks.join_next().await.is_some() {}
    Ok(())
}

async fn look_again_and_again(
    range: DiscoverConfig,
    shared: Arc<Shared>,
    sender: mpsc::Sender<Found>,
) {
    loop {
        let next = Instant::now() + range.interval.0;
        let answering = shared
            .answering
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let found =
            discover::look_except(&range, unix_now(), |address| answering.contains(address)).await;
        for found in found {
            if sender.send(found).await.is_err() {
                return;
            }
        }
        tokio::time::sleep_until(next).await;
    }
}

struct Proxy {
    shared: Arc<Shared>,
    management: Management,
    /// Where connection requests come in; without it devices have no URL.
    base_url: Option<String>,
    own_id: String,
    records: BTreeMap<String, Record>,
    mailboxes: BTreeMap<String, mpsc::Sender<Message>>,
    /// What has been presented since the start: once each, however often it is found.
    presented: BTreeSet<String>,
    own: Option<Record>,
}

/// What is to be done with something that was found.
enum Verdict {
    /// Present it.
    New(Box<Presence>),
    /// Tell the device of this id, which is presented already.
    Known(String, Box<Found>),
    /// Leave it, for this reason.
    Unusable(String),
}

impl Proxy {
    async fn open(config: &Config, local: Option<SocketAddr>) -> anyhow::Result<Self> {
        let acs = Acs::new(
            &config.acs.url,
            &config.acs.username,
            config.acs.password(),
            config.acs.ca.as_deref(),
        )?;
        let records = Records::open(&config.data_dir)?;
        let mut known = BTreeMap::new();
        for record in records.load()? {
            known.insert(record.identity.to_string(), record);
        }
        let serial = own_serial(config).await?;
        let identity = Identity::new(
            config.device.oui.as_str(),
            &*config.device.product_class,
            &*serial,
        )
        .context("the proxy's own identity (device.oui, device.product_class, device.serial)")?;
        let own_id = identity.to_string();
        let own = known
            .remove(&own_id)
            .unwrap_or_else(|| Record::new(identity, "Platen".to_owned(), 0));
        let shared = Arc::new(Shared {
            acs,
            records,
            sessions: Semaphore::new(SESSIONS),
            polls: Semaphore::new(POLLS),
            poll: config.poll,
            directory: Directory::default(),
            answering: Mutex::default(),
            oui: config.device.oui.as_str().to_owned(),
            proxier: (
                config.device.oui.as_str().to_owned(),
                config.device.product_class.clone(),
                serial,
            ),
        });
        let management = Management {
            acs_url: config.acs.url.clone(),
            acs_username: config.acs.username.clone(),
            connection_request_url: String::new(),
        };
        Ok(Self {
            shared,
            management,
            base_url: local
                .map(|local| format!("http://{}", reachable_address(local, &config.acs.url))),
            own_id,
            records: known,
            mailboxes: BTreeMap::new(),
            presented: BTreeSet::new(),
            own: Some(own),
        })
    }

    fn presence(&self, record: Record) -> Result<Presence, SpoolError> {
        let id = record.identity.to_string();
        let spool = Spool::open(&self.shared.records.spool(&record.identity))?;
        let base = self.base_url.as_deref();
        let management = Management {
            connection_request_url: base
                .map(|base| format!("{base}{}", path_of(&id)))
                .unwrap_or_default(),
            ..self.management.clone()
        };
        Ok(Presence::new(
            Device::new(record, management),
            Arc::clone(&self.shared),
            spool,
        ))
    }

    fn own_presence(&mut self) -> anyhow::Result<Presence> {
        let record = self.own.take().context("the proxy presents itself once")?;
        Ok(self.presence(record)?)
    }

    /// Printers that were presented before, whether they answer or not: readings may wait for the server.
    fn known_presences(&self) -> anyhow::Result<Vec<Presence>> {
        self.records
            .values()
            .map(|record| Ok(self.presence(record.clone())?))
            .collect()
    }

    async fn presence_of(&mut self, found: Found) -> Verdict {
        let printer = match &found.printer {
            Ok(printer) => printer,
            Err(reason) => return Verdict::Unusable(reason.to_string()),
        };
        let told = &printer.identity;
        // A card that was swapped changes the OUI; the serial number stays (MAP-03, MAP-06).
        let known = self.records.values().find(|record| {
            record.identity.serial_number() == told.serial_number
                && record.identity.product_class() == told.product_class
        });
        if let Some(record) = known {
            let id = record.identity.to_string();
            let record = record.clone();
            if self.mailboxes.contains_key(&id) || self.presented.contains(&id) {
                return Verdict::Known(id, Box::new(found));
            }
            return self.present(record, found).await;
        }
        let identity = match Identity::new(&told.oui, &*told.product_class, &*told.serial_number) {
            Ok(identity) => identity,
            Err(error) => return Verdict::Unusable(error.to_string()),
        };
        let number = self
            .records
            .values()
            .map(|record| record.number)
            .max()
            .unwrap_or(0)
            + 1;
        let record = Record::new(identity.clone(), told.manufacturer.clone(), number);
        for finding in &printer.findings {
            tracing::info!(device = %identity, rule = finding.rule, "{}", finding.text);
        }
        let verdict = self.present(record, found).await;
        if let Verdict::New(presence) = &verdict {
            self.records
                .insert(identity.to_string(), presence.record().clone());
        }
        verdict
    }

    async fn present(&mut self, record: Record, found: Found) -> Verdict {
        match self.presence(record) {
            Ok(mut presence) => {
                self.presented
                    .insert(presence.record().identity.to_string());
                presence.take_printer(found).await;
                Verdict::New(Box::new(presence))
            }
            Err(error) => {
                tracing::error!(%error, "cannot keep readings");
                Verdict::Unusable(error.to_string())
            }
        }
    }

    fn start(&mut self, presence: Presence, tasks: &mut JoinSet<()>, shutdown: &CancellationToken) {
        let id = presence.record().identity.to_string();
        let (sender, mailbox) = mpsc::channel(MAILBOX);
        self.shared.directory.insert(&id, sender.clone());
        self.mailboxes.insert(id, sender);
        tasks.spawn(presence.run(mailbox, shutdown.clone()));
    }

    async fn tell(&self, id: &str, message: Message) {
        if let Some(mailbox) = self.mailboxes.get(id) {
            // A device that has ended has done so with the whole proxy.
            let _ = mailbox.send(message).await;
        }
    }

    async fn send_roster(&self) {
        self.tell(&self.own_id, Message::Roster(self.roster()))
            .await;
    }

    /// The proxy's own parameters: what it is, and the printers that it presents (Annex J).
    fn roster(&self) -> Tree {
        let mut tree = Tree::default();
        let mut put = |path: &str, kind: Kind, value: &str| tree.put(path, kind, value);
        put("Device.DeviceInfo.ModelName", Kind::String, "Platen proxy");
        put(
            "Device.DeviceInfo.SoftwareVersion",
            Kind::String,
            env!("CARGO_PKG_VERSION"),
        );
        let table = "Device.ManagementServer.VirtualDevice";
        put(
            &format!("{table}NumberOfEntries"),
            Kind::UnsignedInt,
            &self.records.len().to_string(),
        );
        for record in self.records.values() {
            let row = format!("{table}.{}.", record.number);
            let host = record
                .address
                .map(|address| address.ip().to_string())
                .unwrap_or_default();
            let values = [
                ("Alias", format!("cpe-{}", record.number)),
                ("ManufacturerOUI", record.identity.oui().to_owned()),
                ("ProductClass", record.identity.product_class().to_owned()),
                ("SerialNumber", record.identity.serial_number().to_owned()),
                ("Host", host),
                ("ProxyProtocol", format!("X_{}_SNMP", self.shared.oui)),
            ];
            for (name, value) in values {
                put(&format!("{row}{name}"), Kind::String, &value);
            }
        }
        tree
    }
}

/// The configured serial number, else one that is made once and kept.
async fn own_serial(config: &Config) -> anyhow::Result<String> {
    let serial = match &config.device.serial {
        Some(serial) => serial.clone(),
        None => {
            let path = config.data_dir.join("serial");
            match tokio::fs::read_to_string(&path).await {
                Ok(serial) => serial.trim().to_owned(),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    let serial = format!("{:016X}", rand::random::<u64>());
                    let bytes = serial.clone().into_bytes();
                    let kept =
                        tokio::task::spawn_blocking(move || crate::spool::replace(&path, &bytes))
                            .await?;
                    kept.context("cannot keep the proxy's serial number")?;
                    serial
                }
                Err(error) => return Err(error).context("cannot read the proxy's serial number"),
            }
        }
    };
    Ok(serial)
}

/// The address under which the server may reach the listener: its own, unless it listens everywhere; then the one that leads to the server.
fn reachable_address(local: SocketAddr, acs_url: &str) -> SocketAddr {
    if !local.ip().is_unspecified() {
        return local;
    }
    let towards = || -> Option<IpAddr> {
        let url = reqwest::Url::parse(acs_url).ok()?;
        let any: SocketAddr = if local.is_ipv4() {
            ([0, 0, 0, 0], 0).into()
        } else {
            (std::net::Ipv6Addr::UNSPECIFIED, 0).into()
        };
        // Connecting a datagram socket sends nothing; it asks the routing table.
        let socket = UdpSocket::bind(any).ok()?;
        let target = url
            .socket_addrs(|| None)
            .ok()?
            .into_iter()
            .find(|target| target.is_ipv4() == local.is_ipv4())?;
        socket.connect(target).ok()?;
        Some(socket.local_addr().ok()?.ip())
    };
    SocketAddr::new(towards().unwrap_or_else(|| local.ip()), local.port())
}
