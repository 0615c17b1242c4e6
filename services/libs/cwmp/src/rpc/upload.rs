//! Upload (TR-069 A.4.1.5).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::soap::element::sequence;

/// Has the device send a file by HTTP PUT.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upload {
    /// Comes back in TransferComplete and the `M Upload` event; at most 32 characters.
    pub command_key: String,
    /// `1 Vendor Configuration File`, `2 Vendor Log File`, `3 Vendor Configuration File <i>`, …
    pub file_type: String,
    /// Where to put the file; at most 256 characters.
    pub url: String,
    /// User name for the file server; may be empty.
    pub username: String,
    /// Password for the file server; may be empty.
    pub password: String,
    /// Seconds from the answer to the start of the transfer.
    pub delay_seconds: u32,
}

sequence!(Upload {
    command_key: "CommandKey" <= 32,
    file_type: "FileType" <= 64,
    url: "URL" <= 256,
    username: "Username" <= 256,
    password: "Password" <= 256,
    delay_seconds: "DelaySeconds",
});

/// Leaves out the password and the query of the URL, which may carry a token.
impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload")
            .field("command_key", &self.command_key)
            .field("file_type", &self.file_type)
            .field("url", &super::without_query(&self.url))
            .field("delay_seconds", &self.delay_seconds)
            .finish_non_exhaustive()
    }
}
