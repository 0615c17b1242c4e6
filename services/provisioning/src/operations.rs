//! What became of an operation: decided from the device's answer, from what it reports later, or from what it does not.

use crate::{diagnostics, value};
use platen_cwmp::event_code::EventCode;
use platen_fleet::operation::is_hidden;
use platen_proto::{
    event::v1::{DeviceRequest, Inform, TransferComplete},
    operation::v1::{
        DuOperation, DuResult, OperationRequest, OperationResult, ParameterValue, du_operation,
        operation_request::Action,
    },
    report::v1::{CommandDone, command_done::Outcome},
};
use platen_store::progress::End;
use prost::Message;

/// Largest result that is kept, in bytes.
pub(crate) const MAX_RESULT: usize = 4 * 1024 * 1024;

const SECOND: i64 = 1_000_000;
const HOUR: i64 = 3_600 * SECOND;

/// What an answer means.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answer {
    /// It is over.
    Ended(End),
    /// The device will report the end; the answer so far.
    Awaits(OperationResult),
    /// There is none: the next session's Inform tells, or reading back does (SES-61).
    Missing,
}

/// What the answer to an operation's command means; `so_far` is what earlier parts of it brought.
pub(crate) fn answered(
    request: &OperationRequest,
    done: &CommandDone,
    so_far: OperationResult,
) -> Answer {
    let result = match &done.outcome {
        Some(Outcome::Result(result)) => merged(so_far, result.clone()),
        Some(Outcome::Fault(fault)) => {
            return Answer::Ended(End::fault(fault, OperationResult::default()));
        }
        Some(Outcome::Failed(why)) if done.unanswered => return unanswered(request, why),
        Some(Outcome::Failed(why)) => {
            return Answer::Ended(End::failed("COMMAND_FAILED", why.clone()));
        }
        None => return Answer::Ended(End::unknown("the answer carried neither result nor fault")),
    };
    if result.encoded_len() > MAX_RESULT {
        return Answer::Ended(too_large());
    }
    match &request.action {
        // With Status 0 nothing will follow (RPC-92).
        Some(Action::Download(_) | Action::Upload(_)) if result.status == Some(1) => {
            Answer::Awaits(result)
        }
        // A diagnostic begins once the session is over (DIAG-02).
        Some(Action::ScheduleDownload(_) | Action::ChangeDuState(_) | Action::Diagnostic(_)) => {
            Answer::Awaits(result)
        }
        _ => Answer::Ended(End::Succeeded(result)),
    }
}

/// What it means that a command was sent and nobody can read an answer to it: some leave traces that the next session shows.
fn unanswered(request: &OperationRequest, why: &str) -> Answer {
    match &request.action {
        Some(
            Action::SetParameterValues(_)
            | Action::Reboot(_)
            | Action::FactoryReset(_)
            | Action::ScheduleInform(_)
            | Action::Download(_)
            | Action::Upload(_)
            | Action::ScheduleDownload(_)
            | Action::ChangeDuState(_)
            | Action::Diagnostic(_),
        ) => Answer::Missing,
        _ => Answer::Ended(End::unknown(why)),
    }
}

/// The end of an operation whose result exceeds [`MAX_RESULT`].
pub(crate) fn too_large() -> End {
    End::failed(
        "RESULT_TOO_LARGE",
        format!("the device's answer exceeds {MAX_RESULT} bytes; ask for less at a time"),
    )
}

/// `before` and a further part: lists grow, the rest is replaced where the part has it.
pub(crate) fn merged(mut before: OperationResult, part: OperationResult) -> OperationResult {
    before.values.extend(part.values);
    before.names.extend(part.names);
    before.attributes.extend(part.attributes);
    before.methods.extend(part.methods);
    before.transfers.extend(part.transfers);
    before.operations.extend(part.operations);
    before.absent_paths.extend(part.absent_paths);
    before.raw_xml = match (before.raw_xml, part.raw_xml) {
        (Some(before), Some(part)) => Some(before + &part),
        (before, part) => part.or(before),
    };
    before.status = part.status.or(before.status);
    before.instance_number = part.instance_number.or(before.instance_number);
    before.start_time = part.start_time.or(before.start_time);
    before.complete_time = part.complete_time.or(before.complete_time);
    before.diagnostic = part.diagnostic.or(before.diagnostic);
    before.software_version = part.software_version.or(before.software_version);
    before
}

/// What a TransferComplete means for the operation that started the transfer.
pub(crate) fn transferred(so_far: OperationResult, report: &TransferComplete) -> End {
    let part = OperationResult {
        start_time: report.start_time,
        complete_time: report.complete_time,
        ..OperationResult::default()
    };
    let result = merged(so_far, part);
    match report.fault.as_ref().filter(|fault| fault.code != 0) {
        Some(fault) => End::fault(fault, result),
        None => End::Succeeded(result),
    }
}

/// What a DUStateChangeComplete means for the operation that asked for `asked`: it succeeded only if every part of it did. A part of which the device says nothing is
/// `Unknown`.
pub(crate) fn du_changed(
    asked: &[DuOperation],
    so_far: OperationResult,
    report: &DeviceRequest,
) -> End {
    let mut results = report.du_results.clone();
    let mut untaken: Vec<&DuResult> = report.du_results.iter().collect();
    let (named, unnamed): (Vec<&DuOperation>, Vec<&DuOperation>) =
        asked.iter().partition(|asked| !uuid(asked).is_empty());
    let mut silent = Vec::new();
    for asked in named {
        let told = untaken
            .iter()
            .position(|result| result.uuid.eq_ignore_ascii_case(uuid(asked)));
        match told {
            Some(at) => drop(untaken.remove(at)),
            None => silent.push(asked),
        }
    }
    // What has no UUID before it is installed may be any of the other results.
    silent.extend(unnamed.into_iter().skip(untaken.len()));
    let untold = silent.len();
    results.extend(silent.into_iter().map(|asked| DuResult {
        uuid: uuid(asked).to_owned(),
        current_state: "Unknown".to_owned(),
        ..DuResult::default()
    }));
    let result = merged(
        so_far,
        OperationResult {
            operations: results,
            ..OperationResult::default()
        },
    );
    let failed = result.operations.iter().find_map(|operation| {
        let fault = operation.fault.as_ref().filter(|fault| fault.code != 0);
        (fault.is_some() || operation.current_state == "Failed")
            .then(|| fault.cloned().unwrap_or_default())
    });
    match failed {
        Some(fault) => End::fault(&fault, result),
        None if untold > 0 || result.operations.is_empty() => {
            match End::unknown(
                "the device reported the end, and not of everything that it was asked",
            ) {
                End::Failed(error, _) => End::Failed(error, result),
                other => other,
            }
        }
        None => End::Succeeded(result),
    }
}

/// The deployment unit that a part of a ChangeDUState names; empty: it has none yet.
fn uuid(operation: &DuOperation) -> &str {
    match &operation.operation {
        Some(du_operation::Operation::Install(install)) => &install.uuid,
        Some(du_operation::Operation::Update(update)) => &update.uuid,
        Some(du_operation::Operation::Uninstall(uninstall)) => &uninstall.uuid,
        None => "",
    }
}

/// How long after its answer (µs) an operation that awaits a report of its end is given up.
pub(crate) fn patience_us(request: &OperationRequest) -> i64 {
    let seconds = match &request.action {
        Some(Action::Download(download)) => download.delay_seconds,
        Some(Action::Upload(upload)) => upload.delay_seconds,
        Some(Action::ScheduleDownload(schedule)) => schedule
            .time_windows
            .iter()
            .map(|window| window.window_end)
            .max()
            .unwrap_or_default(),
        // The device has 24 hours (RPC-103).
        Some(Action::ChangeDuState(_)) => 3_600,
        Some(Action::Diagnostic(diagnostic)) => return diagnostics::patience_us(diagnostic),
        _ => 0,
    };
    24 * HOUR + i64::from(seconds) * SECOND
}

/// How to find out about an operation that a session took and whose answer never came.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ReadBack {
    /// The Inform at hand tells.
    Ended(Box<End>),
    /// The device will report the end, if there is one.
    Awaits,
    /// These parameters tell, once they are read.
    Read(Vec<String>),
}

/// Finds out about an operation that an earlier session took, from the Inform of a later one (SES-61). `alone`: no other such reboot is in doubt.
pub(crate) fn read_back(
    id: &str,
    request: &OperationRequest,
    inform: &Inform,
    alone: bool,
) -> ReadBack {
    let ended = |end| ReadBack::Ended(Box::new(end));
    let done = || ended(End::Succeeded(OperationResult::default()));
    let unknown = || {
        ended(End::unknown(
            "the session ended before the device answered, and nothing it says tells what it did",
        ))
    };
    match &request.action {
        Some(Action::Reboot(_)) if has_method(inform, "Reboot", id, alone) => done(),
        Some(Action::ScheduleInform(schedule)) => {
            let key = if schedule.command_key.is_empty() {
                id
            } else {
                &schedule.command_key
            };
            if has_method(inform, "ScheduleInform", key, false) {
                done()
            } else {
                unknown()
            }
        }
        Some(Action::FactoryReset(_)) if has(inform, &EventCode::Bootstrap) => done(),
        // What had been started before a BOOTSTRAP is forgotten by the device (EVT-06).
        _ if has(inform, &EventCode::Bootstrap) => ended(aborted()),
        Some(
            Action::Download(_)
            | Action::Upload(_)
            | Action::ScheduleDownload(_)
            | Action::ChangeDuState(_)
            | Action::Diagnostic(_),
        ) => ReadBack::Awaits,
        Some(Action::SetParameterValues(set))
            if !set.values.iter().any(|wanted| is_hidden(&wanted.path)) =>
        {
            ReadBack::Read(
                set.values
                    .iter()
                    .map(|wanted| wanted.path.clone())
                    .collect(),
            )
        }
        _ => unknown(),
    }
}

/// The end of what had been sent to a device before its BOOTSTRAP.
pub(crate) fn aborted() -> End {
    End::failed(
        "ABORTED_BY_BOOTSTRAP",
        "the device has started over (0 BOOTSTRAP) since it was asked",
    )
}

/// What the values read back say about a SetParameterValues whose answer never came: it is all or nothing (RPC-21).
///
/// `read` is `None` if they could not be read.
pub(crate) fn compared(wanted: &[ParameterValue], read: Option<&OperationResult>) -> End {
    let Some(result) = read else {
        return End::unknown(
            "the session ended before the device answered, and reading back failed",
        );
    };
    let different = wanted.iter().find(|wanted| {
        !result.values.iter().any(|read| {
            let kind = if wanted.r#type.is_empty() {
                &read.r#type
            } else {
                &wanted.r#type
            };
            read.path == wanted.path && value::same(kind, &wanted.value, &read.value)
        })
    });
    match different {
        None => End::Succeeded(OperationResult {
            status: Some(0),
            ..OperationResult::default()
        }),
        Some(different) => End::unknown(&format!(
            "the session ended before the device answered; {} does not have the value that was set",
            different.path
        )),
    }
}

/// Whether an Inform carries an event.
pub(crate) fn has(inform: &Inform, code: &EventCode) -> bool {
    inform
        .events
        .iter()
        .any(|event| EventCode::parse(event) == *code)
}

/// Whether an Inform carries `M <method>` with this CommandKey, or, if `any_key`, with none at all (RPC-81).
fn has_method(inform: &Inform, method: &str, key: &str, any_key: bool) -> bool {
    let code = EventCode::Method(method.to_owned());
    inform.events.iter().enumerate().any(|(at, event)| {
        let own = inform.command_keys.get(at).map_or("", String::as_str);
        EventCode::parse(event) == code && (own == key || any_key && own.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use platen_proto::{
        device::v1::CwmpFault,
        operation::v1::{
            ChangeDuState, Download, DuResult, FactoryReset, GetParameterValues, Reboot,
            ScheduleDownload, ScheduleInform, SetParameterValues, TimeWindow,
        },
    };

    fn request(action: Action) -> OperationRequest {
        OperationRequest {
            action: Some(action),
            ..OperationRequest::default()
        }
    }

    fn get() -> OperationRequest {
        request(Action::GetParameterValues(GetParameterValues::default()))
    }

    fn set(path: &str, value: &str) -> OperationRequest {
        request(Action::SetParameterValues(SetParameterValues {
            values: vec![parameter(path, value)],
            ..SetParameterValues::default()
        }))
    }

    fn download() -> OperationRequest {
        request(Action::Download(Download {
            delay_seconds: 60,
            ..Download::default()
        }))
    }

    fn parameter(path: &str, value: &str) -> ParameterValue {
        ParameterValue {
            path: path.into(),
            value: value.into(),
            r#type: String::new(),
        }
    }

    fn done(outcome: Outcome) -> CommandDone {
        CommandDone {
            outcome: Some(outcome),
            ..CommandDone::default()
        }
    }

    fn status(status: Option<i32>) -> CommandDone {
        done(Outcome::Result(OperationResult {
            status,
            ..OperationResult::default()
        }))
    }

    fn fault(code: i32) -> CwmpFault {
        CwmpFault {
            code,
            string: "no".into(),
            parameter_faults: Vec::new(),
        }
    }

    fn code(end: &End) -> &str {
        match end {
            End::Succeeded(_) => "SUCCEEDED",
            End::Failed(error, _) => &error.code,
            End::Cancelled => "CANCELLED",
            End::Expired => "EXPIRED",
        }
    }

    #[test]
    fn an_answer_ends_an_operation_unless_a_report_follows() {
        let du = request(Action::ChangeDuState(ChangeDuState::default()));
        let scheduled = request(Action::ScheduleDownload(ScheduleDownload::default()));
        for (what, request, answer, expected) in [
            ("a read", get(), status(None), Some("SUCCEEDED")),
            (
                "a download that is done",
                download(),
                status(Some(0)),
                Some("SUCCEEDED"),
            ),
            (
                "a download without status",
                download(),
                status(None),
                Some("SUCCEEDED"),
            ),
            ("a download that goes on", download(), status(Some(1)), None),
            (
                "a set that takes effect later",
                set("Device.A", "1"),
                status(Some(1)),
                Some("SUCCEEDED"),
            ),
            ("a scheduled download", scheduled, status(None), None),
            ("a DU change", du, status(None), None),
            (
                "a fault",
                download(),
                done(Outcome::Fault(fault(9010))),
                Some("CWMP_FAULT"),
            ),
            (
                "what could not be sent",
                get(),
                done(Outcome::Failed("no such type".into())),
                Some("COMMAND_FAILED"),
            ),
            (
                "a read that was sent and never answered",
                get(),
                CommandDone {
                    unanswered: true,
                    ..done(Outcome::Failed("no answer".into()))
                },
                Some("OUTCOME_UNKNOWN"),
            ),
            (
                "an answer without content",
                get(),
                CommandDone::default(),
                Some("OUTCOME_UNKNOWN"),
            ),
        ] {
            match (
                answered(&request, &answer, OperationResult::default()),
                expected,
            ) {
                (Answer::Ended(end), Some(expected)) => assert_eq!(code(&end), expected, "{what}"),
                (Answer::Awaits(_), None) => {}
                (answer, expected) => panic!("{what}: {answer:?} instead of {expected:?}"),
            }
        }
    }

    #[test]
    fn the_parts_of_an_answer_are_joined_up_to_a_bound() {
        let part = |value: &str| {
            done(Outcome::Result(OperationResult {
                values: vec![parameter("Device.A", value)],
                ..OperationResult::default()
            }))
        };
        let before = OperationResult {
            values: vec![parameter("Device.B", "1")],
            ..OperationResult::default()
        };

        let Answer::Ended(End::Succeeded(result)) = answered(&get(), &part("2"), before.clone())
        else {
            panic!("not a success")
        };
        assert_eq!(result.values.len(), 2);

        let Answer::Ended(end) = answered(&get(), &part(&"x".repeat(MAX_RESULT)), before) else {
            panic!("not an end")
        };
        assert_eq!(code(&end), "RESULT_TOO_LARGE");
    }

    #[test]
    fn a_transfer_ends_as_its_report_says() {
        let report = |fault| TransferComplete {
            fault,
            ..TransferComplete::default()
        };
        assert_eq!(
            code(&transferred(OperationResult::default(), &report(None))),
            "SUCCEEDED"
        );
        assert_eq!(
            code(&transferred(
                OperationResult::default(),
                &report(Some(fault(0)))
            )),
            "SUCCEEDED"
        );
        assert_eq!(
            code(&transferred(
                OperationResult::default(),
                &report(Some(fault(9016)))
            )),
            "CWMP_FAULT"
        );
    }

    #[test]
    fn a_du_change_succeeds_only_as_a_whole() {
        let result = |state: &str, fault| DuResult {
            current_state: state.into(),
            fault,
            ..DuResult::default()
        };
        for (results, expected) in [
            (
                vec![
                    result("Installed", None),
                    result("Uninstalled", Some(fault(0))),
                ],
                "SUCCEEDED",
            ),
            (
                vec![
                    result("Installed", None),
                    result("Failed", Some(fault(9022))),
                ],
                "CWMP_FAULT",
            ),
            (vec![result("Failed", None)], "CWMP_FAULT"),
            (Vec::new(), "OUTCOME_UNKNOWN"),
        ] {
            let end = du_changed(
                &[],
                OperationResult::default(),
                &DeviceRequest {
                    du_results: results,
                    ..DeviceRequest::default()
                },
            );
            assert_eq!(code(&end), expected);
        }
    }

    #[test]
    fn at_65_of_a_part_that_the_device_does_not_report_nobody_knows() {
        let update = |uuid: &str| DuOperation {
            operation: Some(du_operation::Operation::Update(du_operation::Update {
                uuid: uuid.into(),
                ..du_operation::Update::default()
            })),
        };
        let install = DuOperation {
            operation: Some(du_operation::Operation::Install(
                du_operation::Install::default(),
            )),
        };
        let told = |uuid: &str, state: &str, code: i32| DuResult {
            uuid: uuid.into(),
            current_state: state.into(),
            fault: (code != 0).then(|| CwmpFault {
                code,
                ..CwmpFault::default()
            }),
            ..DuResult::default()
        };
        let states = |end: &End| match end {
            End::Succeeded(result) | End::Failed(_, result) => result
                .operations
                .iter()
                .map(|part| (part.uuid.clone(), part.current_state.clone()))
                .collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        };
        let state = |uuid: &str, state: &str| (uuid.to_owned(), state.to_owned());
        let changed = |asked: &[DuOperation], results: Vec<DuResult>| {
            let report = DeviceRequest {
                du_results: results,
                ..DeviceRequest::default()
            };
            du_changed(asked, OperationResult::default(), &report)
        };

        let asked = [update("a"), update("b"), update("c")];
        let end = changed(
            &asked,
            vec![told("A", "Installed", 0), told("b", "Failed", 9027)],
        );
        assert!(
            matches!(&end, End::Failed(error, _) if error.cwmp_fault.as_ref().unwrap().code == 9027)
        );
        assert_eq!(
            states(&end),
            [
                state("A", "Installed"),
                state("b", "Failed"),
                state("c", "Unknown")
            ]
        );

        let end = changed(&[install, update("b")], vec![told("new", "Installed", 0)]);
        assert!(matches!(&end, End::Failed(error, _) if error.code == "OUTCOME_UNKNOWN"));
        assert_eq!(
            states(&end),
            [state("new", "Installed"), state("b", "Unknown")]
        );

        // Two versions of one unit were removed, and of the other nothing is told.
        let removed = vec![told("a", "Uninstalled", 0), told("a", "Uninstalled", 0)];
        let end = changed(&[update("a"), update("b")], removed);
        assert!(matches!(&end, End::Failed(error, _) if error.code == "OUTCOME_UNKNOWN"));
        assert_eq!(states(&end).last().unwrap(), &state("b", "Unknown"));
    }

    #[test]
    fn what_nobody_answered_is_read_back() {
        let inform = |events: &[(&str, &str)]| Inform {
            events: events
                .iter()
                .map(|(event, _)| (*event).to_owned())
                .collect(),
            command_keys: events.iter().map(|(_, key)| (*key).to_owned()).collect(),
            ..Inform::default()
        };
        let reboot = || request(Action::Reboot(Reboot::default()));
        let reset = || request(Action::FactoryReset(FactoryReset {}));
        let scheduled = || {
            request(Action::ScheduleInform(ScheduleInform {
                delay_seconds: 9,
                command_key: "op".into(),
            }))
        };
        for (what, request, events, alone, expected) in [
            (
                "a reboot with its key",
                reboot(),
                &[("1 BOOT", ""), ("M Reboot", "op")][..],
                false,
                "SUCCEEDED",
            ),
            (
                "a reboot with another key",
                reboot(),
                &[("1 BOOT", ""), ("M Reboot", "other")],
                true,
                "OUTCOME_UNKNOWN",
            ),
            (
                "a reboot without key",
                reboot(),
                &[("M Reboot", "")],
                true,
                "SUCCEEDED",
            ),
            (
                "one of two reboots without key",
                reboot(),
                &[("M Reboot", "")],
                false,
                "OUTCOME_UNKNOWN",
            ),
            (
                "a reboot that the events do not show",
                reboot(),
                &[("2 PERIODIC", "")],
                true,
                "OUTCOME_UNKNOWN",
            ),
            (
                "a reset",
                reset(),
                &[("0 BOOTSTRAP", "")],
                true,
                "SUCCEEDED",
            ),
            (
                "a reset that did not happen",
                reset(),
                &[("2 PERIODIC", "")],
                true,
                "OUTCOME_UNKNOWN",
            ),
            (
                "a scheduled inform",
                scheduled(),
                &[("3 SCHEDULED", ""), ("M ScheduleInform", "op")],
                true,
                "SUCCEEDED",
            ),
            (
                "a download before a reset",
                download(),
                &[("0 BOOTSTRAP", "")],
                true,
                "ABORTED_BY_BOOTSTRAP",
            ),
            (
                "a set before a reset",
                set("Device.A", "1"),
                &[("0 BOOTSTRAP", "")],
                true,
                "ABORTED_BY_BOOTSTRAP",
            ),
            ("a download", download(), &[("1 BOOT", "")], true, "awaits"),
            (
                "a set",
                set("Device.A", "1"),
                &[("2 PERIODIC", "")],
                true,
                "Device.A",
            ),
            (
                "a set of a secret",
                set("Device.X.Password", "1"),
                &[("2 PERIODIC", "")],
                true,
                "OUTCOME_UNKNOWN",
            ),
            (
                "a read",
                get(),
                &[("2 PERIODIC", "")],
                true,
                "OUTCOME_UNKNOWN",
            ),
        ] {
            let found = match read_back("op", &request, &inform(events), alone) {
                ReadBack::Ended(end) => code(&end).to_owned(),
                ReadBack::Awaits => "awaits".to_owned(),
                ReadBack::Read(paths) => paths.join(" "),
            };
            assert_eq!(found, expected, "{what}");
        }
    }

    #[test]
    fn a_set_that_reads_back_whole_has_succeeded() {
        let read = |values: &[(&str, &str)]| {
            Some(OperationResult {
                values: values.iter().map(|(p, v)| parameter(p, v)).collect(),
                ..OperationResult::default()
            })
        };
        let wanted = [parameter("Device.A", "1"), parameter("Device.B", "2")];
        for (answer, expected) in [
            (read(&[("Device.A", "1"), ("Device.B", "2")]), "SUCCEEDED"),
            (
                read(&[("Device.A", "1"), ("Device.B", "3")]),
                "OUTCOME_UNKNOWN",
            ),
            (read(&[("Device.A", "1")]), "OUTCOME_UNKNOWN"),
            (None, "OUTCOME_UNKNOWN"),
        ] {
            assert_eq!(code(&compared(&wanted, answer.as_ref())), expected);
        }
    }

    #[test]
    fn patience_counts_from_when_the_device_may_begin() {
        let window = |end| TimeWindow {
            window_end: end,
            ..TimeWindow::default()
        };
        let scheduled = request(Action::ScheduleDownload(ScheduleDownload {
            time_windows: vec![window(60), window(7_200)],
            ..ScheduleDownload::default()
        }));
        assert_eq!(patience_us(&scheduled), 26 * HOUR);
        assert_eq!(patience_us(&download()), 24 * HOUR + 60 * SECOND);
    }
}
