//! AddObject (TR-069 A.3.2.6).

use serde::{Deserialize, Serialize};

use super::status::Status;
use crate::soap::element::sequence;

/// Makes a new instance in a table. Not idempotent: if its outcome is unknown, the table has to be read first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddObject {
    /// Path of the table, ending in a dot; `Table.[alias].` where the device addresses by alias.
    pub object_name: String,
    /// Kept in `ManagementServer.ParameterKey`; at most 32 characters.
    pub parameter_key: String,
}

/// The device has made the instance.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddObjectResponse {
    /// The new instance's number; 0 if the device did not say (RPC-74).
    pub instance_number: u32,
    /// Whether it is in force.
    pub status: Status,
}

sequence!(AddObject {
    object_name: "ObjectName" <= 256,
    parameter_key: "ParameterKey" <= 32
});
sequence!(AddObjectResponse {
    instance_number: "InstanceNumber",
    status: "Status"
});
