//! GetParameterValues (TR-069 A.3.2.2).

use serde::{Deserialize, Serialize};

use super::parameter_value::ParameterValue;
use crate::soap::element::sequence;

/// Reads parameters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetParameterValues {
    /// Full paths, or partial paths that end in a dot and stand for all below them.
    pub names: Vec<String>,
}

/// What the device has read; in any order, perhaps more or less than was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetParameterValuesResponse {
    /// The values.
    pub parameters: Vec<ParameterValue>,
}

sequence!(GetParameterValues {
    names: "ParameterNames" <= 256
});
sequence!(GetParameterValuesResponse {
    parameters: "ParameterList"
});
