//! From the log to the device records: reads what is known, folds, writes what follows.

use crate::{
    Config, Deps, emission,
    parameters::Changes,
    sighting::{self, ParameterFold, Seen, Sighting},
};
use async_trait::async_trait;
use bytes::Bytes;
use opentelemetry::metrics::Counter;
use platen_bus::{Failure, Handler, HandlerError, Log, NewRecord, Record, Shards, drive};
use platen_fleet::device;
use platen_proto::{
    event::v1::{Event, Inform, event::Kind as EventKind},
    report::v1::{Notice, Report, command_done::Outcome, report::Body},
    store::v1::{Observed, Registration},
    topic::Kind,
};
use platen_runtime::Recent;
use platen_store::{
    Store, rows,
    table::{Range, Write},
    tables::{Events, ObservedDevices, Parameters, Registrations},
};
use prost::Message;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// A registration that is older than this, µs, was announced long ago.
const NEW_REGISTRATION_US: i64 = 86_400_000_000;
/// Latest events among which an announcement is looked for: a device makes fewer in that time.
const RECENT_EVENTS: usize = 1_000;
/// Up to so many rows are read one by one, more by one scan.
const FEW: usize = 3;

/// The account of a proxy is looked up again after so long, or once it is edited: its devices follow with their next Inform.
const ACCOUNT_KEPT: Duration = Duration::from_secs(60);
/// Bytes of accounts of proxies that are remembered: some ten thousand.
const PROXIES: u64 = 4 << 20;

/// Keeps the records of the devices whose partitions it owns.
pub(crate) struct Inventory {
    store: Store,
    log: Arc<dyn Log>,
    /// Encoded records of devices, by key: less than half the memory of decoded ones.
    observed: Recent<String, Bytes>,
    /// The last device row that was told, by key.
    told: Recent<String, Bytes>,
    /// Accounts of proxies and until when they hold, by tenant and device.
    accounts: Recent<String, (String, Instant)>,
    informs: Counter<u64>,
    copies: Counter<u64>,
    changes: Counter<u64>,
}

/// What is written about a record: announcements first, then rows, the device's record last. Whoever finds the record's position in the
/// device's record finds all the rest.
#[derive(Default)]
struct Following {
    announcements: Vec<NewRecord>,
    rows: Vec<Write>,
    observed: Option<Observed>,
}

impl Following {
    /// An event that customers are told of, and that stands in the device's list.
    fn change(&mut self, record: &Record, tenant: &str, id: &str, event: &Event) {
        self.announcements
            .push(emission::announcement(record, event));
        self.rows.push(emission::row(record, tenant, id, event));
    }
}

impl Inventory {
    pub(crate) fn new(config: &Config, deps: Deps) -> Self {
        // With what an allocator rounds up, and the counter of shared bytes.
        let weigh = |key: &String, value: &Bytes| key.capacity() + value.len() + 64;
        Self {
            store: deps.store,
            log: deps.log,
            observed: Recent::new(config.cache_bytes, weigh),
            told: Recent::new(config.cache_bytes / 16, weigh),
            accounts: Recent::new(PROXIES, |key, (account, _)| {
                key.capacity() + account.capacity()
            }),
            informs: deps.metrics.counter(
                "platen.inventory.informs",
                "Informs folded into device records",
            ),
            copies: deps.metrics.counter(
                "platen.inventory.inform.copies",
                "Copies of Informs that came behind newer ones of their device, and changed nothing",
            ),
            changes: deps.metrics.counter(
                "platen.inventory.device.changes",
                "Device rows told to the fleet index",
            ),
        }
    }

    async fn handle_one(&self, record: &Record) -> Result<(), Failure> {
        match record.record.kind {
            Kind::Notice => {
                let notice = record
                    .notice()
                    .map_err(|error| Failure::Poison(error.to_string()))?;
                if notice.kind == "DEVICE_CHANGED" {
                    self.registration_changed(record, &notice).await
                } else {
                    Ok(())
                }
            }
            Kind::Inform | Kind::Transfer | Kind::Request | Kind::Done => {
                let report = record
                    .report()
                    .map_err(|error| Failure::Poison(error.to_string()))?;
                match &report.body {
                    Some(Body::Inform(inform)) => self.inform(record, report, inform).await,
                    Some(Body::CommandDone(_)) => self.answer(record, report).await,
                    Some(Body::TransferComplete(_) | Body::DeviceRequest(_)) => {
                        let event = emission::of_report(record, report);
                        let rows = event
                            .iter()
                            .map(|event| {
                                emission::row(record, &report.tenant, &report.device, event)
                            })
                            .collect();
                        self.follow(
                            record,
                            Following {
                                rows,
                                ..Following::default()
                            },
                        )
                        .await
                    }
                    Some(Body::Woken(_)) | None => Err(Failure::Poison(
                        "the record's kind and its body differ".into(),
                    )),
                }
            }
            Kind::Woken | Kind::Event | Kind::Wake | Kind::Device => Ok(()),
        }
    }

    async fn inform(
        &self,
        record: &Record,
        report: &Report,
        inform: &Inform,
    ) -> Result<(), Failure> {
        let (tenant, id) = (report.tenant.as_str(), report.device.as_str());
        let before = self.observed(&record.record.key, tenant, id).await?;
        let mut following = Following::default();
        match sighting::fold(before.as_ref(), report, inform, record.version) {
            Sighting::Known => return Ok(()),
            Sighting::Copy(observed) => {
                self.copies.add(1, &[]);
                following.observed = Some(*observed);
            }
            Sighting::Refused { observed, news } => {
                if let Some(reason) = news {
                    following.change(
                        record,
                        tenant,
                        id,
                        &emission::change(
                            record,
                            tenant,
                            id,
                            EventKind::DeviceQuarantined,
                            Some(&reason),
                        ),
                    );
                }
                following.observed = Some(*observed);
            }
            Sighting::Seen(seen) => {
                let Seen {
                    mut observed,
                    is_event,
                    came,
                    quarantined,
                    mut row_changed,
                    parameters,
                } = *seen;
                let account = self.account_of_proxy(&observed).await?;
                row_changed |= account != observed.account;
                observed.account = account;
                self.informs.add(1, &[]);
                if is_event && let Some(event) = emission::of_report(record, report) {
                    following
                        .rows
                        .push(emission::row(record, tenant, id, &event));
                }
                if came {
                    following.change(
                        record,
                        tenant,
                        id,
                        &emission::change(record, tenant, id, EventKind::DeviceOnline, None),
                    );
                }
                if quarantined {
                    let reason = Some(observed.quarantine_reason.as_str());
                    following.change(
                        record,
                        tenant,
                        id,
                        &emission::change(record, tenant, id, EventKind::DeviceQuarantined, reason),
                    );
                }
                if row_changed {
                    let registration = self.registration(tenant, id).await?;
                    following.announcements.push(emission::device_row(
                        record,
                        tenant,
                        registration.as_ref(),
                        Some(&observed),
                    ));
                }
                if parameters != ParameterFold::Nothing
                    && let Some(changes) = Changes::of(report, parameters == ParameterFold::Replace)
                {
                    following
                        .rows
                        .extend(self.parameters(record, tenant, id, &changes).await?);
                }
                following.observed = Some(observed);
            }
        }
        self.follow(record, following).await
    }

    async fn answer(&self, record: &Record, report: &Report) -> Result<(), Failure> {
        let Some(changes) = Changes::of(report, false) else {
            return Ok(());
        };
        let (tenant, id) = (report.tenant.as_str(), report.device.as_str());
        // Without an Inform there is no session and so no answer; a record without a device is not made up for one.
        let Some(before) = self.observed(&record.record.key, tenant, id).await? else {
            return Ok(());
        };
        if record.version <= before.position {
            return Ok(());
        }
        let mut following = Following {
            rows: self.parameters(record, tenant, id, &changes).await?,
            ..Following::default()
        };
        // What an Inform repeats may differ from what was read or set here, so the next one is folded in whatever its hash.
        let mut after = Observed {
            parameters_hash: Bytes::new(),
            position: record.version,
            ..before.clone()
        };
        if let Some(Body::CommandDone(done)) = &report.body
            && let Some(Outcome::Result(result)) = &done.outcome
        {
            sighting::describe(&mut after, &result.values);
        }
        let row_changed = sighting::columns(&before) != sighting::columns(&after);
        if row_changed {
            let registration = self.registration(tenant, id).await?;
            following.announcements.push(emission::device_row(
                record,
                tenant,
                registration.as_ref(),
                Some(&after),
            ));
        }
        following.observed = Some(after);
        self.follow(record, following).await
    }

    /// Somebody has edited a device.
    async fn registration_changed(&self, record: &Record, notice: &Notice) -> Result<(), Failure> {
        let (tenant, id) = (notice.tenant.as_str(), notice.device.as_str());
        self.accounts.remove(&record.record.key);
        let observed = self.observed(&record.record.key, tenant, id).await?;
        // The timer that announces a row before it is written may find none.
        let Some(registration) = self.registration(tenant, id).await? else {
            return Ok(());
        };
        let mut following = Following::default();
        if let Some(kind) = self.unannounced(record, tenant, id, &registration).await? {
            following.change(
                record,
                tenant,
                id,
                &emission::change(record, tenant, id, kind, None),
            );
        }
        following.announcements.push(emission::device_row(
            record,
            tenant,
            Some(&registration),
            observed.as_ref(),
        ));
        self.follow(record, following).await
    }

    /// DEVICE_REGISTERED or DEVICE_RETIRED, if that is what the registration has become and it does not stand among the device's events yet.
    async fn unannounced(
        &self,
        record: &Record,
        tenant: &str,
        id: &str,
        registration: &Registration,
    ) -> Result<Option<EventKind>, Failure> {
        let is_new = record
            .record
            .time_us
            .saturating_sub(registration.create_time_us)
            <= NEW_REGISTRATION_US;
        let month = emission::month(record.record.time_us);
        let mut last = None;
        for month in [month, month_before(month)] {
            let range = Range {
                descending: true,
                limit: RECENT_EVENTS,
                ..Range::default()
            };
            let page = self
                .store
                .scan::<Events>((tenant, id, month, 0), range)
                .await?;
            let announced =
                |kind| matches!(kind, EventKind::DeviceRegistered | EventKind::DeviceRetired);
            last = page
                .rows
                .iter()
                .map(|(_, event)| event.kind())
                .find(|kind| announced(*kind));
            if last.is_some() {
                break;
            }
        }
        Ok(match (registration.retired, last) {
            (true, Some(EventKind::DeviceRetired)) | (false, Some(EventKind::DeviceRegistered)) => {
                None
            }
            (true, _) => Some(EventKind::DeviceRetired),
            (false, Some(_)) => Some(EventKind::DeviceRegistered),
            (false, None) => is_new.then_some(EventKind::DeviceRegistered),
        })
    }

    /// The rows that changes lead to.
    async fn parameters(
        &self,
        record: &Record,
        tenant: &str,
        id: &str,
        changes: &Changes<'_>,
    ) -> Result<Vec<Write>, Failure> {
        let numbers = changes.chunks();
        let mut known = std::collections::BTreeMap::new();
        if numbers.len() > FEW {
            let rows = self.store.scan_all::<Parameters>((tenant, id, 0)).await?;
            for (key, row) in rows {
                if let [platen_store::table::Part::Number(number)] = key.as_slice() {
                    known.insert(*number, row);
                }
            }
        } else {
            for &number in &numbers {
                if let Some(row) = self.store.get::<Parameters>((tenant, id, number)).await? {
                    known.insert(number, row);
                }
            }
        }
        let folded = numbers.into_iter().filter_map(|number| {
            let row = changes.fold(known.get(&number), number, record.version)?;
            Some(rows::write::<Parameters>(
                (tenant, id, number),
                &row,
                record.version,
            ))
        });
        Ok(folded.collect())
    }

    async fn follow(&self, record: &Record, following: Following) -> Result<(), Failure> {
        let key = &record.record.key;
        let mut announcements = following.announcements;
        let mut told = None;
        // The same row again is no news: the notice that follows an edit comes twice.
        if let Some(at) = announcements
            .iter()
            .position(|new| new.kind == Kind::Device)
        {
            let content = without_time(&announcements[at].payload);
            if self.told.get(key).is_some_and(|before| before == content) {
                announcements.remove(at);
            } else {
                told = Some(content);
            }
        }
        if !announcements.is_empty() {
            self.log.append(announcements).await?;
        }
        if !following.rows.is_empty() {
            self.store.write(following.rows).await?;
        }
        if let Some(observed) = following.observed {
            let id = (observed.tenant.as_str(), observed.device.as_str());
            self.store
                .write(vec![rows::write::<ObservedDevices>(
                    id,
                    &observed,
                    record.version,
                )])
                .await?;
            self.observed
                .insert(key.clone(), observed.encode_to_vec().into());
        }
        // Last: while the rows cannot be written it is told again with every try, so that an index which is being loaded hears of it after it has
        // read the rows as they were before.
        if let Some(content) = told {
            self.changes.add(1, &[]);
            self.told.insert(key.clone(), content);
        }
        Ok(())
    }

    async fn observed(
        &self,
        key: &str,
        tenant: &str,
        id: &str,
    ) -> Result<Option<Observed>, Failure> {
        if let Some(Ok(observed)) = self.observed.get(key).map(Observed::decode) {
            return Ok(Some(observed));
        }
        let observed = self.store.get::<ObservedDevices>((tenant, id)).await?;
        if let Some(observed) = &observed {
            self.observed
                .insert(key.to_owned(), observed.encode_to_vec().into());
        }
        Ok(observed)
    }

    /// The account that a device has from the proxy that presents it; empty without one.
    async fn account_of_proxy(&self, observed: &Observed) -> Result<String, Failure> {
        let proxy = observed.proxied_by.as_str();
        if proxy.is_empty() || !observed.quarantine_reason.is_empty() {
            return Ok(String::new());
        }
        let key = format!("{}/{proxy}", observed.tenant);
        let now = Instant::now();
        if let Some((account, until)) = self.accounts.get(&key)
            && now < until
        {
            return Ok(account);
        }
        let account = self
            .registration(&observed.tenant, proxy)
            .await?
            .map_or_else(String::new, |registration| registration.account);
        self.accounts
            .insert(key, (account.clone(), now + ACCOUNT_KEPT));
        Ok(account)
    }

    async fn registration(&self, tenant: &str, id: &str) -> Result<Option<Registration>, Failure> {
        let row = self.store.get_edited::<Registrations>((tenant, id)).await?;
        Ok(row.map(device::registration))
    }
}

#[async_trait]
impl Handler for Inventory {
    const KINDS: &'static [Kind] = &[
        Kind::Inform,
        Kind::Transfer,
        Kind::Request,
        Kind::Done,
        Kind::Notice,
    ];
    const GATHER: Duration = drive::PATIENT;

    async fn assigned(&self, _: &[Shards]) {
        // Another owner may have written in between; what is forgotten costs one read per device.
        self.observed.clear();
        self.told.clear();
    }

    async fn handle(&self, records: &[Arc<Record>]) -> Result<(), HandlerError> {
        for (at, record) in records.iter().enumerate() {
            self.handle_one(record)
                .await
                .map_err(|failure| HandlerError { at, failure })?;
        }
        Ok(())
    }
}

/// A device row without what every Inform changes.
fn without_time(payload: &Bytes) -> Bytes {
    let Ok(mut row) = platen_proto::report::v1::DeviceRow::decode(payload.clone()) else {
        return payload.clone();
    };
    if let Some(device) = &mut row.device {
        device.last_inform_time = None;
        device.last_events.clear();
        device.online = false;
    }
    row.encode_to_vec().into()
}

const fn month_before(month: u64) -> u64 {
    if month % 100 <= 1 {
        (month / 100).saturating_sub(1) * 100 + 12
    } else {
        month - 1
    }
}
