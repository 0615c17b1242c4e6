//! DeleteObject (TR-069 A.3.2.7).

use serde::{Deserialize, Serialize};

use super::status::Status;
use crate::soap::element::sequence;

/// Deletes an instance with everything below it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteObject {
    /// Path of the instance, ending in a dot.
    pub object_name: String,
    /// Kept in `ManagementServer.ParameterKey`; at most 32 characters.
    pub parameter_key: String,
}

/// The device has deleted the instance.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteObjectResponse {
    /// Whether that is in force.
    pub status: Status,
}

sequence!(DeleteObject {
    object_name: "ObjectName" <= 256,
    parameter_key: "ParameterKey" <= 32
});
sequence!(DeleteObjectResponse { status: "Status" });
