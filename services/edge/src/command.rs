//! Commands and RPCs: what is asked of a device, and what its answer means.
//!
//! Pure: one command is one RPC. A task that takes several (a diagnostic) is cut into commands by its owner.

use platen_cwmp::{
    date_time::DateTime,
    fault::{Fault, FaultStruct},
    rpc::{self, AcsRequest, CpeResponse, ValueType},
    soap::Version,
};
use platen_proto::{
    device::v1 as device,
    operation::v1::{self as operation, operation_request::Action},
};

/// Why a command is no RPC. Its owner's fault, or the caller's; trying again does not help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Inexpressible {
    #[error("the command says nothing to do")]
    Nothing,
    #[error("a diagnostic takes several commands")]
    SeveralSteps,
    #[error("{0:?} is no type of a parameter's value")]
    Type(String),
    #[error("notification {0} is none of 0 to 6")]
    Notification(i32),
    #[error("a file of {0} bytes is larger than CWMP can say (4 GiB)")]
    FileSize(u64),
    #[error("the transfer has no URL")]
    NoUrl,
    #[error(
        "the file's URL is relative, and neither cwmp.public_url nor the device's request says where this server is"
    )]
    NoBase,
    #[error("an operation on a deployment unit is neither install, update nor uninstall")]
    DeploymentUnit,
}

/// What a device is asked, in words of CWMP.
///
/// `base` is the beginning of this server's URLs, for files that it serves itself; `version` is what the device speaks.
pub(crate) fn to_rpc(
    action: &Action,
    base: Option<&str>,
    version: Version,
) -> Result<AcsRequest, Inexpressible> {
    Ok(match action {
        Action::GetParameterValues(get) => {
            AcsRequest::GetParameterValues(rpc::GetParameterValues {
                names: get.paths.clone(),
            })
        }
        Action::GetParameterNames(get) => AcsRequest::GetParameterNames(rpc::GetParameterNames {
            path: get.path.clone(),
            next_level: get.next_level,
        }),
        Action::SetParameterValues(set) => {
            AcsRequest::SetParameterValues(rpc::SetParameterValues {
                parameters: set.values.iter().map(to_value).collect::<Result<_, _>>()?,
                parameter_key: set.parameter_key.clone(),
            })
        }
        Action::GetParameterAttributes(get) => {
            AcsRequest::GetParameterAttributes(rpc::GetParameterAttributes {
                names: get.paths.clone(),
            })
        }
        Action::SetParameterAttributes(set) => {
            AcsRequest::SetParameterAttributes(rpc::SetParameterAttributes {
                parameters: set
                    .attributes
                    .iter()
                    .map(to_attributes)
                    .collect::<Result<_, _>>()?,
            })
        }
        Action::AddObject(add) => AcsRequest::AddObject(rpc::AddObject {
            object_name: add.path.clone(),
            parameter_key: add.parameter_key.clone(),
        }),
        Action::DeleteObject(delete) => AcsRequest::DeleteObject(rpc::DeleteObject {
            object_name: delete.path.clone(),
            parameter_key: delete.parameter_key.clone(),
        }),
        Action::Download(download) => AcsRequest::Download(rpc::Download {
            command_key: download.command_key.clone(),
            file_type: download.file_type.clone(),
            url: absolute(&download.url, base)?,
            username: download.username.clone(),
            password: download.password.clone(),
            file_size: size(download.file_size)?,
            target_file_name: download.target_file_name.clone(),
            delay_seconds: download.delay_seconds,
            success_url: download.success_url.clone(),
            failure_url: download.failure_url.clone(),
        }),
        Action::Upload(upload) => AcsRequest::Upload(rpc::Upload {
            command_key: upload.command_key.clone(),
            file_type: upload.file_type.clone(),
            url: absolute(&upload.url, base)?,
            username: upload.username.clone(),
            password: upload.password.clone(),
            delay_seconds: upload.delay_seconds,
        }),
        Action::ScheduleDownload(download) => AcsRequest::ScheduleDownload(rpc::ScheduleDownload {
            command_key: download.command_key.clone(),
            file_type: download.file_type.clone(),
            url: absolute(&download.url, base)?,
            username: download.username.clone(),
            password: download.password.clone(),
            file_size: size(download.file_size)?,
            target_file_name: download.target_file_name.clone(),
            time_windows: download.time_windows.iter().map(to_window).collect(),
        }),
        Action::ScheduleInform(schedule) => AcsRequest::ScheduleInform(rpc::ScheduleInform {
            delay_seconds: schedule.delay_seconds,
            command_key: schedule.command_key.clone(),
        }),
        Action::Reboot(reboot) => AcsRequest::Reboot(rpc::Reboot {
            command_key: reboot.command_key.clone(),
        }),
        Action::FactoryReset(_) => AcsRequest::FactoryReset,
        Action::ChangeDuState(change) => AcsRequest::ChangeDuState(rpc::ChangeDuState {
            operations: change
                .operations
                .iter()
                .map(|change| to_du_operation(change, base))
                .collect::<Result<_, _>>()?,
            command_key: change.command_key.clone(),
        }),
        Action::CancelTransfer(cancel) => AcsRequest::CancelTransfer(rpc::CancelTransfer {
            command_key: cancel.command_key.clone(),
        }),
        // The first edition of CWMP has no other.
        Action::GetQueuedTransfers(_) if version == Version::V1_0 => AcsRequest::GetQueuedTransfers,
        Action::GetQueuedTransfers(_) => AcsRequest::GetAllQueuedTransfers,
        Action::GetRpcMethods(_) => AcsRequest::GetRpcMethods,
        Action::Raw(raw) => AcsRequest::Raw(rpc::Raw {
            method: raw.method.clone(),
            arguments_xml: raw.arguments_xml.clone(),
        }),
        Action::Diagnostic(_) => return Err(Inexpressible::SeveralSteps),
    })
}

/// What an answer means.
pub(crate) fn to_result(response: CpeResponse) -> operation::OperationResult {
    let nothing = operation::OperationResult::default();
    match response {
        CpeResponse::GetParameterValues(values) => operation::OperationResult {
            values: values.parameters.into_iter().map(from_value).collect(),
            ..nothing
        },
        CpeResponse::GetParameterNames(names) => operation::OperationResult {
            names: names
                .parameters
                .into_iter()
                .map(|name| operation::ParameterName {
                    path: name.name,
                    writable: name.writable,
                })
                .collect(),
            ..nothing
        },
        CpeResponse::GetParameterAttributes(found) => operation::OperationResult {
            attributes: found
                .parameters
                .into_iter()
                .map(|attributes| operation::ParameterAttribute {
                    path: attributes.name,
                    notification: Some(i32::from(attributes.notification.code())),
                    access_list: attributes.access_list,
                    change_access_list: false,
                })
                .collect(),
            ..nothing
        },
        CpeResponse::SetParameterValues(set) => status(set.status),
        CpeResponse::DeleteObject(delete) => status(delete.status),
        CpeResponse::AddObject(add) => operation::OperationResult {
            instance_number: Some(add.instance_number),
            ..status(add.status)
        },
        CpeResponse::Download(transfer) | CpeResponse::Upload(transfer) => {
            operation::OperationResult {
                start_time: timestamp(&transfer.start_time),
                complete_time: timestamp(&transfer.complete_time),
                ..status(transfer.status)
            }
        }
        CpeResponse::GetRpcMethods(found) => operation::OperationResult {
            methods: found.methods,
            ..nothing
        },
        CpeResponse::GetQueuedTransfers(found) => operation::OperationResult {
            transfers: found
                .transfers
                .into_iter()
                .map(|transfer| operation::QueuedTransfer {
                    command_key: transfer.command_key,
                    state: transfer_state(transfer.state),
                    ..operation::QueuedTransfer::default()
                })
                .collect(),
            ..nothing
        },
        CpeResponse::GetAllQueuedTransfers(found) => operation::OperationResult {
            transfers: found
                .transfers
                .into_iter()
                .map(|transfer| operation::QueuedTransfer {
                    command_key: transfer.command_key,
                    state: transfer_state(transfer.state),
                    is_download: transfer.is_download,
                    file_type: transfer.file_type,
                    file_size: u64::from(transfer.file_size),
                    target_file_name: transfer.target_file_name,
                })
                .collect(),
            ..nothing
        },
        CpeResponse::Raw(raw) => operation::OperationResult {
            raw_xml: Some(raw.arguments_xml),
            ..nothing
        },
        // Their answers say no more than that the request was taken. Options and vouchers are asked for by raw RPCs only.
        CpeResponse::SetParameterAttributes
        | CpeResponse::Reboot
        | CpeResponse::ScheduleInform
        | CpeResponse::SetVouchers
        | CpeResponse::FactoryReset
        | CpeResponse::ScheduleDownload
        | CpeResponse::CancelTransfer
        | CpeResponse::ChangeDuState
        | CpeResponse::GetOptions(_) => nothing,
    }
}

/// A refusal.
pub(crate) fn from_fault(fault: Fault) -> device::CwmpFault {
    device::CwmpFault {
        code: number(fault.code.0),
        string: fault.string,
        parameter_faults: fault
            .parameters
            .into_iter()
            .map(|parameter| device::ParameterFault {
                path: parameter.name,
                code: number(parameter.code.0),
                string: parameter.string,
            })
            .collect(),
    }
}

/// The fault of a transfer or of an operation on a deployment unit.
pub(crate) fn from_fault_struct(fault: FaultStruct) -> device::CwmpFault {
    device::CwmpFault {
        code: number(fault.code.0),
        string: fault.string,
        parameter_faults: Vec::new(),
    }
}

/// A parameter with its value.
pub(crate) fn from_value(value: rpc::ParameterValue) -> operation::ParameterValue {
    let r#type = match value.value_type {
        ValueType::Unknown => String::new(),
        named => named.to_string(),
    };
    operation::ParameterValue {
        path: value.name,
        value: value.value,
        r#type,
    }
}

/// A device's time, if it is one.
pub(crate) fn timestamp(time: &DateTime) -> Option<prost_types::Timestamp> {
    let time = time.time()?;
    Some(prost_types::Timestamp {
        seconds: time.as_second(),
        nanos: time.subsec_nanosecond(),
    })
}

fn to_value(value: &operation::ParameterValue) -> Result<rpc::ParameterValue, Inexpressible> {
    let value_type = if value.r#type.is_empty() {
        ValueType::String
    } else {
        ValueType::NAMED
            .into_iter()
            .find(|named| named.as_str() == value.r#type)
            .or_else(|| (value.r#type == "xsd:base64").then_some(ValueType::Base64))
            .ok_or_else(|| Inexpressible::Type(value.r#type.clone()))?
    };
    Ok(rpc::ParameterValue::new(
        value.path.as_str(),
        value.value.as_str(),
        value_type,
    ))
}

fn to_attributes(
    attribute: &operation::ParameterAttribute,
) -> Result<rpc::SetAttributes, Inexpressible> {
    let notification = match attribute.notification {
        None => rpc::Notification::Off,
        Some(code) => u8::try_from(code)
            .ok()
            .and_then(rpc::Notification::from_code)
            .ok_or(Inexpressible::Notification(code))?,
    };
    Ok(rpc::SetAttributes {
        name: attribute.path.clone(),
        notification_change: attribute.notification.is_some(),
        notification,
        access_list_change: attribute.change_access_list || !attribute.access_list.is_empty(),
        access_list: attribute.access_list.clone(),
    })
}

fn to_window(window: &operation::TimeWindow) -> rpc::TimeWindow {
    rpc::TimeWindow {
        window_start: window.window_start,
        window_end: window.window_end,
        window_mode: window.window_mode.clone(),
        user_message: window.user_message.clone(),
        max_retries: window.max_retries,
    }
}

fn to_du_operation(
    change: &operation::DuOperation,
    base: Option<&str>,
) -> Result<rpc::Operation, Inexpressible> {
    use operation::du_operation::Operation;
    // A URL may be missing here: the device then takes the one it knows.
    let url = |url: &str| {
        if url.is_empty() {
            Ok(String::new())
        } else {
            absolute(url, base)
        }
    };
    Ok(
        match change
            .operation
            .as_ref()
            .ok_or(Inexpressible::DeploymentUnit)?
        {
            Operation::Install(install) => rpc::Operation::Install(rpc::Install {
                url: url(&install.url)?,
                uuid: install.uuid.clone(),
                username: install.username.clone(),
                password: install.password.clone(),
                execution_env_ref: install.execution_env_ref.clone(),
            }),
            Operation::Update(update) => rpc::Operation::Update(rpc::Update {
                uuid: update.uuid.clone(),
                version: update.version.clone(),
                url: url(&update.url)?,
                username: update.username.clone(),
                password: update.password.clone(),
            }),
            Operation::Uninstall(uninstall) => rpc::Operation::Uninstall(rpc::Uninstall {
                uuid: uninstall.uuid.clone(),
                version: uninstall.version.clone(),
                execution_env_ref: uninstall.execution_env_ref.clone(),
            }),
        },
    )
}

/// A URL as the device needs it: one that begins with a slash is this server's own.
fn absolute(url: &str, base: Option<&str>) -> Result<String, Inexpressible> {
    if url.is_empty() {
        return Err(Inexpressible::NoUrl);
    }
    if !url.starts_with('/') {
        return Ok(url.to_owned());
    }
    let base = base.ok_or(Inexpressible::NoBase)?;
    Ok(format!("{}{url}", base.trim_end_matches('/')))
}

fn size(bytes: u64) -> Result<u32, Inexpressible> {
    u32::try_from(bytes).map_err(|_| Inexpressible::FileSize(bytes))
}

fn status(status: rpc::Status) -> operation::OperationResult {
    operation::OperationResult {
        status: Some(i32::from(status.code())),
        ..operation::OperationResult::default()
    }
}

const fn transfer_state(state: rpc::TransferState) -> i32 {
    match state {
        rpc::TransferState::NotStarted => 1,
        rpc::TransferState::InProgress => 2,
        rpc::TransferState::Completed => 3,
    }
}

fn number(code: u32) -> i32 {
    i32::try_from(code).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests;
