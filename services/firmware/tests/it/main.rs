//! The service on the embedded store and log: notices and reports in, queue, progress and events out.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod rig;
mod transfers;
