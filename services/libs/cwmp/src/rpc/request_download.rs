//! RequestDownload (TR-069 A.4.2.2).

use serde::{Deserialize, Serialize};

use crate::soap::element::{item, sequence};

/// The device asks to be sent a file. The answer only acknowledges; a Download may follow.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestDownload {
    /// As in [`Download`](super::Download::file_type).
    pub file_type: String,
    /// What the device says about the wanted file; at most 16 by the standard.
    pub arguments: Vec<Argument>,
}

/// A name and a value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Argument {
    /// At most 64 characters by the standard.
    pub name: String,
    /// At most 256 characters by the standard.
    pub value: String,
}

sequence!(RequestDownload {
    file_type: "FileType",
    arguments: "FileTypeArg"
});
sequence!(Argument {
    name: "Name",
    value: "Value"
});
item!(Argument, "ArgStruct");
