//! The remote procedure calls of both directions, one file per method or family of methods.
//!
//! Field order is that of the schema, because some devices read by position (RPC-02). Lengths that the standard sets are
//! enforced where we write (RPC-03) and not where we read.

mod add_object;
mod cancel_transfer;
mod change_du_state;
mod delete_object;
mod download;
mod get_parameter_names;
mod get_parameter_values;
mod get_rpc_methods;
mod inform;
mod kicked;
mod options;
mod parameter_attributes;
mod parameter_value;
mod queued_transfers;
mod raw;
mod reboot;
mod request_download;
mod schedule_download;
mod schedule_inform;
mod set_parameter_values;
mod status;
mod transfer_complete;
mod transfer_status;
mod upload;

use serde::{Deserialize, Serialize};

pub use self::{
    add_object::{AddObject, AddObjectResponse},
    cancel_transfer::CancelTransfer,
    change_du_state::{
        AutonomousDuStateChangeComplete, AutonomousOperationResult, ChangeDuState,
        DuStateChangeComplete, Install, Operation, OperationResult, Uninstall, Update,
    },
    delete_object::{DeleteObject, DeleteObjectResponse},
    download::Download,
    get_parameter_names::{GetParameterNames, GetParameterNamesResponse, ParameterInfo},
    get_parameter_values::{GetParameterValues, GetParameterValuesResponse},
    get_rpc_methods::GetRpcMethodsResponse,
    inform::{DeviceIdStruct, Event, Inform, InformResponse, MaxEnvelopes},
    kicked::{Kicked, KickedResponse},
    options::{DeviceOption, GetOptions, GetOptionsResponse, SetVouchers, Voucher},
    parameter_attributes::{
        Attributes, GetParameterAttributes, GetParameterAttributesResponse, Notification,
        SetAttributes, SetParameterAttributes,
    },
    parameter_value::{ParameterValue, ValueType, is_secret},
    queued_transfers::{
        AnyQueuedTransfer, GetAllQueuedTransfersResponse, GetQueuedTransfersResponse,
        QueuedTransfer, TransferState,
    },
    raw::Raw,
    reboot::Reboot,
    request_download::{Argument, RequestDownload},
    schedule_download::{ScheduleDownload, TimeWindow},
    schedule_inform::ScheduleInform,
    set_parameter_values::{SetParameterValues, SetParameterValuesResponse},
    status::Status,
    transfer_complete::{AutonomousTransferComplete, TransferComplete},
    transfer_status::TransferStatus,
    upload::Upload,
};
use crate::soap::{
    element::Element,
    reader::{Malformed, Reader, Tag},
    writer::Writer,
};

/// A side's requests or answers: an enum, its methods' names, and how each is read and written.
macro_rules! methods {
    (
        $(#[$meta:meta])* $enum:ident, suffix $suffix:literal,
        empty { $($(#[$empty_meta:meta])* $empty:ident = $empty_name:literal,)* }
        with { $($(#[$with_meta:meta])* $with:ident($type:ty) = $with_name:literal,)* }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        pub enum $enum {
            $($(#[$empty_meta])* $empty,)*
            $($(#[$with_meta])* $with($type),)*
            /// A method of a vendor, or one that the standard does not have.
            Raw(Raw),
        }

        impl $enum {
            /// The method's name as in the specification, without prefix and without `Response`.
            pub fn method(&self) -> &str {
                match self {
                    $(Self::$empty => $empty_name,)*
                    $(Self::$with(_) => $with_name,)*
                    Self::Raw(raw) => &raw.method,
                }
            }

            /// Reads the element of `method`, which `tag` opened.
            pub(crate) fn read(reader: &mut Reader<'_>, tag: &Tag<'_>, method: &str) -> Result<Self, Malformed> {
                Ok(match method {
                    $($empty_name => {
                        reader.skip()?;
                        Self::$empty
                    })*
                    $($with_name => Self::$with(<$type>::read(reader, tag)?),)*
                    _ => Self::Raw(Raw { method: method.to_owned(), arguments_xml: reader.inner_xml()?.to_owned() }),
                })
            }

            /// Writes the element of the method.
            pub(crate) fn write(&self, writer: &mut Writer) {
                match self {
                    $(Self::$empty => writer.element(concat!("cwmp:", $empty_name, $suffix), ""),)*
                    $(Self::$with(arguments) => arguments.write(writer, concat!("cwmp:", $with_name, $suffix)),)*
                    Self::Raw(raw) => writer.raw(&raw.method, $suffix, &raw.arguments_xml),
                }
            }
        }
    };
}

methods! {
    /// What the server can ask of a device.
    AcsRequest, suffix "",
    empty {
        /// Which methods do you accept?
        GetRpcMethods = "GetRPCMethods",
        /// Which of the transfers that I asked for are not over?
        GetQueuedTransfers = "GetQueuedTransfers",
        /// Which transfers are not over?
        GetAllQueuedTransfers = "GetAllQueuedTransfers",
        /// Forget everything.
        FactoryReset = "FactoryReset",
    }
    with {
        /// Set parameters.
        SetParameterValues(SetParameterValues) = "SetParameterValues",
        /// Read parameters.
        GetParameterValues(GetParameterValues) = "GetParameterValues",
        /// List names.
        GetParameterNames(GetParameterNames) = "GetParameterNames",
        /// Set notification and access.
        SetParameterAttributes(SetParameterAttributes) = "SetParameterAttributes",
        /// Read notification and access.
        GetParameterAttributes(GetParameterAttributes) = "GetParameterAttributes",
        /// Make an instance.
        AddObject(AddObject) = "AddObject",
        /// Delete an instance.
        DeleteObject(DeleteObject) = "DeleteObject",
        /// Fetch a file and apply it.
        Download(Download) = "Download",
        /// Restart.
        Reboot(Reboot) = "Reboot",
        /// Call again later.
        ScheduleInform(ScheduleInform) = "ScheduleInform",
        /// Take these vouchers.
        SetVouchers(SetVouchers) = "SetVouchers",
        /// Which options do you have?
        GetOptions(GetOptions) = "GetOptions",
        /// Send a file.
        Upload(Upload) = "Upload",
        /// Fetch a file within a time window and apply it.
        ScheduleDownload(ScheduleDownload) = "ScheduleDownload",
        /// Forget a transfer.
        CancelTransfer(CancelTransfer) = "CancelTransfer",
        /// Install, update, uninstall deployment units.
        ChangeDuState(ChangeDuState) = "ChangeDUState",
    }
}

methods! {
    /// What a device answers to an [`AcsRequest`] that it carried out.
    CpeResponse, suffix "Response",
    empty {
        /// The attributes are set.
        SetParameterAttributes = "SetParameterAttributes",
        /// The restart will follow.
        Reboot = "Reboot",
        /// The Inform will follow.
        ScheduleInform = "ScheduleInform",
        /// The vouchers are taken.
        SetVouchers = "SetVouchers",
        /// The reset will follow.
        FactoryReset = "FactoryReset",
        /// The transfer is queued.
        ScheduleDownload = "ScheduleDownload",
        /// The transfer is forgotten.
        CancelTransfer = "CancelTransfer",
        /// The operations are queued.
        ChangeDuState = "ChangeDUState",
    }
    with {
        /// The methods.
        GetRpcMethods(GetRpcMethodsResponse) = "GetRPCMethods",
        /// The values are taken.
        SetParameterValues(SetParameterValuesResponse) = "SetParameterValues",
        /// The values.
        GetParameterValues(GetParameterValuesResponse) = "GetParameterValues",
        /// The names.
        GetParameterNames(GetParameterNamesResponse) = "GetParameterNames",
        /// The attributes.
        GetParameterAttributes(GetParameterAttributesResponse) = "GetParameterAttributes",
        /// The instance.
        AddObject(AddObjectResponse) = "AddObject",
        /// The instance is gone.
        DeleteObject(DeleteObjectResponse) = "DeleteObject",
        /// How far the download is.
        Download(TransferStatus) = "Download",
        /// The queue.
        GetQueuedTransfers(GetQueuedTransfersResponse) = "GetQueuedTransfers",
        /// The options.
        GetOptions(GetOptionsResponse) = "GetOptions",
        /// How far the upload is.
        Upload(TransferStatus) = "Upload",
        /// The queue.
        GetAllQueuedTransfers(GetAllQueuedTransfersResponse) = "GetAllQueuedTransfers",
    }
}

methods! {
    /// What a device tells or asks the server of its own accord.
    CpeRequest, suffix "",
    empty {
        /// Which methods do you accept?
        GetRpcMethods = "GetRPCMethods",
    }
    with {
        /// Opens a session.
        Inform(Inform) = "Inform",
        /// A transfer that the server asked for is over.
        TransferComplete(TransferComplete) = "TransferComplete",
        /// Another transfer is over.
        AutonomousTransferComplete(AutonomousTransferComplete) = "AutonomousTransferComplete",
        /// Please send me a file.
        RequestDownload(RequestDownload) = "RequestDownload",
        /// The operations of a ChangeDUState are over.
        DuStateChangeComplete(DuStateChangeComplete) = "DUStateChangeComplete",
        /// Other operations on deployment units are over.
        AutonomousDuStateChangeComplete(AutonomousDuStateChangeComplete) = "AutonomousDUStateChangeComplete",
        /// A user was sent to the kick URL.
        Kicked(Kicked) = "Kicked",
    }
}

methods! {
    /// What the server answers to a [`CpeRequest`] that it accepted.
    AcsResponse, suffix "Response",
    empty {
        /// Noted.
        TransferComplete = "TransferComplete",
        /// Noted.
        AutonomousTransferComplete = "AutonomousTransferComplete",
        /// Noted; a Download may follow.
        RequestDownload = "RequestDownload",
        /// Noted.
        DuStateChangeComplete = "DUStateChangeComplete",
        /// Noted.
        AutonomousDuStateChangeComplete = "AutonomousDUStateChangeComplete",
    }
    with {
        /// The session is open.
        Inform(InformResponse) = "Inform",
        /// The methods.
        GetRpcMethods(GetRpcMethodsResponse) = "GetRPCMethods",
        /// Where to send the user.
        Kicked(KickedResponse) = "Kicked",
    }
}

/// The part of a URL that may be shown: without query and fragment.
fn without_query(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or_default()
}
