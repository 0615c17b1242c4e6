//! Reboot (TR-069 A.3.2.9).

use serde::{Deserialize, Serialize};

use crate::soap::element::sequence;

/// Restarts the device after the session.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reboot {
    /// Comes back in the `M Reboot` event; at most 32 characters.
    pub command_key: String,
}

sequence!(Reboot {
    command_key: "CommandKey" <= 32
});
