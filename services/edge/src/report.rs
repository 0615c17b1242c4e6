//! Reports: what a device said, as it goes to the log.

use crate::command;
use bytes::Bytes;
use platen_bus::NewRecord;
use platen_cwmp::{
    event_code::EventCode,
    rpc::{self, CpeRequest},
};
use platen_proto::{
    event::v1 as event,
    operation::v1 as operation,
    report::v1::{CommandDone, Report, command_done::Outcome, report::Body},
    topic::{Kind, Topic},
};
use prost::Message;
use std::collections::BTreeMap;

/// Bytes above which a report is cut into parts.
const PART: usize = 256 << 10;

/// Bytes of a single text above which it is not kept: the log takes records of up to 1 MiB.
const LONGEST: usize = 512 << 10;

/// Bytes that are kept of a text that names something. CWMP allows 256 characters and fewer.
const NAME: usize = 4 << 10;

/// Events of an Inform that are kept. CWMP allows 64.
const EVENTS: usize = 256;

/// How long the session waits for what is decided about a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Deciding {
    /// Not at all: nothing of importance was said.
    No,
    /// A moment.
    Short,
    /// Longer: much hangs on it.
    Long,
}

/// Whether something is likely to be decided upon an Inform. A device that names no event calls periodically (RPC-119).
pub(crate) fn deciding(inform: &rpc::Inform) -> Deciding {
    let of = |event: &rpc::Event| match event.code {
        EventCode::Periodic | EventCode::Scheduled | EventCode::Heartbeat => Deciding::No,
        EventCode::Bootstrap | EventCode::TransferComplete => Deciding::Long,
        _ => Deciding::Short,
    };
    inform.events.iter().map(of).max().unwrap_or(Deciding::No)
}

/// Whether something is likely to be decided upon another request of the device.
pub(crate) const fn deciding_request(request: &CpeRequest) -> Deciding {
    match request {
        CpeRequest::TransferComplete(_) | CpeRequest::AutonomousTransferComplete(_) => {
            Deciding::Long
        }
        _ => Deciding::Short,
    }
}

/// An Inform as it is reported.
pub(crate) fn inform(inform: rpc::Inform) -> Body {
    let mut events = Vec::with_capacity(inform.events.len());
    let mut command_keys = Vec::with_capacity(inform.events.len());
    for event in inform.events {
        events.push(event.code.to_string());
        command_keys.push(event.command_key);
    }
    Body::Inform(event::Inform {
        events,
        parameters: inform
            .parameters
            .into_iter()
            .map(command::from_value)
            .collect(),
        retry_count: inform.retry_count,
        current_time: inform.current_time.as_str().to_owned(),
        command_keys,
    })
}

/// Another request of the device as it is reported.
pub(crate) fn request(request: CpeRequest) -> Body {
    let method = request.method().to_owned();
    let mut arguments = BTreeMap::new();
    let mut put = |name: String, value: String| {
        arguments.insert(name, value);
    };
    let mut du_results = Vec::new();
    let mut command_key = String::new();
    match request {
        CpeRequest::TransferComplete(transfer) => {
            return Body::TransferComplete(event::TransferComplete {
                command_key: transfer.command_key,
                start_time: command::timestamp(&transfer.start_time),
                complete_time: command::timestamp(&transfer.complete_time),
                fault: transfer.fault.map(command::from_fault_struct),
                ..event::TransferComplete::default()
            });
        }
        CpeRequest::AutonomousTransferComplete(transfer) => {
            return Body::TransferComplete(event::TransferComplete {
                command_key: String::new(),
                start_time: command::timestamp(&transfer.start_time),
                complete_time: command::timestamp(&transfer.complete_time),
                fault: transfer.fault.map(command::from_fault_struct),
                autonomous: true,
                announce_url: transfer.announce_url,
                transfer_url: transfer.transfer_url,
                is_download: transfer.is_download,
                file_type: transfer.file_type,
                file_size: u64::from(transfer.file_size),
                target_file_name: transfer.target_file_name,
            });
        }
        CpeRequest::Inform(of_session) => return inform(of_session),
        CpeRequest::GetRpcMethods => {}
        CpeRequest::RequestDownload(wanted) => {
            put("FileType".to_owned(), wanted.file_type);
            for argument in wanted.arguments {
                put(format!("FileTypeArg.{}", argument.name), argument.value);
            }
        }
        CpeRequest::DuStateChangeComplete(done) => {
            command_key.clone_from(&done.command_key);
            put("CommandKey".to_owned(), done.command_key);
            for (index, result) in done.results.into_iter().enumerate() {
                du_results.push(du_result(&result));
                put_result(&format!("Results.{}", index + 1), result, &mut put);
            }
        }
        CpeRequest::AutonomousDuStateChangeComplete(done) => {
            for (index, result) in done.results.into_iter().enumerate() {
                let prefix = format!("Results.{}", index + 1);
                put(
                    format!("{prefix}.OperationPerformed"),
                    result.operation_performed,
                );
                du_results.push(du_result(&result.result));
                put_result(&prefix, result.result, &mut put);
            }
        }
        CpeRequest::Kicked(kicked) => {
            put("Command".to_owned(), kicked.command);
            put("Referer".to_owned(), kicked.referer);
            put("Arg".to_owned(), kicked.argument);
            put("Next".to_owned(), kicked.next);
        }
        CpeRequest::Raw(raw) => put("xml".to_owned(), raw.arguments_xml),
    }
    Body::DeviceRequest(event::DeviceRequest {
        method,
        arguments,
        du_results,
        command_key,
    })
}

fn du_result(result: &rpc::OperationResult) -> operation::DuResult {
    operation::DuResult {
        uuid: result.uuid.clone(),
        version: result.version.clone(),
        current_state: result.current_state.clone(),
        resolved: result.resolved,
        fault: result.fault.clone().map(command::from_fault_struct),
    }
}

fn put_result(prefix: &str, result: rpc::OperationResult, put: &mut impl FnMut(String, String)) {
    let fault = result
        .fault
        .map(command::from_fault_struct)
        .unwrap_or_default();
    for (name, value) in [
        ("UUID", result.uuid),
        ("DeploymentUnitRef", result.deployment_unit_ref),
        ("Version", result.version),
        ("CurrentState", result.current_state),
        ("Resolved", result.resolved.to_string()),
        ("ExecutionUnitRefList", result.execution_unit_refs),
        ("StartTime", result.start_time.as_str().to_owned()),
        ("CompleteTime", result.complete_time.as_str().to_owned()),
        ("Fault.FaultCode", fault.code.to_string()),
        ("Fault.FaultString", fault.string),
    ] {
        put(format!("{prefix}.{name}"), value);
    }
}

/// The records of a report: one, or several parts if it is large, each complete in itself.
pub(crate) fn records(mut report: Report) -> Vec<NewRecord> {
    let oversized = cap(&mut report);
    if oversized > 0 {
        tracing::warn!(
            tenant = report.tenant,
            device = report.device,
            oversized,
            "what is too large for the log was left out of a report"
        );
    }
    let parts = split(report);
    let last = parts.len() - 1;
    let several = last > 0;
    parts
        .into_iter()
        .enumerate()
        .map(|(index, mut part)| {
            part.part = u32::try_from(index).unwrap_or(u32::MAX);
            part.last = index == last;
            let id = if several {
                format!("{}-{}.{}", part.session, part.ordinal, part.part)
            } else {
                format!("{}-{}", part.session, part.ordinal)
            };
            record(&part, id)
        })
        .collect()
}

/// A report's record under the given id.
pub(crate) fn record(report: &Report, id: String) -> NewRecord {
    NewRecord {
        topic: Topic::Reports,
        shard: platen_ids::shard(&report.tenant, &report.device),
        key: format!("{}/{}", report.tenant, report.device),
        kind: match &report.body {
            Some(Body::TransferComplete(_)) => Kind::Transfer,
            Some(Body::DeviceRequest(_)) => Kind::Request,
            Some(Body::CommandDone(_)) => Kind::Done,
            Some(Body::Woken(_)) => Kind::Woken,
            Some(Body::Inform(_)) | None => Kind::Inform,
        },
        id,
        time_us: report.time_us,
        payload: Bytes::from(report.encode_to_vec()),
    }
}

/// Takes out what no record can hold, and says how much that was. An answer that is not whole is no result: the command failed.
fn cap(report: &mut Report) -> usize {
    let of_device = shorten(&mut report.manufacturer);
    of_device
        + match &mut report.body {
            Some(Body::Inform(inform)) => cap_inform(inform),
            Some(Body::CommandDone(done)) => cap_done(done),
            Some(Body::DeviceRequest(request)) => cap_request(request),
            Some(Body::TransferComplete(transfer)) => cap_transfer(transfer),
            Some(Body::Woken(_)) | None => 0,
        }
}

fn cap_inform(inform: &mut event::Inform) -> usize {
    let before = inform.parameters.len() + inform.events.len();
    inform
        .parameters
        .retain(|parameter| parameter.encoded_len() <= LONGEST + NAME);
    inform.events.truncate(EVENTS);
    inform.command_keys.truncate(EVENTS);
    let left_out = before - inform.parameters.len() - inform.events.len();
    let texts = inform.events.iter_mut().chain(&mut inform.command_keys);
    // All of them together are far below what a record holds.
    left_out
        + texts
            .map(|text| usize::from(cut(text, NAME / 16)))
            .sum::<usize>()
        + shorten(&mut inform.current_time)
}

fn cap_done(done: &mut CommandDone) -> usize {
    let left_out = match &mut done.outcome {
        Some(Outcome::Result(result)) => {
            let rest = operation::OperationResult {
                values: Vec::new(),
                names: Vec::new(),
                attributes: Vec::new(),
                methods: result.methods.clone(),
                transfers: result.transfers.clone(),
                raw_xml: result.raw_xml.clone(),
                ..operation::OperationResult::default()
            };
            let fits = fit(&result.values)
                && fit(&result.names)
                && fit(&result.attributes)
                && rest.encoded_len() <= LONGEST;
            if !fits {
                // It was sent, and what it did is not known.
                done.unanswered = true;
                done.outcome = Some(Outcome::Failed(format!(
                    "the answer has a text of more than {LONGEST} bytes"
                )));
            }
            usize::from(!fits)
        }
        Some(Outcome::Fault(fault)) => {
            let before = fault.parameter_faults.len();
            let mut room = LONGEST / 2;
            fault
                .parameter_faults
                .retain(|fault| takes(&mut room, fault.encoded_len()));
            before - fault.parameter_faults.len() + shorten(&mut fault.string)
        }
        _ => 0,
    };
    // What was asked stands in the operation; here it is a service to those who read the answer.
    let large = done
        .request
        .take_if(|request| request.encoded_len() > LONGEST / 2);
    left_out + usize::from(large.is_some())
}

fn cap_request(request: &mut event::DeviceRequest) -> usize {
    let before = request.arguments.len() + request.du_results.len();
    let mut room = LONGEST;
    request
        .arguments
        .retain(|name, value| takes(&mut room, name.len() + value.len() + 16));
    let mut room = LONGEST / 2;
    request
        .du_results
        .retain(|result| takes(&mut room, result.encoded_len() + 8));
    let left_out = before - request.arguments.len() - request.du_results.len();
    left_out + shorten(&mut request.method) + shorten(&mut request.command_key)
}

fn cap_transfer(transfer: &mut event::TransferComplete) -> usize {
    let fault = transfer.fault.as_mut().map(|fault| &mut fault.string);
    [
        &mut transfer.command_key,
        &mut transfer.announce_url,
        &mut transfer.transfer_url,
        &mut transfer.file_type,
        &mut transfer.target_file_name,
    ]
    .into_iter()
    .chain(fault)
    .map(shorten)
    .sum()
}

fn fit<M: Message>(items: &[M]) -> bool {
    items
        .iter()
        .all(|item| item.encoded_len() <= LONGEST + NAME)
}

/// Takes `size` bytes of the room there is; `false`: there is not so much.
fn takes(room: &mut usize, size: usize) -> bool {
    match room.checked_sub(size) {
        Some(left) => {
            *room = left;
            true
        }
        None => false,
    }
}

/// Cuts a text to [`NAME`]: 1 if anything was cut off.
fn shorten(text: &mut String) -> usize {
    usize::from(cut(text, NAME))
}

/// Cuts a text to at most `most` bytes, between characters. `true`: it was longer.
fn cut(text: &mut String, most: usize) -> bool {
    if text.len() <= most {
        return false;
    }
    text.truncate(text.floor_char_boundary(most));
    true
}

/// Cuts a report whose lists are long.
fn split(mut report: Report) -> Vec<Report> {
    if report.encoded_len() <= PART {
        return vec![report];
    }
    match report.body.take() {
        Some(Body::Inform(mut inform)) => {
            let mut chunks = chunks(std::mem::take(&mut inform.parameters));
            // What is large about it is not its parameters: it stays one report.
            if chunks.is_empty() {
                chunks.push(Vec::new());
            }
            chunks
                .into_iter()
                .map(|parameters| Report {
                    body: Some(Body::Inform(event::Inform {
                        parameters,
                        ..inform.clone()
                    })),
                    ..report.clone()
                })
                .collect()
        }
        Some(Body::CommandDone(mut done)) => {
            let outcome = done.outcome.take();
            results(outcome)
                .into_iter()
                .map(|outcome| Report {
                    body: Some(Body::CommandDone(CommandDone {
                        outcome,
                        ..done.clone()
                    })),
                    ..report.clone()
                })
                .collect()
        }
        body => vec![Report { body, ..report }],
    }
}

/// Cuts a result whose lists are long.
fn results(outcome: Option<Outcome>) -> Vec<Option<Outcome>> {
    let Some(Outcome::Result(mut result)) = outcome else {
        return vec![outcome];
    };
    let values = chunks(std::mem::take(&mut result.values));
    let names = chunks(std::mem::take(&mut result.names));
    let attributes = chunks(std::mem::take(&mut result.attributes));
    let with = |part: operation::OperationResult| Some(Outcome::Result(part));
    let values = values.into_iter().map(|values| operation::OperationResult {
        values,
        ..result.clone()
    });
    let names = names.into_iter().map(|names| operation::OperationResult {
        names,
        ..result.clone()
    });
    let attributes = attributes
        .into_iter()
        .map(|attributes| operation::OperationResult {
            attributes,
            ..result.clone()
        });
    let parts: Vec<_> = values.chain(names).chain(attributes).map(with).collect();
    if parts.is_empty() {
        vec![with(result)]
    } else {
        parts
    }
}

/// Cuts a list into pieces that fit into a part each, with room for what stands around them.
fn chunks<M: Message>(items: Vec<M>) -> Vec<Vec<M>> {
    let mut chunks: Vec<Vec<M>> = Vec::new();
    let mut room = 0;
    for item in items {
        let size = item.encoded_len() + 4;
        match chunks.last_mut() {
            Some(chunk) if size <= room => {
                room -= size;
                chunk.push(item);
            }
            _ => {
                room = (PART - PART / 8).saturating_sub(size);
                chunks.push(vec![item]);
            }
        }
    }
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn report(body: Body) -> Report {
        Report {
            tenant: "t".into(),
            device: "d".into(),
            session: "s".into(),
            ordinal: 3,
            time_us: 5,
            body: Some(body),
            ..Default::default()
        }
    }

    fn parts(report: Report) -> Vec<Report> {
        records(report)
            .into_iter()
            .map(|record| Report::decode(record.payload).unwrap())
            .collect()
    }

    proptest! {
        #[test]
        fn long_lists_are_cut_and_nothing_is_lost(sizes in prop::collection::vec(0usize..100_000, 0..40), informs: bool) {
            let values: Vec<_> = sizes
                .iter()
                .enumerate()
                .map(|(n, size)| operation::ParameterValue { path: format!("P{n}"), value: "x".repeat(*size), r#type: String::new() })
                .collect();
            let body = if informs {
                Body::Inform(event::Inform { events: vec!["1 BOOT".into()], parameters: values.clone(), ..Default::default() })
            } else {
                let result = operation::OperationResult { values: values.clone(), ..Default::default() };
                Body::CommandDone(CommandDone { command: "c".into(), outcome: Some(Outcome::Result(result)), ..Default::default() })
            };
            let records = records(report(body));
            let mut found = Vec::new();
            let count = records.len();
            let ids: std::collections::HashSet<_> = records.iter().map(|record| record.id.clone()).collect();
            prop_assert_eq!(ids.len(), count);
            for (index, record) in records.into_iter().enumerate() {
                prop_assert!(record.payload.len() <= PART);
                let part = Report::decode(record.payload).unwrap();
                prop_assert_eq!(usize::try_from(part.part).unwrap(), index);
                prop_assert_eq!(part.last, index + 1 == count);
                prop_assert_eq!(part.ordinal, 3);
                match part.body.unwrap() {
                    Body::Inform(inform) => {
                        prop_assert_eq!(inform.events, vec!["1 BOOT".to_owned()]);
                        found.extend(inform.parameters);
                    }
                    Body::CommandDone(done) => {
                        prop_assert_eq!(done.command, "c");
                        let Some(Outcome::Result(result)) = done.outcome else { panic!("no result") };
                        found.extend(result.values);
                    }
                    other => panic!("{other:?}"),
                }
            }
            prop_assert_eq!(found, values);
        }
    }

    #[test]
    fn what_no_record_can_hold_is_left_out_or_fails() {
        let huge = operation::ParameterValue {
            path: "P".into(),
            value: "x".repeat(LONGEST + NAME),
            r#type: String::new(),
        };
        let small = operation::ParameterValue {
            path: "Q".into(),
            value: "y".into(),
            r#type: String::new(),
        };

        let informs = parts(report(Body::Inform(event::Inform {
            parameters: vec![huge.clone(), small.clone()],
            ..Default::default()
        })));
        let Some(Body::Inform(inform)) = &informs[0].body else {
            panic!("{informs:?}")
        };
        assert_eq!(inform.parameters, [small]);

        let result = operation::OperationResult {
            values: vec![huge],
            ..Default::default()
        };
        let done = parts(report(Body::CommandDone(CommandDone {
            outcome: Some(Outcome::Result(result)),
            ..Default::default()
        })));
        assert!(
            matches!(
                &done[0].body,
                Some(Body::CommandDone(CommandDone {
                    outcome: Some(Outcome::Failed(_)),
                    ..
                }))
            ),
            "{done:?}"
        );

        let arguments = [
            ("xml".to_owned(), "x".repeat(2 << 20)),
            ("a".to_owned(), "b".to_owned()),
        ]
        .into();
        let requests = parts(report(Body::DeviceRequest(event::DeviceRequest {
            method: "X".into(),
            arguments,
            ..Default::default()
        })));
        let Some(Body::DeviceRequest(request)) = &requests[0].body else {
            panic!("{requests:?}")
        };
        assert_eq!(request.arguments.keys().collect::<Vec<_>>(), ["a"]);
    }

    #[test]
    fn whatever_a_device_says_the_log_can_hold_it() {
        let long = || "x".repeat(3 << 20);
        let fault = |parameters: usize| platen_proto::device::v1::CwmpFault {
            code: 9003,
            string: long(),
            parameter_faults: (0..parameters)
                .map(|n| platen_proto::device::v1::ParameterFault {
                    path: format!("Device.P{n}"),
                    code: 9005,
                    string: "x".repeat(100),
                })
                .collect(),
        };
        let name = |path: String| operation::ParameterName {
            path,
            writable: true,
        };
        let done = |outcome| {
            Body::CommandDone(CommandDone {
                command: "c".into(),
                outcome: Some(outcome),
                request: Some(operation::OperationRequest {
                    action: Some(operation::operation_request::Action::Raw(operation::Raw {
                        method: "X".into(),
                        arguments_xml: long(),
                    })),
                    ..Default::default()
                }),
                ..Default::default()
            })
        };
        let du_result = operation::DuResult {
            uuid: long(),
            ..Default::default()
        };
        for body in [
            Body::Inform(event::Inform {
                events: vec![long(); 3],
                command_keys: vec![long(); 3],
                current_time: long(),
                ..Default::default()
            }),
            Body::Inform(event::Inform {
                events: vec!["x".repeat(60); 100_000],
                command_keys: vec!["x".repeat(60); 100_000],
                parameters: vec![
                    operation::ParameterValue {
                        path: "P".into(),
                        value: "é".repeat(LONGEST / 2),
                        ..Default::default()
                    };
                    2
                ],
                ..Default::default()
            }),
            done(Outcome::Fault(fault(20_000))),
            done(Outcome::Result(operation::OperationResult {
                names: vec![name(long()), name("Device.".into())],
                ..Default::default()
            })),
            done(Outcome::Result(operation::OperationResult {
                methods: vec![long()],
                ..Default::default()
            })),
            Body::TransferComplete(event::TransferComplete {
                command_key: long(),
                fault: Some(fault(0)),
                announce_url: long(),
                ..Default::default()
            }),
            Body::DeviceRequest(event::DeviceRequest {
                method: long(),
                du_results: vec![du_result],
                ..Default::default()
            }),
        ] {
            let report = Report {
                manufacturer: long(),
                ..report(body)
            };
            for record in records(report) {
                assert!(
                    record.payload.len() <= platen_bus::log::MAX_PAYLOAD,
                    "{}: {} bytes",
                    record.id,
                    record.payload.len()
                );
            }
        }
    }

    #[test]
    fn only_routine_calls_are_not_waited_for() {
        let of = |codes: &[EventCode]| {
            deciding(&rpc::Inform {
                events: codes.iter().cloned().map(rpc::Event::new).collect(),
                ..Default::default()
            })
        };
        for (codes, expected) in [
            (&[][..], Deciding::No),
            (&[EventCode::Periodic], Deciding::No),
            (&[EventCode::Scheduled, EventCode::Periodic], Deciding::No),
            (
                &[EventCode::Periodic, EventCode::ValueChange],
                Deciding::Short,
            ),
            (&[EventCode::ConnectionRequest], Deciding::Short),
            (&[EventCode::Boot, EventCode::Bootstrap], Deciding::Long),
            (
                &[EventCode::TransferComplete, EventCode::Boot],
                Deciding::Long,
            ),
        ] {
            assert_eq!(of(codes), expected, "{codes:?}");
        }
    }

    #[test]
    fn requests_of_the_device_are_flattened() {
        let wanted = CpeRequest::RequestDownload(rpc::RequestDownload {
            file_type: "1 Firmware Upgrade Image".into(),
            arguments: vec![rpc::Argument {
                name: "Version".into(),
                value: "2".into(),
            }],
        });
        let Body::DeviceRequest(found) = request(wanted) else {
            panic!("no device request")
        };
        assert_eq!(found.method, "RequestDownload");
        assert_eq!(found.arguments["FileTypeArg.Version"], "2");

        let done = rpc::DuStateChangeComplete {
            command_key: "k".into(),
            results: vec![rpc::OperationResult {
                uuid: "u".into(),
                current_state: "Installed".into(),
                ..Default::default()
            }],
        };
        let Body::DeviceRequest(found) = request(CpeRequest::DuStateChangeComplete(done)) else {
            panic!("no device request")
        };
        assert_eq!(
            (
                found.arguments["CommandKey"].as_str(),
                found.arguments["Results.1.UUID"].as_str()
            ),
            ("k", "u")
        );
        assert_eq!(
            (
                found.command_key.as_str(),
                found.du_results[0].current_state.as_str()
            ),
            ("k", "Installed")
        );
    }
}
