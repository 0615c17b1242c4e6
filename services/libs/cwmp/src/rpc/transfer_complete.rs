//! TransferComplete and AutonomousTransferComplete (TR-069 A.3.3.2, A.3.3.3).

use serde::{Deserialize, Serialize};

use crate::{date_time::DateTime, fault::FaultStruct, soap::element::sequence};

/// A transfer that the server asked for is over.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferComplete {
    /// Command key of its request; some devices leave it empty.
    pub command_key: String,
    /// Why it failed; `None`: it succeeded, and the file is applied.
    pub fault: Option<FaultStruct>,
    /// When it began.
    pub start_time: DateTime,
    /// When it ended.
    pub complete_time: DateTime,
}

/// A transfer that the server did not ask for is over.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AutonomousTransferComplete {
    /// Where the device had learnt of the file; may be empty.
    pub announce_url: String,
    /// Where the file came from or went to.
    pub transfer_url: String,
    /// Download, not upload.
    pub is_download: bool,
    /// As in [`Download`](super::Download::file_type).
    pub file_type: String,
    /// Size in bytes; 0 if unknown.
    pub file_size: u32,
    /// Name under which the device keeps the file.
    pub target_file_name: String,
    /// Why it failed; `None`: it succeeded.
    pub fault: Option<FaultStruct>,
    /// When it began.
    pub start_time: DateTime,
    /// When it ended.
    pub complete_time: DateTime,
}

sequence!(TransferComplete {
    command_key: "CommandKey",
    fault: "FaultStruct",
    start_time: "StartTime",
    complete_time: "CompleteTime",
});
sequence!(AutonomousTransferComplete {
    announce_url: "AnnounceURL",
    transfer_url: "TransferURL",
    is_download: "IsDownload",
    file_type: "FileType",
    file_size: "FileSize",
    target_file_name: "TargetFileName",
    fault: "FaultStruct",
    start_time: "StartTime",
    complete_time: "CompleteTime",
});
