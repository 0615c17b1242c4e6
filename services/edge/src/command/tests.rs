use super::*;
use platen_cwmp::fault::{FaultCode, ParameterFault};
use platen_proto::operation::v1 as op;

const BASE: Option<&str> = Some("https://acs.example.com/");

fn rpc_of(action: Action) -> Result<AcsRequest, Inexpressible> {
    to_rpc(&action, BASE, Version::V1_4)
}

fn text(text: &str) -> String {
    text.to_owned()
}

#[test]
fn every_action_is_its_rpc() {
    let download = op::Download {
        file_type: text("1 Firmware Upgrade Image"),
        artifact: text("a1"),
        url: text("/files/t/token/fw.bin"),
        username: text("u"),
        password: text("p"),
        file_size: 77,
        target_file_name: text("fw.bin"),
        delay_seconds: 5,
        success_url: text("http://yes"),
        failure_url: text("http://no"),
        command_key: text("k1"),
    };
    let window = op::TimeWindow {
        window_start: 1,
        window_end: 2,
        window_mode: text("1 At Any Time"),
        user_message: text("m"),
        max_retries: -1,
    };
    for (action, expected) in [
        (
            Action::GetParameterValues(op::GetParameterValues {
                paths: vec![text("Device.")],
            }),
            AcsRequest::GetParameterValues(rpc::GetParameterValues {
                names: vec![text("Device.")],
            }),
        ),
        (
            Action::GetParameterNames(op::GetParameterNames {
                path: text("Device."),
                next_level: true,
            }),
            AcsRequest::GetParameterNames(rpc::GetParameterNames {
                path: text("Device."),
                next_level: true,
            }),
        ),
        (
            Action::SetParameterValues(op::SetParameterValues {
                values: vec![
                    op::ParameterValue {
                        path: text("A"),
                        value: text("1"),
                        r#type: text("xsd:unsignedInt"),
                    },
                    op::ParameterValue {
                        path: text("B"),
                        value: text(" x "),
                        r#type: String::new(),
                    },
                    op::ParameterValue {
                        path: text("C"),
                        value: text("AA=="),
                        r#type: text("xsd:base64"),
                    },
                ],
                parameter_key: text("key"),
            }),
            AcsRequest::SetParameterValues(rpc::SetParameterValues {
                parameters: vec![
                    rpc::ParameterValue::new("A", "1", ValueType::UnsignedInt),
                    rpc::ParameterValue::string("B", " x "),
                    rpc::ParameterValue::new("C", "AA==", ValueType::Base64),
                ],
                parameter_key: text("key"),
            }),
        ),
        (
            Action::GetParameterAttributes(op::GetParameterAttributes {
                paths: vec![text("A")],
            }),
            AcsRequest::GetParameterAttributes(rpc::GetParameterAttributes {
                names: vec![text("A")],
            }),
        ),
        (
            Action::SetParameterAttributes(op::SetParameterAttributes {
                attributes: vec![
                    op::ParameterAttribute {
                        path: text("A"),
                        notification: Some(2),
                        ..Default::default()
                    },
                    op::ParameterAttribute {
                        path: text("B"),
                        change_access_list: true,
                        ..Default::default()
                    },
                    op::ParameterAttribute {
                        path: text("C"),
                        access_list: vec![text("Subscriber")],
                        ..Default::default()
                    },
                ],
            }),
            AcsRequest::SetParameterAttributes(rpc::SetParameterAttributes {
                parameters: vec![
                    rpc::SetAttributes {
                        name: text("A"),
                        notification_change: true,
                        notification: rpc::Notification::Active,
                        ..Default::default()
                    },
                    rpc::SetAttributes {
                        name: text("B"),
                        access_list_change: true,
                        ..Default::default()
                    },
                    rpc::SetAttributes {
                        name: text("C"),
                        access_list_change: true,
                        access_list: vec![text("Subscriber")],
                        ..Default::default()
                    },
                ],
            }),
        ),
        (
            Action::AddObject(op::AddObject {
                path: text("T."),
                parameter_key: text("k"),
            }),
            AcsRequest::AddObject(rpc::AddObject {
                object_name: text("T."),
                parameter_key: text("k"),
            }),
        ),
        (
            Action::DeleteObject(op::DeleteObject {
                path: text("T.1."),
                parameter_key: text("k"),
            }),
            AcsRequest::DeleteObject(rpc::DeleteObject {
                object_name: text("T.1."),
                parameter_key: text("k"),
            }),
        ),
        (
            Action::Download(download),
            AcsRequest::Download(rpc::Download {
                command_key: text("k1"),
                file_type: text("1 Firmware Upgrade Image"),
                url: text("https://acs.example.com/files/t/token/fw.bin"),
                username: text("u"),
                password: text("p"),
                file_size: 77,
                target_file_name: text("fw.bin"),
                delay_seconds: 5,
                success_url: text("http://yes"),
                failure_url: text("http://no"),
            }),
        ),
        (
            Action::Upload(op::Upload {
                file_type: text("2 Vendor Log File"),
                url: text("http://elsewhere/x"),
                username: text("u"),
                password: text("p"),
                delay_seconds: 1,
                command_key: text("k2"),
            }),
            AcsRequest::Upload(rpc::Upload {
                command_key: text("k2"),
                file_type: text("2 Vendor Log File"),
                url: text("http://elsewhere/x"),
                username: text("u"),
                password: text("p"),
                delay_seconds: 1,
            }),
        ),
        (
            Action::ScheduleDownload(op::ScheduleDownload {
                file_type: text("1 Firmware Upgrade Image"),
                url: text("http://elsewhere/x"),
                file_size: 1,
                target_file_name: text("t"),
                time_windows: vec![window],
                command_key: text("k3"),
                ..Default::default()
            }),
            AcsRequest::ScheduleDownload(rpc::ScheduleDownload {
                command_key: text("k3"),
                file_type: text("1 Firmware Upgrade Image"),
                url: text("http://elsewhere/x"),
                file_size: 1,
                target_file_name: text("t"),
                time_windows: vec![rpc::TimeWindow {
                    window_start: 1,
                    window_end: 2,
                    window_mode: text("1 At Any Time"),
                    user_message: text("m"),
                    max_retries: -1,
                }],
                ..Default::default()
            }),
        ),
        (
            Action::ScheduleInform(op::ScheduleInform {
                delay_seconds: 60,
                command_key: text("k4"),
            }),
            AcsRequest::ScheduleInform(rpc::ScheduleInform {
                delay_seconds: 60,
                command_key: text("k4"),
            }),
        ),
        (
            Action::Reboot(op::Reboot {
                command_key: text("k5"),
            }),
            AcsRequest::Reboot(rpc::Reboot {
                command_key: text("k5"),
            }),
        ),
        (
            Action::FactoryReset(op::FactoryReset {}),
            AcsRequest::FactoryReset,
        ),
        (
            Action::ChangeDuState(op::ChangeDuState {
                operations: vec![
                    op::DuOperation {
                        operation: Some(op::du_operation::Operation::Install(
                            op::du_operation::Install {
                                url: text("/files/t/token/app"),
                                uuid: text("id"),
                                username: text("u"),
                                password: text("p"),
                                execution_env_ref: text("e"),
                            },
                        )),
                    },
                    op::DuOperation {
                        operation: Some(op::du_operation::Operation::Update(
                            op::du_operation::Update {
                                uuid: text("id"),
                                version: text("2"),
                                ..Default::default()
                            },
                        )),
                    },
                    op::DuOperation {
                        operation: Some(op::du_operation::Operation::Uninstall(
                            op::du_operation::Uninstall {
                                uuid: text("id"),
                                version: text("1"),
                                execution_env_ref: text("e"),
                            },
                        )),
                    },
                ],
                command_key: text("k6"),
            }),
            AcsRequest::ChangeDuState(rpc::ChangeDuState {
                operations: vec![
                    rpc::Operation::Install(rpc::Install {
                        url: text("https://acs.example.com/files/t/token/app"),
                        uuid: text("id"),
                        username: text("u"),
                        password: text("p"),
                        execution_env_ref: text("e"),
                    }),
                    rpc::Operation::Update(rpc::Update {
                        uuid: text("id"),
                        version: text("2"),
                        ..Default::default()
                    }),
                    rpc::Operation::Uninstall(rpc::Uninstall {
                        uuid: text("id"),
                        version: text("1"),
                        execution_env_ref: text("e"),
                    }),
                ],
                command_key: text("k6"),
            }),
        ),
        (
            Action::CancelTransfer(op::CancelTransfer {
                operation: text("o"),
                command_key: text("k7"),
            }),
            AcsRequest::CancelTransfer(rpc::CancelTransfer {
                command_key: text("k7"),
            }),
        ),
        (
            Action::GetQueuedTransfers(op::GetQueuedTransfers {}),
            AcsRequest::GetAllQueuedTransfers,
        ),
        (
            Action::GetRpcMethods(op::GetRpcMethods {}),
            AcsRequest::GetRpcMethods,
        ),
        (
            Action::Raw(op::Raw {
                method: text("X_00D09E_Clean"),
                arguments_xml: text("<A>1</A>"),
            }),
            AcsRequest::Raw(rpc::Raw {
                method: text("X_00D09E_Clean"),
                arguments_xml: text("<A>1</A>"),
            }),
        ),
    ] {
        assert_eq!(rpc_of(action.clone()), Ok(expected), "{action:?}");
    }
    let queued = to_rpc(
        &Action::GetQueuedTransfers(op::GetQueuedTransfers {}),
        None,
        Version::V1_0,
    );
    assert_eq!(
        queued,
        Ok(AcsRequest::GetQueuedTransfers),
        "the first edition has no other"
    );
}

#[test]
fn what_is_no_rpc_says_why() {
    let values = |r#type: &str| {
        Action::SetParameterValues(op::SetParameterValues {
            values: vec![op::ParameterValue {
                path: text("A"),
                value: text("1"),
                r#type: r#type.to_owned(),
            }],
            parameter_key: String::new(),
        })
    };
    let attributes = Action::SetParameterAttributes(op::SetParameterAttributes {
        attributes: vec![op::ParameterAttribute {
            path: text("A"),
            notification: Some(7),
            ..Default::default()
        }],
    });
    let download = |url: &str, file_size| {
        Action::Download(op::Download {
            url: url.to_owned(),
            file_size,
            ..Default::default()
        })
    };
    for (action, expected) in [
        (
            Action::Diagnostic(op::Diagnostic::default()),
            Inexpressible::SeveralSteps,
        ),
        (values("xsd:float"), Inexpressible::Type(text("xsd:float"))),
        (attributes, Inexpressible::Notification(7)),
        (download("", 0), Inexpressible::NoUrl),
        (
            download("http://x/", 1 << 32),
            Inexpressible::FileSize(1 << 32),
        ),
        (
            Action::ChangeDuState(op::ChangeDuState {
                operations: vec![op::DuOperation::default()],
                ..Default::default()
            }),
            Inexpressible::DeploymentUnit,
        ),
    ] {
        assert_eq!(rpc_of(action), Err(expected));
    }
    assert_eq!(
        to_rpc(&download("/files/x", 0), None, Version::V1_4),
        Err(Inexpressible::NoBase)
    );
}

#[test]
fn every_answer_is_its_result() {
    let transfer = rpc::TransferStatus {
        status: rpc::Status::Pending,
        start_time: DateTime::unknown(),
        complete_time: DateTime::from_text("2026-11-23T08:00:00Z"),
    };
    let transferred = op::OperationResult {
        status: Some(1),
        complete_time: Some(prost_types::Timestamp {
            seconds: 1_795_420_800,
            nanos: 0,
        }),
        ..Default::default()
    };
    let status = |status| op::OperationResult {
        status: Some(status),
        ..Default::default()
    };
    for (response, expected) in [
        (
            CpeResponse::GetParameterValues(rpc::GetParameterValuesResponse {
                parameters: vec![
                    rpc::ParameterValue::new("A", "1", ValueType::Int),
                    rpc::ParameterValue::new("B", "x", ValueType::Unknown),
                ],
            }),
            op::OperationResult {
                values: vec![
                    op::ParameterValue {
                        path: text("A"),
                        value: text("1"),
                        r#type: text("xsd:int"),
                    },
                    op::ParameterValue {
                        path: text("B"),
                        value: text("x"),
                        r#type: String::new(),
                    },
                ],
                ..Default::default()
            },
        ),
        (
            CpeResponse::GetParameterNames(rpc::GetParameterNamesResponse {
                parameters: vec![rpc::ParameterInfo {
                    name: text("A."),
                    writable: true,
                }],
            }),
            op::OperationResult {
                names: vec![op::ParameterName {
                    path: text("A."),
                    writable: true,
                }],
                ..Default::default()
            },
        ),
        (
            CpeResponse::GetParameterAttributes(rpc::GetParameterAttributesResponse {
                parameters: vec![rpc::Attributes {
                    name: text("A"),
                    notification: rpc::Notification::Passive,
                    access_list: vec![text("Subscriber")],
                }],
            }),
            op::OperationResult {
                attributes: vec![op::ParameterAttribute {
                    path: text("A"),
                    notification: Some(1),
                    access_list: vec![text("Subscriber")],
                    change_access_list: false,
                }],
                ..Default::default()
            },
        ),
        (
            CpeResponse::SetParameterValues(rpc::SetParameterValuesResponse {
                status: rpc::Status::Pending,
            }),
            status(1),
        ),
        (
            CpeResponse::DeleteObject(rpc::DeleteObjectResponse {
                status: rpc::Status::Applied,
            }),
            status(0),
        ),
        (
            CpeResponse::AddObject(rpc::AddObjectResponse {
                instance_number: 4,
                status: rpc::Status::Applied,
            }),
            op::OperationResult {
                instance_number: Some(4),
                ..status(0)
            },
        ),
        (CpeResponse::Download(transfer.clone()), transferred.clone()),
        (CpeResponse::Upload(transfer), transferred),
        (
            CpeResponse::GetRpcMethods(rpc::GetRpcMethodsResponse {
                methods: vec![text("Reboot")],
            }),
            op::OperationResult {
                methods: vec![text("Reboot")],
                ..Default::default()
            },
        ),
        (
            CpeResponse::GetQueuedTransfers(rpc::GetQueuedTransfersResponse {
                transfers: vec![rpc::QueuedTransfer {
                    command_key: text("k"),
                    state: rpc::TransferState::InProgress,
                }],
            }),
            op::OperationResult {
                transfers: vec![op::QueuedTransfer {
                    command_key: text("k"),
                    state: 2,
                    ..Default::default()
                }],
                ..Default::default()
            },
        ),
        (
            CpeResponse::GetAllQueuedTransfers(rpc::GetAllQueuedTransfersResponse {
                transfers: vec![rpc::AnyQueuedTransfer {
                    command_key: text("k"),
                    state: rpc::TransferState::Completed,
                    is_download: true,
                    file_type: text("1"),
                    file_size: 9,
                    target_file_name: text("f"),
                }],
            }),
            op::OperationResult {
                transfers: vec![op::QueuedTransfer {
                    command_key: text("k"),
                    state: 3,
                    is_download: true,
                    file_type: text("1"),
                    file_size: 9,
                    target_file_name: text("f"),
                }],
                ..Default::default()
            },
        ),
        (
            CpeResponse::Raw(rpc::Raw {
                method: text("X_A"),
                arguments_xml: text("<B/>"),
            }),
            op::OperationResult {
                raw_xml: Some(text("<B/>")),
                ..Default::default()
            },
        ),
        (
            CpeResponse::SetParameterAttributes,
            op::OperationResult::default(),
        ),
        (CpeResponse::Reboot, op::OperationResult::default()),
        (CpeResponse::ScheduleInform, op::OperationResult::default()),
        (CpeResponse::FactoryReset, op::OperationResult::default()),
        (
            CpeResponse::ScheduleDownload,
            op::OperationResult::default(),
        ),
        (CpeResponse::CancelTransfer, op::OperationResult::default()),
        (CpeResponse::ChangeDuState, op::OperationResult::default()),
    ] {
        assert_eq!(to_result(response), expected);
    }
}

#[test]
fn faults_keep_their_parameters() {
    let fault = Fault {
        code: FaultCode::INVALID_ARGUMENTS,
        string: text("no"),
        parameters: vec![ParameterFault {
            name: text("A"),
            code: FaultCode::INVALID_PARAMETER_NAME,
            string: text("what?"),
        }],
    };
    let expected = device::CwmpFault {
        code: 9003,
        string: text("no"),
        parameter_faults: vec![device::ParameterFault {
            path: text("A"),
            code: 9005,
            string: text("what?"),
        }],
    };
    assert_eq!(from_fault(fault), expected);
}
