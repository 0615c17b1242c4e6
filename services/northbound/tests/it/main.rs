//! The API through its real sockets, over the embedded store and log.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod artifacts;
mod devices;
mod documentation;
mod doors;
mod events;
mod harness;
mod operations;
mod profiles;
mod readings;
mod tenants;
