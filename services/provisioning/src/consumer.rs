//! Record by record: reads what a decision needs, decides, writes what follows.
//!
//! The order of writing makes every record safe to repeat: first what stands in rows of its own and names its cause (progress, queue, timers), then
//! derived records, then the device's row, whose position says that all of it is done, and last the mark.

mod devices;
mod diagnoses;
mod narrowing;
mod tasks;

use crate::{Config, Deps, profiles::ProfilesByTenant, quiet::QuietDevices};
use async_trait::async_trait;
use opentelemetry::metrics::Counter;
use platen_bus::{
    Failure, Handler, HandlerError, Log, NewRecord, Record, Shards, derived::Cause, drive,
};
use platen_proto::{
    report::v1::{Notice, Report, report::Body},
    store::v1::{Desired, Progress},
    topic::Kind,
};
use platen_runtime::keys::Keys;
use platen_sessions::DecidedMarks;
use platen_store::{
    Store,
    progress::Task,
    rows,
    table::Write,
    tables::{DesiredStates, ProgressOfOperations},
};
use std::{sync::Arc, time::Duration};
use tracing::debug;

/// Name of the service: owner of its commands, group of its consumer, service of its timers.
pub(crate) const SERVICE: &str = "provisioning";

/// The handler of the service's records.
pub(crate) struct Provisioning {
    store: Store,
    log: Arc<dyn Log>,
    keys: Arc<Keys>,
    marks: Arc<dyn DecidedMarks>,
    profiles: ProfilesByTenant,
    quiet: QuietDevices,
    counters: Counters,
}

struct Counters {
    ended: Counter<u64>,
    sent: Counter<u64>,
    refused: Counter<u64>,
    contradicted: Counter<u64>,
}

/// A record under way: the device's row before and after it, and what else follows.
struct Turn<'a> {
    cause: Cause<'a>,
    before: Desired,
    row: Desired,
    /// Rows that name their cause.
    writes: Vec<Write>,
    /// Derived records.
    records: Vec<NewRecord>,
}

impl Provisioning {
    pub(crate) fn new(config: &Config, deps: Deps) -> Self {
        let count = |name, what| deps.metrics.counter(name, what);
        Self {
            profiles: ProfilesByTenant::new(deps.store.clone()),
            quiet: QuietDevices::new(config.remembered_devices),
            counters: Counters {
                ended: count(
                    "platen.provisioning.operations.ended",
                    "Operations that have ended",
                ),
                sent: count(
                    "platen.provisioning.settings.sent",
                    "Settings of profiles queued for devices",
                ),
                refused: count(
                    "platen.provisioning.settings.refused",
                    "Commands with settings that devices refused",
                ),
                contradicted: count(
                    "platen.provisioning.settings.contradicted",
                    "Settings that devices took and then contradicted",
                ),
            },
            store: deps.store,
            log: deps.log,
            keys: deps.keys,
            marks: deps.marks,
        }
    }

    async fn record(&self, record: &Record) -> Result<(), Failure> {
        if record.record.kind == Kind::Notice {
            let notice = record
                .notice()
                .map_err(|error| Failure::Poison(format!("not a notice: {error}")))?;
            return self.notice(record, &notice).await;
        }
        let report = record
            .report()
            .map_err(|error| Failure::Poison(format!("not a report: {error}")))?;
        let cause = Cause::of(record, &report.tenant, &report.device);
        // Who is not trusted is not listened to: neither its values nor its events prove anything.
        if report.quarantine_reason.is_empty() {
            match &report.body {
                Some(Body::Inform(inform)) => self.inform(&cause, report, inform).await?,
                Some(Body::CommandDone(done)) => self.done(&cause, report, done).await?,
                Some(Body::TransferComplete(transfer)) => self.transfer(&cause, transfer).await?,
                Some(Body::DeviceRequest(request)) => self.device_request(&cause, request).await?,
                Some(Body::Woken(woken)) => self.woken(&cause, woken).await?,
                None => return Err(Failure::Poison("a report without content".to_owned())),
            }
        }
        self.mark(report).await;
        Ok(())
    }

    /// Tells the edge that all that follows from a report is queued. The edge waits for a bounded time only, so a lost mark costs that and nothing else.
    async fn mark(&self, report: &Report) {
        if !report.deciding || !report.last {
            return;
        }
        if let Err(error) = self.marks.mark(&report.session, report.ordinal).await {
            debug!(%error, "a decision could not be marked, so a session waits in vain");
        }
    }

    async fn notice(&self, record: &Record, notice: &Notice) -> Result<(), Failure> {
        let cause = Cause::of(record, &notice.tenant, &notice.device);
        let ours = notice.service.is_empty() || notice.service == SERVICE;
        match notice.kind.as_str() {
            "PROFILE_CHANGED" => Ok(self.profiles.reload(&notice.tenant).await?),
            _ if notice.device.is_empty() => Ok(()),
            "DEVICE_CHANGED" => {
                self.quiet
                    .remove(&QuietDevices::key(cause.tenant, cause.device));
                Ok(())
            }
            "OPERATION_CREATED" if ours => self.created(&cause, &notice.id).await,
            "OPERATION_CANCELLED" if ours => self.cancelled(&cause, &notice.id).await,
            "OPERATION_EXPIRED" if ours => self.expired(&cause, &notice.id).await,
            OVERDUE if ours => self.overdue(&cause, &notice.id).await,
            WAKE_RETRY if ours => self.wake_again(&cause, &notice.id).await,
            kind => {
                debug!(kind, "a notice for others");
                Ok(())
            }
        }
    }

    /// Begins upon a record, unless it is in the device's row already.
    async fn begin<'a>(&self, cause: &Cause<'a>) -> Result<Option<Turn<'a>>, Failure> {
        let before = self
            .store
            .get::<DesiredStates>((cause.tenant, cause.device))
            .await?
            .unwrap_or_default();
        if before.position >= cause.version {
            return Ok(None);
        }
        Ok(Some(Turn {
            cause: *cause,
            row: before.clone(),
            before,
            writes: Vec::new(),
            records: Vec::new(),
        }))
    }

    /// Writes what follows from a record.
    async fn commit(&self, mut turn: Turn<'_>) -> Result<(), Failure> {
        self.next_diagnostic(&mut turn).await?;
        let Turn {
            cause,
            before,
            mut row,
            writes,
            records,
        } = turn;
        if !writes.is_empty() {
            self.store.write(writes).await?;
        }
        if !records.is_empty() {
            self.log.append(records).await?;
        }
        if before != row {
            row.position = cause.version;
            let write =
                rows::write::<DesiredStates>((cause.tenant, cause.device), &row, cause.version);
            self.store.write(vec![write]).await?;
        }
        if is_busy(&row) {
            self.quiet
                .remove(&QuietDevices::key(cause.tenant, cause.device));
        }
        Ok(())
    }

    /// An operation of the device, with its progress and when a session took it.
    async fn task(&self, cause: &Cause<'_>, id: &str) -> Result<Option<Task>, Failure> {
        Ok(self.store.task(cause.tenant, cause.device, id).await?)
    }

    async fn progress(&self, cause: &Cause<'_>, id: &str) -> Result<Option<Progress>, Failure> {
        let at = (cause.tenant, id);
        Ok(self.store.get::<ProgressOfOperations>(at).await?)
    }
}

#[async_trait]
impl Handler for Provisioning {
    const KINDS: &'static [Kind] = &[
        Kind::Inform,
        Kind::Transfer,
        Kind::Request,
        Kind::Done,
        Kind::Woken,
        Kind::Notice,
    ];
    const GATHER: Duration = drive::PROMPT;

    async fn assigned(&self, _shards: &[Shards]) {
        self.quiet.clear();
        self.profiles.clear();
    }

    async fn handle(&self, records: &[Arc<Record>]) -> Result<(), HandlerError> {
        for (at, record) in records.iter().enumerate() {
            self.record(record)
                .await
                .map_err(|failure| HandlerError { at, failure })?;
        }
        Ok(())
    }
}

/// Kind of the timer after which an operation that a device never spoke of again is given up; its subject is the operation.
const OVERDUE: &str = "OPERATION_OVERDUE";

/// Kind of the timer after which a device is asked again to open a session; its subject is the number of the last try.
const WAKE_RETRY: &str = "WAKE_RETRY";

/// Whether something is open that a session of the device may move.
fn is_busy(row: &Desired) -> bool {
    !row.command.is_empty()
        || !row.open_operations.is_empty()
        || !row.awaiting.is_empty()
        || !row.waking.is_empty()
        || !row.pending.is_empty()
}
