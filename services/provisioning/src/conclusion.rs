//! The writes and the event that follow from the end of an operation.

use crate::{
    derived,
    operations::{self, End},
};
use platen_bus::NewRecord;
use platen_proto::{
    event::v1::{Event, event},
    operation::v1::{
        Operation, OperationRequest, OperationResult, du_operation::Operation as DuAction,
        operation::State, operation_request::Action,
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
        let mut cause = vec![self.id];
        cause.extend(what);
        NewRecord {
            topic,
            shard: platen_ids::shard(self.tenant, self.device),
            key: format!("{}/{}", self.tenant, self.device),
            kind,
            id: derived::id(&cause),
            time_us: self.now_us,
            payload: payload.encode_to_vec().into(),
        }
    }
}

/// Whether an operation has ended.
pub(crate) fn is_over(progress: &Progress) -> bool {
    matches!(
        progress.state(),
        State::Succeeded | State::Failed | State::Cancelled | State::Expired
    )
}

/// Whether a late answer may still replace what is known of the operation.
pub(crate) fn is_open(progress: Option<&Progress>) -> bool {
    progress.is_none_or(|progress| {
        !is_over(progress)
            || progress
                .error
                .as_ref()
                .is_some_and(|error| error.code == operations::OUTCOME_UNKNOWN)
    })
}

/// The operation goes on: its progress, with what the device has said so far.
pub(crate) fn running(
    cause: &Cause<'_>,
    operation: &str,
    before: Option<&Progress>,
    started_us: i64,
    result: OperationResult,
) -> Write {
    let progress = Progress {
        state: State::Running.into(),
        attempts: 1,
        start_time_us: before
            .map(|before| before.start_time_us)
            .filter(|us| *us > 0)
            .unwrap_or(started_us),
        result: Some(result),
        position: cause.version,
        ..Progress::default()
    };
    rows::write::<ProgressOfOperations>((cause.tenant, operation), &progress, cause.version)
}

/// The operation is over: its progress, its place in the queue, and the event that says so. Nothing if it was over already; the same again if it was this
/// record that ended it.
pub(crate) fn over(
    cause: &Cause<'_>,
    command: &Command,
    before: Option<Progress>,
    started_us: i64,
    end: End,
) -> (Vec<Write>, Option<NewRecord>) {
    let left = leave(command);
    let progress = match before {
        Some(before) if is_over(&before) && before.position == cause.version => before,
        before if !is_open(before.as_ref()) => return (vec![left], None),
        before => ended(before.as_ref(), started_us, end, cause),
    };
    let writes = vec![
        rows::write::<ProgressOfOperations>((cause.tenant, &command.id), &progress, cause.version),
        left,
    ];
    (writes, Some(event(cause, command, &progress)))
}

/// Takes a command out of the queue, for good: whatever is written of it has its time of creation as version.
pub(crate) fn leave(command: &Command) -> Write {
    commands::dequeue(command, queue_version(command) + 1)
}

/// Puts a command into the queue.
pub(crate) fn queue(command: &Command) -> Write {
    commands::enqueue(command, queue_version(command))
}

fn queue_version(command: &Command) -> u64 {
    u64::try_from(command.create_time_us).unwrap_or_default()
}

fn ended(before: Option<&Progress>, started_us: i64, end: End, cause: &Cause<'_>) -> Progress {
    let (state, result, error) = match end {
        End::Succeeded(result) => (State::Succeeded, Some(result), None),
        End::Failed(error, result) => (
            State::Failed,
            (result != OperationResult::default()).then_some(result),
            Some(error),
        ),
        End::Cancelled => (State::Cancelled, None, None),
        End::Expired => (State::Expired, None, None),
    };
    let started_us = before
        .map(|before| before.start_time_us)
        .filter(|us| *us > 0)
        .unwrap_or(started_us);
    Progress {
        state: state.into(),
        attempts: i32::from(!matches!(state, State::Cancelled | State::Expired)),
        start_time_us: started_us,
        end_time_us: cause.now_us,
        result,
        error,
        position: cause.version,
    }
}

/// Largest result that an event carries, in bytes; a larger one is in the operation only.
const MAX_EVENT_RESULT: usize = 512 * 1024;

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
        result: progress
            .result
            .clone()
            .filter(|result| result.encoded_len() <= MAX_EVENT_RESULT),
        error: progress.error.clone(),
    };
    let what = ["operation-done", &command.id];
    let event = Event {
        id: derived::id(&[cause.id, what[0], what[1]]),
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
        Some(Action::Upload(upload)) => upload.password.clear(),
        Some(Action::ScheduleDownload(download)) => download.password.clear(),
        Some(Action::ChangeDuState(change)) => {
            for operation in &mut change.operations {
                match &mut operation.operation {
                    Some(DuAction::Install(install)) => install.password.clear(),
                    Some(DuAction::Update(update)) => update.password.clear(),
                    Some(DuAction::Uninstall(_)) | None => {}
                }
            }
        }
        Some(Action::SetParameterValues(set)) => {
            for parameter in set
                .values
                .iter_mut()
                .filter(|parameter| crate::value::is_hidden(&parameter.path))
            {
                parameter.value.clear();
            }
        }
        _ => {}
    }
    request
}

#[cfg(test)]
mod tests {
    use super::*;
    use platen_proto::operation::v1::{ParameterValue, SetParameterValues};

    const CAUSE: Cause<'_> = Cause {
        tenant: "t",
        device: "d",
        id: "record",
        version: 9,
        now_us: 5,
    };

    fn command() -> Command {
        Command {
            id: "op".into(),
            tenant: "t".into(),
            device: "d".into(),
            create_time_us: 3,
            ..Command::default()
        }
    }

    #[test]
    fn an_operation_ends_once_but_a_late_answer_beats_not_knowing() {
        let success = || End::Succeeded(OperationResult::default());
        let ended = |state: State, code: &str, position| Progress {
            state: state.into(),
            error: (!code.is_empty()).then(|| platen_proto::operation::v1::OperationError {
                code: code.into(),
                ..Default::default()
            }),
            position,
            ..Progress::default()
        };
        for (what, before, emits) in [
            ("open", None, true),
            ("running", Some(ended(State::Running, "", 1)), true),
            (
                "succeeded before",
                Some(ended(State::Succeeded, "", 1)),
                false,
            ),
            (
                "cancelled before",
                Some(ended(State::Cancelled, "", 1)),
                false,
            ),
            (
                "unknown before",
                Some(ended(State::Failed, "OUTCOME_UNKNOWN", 1)),
                true,
            ),
            (
                "ended by this very record",
                Some(ended(State::Succeeded, "", 9)),
                true,
            ),
        ] {
            let (writes, event) = over(&CAUSE, &command(), before, 4, success());
            assert_eq!(event.is_some(), emits, "{what}");
            assert!(
                writes
                    .iter()
                    .any(|write| write.table.name == "queue" && write.value.is_none()),
                "{what}: it leaves the queue"
            );
        }
    }

    #[test]
    fn a_repetition_has_the_same_id() {
        let end = || End::failed("X", "x");
        let id = |version| {
            let (_, event) = over(&Cause { version, ..CAUSE }, &command(), None, 4, end());
            event.unwrap().id
        };
        assert_eq!(id(9), id(9));
    }

    #[test]
    fn events_carry_no_secrets_and_no_huge_results() {
        let value = |path: &str| ParameterValue {
            path: path.into(),
            value: "hunter2".into(),
            ..ParameterValue::default()
        };
        let set = SetParameterValues {
            values: vec![value("Device.A"), value("Device.X.Password")],
            ..SetParameterValues::default()
        };
        let request = OperationRequest {
            action: Some(Action::SetParameterValues(set)),
            ..OperationRequest::default()
        };
        let huge = OperationResult {
            raw_xml: Some("x".repeat(MAX_EVENT_RESULT + 1)),
            ..OperationResult::default()
        };

        let (writes, event) = over(
            &CAUSE,
            &Command {
                request: Some(request),
                ..command()
            },
            None,
            4,
            End::Succeeded(huge),
        );

        let payload = event.unwrap().payload;
        let Some(event::Data::Operation(operation)) = Event::decode(payload).unwrap().data else {
            panic!("not an operation")
        };
        let Some(Action::SetParameterValues(set)) = operation.request.unwrap().action else {
            panic!("not a set")
        };
        assert_eq!(
            set.values
                .iter()
                .map(|v| v.value.as_str())
                .collect::<Vec<_>>(),
            ["hunter2", ""]
        );
        assert_eq!(operation.result, None);
        let progress = Progress::decode(writes[0].value.clone().unwrap()).unwrap();
        assert!(progress.result.is_some(), "the operation itself keeps it");
    }
}
