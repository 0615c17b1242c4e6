//! SetParameterValues (TR-069 A.3.2.1).

use serde::{Deserialize, Serialize};

use super::{parameter_value::ParameterValue, status::Status};
use crate::soap::element::sequence;

/// Sets parameters: all of them or, on a fault, none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetParameterValues {
    /// What to set. No name twice, no partial paths.
    pub parameters: Vec<ParameterValue>,
    /// Kept by the device in `ManagementServer.ParameterKey` when it succeeds; at most 32 characters.
    pub parameter_key: String,
}

/// The device has taken the values.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetParameterValuesResponse {
    /// Whether they are in force.
    pub status: Status,
}

sequence!(SetParameterValues {
    parameters: "ParameterList",
    parameter_key: "ParameterKey" <= 32
});
sequence!(SetParameterValuesResponse { status: "Status" });
