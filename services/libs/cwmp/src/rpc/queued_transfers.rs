//! GetQueuedTransfers and GetAllQueuedTransfers (TR-069 A.4.1.1, A.4.1.7).

use serde::{Deserialize, Serialize};

use crate::soap::{
    Repair,
    element::{Element, item, sequence},
    reader::{Malformed, Reader, Tag},
    writer::Writer,
};

/// How far a queued transfer is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TransferState {
    /// 1
    #[default]
    NotStarted,
    /// 2
    InProgress,
    /// 3: transferred, finishing
    Completed,
}

/// The transfers that the server asked for and that are not over.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetQueuedTransfersResponse {
    /// At most 16.
    pub transfers: Vec<QueuedTransfer>,
}

/// A queued transfer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueuedTransfer {
    /// Command key of its request.
    pub command_key: String,
    /// How far it is.
    pub state: TransferState,
}

/// All transfers that are not over, whoever asked for them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetAllQueuedTransfersResponse {
    /// At most 16.
    pub transfers: Vec<AnyQueuedTransfer>,
}

/// A queued transfer, with what it transfers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnyQueuedTransfer {
    /// Command key of its request; empty if the server did not ask for it.
    pub command_key: String,
    /// How far it is.
    pub state: TransferState,
    /// Download, not upload.
    pub is_download: bool,
    /// As in [`Download`](super::Download::file_type).
    pub file_type: String,
    /// Size in bytes; 0 if unknown.
    pub file_size: u32,
    /// Name under which the device keeps the file.
    pub target_file_name: String,
}

sequence!(GetQueuedTransfersResponse {
    transfers: "TransferList"
});
sequence!(QueuedTransfer {
    command_key: "CommandKey",
    state: "State"
});
item!(QueuedTransfer, "QueuedTransferStruct");
sequence!(GetAllQueuedTransfersResponse {
    transfers: "TransferList"
});
sequence!(AnyQueuedTransfer {
    command_key: "CommandKey",
    state: "State",
    is_download: "IsDownload",
    file_type: "FileType",
    file_size: "FileSize",
    target_file_name: "TargetFileName",
});
item!(AnyQueuedTransfer, "AllQueuedTransferStruct");

impl Element for TransferState {
    fn read(reader: &mut Reader<'_>, _tag: &Tag<'_>) -> Result<Self, Malformed> {
        let text = reader.text()?;
        Ok(match text.trim() {
            "1" => Self::NotStarted,
            "2" => Self::InProgress,
            "3" => Self::Completed,
            _ => {
                reader.note(Repair::Number);
                Self::NotStarted
            }
        })
    }

    fn write(&self, writer: &mut Writer, name: &str) {
        writer.element(
            name,
            match self {
                Self::NotStarted => "1",
                Self::InProgress => "2",
                Self::Completed => "3",
            },
        );
    }
}
