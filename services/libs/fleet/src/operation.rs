//! The end of an operation, as the API's events tell it.

use crate::device;
use platen_bus::{NewRecord, derived::Cause};
use platen_cwmp::rpc::is_secret;
use platen_proto::{
    event::v1::{Event, event},
    operation::v1::{
        Operation, OperationRequest, du_operation::Operation as DuAction, operation_request::Action,
    },
    store::v1::{Command, Progress},
    topic::{Kind, Topic},
};
use platen_store::{
    progress::{End, Task, ended},
    rows,
    table::Write,
    tables::ProgressOfOperations,
};
use prost::Message;

/// Largest result that an event carries, in bytes; a larger one is in the operation only.
const MAX_RESULT: usize = 512 * 1024;

/// An operation is over: its progress, and the event `OPERATION_DONE` that says so. `None` if it was over already; the same again if it was this record that
/// ended it.
#[must_use]
pub fn over(cause: &Cause<'_>, task: &Task, end: End) -> Option<(Write, NewRecord)> {
    let progress = ended(
        task.progress.as_ref(),
        task.started_us,
        end,
        cause.now_us,
        cause.version,
    )?;
    let write = rows::write::<ProgressOfOperations>(
        (cause.tenant, &task.command.id),
        &progress,
        cause.version,
    );
    Some((write, done(cause, &task.command, progress)))
}

fn done(cause: &Cause<'_>, command: &Command, progress: Progress) -> NewRecord {
    let time = device::timestamp;
    let operation = Operation {
        name: format!("tenants/{}/operations/{}", cause.tenant, command.id),
        device: device::name(cause.tenant, cause.device),
        state: progress.state,
        attempts: progress.attempts,
        created_by: command.created_by.clone(),
        create_time: time(command.create_time_us),
        start_time: time(progress.start_time_us),
        end_time: time(progress.end_time_us),
        request: command.request.clone().map(without_secrets),
        result: progress
            .result
            .filter(|result| result.encoded_len() <= MAX_RESULT),
        error: progress.error,
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

/// Whether a parameter of that path reads back as something else than what was set: the data models hide secrets (RPC-29).
#[must_use]
pub fn is_hidden(path: &str) -> bool {
    let name = path
        .rsplit('.')
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase();
    ["password", "passphrase", "presharedkey", "wepkey", "secret"]
        .iter()
        .any(|word| name.contains(word))
}

/// What URLs of files that Platen serves itself begin with, before the edge puts its address in front.
pub const OWN_FILES: &str = "/files/";

/// A request as others than the device may see it, and as it may lie on the log: without passwords, secret values, and the address to which a file may
/// be brought.
#[must_use]
pub fn without_secrets(mut request: OperationRequest) -> OperationRequest {
    match &mut request.action {
        Some(Action::Download(download)) => download.password.clear(),
        Some(Action::Upload(upload)) => {
            upload.password.clear();
            if upload.url.starts_with(OWN_FILES) {
                upload.url.clear();
            }
        }
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
                .filter(|parameter| is_secret(&parameter.path))
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
    use platen_proto::operation::v1::{
        Download, OperationResult, ParameterValue, SetParameterValues, Upload,
    };

    const CAUSE: Cause<'_> = Cause {
        tenant: "t",
        device: "d",
        id: "record",
        version: 9,
        now_us: 5,
    };

    fn task(request: Option<OperationRequest>) -> Task {
        let command = Command {
            id: "op".into(),
            tenant: "t".into(),
            device: "d".into(),
            create_time_us: 3,
            request,
            ..Command::default()
        };
        Task {
            command,
            progress: None,
            started_us: 4,
        }
    }

    #[test]
    fn a_repetition_says_the_same_and_a_second_end_says_nothing() {
        let (write, event) = over(&CAUSE, &task(None), End::failed("X", "x")).unwrap();
        let progress = Progress::decode(write.value.unwrap()).unwrap();
        let again = Task {
            progress: Some(progress),
            ..task(None)
        };

        let (_, repeated) = over(&CAUSE, &again, End::Cancelled).unwrap();
        assert_eq!((repeated.id, repeated.payload), (event.id, event.payload));
        let later = Cause {
            version: 10,
            ..CAUSE
        };
        assert!(over(&later, &again, End::Cancelled).is_none());
    }

    #[test]
    fn events_carry_no_secrets_and_no_huge_results() {
        let value = |path: &str| ParameterValue {
            path: path.into(),
            value: "hunter2".into(),
            ..ParameterValue::default()
        };
        let set = SetParameterValues {
            values: vec![
                value("Device.A"),
                value("Device.X.Password"),
                value("Device.X.ReadCommunity"),
                value("Device.X.PrivateKey"),
            ],
            ..SetParameterValues::default()
        };
        let request = OperationRequest {
            action: Some(Action::SetParameterValues(set)),
            ..OperationRequest::default()
        };
        let huge = OperationResult {
            raw_xml: Some("x".repeat(MAX_RESULT + 1)),
            ..OperationResult::default()
        };

        let (write, event) = over(&CAUSE, &task(Some(request)), End::Succeeded(huge)).unwrap();

        let Some(event::Data::Operation(operation)) = Event::decode(event.payload).unwrap().data
        else {
            panic!("not an operation")
        };
        let Some(Action::SetParameterValues(set)) = operation.request.unwrap().action else {
            panic!("not a set")
        };
        let values: Vec<&str> = set
            .values
            .iter()
            .map(|value| value.value.as_str())
            .collect();
        assert_eq!(values, ["hunter2", "", "", ""]);
        assert_eq!(operation.result, None);
        let progress = Progress::decode(write.value.unwrap()).unwrap();
        assert!(progress.result.is_some(), "the operation itself keeps it");
    }

    #[test]
    fn secrets_are_not_shown() {
        let request = |action| OperationRequest {
            action: Some(action),
            ..OperationRequest::default()
        };
        let download = request(Action::Download(Download {
            password: "secret".into(),
            ..Download::default()
        }));
        let upload = request(Action::Upload(Upload {
            password: "secret".into(),
            url: "/files/t/token/upload".into(),
            ..Upload::default()
        }));

        let set = request(Action::SetParameterValues(SetParameterValues {
            values: vec![ParameterValue {
                path: "Device.ManagementServer.ConnectionRequestPassword".into(),
                value: "secret".into(),
                ..ParameterValue::default()
            }],
            ..SetParameterValues::default()
        }));

        for shown in [download, upload, set].map(without_secrets) {
            let text = format!("{shown:?}");
            assert!(
                !text.contains("secret") && !text.contains("token"),
                "{text}"
            );
        }
    }

    #[test]
    fn what_reads_back_otherwise_is_known_by_its_name() {
        for (path, expected) in [
            ("Device.ManagementServer.ConnectionRequestPassword", true),
            ("Device.WiFi.AccessPoint.1.Security.KeyPassphrase", true),
            ("Device.ManagementServer.ConnectionRequestUsername", false),
            ("Device.PasswordPolicy.MinLength", false),
        ] {
            assert_eq!(is_hidden(path), expected, "{path}");
        }
    }
}
