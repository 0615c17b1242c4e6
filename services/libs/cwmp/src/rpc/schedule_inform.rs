//! ScheduleInform (TR-069 A.4.1.2).

use serde::{Deserialize, Serialize};

use crate::soap::element::sequence;

/// Has the device open a session later.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleInform {
    /// Seconds from now; above 0.
    pub delay_seconds: u32,
    /// Comes back in the `M ScheduleInform` event; at most 32 characters.
    pub command_key: String,
}

sequence!(ScheduleInform {
    delay_seconds: "DelaySeconds",
    command_key: "CommandKey" <= 32
});
