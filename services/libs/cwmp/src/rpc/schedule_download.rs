//! ScheduleDownload (TR-069 A.4.1.8).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::soap::element::{item, sequence};

/// Has the device fetch a file and apply it within one of two time windows.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleDownload {
    /// Comes back in TransferComplete and the `M ScheduleDownload` event; at most 32 characters.
    pub command_key: String,
    /// As in [`Download`](super::Download::file_type).
    pub file_type: String,
    /// Where the file is; at most 256 characters.
    pub url: String,
    /// User name for the file server; may be empty.
    pub username: String,
    /// Password for the file server; may be empty.
    pub password: String,
    /// Size in bytes; 0 if unknown.
    pub file_size: u32,
    /// Name under which the device keeps the file; may be empty.
    pub target_file_name: String,
    /// One or two windows that do not overlap, in order.
    pub time_windows: Vec<TimeWindow>,
}

/// When a scheduled download may take place.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeWindow {
    /// Seconds from the request to the window's start.
    pub window_start: u32,
    /// Seconds from the request to the window's end.
    pub window_end: u32,
    /// `1 At Any Time`, `2 Immediately`, `3 When Idle`, `4 Confirmation Needed`, or a vendor's `X …`.
    pub window_mode: String,
    /// Shown to the user who is asked for confirmation; at most 256 characters.
    pub user_message: String,
    /// Tries after the first; −1: as the device likes.
    pub max_retries: i32,
}

sequence!(ScheduleDownload {
    command_key: "CommandKey" <= 32,
    file_type: "FileType" <= 64,
    url: "URL" <= 256,
    username: "Username" <= 256,
    password: "Password" <= 256,
    file_size: "FileSize",
    target_file_name: "TargetFileName" <= 256,
    time_windows: "TimeWindowList",
});
sequence!(TimeWindow {
    window_start: "WindowStart",
    window_end: "WindowEnd",
    window_mode: "WindowMode" <= 64,
    user_message: "UserMessage" <= 256,
    max_retries: "MaxRetries",
});
item!(TimeWindow, "TimeWindowStruct");

/// Leaves out the password and the query of the URL, which may carry a token.
impl fmt::Debug for ScheduleDownload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScheduleDownload")
            .field("command_key", &self.command_key)
            .field("file_type", &self.file_type)
            .field("url", &super::without_query(&self.url))
            .field("file_size", &self.file_size)
            .field("target_file_name", &self.target_file_name)
            .field("time_windows", &self.time_windows)
            .finish_non_exhaustive()
    }
}
