//! Every message of both peers, with texts in which is what XML makes difficult.

#![allow(dead_code, reason = "no test needs all of them")]

use platen_cwmp::{
    date_time::DateTime,
    event_code::EventCode,
    fault::{Fault, FaultCode, FaultStruct, ParameterFault},
    rpc::*,
    soap::{Header, Namespace, Version},
};
use proptest::{collection::vec, option, prelude::*, sample::select};

/// A text of at most `longest` characters with all that XML makes difficult.
pub(crate) fn text(longest: usize) -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[A-Za-z0-9.]{1,6}".boxed(),
        3 => select(vec!["&", "<", ">", "\"", "'", " ", "\t", "\n", "\r", "\r\n", "  ", "]]>", "&amp;", "&#10;", "<![CDATA["])
            .prop_map(str::to_owned)
            .boxed(),
        2 => select(vec!["é", "😀", "\u{85}", "\u{2028}", "\u{a0}", "\u{fffd}", "ß", "漢", "\u{feff}", "\u{7f}"])
            .prop_map(str::to_owned)
            .boxed(),
    ];
    vec(piece, 0..8).prop_map(move |pieces| pieces.concat().chars().take(longest).collect())
}

pub(crate) fn value_type() -> impl Strategy<Value = ValueType> {
    select(ValueType::NAMED.to_vec())
}

pub(crate) fn parameter() -> impl Strategy<Value = ParameterValue> {
    (text(256), text(4000), value_type()).prop_map(|(name, value, value_type)| ParameterValue {
        name,
        value,
        value_type,
    })
}

pub(crate) fn parameters() -> impl Strategy<Value = Vec<ParameterValue>> {
    vec(parameter(), 0..6)
}

pub(crate) fn status() -> impl Strategy<Value = Status> {
    select(vec![Status::Applied, Status::Pending])
}

pub(crate) fn time() -> impl Strategy<Value = DateTime> {
    select(vec![
        "0001-01-01T00:00:00Z",
        "2026-11-23T03:00:00.5+01:00",
        "2019-03-05T11:54:14",
        "9999-12-31T23:59:59Z",
    ])
    .prop_map(DateTime::from_text)
}

pub(crate) fn event() -> impl Strategy<Value = Event> {
    let code = prop_oneof![
        select(EventCode::numbered().collect::<Vec<_>>()),
        "[A-Za-z0-9_]{1,30}".prop_map(EventCode::Method),
        "X 00D09E [A-Za-z<&]{1,10}".prop_map(EventCode::Other),
    ];
    (code, text(32)).prop_map(|(code, command_key)| Event { code, command_key })
}

pub(crate) fn fault_struct() -> impl Strategy<Value = Option<FaultStruct>> {
    option::of((1_u32.., text(80)).prop_map(|(code, string)| FaultStruct {
        code: FaultCode(code),
        string,
    }))
}

pub(crate) fn fault() -> impl Strategy<Value = Fault> {
    let code = prop_oneof![8000_u32..8900, 9000_u32..9900];
    let parameter =
        (text(256), 9000_u32..9900, text(80)).prop_map(|(name, code, string)| ParameterFault {
            name,
            code: FaultCode(code),
            string,
        });
    (code, text(80), vec(parameter, 0..4)).prop_map(|(code, string, parameters)| Fault {
        code: FaultCode(code),
        string,
        parameters,
    })
}

pub(crate) fn raw() -> impl Strategy<Value = Raw> {
    let arguments = select(vec![
        "",
        "text &amp; &#x1F600;",
        "<Arg>1</Arg>",
        " <a b=\"c &gt;\"><d/><d></d></a> ",
        "<Value xsi:type=\"xsd:int\">1</Value><!-- -->",
        "<![CDATA[<not & parsed>]]>",
    ]);
    ("X_[0-9A-F]{6}_[A-Za-z]{1,20}s", arguments).prop_map(|(method, arguments)| Raw {
        method,
        arguments_xml: arguments.to_owned(),
    })
}

pub(crate) fn notification() -> impl Strategy<Value = Notification> {
    select(Notification::ALL.to_vec())
}

pub(crate) fn url() -> impl Strategy<Value = String> {
    "https?://[a-z0-9.]{1,20}/[A-Za-z0-9&?=./]{0,40}"
}

pub(crate) fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        (url(), text(36), text(256), text(256), text(256)).prop_map(
            |(url, uuid, username, password, execution_env_ref)| Operation::Install(Install {
                url,
                uuid,
                username,
                password,
                execution_env_ref
            })
        ),
        (text(36), text(32), url(), text(256), text(256)).prop_map(
            |(uuid, version, url, username, password)| {
                Operation::Update(Update {
                    uuid,
                    version,
                    url,
                    username,
                    password,
                })
            }
        ),
        (text(36), text(32), text(256)).prop_map(|(uuid, version, execution_env_ref)| {
            Operation::Uninstall(Uninstall {
                uuid,
                version,
                execution_env_ref,
            })
        }),
    ]
}

pub(crate) fn operation_result() -> impl Strategy<Value = OperationResult> {
    (
        (
            text(36),
            text(80),
            text(32),
            select(vec!["Installed", "Uninstalled", "Failed"]),
            any::<bool>(),
        ),
        (text(80), time(), time(), fault_struct()),
    )
        .prop_map(
            |(
                (uuid, deployment_unit_ref, version, current_state, resolved),
                (execution_unit_refs, start_time, complete_time, fault),
            )| OperationResult {
                uuid,
                deployment_unit_ref,
                version,
                current_state: current_state.to_owned(),
                resolved,
                execution_unit_refs,
                start_time,
                complete_time,
                fault,
            },
        )
}

pub(crate) fn time_window() -> impl Strategy<Value = TimeWindow> {
    (
        any::<u32>(),
        any::<u32>(),
        text(64),
        text(256),
        any::<i32>(),
    )
        .prop_map(
            |(window_start, window_end, window_mode, user_message, max_retries)| TimeWindow {
                window_start,
                window_end,
                window_mode,
                user_message,
                max_retries,
            },
        )
}

pub(crate) fn acs_request() -> impl Strategy<Value = AcsRequest> {
    let download = (
        (text(32), text(64), text(256), text(256), text(256)),
        (any::<u32>(), text(256), any::<u32>(), text(256), text(256)),
    )
        .prop_map(
            |(
                (command_key, file_type, url, username, password),
                (file_size, target_file_name, delay_seconds, success_url, failure_url),
            )| {
                AcsRequest::Download(Download {
                    command_key,
                    file_type,
                    url,
                    username,
                    password,
                    file_size,
                    target_file_name,
                    delay_seconds,
                    success_url,
                    failure_url,
                })
            },
        );
    let schedule_download = (
        (text(32), text(64), text(256), text(256), text(256)),
        (any::<u32>(), text(256), vec(time_window(), 1..3)),
    )
        .prop_map(
            |(
                (command_key, file_type, url, username, password),
                (file_size, target_file_name, time_windows),
            )| {
                AcsRequest::ScheduleDownload(ScheduleDownload {
                    command_key,
                    file_type,
                    url,
                    username,
                    password,
                    file_size,
                    target_file_name,
                    time_windows,
                })
            },
        );
    let set_attributes = (
        text(256),
        any::<bool>(),
        notification(),
        any::<bool>(),
        vec(text(64), 0..3),
    )
        .prop_map(
            |(name, notification_change, notification, access_list_change, access_list)| {
                SetAttributes {
                    name,
                    notification_change,
                    notification,
                    access_list_change,
                    access_list,
                }
            },
        );
    prop_oneof![
        select(vec![
            AcsRequest::GetRpcMethods,
            AcsRequest::GetQueuedTransfers,
            AcsRequest::GetAllQueuedTransfers,
            AcsRequest::FactoryReset,
        ]),
        (parameters(), text(32)).prop_map(|(parameters, parameter_key)| {
            AcsRequest::SetParameterValues(SetParameterValues {
                parameters,
                parameter_key,
            })
        }),
        vec(text(256), 1..5)
            .prop_map(|names| AcsRequest::GetParameterValues(GetParameterValues { names })),
        (text(256), any::<bool>()).prop_map(|(path, next_level)| AcsRequest::GetParameterNames(
            GetParameterNames { path, next_level }
        )),
        vec(set_attributes, 1..4).prop_map(|parameters| AcsRequest::SetParameterAttributes(
            SetParameterAttributes { parameters }
        )),
        vec(text(256), 1..5)
            .prop_map(|names| AcsRequest::GetParameterAttributes(GetParameterAttributes { names })),
        (text(256), text(32)).prop_map(|(object_name, parameter_key)| AcsRequest::AddObject(
            AddObject {
                object_name,
                parameter_key
            }
        )),
        (text(256), text(32)).prop_map(|(object_name, parameter_key)| {
            AcsRequest::DeleteObject(DeleteObject {
                object_name,
                parameter_key,
            })
        }),
        download,
        schedule_download,
        text(32).prop_map(|command_key| AcsRequest::Reboot(Reboot { command_key })),
        (any::<u32>(), text(32)).prop_map(|(delay_seconds, command_key)| {
            AcsRequest::ScheduleInform(ScheduleInform {
                delay_seconds,
                command_key,
            })
        }),
        vec(
            "([A-Za-z0-9+/]{4}){0,20}".prop_map(|base64| Voucher { base64 }),
            1..3
        )
        .prop_map(|vouchers| AcsRequest::SetVouchers(SetVouchers { vouchers })),
        text(64).prop_map(|option_name| AcsRequest::GetOptions(GetOptions { option_name })),
        (
            text(32),
            text(64),
            text(256),
            text(256),
            text(256),
            any::<u32>()
        )
            .prop_map(
                |(command_key, file_type, url, username, password, delay_seconds)| {
                    AcsRequest::Upload(Upload {
                        command_key,
                        file_type,
                        url,
                        username,
                        password,
                        delay_seconds,
                    })
                }
            ),
        text(32).prop_map(|command_key| AcsRequest::CancelTransfer(CancelTransfer { command_key })),
        (vec(operation(), 1..4), text(32)).prop_map(|(operations, command_key)| {
            AcsRequest::ChangeDuState(ChangeDuState {
                operations,
                command_key,
            })
        }),
        raw().prop_map(AcsRequest::Raw),
    ]
}

pub(crate) fn transfer_status() -> impl Strategy<Value = TransferStatus> {
    (status(), time(), time()).prop_map(|(status, start_time, complete_time)| TransferStatus {
        status,
        start_time,
        complete_time,
    })
}

pub(crate) fn transfer_state() -> impl Strategy<Value = TransferState> {
    select(vec![
        TransferState::NotStarted,
        TransferState::InProgress,
        TransferState::Completed,
    ])
}

pub(crate) fn cpe_response() -> impl Strategy<Value = CpeResponse> {
    let names = vec(
        (text(256), any::<bool>()).prop_map(|(name, writable)| ParameterInfo { name, writable }),
        0..6,
    );
    let attributes = vec(
        (text(256), notification(), vec(text(64), 0..3)).prop_map(
            |(name, notification, access_list)| Attributes {
                name,
                notification,
                access_list,
            },
        ),
        0..5,
    );
    let queued = vec(
        (text(32), transfer_state())
            .prop_map(|(command_key, state)| QueuedTransfer { command_key, state }),
        0..4,
    );
    let any_queued = vec(
        (
            text(32),
            transfer_state(),
            any::<bool>(),
            text(64),
            any::<u32>(),
            text(256),
        )
            .prop_map(
                |(command_key, state, is_download, file_type, file_size, target_file_name)| {
                    AnyQueuedTransfer {
                        command_key,
                        state,
                        is_download,
                        file_type,
                        file_size,
                        target_file_name,
                    }
                },
            ),
        0..4,
    );
    let options = vec(
        (
            text(64),
            any::<u32>(),
            0_u32..4,
            0_i32..3,
            time(),
            time(),
            0_i32..2,
        )
            .prop_map(
                |(
                    option_name,
                    voucher_serial,
                    state,
                    mode,
                    start_date,
                    expiration_date,
                    is_transferable,
                )| DeviceOption {
                    option_name,
                    voucher_serial,
                    state,
                    mode,
                    start_date,
                    expiration_date,
                    is_transferable,
                },
            ),
        0..3,
    );
    prop_oneof![
        select(vec![
            CpeResponse::SetParameterAttributes,
            CpeResponse::Reboot,
            CpeResponse::ScheduleInform,
            CpeResponse::SetVouchers,
            CpeResponse::FactoryReset,
            CpeResponse::ScheduleDownload,
            CpeResponse::CancelTransfer,
            CpeResponse::ChangeDuState,
        ]),
        vec(text(64), 1..6)
            .prop_map(|methods| CpeResponse::GetRpcMethods(GetRpcMethodsResponse { methods })),
        status().prop_map(
            |status| CpeResponse::SetParameterValues(SetParameterValuesResponse { status })
        ),
        parameters().prop_map(|parameters| CpeResponse::GetParameterValues(
            GetParameterValuesResponse { parameters }
        )),
        names.prop_map(
            |parameters| CpeResponse::GetParameterNames(GetParameterNamesResponse { parameters })
        ),
        attributes.prop_map(|parameters| CpeResponse::GetParameterAttributes(
            GetParameterAttributesResponse { parameters }
        )),
        (any::<u32>(), status()).prop_map(|(instance_number, status)| CpeResponse::AddObject(
            AddObjectResponse {
                instance_number,
                status
            }
        )),
        status().prop_map(|status| CpeResponse::DeleteObject(DeleteObjectResponse { status })),
        transfer_status().prop_map(CpeResponse::Download),
        transfer_status().prop_map(CpeResponse::Upload),
        queued.prop_map(
            |transfers| CpeResponse::GetQueuedTransfers(GetQueuedTransfersResponse { transfers })
        ),
        any_queued.prop_map(|transfers| CpeResponse::GetAllQueuedTransfers(
            GetAllQueuedTransfersResponse { transfers }
        )),
        options.prop_map(|options| CpeResponse::GetOptions(GetOptionsResponse { options })),
        raw().prop_map(CpeResponse::Raw),
    ]
}

pub(crate) fn cpe_request() -> impl Strategy<Value = CpeRequest> {
    let device_id = (text(64), "[0-9A-F]{6}", text(64), text(64)).prop_map(
        |(manufacturer, oui, product_class, serial_number)| DeviceIdStruct {
            manufacturer,
            oui,
            product_class,
            serial_number,
        },
    );
    let inform = (
        device_id,
        vec(event(), 0..5),
        time(),
        any::<u32>(),
        parameters(),
    )
        .prop_map(
            |(device_id, events, current_time, retry_count, parameters)| Inform {
                device_id,
                events,
                max_envelopes: MaxEnvelopes,
                current_time,
                retry_count,
                parameters,
            },
        );
    let autonomous = (
        (
            text(1024),
            text(1024),
            any::<bool>(),
            text(64),
            any::<u32>(),
        ),
        (text(256), fault_struct(), time(), time()),
    )
        .prop_map(
            |(
                (announce_url, transfer_url, is_download, file_type, file_size),
                (target_file_name, fault, start_time, complete_time),
            )| AutonomousTransferComplete {
                announce_url,
                transfer_url,
                is_download,
                file_type,
                file_size,
                target_file_name,
                fault,
                start_time,
                complete_time,
            },
        );
    let argument = (text(64), text(256)).prop_map(|(name, value)| Argument { name, value });
    let autonomous_result =
        (operation_result(), text(20)).prop_map(|(result, operation_performed)| {
            AutonomousOperationResult {
                result,
                operation_performed,
            }
        });
    prop_oneof![
        Just(CpeRequest::GetRpcMethods),
        inform.prop_map(CpeRequest::Inform),
        (text(32), fault_struct(), time(), time()).prop_map(
            |(command_key, fault, start_time, complete_time)| {
                CpeRequest::TransferComplete(TransferComplete {
                    command_key,
                    fault,
                    start_time,
                    complete_time,
                })
            }
        ),
        autonomous.prop_map(CpeRequest::AutonomousTransferComplete),
        (text(64), vec(argument, 0..4)).prop_map(|(file_type, arguments)| {
            CpeRequest::RequestDownload(RequestDownload {
                file_type,
                arguments,
            })
        }),
        (vec(operation_result(), 1..3), text(32)).prop_map(|(results, command_key)| {
            CpeRequest::DuStateChangeComplete(DuStateChangeComplete {
                results,
                command_key,
            })
        }),
        vec(autonomous_result, 1..3).prop_map(|results| {
            CpeRequest::AutonomousDuStateChangeComplete(AutonomousDuStateChangeComplete { results })
        }),
        (text(32), text(64), text(256), text(1024)).prop_map(
            |(command, referer, argument, next)| CpeRequest::Kicked(Kicked {
                command,
                referer,
                argument,
                next
            })
        ),
        raw().prop_map(CpeRequest::Raw),
    ]
}

pub(crate) fn acs_response() -> impl Strategy<Value = AcsResponse> {
    prop_oneof![
        select(vec![
            AcsResponse::TransferComplete,
            AcsResponse::AutonomousTransferComplete,
            AcsResponse::RequestDownload,
            AcsResponse::DuStateChangeComplete,
            AcsResponse::AutonomousDuStateChangeComplete,
            AcsResponse::Inform(InformResponse::default()),
        ]),
        vec(text(64), 1..6)
            .prop_map(|methods| AcsResponse::GetRpcMethods(GetRpcMethodsResponse { methods })),
        text(1024).prop_map(|next_url| AcsResponse::Kicked(KickedResponse { next_url })),
        raw().prop_map(AcsResponse::Raw),
    ]
}

pub(crate) fn header() -> impl Strategy<Value = Header> {
    let versions = proptest::sample::subsequence(Version::ALL.to_vec(), 0..=5);
    (
        option::of(text(60)),
        any::<bool>(),
        option::of(any::<u32>()),
        option::of(versions),
        option::of(select(Version::ALL.to_vec())),
    )
        .prop_map(
            |(id, hold_requests, session_timeout, supported_versions, use_version)| Header {
                id,
                hold_requests,
                no_more_requests: false,
                session_timeout,
                supported_versions,
                use_version,
            },
        )
}

pub(crate) fn namespace() -> impl Strategy<Value = Namespace> {
    (0_u8..=5)
        .prop_map(|minor| Namespace::from_urn(&format!("urn:dslforum-org:cwmp-1-{minor}")).unwrap())
}
