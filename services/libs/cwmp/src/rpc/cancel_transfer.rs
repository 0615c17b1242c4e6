//! CancelTransfer (TR-069 A.4.1.9).

use serde::{Deserialize, Serialize};

use crate::soap::element::sequence;

/// Cancels a queued transfer. After success no TransferComplete follows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelTransfer {
    /// The transfer's command key; at most 32 characters.
    pub command_key: String,
}

sequence!(CancelTransfer {
    command_key: "CommandKey" <= 32
});
