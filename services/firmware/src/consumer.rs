//! Record by record: reads what a decision needs, decides, writes what follows.
//!
//! The order of writing makes every record safe to repeat: first what stands in rows of its own and names its cause (progress, queue, timers), then
//! derived records, then the row of the device's open transfers, whose position says that all of it is done.

use crate::{
    Config, Deps,
    compatibility::{self, Fit},
    issue,
    open::OpenDevices,
    sighting,
    transfer::{self, Happening, Next, Patience},
};
use async_trait::async_trait;
use opentelemetry::metrics::Counter;
use platen_bus::{
    Failure, Handler, HandlerError, Log, NewRecord, Record, Shards, derived::Cause, drive,
};
use platen_cwmp::event_code::EventCode;
use platen_fleet::operation;
use platen_proto::{
    event::v1::{Inform, TransferComplete},
    firmware::v1::{Artifact, artifact},
    operation::v1::{OperationResult, operation_request::Action},
    report::v1::{CommandDone, Notice, Report, Wake, command_done::Outcome, report::Body},
    store::v1::{
        Attempt, Claim, Command, Observed, Progress, Transfers, attempt::State, claim::By,
    },
    topic::{Kind, Topic},
};
use platen_runtime::keys::Keys;
use platen_store::{
    Store, commands,
    progress::{self, End, Task},
    rows,
    table::Write,
    tables::{Artifacts, ObservedDevices, OpenTransfers, Operations},
    timers,
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tracing::debug;

/// Name of the service: owner of its commands, group of its consumer, service of its timers.
pub(crate) const SERVICE: &str = "firmware";

/// Kind of the timer after which an attempt is given up; its subject is the attempt.
const OVERDUE: &str = "TRANSFER_OVERDUE";

/// The handler of the service's records.
pub(crate) struct Firmware {
    store: Store,
    log: Arc<dyn Log>,
    keys: Arc<Keys>,
    open: OpenDevices,
    patience: Patience,
    issued: Counter<u64>,
    succeeded: Counter<u64>,
    failed: Counter<u64>,
}

/// A record under way: the open transfers of its device before and after it, and what else follows.
struct Turn<'a> {
    cause: Cause<'a>,
    before: Transfers,
    row: Transfers,
    /// Progress by operation: several steps of one record are one write.
    progress: BTreeMap<String, Write>,
    /// Other rows that name their cause.
    writes: Vec<Write>,
    /// Derived records.
    records: Vec<NewRecord>,
}

impl Firmware {
    pub(crate) fn new(config: &Config, deps: Deps) -> Self {
        let micros = |duration: jiff::SignedDuration| {
            i64::try_from(duration.as_micros())
                .unwrap_or(i64::MAX / 4)
                .min(i64::MAX / 4)
        };
        let count = |name, what| deps.metrics.counter(name, what);
        Self {
            open: OpenDevices::new(deps.store.clone()),
            patience: Patience {
                transfer_us: micros(config.transfer_within),
                verify_us: micros(config.verify_within),
            },
            issued: count(
                "platen.firmware.transfers.issued",
                "Downloads queued for devices",
            ),
            succeeded: count(
                "platen.firmware.transfers.succeeded",
                "Operations whose artifact has arrived",
            ),
            failed: count(
                "platen.firmware.transfers.failed",
                "Operations whose artifact has not arrived",
            ),
            store: deps.store,
            log: deps.log,
            keys: deps.keys,
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
        // Who is not trusted proves nothing, neither by its events nor by its version.
        let is_trusted = report.quarantine_reason.is_empty();
        if !is_trusted || !self.open.may_have(cause.tenant, cause.device).await? {
            return Ok(());
        }
        let Some(mut turn) = self.begin(&cause).await? else {
            return Ok(());
        };
        if turn.row.open.is_empty() {
            return Ok(());
        }
        match &report.body {
            Some(Body::Inform(inform)) => self.inform(&mut turn, report, inform).await?,
            Some(Body::CommandDone(done)) => self.done(&mut turn, report, done).await?,
            Some(Body::TransferComplete(transfer)) => self.completed(&mut turn, transfer).await?,
            Some(Body::DeviceRequest(_) | Body::Woken(_)) => {}
            None => return Err(Failure::Poison("a report without content".to_owned())),
        }
        self.commit(turn).await
    }

    async fn notice(&self, record: &Record, notice: &Notice) -> Result<(), Failure> {
        let is_ours = notice.service.is_empty() || notice.service == SERVICE;
        if notice.device.is_empty() || !is_ours {
            return Ok(());
        }
        let cause = Cause::of(record, &notice.tenant, &notice.device);
        match notice.kind.as_str() {
            "OPERATION_CREATED" => self.created(&cause, &notice.id).await,
            "OPERATION_CANCELLED" => self.cancelled(&cause, &notice.id).await,
            "OPERATION_EXPIRED" => self.expired(&cause, &notice.id).await,
            OVERDUE => self.overdue(&cause, &notice.id).await,
            kind => {
                debug!(kind, "a notice for others");
                Ok(())
            }
        }
    }

    /// Somebody asks for an artifact.
    async fn created(&self, cause: &Cause<'_>, id: &str) -> Result<(), Failure> {
        let Some((mut turn, task)) = self.begin_task(cause, id).await? else {
            return Ok(());
        };
        let is_known = turn.row.open.iter().any(|attempt| attempt.operation == id);
        if is_known {
            return Ok(());
        }
        let stored = self
            .store
            .get::<ObservedDevices>((cause.tenant, cause.device))
            .await?;
        self.issue(&mut turn, task, stored.as_ref()).await?;
        self.commit(turn).await
    }

    /// Queues the Download if the artifact fits; says why not, if not; waits, if the device has not said enough of itself.
    async fn issue(
        &self,
        turn: &mut Turn<'_>,
        task: Task,
        observed: Option<&Observed>,
    ) -> Result<(), Failure> {
        let cause = turn.cause;
        let Some(id) = issue::artifact_of(&task.command).map(str::to_owned) else {
            self.end(
                turn,
                task,
                End::failed("NO_ARTIFACT", "the operation names no artifact"),
            );
            return Ok(());
        };
        let stored = self
            .store
            .get_edited::<Artifacts>((cause.tenant, &id))
            .await?;
        let Some(artifact) = stored.and_then(|row| row.value.artifact) else {
            self.end(
                turn,
                task,
                End::failed("ARTIFACT_NOT_FOUND", format!("there is no artifact {id}")),
            );
            return Ok(());
        };
        if artifact.state() != artifact::State::Ready {
            self.end(
                turn,
                task,
                End::failed("NOT_READY", format!("the artifact {id} has no bytes yet")),
            );
            return Ok(());
        }
        let version = compatibility::promised_version(&artifact);
        match compatibility::fit(&artifact, observed) {
            Fit::Unfit(why) => self.end(turn, task, End::failed("INCOMPATIBLE", why)),
            Fit::Runs => self.end(
                turn,
                task,
                transfer::verified(version, OperationResult::default()),
            ),
            // It comes and says more; then this is asked again.
            Fit::Unknown if attempt_of(turn, &task.command.id).is_some() => {}
            Fit::Unknown => {
                replace(
                    turn,
                    issue::attempt(&task.command, &id, version, State::Pending, cause.now_us),
                );
                wake(turn, &task.command);
            }
            Fit::Fits => self.queue(turn, task, &id, &artifact),
        }
        Ok(())
    }

    fn queue(&self, turn: &mut Turn<'_>, task: Task, id: &str, artifact: &Artifact) {
        let cause = turn.cause;
        let attempt = issue::attempt(
            &task.command,
            id,
            compatibility::promised_version(artifact),
            State::Issued,
            cause.now_us,
        );
        let Some(command) = issue::command(&task.command, &attempt, artifact, &self.keys) else {
            self.end(
                turn,
                task,
                End::failed("NO_ARTIFACT", "the operation names no artifact"),
            );
            return;
        };
        debug!(
            tenant = cause.tenant,
            device = cause.device,
            attempt = attempt.id,
            artifact = id,
            "a download is queued"
        );
        self.issued.add(1, &[]);
        turn.writes.push(commands::queue(&command));
        wake(turn, &command);
        replace(turn, attempt);
    }

    /// Somebody cancelled an operation before a session took it.
    async fn cancelled(&self, cause: &Cause<'_>, id: &str) -> Result<(), Failure> {
        let Some((mut turn, task)) = self.begin_task(cause, id).await? else {
            return Ok(());
        };
        let claim = self.store.claim_of(cause.tenant, id).await?;
        if claim.is_none_or(|claim| claim.by() != By::Cancellation) {
            return Ok(());
        }
        self.end(&mut turn, task, End::Cancelled);
        self.commit(turn).await
    }

    /// The time of an operation is over: if no session has taken it, none will. If one has and never answered, its deadline begins.
    async fn expired(&self, cause: &Cause<'_>, id: &str) -> Result<(), Failure> {
        let Some((mut turn, task)) = self.begin_task(cause, id).await? else {
            return Ok(());
        };
        if self.take(cause, id, By::Expiry).await? {
            self.end(&mut turn, task, End::Expired);
        } else if let Some(attempt) = attempt_of(&turn, id) {
            self.unanswered(&mut turn, &attempt).await?;
        }
        self.commit(turn).await
    }

    /// A deadline of an attempt may be over.
    async fn overdue(&self, cause: &Cause<'_>, id: &str) -> Result<(), Failure> {
        let Some((mut turn, _)) = self.begin_task(cause, id).await? else {
            return Ok(());
        };
        if let Some(attempt) = attempt_of(&turn, id) {
            self.happened(&mut turn, &attempt, Happening::Overdue, None)
                .await?;
        }
        self.commit(turn).await
    }

    /// A session begins: the device says what it runs.
    async fn inform(
        &self,
        turn: &mut Turn<'_>,
        report: &Report,
        inform: &Inform,
    ) -> Result<(), Failure> {
        let cause = turn.cause;
        let has = |code| {
            report.part == 0
                && inform
                    .events
                    .iter()
                    .any(|event| EventCode::parse(event) == code)
        };
        let (booted, forgot) = (has(EventCode::Boot), has(EventCode::Bootstrap));
        let version = sighting::software_version(&inform.parameters);
        for attempt in turn.before.open.clone() {
            if attempt.state() == State::Pending {
                if report.part == 0 {
                    self.look_again(turn, &attempt, report, inform).await?;
                }
                continue;
            }
            let mut attempt = attempt;
            if attempt.state() == State::Issued && !attempt.unanswered {
                let claim = self.store.claim_of(cause.tenant, &attempt.id).await?;
                // The session at hand, or a later one when this record is handled late, may answer yet.
                let is_older = |claim: &Claim| {
                    claim.holder != report.session && claim.time_us < report.time_us
                };
                match claim {
                    Some(claim) if claim.by() == By::Session && is_older(&claim) => {
                        self.unanswered(turn, &attempt).await?;
                        let Some(further) = attempt_of(turn, &attempt.id) else {
                            continue;
                        };
                        attempt = further;
                    }
                    // Whoever brought the version there: nobody shall send it any more.
                    None if version.is_some_and(|version| {
                        !attempt.version.is_empty() && version == attempt.version
                    }) =>
                    {
                        self.take(&cause, &attempt.id, By::Cancellation).await?;
                    }
                    _ => {}
                }
            }
            self.happened(
                turn,
                &attempt,
                Happening::Seen {
                    version,
                    booted,
                    forgot,
                },
                None,
            )
            .await?;
        }
        Ok(())
    }

    /// The device has said more of itself than when it was asked for.
    async fn look_again(
        &self,
        turn: &mut Turn<'_>,
        attempt: &Attempt,
        report: &Report,
        inform: &Inform,
    ) -> Result<(), Failure> {
        let cause = turn.cause;
        let stored = self
            .store
            .get::<ObservedDevices>((cause.tenant, cause.device))
            .await?;
        let observed = sighting::observed(stored, report, inform);
        let Some(task) = self.task(&cause, &attempt.operation).await? else {
            remove(turn, &attempt.id);
            return Ok(());
        };
        // It is here: there is no need to wake it.
        let task = Task {
            command: Command {
                wake: false,
                ..task.command
            },
            ..task
        };
        self.issue(turn, task, Some(&observed)).await
    }

    /// The answer to a command, of ours or of others.
    async fn done(
        &self,
        turn: &mut Turn<'_>,
        report: &Report,
        done: &CommandDone,
    ) -> Result<(), Failure> {
        if done.owner == SERVICE {
            let Some(attempt) = attempt_of(turn, &done.command) else {
                return Ok(());
            };
            return match &done.outcome {
                Some(Outcome::Result(result)) => self.taken(turn, &attempt, result).await,
                Some(Outcome::Fault(fault)) => {
                    self.happened(turn, &attempt, Happening::Refused(fault), None)
                        .await
                }
                Some(Outcome::Failed(why)) if !done.unanswered => {
                    self.happened(turn, &attempt, Happening::NotSent(why), None)
                        .await
                }
                Some(Outcome::Failed(_)) | None => self.unanswered(turn, &attempt).await,
            };
        }
        let Some(Outcome::Result(result)) = &done.outcome else {
            return Ok(());
        };
        if done.method == "CancelTransfer" {
            return self.transfer_cancelled(turn, &done.operation).await;
        }
        let version = sighting::software_version(&result.values);
        debug!(device = report.device, ?version, "the device was read");
        for attempt in turn.before.open.clone() {
            // What nobody has taken is looked at when a session begins.
            if version.is_some() && matches!(attempt.state(), State::Accepted | State::Transferred)
            {
                self.happened(
                    turn,
                    &attempt,
                    Happening::Seen {
                        version,
                        booted: false,
                        forgot: false,
                    },
                    None,
                )
                .await?;
            }
        }
        Ok(())
    }

    /// The device took the Download.
    async fn taken(
        &self,
        turn: &mut Turn<'_>,
        attempt: &Attempt,
        result: &OperationResult,
    ) -> Result<(), Failure> {
        let Some(task) = self.task(&turn.cause, &attempt.operation).await? else {
            return Ok(());
        };
        // A ScheduleDownloadResponse has no Status: its end is always reported.
        let is_later = issue::is_scheduled(&task.command) || result.status == Some(1);
        let later_us = is_later.then(|| issue::delay_us(&task.command));
        self.happened(turn, attempt, Happening::Taken { later_us }, Some(result))
            .await
    }

    /// A session took the Download and ended without an answer.
    async fn unanswered(&self, turn: &mut Turn<'_>, attempt: &Attempt) -> Result<(), Failure> {
        let task = self.task(&turn.cause, &attempt.operation).await?;
        let delay_us = task.map_or(0, |task| issue::delay_us(&task.command));
        self.happened(turn, attempt, Happening::Unanswered { delay_us }, None)
            .await
    }

    /// A device that accepts CancelTransfer sends no TransferComplete for it (RPC-98).
    async fn transfer_cancelled(
        &self,
        turn: &mut Turn<'_>,
        cancelling: &str,
    ) -> Result<(), Failure> {
        let cause = turn.cause;
        let Some(command) = self
            .store
            .get::<Operations>((cause.tenant, cancelling))
            .await?
        else {
            return Ok(());
        };
        let Some(Action::CancelTransfer(cancel)) =
            command.request.and_then(|request| request.action)
        else {
            return Ok(());
        };
        let operation = cancel.operation.rsplit('/').next().unwrap_or_default();
        let open = turn
            .row
            .open
            .iter()
            .find(|attempt| attempt.operation == operation);
        if open.is_some_and(|attempt| attempt.unanswered || attempt.state() == State::Accepted)
            && let Some(task) = self.task(&cause, operation).await?
        {
            self.end(turn, task, End::Cancelled);
        }
        Ok(())
    }

    /// The device reports the end of a transfer. Without CommandKey, the only one that may be meant (RPC-127).
    async fn completed(
        &self,
        turn: &mut Turn<'_>,
        report: &TransferComplete,
    ) -> Result<(), Failure> {
        if report.autonomous {
            return Ok(());
        }
        let key = report.command_key.as_str();
        let is_meant = |attempt: &&Attempt| {
            if key.is_empty() {
                attempt.unanswered || attempt.state() == State::Accepted
            } else {
                attempt.id == key
            }
        };
        let meant: Vec<Attempt> = turn.row.open.iter().filter(is_meant).cloned().collect();
        let [attempt] = &meant[..] else {
            debug!(
                device = turn.cause.device,
                key, "the end of a transfer that nobody here asked for"
            );
            return Ok(());
        };
        self.happened(turn, attempt, Happening::Completed(report), None)
            .await
    }

    /// Lets the attempt take its next step, and writes what follows. `answer`: what the device answered to the command.
    async fn happened(
        &self,
        turn: &mut Turn<'_>,
        attempt: &Attempt,
        happening: Happening<'_>,
        answer: Option<&OperationResult>,
    ) -> Result<(), Failure> {
        let cause = turn.cause;
        let next = transfer::next(attempt, happening, cause.now_us, self.patience);
        if next == Next::Stays {
            return Ok(());
        }
        let Some(mut task) = self.task(&cause, &attempt.operation).await? else {
            // The operation's row has expired: nobody will ever ask for it.
            remove(turn, &attempt.id);
            return Ok(());
        };
        if let Some(answer) = answer {
            task.progress = Some(Progress {
                result: Some(answer.clone()),
                ..task.progress.unwrap_or_default()
            });
        }
        match next {
            Next::Stays => {}
            Next::GoesOn(further) => {
                if further.deadline_us != attempt.deadline_us {
                    let due = timers::arm(
                        SERVICE,
                        cause.tenant,
                        cause.device,
                        further.deadline_us,
                        OVERDUE,
                        &further.id,
                    );
                    turn.writes.push(due);
                }
                // What a session has taken never goes out again.
                turn.writes.push(commands::leave(&task.command));
                let running =
                    progress::running(cause.tenant, &task, answer_of(&task), cause.version);
                turn.progress.insert(task.command.id, running);
                replace(turn, further);
            }
            Next::Ends(end) => self.end(turn, task, *end),
        }
        Ok(())
    }

    /// An operation is over.
    fn end(&self, turn: &mut Turn<'_>, task: Task, end: End) {
        remove(turn, &task.command.id);
        let counter = if matches!(end, End::Succeeded(_)) {
            &self.succeeded
        } else {
            &self.failed
        };
        turn.writes.push(commands::leave(&task.command));
        let end = transfer::with_answer(end, answer_of(&task));
        if let Some((progress, event)) = operation::over(&turn.cause, &task, end) {
            counter.add(1, &[]);
            turn.progress.insert(task.command.id, progress);
            turn.records.push(event);
        }
    }

    /// Begins upon a record, unless it is in the device's row already.
    async fn begin<'a>(&self, cause: &Cause<'a>) -> Result<Option<Turn<'a>>, Failure> {
        let before = self
            .store
            .get::<OpenTransfers>((cause.tenant, cause.device))
            .await?
            .unwrap_or_default();
        if before.position >= cause.version {
            return Ok(None);
        }
        Ok(Some(Turn {
            cause: *cause,
            row: before.clone(),
            before,
            progress: BTreeMap::new(),
            writes: Vec::new(),
            records: Vec::new(),
        }))
    }

    /// Begins upon a notice about an operation of ours that has not ended.
    async fn begin_task<'a>(
        &self,
        cause: &Cause<'a>,
        id: &str,
    ) -> Result<Option<(Turn<'a>, Task)>, Failure> {
        let Some(task) = self
            .task(cause, id)
            .await?
            .filter(|task| task.command.owner == SERVICE)
        else {
            return Ok(None);
        };
        // What this very record has ended is ended again: its event may not have left.
        let is_over =
            |progress: &Progress| progress::is_over(progress) && progress.position != cause.version;
        if task.progress.as_ref().is_some_and(is_over) {
            return Ok(None);
        }
        Ok(self.begin(cause).await?.map(|turn| (turn, task)))
    }

    /// Writes what follows from a record.
    async fn commit(&self, turn: Turn<'_>) -> Result<(), Failure> {
        let Turn {
            cause,
            before,
            mut row,
            progress,
            mut writes,
            records,
        } = turn;
        writes.extend(progress.into_values());
        if !writes.is_empty() {
            self.store.write(writes).await?;
        }
        if !records.is_empty() {
            self.log.append(records).await?;
        }
        if before == row {
            return Ok(());
        }
        row.position = cause.version;
        let key = (cause.tenant, cause.device);
        // A device without open transfers has no row: so the rows of a shard are those that somebody waits for.
        let write = if row.open.is_empty() {
            rows::delete::<OpenTransfers>(key, cause.version)
        } else {
            rows::write::<OpenTransfers>(key, &row, cause.version)
        };
        self.store.write(vec![write]).await?;
        self.open
            .set(cause.tenant, cause.device, !row.open.is_empty());
        Ok(())
    }

    /// An operation of the device, with its progress and when a session took it.
    async fn task(&self, cause: &Cause<'_>, id: &str) -> Result<Option<Task>, Failure> {
        Ok(self.store.task(cause.tenant, cause.device, id).await?)
    }

    /// Takes an operation so that no session does. `false`: somebody else has it.
    async fn take(&self, cause: &Cause<'_>, id: &str, by: By) -> Result<bool, Failure> {
        let (store, now_us) = (&self.store, cause.now_us);
        Ok(store.take(cause.tenant, id, by, SERVICE, now_us).await?)
    }
}

#[async_trait]
impl Handler for Firmware {
    const KINDS: &'static [Kind] = &[Kind::Inform, Kind::Transfer, Kind::Done, Kind::Notice];
    const GATHER: Duration = drive::PROMPT;

    async fn assigned(&self, _shards: &[Shards]) {
        self.open.clear();
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

/// Asks for a session. Whether further tries are needed is provisioning's to know, for all operations.
fn wake(turn: &mut Turn<'_>, command: &Command) {
    if !command.wake {
        return;
    }
    let cause = turn.cause;
    let wake = Wake {
        tenant: cause.tenant.to_owned(),
        device: cause.device.to_owned(),
        command: command.id.clone(),
        attempt: 1,
    };
    turn.records
        .push(cause.emit(Topic::Wake, Kind::Wake, &["wake", &command.id], &wake));
}

/// What the device has answered before.
fn answer_of(task: &Task) -> OperationResult {
    let progress = task.progress.as_ref();
    progress
        .and_then(|progress| progress.result.clone())
        .unwrap_or_default()
}

fn attempt_of(turn: &Turn<'_>, id: &str) -> Option<Attempt> {
    turn.row
        .open
        .iter()
        .find(|attempt| attempt.id == id)
        .cloned()
}

fn replace(turn: &mut Turn<'_>, attempt: Attempt) {
    let attempt = Attempt {
        position: turn.cause.version,
        ..attempt
    };
    match turn.row.open.iter_mut().find(|open| open.id == attempt.id) {
        Some(open) => *open = attempt,
        None => turn.row.open.push(attempt),
    }
}

fn remove(turn: &mut Turn<'_>, id: &str) {
    turn.row.open.retain(|attempt| attempt.id != id);
}
