//! Operations: from the notice that there is one to its end; and connection requests for what waits.

use super::{OVERDUE, Provisioning, SERVICE, Turn, WAKE_RETRY, diagnoses, narrowing};
use crate::{
    operations::{self, Answer, ReadBack, has},
    quiet::QuietDevices,
    waking,
};
use futures::stream::{self, StreamExt, TryStreamExt};
use platen_bus::{
    Failure, NewRecord,
    derived::{self, Cause},
};
use platen_cwmp::event_code::EventCode;
use platen_fleet::operation;
use platen_proto::{
    event::v1::{DeviceRequest, Inform, TransferComplete},
    operation::v1::{
        GetParameterValues, OperationRequest, OperationResult, ParameterValue, operation::State,
        operation_request::Action,
    },
    report::v1::{CommandDone, Report, Wake, Woken, command_done::Outcome},
    store::v1::{Command, Desired, RunningDiagnostic, claim::By},
    topic::{Kind, Topic},
};
use platen_store::{
    commands,
    progress::{self, End, Task},
    table::Write,
    timers,
};
use prost::Message;
use tracing::debug;

/// Most operations of one device that may be open at a time; what comes beyond fails.
const MAX_OPEN: usize = 256;

/// Most operations that are remembered as waiting for a session; one alone is enough to ask for it.
const MAX_WAKING: usize = 16;

/// How long after its expiry (µs) an operation that a session took and never answered is given up.
const AFTER_EXPIRY_US: i64 = 3_600_000_000;

/// Reads at a time.
const CONCURRENT: usize = 16;

impl Provisioning {
    /// An operation has been queued: remembers it as open, and asks the device for a session.
    pub(super) async fn created(&self, cause: &Cause<'_>, id: &str) -> Result<(), Failure> {
        self.quiet
            .remove(&QuietDevices::key(cause.tenant, cause.device));
        let Some(mut turn) = self.begin(cause).await? else {
            return Ok(());
        };
        let Some(task) = self.task(cause, id).await? else {
            debug!(
                device = cause.device,
                operation = id,
                "an operation was announced and never made"
            );
            return Ok(());
        };
        if task.progress.as_ref().is_some_and(progress::is_over) {
            return Ok(());
        }
        let ours = task.command.owner == SERVICE;
        let is_known = turn
            .row
            .open_operations
            .iter()
            .chain(&turn.row.awaiting)
            .any(|open| open == id);
        if ours && !is_known {
            if turn.row.open_operations.len() >= MAX_OPEN
                && self.take(cause, id, By::Cancellation).await?
            {
                let end = End::failed(
                    "TOO_MANY_OPERATIONS",
                    format!("the device has {MAX_OPEN} operations that it has not answered"),
                );
                self.end(&mut turn, task, end);
                return self.commit(turn).await;
            }
            turn.row.open_operations.push(id.to_owned());
            if matches!(action(&task.command), Some(Action::Diagnostic(_))) {
                turn.row.waiting_diagnostics.push(id.to_owned());
            }
        }
        // Whoever owns the operation asks first, once it is in the queue; further tries are ours for all.
        let wakes =
            task.command.wake && !is_known && !turn.row.waking.iter().any(|waking| waking == id);
        if wakes && turn.row.waking.len() < MAX_WAKING {
            turn.row.waking.push(id.to_owned());
            turn.row.wake_attempt = 1;
            if ours {
                turn.records.push(wake(cause, id, 1));
            }
        }
        self.commit(turn).await
    }

    /// Somebody cancelled an operation before a session took it.
    pub(super) async fn cancelled(&self, cause: &Cause<'_>, id: &str) -> Result<(), Failure> {
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

    /// The time of an operation is over: if no session has taken it, none will.
    pub(super) async fn expired(&self, cause: &Cause<'_>, id: &str) -> Result<(), Failure> {
        let Some((mut turn, task)) = self.begin_task(cause, id).await? else {
            return Ok(());
        };
        if self.take(cause, id, By::Expiry).await? {
            self.end(&mut turn, task, End::Expired);
        } else if turn.row.open_operations.iter().any(|open| open == id) {
            // A session has it and has not answered: if the device never comes again, nobody else closes it.
            turn.writes
                .push(arm(cause, cause.now_us + AFTER_EXPIRY_US, OVERDUE, id));
        }
        self.commit(turn).await
    }

    /// The device never spoke of an operation again.
    pub(super) async fn overdue(&self, cause: &Cause<'_>, id: &str) -> Result<(), Failure> {
        let Some((mut turn, task)) = self.begin_task(cause, id).await? else {
            return Ok(());
        };
        if !turn
            .row
            .open_operations
            .iter()
            .chain(&turn.row.awaiting)
            .any(|open| open == id)
        {
            return Ok(());
        }
        turn.writes.push(commands::leave(&verification(
            cause,
            &task.command,
            Vec::new(),
        )));
        let is_begun = turn.row.diagnostic.as_ref().is_some_and(|running| {
            running.operation == id && !running.unanswered && !running.session.is_empty()
        });
        let end = if is_begun {
            End::failed(
                "TIMED_OUT",
                "the device has not reported the end of the diagnostic in time",
            )
        } else {
            let end = End::unknown("the device took it and has not reported its end in time");
            narrowing::with_result(end, so_far(&task))
        };
        self.end(&mut turn, task, end);
        self.commit(turn).await
    }

    /// The answer to a command.
    pub(super) async fn done(
        &self,
        cause: &Cause<'_>,
        report: &Report,
        done: &CommandDone,
    ) -> Result<(), Failure> {
        if done.owner != SERVICE {
            return Ok(());
        }
        if done.operation.is_empty() {
            return self.plan_answered(cause, report, done).await;
        }
        let Some(mut turn) = self.begin(cause).await? else {
            return Ok(());
        };
        let Some(task) = self.task(cause, &done.operation).await? else {
            debug!(
                device = cause.device,
                operation = done.operation,
                "an answer to an operation that is not stored"
            );
            return Ok(());
        };
        let values = values_of(done, &task.command);
        let mut done = done.clone();
        // If this record's progress was written and the device's row was not, the progress has what the answer brought: it is not added a second time.
        let is_folded = task.progress.as_ref().is_some_and(|progress| {
            !progress::is_over(progress) && progress.position >= cause.version
        });
        if is_folded && let Some(Outcome::Result(result)) = &mut done.outcome {
            *result = OperationResult::default();
        }
        let mut task = Task {
            started_us: if task.started_us == 0 {
                cause.now_us
            } else {
                task.started_us
            },
            ..task
        };
        // What parts of an earlier answer brought is not mixed with this one.
        let is_narrowed = narrowing::open_part(&turn.row, &task.command.id).is_some();
        if report.part == 0
            && !is_narrowed
            && !is_folded
            && let Some(progress) = &mut task.progress
            && progress.state() == State::Running
        {
            progress.result = None;
        }
        if done.command == task.command.id {
            self.answered(&mut turn, report, &done, task).await?;
        } else if matches!(action(&task.command), Some(Action::Diagnostic(_))) {
            self.diagnosed(&mut turn, report, &done, task);
        } else if is_narrowed {
            self.narrowed(&mut turn, report, &done, task);
        } else {
            self.verified(&mut turn, report, &done, task);
        }
        self.values_seen(&mut turn, report, &values).await?;
        self.commit(turn).await
    }

    async fn answered(
        &self,
        turn: &mut Turn<'_>,
        report: &Report,
        done: &CommandDone,
        task: Task,
    ) -> Result<(), Failure> {
        let so_far = so_far(&task);
        if let (false, Some(Outcome::Result(part))) = (report.last, &done.outcome) {
            let result = operations::merged(so_far, part.clone());
            if result.encoded_len() > operations::MAX_RESULT {
                self.end(turn, task, operations::too_large());
            } else {
                goes_on(turn, &task, result);
            }
            return Ok(());
        }
        if self.diagnostic_in_steps(turn, done, &task) {
            return Ok(());
        }
        if let Some(Outcome::Fault(fault)) = &done.outcome
            && self.narrow(turn, &task, fault)
        {
            return Ok(());
        }
        let request = task.command.request.clone().unwrap_or_default();
        match operations::answered(&request, done, so_far) {
            Answer::Ended(end) => {
                let cancels = match (request.action, &end) {
                    (Some(Action::CancelTransfer(cancel)), End::Succeeded(_)) => {
                        Some(cancel.operation)
                    }
                    _ => None,
                };
                self.end(turn, task, end);
                if let Some(name) = cancels {
                    self.transfer_cancelled(turn, name.rsplit('/').next().unwrap_or_default())
                        .await?;
                }
            }
            Answer::Awaits(result) => {
                await_report(turn, &task, result);
                self.diagnostic_begun(turn, report, &task);
            }
            // It stays open, and claimed, so that it is not sent again.
            Answer::Missing => {}
        }
        Ok(())
    }

    /// A device that accepts CancelTransfer sends no TransferComplete for it (RPC-98).
    async fn transfer_cancelled(&self, turn: &mut Turn<'_>, id: &str) -> Result<(), Failure> {
        if turn.row.awaiting.iter().any(|awaiting| awaiting == id)
            && let Some(task) = self.task(&turn.cause, id).await?
        {
            self.end(turn, task, End::Cancelled);
        }
        Ok(())
    }

    /// The values read back for a SetParameterValues whose answer never came.
    fn verified(&self, turn: &mut Turn<'_>, report: &Report, done: &CommandDone, task: Task) {
        let check = verification(&turn.cause, &task.command, Vec::new());
        if done.command != check.id {
            return;
        }
        let read = match &done.outcome {
            Some(Outcome::Result(part)) => Some(operations::merged(so_far(&task), part.clone())),
            Some(Outcome::Fault(_) | Outcome::Failed(_)) | None => None,
        };
        match read {
            Some(read) if read.encoded_len() > operations::MAX_RESULT => {
                self.end(turn, task, operations::too_large());
                turn.writes.push(commands::leave(&check));
            }
            Some(read) if !report.last => goes_on(turn, &task, read),
            read => {
                let end = operations::compared(wanted_values(&task.command), read.as_ref());
                self.end(turn, task, end);
                turn.writes.push(commands::leave(&check));
            }
        }
    }

    /// The device reports the end of a transfer that it was asked for.
    pub(super) async fn transfer(
        &self,
        cause: &Cause<'_>,
        report: &TransferComplete,
    ) -> Result<(), Failure> {
        if report.autonomous {
            return Ok(());
        }
        let is_transfer = |action: &Action| {
            matches!(
                action,
                Action::Download(_) | Action::Upload(_) | Action::ScheduleDownload(_)
            )
        };
        self.reported_end(cause, &report.command_key, is_transfer, |_, so_far| {
            operations::transferred(so_far, report)
        })
        .await
    }

    /// The device reports the end of something else.
    pub(super) async fn device_request(
        &self,
        cause: &Cause<'_>,
        request: &DeviceRequest,
    ) -> Result<(), Failure> {
        if request.method != "DUStateChangeComplete" {
            return Ok(());
        }
        let is_change = |action: &Action| matches!(action, Action::ChangeDuState(_));
        self.reported_end(cause, &request.command_key, is_change, |task, so_far| {
            let asked = match action(&task.command) {
                Some(Action::ChangeDuState(change)) => &change.operations[..],
                _ => &[],
            };
            operations::du_changed(asked, so_far, request)
        })
        .await
    }

    /// Ends the operation with this CommandKey; without one, the only operation of that kind that may be meant (RPC-127).
    async fn reported_end(
        &self,
        cause: &Cause<'_>,
        key: &str,
        of_kind: impl Fn(&Action) -> bool,
        end: impl FnOnce(&Task, OperationResult) -> End,
    ) -> Result<(), Failure> {
        let Some(mut turn) = self.begin(cause).await? else {
            return Ok(());
        };
        let is_candidate = |id: &&String| {
            if key.is_empty() {
                turn.before.awaiting.contains(id)
            } else {
                *id == key
            }
        };
        let mut found: Vec<Task> = Vec::new();
        // An operation whose answer was lost is still among those that are not answered.
        for id in turn
            .before
            .awaiting
            .iter()
            .chain(&turn.before.open_operations)
            .filter(is_candidate)
        {
            let task = self.task(cause, id).await?;
            found.extend(task.filter(|task| action(&task.command).is_some_and(&of_kind)));
        }
        let (Some(task), true) = (found.pop(), found.is_empty()) else {
            debug!(
                device = cause.device,
                key, "the end of something that nobody here asked for"
            );
            return Ok(());
        };
        let end = end(&task, so_far(&task));
        self.end(&mut turn, task, end);
        self.commit(turn).await
    }

    /// Finds out, at the Inform of a session, about the operations that an earlier one took and never answered, and closes what a BOOTSTRAP has overtaken.
    pub(super) async fn read_back(
        &self,
        turn: &mut Turn<'_>,
        report: &Report,
        inform: &Inform,
    ) -> Result<(), Failure> {
        let cause = turn.cause;
        let overtaken = if has(inform, &EventCode::Bootstrap) {
            turn.row.awaiting.clone()
        } else {
            Vec::new()
        };
        for id in overtaken {
            forget(&mut turn.row, &id);
            if let Some(task) = self.task(&cause, &id).await? {
                turn.writes.push(commands::leave(&verification(
                    &cause,
                    &task.command,
                    Vec::new(),
                )));
                self.end(turn, task, operations::aborted());
            }
        }
        self.narrowed_before(turn).await?;
        let in_doubt = self.in_doubt(&cause, report, &turn.row).await?;
        let reboots = in_doubt
            .iter()
            .filter(|task| matches!(action(&task.command), Some(Action::Reboot(_))))
            .count();
        for task in in_doubt {
            let request = task.command.request.clone().unwrap_or_default();
            match operations::read_back(&task.command.id, &request, inform, reboots == 1) {
                ReadBack::Ended(end) => self.end(turn, task, *end),
                ReadBack::Awaits => {
                    await_report(turn, &task, so_far(&task));
                    if let Some(running) = running_diagnostic(&mut turn.row, &task.command.id) {
                        running.unanswered = true;
                    }
                }
                ReadBack::Read(paths) => {
                    turn.writes
                        .push(commands::queue(&verification(&cause, &task.command, paths)));
                    await_report(turn, &task, OperationResult::default());
                }
            }
        }
        Ok(())
    }

    /// The open operations that a session took which ended before this one began.
    async fn in_doubt(
        &self,
        cause: &Cause<'_>,
        report: &Report,
        row: &Desired,
    ) -> Result<Vec<Task>, Failure> {
        let tasks = stream::iter(row.open_operations.clone()).map(|id| async move {
            let claim = self.store.claim_of(cause.tenant, &id).await?;
            // The session at hand, or a later one when this record is handled late, may answer yet.
            let claim = claim.filter(|claim| {
                claim.by() == By::Session
                    && claim.holder != report.session
                    && claim.time_us < report.time_us
            });
            if claim.is_none() {
                return Ok::<_, Failure>(None);
            }
            self.task(cause, &id).await
        });
        let found: Vec<Option<Task>> = tasks.buffered(CONCURRENT).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    /// A connection request was tried: if the device does not come, it is tried again.
    pub(super) async fn woken(&self, cause: &Cause<'_>, woken: &Woken) -> Result<(), Failure> {
        let Some(mut turn) = self.begin(cause).await? else {
            return Ok(());
        };
        if !turn.row.waking.is_empty() {
            let due_us = cause.now_us + waking::pause_us(turn.row.wake_attempt, woken.reached);
            turn.writes.push(arm(
                cause,
                due_us,
                WAKE_RETRY,
                &turn.row.wake_attempt.to_string(),
            ));
        }
        self.commit(turn).await
    }

    /// The pause after connection request number `attempt` is over.
    pub(super) async fn wake_again(&self, cause: &Cause<'_>, attempt: &str) -> Result<(), Failure> {
        let Some(mut turn) = self.begin(cause).await? else {
            return Ok(());
        };
        if turn.row.wake_attempt.to_string() != attempt {
            return Ok(());
        }
        turn.row.waking.clear();
        for id in turn.before.waking.clone() {
            let is_over = self
                .progress(cause, &id)
                .await?
                .as_ref()
                .is_some_and(progress::is_over);
            if !is_over && self.store.claim_of(cause.tenant, &id).await?.is_none() {
                turn.row.waking.push(id);
            }
        }
        turn.row.wake_attempt = if turn.row.waking.is_empty() {
            0
        } else {
            turn.before.wake_attempt + 1
        };
        if let Some(id) = turn.row.waking.first() {
            turn.records.push(wake(cause, id, turn.row.wake_attempt));
        }
        self.commit(turn).await
    }

    /// Begins upon a notice about an operation of ours that has not ended.
    async fn begin_task<'a>(
        &self,
        cause: &Cause<'a>,
        id: &str,
    ) -> Result<Option<(Turn<'a>, Task)>, Failure> {
        let Some(turn) = self.begin(cause).await? else {
            return Ok(None);
        };
        let Some(task) = self
            .task(cause, id)
            .await?
            .filter(|task| task.command.owner == SERVICE)
        else {
            return Ok(None);
        };
        // What this very record has ended is ended again: its event may not have left.
        let is_over = task.progress.as_ref().is_some_and(|progress| {
            progress::is_over(progress) && progress.position != cause.version
        });
        Ok((!is_over).then_some((turn, task)))
    }

    /// Takes an operation so that no session does. `false`: somebody else has it.
    async fn take(&self, cause: &Cause<'_>, id: &str, by: By) -> Result<bool, Failure> {
        let (store, now_us) = (&self.store, cause.now_us);
        Ok(store.take(cause.tenant, id, by, SERVICE, now_us).await?)
    }

    /// An operation is over.
    pub(super) fn end(&self, turn: &mut Turn<'_>, task: Task, end: End) {
        narrowing::leave(turn, &task.command);
        forget(&mut turn.row, &task.command.id);
        if let Some(running) = running_diagnostic(&mut turn.row, &task.command.id) {
            let in_steps = running.in_steps;
            turn.row.diagnostic = None;
            let left = diagnoses::leftovers(turn, &task, in_steps);
            turn.writes.extend(left.iter().map(commands::leave));
        }
        turn.writes.push(commands::leave(&task.command));
        if let Some((write, event)) = operation::over(&turn.cause, &task, end) {
            self.counters.ended.add(1, &[]);
            turn.writes.push(write);
            turn.records.push(event);
        }
    }
}

/// The result that earlier parts of an answer, or the answer before the report, brought.
pub(super) fn so_far(task: &Task) -> OperationResult {
    let running = task
        .progress
        .as_ref()
        .filter(|progress| progress.state() == State::Running);
    running
        .and_then(|progress| progress.result.clone())
        .unwrap_or_default()
}

/// The operation goes on, with what the device has said so far; unless it has ended.
pub(super) fn goes_on(turn: &mut Turn<'_>, task: &Task, so_far: OperationResult) {
    if progress::is_open(task.progress.as_ref()) {
        let cause = turn.cause;
        turn.writes
            .push(progress::running(cause.tenant, task, so_far, cause.version));
    }
}

/// The device will report the end of an operation: until then it runs, for a bounded time.
pub(super) fn await_report(turn: &mut Turn<'_>, task: &Task, result: OperationResult) {
    let (cause, id) = (turn.cause, &task.command.id);
    turn.writes.push(commands::leave(&task.command));
    forget(&mut turn.row, id);
    if progress::is_open(task.progress.as_ref()) {
        turn.writes
            .push(progress::running(cause.tenant, task, result, cause.version));
        let patience_us = task
            .command
            .request
            .as_ref()
            .map_or(0, operations::patience_us);
        turn.writes
            .push(arm(&cause, cause.now_us + patience_us, OVERDUE, id));
        turn.row.awaiting.push(id.clone());
    }
}

/// The diagnostic that the device was asked for, if it is this operation's.
pub(super) fn running_diagnostic<'a>(
    row: &'a mut Desired,
    id: &str,
) -> Option<&'a mut RunningDiagnostic> {
    row.diagnostic
        .as_mut()
        .filter(|running| running.operation == id)
}

/// Nothing of the operation waits any more.
pub(super) fn forget(row: &mut Desired, id: &str) {
    row.waiting_diagnostics.retain(|waiting| waiting != id);
    row.open_operations.retain(|open| open != id);
    row.awaiting.retain(|open| open != id);
    row.waking.retain(|open| open != id);
}

/// What an operation asks for.
pub(super) fn action(command: &Command) -> Option<&Action> {
    command
        .request
        .as_ref()
        .and_then(|request| request.action.as_ref())
}

fn wanted_values(command: &Command) -> &[ParameterValue] {
    match action(command) {
        Some(Action::SetParameterValues(set)) => &set.values,
        _ => &[],
    }
}

/// Values that an answer tells of the device: those that it read, or those that it took at once.
fn values_of(done: &CommandDone, command: &Command) -> Vec<ParameterValue> {
    let Some(Outcome::Result(result)) = &done.outcome else {
        return Vec::new();
    };
    match action(command) {
        Some(Action::SetParameterValues(_)) if result.status == Some(1) => Vec::new(),
        Some(Action::SetParameterValues(set)) if done.command == command.id => set.values.clone(),
        _ => result.values.clone(),
    }
}

/// The command that reads back what a SetParameterValues was to set, or what a diagnostic brought. In the queue it stands where the operation stood.
pub(super) fn verification(cause: &Cause<'_>, command: &Command, paths: Vec<String>) -> Command {
    Command {
        id: derived::id(&["verify", &command.id]),
        tenant: cause.tenant.to_owned(),
        device: cause.device.to_owned(),
        owner: SERVICE.to_owned(),
        operation: command.id.clone(),
        request: Some(OperationRequest {
            action: Some(Action::GetParameterValues(GetParameterValues { paths })),
            ..OperationRequest::default()
        }),
        once: false,
        priority: command.priority,
        create_time_us: command.create_time_us,
        expire_time_us: cause.now_us + command.request.as_ref().map_or(0, operations::patience_us),
        created_by: String::new(),
        wake: false,
        more_follows: false,
        context: String::new(),
    }
}

fn wake(cause: &Cause<'_>, operation: &str, attempt: u32) -> NewRecord {
    let wake = Wake {
        tenant: cause.tenant.to_owned(),
        device: cause.device.to_owned(),
        command: operation.to_owned(),
        attempt,
    };
    cause.emit(
        Topic::Wake,
        Kind::Wake,
        &["wake", &attempt.to_string()],
        &wake,
    )
}

fn arm(cause: &Cause<'_>, due_us: i64, kind: &str, subject: &str) -> Write {
    timers::arm(SERVICE, cause.tenant, cause.device, due_us, kind, subject)
}
