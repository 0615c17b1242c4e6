//! The writes and the event that follow from the end of an operation.

use crate::{derived, transfer::End};
use platen_bus::NewRecord;
use platen_proto::{
    event::v1::{Event, event},
    operation::v1::{
        Operation, OperationRequest, OperationResult, operation::State, operation_request::Action,
    },
    store::v1::{Command, Progress},
    topic::{Kind, Topic},
};
use platen_store::{commands, rows, table::Write, tables::ProgressOfOperations};
use prost::Message;

/// The record that is being handled, as cause of what is derived from it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cause<'a> {
    /// Tenant of the device.
    pub(crate) tenant: &'a str,
    /// The device that the record is about.
    pub(crate) device: &'a str,
    /// Id of the record.
    pub(crate) id: &'a str,
    /// Version of what is derived from it.
    pub(crate) version: u64,
    /// When it was received (µs).
    pub(crate) now_us: i64,
}

impl Cause<'_> {
    /// A derived record about the device. `what` tells it from others with the same cause.
    pub(crate) fn emit(
        &self,
        topic: Topic,
        kind: Kind,
        what: &[&str],
        payload: &impl Message,
    ) -> NewRecord {
        NewRecord {
            topic,
            shard: platen_ids::shard(self.tenant, self.device),
            key: format!("{}/{}", self.tenant, self.device),
            kind,
            id: self.derived(what),
            time_us: self.now_us,
            payload: payload.encode_to_vec().into(),
        }
    }

    fn derived(&self, what: &[&str]) -> String {
        let cause: Vec<&str> = std::iter::once(self.id)
            .chain(what.iter().copied())
            .collect();
        derived::id(&cause)
    }
}

/// Whether an operation has ended.
pub(crate) fn is_over(progress: &Progress) -> bool {
    matches!(
        progress.state(),
        State::Succeeded | State::Failed | State::Cancelled | State::Expired
    )
}

/// The operation goes on: its progress, with what the device has said so far.
pub(crate) fn running(
    cause: &Cause<'_>,
    operation: &str,
    before: Option<&Progress>,
    started_us: i64,
) -> Write {
    let progress = Progress {
        state: State::Running.into(),
        attempts: 1,
        start_time_us: started(before, started_us),
        result: Some(so_far(before)),
        position: cause.version,
        ..Progress::default()
    };
    rows::write::<ProgressOfOperations>((cause.tenant, operation), &progress, cause.version)
}

/// The operation is over: its progress, and the event that says so. Nothing if it was over already; the same again if it was this record that ended it.
pub(crate) fn over(
    cause: &Cause<'_>,
    command: &Command,
    before: Option<&Progress>,
    started_us: i64,
    end: End,
) -> Option<(Write, NewRecord)> {
    let progress = match before.filter(|before| is_over(before)) {
        Some(before) if before.position == cause.version => before.clone(),
        Some(_) => return None,
        None => ended(before, started_us, end, cause),
    };
    let write =
        rows::write::<ProgressOfOperations>((cause.tenant, &command.id), &progress, cause.version);
    Some((write, event(cause, command, &progress)))
}

/// Puts the command of an attempt into the queue: whatever is written of it there has its time of creation as version.
pub(crate) fn queue(command: &Command) -> Write {
    commands::enqueue(command, queue_version(command))
}

/// Takes it out, for good. The operation will do as well: the place in the queue is the same.
pub(crate) fn leave(command: &Command) -> Write {
    commands::dequeue(command, queue_version(command) + 1)
}

fn queue_version(command: &Command) -> u64 {
    u64::try_from(command.create_time_us).unwrap_or_default()
}

fn started(before: Option<&Progress>, started_us: i64) -> i64 {
    before
        .map(|before| before.start_time_us)
        .filter(|us| *us > 0)
        .unwrap_or(started_us)
}

/// What the device has said before.
fn so_far(before: Option<&Progress>) -> OperationResult {
    before
        .and_then(|before| before.result.clone())
        .unwrap_or_default()
}

fn ended(before: Option<&Progress>, started_us: i64, end: End, cause: &Cause<'_>) -> Progress {
    let so_far = so_far(before);
    let (state, result, error) = match end {
        End::Succeeded(result) => (State::Succeeded, joined(so_far, result), None),
        End::Failed(error, result) => (State::Failed, joined(so_far, result), Some(error)),
        End::Cancelled => (State::Cancelled, so_far, None),
        End::Expired => (State::Expired, so_far, None),
    };
    let start_time_us = started(before, started_us);
    Progress {
        state: state.into(),
        attempts: i32::from(start_time_us > 0),
        start_time_us,
        end_time_us: cause.now_us,
        result: (state == State::Succeeded || result != OperationResult::default())
            .then_some(result),
        error,
        position: cause.version,
    }
}

/// What the answer said, and what the report or the version adds.
fn joined(answer: OperationResult, added: OperationResult) -> OperationResult {
    OperationResult {
        status: added.status.or(answer.status),
        start_time: added.start_time.or(answer.start_time),
        complete_time: added.complete_time.or(answer.complete_time),
        software_version: added.software_version.or(answer.software_version),
        ..answer
    }
}

fn event(cause: &Cause<'_>, command: &Command, progress: &Progress) -> NewRecord {
    let time = platen_fleet::device::timestamp;
    let operation = Operation {
        name: format!("tenants/{}/operations/{}", cause.tenant, command.id),
        device: platen_fleet::device::name(cause.tenant, cause.device),
        state: progress.state,
        attempts: progress.attempts,
        created_by: command.created_by.clone(),
        create_time: time(command.create_time_us),
        start_time: time(progress.start_time_us),
        end_time: time(progress.end_time_us),
        request: command.request.clone().map(without_secrets),
        result: progress.result.clone(),
        error: progress.error.clone(),
    };
    let what = ["operation-done", command.id.as_str()];
    let event = Event {
        id: cause.derived(&what),
        time: time(cause.now_us),
        device: operation.device.clone(),
        kind: event::Kind::OperationDone.into(),
        cursor: String::new(),
        data: Some(event::Data::Operation(operation)),
    };
    cause.emit(Topic::Changes, Kind::Event, &what, &event)
}

/// A request as others than the device may see it.
fn without_secrets(mut request: OperationRequest) -> OperationRequest {
    match &mut request.action {
        Some(Action::Download(download)) => download.password.clear(),
        Some(Action::ScheduleDownload(download)) => download.password.clear(),
        _ => {}
    }
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_ends_once() {
        let cause = Cause {
            tenant: "t",
            device: "d",
            id: "record",
            version: 9,
            now_us: 5,
        };
        let command = Command {
            id: "op".into(),
            create_time_us: 3,
            ..Command::default()
        };
        let ended = |state: State, position| Progress {
            state: state.into(),
            position,
            ..Progress::default()
        };
        for (what, before, emits) in [
            ("open", None, true),
            ("running", Some(ended(State::Running, 1)), true),
            ("failed before", Some(ended(State::Failed, 1)), false),
            (
                "ended by this very record",
                Some(ended(State::Succeeded, 9)),
                true,
            ),
        ] {
            assert_eq!(
                over(&cause, &command, before.as_ref(), 4, End::failed("X", "x")).is_some(),
                emits,
                "{what}"
            );
        }
    }
}
