//! The service on the embedded store and log: reports and notices in, queue, progress, marks and events out.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod diagnostics;
mod idle;
mod narrowing;
mod operations;
mod profiles;
mod rig;
