//! GetParameterNames (TR-069 A.3.2.3).

use serde::{Deserialize, Serialize};

use crate::soap::element::{item, sequence};

/// Lists what the device's tree holds at or below a path.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetParameterNames {
    /// A full path, a partial path that ends in a dot, or nothing for the whole tree. At most 256 characters.
    pub path: String,
    /// Only the children one level down.
    pub next_level: bool,
}

/// The names found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetParameterNamesResponse {
    /// Objects (ending in a dot) and parameters.
    pub parameters: Vec<ParameterInfo>,
}

/// A name, and whether it can be written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParameterInfo {
    /// Path of a parameter, or of an object if it ends in a dot.
    pub name: String,
    /// Parameter: settable. Table: AddObject allowed. Instance: DeleteObject allowed. A missing answer reads as `false` (RPC-50).
    pub writable: bool,
}

sequence!(GetParameterNames {
    path: "ParameterPath" <= 256,
    next_level: "NextLevel"
});
sequence!(GetParameterNamesResponse {
    parameters: "ParameterList"
});
sequence!(ParameterInfo {
    name: "Name",
    writable: "Writable"
});
item!(ParameterInfo, "ParameterInfoStruct");
