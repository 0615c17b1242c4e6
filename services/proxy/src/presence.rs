//! A device in the world: polls its printer, keeps what the server must get, holds its sessions.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use platen_cwmp::cpe::retry_wait;
use platen_cwmp::event_code::EventCode;
use platen_cwmp::fault::{Fault, FaultCode, ParameterFault};
use platen_cwmp::rpc::{AcsRequest, CpeResponse, Event};
use platen_datamodel::continuity;
use platen_datamodel::identity;
use platen_datamodel::meter::Meter;
use platen_datamodel::path::SERVICES;
use platen_datamodel::printer::{self, Context, MeterHead};
use platen_datamodel::snmp::{Oid, Value};
use platen_datamodel::time::{self, UnixSeconds};
use platen_datamodel::tree::{Kind, Tree};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::PollConfig;
use crate::device::{Change, Device, PrinterWrite, Report, Served};
use crate::discover::Found;
use crate::listener::Directory;
use crate::memory::Memory;
use crate::poll::{self, Group, Outcome};
use crate::record::{Record, Records};
use crate::session::{Acs, Answering, SessionError};
use crate::snmp::{Client, Credentials, SetError, SnmpError};
use crate::spool::Spool;

/// After so many failed polls of its state a printer counts as unreachable (MAP-57).
const FAILURES: u32 = 3;
/// How often a printer that restarts is asked whether it is back, and for how long.
const REBOOT_POLL: Duration = Duration::from_secs(2);
const REBOOT_PATIENCE: Duration = Duration::from_mins(10);
/// prtGeneralReset: switch off and on.
const POWER_CYCLE_RESET: i32 = 4;

/// What all devices of a proxy share.
#[derive(Debug)]
pub struct Shared {
    /// The server.
    pub acs: Acs,
    /// Where records are kept.
    pub records: Records,
    /// How many sessions are held at the same time.
    pub sessions: Semaphore,
    /// How many printers are polled at the same time.
    pub polls: Semaphore,
    /// How often printers are polled.
    pub poll: PollConfig,
    /// Who takes connection requests.
    pub directory: Directory,
    /// Where printers answer that are presented; discovery leaves them alone.
    pub answering: Mutex<BTreeSet<SocketAddr>>,
    /// The proxy's own OUI, under which its vendor events run.
    pub oui: String,
    /// Who presents printers: OUI, product class, serial number.
    pub proxier: (String, String, String),
}

/// What a device is told by others.
#[derive(Debug)]
pub enum Message {
    /// The server wants it to call.
    ConnectionRequest,
    /// Its printer was found, perhaps at another address.
    Found(Box<Found>),
    /// The proxy presents these printers.
    Roster(Tree),
}

/// A device with its printer, if it has one.
#[derive(Debug)]
pub struct Presence {
    device: Device,
    shared: Arc<Shared>,
    spool: Arc<Mutex<Spool>>,
    link: Option<Link>,
    /// The report of the session that is being held.
    current: Option<Report>,
    /// Sessions that failed in a row.
    retries: u32,
    schedule: Vec<(Instant, String)>,
    reboot: Option<Reboot>,
}

/// The connection to a printer.
#[derive(Debug)]
struct Link {
    address: SocketAddr,
    credentials: Credentials,
    client: Client,
    memory: Memory,
    due: BTreeMap<Group, Instant>,
    polled: BTreeMap<Group, (UnixSeconds, &'static str)>,
    failures: u32,
    reachability: Reachability,
    last_contact: UnixSeconds,
    up_time: Option<(u64, Instant)>,
    quality: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reachability {
    Reachable,
    Unreachable,
    AuthenticationFailed,
    WrongDevice,
}

impl Reachability {
    const fn name(self) -> &'static str {
        match self {
            Self::Reachable => "Reachable",
            Self::Unreachable => "Unreachable",
            Self::AuthenticationFailed => "AuthenticationFailed",
            Self::WrongDevice => "WrongDevice",
        }
    }
}

/// A restart that the server asked for.
#[derive(Debug)]
struct Reboot {
    /// When nobody waits for it any longer.
    until: Instant,
    /// When the printer is asked next whether it is back.
    next: Instant,
}

impl Presence {
    /// Prepares a device; nothing is sent yet. Its printer, if it has one, comes with [`Message::Found`].
    #[must_use]
    pub fn new(device: Device, shared: Arc<Shared>, spool: Spool) -> Self {
        Self {
            device,
            shared,
            spool: Arc::new(Mutex::new(spool)),
            link: None,
            current: None,
            retries: 0,
            schedule: Vec::new(),
            reboot: None,
        }
    }

    /// What is kept of it.
    #[must_use]
    pub fn record(&self) -> &Record {
        &self.device.record
    }

    /// Takes over what the proxy tells of itself.
    pub fn set_own(&mut self, own: Tree) {
        self.device.set_own(own);
    }

    /// Takes over a printer that was found, with all that was read of it.
    pub async fn take_printer(&mut self, found: Found) {
        let now = unix_now();
        self.device.record.address = Some(found.address);
        self.device.set_can_write(found.credentials.can_write());
        let id = self.device.record.identity.to_string();
        let start = Instant::now();
        let due = Group::ALL
            .into_iter()
            .map(|group| {
                (
                    group,
                    start + first_wait(&id, group, group.period(&self.shared.poll)),
                )
            })
            .collect();
        let polled = Group::ALL
            .into_iter()
            .map(|group| (group, (now, result_name(found.outcome))))
            .collect();
        let up_time = printer::up_time(found.memory.walk()).map(|up| (up, Instant::now()));
        self.link = Some(Link {
            address: found.address,
            credentials: found.credentials,
            client: found.client,
            memory: found.memory,
            due,
            polled,
            failures: 0,
            reachability: Reachability::Reachable,
            last_contact: now,
            up_time,
            quality: "Actual",
        });
        self.understand(now, found.outcome == Outcome::Complete)
            .await;
    }

    /// Reports everything once and waits until the server has it.
    ///
    /// # Errors
    ///
    /// [`SessionError`] of the last of `attempts`.
    pub async fn report_once(&mut self, attempts: u32) -> Result<(), SessionError> {
        self.device
            .record
            .add_event(Event::new(EventCode::Periodic));
        loop {
            match self.report_all().await {
                Ok(()) => return Ok(()),
                Err(error) if self.retries >= attempts => return Err(error),
                Err(error) => {
                    tracing::info!(device = %self.device.record.identity, %error, "session failed, trying again");
                    tokio::time::sleep(self.wait_before_retry()).await;
                }
            }
        }
    }

    /// Lives until `shutdown`: polls, reports, answers.
    pub async fn run(mut self, mut mailbox: mpsc::Receiver<Message>, shutdown: CancellationToken) {
        self.device.record.add_event(Event::new(EventCode::Boot));
        // A restart that was under way when the proxy ended is long over.
        self.end_reboot();
        let mut next_report = Some(Instant::now());
        let mut next_periodic = self.next_periodic();
        loop {
            self.announce();
            let next_poll = self.next_poll();
            let next_schedule = self.schedule.iter().map(|(at, _)| *at).min();
            let wake = [next_report, next_periodic, next_poll, next_schedule]
                .into_iter()
                .flatten()
                .min();
            let sleep = async {
                match wake {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => return,
                message = mailbox.recv() => match message {
                    None => return,
                    Some(message) => {
                        if self.take(message).await {
                            next_report = Some(Instant::now());
                        }
                    }
                },
                () = sleep => {}
            }
            let now = Instant::now();
            if next_periodic.is_some_and(|at| at <= now) {
                self.device
                    .record
                    .add_event(Event::new(EventCode::Periodic));
                next_report = next_report.or(Some(now));
                next_periodic = self.next_periodic();
            }
            if self.take_scheduled(now) {
                next_report = next_report.or(Some(now));
            }
            if self.next_poll().is_some_and(|at| at <= now) {
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = self.poll() => {}
                }
            }
            if next_report.is_none() && self.has_something_to_say() {
                next_report = Some(now);
            }
            if next_report.is_none_or(|at| at > now) {
                continue;
            }
            let outcome = tokio::select! {
                () = shutdown.cancelled() => return,
                outcome = self.report_all() => outcome,
            };
            next_periodic = self.next_periodic();
            next_report = match outcome {
                Ok(()) => None,
                Err(error) => {
                    let wait = self.wait_before_retry();
                    let (device, retry) = (&self.device.record.identity, self.retries);
                    tracing::debug!(%device, %error, retry, wait = wait.as_secs(), "session failed");
                    Some(Instant::now() + wait)
                }
            };
        }
    }

    /// Whether the device is to call at once.
    async fn take(&mut self, message: Message) -> bool {
        match message {
            Message::ConnectionRequest => {
                self.device
                    .record
                    .add_event(Event::new(EventCode::ConnectionRequest));
                true
            }
            Message::Found(found) => {
                if !self.is_where_it_was(found.address).await {
                    self.take_printer(*found).await;
                }
                false
            }
            Message::Roster(own) => {
                self.device.set_own(own);
                false
            }
        }
    }

    /// Whether the printer still answers where it did, so that what was found at `found` is itself or, with another address, its double: two boxes that say
    /// they are one would mix their counters.
    async fn is_where_it_was(&mut self, found: SocketAddr) -> bool {
        let shared = Arc::clone(&self.shared);
        let Some(link) = self
            .link
            .as_mut()
            .filter(|link| link.reachability == Reachability::Reachable)
        else {
            return false;
        };
        if link.address == found {
            return true;
        }
        let _turn = shared
            .polls
            .acquire()
            .await
            .expect("invariant: the semaphore is never closed");
        let read = poll::read(&link.client, Group::Identity, &mut link.memory).await;
        let now = unix_now();
        let is_there = read.is_ok()
            && printer::map(link.memory.walk(), &Context { now, meters: None }).is_ok_and(|told| {
                told.identity.serial_number == self.device.record.identity.serial_number()
            });
        if is_there {
            tracing::warn!(
                device = %self.device.record.identity, address = %link.address, double = %found,
                "two printers say that they are this one; the second is left alone"
            );
        }
        is_there
    }

    fn has_something_to_say(&self) -> bool {
        let waits = !self
            .spool
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_empty();
        waits || !self.device.record.events.is_empty() || self.device.has_news()
    }

    /// Lets connection requests in with what the server set.
    fn announce(&self) {
        let settings = &self.device.record.settings;
        let is_reachable = self
            .link
            .as_ref()
            .is_none_or(|link| link.reachability == Reachability::Reachable);
        self.shared.directory.update(
            &self.device.record.identity.to_string(),
            &settings.connection_request_username,
            &settings.connection_request_password,
            is_reachable,
        );
        if let Some(link) = &self.link {
            let mut answering = self
                .shared
                .answering
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if link.reachability == Reachability::Reachable {
                answering.insert(link.address);
            } else {
                answering.remove(&link.address);
            }
        }
    }

    fn take_scheduled(&mut self, now: Instant) -> bool {
        let mut due = Vec::new();
        self.schedule.retain(|(at, key)| {
            let is_due = *at <= now;
            if is_due {
                due.push(key.clone());
            }
            !is_due
        });
        for key in &due {
            self.device
                .record
                .add_event(Event::new(EventCode::Scheduled));
            self.device
                .record
                .add_event(Event::method("ScheduleInform", key));
        }
        !due.is_empty()
    }

    /// When the device calls next of itself: at a multiple of the interval from the time that the server set, else from one that its own
    /// identity chooses, so that a fleet is spread evenly.
    fn next_periodic(&self) -> Option<Instant> {
        let settings = &self.device.record.settings;
        if !settings.periodic_enable {
            return None;
        }
        let interval = i64::from(settings.periodic_interval.max(1));
        let anchor = if settings.periodic_time == time::UNKNOWN {
            None
        } else {
            time::parse(&settings.periodic_time)
        };
        let anchor = anchor.unwrap_or_else(|| {
            let hash = hash_of(&self.device.record.identity.to_string());
            i64::try_from(hash % u64::from(settings.periodic_interval.max(1))).unwrap_or(0)
        });
        let wait = interval - (unix_now() - anchor).rem_euclid(interval);
        Some(Instant::now() + Duration::from_secs(wait.unsigned_abs()))
    }

    fn wait_before_retry(&self) -> Duration {
        let settings = &self.device.record.settings;
        retry_wait(
            self.retries.max(1),
            settings.retry_minimum,
            settings.retry_multiplier,
            rand::random(),
        )
    }

    // Reporting.

    /// Holds sessions until there is nothing to say: the oldest reading first, one in each.
    async fn report_all(&mut self) -> Result<(), SessionError> {
        loop {
            let (oldest, more, thinned) = {
                let spool = self.spool.lock().unwrap_or_else(PoisonError::into_inner);
                (spool.oldest().cloned(), spool.len() > 1, spool.thinned())
            };
            if thinned > 0 {
                self.device.record.add_event(self.thinned_event());
            }
            let Some(report) = self
                .device
                .report(oldest.as_ref(), more, unix_now(), self.retries)
            else {
                return Ok(());
            };
            let shared = Arc::clone(&self.shared);
            let _turn = shared
                .sessions
                .acquire()
                .await
                .expect("invariant: the semaphore is never closed");
            let inform = report.inform.clone();
            self.current = Some(report);
            let outcome = Box::pin(shared.acs.hold(inform, self)).await;
            if self.current.take().is_some() {
                self.device.undelivered();
            }
            if let Err(error) = outcome {
                self.retries += 1;
                return Err(error);
            }
            self.retries = 0;
        }
    }

    fn thinned_event(&self) -> Event {
        Event::new(EventCode::Other(format!(
            "X {} READINGS THINNED",
            self.shared.oui
        )))
    }

    async fn save(&self) -> bool {
        let (shared, record) = (Arc::clone(&self.shared), self.device.record.clone());
        let saved = tokio::task::spawn_blocking(move || shared.records.save(&record)).await;
        match saved {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                tracing::error!(%error, "cannot keep a device");
                false
            }
            Err(error) => {
                tracing::error!(%error, "cannot keep a device");
                false
            }
        }
    }

    async fn with_spool<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Spool) -> Result<T, crate::spool::SpoolError> + Send + 'static,
    ) -> Option<T> {
        let spool = Arc::clone(&self.spool);
        let done = tokio::task::spawn_blocking(move || {
            act(&mut spool.lock().unwrap_or_else(PoisonError::into_inner))
        })
        .await;
        match done {
            Ok(Ok(value)) => Some(value),
            Ok(Err(error)) => {
                tracing::error!(%error, "cannot keep a reading");
                None
            }
            Err(error) => {
                tracing::error!(%error, "cannot keep a reading");
                None
            }
        }
    }

    // The printer.

    fn next_poll(&self) -> Option<Instant> {
        let link = self.link.as_ref()?;
        let regular = link.due.values().copied().min();
        let reboot = self.reboot.as_ref().map(|reboot| reboot.next);
        regular.into_iter().chain(reboot).min()
    }

    /// Reads the groups that are due.
    async fn poll(&mut self) {
        let shared = Arc::clone(&self.shared);
        let Some(link) = &mut self.link else { return };
        let now = Instant::now();
        let _turn = shared
            .polls
            .acquire()
            .await
            .expect("invariant: the semaphore is never closed");
        let mut meters = false;
        let asks_whether_back = self
            .reboot
            .as_ref()
            .is_some_and(|reboot| reboot.next <= now);
        // The state first: whoever does not answer that is not asked for the rest.
        let others = Group::ALL
            .into_iter()
            .filter(|group| *group != Group::Status);
        for group in std::iter::once(Group::Status).chain(others) {
            let is_due = link.is_due(group, now) || (asks_whether_back && group == Group::Status);
            if !is_due {
                continue;
            }
            link.due.insert(group, now + group.period(&shared.poll));
            match poll::read(&link.client, group, &mut link.memory).await {
                Ok(outcome) => {
                    link.answered(group, outcome);
                    meters |= group == Group::Meters && outcome == Outcome::Complete;
                }
                Err(error) => {
                    link.failed(group, &error);
                    link.put_off(group, now);
                    break;
                }
            }
        }
        if link.restarted() {
            self.device.record.add_event(Event::new(EventCode::Boot));
            self.end_reboot();
        }
        if let Some(reboot) = &mut self.reboot {
            reboot.next = Instant::now() + REBOOT_POLL;
            if reboot.until <= Instant::now() {
                tracing::warn!(device = %self.device.record.identity, "the printer did not come back from its restart");
                self.end_reboot();
            }
        }
        self.understand(unix_now(), meters).await;
    }

    /// Makes parameters of what the printer told, and keeps a reading if its meters were read and tell something new.
    async fn understand(&mut self, now: UnixSeconds, meters_read: bool) {
        let Some(link) = &mut self.link else { return };
        let mapped = printer::map(link.memory.walk(), &Context { now, meters: None });
        let mapped = match mapped {
            Ok(mapped)
                if mapped.identity.serial_number == self.device.record.identity.serial_number() =>
            {
                mapped
            }
            Ok(mapped) => {
                tracing::warn!(
                    device = %self.device.record.identity, address = %link.address, serial = mapped.identity.serial_number,
                    "another printer answers at the address"
                );
                link.reachability = Reachability::WrongDevice;
                self.present_as_known();
                return;
            }
            Err(error) => {
                tracing::debug!(device = %self.device.record.identity, %error, "not understood");
                self.present_as_known();
                return;
            }
        };
        if link.reachability == Reachability::WrongDevice {
            link.reachability = Reachability::Reachable;
        }
        let record = &mut self.device.record;
        record
            .manufacturer
            .clone_from(&mapped.identity.manufacturer);
        record.model_name.clone_from(&mapped.identity.model_name);
        record
            .software_version
            .clone_from(&mapped.identity.software_version);
        if meters_read && link.reachability == Reachability::Reachable {
            follow_meters(record, link, &mapped.counters.meters, now);
        }
        let head = MeterHead {
            values: meter_values(record),
            epoch: record.meters.epoch(),
            epoch_time: record.meters.epoch_time,
            epoch_reason: record.meters.epoch_reason.clone(),
            read_time: record.meters.read_time,
            quality: link.quality,
        };
        let context = Context {
            now,
            meters: (head.epoch > 0).then_some(head),
        };
        // The second mapping differs from the first in its meters only.
        let Ok(mapped) = printer::map(link.memory.walk(), &context) else {
            return;
        };
        let mut own = mapped.tree;
        link.describe(&mut own, mapped.identity.serial_source.name(), &self.shared);
        proxier_info(&mut own, &self.shared.proxier);
        self.device.set_own(own);

        if meters_read {
            let newest = self
                .spool
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .newest()
                .cloned();
            if self.device.has_new_reading(newest.as_ref()) {
                let reading = self.device.reading(now);
                self.with_spool(move |spool| spool.push(reading)).await;
            }
            self.save().await;
        }
    }

    /// Leaves the last values as they are and says that they are old.
    fn present_as_known(&mut self) {
        let Some(link) = &self.link else { return };
        let mut own = Tree::default();
        own.extend(self.device.tree().clone());
        let reachability = link.reachability.name();
        let mut instance = 1;
        while own.get(&format!("{SERVICES}{instance}.Alias")).is_some() {
            own.replace_value(
                &format!("{SERVICES}{instance}.Proxy.Reachability"),
                reachability,
            );
            instance += 1;
        }
        self.device.set_own(own);
    }

    async fn set(&mut self, change: Change) -> Result<CpeResponse, Fault> {
        if !change.writes.is_empty() {
            let Some(link) = &mut self.link else {
                return Err(Fault::with_text(
                    FaultCode::INTERNAL_ERROR,
                    "the printer does not answer",
                ));
            };
            link.write_all(&change.writes).await?;
            self.device.written(&change.writes);
        }
        let response = self.device.apply(change);
        if self.save().await {
            Ok(response)
        } else {
            Err(Fault::with_text(
                FaultCode::INTERNAL_ERROR,
                "the settings cannot be kept",
            ))
        }
    }

    async fn reboot(&mut self, oid: Oid, command_key: String) -> Result<CpeResponse, Fault> {
        let Some(link) = &mut self.link else {
            return Err(Fault::with_text(
                FaultCode::INTERNAL_ERROR,
                "the printer does not answer",
            ));
        };
        link.client
            .set(&oid, Value::Integer(POWER_CYCLE_RESET))
            .await
            .map_err(|error| {
                let code = match error {
                    SetError::NotWritable | SetError::Refused => FaultCode::REQUEST_DENIED,
                    _ => FaultCode::INTERNAL_ERROR,
                };
                Fault::with_text(code, format!("the printer does not restart: {error}"))
            })?;
        self.device.record.rebooting = Some(command_key);
        let now = Instant::now();
        self.reboot = Some(Reboot {
            until: now + REBOOT_PATIENCE,
            next: now + REBOOT_POLL,
        });
        self.save().await;
        Ok(CpeResponse::Reboot)
    }

    /// The printer is back, or will not come back: the server is told that its order was carried out.
    fn end_reboot(&mut self) {
        self.reboot = None;
        if let Some(command_key) = self.device.record.rebooting.take() {
            self.device.record.add_event(Event::new(EventCode::Boot));
            self.device
                .record
                .add_event(Event::method("Reboot", command_key));
        }
    }
}

impl Answering for Presence {
    async fn answer(&mut self, request: AcsRequest) -> Result<CpeResponse, Fault> {
        tracing::debug!(device = %self.device.record.identity, method = request.method(), "request");
        match self.device.serve(&request) {
            Served::Answer { answer, changed } => {
                if changed && !self.save().await {
                    return Err(Fault::with_text(
                        FaultCode::INTERNAL_ERROR,
                        "the settings cannot be kept",
                    ));
                }
                answer
            }
            Served::Set(change) => self.set(change).await,
            Served::Reboot { oid, command_key } => self.reboot(oid, command_key).await,
            Served::Schedule { delay, command_key } => {
                self.schedule.push((
                    Instant::now() + Duration::from_secs(delay.into()),
                    command_key,
                ));
                Ok(CpeResponse::ScheduleInform)
            }
        }
    }

    async fn informed(&mut self) {
        let Some(report) = self.current.take() else {
            return;
        };
        self.device.acknowledged(&report);
        let told_thinned = report.inform.events.contains(&self.thinned_event());
        let reading = report.reading;
        if told_thinned || reading.is_some() {
            self.with_spool(move |spool| {
                if told_thinned {
                    spool.acknowledge_thinned()?;
                }
                reading.map_or(Ok(()), |time| spool.acknowledge(time))
            })
            .await;
        }
        self.save().await;
    }
}

impl Link {
    fn answered(&mut self, group: Group, outcome: Outcome) {
        self.failures = 0;
        if self.reachability != Reachability::WrongDevice {
            self.reachability = Reachability::Reachable;
        }
        self.last_contact = unix_now();
        self.polled
            .insert(group, (self.last_contact, result_name(outcome)));
    }

    fn is_due(&self, group: Group, now: Instant) -> bool {
        self.due.get(&group).is_none_or(|at| *at <= now)
    }

    /// Lets everything that is due wait for the next poll of the state, so that it is read as soon as the printer is back.
    fn put_off(&mut self, failed: Group, now: Instant) {
        let Some(next) = self.due.get(&Group::Status).copied() else {
            return;
        };
        for group in Group::ALL {
            if group == failed || self.is_due(group, now) {
                self.due.insert(group, next);
            }
        }
    }

    fn failed(&mut self, group: Group, error: &SnmpError) {
        tracing::debug!(address = %self.address, group = group.name(), %error, "poll failed");
        if group == Group::Status {
            self.failures += 1;
        }
        let result = if matches!(error, SnmpError::NoAnswer(_)) {
            "Timeout"
        } else {
            "Error"
        };
        self.polled.insert(group, (unix_now(), result));
        if self.failures >= FAILURES {
            self.quality = "Stale";
            self.reachability = match error {
                SnmpError::Refused(_) | SnmpError::Credentials(_) => {
                    Reachability::AuthenticationFailed
                }
                SnmpError::NoAnswer(_) | SnmpError::Agent { .. } => Reachability::Unreachable,
            };
        }
    }

    /// Whether the printer has restarted since this was last asked. An uptime that wraps after 497 days is no restart.
    fn restarted(&mut self) -> bool {
        const WRAP: u64 = 1 << 32;
        let Some(up) = printer::up_time(self.memory.walk()) else {
            return false;
        };
        let Some((before, at)) = self.up_time.replace((up, Instant::now())) else {
            return false;
        };
        let expected = before + u64::try_from(at.elapsed().as_millis() / 10).unwrap_or(0);
        up < before && expected < WRAP
    }

    /// Writes one value after the other and reads each back; upon the first that fails, puts the former ones back (SET-01, SET-02).
    async fn write_all(&mut self, writes: &[PrinterWrite]) -> Result<(), Fault> {
        let mut done: Vec<(Oid, Value)> = Vec::new();
        for write in writes {
            let before = self.read(&write.oid).await;
            let outcome = match before.clone() {
                Ok(Some(_)) => self.write_one(write).await,
                Ok(None) => Err(SetError::NotWritable),
                Err(error) => Err(error),
            };
            if let Ok(Some(before)) = before {
                done.push((write.oid.clone(), before));
            }
            if let Err(error) = outcome {
                return Err(self.undo(done, write, &error).await);
            }
        }
        for write in writes {
            let object = [(write.oid.clone(), write.value.clone())];
            self.memory.take(object.into_iter().collect());
        }
        Ok(())
    }

    async fn write_one(&self, write: &PrinterWrite) -> Result<(), SetError> {
        self.client.set(&write.oid, write.value.clone()).await?;
        match self.read(&write.oid).await? {
            Some(now) if now == write.value => Ok(()),
            _ => Err(SetError::Failed(
                "the printer keeps another value".to_owned(),
            )),
        }
    }

    async fn read(&self, oid: &Oid) -> Result<Option<Value>, SetError> {
        match self.client.get(std::slice::from_ref(oid)).await {
            Ok(walk) => Ok(walk.get(oid).cloned()),
            Err(SnmpError::NoAnswer(_)) => Err(SetError::NoAnswer),
            Err(error) => Err(SetError::Failed(error.to_string())),
        }
    }

    async fn undo(
        &self,
        done: Vec<(Oid, Value)>,
        failed: &PrinterWrite,
        error: &SetError,
    ) -> Fault {
        let mut restored = true;
        for (oid, before) in done.into_iter().rev() {
            if self.read(&oid).await == Ok(Some(before.clone())) {
                continue;
            }
            restored &= self.client.set(&oid, before).await.is_ok();
        }
        if !restored {
            tracing::error!(address = %self.address, path = failed.path, "values of a failed setting cannot be put back");
            return Fault::with_text(
                FaultCode::INTERNAL_ERROR,
                "some values were set and cannot be put back",
            );
        }
        let code = match error {
            SetError::NotWritable => FaultCode::NON_WRITABLE_PARAMETER,
            SetError::WrongType => FaultCode::INVALID_PARAMETER_TYPE,
            SetError::WrongValue => FaultCode::INVALID_PARAMETER_VALUE,
            SetError::Refused => {
                return Fault::with_text(
                    FaultCode::REQUEST_DENIED,
                    "the printer refuses to be written",
                );
            }
            SetError::NoAnswer => {
                return Fault::with_text(FaultCode::INTERNAL_ERROR, "the printer does not answer");
            }
            SetError::Failed(reason) => {
                return Fault::with_text(FaultCode::INTERNAL_ERROR, reason.clone());
            }
        };
        Fault {
            parameters: vec![ParameterFault {
                name: failed.path.clone(),
                code,
                string: code.text().unwrap_or_default().to_owned(),
            }],
            ..Fault::new(FaultCode::INVALID_ARGUMENTS)
        }
    }

    /// Writes the binding of each engine.
    fn describe(&self, own: &mut Tree, serial_source: &str, shared: &Shared) {
        for (instance, device) in (1_u32..).zip(identity::engines(self.memory.walk())) {
            let service = format!("{SERVICES}{instance}.");
            let mut text = |name: &str, value: &str| {
                own.put(format!("{service}Proxy.{name}"), Kind::String, value)
            };
            text("Protocol", self.credentials.version().protocol());
            text("Address", &self.address.ip().to_string());
            text("Reachability", self.reachability.name());
            text("SerialNumberSource", serial_source);
            // Secrets read back empty.
            text("ReadCommunity", "");
            text("WriteCommunity", "");
            let mut put = |name: &str, kind: Kind, value: String| {
                own.put(format!("{service}Proxy.{name}"), kind, value)
            };
            put("Port", Kind::UnsignedInt, self.address.port().to_string());
            put("DeviceIndex", Kind::UnsignedInt, device.to_string());
            put(
                "LastContactTime",
                Kind::DateTime,
                time::format(self.last_contact),
            );
            put(
                "PollGroupNumberOfEntries",
                Kind::UnsignedInt,
                Group::ALL.len().to_string(),
            );
            for (row, group) in (1..).zip(Group::ALL) {
                let (at, result) = self.polled.get(&group).copied().unwrap_or((0, "None"));
                let interval = group.period(&shared.poll).as_secs().to_string();
                let row = |name: &str| format!("PollGroup.{row}.{name}");
                put(&row("Alias"), Kind::String, format!("cpe-{}", group.name()));
                put(&row("Name"), Kind::String, group.name().to_owned());
                put(&row("Interval"), Kind::UnsignedInt, interval);
                put(&row("LastPollTime"), Kind::DateTime, time::format(at));
                put(&row("LastResult"), Kind::String, result.to_owned());
            }
            if self.reachability != Reachability::Reachable {
                own.replace_value(&format!("{service}OperationalStatus"), "Unreachable");
                own.replace_value(&format!("{service}State"), "Unknown");
            }
        }
    }
}

/// Lets the meters go on.
fn follow_meters(
    record: &mut Record,
    link: &mut Link,
    raw: &BTreeMap<Meter, u64>,
    now: UnixSeconds,
) {
    let up = printer::up_time(link.memory.walk()).unwrap_or(0);
    let elapsed = u64::try_from(now - record.meters.read_time).unwrap_or(0);
    let restarted = up < record.meters.up_time;
    let reading = continuity::follow(&record.meters.continuity(), raw, elapsed, restarted);
    if let Some(reason) = reading.new_epoch {
        record.meters.epoch_time = now;
        reason.name().clone_into(&mut record.meters.epoch_reason);
    }
    record.meters.set_continuity(&reading.next);
    record.meters.read_time = now;
    record.meters.up_time = up;
    link.quality = reading.quality.name();
}

fn meter_values(record: &Record) -> BTreeMap<Meter, u64> {
    let continuity = record.meters.continuity();
    continuity
        .meters
        .into_iter()
        .map(|(meter, last)| (meter, last.raw.saturating_add(last.offset)))
        .collect()
}

fn proxier_info(own: &mut Tree, (oui, product_class, serial): &(String, String, String)) {
    let values = [
        ("ManufacturerOUI", oui.clone()),
        ("ProductClass", product_class.clone()),
        ("SerialNumber", serial.clone()),
        ("ProxyProtocol", format!("X_{oui}_SNMP")),
    ];
    for (name, value) in values {
        own.put(
            format!("Device.DeviceInfo.ProxierInfo.{name}"),
            Kind::String,
            value,
        );
    }
}

fn result_name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Complete => "OK",
        Outcome::Partial => "Partial",
    }
}

/// The first wait is between half a period and a whole one, so that printers found together are not asked together (MAP-56).
fn first_wait(id: &str, group: Group, period: Duration) -> Duration {
    let share = u32::try_from(hash_of(&(id, group.name())) % 500).unwrap_or(0);
    period / 2 + period / 1_000 * share
}

fn hash_of(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// The time, in seconds since 1970.
pub(crate) fn unix_now() -> UnixSeconds {
    jiff::Timestamp::now().as_second()
}
