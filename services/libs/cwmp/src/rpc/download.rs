//! Download (TR-069 A.3.2.8).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::soap::element::sequence;

/// Has the device fetch a file and apply it.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Download {
    /// Comes back in TransferComplete and the `M Download` event; at most 32 characters.
    pub command_key: String,
    /// `1 Firmware Upgrade Image`, `2 Web Content`, `3 Vendor Configuration File`, …
    pub file_type: String,
    /// Where the file is, without user information; at most 256 characters.
    pub url: String,
    /// User name for the file server; may be empty.
    pub username: String,
    /// Password for the file server; may be empty.
    pub password: String,
    /// Size in bytes; 0 if unknown.
    pub file_size: u32,
    /// Name under which the device keeps the file; may be empty.
    pub target_file_name: String,
    /// Seconds from the answer to the start of the transfer.
    pub delay_seconds: u32,
    /// Where the device sends its user after success; may be empty.
    pub success_url: String,
    /// Where the device sends its user after failure; may be empty.
    pub failure_url: String,
}

sequence!(Download {
    command_key: "CommandKey" <= 32,
    file_type: "FileType" <= 64,
    url: "URL" <= 256,
    username: "Username" <= 256,
    password: "Password" <= 256,
    file_size: "FileSize",
    target_file_name: "TargetFileName" <= 256,
    delay_seconds: "DelaySeconds",
    success_url: "SuccessURL" <= 256,
    failure_url: "FailureURL" <= 256,
});

/// Leaves out the password and the query of the URL, which may carry a token.
impl fmt::Debug for Download {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Download")
            .field("command_key", &self.command_key)
            .field("file_type", &self.file_type)
            .field("url", &super::without_query(&self.url))
            .field("file_size", &self.file_size)
            .field("target_file_name", &self.target_file_name)
            .field("delay_seconds", &self.delay_seconds)
            .finish_non_exhaustive()
    }
}
