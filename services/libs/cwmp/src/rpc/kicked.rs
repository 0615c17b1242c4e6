//! Kicked (TR-069 A.4.2.1; deprecated).

use serde::{Deserialize, Serialize};

use crate::soap::element::sequence;

/// A user was sent to the device's kick URL.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kicked {
    /// Argument `command` of the kick URL.
    pub command: String,
    /// Who sent the user there.
    pub referer: String,
    /// Argument `arg` of the kick URL.
    pub argument: String,
    /// Argument `next` of the kick URL.
    pub next: String,
}

/// Where the device is to send its user.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KickedResponse {
    /// At most 1024 characters.
    pub next_url: String,
}

sequence!(Kicked {
    command: "Command",
    referer: "Referer",
    argument: "Arg",
    next: "Next"
});
sequence!(KickedResponse {
    next_url: "NextURL" <= 1024
});
