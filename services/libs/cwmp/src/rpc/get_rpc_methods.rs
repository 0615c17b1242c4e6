//! GetRPCMethods, in both directions (TR-069 A.3.1.1).

use serde::{Deserialize, Serialize};

use crate::soap::element::sequence;

/// The methods that the answering peer accepts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetRpcMethodsResponse {
    /// Method names as in the specification (`GetParameterValues`), vendor methods as `X_<OUI>_Name`.
    pub methods: Vec<String>,
}

sequence!(GetRpcMethodsResponse {
    methods: "MethodList"
});
