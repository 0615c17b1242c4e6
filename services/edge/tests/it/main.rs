//! The edge over real sockets, with the embedded store and log.
#![expect(clippy::unwrap_used, reason = "tests")]

mod acceptance;
mod authentication;
mod away;
mod bed;
mod broken;
mod budget;
mod delivery;
mod drain;
mod files;
mod sessions;
mod several;
mod statuses;
mod waking;
mod wire;
