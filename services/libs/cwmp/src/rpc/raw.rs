//! A call or an answer of a method that this crate does not know, kept as it stands (RPC-142).

use serde::{Deserialize, Serialize};

/// A method's name and what stands inside its element, verbatim.
///
/// A method that this crate does know is read as itself, also where it was written as raw. The XML is not interpreted. Prefixes that it uses are those of the envelope it came from; ours declares `soap-env`,
/// `soap-enc`, `xsd`, `xsi` and `cwmp`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Raw {
    /// The method without prefix and, in an answer, without `Response`: `X_00D09E_Clean`.
    pub method: String,
    /// The children of the method's element.
    pub arguments_xml: String,
}
